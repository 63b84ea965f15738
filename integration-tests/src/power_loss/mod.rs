//! What a power cut can leave on a disk, at every moment of a program's run.
//!
//! A child works under `strace`. From its system calls follows what was on the way to the medium and not flushed yet, and so
//! which disks a power cut may leave: see [`disk`]. Each of them is opened by a fresh process, which must find everything that
//! was acknowledged before. [`replay`] cuts the power while a program works; [`again`] kills the program first, or fails one
//! of its flushes, lets another one open what is in the cache, and cuts the power then.
//!
//! Limits: stores through mapped memory are not seen (only SQLite's index of its log has such, which is made anew); the
//! order of metadata is modelled as ext4 keeps it, and as strictly as POSIX allows; a device that lies about flushes is
//! outside.

pub mod again;
pub mod disk;
mod judges;
pub mod trace;
pub mod workload;

use std::path::Path;

use disk::{Disk, Metadata};
use judges::Judges;
use trace::{Event, Run, Start};

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// The moments at which the power was cut.
    pub moments: usize,
    /// The disks that differ, and so were opened.
    pub disks: usize,
    /// How often a program was killed or a flush failed before that.
    pub openings: usize,
    /// What was wrong with some of them.
    pub losses: Vec<String>,
}

/// Runs `subject` of [`workload`] under `strace` with the program `child`, and opens every disk that a power cut may leave.
///
/// # Panics
/// If the trace holds what is not understood.
#[must_use]
pub fn replay(child: &Path, subject: &str, metadata: Metadata) -> Findings {
    let events = work(child, subject);
    Judges::hear(child, subject, |judges| {
        judges.cut_after_each(&mut Disk::new(metadata), events, None, "");
    })
}

/// What `subject` does when nothing goes wrong.
fn work(child: &Path, subject: &str) -> Vec<Event> {
    let directory = tempfile::tempdir().unwrap();
    let run = Run { child, what: "work", subject, directory: directory.path(), start: Start::default(), inject: None };
    run.trace().unwrap_or_else(|complaint| panic!("{subject}: {complaint}")).events
}
