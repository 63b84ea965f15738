//! Ways into groups and back, directories of messages, and what is kept.

// A test fails by panicking.
#![allow(clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use common::Town;
use serde_json::json;

#[test]
fn a_member_that_lost_a_commit_enters_again_and_keeps_its_history() {
    let town = Town::new();
    let (alice, bob) = town.friends();
    alice.ok(&["send", "tea", "before", "--out", "1"]);
    bob.ok(&["receive", "../alice/1"]);
    // Bob never gets this commit.
    alice.ok(&["update", "--merge", "tea", "--commit", "lost"]);
    alice.ok(&["group", "info", "tea", "--out", "info", "--without-tree"]);
    alice.ok(&["group", "tree", "tea", "--out", "tree"]);
    let rejoin = ["group", "rejoin", "--group-info", "../alice/info", "--commit", "back"];
    bob.fails(&rejoin, 1, "Aborted", "--tree");
    bob.ok(&[&rejoin[..], &["--tree", "../alice/tree"]].concat());
    assert!(bob.ok(&["pending"]).contains("tea\tstaged in epoch 2"));
    bob.ok(&["reject", "tea"]);
    bob.ok(&[&rejoin[..], &["--tree", "../alice/tree", "--force"]].concat());
    alice.ok(&["receive", "../bob/back"]);
    assert_eq!(bob.ok(&["confirm", "tea"]), "tea\tepoch 3\n");
    assert_eq!(bob.history(), "alice\tbefore\n");
    alice.ok(&["send", "tea", "after", "--out", "2"]);
    assert_eq!(bob.ok(&["receive", "../alice/2"]), "tea\talice\tafter\n");
    // Both see the same keys, and the same epoch.
    assert_eq!(alice.ok(&["fingerprint", "tea"]), bob.ok(&["fingerprint", "tea"]));
    assert!(bob.ok(&["fingerprint", "tea"]).contains(bob.ok(&["fingerprint"]).trim_end()));
}

#[test]
fn somebody_enters_whom_nobody_invited() {
    let town = Town::new();
    let (alice, _bob) = town.friends();
    let carol = town.person("carol");
    alice.ok(&["group", "info", "tea", "--out", "info"]);
    let entry = carol.json(&["group", "rejoin", "--group-info", "../alice/info", "--commit", "entry"]);
    let id = entry["group"]["id"].as_str().unwrap();
    assert!(carol.ok(&["group", "list"]).starts_with("no groups"));
    carol.ok(&["confirm", id]);
    assert!(carol.ok(&["group", "list"]).contains("tea"));
    alice.ok(&["receive", "../carol/entry"]);
    carol.ok(&["send", "tea", "hello", "--out", "hello"]);
    assert_eq!(alice.ok(&["receive", "../carol/hello"]), "tea\tcarol\thello\n");
}

#[test]
fn a_directory_is_taken_in_whatever_the_order_and_with_its_welcomes() {
    let town = Town::new();
    let (alice, _) = town.friends();
    let carol = town.person("carol");
    carol.ok(&["key-package", "--out", "kp", "--count", "2", "--days", "7"]);
    assert_eq!(carol.json(&["key-package", "list"]).as_array().unwrap().len(), 2);
    alice.ok(&["invite", "tea", "../carol/kp.2", "--commit", "c", "--welcome", "w"]);
    alice.ok(&["confirm", "tea"]);
    assert_eq!(alice.ok(&["outbox", "list"]), "nothing waits\n");
    std::fs::create_dir(town.path().join("mail")).unwrap();
    for (number, text) in ["one", "two"].iter().enumerate() {
        alice.ok(&["send", "tea", text, "--out", &format!("../mail/{number}")]);
    }
    std::fs::write(town.path().join("mail/3"), b"junk").unwrap();
    std::fs::copy(alice.dir.join("w"), town.path().join("mail/welcome")).unwrap();
    let ran = carol.fails(&["receive", "../mail"], 1, "Invalid", "3: ");
    assert_eq!(ran.out, "tea\tepoch 2\ntea\talice\tone\ntea\talice\ttwo\n");
    assert_eq!(carol.json(&["key-package", "list"]).as_array().unwrap().len(), 1);
    assert_eq!(carol.json(&["key-package", "prune"]), json!({ "deleted": 0 }));
}

#[test]
fn what_is_kept_is_what_the_policy_says() {
    let town = Town::new();
    let (alice, bob) = town.friends();
    for number in 0..5 {
        alice.ok(&["send", "tea", &number.to_string(), "--out", "m", "--force"]);
    }
    let numbers = |args: &[&str]| {
        let messages = alice.json(args);
        messages.as_array().unwrap().iter().map(|message| message["number"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(numbers(&["history", "tea", "--before", "3", "--limit", "2"]), [1, 2]);
    alice.ok(&["history", "tea", "--delete", "2"]);
    assert_eq!(numbers(&["history", "tea"]), [0, 1, 3, 4]);
    assert!(alice.ok(&["history", "tea", "--long"]).starts_with("0\t20"));
    let kept = alice.ok(&["group", "policy", "tea", "--keep-messages", "2", "--keep-days", "30"]);
    assert_eq!(kept, "tea\tthe newest 2 messages of the last 30.0 days\n");
    assert_eq!(numbers(&["history", "tea"]), [3, 4]);
    alice.ok(&["group", "policy", "tea", "--no-history"]);
    assert!(numbers(&["history", "tea"]).is_empty());

    alice.ok(&["group", "forget", "tea"]);
    alice.fails(&["history", "tea"], 1, "NotFound", "tea");
    bob.fails(&["delete-client", "nobody"], 1, "NotFound", "nobody");
    bob.ok(&["delete-client", "bob"]);
    assert_eq!(bob.json(&["clients"]), json!([]));
}

#[test]
fn a_client_is_made_with_settings() {
    let town = Town::new();
    let alice = town.newcomer("alice");
    alice.ok(&["keygen", "k"]);
    alice.fails(&["init", "alice", "--ciphersuite", "4711"], 2, "Usage", "4711");
    alice.ok(&["init", "alice", "--public-handshakes", "--padding", "1024", "--ciphersuite", "3"]);
    alice.ok(&["group", "create", "tea"]);
    alice.ok(&["update", "tea", "--commit", "c"]);
    // A PublicMessage (RFC 9420 section 6).
    assert!(std::fs::read(alice.dir.join("c")).unwrap().starts_with(&[0, 1, 0, 1]));
    assert!(alice.ok(&["group", "show", "tea"]).contains("CHACHA20POLY1305"));
}
