//! People who talk through files, each command a process of its own.

mod common;

use common::Town;
use serde_json::json;

#[test]
fn two_people_talk_across_restarts() {
    let town = Town::new();
    let (alice, bob) = town.friends();
    alice.ok(&["send", "tea", "at five?", "--out", "1.mls"]);
    assert_eq!(bob.ok(&["receive", "../alice/1.mls"]), "tea\talice\tat five?\n");
    bob.ok(&["send", "tea", "-yes-", "--out", "1.mls"]);
    assert_eq!(
        alice.run_with(&["receive", "-"], &std::fs::read(bob.dir.join("1.mls")).unwrap()).out,
        "tea\tbob\t-yes-\n"
    );
}

#[test]
fn verbose_commands_say_what_they_do_and_name_nobody() {
    let town = Town::new();
    let (alice, bob) = town.friends();
    let sent = alice.run(&["-v", "send", "tea", "at five?", "--out", "1.mls"]);
    assert_eq!(sent.code, Some(0), "{sent:?}");
    for said in ["send{scope=", "commit{client=", "write{nodes=", "committed number="] {
        assert!(sent.err.contains(said), "{said}: {}", sent.err);
    }
    assert!(!sent.err.contains("loaded"), "{}", sent.err);
    let received = bob.run(&["receive", "../alice/1.mls", "-vv"]);
    assert_eq!(received.out, "tea\talice\tat five?\n");
    assert!(received.err.contains("loaded nodes="), "{}", received.err);
    // Shorter names may stand in a label by chance.
    for name in ["alice", "at five?"] {
        assert!(!sent.err.contains(name) && !received.err.contains(name), "{name}: {sent:?} {received:?}");
    }
}

#[test]
fn both_sides_have_the_same_history() {
    let town = Town::new();
    let (alice, bob) = town.friends();
    for number in 0..5 {
        let file = format!("{number}.mls");
        alice.ok(&["send", "tea", &format!("question {number}"), "--out", &file]);
        bob.ok(&["receive", &format!("../alice/{file}")]);
        bob.ok(&["send", "tea", &format!("answer {number}"), "--out", &file]);
        alice.ok(&["receive", &format!("../bob/{file}")]);
    }
    let expected: String = (0..5).map(|number| format!("alice\tquestion {number}\nbob\tanswer {number}\n")).collect();
    assert_eq!(alice.history(), expected);
    assert_eq!(bob.history(), expected);
    assert_eq!(alice.ok(&["history", "tea", "--last", "1"]), "bob\tanswer 4\n");
}

#[test]
fn members_come_and_go() {
    let town = Town::new();
    let (alice, bob) = town.friends();
    let carol = town.person("carol");
    carol.ok(&["key-package", "--out", "kp"]);
    alice.ok(&["invite", "--merge", "tea", "../carol/kp", "--commit", "c2", "--welcome", "w2"]);
    assert_eq!(bob.ok(&["receive", "../alice/c2"]), "tea\tepoch 2\n");
    carol.ok(&["join", "../alice/w2"]);
    bob.ok(&["update", "--merge", "tea", "--commit", "c3"]);
    assert_eq!(alice.ok(&["receive", "../bob/c3"]), "tea\tepoch 3\n");
    assert_eq!(carol.ok(&["receive", "../bob/c3"]), "tea\tepoch 3\n");

    alice.ok(&["remove", "--merge", "tea", "carol", "--commit", "c4"]);
    bob.ok(&["receive", "../alice/c4"]);
    let removed = carol.run(&["receive", "../alice/c4"]);
    assert_eq!((removed.code, removed.out.as_str()), (Some(0), "tea\tepoch 4\n"));
    assert!(removed.err.contains("was removed from the group"), "{removed:?}");
    carol.fails(&["send", "tea", "hello?", "--out", "no"], 1, "NotMember", "Nothing was changed");
    alice.ok(&["send", "tea", "without carol", "--out", "secret"]);
    carol.fails(&["receive", "../alice/secret"], 1, "NotMember", "../alice/secret");

    carol.ok(&["key-package", "--out", "kp2"]);
    alice.ok(&["invite", "--merge", "tea", "../carol/kp2", "--commit", "c5", "--welcome", "w5"]);
    assert_eq!(carol.ok(&["join", "../alice/w5"]), "tea\tepoch 5\n");
    carol.ok(&["send", "tea", "back again", "--out", "back"]);
    assert_eq!(alice.ok(&["receive", "../carol/back"]), "tea\tcarol\tback again\n");
}

#[test]
fn leaving_takes_a_proposal_and_somebody_elses_commit() {
    let town = Town::new();
    let (alice, bob) = town.friends();
    bob.ok(&["group", "leave", "tea", "--out", "leave"]);
    assert_eq!(alice.ok(&["receive", "../bob/leave"]), "tea\tproposal\tbob\n");
    alice.fails(&["send", "tea", "too early", "--out", "early"], 1, "ProposalPending", "run `update`");
    alice.ok(&["update", "--merge", "tea", "--commit", "bye"]);
    assert_eq!(alice.json(&["group", "members", "tea"]).as_array().map(Vec::len), Some(1));
    bob.ok(&["receive", "../alice/bye"]);
    assert_eq!(bob.json(&["group", "show", "tea"])["active"], json!(false));
}

#[test]
fn several_are_invited_at_once() {
    let town = Town::new();
    let (alice, bob, carol) = (town.person("alice"), town.person("bob"), town.person("carol"));
    bob.ok(&["key-package", "--out", "kp"]);
    carol.ok(&["key-package", "--out", "kp"]);
    alice.ok(&["group", "create", "tea"]);
    alice.ok(&["invite", "--merge", "tea", "../bob/kp", "../carol/kp", "--commit", "c", "--welcome", "w"]);
    bob.ok(&["join", "../alice/w"]);
    carol.ok(&["join", "../alice/w"]);
    bob.ok(&["send", "tea", "hi", "--out", "hi"]);
    assert_eq!(carol.ok(&["receive", "../bob/hi"]), "tea\tbob\thi\n");
}

#[test]
fn what_came_before_is_printed_again_with_a_note() {
    let town = Town::new();
    let (alice, bob) = town.friends();
    alice.ok(&["send", "tea", "once", "--out", "1"]);
    alice.ok(&["update", "--merge", "tea", "--commit", "2"]);
    let first = bob.ok(&["receive", "../alice/1", "../alice/2"]);
    assert_eq!(first, "tea\talice\tonce\ntea\tepoch 2\n");
    let again = bob.run(&["receive", "../alice/1", "../alice/2"]);
    assert_eq!((again.code, again.out.as_str()), (Some(0), "tea\talice\tonce\n"));
    assert_eq!(again.err, "note: ../alice/1: already received\nnote: ../alice/2: already received\n");
    assert_eq!(bob.history(), "alice\tonce\n");
}

#[test]
fn receiving_goes_on_after_a_file_that_fails() {
    let town = Town::new();
    let (alice, bob) = town.friends();
    for number in ["1", "2"] {
        alice.ok(&["send", "tea", number, "--out", number]);
    }
    std::fs::write(bob.dir.join("junk"), b"junk").unwrap();
    let ran = bob.fails(&["receive", "../alice/1", "junk", "../alice/2"], 1, "Invalid", "junk: ");
    assert_eq!(ran.out, "tea\talice\t1\ntea\talice\t2\n");
    let ran = bob.run(&["--json", "receive", "../alice/1", "junk"]);
    assert_eq!(ran.code, Some(1));
    assert_eq!(serde_json::from_str::<serde_json::Value>(&ran.out).unwrap()[0]["text"], json!("1"));
    assert_eq!(bob.ok(&["receive", "../alice/1", "../alice/2"]), "tea\talice\t1\ntea\talice\t2\n");
}

#[test]
fn nothing_that_others_write_acts_on_the_terminal() {
    let town = Town::new();
    let (alice, bob) = (town.person("al\x1b[31mice\u{202e}"), town.person("bob"));
    bob.ok(&["key-package", "--out", "kp"]);
    alice.ok(&["group", "create", "t\u{9b}ea\n"]);
    alice.ok(&["invite", "--merge", "t\u{9b}ea\n", "../bob/kp", "--commit", "c", "--welcome", "w"]);
    bob.ok(&["join", &format!("../{}/w", alice.name)]);
    let text = b"one\ttwo\nthree\x1b]0;owned\x07\xff\\";
    assert_eq!(alice.run_with(&["send", "t\\u{9b}ea\\n", "-", "--out", "m"], text).code, Some(0));
    let message = format!("../{}/m", alice.name);
    let line = bob.ok(&["receive", &message]);
    let shown = "t\\u{9b}ea\\n\tal\\u{1b}[31mice\\u{202e}\tone\\ttwo\\nthree\\u{1b}]0;owned\\u{7}\\xff\\\\\n";
    assert_eq!(line, shown);
    for args in [&["receive", &message][..], &["group", "list"], &["group", "members", "t\\u{9b}ea\\n"]] {
        for json in [true, false] {
            let args = if json { [&["--json"], args].concat() } else { args.to_vec() };
            let ran = bob.run(&args);
            let harmful = |text: &str| text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t'));
            assert!(ran.code == Some(0) && !harmful(&ran.out) && !harmful(&ran.err), "{ran:?}");
            assert!(!ran.out.contains('\u{202e}'), "{ran:?}");
        }
    }
    let value = bob.json(&["receive", &message]);
    assert_eq!(value[0]["text_hex"], json!(text.iter().map(|byte| format!("{byte:02x}")).collect::<String>()));
    assert_eq!(value[0]["sender"], json!("al\x1b[31mice\u{202e}"));
    // What is printed can be typed.
    bob.ok(&["remove", "--merge", "t\\u{9b}ea\\n", "al\\u{1b}[31mice\\u{202e}", "--commit", "c"]);
}

#[test]
fn a_name_that_two_groups_have_means_neither() {
    let town = Town::new();
    let (alice, _bob) = town.friends();
    alice.ok(&["group", "create", "tea"]);
    let groups = alice.json(&["group", "list"]);
    let ids: Vec<_> = groups.as_array().unwrap().iter().map(|group| group["id"].as_str().unwrap()).collect();
    let ran = alice.fails(&["send", "tea", "to whom?", "--out", "m"], 1, "Invalid", "2 groups have the name `tea`");
    assert!(ids.iter().all(|id| ran.err.contains(id)), "{ran:?}");
    assert!(!alice.dir.join("m").exists());
    alice.ok(&["send", ids[0], "to you", "--out", "m"]);
}

#[test]
fn one_keep_has_several_clients() {
    let town = Town::new();
    let alice = town.person("alice");
    alice.ok(&["init", "work"]);
    assert_eq!(alice.ok(&["clients"]), "alice\nwork\n");
    alice.fails(&["group", "list"], 2, "Usage", "alice, work");
    alice.fails(&["group", "list", "--identity", "eve"], 1, "NotFound", "alice, work");
    alice.ok(&["--identity", "work", "group", "create", "office"]);
    assert_eq!(alice.json(&["group", "list", "--identity", "alice"]), json!([]));
    let mut command = alice.command(&["history", "office"]);
    assert_eq!(common::ran(command.env("MLS_KEEP_IDENTITY", "work").output().unwrap()).code, Some(0));
    alice.fails(&["init", "work"], 1, "Conflict", "choose another name");
}

#[test]
fn several_processes_of_one_client_lose_and_repeat_nothing() {
    let town = Town::new();
    let (alice, bob) = town.friends();
    let texts = |shell: usize| (0..5).map(move |number| format!("{shell}-{number}"));
    std::thread::scope(|scope| {
        for shell in 0..3 {
            let alice = &alice;
            scope.spawn(move || texts(shell).for_each(|text| drop(alice.ok(&["send", "tea", &text, "--out", &text]))));
        }
    });
    assert_eq!(alice.ok(&["outbox", "list"]), "nothing waits\n");
    // In the order of the ratchet, which is that of the history.
    let sent = alice.history();
    for line in sent.lines() {
        let text = line.strip_prefix("alice\t").unwrap();
        assert_eq!(bob.ok(&["receive", &format!("../alice/{text}")]), format!("tea\t{line}\n"));
    }
    let mut found: Vec<_> = sent.lines().map(|line| line.trim_start_matches("alice\t").to_owned()).collect();
    found.sort();
    assert_eq!(found, (0..3).flat_map(texts).collect::<Vec<_>>());
}
