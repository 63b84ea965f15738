//! Measures MLS operations on each adapter and prints the tables of docs/performance.md:
//!
//! `cargo run --release -p benchmarks --bin bench-adapters [-- --dir DIR --unflushed DIR --rounds N --only NAME]`
//!
//! `--dir` lies on the disk that is measured (a temporary directory by default), `--unflushed` on a file system in memory,
//! where a flush costs nothing (`/dev/shm` by default). Where `strace` is installed the flushes are counted, in processes
//! of their own.

// A benchmark that cannot go on ends.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod flushes;
mod rate;
mod report;
mod work;

use std::path::PathBuf;

use integration_tests::adapter::Adapter;

/// How it is run.
struct Args {
    dir: PathBuf,
    unflushed: PathBuf,
    rounds: usize,
    adapters: Vec<Adapter>,
}

fn main() {
    let mut words = std::env::args().skip(1);
    let mut args =
        Args { dir: std::env::temp_dir(), unflushed: "/dev/shm".into(), rounds: 3, adapters: Adapter::ALL.to_vec() };
    while let Some(word) = words.next() {
        let mut value = || words.next().unwrap_or_else(|| panic!("{word} needs a value"));
        match word.as_str() {
            "--dir" => args.dir = value().into(),
            "--unflushed" => args.unflushed = value().into(),
            "--rounds" => args.rounds = value().parse().unwrap(),
            "--only" => args.adapters = vec![value().parse().unwrap()],
            // In a process of its own, so that its system calls can be counted.
            "--sends" => {
                let (adapter, dir, count) = (value().parse().unwrap(), PathBuf::from(value()), value());
                return work::Single::new(adapter, &dir).send(count.parse().unwrap());
            }
            other => panic!("what is {other}? See the head of its source"),
        }
    }
    // In turns, so that a disturbance hits all of them.
    let mut figures = report::Figures::default();
    for _ in 0..args.rounds {
        for adapter in &args.adapters {
            rate::measure(*adapter, &args, &mut figures);
        }
    }
    for adapter in &args.adapters {
        figures.flushes.insert(*adapter, flushes::per_send(*adapter, &args.dir));
    }
    figures.print();
}
