//! The demo, as people run it.

mod common;

use common::{Town, bare, names, ran};
use serde_json::Value;

#[test]
fn the_demo_holds_what_it_checks_and_can_be_looked_at() {
    let town = Town::new();
    let run = |args: &[&str]| ran(bare(town.path(), args).output().unwrap());
    let demo = run(&["--json", "demo", "--dir", "new/demo"]);
    assert_eq!((demo.code, demo.err.as_str()), (Some(0), ""), "{demo:?}");
    let value: Value = serde_json::from_str(&demo.out).unwrap();
    assert!(value["checks"].as_array().unwrap().iter().all(|check| check["holds"] == true), "{value}");
    let operations = value["operations"].as_array().unwrap();
    let of = |name: &str| operations.iter().find(|operation| operation["operation"] == name).unwrap();
    assert!(of("send")["count"].as_u64().unwrap() >= 200);
    assert!(of("open from disk")["count"].as_u64().unwrap() >= 50);
    // One operation is one commit.
    for name in ["send", "receive message", "receive commit", "invite", "join", "update", "remove", "key package"] {
        assert_eq!(of(name)["commits"], of(name)["count"], "{name}");
    }
    assert_eq!(of("receive again")["commits"], 0);
    let there = names(&town.path().join("new/demo"));
    assert_eq!(there, ["alice.key", "alice.sqlite", "bob.key", "bob.sqlite", "carol.key", "carol.sqlite", "service"]);
    let look = ["--store", "sqlite:new/demo/bob.sqlite", "--key", "new/demo/bob.key"];
    assert_eq!(run(&[&look[..], &["verify"]].concat()).code, Some(0));
    assert_eq!(run(&[&look[..], &["history", "tea"]].concat()).out.lines().count(), 281);
    run(&["demo", "--dir", "new/demo"]).assert_error(1, "Invalid", "empty");
}
