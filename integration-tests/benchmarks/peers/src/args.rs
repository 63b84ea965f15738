//! What a benchmark program is asked to measure. Shared by both: each includes this file.

use std::path::PathBuf;

use crate::scenario::{Plan, Result};

pub(crate) struct Args {
    pub(crate) subject: String,
    pub(crate) plan: Plan,
    /// Where the store's files go. It is there, and empty.
    pub(crate) dir: PathBuf,
    /// Whether a trace of system calls is taken.
    pub(crate) marks: bool,
    /// Who lives a day, in place of what `subject` measures.
    pub(crate) day: Option<String>,
}

impl Args {
    pub(crate) fn parse(mut args: impl Iterator<Item = String>) -> Result<Self> {
        let plan = Plan { members: 2, past_epochs: 0, repetitions: 10 };
        let mut parsed = Self { subject: String::new(), plan, dir: PathBuf::new(), marks: false, day: None };
        while let Some(name) = args.next() {
            let mut value = || args.next().ok_or(format!("{name} wants a value"));
            match name.as_str() {
                "--subject" => parsed.subject = value()?,
                "--members" => parsed.plan.members = value()?.parse()?,
                "--past-epochs" => parsed.plan.past_epochs = value()?.parse()?,
                "--repetitions" => parsed.plan.repetitions = value()?.parse()?,
                "--dir" => parsed.dir = value()?.into(),
                "--day" => parsed.day = Some(value()?),
                "--marks" => parsed.marks = true,
                _ => return Err(format!("no argument is called {name}").into()),
            }
        }
        Ok(parsed)
    }
}
