//! What the program refuses, and what it says.

mod common;

use std::fs;

use common::{Town, bare, finish, names, private, ran};

#[test]
fn a_newcomers_mistakes_say_what_to_do() {
    let town = Town::new();
    let run = |args: &[&str]| ran(bare(town.path(), args).output().unwrap());
    run(&["init", "alice"]).assert_error(2, "Usage", "MLS_KEEP_STORE");
    run(&["--store", "sqlite:a.db", "init", "alice"]).assert_error(2, "Usage", "keygen");
    run(&["--store", "a.db", "init", "alice"]).assert_error(2, "Usage", "sqlite:a.db");
    run(&["--store", "postgres:a", "init", "alice"]).assert_error(2, "Usage", "sqlite:PATH");
    run(&["--store", "sqlite:a.db", "--key", "k", "init", "alice"]).assert_error(1, "NotFound", "k cannot be read");
    let mut empty = bare(town.path(), &["clients"]);
    let empty = empty.env("MLS_KEEP_STORE", "sqlite:a.db").env("MLS_KEEP_KEY", "").env("MLS_KEEP_IDENTITY", "");
    ran(empty.output().unwrap()).assert_error(2, "Usage", "no key is named");
    assert_eq!(run(&["frobnicate"]).code, Some(2));
    assert_eq!(run(&["send", "tea"]).code, Some(2));
    assert_eq!(run(&[]).code, Some(2));
    assert_eq!(run(&["--help"]).code, Some(0));
    assert_eq!(run(&["--version"]).code, Some(0));
    assert_eq!(names(town.path()), [""; 0]);
    assert_eq!(run(&["keygen", "k"]).code, Some(0));
    let with_key = ["--store", "sqlite:a.db", "--key", "k"];
    for command in [&["clients"][..], &["group", "list"], &["verify"], &["join", "w"], &["key-package", "--out", "x"]] {
        run(&[&with_key, command].concat()).assert_error(1, "NotFound", "init NAME");
    }
    run(&["--store", "sqlite:no/a.db", "--key", "k", "init", "alice"]).assert_error(1, "NotFound", "directory");
    assert_eq!(run(&[&with_key[..], &["init", ""]].concat()).code, Some(2));
    assert_eq!(run(&[&with_key[..], &["init", &"a".repeat(513)]].concat()).code, Some(2));
    // Only `init` makes anything.
    assert_eq!(names(town.path()), ["k"]);
}

#[test]
fn a_wrong_key_or_passphrase_opens_nothing() {
    let town = Town::new();
    let (alice, bob) = town.friends();
    let before = fs::read(bob.dir.join("keep.db")).unwrap();
    bob.fails(&["--key", "../alice/k", "history", "tea"], 1, "WrongKey", "Give the key file");
    bob.fails(&["--key", "../alice/k", "init", "eve"], 1, "WrongKey", "Give the key file");
    fs::write(bob.dir.join("pass"), "open sesame\nand a remark\n").unwrap();
    private(&bob.dir.join("pass"));
    // What is typed wins over the key in the environment.
    bob.fails(&["--passphrase-file", "pass", "clients"], 1, "WrongKey", "not a passphrase");
    bob.fails(&["--key", "k", "--passphrase-file", "pass", "clients"], 2, "Usage", "Name the one");
    bob.fails(&["--key", "pass", "clients"], 1, "Invalid", "keygen");
    bob.fails(&["--key", "keep.db", "clients"], 1, "Invalid", "keygen");
    assert_eq!(fs::read(bob.dir.join("keep.db")).unwrap(), before);
    assert!(alice.run(&["clients"]).code == Some(0) && bob.run(&["clients"]).code == Some(0));

    let with_passphrase = ["--store", "sqlite:words.db", "--passphrase-file", "pass"];
    bob.ok(&[&with_passphrase[..], &["init", "bob"]].concat());
    fs::write(bob.dir.join("pass"), "open sesame\r\nother remark").unwrap();
    assert_eq!(bob.ok(&[&with_passphrase[..], &["clients"]].concat()), "bob\n");
    fs::write(bob.dir.join("pass"), "open sesam").unwrap();
    bob.fails(&[&with_passphrase[..], &["clients"]].concat(), 1, "WrongKey", "passphrase");
    fs::write(bob.dir.join("pass"), "\nopen sesame").unwrap();
    bob.fails(&[&with_passphrase[..], &["clients"]].concat(), 1, "Invalid", "first line is empty");
    bob.fails(&["--store", "sqlite:words.db", "clients"], 1, "WrongKey", "passphrase");
}

#[cfg(unix)]
#[test]
fn keys_are_for_their_owner_only_and_never_overwritten() {
    use std::os::unix::fs::PermissionsExt;
    let town = Town::new();
    let alice = town.person("alice");
    let key = alice.dir.join("k");
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&key), 0o600);
    assert_eq!(mode(&alice.dir.join("keep.db")), 0o600);
    let text = fs::read_to_string(&key).unwrap();
    assert!(text.starts_with("mls-keep-key-1:") && text.ends_with('\n'));
    alice.fails(&["keygen", "k"], 1, "Invalid", "never overwritten");
    assert_eq!(fs::read_to_string(&key).unwrap(), text);
    for open in [0o644, 0o640, 0o606, 0o620] {
        fs::set_permissions(&key, fs::Permissions::from_mode(open)).unwrap();
        let ran = alice.fails(&["clients"], 1, "Invalid", "chmod 600 k");
        assert!(!ran.err.contains(text.trim()), "the key is printed");
        let passphrase = ["--passphrase-file", "k", "clients"];
        alice.fails(&passphrase, 1, "Invalid", "chmod 600 k");
    }
    fs::set_permissions(&key, fs::Permissions::from_mode(0o400)).unwrap();
    alice.ok(&["clients"]);
}

#[test]
fn an_output_file_that_exists_costs_nothing() {
    let town = Town::new();
    let (alice, bob) = town.friends();
    fs::write(alice.dir.join("mine"), "precious").unwrap();
    let commits = |person: &common::Person| person.json(&["stat"])["clients"][0]["commits"].clone();
    let before = commits(&alice);
    alice.fails(&["send", "tea", "hi", "--out", "mine"], 1, "Invalid", "--force");
    alice.fails(&["send", "tea", "hi", "--out", "no/dir"], 1, "NotFound", "Make the directory");
    alice.fails(&["send", "tea", "hi", "--out", "."], 1, "Invalid", "not a regular file");
    alice.fails(&["update", "--merge", "tea", "--commit", "mine"], 1, "Invalid", "--force");
    alice.fails(&["key-package", "--out", "mine"], 1, "Invalid", "--force");
    let invite = ["invite", "--merge", "tea", "../bob/bob.kp", "--commit", "new", "--welcome"];
    alice.fails(&[&invite[..], &["mine"]].concat(), 1, "Invalid", "mine exists already");
    alice.fails(&[&invite[..], &["./new"]].concat(), 2, "Usage", "named twice");
    assert_eq!(commits(&alice), before);
    assert_eq!(fs::read_to_string(alice.dir.join("mine")).unwrap(), "precious");
    // Not even with --force, if it is none that a command writes.
    for precious in ["mine", "k", "keep.db"] {
        alice.fails(&["send", "tea", "hi", "--out", precious, "--force"], 1, "Invalid", "else than an MLS message");
    }
    assert_eq!(commits(&alice), before);
    fs::copy(alice.dir.join("invite.commit"), alice.dir.join("mine")).unwrap();
    alice.ok(&["send", "tea", "hi", "--out", "mine", "--force"]);
    assert_eq!(bob.ok(&["receive", "../alice/mine"]), "tea\talice\thi\n");
    let known = ["bob.welcome", "invite.commit", "k", "keep.db", "mine"];
    assert_eq!(names(&alice.dir), known, "something was left behind");
}

#[test]
fn what_could_not_be_written_waits_in_the_outbox() {
    let town = Town::new();
    let (alice, bob) = town.friends();
    let send = alice.start(&["send", "tea", "-", "--out", "m"]);
    // The program has looked at `m` before it waits for its input: its own file is there.
    while !names(&alice.dir).iter().any(|name| name.starts_with(".mls-keep-")) {
        std::thread::yield_now();
    }
    fs::copy(alice.dir.join("invite.commit"), alice.dir.join("m")).unwrap();
    let ran = finish(send, b"do not lose me");
    ran.assert_error(1, "Invalid", "outbox write");
    assert!(ran.err.contains("do not repeat it") && !ran.err.contains("lose me"), "{ran:?}");
    assert_eq!(alice.history(), "alice\tdo not lose me\n");
    assert_eq!(alice.json(&["outbox", "list"])[0]["number"], 1);

    let ran = alice.run(&["send", "tea", "next", "--out", "n"]);
    assert!(ran.err.contains("outbox list"), "{ran:?}");
    alice.fails(&["outbox", "write", "tea", "1", "--out", "m"], 1, "Invalid", "--force");
    alice.fails(&["outbox", "write", "tea", "7", "--out", "x"], 1, "NotFound", "outbox list");
    alice.fails(&["outbox", "write", "tea", "1", "--out", "x", "--welcome", "w"], 2, "Usage", "Leave --welcome out");
    alice.ok(&["outbox", "write", "tea", "1", "--out", "m", "--force"]);
    assert_eq!(alice.ok(&["outbox", "list"]), "nothing waits\n");
    assert_eq!(bob.ok(&["receive", "../alice/m", "../alice/n"]), "tea\talice\tdo not lose me\ntea\talice\tnext\n");
}

#[test]
fn files_that_are_something_else_are_refused_by_name() {
    let town = Town::new();
    let (alice, bob) = town.friends();
    fs::write(bob.dir.join("junk"), [0xff; 100]).unwrap();
    fs::write(bob.dir.join("empty"), []).unwrap();
    let long = fs::File::create(bob.dir.join("long")).unwrap();
    long.set_len(mls_keep::MAX_MESSAGE_LEN as u64 + 1).unwrap();
    for (file, kind) in
        [("junk", "Invalid"), ("empty", "Invalid"), ("long", "Invalid"), ("no", "NotFound"), (".", "Invalid")]
    {
        if file != "." {
            bob.fails(&["receive", file], 1, kind, file);
        }
        bob.fails(&["join", file], 1, kind, file);
        bob.fails(&["invite", "--merge", "tea", file, "--commit", "c", "--welcome", "w"], 1, kind, file);
    }
    // It was joined by before.
    assert!(bob.run(&["receive", "../alice/bob.welcome"]).err.contains("joined already"));
    bob.fails(&["join", "../alice/invite.commit"], 1, "Invalid", "not a Welcome");
    bob.fails(&["receive", "../alice/invite.commit"], 1, "PastEpoch", "../alice/invite.commit");
    bob.ok(&["send", "tea", "mine", "--out", "m"]);
    let own = bob.run(&["receive", "m"]);
    assert!(own.code == Some(0) && own.err.contains("own message"), "{own:?}");
    // A message that was damaged on its way changes nothing, so that it can come again.
    alice.ok(&["send", "tea", "whole", "--out", "m"]);
    let mut message = fs::read(alice.dir.join("m")).unwrap();
    let last = message.len() - 1;
    message[last] ^= 1;
    fs::write(bob.dir.join("damaged"), &message).unwrap();
    bob.fails(&["receive", "damaged"], 1, "Invalid", "damaged");
    assert_eq!(bob.ok(&["receive", "../alice/m"]), "tea\talice\twhole\n");
    bob.fails(&["history", "coffee"], 1, "NotFound", "group list");
    bob.fails(&["remove", "--merge", "tea", "eve", "--commit", "c"], 1, "NotFound", "group members");
    bob.fails(&["remove", "--merge", "tea", "bob", "--commit", "c"], 1, "Invalid", "group leave");
    let stranger = town.person("carol");
    stranger.fails(&["receive", "../alice/m"], 1, "NotFound", "not in the group");
}

#[test]
fn a_welcome_that_fails_leaves_the_key_package_usable() {
    let town = Town::new();
    let (alice, bob) = (town.person("alice"), town.person("bob"));
    bob.ok(&["key-package", "--out", "kp"]);
    alice.ok(&["group", "create", "tea"]);
    alice.ok(&["invite", "--merge", "tea", "../bob/kp", "--commit", "c", "--welcome", "w"]);
    let welcome = fs::read(alice.dir.join("w")).unwrap();
    for at in [welcome.len() / 2, welcome.len() - 20] {
        let mut damaged = welcome.clone();
        damaged[at] ^= 1;
        fs::write(bob.dir.join("damaged"), &damaged).unwrap();
        let ran = bob.run(&["join", "damaged"]);
        assert!(ran.code == Some(1) && ran.err.contains("damaged"), "{ran:?}");
    }
    bob.fails(&["join", "../alice/c"], 1, "Invalid", "not a Welcome");
    assert_eq!(bob.ok(&["join", "../alice/w"]), "tea\tepoch 1\n");
    let again = bob.run(&["join", "../alice/w"]);
    assert!(again.code == Some(0) && again.err.contains("joined already"), "{again:?}");
}

#[test]
fn databases_of_others_stay_as_they_are() {
    let town = Town::new();
    let alice = town.person("alice");
    fs::write(alice.dir.join("text.db"), "this is no database, but long enough to be looked at. ".repeat(100)).unwrap();
    let foreign = rusqlite::Connection::open(alice.dir.join("foreign.db")).unwrap();
    foreign.execute_batch("CREATE TABLE precious (x); INSERT INTO precious VALUES (1)").unwrap();
    foreign.close().unwrap();
    for (file, kind) in [("text.db", "Corrupt"), ("foreign.db", "Invalid")] {
        let before = fs::read(alice.dir.join(file)).unwrap();
        let store = format!("sqlite:{file}");
        alice.fails(&["--store", &store, "init", "eve"], 1, kind, "");
        alice.fails(&["--store", &store, "clients"], 1, kind, "");
        assert_eq!(fs::read(alice.dir.join(file)).unwrap(), before, "{file} was changed");
    }
}
