//! What one operation costs: time, bytes at the system calls, and a raw write of as many bytes right after it.
//!
//! Shared by both benchmark programs: each includes this file.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use serde::Serialize;

use crate::scenario::{Figures, Plan, Result};

/// All samples of one operation, in the order in which they were taken.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Samples {
    /// Duration, milliseconds.
    pub(crate) ms: Vec<f64>,
    /// Bytes that the process gave to `write` and its like meanwhile (Linux only; 0 elsewhere).
    pub(crate) written: Vec<u64>,
    /// Duration of appending as many bytes to a file and flushing it with `fdatasync`, right afterwards, milliseconds.
    pub(crate) raw_ms: Vec<f64>,
    /// Bytes that were handed to the store, sealed. Empty where nothing is sealed.
    pub(crate) sealed: Vec<u64>,
}

/// One line of what a benchmark program prints: the samples of an operation.
#[derive(Serialize)]
struct Line<'a> {
    subject: &'a str,
    members: usize,
    past_epochs: usize,
    operation: &'a str,
    #[serde(flatten)]
    samples: &'a Samples,
}

/// Prints a line for each operation, and one for the length of the store.
pub(crate) fn print(subject: &str, plan: Plan, figures: &Figures) -> Result<()> {
    let Plan { members, past_epochs, .. } = plan;
    let sealed = figures.sealed_len.into_iter().collect();
    let stored = Samples { written: vec![figures.stored_len], sealed, ..Samples::default() };
    let operations = figures.operations.iter().map(|(operation, samples)| (*operation, samples));
    for (operation, samples) in operations.chain([("stored", &stored)]) {
        let line = Line { subject, members, past_epochs, operation, samples };
        println!("{}", serde_json::to_string(&line)?);
    }
    Ok(())
}

/// Takes samples.
pub(crate) struct Meter {
    raw: File,
    noise: Vec<u8>,
    /// Where the beginnings and ends of operations are written, for a trace of system calls to be read by. Then nothing
    /// else is written in between.
    marks: Option<File>,
}

/// A running measurement.
pub(crate) struct Running {
    operation: &'static str,
    written: u64,
    start: Instant,
}

impl Meter {
    /// `marks`: write marks for a trace, and no raw writes.
    pub(crate) fn new(dir: &Path, marks: bool) -> Result<Self> {
        let raw = OpenOptions::new().create(true).append(true).open(dir.join("raw"))?;
        let marks = marks.then(|| OpenOptions::new().write(true).open("/dev/null")).transpose()?;
        // Not zeros, in case the medium packs them.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let word = |_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        };
        Ok(Self { raw, noise: (0..1 << 20).flat_map(word).collect(), marks })
    }

    pub(crate) fn begin(&mut self, operation: &'static str) -> Result<Running> {
        if let Some(marks) = &mut self.marks {
            marks.write_all(format!("@begin {operation}\n").as_bytes())?;
        }
        Ok(Running { operation, written: written(), start: Instant::now() })
    }

    pub(crate) fn end(&mut self, running: &Running, samples: &mut Samples) -> Result<()> {
        samples.ms.push(running.start.elapsed().as_secs_f64() * 1e3);
        let written = written().saturating_sub(running.written);
        samples.written.push(written);
        if let Some(marks) = &mut self.marks {
            marks.write_all(format!("@end {}\n", running.operation).as_bytes())?;
            return Ok(());
        }
        let bytes = self.noise.get(..(written as usize).min(self.noise.len())).unwrap_or_default();
        let start = Instant::now();
        let mut left = written as usize;
        while left > 0 {
            let piece = bytes.get(..left.min(bytes.len())).unwrap_or_default();
            self.raw.write_all(piece)?;
            left -= piece.len();
        }
        self.raw.sync_data()?;
        samples.raw_ms.push(start.elapsed().as_secs_f64() * 1e3);
        Ok(())
    }
}

/// Bytes that this process has given to `write` and its like.
fn written() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    let field = io.lines().find_map(|line| line.strip_prefix("wchar: "));
    field.and_then(|value| value.parse().ok()).unwrap_or(0)
}
