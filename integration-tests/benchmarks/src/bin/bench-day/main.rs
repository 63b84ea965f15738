//! Measures a day of a messenger: many groups, messages, commits by two members at once, restarts, and catching up after a
//! week away. mls-keep on SQLite, against `openmls_sqlite_storage` in best practice.
//!
//! ```sh
//! integration-tests/benchmarks/bench-day.sh                  # builds the programs, and runs this
//! integration-tests/benchmarks/bench-day.sh --groups 5 --members 10 --messages 100 --away 50
//! ```
//!
//! Options, besides the paths `--keep` and `--peers` that the script gives:
//!
//! - `--groups N`, `--members N`: how many groups, 50 by default, and the members of the largest, 200. The smallest has 2, and
//!   the others are spread evenly by ratio.
//! - `--messages N`: of the day, 5000 by default. Two of five are sent. There is a commit for every 25.
//! - `--restarts N`: 10 by default.
//! - `--away N`: messages that arrive while the client is away, 1000 by default.
//! - `--seed N`: another day.
//!
//! Each client is a process of its own, so that its memory and its bytes are its own. The other members live in this one,
//! and are not measured. Flushes are counted by `strace`, where it is installed, in a second run of the same day.

mod client;
#[path = "../../../peers/src/counterpart.rs"]
mod counterpart;
mod day;
#[path = "../../../peers/src/hex.rs"]
mod hex;
mod report;

use std::path::PathBuf;

use client::{Client, Figures};
use scenario::Result;

/// What the shared files name.
mod scenario {
    pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;
}

/// Who lives the day.
const SUBJECTS: [&str; 3] = ["keep", "sqlite-best-json", "sqlite-best-cbor"];

struct Options {
    keep: PathBuf,
    peers: PathBuf,
    groups: usize,
    members: usize,
    messages: usize,
    restarts: usize,
    away: usize,
    seed: u64,
}

fn main() -> Result<()> {
    let options = Options::parse(std::env::args().skip(1))?;
    let mut figures = Vec::new();
    for subject in SUBJECTS {
        eprintln!("{subject}");
        let mut of_subject = live(&options, subject, None)?;
        let directory = tempfile::tempdir()?;
        let log = directory.path().join("trace");
        if client::can_trace() {
            eprintln!("{subject}, counting flushes");
            let traced = live(&options, subject, Some(log))?;
            of_subject.flushes = traced.flushes;
        }
        figures.push(of_subject);
    }
    print!("{}", report::markdown(&options, &SUBJECTS, &figures));
    Ok(())
}

/// One day of one client.
fn live(options: &Options, subject: &str, trace: Option<PathBuf>) -> Result<Figures> {
    let program = if subject == "keep" { &options.keep } else { &options.peers };
    let directory = tempfile::tempdir()?;
    let mut client = Client::new(program, subject, directory.path(), trace);
    day::live(options, &mut client)?;
    client.end()
}

impl Options {
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Self> {
        let mut options = Self {
            keep: PathBuf::new(),
            peers: PathBuf::new(),
            groups: 50,
            members: 200,
            messages: 5000,
            restarts: 10,
            away: 1000,
            seed: 1,
        };
        while let Some(name) = args.next() {
            let value = args.next().ok_or(format!("{name} wants a value"))?;
            match name.as_str() {
                "--keep" => options.keep = value.into(),
                "--peers" => options.peers = value.into(),
                "--groups" => options.groups = value.parse()?,
                "--members" => options.members = value.parse()?,
                "--messages" => options.messages = value.parse()?,
                "--restarts" => options.restarts = value.parse()?,
                "--away" => options.away = value.parse()?,
                "--seed" => options.seed = value.parse()?,
                _ => return Err(format!("no option is called {name}").into()),
            }
        }
        if options.groups == 0 || options.members < 2 {
            return Err("a day needs a group, and a group two members".into());
        }
        Ok(options)
    }
}
