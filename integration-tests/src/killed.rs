//! A child process that prints what it does, and is killed in the middle of it.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::adapter::Adapter;
use crate::random::Random;

/// Kills in one directory before the next one is begun.
pub const KILLS_PER_DIRECTORY: usize = 10;

/// How many kills each adapter gets: 200, or `MLS_KEEP_KILLS`.
///
/// # Panics
/// If that is no number.
#[must_use]
pub fn kills() -> usize {
    std::env::var("MLS_KEEP_KILLS").map_or(200, |kills| kills.parse().expect("MLS_KEEP_KILLS is a number"))
}

/// Starts `program` on a store, lets it print up to `most` lines, kills it some way into what comes after, and returns the
/// whole lines that it has printed. Now and then it is killed right away, while it opens.
///
/// # Panics
/// If it ends by itself.
pub fn run_and_kill(
    program: &str,
    (adapter, directory): (Adapter, &Path),
    arguments: &[&str],
    most: usize,
    random: &mut Random,
) -> Vec<String> {
    let mut child = Command::new(program)
        .arg(adapter.name())
        .arg(directory)
        .arg(random.bits().to_string())
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut text = String::new();
    let lines = if random.below(8) == 0 { 0 } else { 1 + random.below(most) };
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
    text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')).map(str::to_owned).collect()
}
