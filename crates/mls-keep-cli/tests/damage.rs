//! A keep whose file was damaged.

mod common;

use std::fs;
use std::path::Path;

use common::{Person, Town};

#[test]
fn verify_notices_a_flipped_bit_in_every_stored_value() {
    let town = Town::new();
    let alice = keep_with_messages(&town);
    let db = rusqlite::Connection::open(alice.dir.join("keep.db")).unwrap();
    let mut rows = db.prepare("SELECT value FROM keep").unwrap();
    let values: Vec<Vec<u8>> = rows.query_map([], |row| row.get(0)).unwrap().map(|value| value.unwrap()).collect();
    drop(rows);
    db.close().unwrap();
    assert!(values.len() >= 4, "header, root and nodes");
    let file = alice.dir.join("keep.db");
    let sound = fs::read(&file).unwrap();
    for value in values {
        let at = sound.windows(16).position(|window| window == &value[..16]).unwrap();
        flip(&file, &sound, at + 8);
        let verified = alice.run(&["verify"]);
        let kinds = ["(Corrupt)", "(WrongKey)", "(UnsupportedVersion)"];
        assert_eq!((verified.code, verified.err.lines().count()), (Some(1), 2), "byte {at}: {verified:?}");
        assert!(kinds.iter().any(|kind| verified.err.contains(kind)), "byte {at}: {verified:?}");
    }
}

#[test]
fn damage_anywhere_is_an_error_or_changes_nothing() {
    let town = Town::new();
    let alice = keep_with_messages(&town);
    let history = alice.history();
    let file = alice.dir.join("keep.db");
    let sound = fs::read(&file).unwrap();
    let mut noticed = 0;
    for at in (0..sound.len()).step_by(211) {
        flip(&file, &sound, at);
        let verified = alice.run(&["verify"]);
        let read = alice.run(&["history", "tea"]);
        match verified.code {
            // Free space of a page.
            Some(0) => assert_eq!(read.out, history, "byte {at} changes what is read"),
            _ => {
                noticed += 1;
                assert_eq!((verified.code, verified.err.lines().count()), (Some(1), 2), "byte {at}: {verified:?}");
                assert!(!verified.err.contains("(Internal)"), "byte {at}: {verified:?}");
                assert!(read.code == Some(1) || read.out == history, "byte {at}: {read:?}");
            }
        }
    }
    assert!(noticed > 0);
    fs::write(&file, &sound).unwrap();
    assert_eq!(alice.run(&["verify"]).code, Some(0));
}

#[test]
fn gc_deletes_what_no_root_names_and_nothing_else() {
    let town = Town::new();
    let alice = keep_with_messages(&town);
    let (history, whole) = (alice.history(), "clients looked through: 1, nodes deleted: 0\n");
    assert_eq!(alice.ok(&["gc"]), whole);
    let db = rusqlite::Connection::open(alice.dir.join("keep.db")).unwrap();
    let roots = "SELECT key FROM keep WHERE key >= x'722f' AND key < x'7230'";
    let root: Vec<u8> = db.query_row(roots, [], |row| row.get(0)).unwrap();
    let token = String::from_utf8(root).unwrap().replace("r/", "");
    for orphan in [format!("n/{token}/{}", "0".repeat(32)), format!("n/{}/{}", "0".repeat(26), "1".repeat(32))] {
        db.execute("INSERT INTO keep (key, value) VALUES (?1, x'00')", [orphan.into_bytes()]).unwrap();
    }
    db.close().unwrap();
    assert_eq!(alice.ok(&["gc"]), "clients looked through: 2, nodes deleted: 2\n");
    assert_eq!(alice.history(), history);
    assert_eq!(alice.run(&["verify"]).code, Some(0));
}

fn keep_with_messages(town: &Town) -> Person {
    let (alice, _bob) = town.friends();
    for number in 0..20 {
        alice.ok(&["send", "tea", &format!("message {number}"), "--out", &format!("{number}.mls")]);
    }
    assert_eq!(alice.run(&["verify"]).code, Some(0));
    alice
}

/// The sound file with one bit flipped, and nothing of what opening an earlier one left.
fn flip(file: &Path, sound: &[u8], at: usize) {
    let mut damaged = sound.to_vec();
    *damaged.get_mut(at).expect("a place in the file") ^= 0x10;
    for rest in ["-wal", "-shm"] {
        drop(fs::remove_file(format!("{}{rest}", file.display())));
    }
    fs::write(file, damaged).expect("the file is written");
}

#[test]
fn verify_lists_what_is_wrong() {
    let town = Town::new();
    let (alice, _bob) = town.friends();
    let db = rusqlite::Connection::open(alice.dir.join("keep.db")).unwrap();
    let changed = db.execute("DELETE FROM keep WHERE CAST(key AS TEXT) LIKE 'n/%'", []).unwrap();
    db.close().unwrap();
    assert!(changed > 0);
    let ran = alice.fails(&["verify"], 1, "Corrupt", "restore a backup");
    assert!(ran.out.starts_with("alice\tdamaged\tproblems: "), "{ran:?}");
    let ran = alice.run(&["--json", "verify"]);
    assert_eq!(ran.code, Some(1));
    let value: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(value["sound"], false);
    assert!(!value["clients"][0]["problems"].as_array().unwrap().is_empty());
}
