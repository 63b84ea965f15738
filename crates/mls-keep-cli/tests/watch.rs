//! `receive --watch`, and what is saved of it when.

#![cfg(unix)]
// A test fails by panicking.
#![allow(clippy::unwrap_used)]

mod common;

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use common::{Person, Town};

/// Bob watches a directory into which alice's messages are put.
struct Watching {
    town: Town,
    alice: Person,
    bob: Person,
    inbox: PathBuf,
    sent: usize,
}

/// A program that goes on.
struct Running {
    child: Child,
    printed: BufReader<std::process::ChildStdout>,
}

impl Watching {
    fn new() -> Self {
        let town = Town::new();
        let (alice, bob) = town.friends();
        let inbox = bob.dir.join("in");
        std::fs::create_dir(&inbox).unwrap();
        Self { town, alice, bob, inbox, sent: 0 }
    }

    /// A message is put into the directory, whole at once.
    fn send(&mut self, text: &str) -> PathBuf {
        self.sent += 1;
        let (made, name) = (format!("{}.mls", self.sent), format!("{:03}.mls", self.sent));
        self.alice.ok(&["send", "tea", text, "--out", &made]);
        let path = self.inbox.join(name);
        std::fs::rename(self.alice.dir.join(made), &path).unwrap();
        path
    }

    fn watch(&self, args: &[&str]) -> Running {
        let mut child = self.bob.start(&[&["receive", "in", "--watch"], args].concat());
        let printed = BufReader::new(child.stdout.take().unwrap());
        Running { child, printed }
    }
}

impl Running {
    /// Waits for the next line.
    #[track_caller]
    fn prints(&mut self, expected: &str) {
        let mut line = String::new();
        self.printed.read_line(&mut line).unwrap();
        assert_eq!(line, format!("{expected}\n"));
    }

    /// Ends it by a signal, and returns its exit code.
    fn end(mut self, signal: &str) -> Option<i32> {
        assert!(Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap().success());
        self.child.wait().unwrap().code()
    }
}

fn is_removed(path: &std::path::Path) -> bool {
    let begun = Instant::now();
    while path.exists() {
        if begun.elapsed() > Duration::from_secs(60) {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    true
}

#[test]
fn a_file_is_removed_when_what_it_says_is_saved_and_not_before() {
    let mut watching = Watching::new();
    let first = watching.send("one");
    // A save that does not come: a kill loses what was printed, and not the file.
    let mut running = watching.watch(&["--save", "every:86400", "--remove"]);
    running.prints("tea\talice\tone");
    let second = watching.send("two");
    running.prints("tea\talice\ttwo");
    assert!(first.exists() && second.exists(), "a file was removed before its message was saved");
    assert_eq!(running.end("-KILL"), None);
    assert_eq!(watching.bob.history(), "");

    // A save when it is due, although nothing happens.
    let mut running = watching.watch(&["--save", "every:1", "--remove"]);
    running.prints("tea\talice\tone");
    running.prints("tea\talice\ttwo");
    assert!(is_removed(&first) && is_removed(&second), "no save came");
    assert_eq!(running.end("-KILL"), None);
    assert_eq!(watching.bob.history(), "alice\tone\nalice\ttwo\n");

    // A save at the end that is asked for.
    for (signal, text) in [("-TERM", "three"), ("-INT", "four")] {
        let path = watching.send(text);
        let mut running = watching.watch(&["--save", "every:86400", "--remove"]);
        running.prints(&format!("tea\talice\t{text}"));
        assert!(path.exists());
        assert_eq!(running.end(signal), Some(0));
        assert!(!path.exists(), "it was saved at the end, and its file is still there");
        assert!(watching.bob.history().ends_with(&format!("alice\t{text}\n")));
    }
    assert_eq!(watching.bob.history().lines().count(), 4);
    assert!(watching.bob.ok(&["verify"]).contains("sound"));
    drop(watching.town);
}

#[test]
fn where_each_message_is_saved_its_file_goes_at_once() {
    let mut watching = Watching::new();
    let path = watching.send("one");
    std::fs::write(watching.inbox.join("other"), "no message").unwrap();
    let received = watching.bob.run(&["receive", "in", "--remove"]);
    assert_eq!((received.code, received.out.as_str()), (Some(1), "tea\talice\tone\n"));
    assert!(!path.exists() && watching.inbox.join("other").exists(), "what was not taken in stays");

    let path = watching.send("two");
    let mut running = watching.watch(&["--remove"]);
    running.prints("tea\talice\ttwo");
    assert!(is_removed(&path));
    assert_eq!(running.end("-TERM"), Some(0));
    assert_eq!(watching.bob.history(), "alice\tone\nalice\ttwo\n");
    for (args, says) in [
        (&["receive", "in", "--save", "every:1"][..], "--watch"),
        (&["receive", "in", "--watch", "--save", "often"], "every:SECONDS"),
    ] {
        let refused = watching.bob.run(args);
        assert!(refused.code == Some(2) && refused.err.contains(says), "{refused:?}");
    }
}
