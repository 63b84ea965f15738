//! Runs the program as people do, each in a directory of their own.
#![allow(dead_code, reason = "every test file uses some of it")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// Where people live, side by side.
pub(crate) struct Town {
    dir: TempDir,
}

/// Somebody with a key and a store.
pub(crate) struct Person {
    pub(crate) dir: PathBuf,
    pub(crate) name: String,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Town {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a temporary directory") }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Somebody without a key, who has initialised nothing.
    pub(crate) fn newcomer(&self, name: &str) -> Person {
        let dir = self.path().join(name);
        fs::create_dir(&dir).expect("a directory");
        Person { dir, name: name.to_owned() }
    }

    /// Somebody with a key and a client of their name.
    pub(crate) fn person(&self, name: &str) -> Person {
        let person = self.newcomer(name);
        person.ok(&["keygen", "k"]);
        person.ok(&["init", name]);
        person
    }

    /// Alice and bob, in the group `tea` at epoch 1.
    pub(crate) fn friends(&self) -> (Person, Person) {
        let (alice, bob) = (self.person("alice"), self.person("bob"));
        bob.ok(&["key-package", "--out", "bob.kp"]);
        alice.ok(&["group", "create", "tea"]);
        alice.ok(&[
            "invite",
            "--merge",
            "tea",
            "../bob/bob.kp",
            "--commit",
            "invite.commit",
            "--welcome",
            "bob.welcome",
        ]);
        assert_eq!(bob.ok(&["join", "../alice/bob.welcome"]), "tea\tepoch 1\n");
        (alice, bob)
    }
}

impl Person {
    /// The program with this person's key and store in the environment.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = bare(&self.dir, args);
        command.env("MLS_KEEP_STORE", "sqlite:keep.db").env("MLS_KEEP_KEY", "k");
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        ran(self.command(args).output().expect("the program runs"))
    }

    /// Runs what must succeed, and gives its standard output.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let ran = self.run(args);
        assert_eq!(ran.code, Some(0), "{} {args:?}: {ran:?}", self.name);
        ran.out
    }

    /// Runs what must fail with an exit code, a kind, and a word of the advice or the error.
    #[track_caller]
    pub(crate) fn fails(&self, args: &[&str], code: i32, kind: &str, says: &str) -> Ran {
        let ran = self.run(args);
        ran.assert_error(code, kind, says);
        ran
    }

    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let out = self.ok(&[&["--json"], args].concat());
        assert_eq!(out.lines().count(), 1, "one value: {out}");
        serde_json::from_str(&out).expect("JSON")
    }

    /// Starts a command that reads standard input.
    pub(crate) fn start(&self, args: &[&str]) -> Child {
        let mut command = self.command(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("the program runs")
    }

    pub(crate) fn run_with(&self, args: &[&str], input: &[u8]) -> Ran {
        finish(self.start(args), input)
    }

    /// The history of `tea`, as printed.
    pub(crate) fn history(&self) -> String {
        self.ok(&["history", "tea"])
    }
}

impl Ran {
    /// One line that says what happened with the kind, one line that says what to do, and nothing else.
    #[track_caller]
    pub(crate) fn assert_error(&self, code: i32, kind: &str, says: &str) {
        assert_eq!(self.code, Some(code), "{self:?}");
        let lines: Vec<_> = self.err.lines().filter(|line| !line.starts_with("note: ")).collect();
        assert_eq!(lines.len(), 2, "{self:?}");
        let what = lines.first().copied().unwrap_or_default();
        assert!(what.starts_with("error: ") && what.ends_with(&format!(" ({kind})")), "{self:?}");
        assert!(self.err.contains(says), "{self:?} does not say {says}");
    }
}

/// The program in `dir`, with nothing of it in the environment.
pub(crate) fn bare(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mls-keep"));
    command.args(args).current_dir(dir).stdin(Stdio::null());
    for name in ["MLS_KEEP_STORE", "MLS_KEEP_KEY", "MLS_KEEP_IDENTITY"] {
        command.env_remove(name);
    }
    command
}

pub(crate) fn finish(mut child: Child, input: &[u8]) -> Ran {
    let mut stdin = child.stdin.take().expect("piped");
    // The program may end without reading all of it.
    drop(stdin.write_all(input));
    drop(stdin);
    ran(child.wait_with_output().expect("the program ends"))
}

pub(crate) fn ran(output: Output) -> Ran {
    Ran {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).expect("text"),
        err: String::from_utf8(output.stderr).expect("text"),
    }
}

/// The names in a directory.
pub(crate) fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("a directory");
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Runs what stands behind `$ ` in the console blocks of a page, in `dir`, and compares what it prints with what stands below. `[..]` is
/// anything within a line. Returns how many commands there were.
pub(crate) fn transcript(dir: &Path, page: &str) -> usize {
    let program = Path::new(env!("CARGO_BIN_EXE_mls-keep"));
    let path =
        format!("{}:{}", program.parent().expect("a directory").display(), std::env::var("PATH").expect("a path"));
    let blocks = page.split("```console\n").skip(1).filter_map(|rest| rest.split("```").next());
    let mut commands = 0;
    for step in blocks.flat_map(|block| block.split("$ ").skip(1)) {
        let (command, expected) = step.split_once('\n').expect("a line");
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("{command} 2>&1")]).current_dir(dir).env("PATH", &path);
        for name in ["MLS_KEEP_STORE", "MLS_KEEP_KEY", "MLS_KEEP_IDENTITY"] {
            shell.env_remove(name);
        }
        let ran = ran(shell.output().expect("a shell"));
        assert!(prints(&ran.out, expected), "$ {command}\n{}---- expected ----\n{expected}", ran.out);
        commands += 1;
    }
    commands
}

fn prints(found: &str, expected: &str) -> bool {
    let (found, expected) = (found.trim_end().lines(), expected.trim_end().lines());
    found.clone().count() == expected.clone().count()
        && found.zip(expected).all(|(found, expected)| match expected.split_once("[..]") {
            Some((start, end)) => found.starts_with(start) && found.ends_with(end),
            None => found == expected,
        })
}

/// Takes a file away from others.
#[cfg(unix)]
pub(crate) fn private(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("permissions");
}

#[cfg(not(unix))]
pub(crate) fn private(_path: &Path) {}
