//! [`Figures`]: all samples, by what they are of.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One line of what the benchmark programs print.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(crate) struct Line {
    pub(crate) subject: String,
    pub(crate) members: usize,
    pub(crate) past_epochs: usize,
    pub(crate) operation: String,
    #[serde(default)]
    pub(crate) ms: Vec<f64>,
    #[serde(default)]
    pub(crate) written: Vec<u64>,
    #[serde(default)]
    pub(crate) raw_ms: Vec<f64>,
    #[serde(default)]
    pub(crate) sealed: Vec<u64>,
    /// From the trace of system calls.
    #[serde(default)]
    pub(crate) flushes: Vec<u64>,
}

/// All samples, by subject, members, past epochs and operation.
#[derive(Default)]
pub(crate) struct Figures(BTreeMap<(String, usize, usize, String), Line>);

impl Figures {
    pub(crate) fn add(&mut self, line: Line) {
        let key = (line.subject.clone(), line.members, line.past_epochs, line.operation.clone());
        let all = self.0.entry(key).or_default();
        all.ms.extend(line.ms);
        all.written.extend(line.written);
        all.raw_ms.extend(line.raw_ms);
        all.sealed.extend(line.sealed);
        all.flushes.extend(line.flushes);
    }

    pub(crate) fn get(&self, subject: &str, (members, past_epochs): (usize, usize), operation: &str) -> Option<&Line> {
        self.0.get(&(subject.to_owned(), members, past_epochs, operation.to_owned()))
    }
}

impl Line {
    /// Median duration, milliseconds.
    pub(crate) fn time(&self) -> Option<f64> {
        median(self.ms.iter().copied())
    }

    /// Median duration of a raw write of the same bytes, milliseconds.
    pub(crate) fn raw(&self) -> Option<f64> {
        median(self.raw_ms.iter().copied())
    }

    /// Median bytes at the system calls.
    pub(crate) fn written(&self) -> Option<f64> {
        median(self.written.iter().map(|bytes| *bytes as f64))
    }

    /// Median sealed bytes.
    pub(crate) fn sealed(&self) -> Option<f64> {
        median(self.sealed.iter().map(|bytes| *bytes as f64))
    }

    /// Median flushes.
    pub(crate) fn flushes(&self) -> Option<f64> {
        median(self.flushes.iter().map(|count| *count as f64))
    }

    /// Shortest and longest duration, milliseconds.
    pub(crate) fn range(&self) -> Option<(f64, f64)> {
        let shortest = self.ms.iter().copied().min_by(f64::total_cmp)?;
        let longest = self.ms.iter().copied().max_by(f64::total_cmp)?;
        Some((shortest, longest))
    }
}

pub(crate) fn median(samples: impl Iterator<Item = f64>) -> Option<f64> {
    let mut samples: Vec<_> = samples.collect();
    samples.sort_by(f64::total_cmp);
    samples.get(samples.len() / 2).copied()
}
