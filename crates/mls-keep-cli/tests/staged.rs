//! Commits that a delivery service takes or refuses, from the command line.

mod common;

use common::Town;
use serde_json::json;

#[test]
fn a_commit_is_staged_and_then_confirmed_or_rejected() {
    let town = Town::new();
    let (alice, bob) = town.friends();
    assert_eq!(alice.ok(&["pending"]), "nothing is staged\n");
    alice.fails(&["confirm", "tea"], 1, "NotFound", "mls-keep pending");
    alice.ok(&["update", "tea", "--commit", "a"]);
    assert_eq!(alice.ok(&["pending", "tea"]), "tea\tstaged in epoch 1\n");
    assert_eq!(alice.json(&["group", "show", "tea"])["epoch"], json!(1));
    alice.fails(&["update", "tea", "--commit", "again"], 1, "CommitPending", "confirm");
    alice.ok(&["reject", "tea"]);
    assert_eq!(alice.ok(&["pending"]), "nothing is staged\n");

    // Both commit at once, and the service takes bob's.
    alice.ok(&["update", "tea", "--commit", "late"]);
    bob.ok(&["commit", "tea", "--commit", "first"]);
    assert_eq!(bob.ok(&["confirm", "tea"]), "tea\tepoch 2\n");
    let received = alice.run(&["receive", "../bob/first"]);
    assert_eq!((received.code, received.out.as_str()), (Some(0), "tea\tepoch 2\n"));
    assert!(received.err.contains("the commit that was staged here is dropped"), "{received:?}");
    assert_eq!(alice.ok(&["pending"]), "nothing is staged\n");
    alice.ok(&["send", "tea", "together", "--out", "m"]);
    assert_eq!(bob.ok(&["receive", "../alice/m"]), "tea\talice\ttogether\n");

    // Its own commit comes back from the service, and is confirmed by that; its file can be written again before.
    alice.ok(&["remove", "tea", "--leaf", "1", "--commit", "mine"]);
    let number = alice.json(&["outbox", "list"])[0]["number"].to_string();
    alice.ok(&["outbox", "write", "tea", &number, "--out", "mine.again"]);
    assert_eq!(alice.ok(&["receive", "mine.again"]), "tea\tepoch 3\n");
    assert_eq!(alice.ok(&["outbox", "list"]), "nothing waits\n");
}

/// Names are what others call themselves.
#[test]
fn a_member_that_takes_this_clients_name_is_removed_by_its_leaf() {
    let town = Town::new();
    let (alice, _bob) = town.friends();
    let other = town.newcomer("other");
    other.ok(&["keygen", "k"]);
    other.ok(&["init", "alice"]);
    other.ok(&["key-package", "--out", "kp"]);
    alice.ok(&["invite", "--merge", "tea", "../other/kp", "--commit", "c1", "--welcome", "w"]);
    alice.fails(&["remove", "--merge", "tea", "alice", "--commit", "c2"], 1, "Invalid", "group leave");
    alice.fails(&["remove", "--merge", "tea", "--leaf", "0", "--commit", "c2"], 1, "Invalid", "group leave");
    alice.ok(&["remove", "--merge", "tea", "--leaf", "2", "--commit", "c2"]);
    assert_eq!(alice.json(&["group", "show", "tea"])["members"], json!(2));
}

/// A commit comes before the proposal that it names.
#[test]
fn what_was_kept_for_a_proposal_is_taken_in_with_it() {
    let town = Town::new();
    let (alice, bob) = town.friends();
    let carol = town.person("carol");
    carol.ok(&["key-package", "--out", "kp"]);
    alice.ok(&["invite", "--merge", "tea", "../carol/kp", "--commit", "c1", "--welcome", "w"]);
    bob.ok(&["receive", "../alice/c1"]);
    carol.ok(&["join", "../alice/w"]);
    carol.ok(&["group", "leave", "tea", "--out", "leaves"]);
    alice.ok(&["receive", "../carol/leaves"]);
    alice.ok(&["commit", "--merge", "tea", "--commit", "c2"]);
    bob.ok(&["receive", "../alice/c2"]);
    assert_eq!(bob.ok(&["receive", "../carol/leaves"]), "tea\tproposal\tcarol\ntea\tepoch 3\n");
}

#[test]
fn what_others_proposed_can_be_left_out_of_a_commit() {
    let town = Town::new();
    let (alice, bob) = town.friends();
    bob.ok(&["group", "leave", "tea", "--out", "leaves"]);
    alice.ok(&["receive", "../bob/leaves"]);
    alice.ok(&["update", "--merge", "--without-proposals", "tea", "--commit", "c1"]);
    assert!(alice.ok(&["group", "members", "tea"]).contains("bob"));
    bob.ok(&["receive", "../alice/c1"]);
    alice.ok(&["send", "tea", "stay", "--out", "m1"]);
    assert!(bob.ok(&["receive", "../alice/m1"]).contains("stay"));
}
