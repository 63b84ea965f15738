//! Runs the benchmark programs of mls-keep and of its peers, interleaved, and prints what they measured as Markdown.
//!
//! `integration-tests/benchmarks/bench.sh` builds them and runs this. Options, besides the two paths that it gives:
//!
//! - `--rounds N`: how often everything is measured, 3 by default. Medians are over all rounds.
//! - `--repetitions N`: how often each operation is measured in a round, 10 by default.
//! - `--sizes N,N`: members of the groups, `2,10,100,1000` by default. The largest is also measured with 5 past epochs.
//! - `--groups N`, `--clients N`: of the other two measurements, 10000 and 64 by default; 0 leaves one out.
//! - `--json PATH`: the raw figures, one JSON line for each subject, size, round and operation.

mod figures;
mod report;
mod run;
mod trace;

use std::path::PathBuf;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// What to run.
struct Options {
    keep: PathBuf,
    peers: PathBuf,
    rounds: usize,
    repetitions: usize,
    sizes: Vec<usize>,
    groups: usize,
    clients: usize,
    json: Option<PathBuf>,
}

fn main() -> Result<()> {
    let options = Options::parse(std::env::args().skip(1))?;
    let figures = run::everything(&options)?;
    print!("{}", report::markdown(&options, &figures));
    Ok(())
}

impl Options {
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Self> {
        let mut options = Self {
            keep: PathBuf::new(),
            peers: PathBuf::new(),
            rounds: 3,
            repetitions: 10,
            sizes: vec![2, 10, 100, 1000],
            groups: 10_000,
            clients: 64,
            json: None,
        };
        while let Some(name) = args.next() {
            let value = args.next().ok_or(format!("{name} wants a value"))?;
            match name.as_str() {
                "--keep" => options.keep = value.into(),
                "--peers" => options.peers = value.into(),
                "--rounds" => options.rounds = value.parse()?,
                "--repetitions" => options.repetitions = value.parse()?,
                "--sizes" => options.sizes = value.split(',').map(str::parse).collect::<std::result::Result<_, _>>()?,
                "--groups" => options.groups = value.parse()?,
                "--clients" => options.clients = value.parse()?,
                "--json" => options.json = Some(value.into()),
                _ => return Err(format!("no option is called {name}").into()),
            }
        }
        Ok(options)
    }

    /// The sizes of groups, each with how many past epochs are kept.
    fn plans(&self) -> Vec<(usize, usize)> {
        let largest = self.sizes.iter().max().map(|members| (*members, 5));
        self.sizes.iter().map(|members| (*members, 0)).chain(largest).collect()
    }
}
