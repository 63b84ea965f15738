//! Every kind of store, and copies from one to another.

mod common;

use common::{Person, Town, bare, ran};

const KINDS: [&str; 4] = ["sqlite", "file", "redb", "sled"];

fn on<'a>(url: &'a str, args: &[&'a str]) -> Vec<&'a str> {
    [&["--store", url], args].concat()
}

/// As `on`, of what must succeed.
fn ok(person: &Person, url: &str, args: &[&str]) -> String {
    person.ok(&on(url, args))
}

#[test]
fn two_people_talk_from_stores_of_two_kinds() {
    let town = Town::new();
    for (a, b) in [("file", "redb"), ("sled", "file")] {
        let (alice, bob) = (town.newcomer(&format!("alice-{a}")), town.newcomer(&format!("bob-{a}-{b}")));
        let (at_a, at_b) = (format!("{a}:keep"), format!("{b}:keep"));
        for (person, url, name) in [(&alice, &at_a, "alice"), (&bob, &at_b, "bob")] {
            person.ok(&["keygen", "k"]);
            ok(person, url, &["init", name]);
        }
        let from = |file: &str| alice.dir.join(file).display().to_string();
        ok(&bob, &at_b, &["key-package", "--out", "kp"]);
        ok(&alice, &at_a, &["group", "create", "tea"]);
        let package = bob.dir.join("kp").display().to_string();
        ok(&alice, &at_a, &["invite", "--merge", "tea", &package, "--commit", "commit", "--welcome", "welcome"]);
        ok(&bob, &at_b, &["join", &from("welcome")]);
        ok(&alice, &at_a, &["send", "tea", "at five?", "--out", "1.mls"]);
        assert_eq!(ok(&bob, &at_b, &["receive", &from("1.mls")]), "tea\talice\tat five?\n");
        assert!(ok(&bob, &at_b, &["verify"]).contains("sound"));
    }
}

#[test]
fn a_keep_goes_once_around_all_kinds() {
    let town = Town::new();
    let (alice, bob) = town.friends();
    alice.ok(&["send", "tea", "before", "--out", "1.mls"]);
    bob.ok(&["receive", "../alice/1.mls"]);
    let mut from = "sqlite:keep.db".to_owned();
    let history = alice.history();
    for (number, kind) in KINDS.iter().cycle().skip(1).take(KINDS.len()).enumerate() {
        let to = format!("{kind}:copy-{number}");
        // Without a key.
        let copied = ran(bare(&alice.dir, &["copy", &from, &to]).output().unwrap());
        assert_eq!(copied.code, Some(0), "{copied:?}");
        assert!(copied.out.contains("there before: 0") && copied.err.contains("fork"), "{copied:?}");
        // Once more: all of it is there.
        let again = alice.json(&["copy", &from, &to]);
        assert_eq!(again["values"], again["already_there"], "{again}");
        assert_eq!(ok(&alice, &to, &["history", "tea"]), history);
        assert!(ok(&alice, &to, &["verify"]).contains("sound"));
        from = to;
    }
    ok(&alice, &from, &["send", "tea", "after", "--out", "2.mls"]);
    assert_eq!(bob.ok(&["receive", "../alice/2.mls"]), "tea\talice\tafter\n");
}

#[test]
fn a_target_with_other_state_is_refused_and_stays_as_it_is() {
    let town = Town::new();
    let (alice, bob) = town.friends();
    alice.ok(&["copy", "sqlite:keep.db", "file:copy"]);
    // The copy is behind.
    alice.ok(&["send", "tea", "later", "--out", "1.mls"]);
    alice.fails(&["copy", "sqlite:keep.db", "file:copy"], 1, "Conflict", "empty");
    // And the other way round it would be a rollback.
    alice.fails(&["copy", "file:copy", "sqlite:keep.db"], 1, "Conflict", "empty");
    assert_eq!(alice.history(), "alice\tlater\n");
    let other = bob.dir.join("keep.db").display().to_string();
    alice.fails(&["copy", "sqlite:keep.db", &format!("sqlite:{other}")], 1, "Conflict", "empty");
    bob.ok(&["receive", "../alice/1.mls"]);

    alice.fails(&["copy", "sqlite:keep.db", "sqlite:./keep.db"], 2, "Usage", "the same");
    alice.fails(&["copy", "sqlite:no.db", "file:new"], 1, "NotFound", "no.db");
    assert!(!alice.dir.join("new").exists(), "nothing is made when there is nothing to copy");
    alice.fails(&["copy", "ftp:x", "file:new"], 2, "Usage", "sqlite:PATH");
}

#[test]
fn the_demo_holds_on_every_kind() {
    let town = Town::new();
    for kind in &KINDS[1..] {
        let demo = ran(bare(town.path(), &["--json", "demo", "--on", kind]).output().unwrap());
        assert_eq!((demo.code, demo.err.as_str()), (Some(0), ""), "{demo:?}");
        let value: serde_json::Value = serde_json::from_str(&demo.out).unwrap();
        assert!(value["checks"].as_array().unwrap().iter().all(|check| check["holds"] == true), "{value}");
    }
}

/// A person who keeps everything in a bucket, and copies from there and to there.
#[test]
fn a_keep_in_a_bucket() {
    let town = Town::new();
    let (alice, bob) = town.friends();
    let server = s3_test_server::Server::start();
    let endpoint = server.endpoint();
    let url = |prefix: &str| format!("s3://{}/{prefix}?endpoint={endpoint}&region=us-east-1", s3_test_server::BUCKET);
    let run = |person: &Person, args: &[&str]| {
        let mut command = bare(&person.dir, args);
        command.env("AWS_ACCESS_KEY_ID", "IDSECRET").env("AWS_SECRET_ACCESS_KEY", "KEYSECRET");
        let ran = ran(command.output().unwrap());
        assert!(!format!("{ran:?}").contains("SECRET"), "{ran:?}");
        ran
    };
    alice.ok(&["send", "tea", "before", "--out", "1.mls"]);
    bob.ok(&["receive", "../alice/1.mls"]);
    let (away, back) = (url("alice"), "file:back");
    let copied = run(&alice, &["copy", "sqlite:keep.db", &away]);
    assert_eq!(copied.code, Some(0), "{copied:?}");
    let at = ["--store", &away, "--key", "k"];
    let sent = run(&alice, &[&at[..], &["send", "tea", "from afar", "--out", "2.mls"]].concat());
    assert_eq!(sent.code, Some(0), "{sent:?}");
    assert!(bob.ok(&["receive", "../alice/2.mls"]).contains("from afar"));
    assert!(run(&alice, &[&at[..], &["verify"]].concat()).out.contains("sound"));
    let copied = run(&alice, &["copy", &away, back]);
    assert_eq!(copied.code, Some(0), "{copied:?}");
    assert!(ok(&alice, back, &["history", "tea"]).contains("from afar"));
    assert!(!server.contains(b"from afar"));

    let other = url("nobody");
    let missing = run(&alice, &["--store", &other, "--key", "k", "verify"]);
    assert_eq!(missing.code, Some(1), "{missing:?}");
}

/// The demo in a bucket, which is empty afterwards.
#[test]
fn the_demo_in_a_bucket() {
    let town = Town::new();
    let alice = town.newcomer("alice");
    let server = s3_test_server::Server::start();
    let url = format!("s3://{}/demo?endpoint={}", s3_test_server::BUCKET, server.endpoint());
    let mut command = bare(&alice.dir, &["demo", "--on", &url]);
    command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test");
    let ran = ran(command.output().unwrap());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(server.keys().is_empty(), "{:?}", server.keys());
    let requests = server.take_requests();
    println!("{} requests", requests.len());
}
