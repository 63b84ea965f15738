//! Runs the conformance suite on every adapter, on memory and on four methods, and prints a table.
//!
//! `suite [--only NAME]`. Ends with 1 if a case failed, or if the suite did not catch a backend that is broken on purpose.

// Wrong arguments and a broken machine end it with a text.
#![allow(clippy::panic, clippy::unwrap_used)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use integration_tests::adapter::Adapter;
use mls_keep_conformance::fault::FourMethods;
use mls_keep_conformance::saboteurs::{false_alarms, saboteurs};
use mls_keep_conformance::{CASES, Harness, async_trait, directory_contains, run_case};
use mls_keep_core::{MemoryBackend, Result, StorageBackend};
use tempfile::TempDir;

/// What panics said since they were last asked for. A case fails by panicking.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Memory(MemoryBackend);

#[async_trait]
impl Harness for Memory {
    async fn open(&self) -> Result<Arc<dyn StorageBackend>> {
        Ok(Arc::new(self.0.clone()))
    }
}

struct Four(MemoryBackend);

#[async_trait]
impl Harness for Four {
    async fn open(&self) -> Result<Arc<dyn StorageBackend>> {
        Ok(Arc::new(FourMethods(self.0.clone())))
    }
}

struct Local {
    adapter: Adapter,
    directory: TempDir,
}

#[async_trait]
impl Harness for Local {
    async fn open(&self) -> Result<Arc<dyn StorageBackend>> {
        self.adapter.open(&self.adapter.path(self.directory.path(), "keep"))
    }

    async fn medium_contains(&self, marker: &[u8]) -> bool {
        directory_contains(self.directory.path(), marker)
    }
}

/// A backend that the suite is run on: how its harnesses are made.
type Make = Box<dyn Fn() -> Box<dyn Harness>>;

fn backends() -> Vec<(String, Make)> {
    let mut all: Vec<(String, Make)> = vec![
        ("memory".to_owned(), Box::new(|| Box::new(Memory(MemoryBackend::new())))),
        ("four methods".to_owned(), Box::new(|| Box::new(Four(MemoryBackend::new())))),
    ];
    for adapter in Adapter::ALL.iter().copied() {
        let make = move || Box::new(Local { adapter, directory: tempfile::tempdir().unwrap() }) as Box<dyn Harness>;
        all.push((adapter.name().to_owned(), Box::new(make)));
    }
    all
}

/// What became of the cases on one backend.
#[derive(Default)]
struct Row {
    passed: usize,
    not_claimed: usize,
    failed: Vec<(&'static str, String)>,
}

fn run(make: &Make) -> Row {
    let mut row = Row::default();
    for case in CASES {
        match catch_unwind(AssertUnwindSafe(|| run_case(case.name, &*make()))) {
            Ok(true) => row.passed += 1,
            Ok(false) => row.not_claimed += 1,
            Err(_) => row.failed.push((case.name, panics().into_iter().next().unwrap_or_default())),
        }
    }
    row
}

fn panics() -> Vec<String> {
    std::mem::take(&mut *PANICS.lock().unwrap_or_else(PoisonError::into_inner))
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let only = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => None,
        ["--only", name] => Some(name),
        _ => {
            eprintln!("usage: suite [--only NAME]");
            return ExitCode::from(2);
        }
    };
    std::panic::set_hook(Box::new(|panic| {
        PANICS.lock().unwrap_or_else(PoisonError::into_inner).push(panic.to_string());
    }));

    let chosen: Vec<_> = backends().into_iter().filter(|(name, _)| only.is_none_or(|only| only == name)).collect();
    if chosen.is_empty() {
        let names: Vec<String> = backends().into_iter().map(|(name, _)| name).collect();
        eprintln!("there is no backend {:?}: choose one of {}", only.unwrap_or_default(), names.join(", "));
        return ExitCode::from(2);
    }
    let mut sound = true;
    println!("{:14} {:>9} {:>7} {:>12} {:>8}", "backend", "cases run", "passed", "not claimed", "seconds");
    for (name, make) in chosen {
        let start = Instant::now();
        let Row { passed, not_claimed, failed } = run(&make);
        let (run, seconds) = (passed + failed.len(), start.elapsed().as_secs_f64());
        println!("{name:14} {run:>9} {passed:>7} {not_claimed:>12} {seconds:>8.1}");
        for (case, text) in &failed {
            println!("  FAILED {case}: {text}");
        }
        sound &= failed.is_empty();
    }
    sound &= suite_is_sound();
    if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Whether the suite finds what is broken on purpose, and nothing else.
fn suite_is_sound() -> bool {
    let all = saboteurs();
    let missed: Vec<_> = all.iter().filter(|saboteur| !saboteur.missed().is_empty()).collect();
    let alarms = false_alarms();
    println!("\nsaboteurs caught by the cases meant for them: {} of {}", all.len() - missed.len(), all.len());
    for saboteur in &missed {
        println!("  NOT CAUGHT {:?} by {:?}", saboteur.defect, saboteur.missed());
    }
    for case in &alarms {
        println!("  FALSE ALARM {case}");
    }
    missed.is_empty() && alarms.is_empty()
}
