//! Several processes and several managers that use the same client in the same file, at the same time: no message is
//! lost, none is sent twice, and the group never forks. And two that make the same store at the same time.

#![allow(clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Barrier;
use std::thread;

use data_encoding::HEXLOWER;
use integration_tests::operation::exchange;
use integration_tests::senders::send_all;
use integration_tests::store::{load, open};
use integration_tests::wait::block_on;
use mls_keep::{Change, Client, GroupSettings, PersistenceManager, Received};
use mls_keep_sqlite::{Config, SqliteBackend};

/// Messages of each sender. All of them together are less than may be missing in a row.
const COUNT: usize = 40;

fn keep(path: &Path) -> PersistenceManager {
    open(SqliteBackend::open(path, Config::default()).unwrap()).unwrap()
}

#[test]
fn two_processes_and_two_managers_send_as_one_client() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("alice.keep");
    let manager = keep(&path);
    let mut alice = block_on(manager.client_builder("alice").create()).unwrap();
    let settings = GroupSettings::new().out_of_order_tolerance(1000);
    let mut bob = block_on(Client::builder("bob").settings(settings).create()).unwrap();
    let group = block_on(async {
        let group = alice.create_group("tea").await.unwrap();
        let package = bob.key_package().await.unwrap().to_bytes().unwrap();
        bob.join(alice.commit_at_once(&group, Change::new().invite([package])).await.unwrap().welcome.unwrap())
            .await
            .unwrap();
        group
    });
    drop(alice);

    let mut children = ["one", "two"].map(|name| start(&path, name));
    let barrier = Barrier::new(3);
    let mut sent = BTreeMap::new();
    let mut again = Vec::new();
    thread::scope(|scope| {
        let threads = ["three", "four"].map(|name| {
            let (path, barrier) = (&path, &barrier);
            scope.spawn(move || {
                let manager = keep(path);
                let mut client = load(&manager, "alice").unwrap();
                barrier.wait();
                let mut sent = Vec::new();
                let again = send_all(&mut client, name, COUNT, |message| sent.push((message.text, message.message)));
                (sent, again)
            })
        });
        for (child, _) in &mut children {
            writeln!(child.stdin.as_mut().unwrap(), "go").unwrap();
        }
        barrier.wait();
        for thread in threads {
            let (messages, conflicts) = thread.join().unwrap();
            sent.extend(messages);
            again.push(conflicts);
        }
    });
    for (child, output) in children {
        let (messages, conflicts) = finish(child, output);
        sent.extend(messages);
        again.push(conflicts);
    }
    assert_eq!(sent.len(), 4 * COUNT);

    let mut alice = load(&manager, "alice").unwrap();
    let history = block_on(alice.history(&group, usize::MAX)).unwrap();
    let texts: Vec<_> = history.iter().map(|message| String::from_utf8(message.content.clone()).unwrap()).collect();
    let mut sorted = texts.clone();
    sorted.sort();
    assert!(sorted.iter().eq(sent.keys()), "the history has each message once, and no other");
    assert!(history.iter().zip(0..).all(|(message, number)| message.number == Some(number)));
    // A generation that was used twice would be refused the second time.
    for text in &texts {
        match block_on(bob.receive(&sent[text])).unwrap_or_else(|error| panic!("{text}: {error:?}")) {
            Received::Message(message) => assert_eq!(message.content, text.as_bytes()),
            other => panic!("{text}: {other:?}"),
        }
    }
    for sender in ["one", "two", "three", "four"] {
        let order = texts.iter().filter(|text| text.starts_with(&format!("{sender}-")));
        assert!(order.eq((0..COUNT).map(|number| format!("{sender}-{number}")).collect::<Vec<_>>().iter()));
    }
    block_on(exchange(&group, &mut [&mut alice, &mut bob]));
    let found = block_on(alice.store().unwrap().verify(&mut |_| ())).unwrap();
    assert!(found.is_sound() && found.statistics.orphans == 0, "{found:?}");
    println!("{} messages, told to try again: {again:?}", sent.len());
}

/// As the first start of a server and its worker.
#[test]
fn two_processes_that_open_an_empty_store_at_once_get_the_same_keep() {
    const OPENINGS: usize = 200;
    /// Microseconds.
    const STEP: usize = 40;
    let directory = tempfile::tempdir().unwrap();
    let mut openers = [(); 2].map(|()| {
        let mut child = Command::new(env!("CARGO_BIN_EXE_opening-child"))
            .arg(directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        (child, output)
    });
    let hear = |output: &mut BufReader<_>| {
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        line.trim().to_owned()
    };
    for (_, output) in &mut openers {
        assert_eq!(hear(output), "ready");
    }
    let (mut keeps, mut wrong) = (BTreeSet::new(), Vec::new());
    for number in 0..OPENINGS {
        let name = format!("{number}.keep");
        // One is a little later than the other, each time by another time, so that they meet at every place.
        let pauses = [0, number / 2 * STEP];
        for ((child, _), at) in openers.iter_mut().zip([number % 2, 1 - number % 2]) {
            writeln!(child.stdin.as_mut().unwrap(), "{name} {}", pauses[at]).unwrap();
        }
        let [one, two] = openers.each_mut().map(|(_, output)| hear(output));
        let stored = HEXLOWER.encode(&keep(&directory.path().join(&name)).keep().store_id());
        if one != two || one != stored {
            wrong.push(format!("one says {one}, the other {two}"));
        }
        keeps.insert(stored);
    }
    for (mut child, _) in openers {
        drop(child.stdin.take());
        assert!(child.wait().unwrap().success());
    }
    println!("{OPENINGS} stores opened by two processes at once: {} wrong", wrong.len());
    assert_eq!(keeps.len(), OPENINGS, "each store is a keep of its own");
    assert!(wrong.is_empty(), "{} of {OPENINGS}, such as {:?}", wrong.len(), wrong.first());
}

fn start(path: &Path, name: &str) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_sender-child"))
        .arg(path)
        .args([name, &COUNT.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    (child, output)
}

fn finish(mut child: Child, output: BufReader<std::process::ChildStdout>) -> (Vec<(String, Vec<u8>)>, usize) {
    let (mut sent, mut again) = (Vec::new(), 0);
    for line in output.lines() {
        let line = line.unwrap();
        match line.split_once(' ').unwrap() {
            ("again", count) => again = count.parse().unwrap(),
            (text, message) => sent.push((text.to_owned(), HEXLOWER.decode(message.as_bytes()).unwrap())),
        }
    }
    assert!(child.wait().unwrap().success());
    (sent, again)
}
