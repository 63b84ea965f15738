//! Coming from elsewhere: the commands of `docs/coming-from-elsewhere.md`.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{Person, Town};

fn fixture(name: &str, file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../mls-keep-import/tests/fixtures").join(name).join(file)
}

/// The commands of the guide, in their order.
fn commands_of_the_guide() -> Vec<Vec<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/coming-from-elsewhere.md");
    let guide = fs::read_to_string(path).expect("the guide");
    let lines = guide.lines().filter_map(|line| line.strip_prefix("mls-keep "));
    lines.map(words).collect()
}

/// As a shell would split it.
fn words(line: &str) -> Vec<String> {
    let parts = line.split('\'').enumerate();
    parts
        .flat_map(|(at, part)| match at % 2 {
            0 => part.split_whitespace().map(str::to_owned).collect(),
            _ => vec![part.to_owned()],
        })
        .collect()
}

fn person_with(town: &Town, name: &str, file: &Path, called: &str) -> Person {
    let person = town.newcomer(name);
    fs::copy(file, person.dir.join(called)).expect("a copy");
    person
}

#[test]
fn the_guide_leads_from_a_database_to_a_client_that_goes_on() {
    for (name, file) in
        [("sqlite-json", "alice.db"), ("sqlite-cbor", "alice.db"), ("sqlx-json", "alice.db"), ("memory", "alice.json")]
    {
        let town = Town::new();
        let alice = person_with(&town, "alice", &fixture(name, file), "openmls.db");
        let bob = person_with(&town, "bob", &fixture(name, "bob.json"), "openmls.json");
        bob.ok(&["keygen", "alice.key"]);
        let imported =
            bob.command(&["import", "openmls", "openmls.json"]).env("MLS_KEEP_KEY", "alice.key").output().unwrap();
        assert!(imported.status.success(), "{name}: {imported:?}");

        let commands = commands_of_the_guide();
        assert!(commands.len() >= 5, "{commands:?}");
        for command in commands {
            let words: Vec<&str> = command.iter().map(String::as_str).collect();
            let ran = alice.command(&words).env("MLS_KEEP_KEY", "alice.key").output().unwrap();
            assert!(ran.status.success(), "{name} {words:?}: {ran:?}");
        }
        let received = bob.command(&["receive", "../alice/1.mls"]).env("MLS_KEEP_KEY", "alice.key").output().unwrap();
        let text = String::from_utf8(received.stdout).unwrap();
        assert!(text.ends_with("\talice\thello from the new program\n"), "{name}: {text}");
    }
}

#[test]
fn what_is_imported_is_said_and_several_identities_are_chosen_from() {
    let town = Town::new();
    let alice = person_with(&town, "alice", &fixture("sqlite-json", "alice.db"), "openmls.db");
    alice.ok(&["keygen", "k"]);
    alice.fails(&["import", "openmls", "openmls.db"], 2, "Usage", "--identity");
    alice.fails(&["import", "openmls", "none.db"], 1, "NotFound", "none.db");
    let report = alice.json(&["import", "openmls", "openmls.db", "--identity", "alice", "--codec", "json"]);
    assert_eq!(report["groups"].as_array().unwrap().len(), 3);
    assert_eq!(report["left"].as_array().unwrap().len(), 2);
    assert_eq!(report["key_packages"], 1);
    assert_eq!(report["psks"], 1);
    let again = alice.json(&["import", "openmls", "openmls.db", "--identity", "alice"]);
    assert_eq!(again["groups"].as_array().unwrap().len(), 0);
    // In another codec nothing of it decodes.
    let wrong = alice.json(&["import", "openmls", "openmls.db", "--identity", "alice", "--codec", "cbor"]);
    assert_eq!(wrong["left"].as_array().unwrap().len(), 5);
}
