//! [`Client`]: the process of a client, and what it costs.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use crate::Result;
use crate::hex::{from_hex, to_hex};

const FLUSHES: &str = "trace=fsync,fdatasync,sync_file_range,msync";

/// What a day cost.
#[derive(Default)]
pub(crate) struct Figures {
    /// Milliseconds of each operation, by its name. Of a restart, from the start of the process to its first answer.
    pub(crate) ms: BTreeMap<&'static str, Vec<f64>>,
    /// Bytes that were given to `write` and its like.
    pub(crate) written: u64,
    pub(crate) flushes: Option<u64>,
    /// The most memory that one of the processes took, bytes.
    pub(crate) peak: u64,
    /// And one that opened the store, took in one message, and ended.
    pub(crate) peak_of_one: u64,
    /// The length of the store's files in the end.
    pub(crate) stored: u64,
}

/// A client that is asked for one thing after another.
pub(crate) struct Client {
    program: PathBuf,
    subject: String,
    directory: PathBuf,
    trace: Option<PathBuf>,
    /// `None` while the client is away.
    process: Option<Process>,
    figures: Figures,
}

struct Process {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    /// When it was started, until it has answered.
    started: Option<Instant>,
    /// Bytes that it has answered.
    answered: u64,
}

pub(crate) fn can_trace() -> bool {
    let traced = Command::new("strace").args(["-qq", "-e", "trace=none", "true"]).stderr(Stdio::null()).status();
    traced.is_ok_and(|status| status.success())
}

impl Client {
    pub(crate) fn new(program: &Path, subject: &str, directory: &Path, trace: Option<PathBuf>) -> Self {
        let (program, directory) = (program.to_owned(), directory.to_owned());
        Self { program, subject: subject.to_owned(), directory, trace, process: None, figures: Figures::default() }
    }

    /// Ends the process. The next request starts another one.
    pub(crate) fn stop(&mut self) -> Result<()> {
        let Some(process) = self.process.take() else { return Ok(()) };
        process.figures(self.trace.is_some(), &mut self.figures)?;
        process.end()
    }

    /// Asks for `request`, an `operation` of the figures. Returns the answer.
    pub(crate) fn ask(&mut self, operation: &'static str, request: &str, fields: &[&[u8]]) -> Result<Vec<u8>> {
        let mut line = request.to_owned();
        for field in fields {
            line.push(' ');
            line.push_str(&to_hex(field));
        }
        line.push('\n');
        let process = match &mut self.process {
            Some(process) => process,
            none => none.insert(Process::start(&self.program, &self.subject, &self.directory, self.trace.as_deref())?),
        };
        process.input.write_all(line.as_bytes())?;
        let mut answer = String::new();
        process.output.read_line(&mut answer)?;
        process.answered += answer.len() as u64;
        let started = process.started.take();
        let answer = answer.trim_end_matches('\n').split_once(' ');
        let (nanoseconds, bytes) = answer.ok_or_else(|| format!("{} does not answer {request}", self.subject))?;
        if let Some(started) = started {
            self.figures.ms.entry("start").or_default().push(started.elapsed().as_secs_f64() * 1e3);
        }
        self.figures.ms.entry(operation).or_default().push(nanoseconds.parse::<f64>()? / 1e6);
        from_hex(bytes)
    }

    /// Asks for one thing in a process that does nothing else, as one does that a notification wakes.
    pub(crate) fn ask_alone(&mut self, operation: &'static str, request: &str, fields: &[&[u8]]) -> Result<Vec<u8>> {
        self.stop()?;
        let answer = self.ask(operation, request, fields)?;
        if let (Some(process), None) = (&self.process, &self.trace) {
            self.figures.peak_of_one = self.figures.peak_of_one.max(process.peak()?);
        }
        self.stop()?;
        Ok(answer)
    }

    pub(crate) fn end(mut self) -> Result<Figures> {
        self.stop()?;
        for entry in std::fs::read_dir(&self.directory)? {
            self.figures.stored += entry?.metadata()?.len();
        }
        if let Some(trace) = &self.trace {
            let lines = std::fs::read_to_string(trace)?;
            // A call that another one interrupts has a second line, without its opening parenthesis.
            self.figures.flushes =
                Some(lines.lines().filter(|line| line.contains("sync") && line.contains('(')).count() as u64);
        }
        Ok(self.figures)
    }
}

impl Process {
    fn start(program: &Path, subject: &str, directory: &Path, trace: Option<&Path>) -> Result<Self> {
        let mut command = match trace {
            Some(log) => {
                let mut command = Command::new("strace");
                command.args(["-f", "-qq", "--seccomp-bpf", "-A", "-e", FLUSHES, "-o"]).arg(log).arg(program);
                command
            }
            None => Command::new(program),
        };
        command.args(["--day", subject, "--dir"]).arg(directory);
        let started = Some(Instant::now());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = child.stdin.take().ok_or("there is no pipe")?;
        let output = BufReader::new(child.stdout.take().ok_or("there is no pipe")?);
        Ok(Self { child, input, output, started, answered: 0 })
    }

    /// Adds what it has cost so far.
    fn figures(&self, is_traced: bool, figures: &mut Figures) -> Result<()> {
        if !is_traced {
            figures.written += self.field("io", "wchar:")? - self.answered;
            figures.peak = figures.peak.max(self.peak()?);
        }
        Ok(())
    }

    /// The most memory that it has taken, bytes.
    fn peak(&self) -> Result<u64> {
        Ok(self.field("status", "VmHWM:")? * 1024)
    }

    fn field(&self, file: &str, name: &str) -> Result<u64> {
        let text = std::fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).unwrap_or_default();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok());
        Ok(value.ok_or_else(|| format!("there is no {name} in {file}"))?)
    }

    fn end(self) -> Result<()> {
        let Self { mut child, input, output, .. } = self;
        drop(input);
        let status = child.wait()?;
        drop(output);
        if status.success() { Ok(()) } else { Err(format!("a client ended with {status}").into()) }
    }
}
