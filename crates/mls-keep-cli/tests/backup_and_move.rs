//! The guide to backups and moves, as it stands there; and what the commands refuse.

mod common;

use std::fs;

use common::{Town, transcript};

#[cfg(unix)]
#[test]
fn the_guide_to_backups_and_moves_is_true() {
    let town = Town::new();
    let (alice, bob) = town.friends();
    drop((alice, bob));
    let commands = transcript(town.path(), include_str!("../../../docs/backup-and-move.md"));
    assert!(commands > 20);
}

#[test]
fn a_restored_client_lists_its_groups_and_whom_to_ask() {
    let town = Town::new();
    let (alice, _) = town.friends();
    alice.ok(&["group", "create", "alone"]);
    assert_eq!(alice.ok(&["group", "waiting"]), "no group waits to be entered anew\n");
    alice.ok(&["keygen", "b"]);
    for secrets in [&[][..], &["--without-group-secrets"]] {
        let name = format!("{}.backup", secrets.len());
        alice.ok(&[&["backup", "create", "--out", &name, "--backup-key", "b"], secrets].concat());
        let store = format!("sqlite:restored{}.db", secrets.len());
        let on = |args: &[&str]| alice.ok(&[&["--store", &store], args].concat());
        let restored = on(&["backup", "restore", &name, "--backup-key", "b"]);
        for line in
            ["alice: ready", "alone\tto be entered anew\tnobody is left to ask", "tea\tto be entered anew\task bob"]
        {
            assert!(restored.lines().any(|printed| printed == line), "{restored}");
        }
        assert_eq!(on(&["group", "waiting"]).lines().count(), 2);
        let listed = on(&["group", "list"]);
        assert_eq!(listed.matches("to be entered anew").count(), 2, "{listed}");
        let listed = alice.json(&["--store", &store, "group", "list"]);
        assert_eq!(listed.as_array().unwrap().iter().filter(|group| group["needs_rejoin"] == true).count(), 2);
        let waiting = alice.json(&["--store", &store, "group", "waiting"]);
        let tea = waiting.as_array().unwrap().iter().find(|group| group["name"] == "tea").unwrap();
        assert_eq!((&tea["ask"][0]["identity"], &tea["ask"][0]["leaf"]), (&"bob".into(), &1.into()));
    }
}

#[test]
fn a_backup_is_listed_and_refused_with_advice() {
    let town = Town::new();
    let (alice, _) = town.friends();
    alice.ok(&["keygen", "b"]);
    let made = alice.json(&["backup", "create", "--out", "1.backup", "--backup-key", "b"]);
    assert_eq!((made["kind"].as_str(), made["groups"].as_u64()), (Some("full"), Some(1)));
    assert_eq!(made["bytes"].as_u64(), Some(fs::metadata(alice.dir.join("1.backup")).unwrap().len()));
    let listed = alice.json(&["backup", "list", "1.backup", "--backup-key", "b"]);
    assert_eq!(listed[0]["id"], made["id"]);
    assert!(alice.ok(&["backup", "list", "1.backup", "--backup-key", "b"]).contains("everything"));

    let key = ["--backup-key", "b"];
    alice.fails(&[&["backup", "create", "--out", "1.backup"][..], &key].concat(), 1, "Invalid", "Name another file");
    alice.fails(&[&["backup", "restore", "1.backup"][..], &key].concat(), 1, "Conflict", "--replace");
    alice.fails(&["backup", "verify", "1.backup", "--backup-key", "k"], 1, "WrongKey", "made with");
    alice.fails(&["backup", "verify", "1.backup"], 2, "Usage", "--backup-key");
    alice.fails(&[&["move", "in", "1.backup"][..], &key].concat(), 1, "Invalid", "backup restore");
    alice.fails(&["move", "reclaim"], 1, "Invalid", "is here");
    alice.fails(&[&["move", "out", "--again", "--out", "m"][..], &key].concat(), 1, "Invalid", "Nothing was changed");
    let mut damaged = fs::read(alice.dir.join("1.backup")).unwrap();
    damaged[500] ^= 1;
    fs::write(alice.dir.join("damaged"), damaged).unwrap();
    alice.fails(&[&["backup", "verify", "damaged"][..], &key].concat(), 1, "Corrupt", "another copy");
    // Nothing is left of what failed.
    assert!(common::names(&alice.dir).iter().all(|name| !name.starts_with(".mls-keep-") && name != "m"));
    fs::write(alice.dir.join("words"), "six words that nobody will guess\n").unwrap();
    #[cfg(unix)]
    fs::set_permissions(alice.dir.join("words"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let words = ["--backup-passphrase-file", "words"];
    alice.ok(&[&["move", "out", "--out", "m"][..], &words].concat());
    alice.fails(&["group", "list"], 1, "MovedOut", "move reclaim");
    assert!(alice.ok(&["verify"]).contains("sound"));
    alice.ok(&[&["move", "out", "--again", "--out", "m2"][..], &words].concat());
    let reclaimed = alice.json(&["move", "reclaim"]);
    assert_eq!(reclaimed["to_rejoin"][0]["name"], "tea");
    alice.fails(&["send", "tea", "x", "--out", "x"], 1, "NeedsRejoin", "invite it again");
}
