//! `--json`: one value of a known shape for every command.

mod common;

use common::Town;
use serde_json::{Value, json};

/// Replaces what differs from run to run.
fn plain(mut value: Value) -> Value {
    fn walk(value: &mut Value) {
        match value {
            Value::Array(values) => values.iter_mut().for_each(walk),
            Value::Object(fields) => {
                for (name, value) in fields {
                    match name.as_str() {
                        "id" | "signature_key" => *value = "HEX".into(),
                        "time" => *value = "TIME".into(),
                        name if name.ends_with("bytes") => *value = "N".into(),
                        "records" | "nodes" | "chunks" | "commits" => *value = "N".into(),
                        _ => walk(value),
                    }
                }
            }
            _ => {}
        }
    }
    walk(&mut value);
    value
}

#[test]
fn every_command_prints_one_value() {
    let town = Town::new();
    let (alice, bob) = (town.newcomer("alice"), town.newcomer("bob"));
    let a = |args: &[&str]| plain(alice.json(args));
    let b = |args: &[&str]| plain(bob.json(args));
    let tea = json!({ "id": "HEX", "name": "tea" });
    assert_eq!(a(&["keygen", "k"]), json!({ "file": "k" }));
    assert_eq!(a(&["init", "alice"]), json!({ "identity": "alice", "store": "sqlite:keep.db" }));
    b(&["keygen", "k"]);
    b(&["init", "bob"]);
    assert_eq!(a(&["clients"]), json!([{ "identity": "alice" }]));
    assert_eq!(b(&["key-package", "--out", "kp"]), json!({ "file": "kp" }));
    assert_eq!(a(&["group", "create", "tea"]), tea);
    assert_eq!(
        a(&["invite", "--merge", "tea", "../bob/kp", "--commit", "c", "--welcome", "w"]),
        json!({ "group": tea, "epoch": 1, "commit": "c", "welcome": "w", "invited": 1 })
    );
    assert_eq!(b(&["join", "../alice/w"]), json!({ "group": tea, "epoch": 1 }));
    let summary = json!({
        "id": "HEX", "name": "tea", "epoch": 1, "members": 2, "active": true, "pending_proposals": 0,
        "needs_rejoin": false,
        "ciphersuite": "MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519",
    });
    assert_eq!(b(&["group", "list"]), json!([summary]));
    assert_eq!(b(&["group", "show", "tea"]), summary);
    assert_eq!(
        b(&["group", "members", "tea"]),
        json!([
            { "index": 0, "identity": "alice", "signature_key": "HEX", "own": false },
            { "index": 1, "identity": "bob", "signature_key": "HEX", "own": true },
        ])
    );
    assert_eq!(a(&["send", "tea", "hi", "--out", "1"]), json!({ "group": tea, "file": "1" }));
    assert_eq!(a(&["update", "--merge", "tea", "--commit", "2"]), json!({ "group": tea, "epoch": 2, "commit": "2" }));
    let message = json!({ "number": 0, "epoch": 1, "own": false, "sender": "alice", "text": "hi", "time": "TIME" });
    let mut received = json!({ "file": "../alice/1", "type": "message", "already_received": false, "group": tea });
    received.as_object_mut().unwrap().extend(message.as_object().unwrap().clone());
    let commit = json!({
        "file": "../alice/2", "type": "commit", "already_received": false, "group": tea, "epoch": 2, "removed": false,
    });
    assert_eq!(b(&["receive", "../alice/1", "../alice/2"]), json!([received, commit]));
    received["already_received"] = true.into();
    let known = json!({ "file": "../alice/2", "type": "known", "already_received": true });
    assert_eq!(b(&["receive", "../alice/1", "../alice/2"]), json!([received, known]));
    assert_eq!(b(&["history", "tea"]), json!([message]));
    assert_eq!(b(&["group", "leave", "tea", "--out", "3"]), json!({ "group": tea, "epoch": 2, "file": "3" }));
    assert_eq!(
        a(&["receive", "../bob/3"]),
        json!([{ "file": "../bob/3", "type": "proposal", "already_received": false, "group": tea, "sender": "bob" }])
    );
    assert_eq!(a(&["remove", "--merge", "tea", "bob", "--commit", "4"])["epoch"], json!(3));
    assert_eq!(a(&["outbox", "list"]), json!([]));
    let client = json!({
        "identity": "alice", "sound": true, "problems": [], "groups": 1, "scopes": 2, "records": "N", "nodes": "N",
        "chunks": "N", "stored_bytes": "N", "value_bytes": "N", "orphans": 0, "commits": "N",
    });
    assert_eq!(a(&["verify"]), json!({ "sound": true, "clients": [client] }));
    assert_eq!(
        a(&["stat"]),
        json!({
            "store": "sqlite:keep.db", "durability": "PowerLoss", "erases_deleted": true,
            "old_versions": null, "clients": [client],
        })
    );
    assert!(a(&["completions", "bash"]).as_str().unwrap().contains("mls-keep"));
}
