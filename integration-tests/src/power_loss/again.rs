//! A program that is killed or whose flush fails, another one that opens what is in the cache, and then the power cut.
//!
//! What an opening shows was perhaps never flushed: the program that wrote it had no time to. An application that is shown it acts on
//! it, so it counts as acknowledged from then on.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use super::disk::{Disk, Metadata};
use super::judges::{Judges, scratch};
use super::trace::{Event, FileId, Run, Start, Trace};
use super::{Findings, work};

/// How the first program ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum End {
    /// It is killed between two calls.
    Killed,
    /// A flush fails, and it is killed before it does anything about that.
    KilledAfterFailedFlush,
}

/// The calls with which flushes can fail.
const FLUSHES: [&str; 2] = ["fsync", "fdatasync"];

/// In the short form, so many points of a kind are tried: see [`kind`].
const OF_A_KIND: usize = 1;

/// Whether everything is to be tried, and not what is enough for every day.
#[must_use]
pub fn is_long() -> bool {
    std::env::var_os("MLS_KEEP_CRASH").is_some_and(|form| form == "long")
}

/// Ends `subject` of [`workload`](super::workload) at every call that writes. Each time another process opens what is in
/// the cache, shows what it finds and commits more; the power is cut at every moment of that.
///
/// # Panics
/// If a trace holds what is not understood.
#[must_use]
pub fn replay_after(end: End, child: &Path, subject: &str, metadata: Metadata) -> Findings {
    let events = work(child, subject);
    Judges::hear(child, subject, |judges| {
        let mut next = Next { child, subject, runs: HashMap::new() };
        let mut disk = Disk::new(metadata);
        let (mut acknowledged, mut kinds) = (None, BTreeMap::<_, usize>::new());
        for (at, event) in events.iter().cloned().enumerate() {
            let (name, kind) = (event.name(), kind(&event, events.get(at + 1)));
            let failed = match &event {
                Event::Sync(file) if end == End::KilledAfterFailedFlush => {
                    let mut failed = disk.clone();
                    failed.apply(Event::FailedSync(*file));
                    Some(failed)
                }
                _ => None,
            };
            match event {
                Event::Ack(number) => {
                    acknowledged = Some(number);
                    continue;
                }
                change => disk.apply(change),
            }
            let Some(ended) = (if end == End::Killed { Some(disk.clone()) } else { failed }) else { continue };
            // Before the first commit and after it are points of different kinds.
            let tried = kinds.entry((kind, acknowledged.unwrap_or(0).min(1))).or_default();
            *tried += 1;
            if *tried <= OF_A_KIND || is_long() {
                next.open(judges, ended, acknowledged, &format!("{end:?} at call {}, {name}", at + 1));
            }
        }
    })
}

/// Fails the first flush that `subject` makes, then the second, and so on. The program gets the error, closes the store and ends;
/// then it is as in [`replay_after`].
///
/// # Panics
/// If a trace holds what is not understood.
#[must_use]
pub fn replay_failed_flushes(child: &Path, subject: &str, metadata: Metadata) -> Findings {
    Judges::hear(child, subject, |judges| {
        let mut next = Next { child, subject, runs: HashMap::new() };
        for flush in FLUSHES {
            for at in 1.. {
                assert!(at < 500, "{subject}: flushes without end");
                let case = format!("{flush} {at} failed");
                let directory = tempfile::tempdir().unwrap();
                let (directory, start) = (directory.path(), Start::default());
                // strace counts for each thread by itself.
                let inject = Some(format!("{flush}:error=EIO:when={at}"));
                let run = Run { child, what: "work-until-failure", subject, directory, start, inject };
                let trace = run.trace().unwrap_or_else(|complaint| panic!("{subject}: {case}: {complaint}"));
                if !trace.injected {
                    break;
                }
                let mut disk = Disk::new(metadata);
                let mut events = trace.events;
                let failed = events.iter().position(|event| matches!(event, Event::FailedSync(_)));
                // A flush of a directory: its names just stay unflushed.
                let rest = events.split_off(failed.unwrap_or(0));
                let mut acknowledged = None;
                // Before the flush fails, it is as if none would.
                for event in events {
                    match event {
                        Event::Ack(number) => acknowledged = Some(number),
                        change => disk.apply(change),
                    }
                }
                let acknowledged = judges.cut_after_each(&mut disk, rest, acknowledged, &format!("{case}; "));
                next.open(judges, disk, acknowledged, &case);
            }
        }
    })
}

/// What is in the cache, which alone decides what a process does, and the numbers of the files.
type Found = (u64, BTreeMap<PathBuf, FileId>, usize);

/// The process that comes next.
struct Next<'a> {
    child: &'a Path,
    subject: &'a str,
    /// What it does, by what it finds.
    runs: HashMap<Found, Result<Trace, String>>,
}

impl Next<'_> {
    fn open(&mut self, judges: &mut Judges, mut disk: Disk, acknowledged: Option<u64>, case: &str) {
        judges.findings.openings += 1;
        let (cached, start) = (disk.cached(), disk.start());
        let numbers = start.names.iter().map(|(name, file)| (name.clone(), *file)).collect();
        let run = self.runs.entry((cached.digest(), numbers, start.lengths.len())).or_insert_with(|| {
            let directory = tempfile::tempdir_in(scratch()).unwrap();
            cached.write_to(directory.path());
            let (child, subject) = (self.child, self.subject);
            Run { child, what: "go-on", subject, directory: directory.path(), start, inject: None }.trace()
        });
        match run {
            Ok(run) => {
                let case = format!("{case}; opened, ");
                judges.cut_after_each(&mut disk, run.events.clone(), acknowledged, &case);
            }
            Err(complaint) => judges.findings.losses.push(format!("{case}; it does not open: {complaint}")),
        }
    }
}

/// Which call comes last, of which file, and whether a flush comes next: what is in the cache is whole then.
fn kind(event: &Event, next: Option<&Event>) -> String {
    let of = match event {
        Event::Write(file, ..) => format!("write {file}"),
        Event::Resize(file, _) => format!("resize {file}"),
        Event::Sync(file) | Event::FailedSync(file) => format!("sync {file}"),
        Event::Create(name, _) | Event::MakeDirectory(name) => format!("create {}", name.display()),
        Event::Rename(from, _) => format!("rename {}", from.display()),
        Event::Remove(_) => "remove".into(),
        Event::SyncDirectory(name) => format!("sync {}", name.display()),
        Event::Ack(_) => "ack".into(),
    };
    match next {
        Some(Event::Sync(file)) => format!("{of}, then sync {file}"),
        Some(Event::SyncDirectory(name)) => format!("{of}, then sync {}", name.display()),
        _ => of,
    }
}
