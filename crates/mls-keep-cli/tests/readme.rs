//! The README's session, as it stands there.

mod common;

use std::process::Command;

use common::{Town, ran};

/// Commands stand behind `$ `, with what they print below. `[..]` is anything within a line.
#[cfg(unix)]
#[test]
fn the_session_in_the_readme_is_true() {
    let readme = include_str!("../README.md");
    let session = readme.split("```console\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let town = Town::new();
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_mls-keep"));
    let path = format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let mut commands = 0;
    for step in session.split("$ ").skip(1) {
        let (command, expected) = step.split_once('\n').unwrap();
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("{command} 2>&1")]).current_dir(town.path()).env("PATH", &path);
        for name in ["MLS_KEEP_STORE", "MLS_KEEP_KEY", "MLS_KEEP_IDENTITY"] {
            shell.env_remove(name);
        }
        let ran = ran(shell.output().unwrap());
        assert!(matches(&ran.out, expected), "$ {command}\n{}---- expected ----\n{expected}", ran.out);
        commands += 1;
    }
    assert!(commands > 10);
}

fn matches(found: &str, expected: &str) -> bool {
    let (found, expected) = (found.trim_end().lines(), expected.trim_end().lines());
    found.clone().count() == expected.clone().count()
        && found.zip(expected).all(|(found, expected)| match expected.split_once("[..]") {
            Some((start, end)) => found.starts_with(start) && found.ends_with(end),
            None => found == expected,
        })
}
