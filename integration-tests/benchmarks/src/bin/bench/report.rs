//! Figures as Markdown.

use std::fmt::Write;

use crate::Options;
use crate::figures::{Figures, Line, median};

/// Operations in the order of the tables.
const OPERATIONS: [&str; 8] =
    ["create", "invite and merge", "join", "send", "receive", "receive a commit", "update and merge", "load"];

/// The peers that seal nothing and are used as well as they can be.
const BEST: [&str; 2] = ["sqlite-best-json", "sqlite-best-cbor"];

type Plan = (usize, usize);

pub(crate) fn markdown(options: &Options, figures: &Figures) -> String {
    let mut out = String::new();
    for plan in options.plans() {
        let epochs = match plan.1 {
            0 => String::new(),
            kept => format!(", {kept} past epochs"),
        };
        line(&mut out, format!("\n### {} members{epochs}\n", plan.0));
        times(&mut out, figures, plan);
        sizes(&mut out, figures, plan);
    }
    many(&mut out, options, figures);
    out
}

fn times(out: &mut String, figures: &Figures, plan: Plan) {
    line(
        out,
        "| ms, median (min to max) | mls-keep | OpenMLS alone | raw write | SQLite as shipped | best practice, JSON | \
         best practice, CBOR | whole file | mls-keep / best practice | the same of the fastest |"
            .into(),
    );
    line(out, "|---|---|---|---|---|---|---|---|---|---|".into());
    for operation in OPERATIONS {
        let get = |subject| figures.get(subject, plan, operation);
        let Some(keep) = get("keep") else { continue };
        let ratio_of = |time: fn(&Line) -> Option<f64>| {
            let best = BEST.iter().filter_map(|peer| time(get(peer)?)).min_by(f64::total_cmp);
            time(keep).zip(best).map(|(keep, best)| keep / best)
        };
        let others = ["sqlite-as-shipped", "sqlite-best-json", "sqlite-best-cbor", "memory-whole-file"];
        let mut cells = vec![operation.to_owned(), with_range(keep)];
        // A group that was never stored cannot be loaded.
        let alone = if operation == "load" { "memory-only" } else { "openmls-alone" };
        cells.push(number(get(alone).and_then(Line::time)));
        cells.push(number(if operation == "load" { None } else { keep.raw() }));
        cells.extend(others.map(|subject| number(get(subject).and_then(Line::time))));
        cells.push(number(ratio_of(Line::time)));
        // What the disk and the neighbours add is never negative, so the fastest runs are the most alike.
        cells.push(number(ratio_of(|line| line.range().map(|(shortest, _)| shortest))));
        row(out, &cells);
    }
    line(out, String::new());
}

fn sizes(out: &mut String, figures: &Figures, plan: Plan) {
    line(
        out,
        "| | sealed bytes | bytes written: mls-keep | as shipped | JSON | CBOR | whole file | flushes: mls-keep | as \
         shipped | JSON | CBOR | whole file |"
            .into(),
    );
    line(out, "|---|---|---|---|---|---|---|---|---|---|---|---|".into());
    let subjects = ["keep", "sqlite-as-shipped", "sqlite-best-json", "sqlite-best-cbor", "memory-whole-file"];
    for operation in OPERATIONS.iter().filter(|operation| **operation != "load").chain(&["stored"]) {
        let get = |subject| figures.get(subject, plan, operation);
        let mut cells = vec![(*operation).to_owned(), whole(get("keep").and_then(Line::sealed))];
        cells.extend(subjects.map(|subject| whole(get(subject).and_then(Line::written))));
        cells.extend(subjects.map(|subject| whole(get(subject).and_then(Line::flushes))));
        row(out, &cells);
    }
    line(out, String::new());
}

fn many(out: &mut String, options: &Options, figures: &Figures) {
    if options.groups > 0 {
        line(out, "\n### Many groups in one client\n".into());
        line(out, "| ms, median (min to max) | open | first send | send | raw write | stored bytes |".into());
        line(out, "|---|---|---|---|---|---|".into());
        for groups in [1, options.groups] {
            let get = |operation| figures.get("many-groups", (groups, 0), operation);
            let mut cells = vec![format!("{groups} groups")];
            cells.extend(["open", "first send", "send"].map(|operation| get(operation).map_or_else(none, with_range)));
            cells.push(number(get("send").and_then(Line::raw)));
            cells.push(whole(get("stored").and_then(Line::written)));
            row(out, &cells);
        }
    }
    if options.clients > 0 {
        line(out, format!("\n### {} clients on one backend\n", options.clients));
        line(out, "| | durable operations per second |".into());
        line(out, "|---|---|".into());
        let rate = |subject| {
            let line = figures.get(subject, (options.clients, 0), "sends per second")?;
            median(line.ms.iter().copied())
        };
        let (flushed, unflushed) = (rate("many-clients"), rate("many-clients-unflushed"));
        row(out, &["flushed, group commit".into(), whole(flushed)]);
        row(out, &["not flushed".into(), whole(unflushed)]);
        row(out, &["ratio".into(), number(flushed.zip(unflushed).map(|(flushed, unflushed)| flushed / unflushed))]);
    }
}

fn with_range(line: &Line) -> String {
    let Some((shortest, longest)) = line.range() else { return none() };
    format!("{} ({} to {})", number(line.time()), number(Some(shortest)), number(Some(longest)))
}

fn number(value: Option<f64>) -> String {
    match value {
        Some(value) if value >= 100.0 => format!("{value:.0}"),
        Some(value) if value >= 10.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.2}"),
        None => none(),
    }
}

/// A count, with its thousands apart.
fn whole(value: Option<f64>) -> String {
    let Some(value) = value else { return none() };
    let digits = format!("{value:.0}");
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            grouped.push(' ');
        }
        grouped.push(digit);
    }
    grouped
}

fn none() -> String {
    "-".into()
}

fn row(out: &mut String, cells: &[String]) {
    line(out, format!("| {} |", cells.join(" | ")));
}

fn line(out: &mut String, text: String) {
    // Writing to a string does not fail.
    let _ = writeln!(out, "{text}");
}
