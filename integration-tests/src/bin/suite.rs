//! Runs the conformance suite on every adapter, on memory and on four methods, and prints a table.
//!
//! `suite [--only NAME] [--s3 URL]`. With a URL the S3 adapter meets that service, with credentials from the environment,
//! and without one a server in this process. Ends with 1 if a case failed, or if the suite did not catch a backend that is broken on purpose.

// Wrong arguments and a broken machine end it with a text.
#![allow(clippy::panic, clippy::unwrap_used)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use integration_tests::adapter::Adapter;
use mls_keep::{Entropy, SystemEntropy};
use mls_keep_conformance::fault::FourMethods;
use mls_keep_conformance::saboteurs::{false_alarms, saboteurs, serve};
use mls_keep_conformance::{CASES, Harness, async_trait, directory_contains, run_case};
use mls_keep_core::{MemoryBackend, Result, StorageBackend};
use mls_keep_s3::{Credentials, Location};
use s3_test_server::{BUCKET, RacingServer, Server};
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

/// A place of its own in a bucket.
struct Bucket {
    location: Location,
    /// The servers of this process that the location is at.
    _server: Option<Server>,
    _racing: Option<RacingServer>,
}

impl Bucket {
    fn at(url: &str) -> Self {
        let mut location: Location = url.parse().unwrap_or_else(|error| panic!("{error}"));
        let mut mark = [0; 8];
        SystemEntropy.fill(&mut mark).unwrap();
        location.prefix = format!("{}/{:016x}", location.prefix, u64::from_be_bytes(mark));
        location.prefix = location.prefix.trim_start_matches('/').to_owned();
        Self { location, _server: None, _racing: None }
    }

    fn of(endpoint: &str) -> Self {
        let mut bucket = Self::at(&format!("s3://{BUCKET}?region=us-east-1&endpoint={endpoint}"));
        bucket.location.config.credentials = Some(Credentials {
            access_key_id: "id".to_owned(),
            secret_access_key: "secret".to_owned(),
            session_token: None,
        });
        bucket
    }

    fn in_this_process() -> Self {
        let server = Server::start();
        let bucket = Self::of(&server.endpoint());
        Self { _server: Some(server), ..bucket }
    }

    /// The control: a service that compares first and writes later.
    fn racing() -> Self {
        let server = RacingServer::start("id", "secret");
        let bucket = Self::of(&server.endpoint());
        Self { _racing: Some(server), ..bucket }
    }
}

#[async_trait]
impl Harness for Bucket {
    async fn open(&self) -> Result<Arc<dyn StorageBackend>> {
        Ok(Arc::new(self.location.open().await?))
    }
}

/// A backend that the suite is run on: how its harnesses are made.
type Make = Box<dyn Fn() -> Box<dyn Harness>>;

fn backends(s3: Option<String>) -> Vec<(String, Make)> {
    let mut all: Vec<(String, Make)> = vec![
        ("memory".to_owned(), Box::new(|| Box::new(Memory(MemoryBackend::new())))),
        ("four methods".to_owned(), Box::new(|| Box::new(Four(MemoryBackend::new())))),
    ];
    for adapter in Adapter::ALL.iter().copied() {
        let make = move || Box::new(Local { adapter, directory: tempfile::tempdir().unwrap() }) as Box<dyn Harness>;
        all.push((adapter.name().to_owned(), Box::new(make)));
    }
    let make = move || -> Box<dyn Harness> { Box::new(s3.as_deref().map_or_else(Bucket::in_this_process, Bucket::at)) };
    all.push(("s3".to_owned(), Box::new(make)));
    all
}

/// What became of the cases on one backend.
#[derive(Default)]
struct Row {
    passed: usize,
    not_run: usize,
    failed: Vec<(&'static str, String)>,
}

fn run(make: &Make) -> Row {
    let mut row = Row::default();
    for case in CASES {
        match catch_unwind(AssertUnwindSafe(|| run_case(case.name, &*make()))) {
            Ok(true) => row.passed += 1,
            Ok(false) => row.not_run += 1,
            Err(_) => row.failed.push((case.name, panics().into_iter().next().unwrap_or_default())),
        }
    }
    row
}

fn panics() -> Vec<String> {
    std::mem::take(&mut *PANICS.lock().unwrap_or_else(PoisonError::into_inner))
}

fn main() -> ExitCode {
    // It is its own other process.
    if serve() {
        return ExitCode::SUCCESS;
    }
    let (mut only, mut s3) = (None, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match (argument.as_str(), arguments.next()) {
            ("--only", Some(name)) => only = Some(name),
            ("--s3", Some(url)) => s3 = Some(url),
            _ => {
                eprintln!("usage: suite [--only NAME] [--s3 URL]");
                return ExitCode::from(2);
            }
        }
    }
    std::panic::set_hook(Box::new(|panic| {
        PANICS.lock().unwrap_or_else(PoisonError::into_inner).push(panic.to_string());
    }));

    let chosen: Vec<_> =
        backends(s3).into_iter().filter(|(name, _)| only.as_ref().is_none_or(|only| only == name)).collect();
    if chosen.is_empty() {
        let names: Vec<String> = backends(None).into_iter().map(|(name, _)| name).collect();
        eprintln!("there is no backend {:?}: choose one of {}", only.unwrap_or_default(), names.join(", "));
        return ExitCode::from(2);
    }
    let mut sound = true;
    println!("{:14} {:>9} {:>7} {:>12} {:>8}", "backend", "cases run", "passed", "not run", "seconds");
    for (name, make) in chosen {
        let start = Instant::now();
        let Row { passed, not_run, failed } = run(&make);
        let (run, seconds) = (passed + failed.len(), start.elapsed().as_secs_f64());
        println!("{name:14} {run:>9} {passed:>7} {not_run:>12} {seconds:>8.1}");
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
    let caught = the_race_is_caught();
    println!("a service whose conditional writes race: {}", if caught { "caught" } else { "NOT CAUGHT" });
    missed.is_empty() && alarms.is_empty() && caught
}

/// Whether the suite finds that both writers win, in a few rounds at most.
fn the_race_is_caught() -> bool {
    let case = || run_case("concurrency::one_winner_among_backends", &Bucket::racing());
    (0..20).any(|_| catch_unwind(AssertUnwindSafe(case)).is_err())
}
