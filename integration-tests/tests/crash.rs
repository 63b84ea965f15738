//! Clients that are killed at any moment: what was acknowledged is there, what was under way is done or not, and both go
//! on to understand each other.

#![allow(clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use integration_tests::adapter::Adapter;
use integration_tests::pair::Oracle;
use integration_tests::random::Random;
use integration_tests::wait::block_on;

/// Kills in one directory before the next one is begun.
const KILLS_PER_DIRECTORY: usize = 10;

#[test]
fn a_killed_client_has_all_that_was_acknowledged() {
    let kills = std::env::var("MLS_KEEP_KILLS").map_or(200, |kills| kills.parse().expect("MLS_KEEP_KILLS is a number"));
    for adapter in Adapter::chosen() {
        kill(adapter, kills);
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
            let in_flight = run_and_kill(adapter, directory.path(), &mut random, &mut model);
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
fn run_and_kill(adapter: Adapter, directory: &Path, random: &mut Random, model: &mut Oracle) -> Option<String> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_crash-child"))
        .arg(adapter.name())
        .arg(directory)
        .arg(random.bits().to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut text = String::new();
    // Some operations, then some way into the next one. Now and then right away, while it opens.
    let lines = if random.below(8) == 0 { 0 } else { 1 + random.below(50) };
    for _ in 0..lines {
        assert!(output.read_line(&mut text).unwrap() > 0, "the child ended by itself after {text}");
    }
    let pause = Duration::from_micros(random.below(4000) as u64);
    let paused = Instant::now();
    while paused.elapsed() < pause {
        std::hint::spin_loop();
    }
    child.kill().unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), None, "the child ended by itself");
    output.read_to_string(&mut text).unwrap();

    let mut in_flight = None;
    for line in text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
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
