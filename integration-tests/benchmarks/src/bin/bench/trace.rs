//! Counts flushes and bytes at the system calls, from a trace by `strace`.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::Result;
use crate::figures::Line;

const FLUSHES: [&str; 4] = ["fsync(", "fdatasync(", "sync_file_range(", "msync("];
const WRITES: [&str; 4] = ["write(", "pwrite64(", "writev(", "pwritev("];

/// Whether a subject makes any system calls that are of interest.
pub(crate) fn is_worth(subject: &str) -> bool {
    !matches!(subject, "memory-only" | "openmls-alone")
}

/// A command that traces what is appended to it into `log`; `None` if there is no `strace` here.
pub(crate) fn command(log: &Path) -> Option<Command> {
    Command::new("strace").arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status().ok()?;
    let calls: Vec<_> = FLUSHES.iter().chain(&WRITES).map(|call| call.trim_end_matches('(')).collect();
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-s", "64", "--seccomp-bpf", "-e"]);
    command.arg(format!("trace={}", calls.join(","))).arg("-o").arg(log);
    Some(command)
}

/// Flushes and bytes of each operation between its marks.
pub(crate) fn read(log: &Path, subject: &str, (members, past_epochs): (usize, usize)) -> Result<Vec<Line>> {
    let mut lines: BTreeMap<String, Line> = BTreeMap::new();
    let mut running: Option<(String, u64, u64)> = None;
    for entry in std::fs::read_to_string(log)?.lines() {
        if let Some(operation) = mark(entry, "@begin ") {
            running = Some((operation.to_owned(), 0, 0));
        } else if mark(entry, "@end ").is_some() {
            let Some((operation, flushes, written)) = running.take() else { continue };
            let line = lines.entry(operation.clone()).or_insert_with(|| Line {
                subject: subject.to_owned(),
                members,
                past_epochs,
                operation,
                ..Line::default()
            });
            line.flushes.push(flushes);
            line.written.push(written);
        } else if let Some((_, flushes, written)) = &mut running {
            let (call, result) = parse(entry);
            match call {
                Call::Flush => *flushes += 1,
                Call::Write => *written += result,
                Call::Other => {}
            }
        }
    }
    Ok(lines.into_values().collect())
}

enum Call {
    Flush,
    Write,
    Other,
}

/// An entry that says how a call ended: what it was and what it returned. One that another thread's call interrupted
/// ends in `<unfinished ...>`, and ends again as `<... name resumed>`.
fn parse(entry: &str) -> (Call, u64) {
    let Some((call, result)) = entry.rsplit_once(" = ") else { return (Call::Other, 0) };
    let result = result.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0);
    let (_, call) = call.split_once(' ').unwrap_or_default();
    let call = call.trim_start();
    let name = match call.strip_prefix("<... ") {
        Some(resumed) => format!("{}(", resumed.split(' ').next().unwrap_or_default()),
        None => call.to_owned(),
    };
    let is = |names: &[&str]| names.iter().any(|known| name.starts_with(known));
    match () {
        () if is(&FLUSHES) => (Call::Flush, result),
        () if is(&WRITES) => (Call::Write, result),
        () => (Call::Other, 0),
    }
}

/// The operation of a mark.
fn mark<'e>(entry: &'e str, kind: &str) -> Option<&'e str> {
    let (_, after) = entry.split_once(&format!("\"{kind}"))?;
    Some(after.split_once("\\n")?.0)
}
