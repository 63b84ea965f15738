//! Passphrases that are typed: at a pseudo-terminal, as at a real one.
#![cfg(target_os = "linux")]

mod common;

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use common::{Person, Town, bare};

const WORDS: &str = "open sesame, please";

/// The program at a terminal of its own, which `script` makes. It shows what is typed, unless the program says otherwise.
struct Terminal {
    script: Child,
    keyboard: ChildStdin,
    screen: ChildStdout,
    /// What was said and not looked at so far.
    said: Vec<u8>,
}

/// The program at a terminal, without a key in its environment.
fn at_terminal(person: &Person, args: &[&str]) -> Terminal {
    let mut command = bare(&person.dir, args);
    command.env("MLS_KEEP_STORE", "sqlite:words.db");
    Terminal::start(&command)
}

impl Terminal {
    fn start(command: &Command) -> Self {
        let quoted = |word: &std::ffi::OsStr| format!("'{}'", word.to_str().expect("text").replace('\'', "'\\''"));
        let words: Vec<_> = [command.get_program()].into_iter().chain(command.get_args()).map(quoted).collect();
        let mut script = Command::new("script");
        script.args(["--quiet", "--return", "--command", &words.join(" "), "/dev/null"]);
        script.current_dir(command.get_current_dir().expect("people have a directory"));
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => script.env(name, value),
                None => script.env_remove(name),
            };
        }
        let started = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut script = started.expect("`script`, of util-linux, makes terminals for this test");
        let keyboard = script.stdin.take().expect("a pipe");
        let screen = script.stdout.take().expect("a pipe");
        Self { script, keyboard, screen, said: Vec::new() }
    }

    /// What was said up to and with `awaited`.
    fn await_text(&mut self, awaited: &str) -> String {
        let mut byte = [0];
        while !self.said.ends_with(awaited.as_bytes()) {
            let read = self.screen.read(&mut byte).expect("the terminal is read");
            assert_eq!(read, 1, "{awaited:?} never came: {}", String::from_utf8_lossy(&self.said));
            self.said.extend(byte);
        }
        String::from_utf8(std::mem::take(&mut self.said)).expect("text")
    }

    /// Types an answer to `prompt`. Returns what was said up to that.
    fn answer(&mut self, prompt: &str, typed: &str) -> String {
        let said = self.await_text(prompt);
        self.type_hidden(typed);
        said
    }

    /// Types once the terminal shows no more what is typed: the prompt comes before that.
    fn type_hidden(&mut self, typed: &str) {
        let script = self.script.id();
        let children = std::fs::read_to_string(format!("/proc/{script}/task/{script}/children")).expect("Linux");
        let child = children.split_whitespace().next().expect("the program runs");
        let terminal = std::fs::read_link(format!("/proc/{child}/fd/0")).expect("it has a terminal");
        let is_hidden = || {
            let state = Command::new("stty").arg("-F").arg(&terminal).arg("-a").output().expect("stty");
            String::from_utf8_lossy(&state.stdout).contains(" -echo ")
        };
        assert!((0..10_000).any(|_| is_hidden()), "what is typed shows");
        writeln!(self.keyboard, "{typed}").expect("the terminal takes it");
    }

    /// The rest of what the program says, and whether it ended well.
    fn rest(mut self) -> (String, bool) {
        let mut rest = String::new();
        self.screen.read_to_string(&mut rest).expect("text");
        (rest, self.script.wait().expect("it ends").success())
    }
}

#[test]
fn a_keep_is_made_and_opened_with_a_passphrase_that_is_typed() {
    let town = Town::new();
    let alice = town.newcomer("alice");
    let mut made = at_terminal(&alice, &["init", "alice"]);
    made.await_text("no key is named");
    made.answer("Passphrase for the keep", WORDS);
    made.answer("again: ", WORDS);
    let (said, well) = made.rest();
    assert!(well && said.contains("alice: ready"), "{said}");
    assert!(!said.contains(WORDS), "what is typed does not show: {said}");

    let mut opened = at_terminal(&alice, &["--passphrase", "group", "create", "tea"]);
    opened.answer("Passphrase of the keep: ", WORDS);
    let (said, well) = opened.rest();
    assert!(well && said.contains("tea"), "{said}");

    let mut wrong = at_terminal(&alice, &["group", "list"]);
    wrong.answer("Passphrase of the keep: ", "open sesame");
    let (said, well) = wrong.rest();
    assert!(!well && said.contains("WrongKey"), "{said}");
    let mut empty = at_terminal(&alice, &["group", "list"]);
    empty.answer("Passphrase of the keep: ", "");
    let (said, well) = empty.rest();
    assert!(!well && said.contains("empty"), "{said}");

    // A second client is made in the keep that is there: its passphrase is asked for once.
    let mut second = at_terminal(&alice, &["init", "carol"]);
    second.answer("Passphrase of the keep: ", WORDS);
    let (said, well) = second.rest();
    assert!(well && said.contains("carol: ready"), "{said}");

    // A file with the same passphrase opens it, too.
    std::fs::write(alice.dir.join("words"), WORDS).unwrap();
    common::private(&alice.dir.join("words"));
    let listed = alice.ok(&["--store", "sqlite:words.db", "--passphrase-file", "words", "clients"]);
    assert_eq!(listed, "alice\ncarol\n");
}

#[test]
fn a_passphrase_that_is_mistyped_makes_nothing_and_a_generated_one_is_shown_once() {
    let town = Town::new();
    let alice = town.newcomer("alice");
    let mut mistyped = at_terminal(&alice, &["init", "alice"]);
    mistyped.answer("Passphrase for the keep", WORDS);
    mistyped.answer("again: ", "open sesame, plese");
    let (said, well) = mistyped.rest();
    assert!(!well && said.contains("not the same"), "{said}");
    assert!(!alice.dir.join("words.db").exists(), "nothing was made");

    let mut generated = at_terminal(&alice, &["init", "alice"]);
    generated.answer("Passphrase for the keep", "");
    generated.await_text("Write this down");
    let shown = generated.await_text("The passphrase again: ");
    let words = shown.lines().rev().nth(2).map(str::trim).filter(|words| !words.is_empty()).unwrap().to_owned();
    generated.type_hidden(&words);
    let (said, well) = generated.rest();
    assert!(well && said.contains("alice: ready") && !said.contains(&words), "{said}");
    let mut opened = at_terminal(&alice, &["clients"]);
    opened.answer("Passphrase of the keep: ", &words);
    assert!(opened.rest().1);
}

#[test]
fn a_passphrase_of_an_archive_is_typed() {
    let town = Town::new();
    let (alice, _) = town.friends();
    let mut backup = Terminal::start(&alice.command(&["backup", "create", "--out", "alice.backup"]));
    backup.answer("Passphrase for the archive", WORDS);
    backup.answer("again: ", WORDS);
    let (said, well) = backup.rest();
    assert!(well && !said.contains(WORDS), "{said}");
    for (typed, opens) in [(WORDS, true), ("open sesame", false)] {
        let mut verified = Terminal::start(&alice.command(&["backup", "verify", "alice.backup"]));
        verified.answer("Passphrase of the archive: ", typed);
        let (said, well) = verified.rest();
        assert_eq!(well, opens, "{said}");
    }
}

/// Where nobody can be asked, in a script, nobody is.
#[test]
fn without_a_terminal_a_passphrase_is_not_asked_for() {
    let town = Town::new();
    let alice = town.newcomer("alice");
    let run = |args: &[&str]| common::ran(bare(&alice.dir, args).output().unwrap());
    run(&["--store", "sqlite:words.db", "--passphrase", "init", "alice"]).assert_error(2, "Usage", "--passphrase-file");
    run(&["--store", "sqlite:words.db", "--passphrase", "--key", "k", "init", "alice"]).assert_error(
        2,
        "Usage",
        "Name the one",
    );
    assert!(!alice.dir.join("words.db").exists());
}
