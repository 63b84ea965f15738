//! [`Child`]: another process of the test program, which opens the same store and does what it is told. [`run_child`] is the
//! other side.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child as Process, ChildStdin, ChildStdout, Stdio};
use std::sync::Arc;

use bytes::Bytes;
use mls_keep_core::{ErrorKind, Key, Result, StorageBackend};

use crate::cases::concurrency::increment;
use crate::cases::keep;
use crate::harness::Harness;
use crate::support::{key, swap, wait};

/// Has the location of the store, in a process that was started to serve as another one.
const VARIABLE: &str = "MLS_KEEP_CONFORMANCE_CHILD";

/// Begins each answer, so that what a test runner prints is not taken for one.
const MARK: &str = "mls-keep-conformance: ";

/// Another process with the store of a harness. It ends when this is dropped.
pub(crate) struct Child {
    process: Process,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Child {
    /// Starts the program again. The store is not opened yet.
    pub(crate) fn start(harness: &dyn Harness) -> Self {
        let location = harness.location().expect("the case is run only with Harness::location");
        let mut command = harness.child().expect("the case is run only with a way to start the program again");
        command.env(VARIABLE, location).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().expect("the test program can be started again");
        let questions = process.stdin.take().expect("it was made a pipe");
        let answers = BufReader::new(process.stdout.take().expect("it was made a pipe"));
        let mut child = Self { process, questions, answers };
        assert_eq!(child.answer(), "ready", "another process is started");
        child
    }

    /// Asks without waiting for the answer.
    pub(crate) fn ask(&mut self, question: &str) {
        writeln!(self.questions, "{question}")
            .and_then(|()| self.questions.flush())
            .expect("the other process listens");
    }

    pub(crate) fn answer(&mut self) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            let len = self.answers.read_line(&mut line).expect("the other process answers in text");
            assert!(len > 0, "the other process ended without an answer: what it said is above");
            if let Some((_, answer)) = line.split_once(MARK) {
                return answer.trim_end().to_owned();
            }
        }
    }

    pub(crate) fn call(&mut self, question: &str) -> String {
        self.ask(question);
        self.answer()
    }

    /// Ends the process at once, as a crash does.
    pub(crate) fn kill(mut self) {
        self.process.kill().expect("the other process can be killed");
        self.process.wait().expect("the other process ends");
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Serves as the other process of a case, if this process was started for that, and says whether it was.
/// [`conformance_suite!`](crate::conformance_suite) makes a test that calls it; see [`Harness::child`].
///
/// # Panics
/// If it is asked for what it does not know.
pub fn run_child(harness: &dyn Harness) -> bool {
    let Ok(location) = std::env::var(VARIABLE) else { return false };
    let mut backend = None;
    say("ready");
    for question in std::io::stdin().lines() {
        let question = question.expect("questions are text");
        let words: Vec<&str> = question.split(' ').collect();
        let answer = wait(harness, answer(harness, &location, &mut backend, &words));
        say(&answer.unwrap_or_else(|error| format!("{} {error:?}", error.kind())));
    }
    true
}

fn say(answer: &str) {
    println!("{MARK}{}", answer.replace('\n', " "));
}

type Opened = Option<Arc<dyn StorageBackend>>;

async fn answer(harness: &dyn Harness, location: &str, opened: &mut Opened, words: &[&str]) -> Result<String> {
    if let ["open"] | ["keep"] = words {
        *opened = Some(harness.open_at(location).await?);
    }
    let backend = opened.as_ref().expect("the store is opened first");
    match words {
        ["open"] => {}
        ["close"] => {
            backend.close().await?;
            *opened = None;
        }
        ["save", name, data] => backend.save(&key(name), text(data)).await?,
        ["commit", root, expected, replacement] => {
            let expected = (*expected != "-").then(|| text(expected));
            let mut commit = swap(&key(root), expected.as_ref(), Some(&text(replacement)));
            commit.puts = vec![(Key::new(&format!("n/{replacement}"))?, text(replacement))];
            backend.commit(commit).await?;
        }
        ["increment", root, times] => {
            for _ in 0..times.parse().unwrap_or(0) {
                increment(&**backend, &key(root)).await;
            }
        }
        ["keep"] => return keep::make_or_find(backend).await.map(|id| format!("{id:?}")),
        _ => panic!("another process is asked for {words:?}"),
    }
    Ok("Ok".to_owned())
}

fn text(word: &str) -> Bytes {
    Bytes::copy_from_slice(word.as_bytes())
}

/// Whether `answer` is an error of `kind`.
pub(crate) fn is_error(answer: &str, kind: ErrorKind) -> bool {
    answer.split(' ').next() == Some(&kind.to_string())
}
