//! What a power cut can leave on a disk, at every moment of a program's run.
//!
//! A child works under `strace`. From its system calls follows what was on the way to the medium and not flushed yet, and so
//! which disks a power cut may leave: see [`disk`]. Each of them is opened by a fresh process, which must find everything that
//! was acknowledged before.
//!
//! Limits: stores through mapped memory are not seen (only SQLite's index of its log has such, which is made anew); the
//! order of metadata is modelled as ext4 keeps it, and as strictly as POSIX allows; a device that lies about flushes is
//! outside.

pub mod disk;
pub mod trace;
pub mod workload;

use std::collections::HashSet;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::Duration;

use disk::{Disk, Metadata};
use trace::Event;

/// How long a store may take to open after a power cut.
const PATIENCE: Duration = Duration::from_secs(20);

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// The moments at which the power was cut.
    pub moments: usize,
    /// The disks that differ, and so were opened.
    pub disks: usize,
    /// What was wrong with some of them.
    pub losses: Vec<String>,
}

/// Runs `subject` of [`workload`] under `strace` with the program `child`, and opens every disk that a power cut may leave.
///
/// # Panics
/// If the trace holds what is not understood.
#[must_use]
pub fn replay(child: &Path, subject: &str, metadata: Metadata) -> Findings {
    let directory = tempfile::tempdir().unwrap();
    let events = trace::run(child, subject, directory.path());
    let mut disk = Disk::new(metadata);
    let (mut seen, mut findings, mut acknowledged) = (HashSet::new(), Findings::default(), None);
    let workers = thread::available_parallelism().map_or(1, usize::from);
    // A disk is as large as the store, so few of them wait.
    let (found, losses) = mpsc::channel();
    let (job, jobs) = mpsc::sync_channel::<(disk::State, Option<u64>, usize)>(2 * workers);
    let jobs = Mutex::new(jobs);
    thread::scope(|scope| {
        for _ in 0..workers {
            let (jobs, found) = (&jobs, found.clone());
            scope.spawn(move || {
                let next = || jobs.lock().unwrap().recv().ok();
                while let Some((state, acknowledged, moment)) = next() {
                    if let Some(fault) = judge(child, subject, &state, acknowledged) {
                        found.send(format!("moment {moment}, {}: {fault}", state.how)).unwrap();
                    }
                }
            });
        }
        for event in events {
            match event {
                Event::Ack(number) => acknowledged = Some(number),
                change => disk.apply(change),
            }
            findings.moments += 1;
            for state in disk.states() {
                if seen.insert((state.digest(), acknowledged)) {
                    findings.disks += 1;
                    job.send((state, acknowledged, findings.moments)).unwrap();
                }
            }
        }
        drop(job);
    });
    drop(found);
    findings.losses = losses.into_iter().collect();
    findings
}

/// Opens `state` in a fresh process. What is wrong with it, if anything is.
fn judge(child: &Path, subject: &str, state: &disk::State, acknowledged: Option<u64>) -> Option<String> {
    // In memory where that is possible: what is judged needs no flushes.
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let directory = tempfile::tempdir_in(parent).unwrap();
    state.write_to(directory.path());
    let mut process = Command::new(child)
        .args(["judge", subject])
        .env("RUST_BACKTRACE", "0")
        .arg(directory.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut stdout, mut stderr) = (process.stdout.take().unwrap(), process.stderr.take().unwrap());
    let (done, ended) = mpsc::channel();
    thread::spawn(move || {
        let (mut found, mut complaint) = (String::new(), String::new());
        drop(stdout.read_to_string(&mut found));
        drop(stderr.read_to_string(&mut complaint));
        drop(done.send((found, complaint)));
    });
    let Ok((found, complaint)) = ended.recv_timeout(PATIENCE) else {
        process.kill().unwrap();
        process.wait().unwrap();
        return Some("it does not open in time".into());
    };
    if !process.wait().unwrap().success() {
        let complaint: Vec<_> = complaint.lines().filter(|line| !line.starts_with("note: ")).collect();
        return Some(complaint.join(" ").chars().take(300).collect());
    }
    let found: u64 = found.trim().parse().unwrap();
    let (least, most) = (acknowledged.unwrap_or(0), acknowledged.map_or(1, |number| number + 1));
    (found < least || found > most).then(|| format!("{found} is found, and {acknowledged:?} was acknowledged"))
}
