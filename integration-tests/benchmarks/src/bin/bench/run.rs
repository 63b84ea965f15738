//! Runs the programs: each subject in turn, again and again, so that what disturbs the machine disturbs all of them.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::figures::{Figures, Line};
use crate::{Options, Result, trace};

/// What is measured against the keep, and OpenMLS with a storage that keeps nothing.
const PEERS: [&str; 6] =
    ["sqlite-as-shipped", "sqlite-best-json", "sqlite-best-cbor", "memory-whole-file", "memory-only", "openmls-alone"];

/// Groups under this many members are measured more often, since their operations are short against the moods of a disk.
const LARGE: usize = 1000;
const SMALL_GROUPS_PER_ROUND: usize = 4;

/// Repetitions under the trace, where time is not taken.
const TRACED_REPETITIONS: usize = 4;

/// The plans of one round.
fn passes(plans: &[(usize, usize)]) -> Vec<(usize, usize)> {
    let again = (1..SMALL_GROUPS_PER_ROUND).flat_map(|_| plans.iter().filter(|(members, _)| *members < LARGE));
    plans.iter().chain(again).copied().collect()
}

struct Runner<'o> {
    options: &'o Options,
    json: Option<File>,
    figures: Figures,
}

pub(crate) fn everything(options: &Options) -> Result<Figures> {
    let json = options.json.as_deref().map(File::create).transpose()?;
    let mut runner = Runner { options, json, figures: Figures::default() };
    for round in 0..options.rounds {
        for plan in passes(&options.plans()) {
            for subject in ["keep"].into_iter().chain(PEERS) {
                eprintln!("round {}: {subject}, {} members, {} past epochs", round + 1, plan.0, plan.1);
                runner.measure(subject, plan, options.repetitions)?;
            }
        }
        for groups in [1, options.groups].into_iter().filter(|_| options.groups > 0) {
            eprintln!("round {}: {groups} groups", round + 1);
            runner.measure("many-groups", (groups, 0), options.repetitions)?;
        }
        for subject in ["many-clients", "many-clients-unflushed"].into_iter().filter(|_| options.clients > 0) {
            eprintln!("round {}: {subject}", round + 1);
            runner.measure(subject, (options.clients, 0), 1)?;
        }
    }
    for plan in options.plans() {
        for subject in ["keep"].into_iter().chain(PEERS).filter(|subject| trace::is_worth(subject)) {
            eprintln!("trace: {subject}, {} members, {} past epochs", plan.0, plan.1);
            runner.trace(subject, plan)?;
        }
    }
    Ok(runner.figures)
}

impl Runner<'_> {
    fn measure(&mut self, subject: &str, plan: (usize, usize), repetitions: usize) -> Result<()> {
        let dir = tempfile::tempdir()?;
        let mut command = Command::new(self.program(subject));
        arguments(&mut command, subject, plan, repetitions, dir.path());
        self.collect(&printed(command)?)
    }

    fn trace(&mut self, subject: &str, plan: (usize, usize)) -> Result<()> {
        let dir = tempfile::tempdir()?;
        let log = dir.path().join("trace");
        let Some(mut command) = trace::command(&log) else { return Ok(()) };
        command.arg(self.program(subject)).arg("--marks");
        let store = dir.path().join("store");
        std::fs::create_dir(&store)?;
        arguments(&mut command, subject, plan, TRACED_REPETITIONS, &store);
        printed(command)?;
        for line in trace::read(&log, subject, plan)? {
            self.add(line)?;
        }
        Ok(())
    }

    fn program(&self, subject: &str) -> &Path {
        if PEERS.contains(&subject) { &self.options.peers } else { &self.options.keep }
    }

    fn collect(&mut self, printed: &str) -> Result<()> {
        for line in printed.lines() {
            self.add(serde_json::from_str(line)?)?;
        }
        Ok(())
    }

    fn add(&mut self, line: Line) -> Result<()> {
        if let Some(json) = &mut self.json {
            writeln!(json, "{}", serde_json::to_string(&line)?)?;
        }
        self.figures.add(line);
        Ok(())
    }
}

fn arguments(command: &mut Command, subject: &str, plan: (usize, usize), repetitions: usize, dir: &Path) {
    command.args(["--subject", subject]);
    command.args(["--members", &plan.0.to_string()]);
    command.args(["--past-epochs", &plan.1.to_string()]);
    command.args(["--repetitions", &repetitions.to_string()]);
    command.arg("--dir").arg(dir);
}

fn printed(mut command: Command) -> Result<String> {
    let output = command.stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("{command:?} failed").into());
    }
    Ok(String::from_utf8(output.stdout)?)
}
