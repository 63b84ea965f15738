//! The figures as Markdown.

use std::collections::BTreeSet;

use crate::Options;
use crate::client::Figures;

const MIB: f64 = 1024.0 * 1024.0;

/// What is measured and is no operation of the day.
const APART: [&str; 6] = [
    "start",
    "one message in a process of its own",
    "catch up",
    "catch up, one group",
    "catch up, one by one",
    "catch up, one by one, one group",
];

pub(crate) fn markdown(options: &Options, subjects: &[&str], figures: &[Figures]) -> String {
    let mut text = format!(
        "{} groups of 2 to {} members, {} messages, {} restarts, seed {}; {} messages to catch up with\n\n",
        options.groups, options.members, options.messages, options.restarts, options.seed, options.away
    );
    let mut row = |name: &str, cells: Vec<String>| {
        text.push_str(&format!("| {name} | {} |\n", cells.join(" | ")));
    };
    row("", subjects.iter().map(|subject| (*subject).to_owned()).collect());
    row("---", subjects.iter().map(|_| "---".to_owned()).collect());
    let operations: BTreeSet<_> = figures.iter().flat_map(|figures| figures.ms.keys().copied()).collect();
    for operation in operations.iter().filter(|operation| !APART.contains(operation)) {
        let count = figures.first().and_then(|figures| figures.ms.get(operation)).map_or(0, Vec::len);
        let median =
            |figures: &Figures| figures.ms.get(operation).map_or_else(String::new, |ms| format!("{:.2}", median(ms)));
        row(&format!("{operation}, median of {count}, ms"), figures.iter().map(median).collect());
    }
    row(
        "the day: operations per second",
        figures.iter().map(|figures| format!("{:.0}", per_second(figures))).collect(),
    );
    row("start and first answer, median, ms", each(figures, |figures| figures.ms.get("start").map(|ms| median(ms))));
    for (name, one_by_one) in
        [("catch up", "catch up, one by one"), ("catch up, one group", "catch up, one by one, one group")]
    {
        row(&format!("{one_by_one}, ms"), each(figures, |figures| total(figures, one_by_one)));
        row(&format!("{name}, ms"), each(figures, |figures| total(figures, name)));
        let times = |figures: &Figures| Some(total(figures, one_by_one)? / total(figures, name)?);
        row("times faster", each(figures, times));
    }
    row("written, MiB", each(figures, |figures| Some(figures.written as f64 / MIB)));
    row(
        "flushes",
        figures.iter().map(|figures| figures.flushes.map_or("-".to_owned(), |count| count.to_string())).collect(),
    );
    row("most memory, MiB", each(figures, |figures| Some(figures.peak as f64 / MIB)));
    row("the same of a process for one message, MiB", each(figures, |figures| Some(figures.peak_of_one as f64 / MIB)));
    row("stored, MiB", each(figures, |figures| Some(figures.stored as f64 / MIB)));
    text
}

fn each(figures: &[Figures], value: impl Fn(&Figures) -> Option<f64>) -> Vec<String> {
    figures.iter().map(|figures| value(figures).map_or("-".to_owned(), |value| format!("{value:.1}"))).collect()
}

fn total(figures: &Figures, operation: &str) -> Option<f64> {
    Some(figures.ms.get(operation)?.iter().sum())
}

fn per_second(figures: &Figures) -> f64 {
    let of_the_day = figures.ms.iter().filter(|(operation, _)| !APART.contains(operation));
    let (count, ms) =
        of_the_day.fold((0, 0.0), |(count, sum), (_, ms)| (count + ms.len(), sum + ms.iter().sum::<f64>()));
    count as f64 / (ms / 1e3)
}

fn median(ms: &[f64]) -> f64 {
    let mut ms = ms.to_vec();
    ms.sort_by(f64::total_cmp);
    ms.get(ms.len() / 2).copied().unwrap_or_default()
}
