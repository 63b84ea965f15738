//! Clients that are killed at any moment: what was acknowledged is there, what was under way is done or not, and both go
//! on to understand each other.

#![allow(clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use integration_tests::adapter::Adapter;
use integration_tests::killed::{KILLS_PER_DIRECTORY, kills, run_and_kill};
use integration_tests::pair::Oracle;
use integration_tests::random::Random;
use integration_tests::wait::block_on;

#[test]
fn a_killed_client_has_all_that_was_acknowledged() {
    for adapter in Adapter::chosen() {
        kill(adapter, kills());
    }
}

fn kill(adapter: Adapter, kills: usize) {
    let mut random = Random::from_environment();
    let mut inside = BTreeMap::<String, usize>::new();
    let (mut done, mut acknowledged) = (0, 0);
    let begun = Instant::now();
    while done < kills {
        let directory = tempfile::tempdir().unwrap();
        let mut model = Oracle::default();
        for _ in 0..KILLS_PER_DIRECTORY.min(kills - done) {
            let in_flight = work_and_die(adapter, directory.path(), &mut random, &mut model);
            let kind = in_flight.as_deref().map(|action| action.split(' ').next().unwrap_or_default().to_owned());
            *inside.entry(kind.unwrap_or_else(|| "(between)".into())).or_default() += 1;
            block_on(model.check(adapter, directory.path(), in_flight.as_deref(), &mut random));
            done += 1;
        }
        acknowledged += model.acknowledged;
    }
    let between = inside.get("(between)").copied().unwrap_or_default();
    println!(
        "{adapter}: {kills} kills, {acknowledged} operations acknowledged, {:?}, killed in {inside:?}",
        begun.elapsed()
    );
    assert!((kills - between) * 100 >= kills * 30, "only {} of {kills} kills hit an operation", kills - between);
}

/// Lets a child work, kills it, and returns what it was doing.
fn work_and_die(adapter: Adapter, directory: &Path, random: &mut Random, model: &mut Oracle) -> Option<String> {
    let program = env!("CARGO_BIN_EXE_crash-child");
    let lines = run_and_kill(program, (adapter, directory), &[], 50, random);
    let mut in_flight = None;
    for line in &lines {
        match line.split_once(' ').unwrap() {
            ("intent", action) => in_flight = Some(action.to_owned()),
            ("ack", action) => {
                in_flight = None;
                model.acknowledge(action);
            }
            _ => panic!("the child says {line}"),
        }
    }
    in_flight
}
