//! Faults of the service and of the way to it, at every request of an operation: each ends applied once, not applied, or
//! `OutcomeUnknown`, with a bounded number of requests; and two writers that meet at every pair of requests.

// A test fails by panicking.
#![allow(clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::time::{Duration, Instant};

use bytes::Bytes;
use common::{config, impatient};
use futures_executor::block_on;
use mls_keep_core::{Commit, ErrorKind, Key, Result, StorageBackend, Swap};
use mls_keep_s3::{Config, S3Backend};
use s3_test_server::{BUCKET, Fault, Hold, Server};

fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

fn nodes(root: &str) -> Vec<(Key, Bytes)> {
    (0..2).map(|index| (key(&format!("n/x/{root}-{index}")), root.repeat(100).into())).collect()
}

/// The commit of the client `x` from one root to another, each with two nodes.
fn step(from: Option<&'static str>, to: &'static str) -> Commit {
    Commit {
        puts: nodes(to),
        swap: Swap {
            key: key("r/x"),
            expected: from.map(|from| Bytes::from_static(from.as_bytes())),
            replacement: Some(Bytes::from_static(to.as_bytes())),
        },
        deletes: from.map(nodes).unwrap_or_default().into_iter().map(|(key, _)| key).collect(),
    }
}

fn open(server: &Server, config: Config) -> Result<S3Backend> {
    block_on(S3Backend::open(BUCKET, "", config)).inspect(|_| drop(server.take_requests()))
}

/// The root that is there, after checking that all of its nodes are there.
fn state(server: &Server) -> Option<String> {
    let backend = open(server, config(server.endpoint())).unwrap();
    let root = block_on(backend.load(&key("r/x"))).unwrap();
    let root = root.map(|root| String::from_utf8(root.to_vec()).unwrap());
    for (key, node) in root.as_deref().map(nodes).unwrap_or_default() {
        assert_eq!(block_on(backend.load(&key)).unwrap(), Some(node), "the root {root:?} has the node {key}");
    }
    root
}

type Operation = fn(&S3Backend) -> Result<()>;

/// Runs `operation` on a store with the root `a`, with `fault` at each of its requests, one after the other, until none is
/// met. Returns how often each ending was seen: `Ok`, not applied, unknown.
fn at_every_request(inline_len: u32, fault: &Fault, sticky: bool, operation: Operation, after: &str) -> [usize; 3] {
    let mut endings = [0; 3];
    for k in 1.. {
        assert!(k < 40, "the operation goes on making requests");
        let server = Server::start();
        let config = Config { inline_len, ..impatient(server.endpoint()) };
        let backend = open(&server, config).unwrap();
        block_on(backend.commit(step(None, "a"))).unwrap();
        block_on(backend.load(&key("r/x"))).unwrap();
        let _ = server.take_requests();
        server.fail(k, fault.clone(), sticky);
        let start = Instant::now();
        let result = operation(&backend);
        let (time, requests) = (start.elapsed(), server.take_requests().len());
        let met = server.heal();
        assert!(time < Duration::from_secs(5), "{fault:?} at request {k}: {time:?}");
        assert!(requests < 400, "{fault:?} at request {k}: {requests} requests");
        let found = state(&server);
        let found = found.as_deref();
        match result {
            Ok(()) => {
                assert_eq!(found, Some(after), "{fault:?} at request {k}: acknowledged");
                endings[0] += 1;
            }
            Err(error) if error.kind() == ErrorKind::OutcomeUnknown => {
                assert!(found == Some("a") || found == Some(after), "{fault:?} at request {k}: {found:?}");
                endings[2] += 1;
            }
            Err(error) => {
                assert_eq!(found, Some("a"), "{fault:?} at request {k}: {error:?} means not applied");
                assert_ne!(error.kind(), ErrorKind::Conflict, "{fault:?} at request {k}: nobody else writes");
                assert_ne!(error.kind(), ErrorKind::Internal, "{fault:?} at request {k}: {error:?}");
                endings[1] += 1;
            }
        }
        if !met {
            return endings;
        }
    }
    unreachable!("the loop ends by returning");
}

const ONCE: [Fault; 10] = [
    Fault::Status(503),
    Fault::Status(409),
    Fault::Status(500),
    Fault::AppliedThenStatus(500),
    Fault::Reset,
    Fault::AppliedThenReset,
    Fault::Truncated,
    Fault::Endless,
    Fault::ErrorInside200,
    Fault::Delay(Duration::from_millis(50)),
];

fn commit(backend: &S3Backend) -> Result<()> {
    block_on(backend.commit(step(Some("a"), "b")))
}

/// What passes is not noticed: a fault at any one request, before or after it took effect, and the commit is applied once.
#[test]
fn a_fault_that_passes_is_survived() {
    let mut cases = 0;
    for inline_len in [0, 64 << 10] {
        for fault in &ONCE {
            let [ok, not_applied, unknown] = at_every_request(inline_len, fault, false, commit, "b");
            assert_eq!((not_applied, unknown), (0, 0), "{fault:?} with {inline_len} bytes that ride");
            cases += ok;
        }
    }
    println!("{cases} cases");
}

/// An answer that does not end is broken off before it fills the memory, whatever was asked.
#[test]
fn an_answer_without_end_is_broken_off() {
    let calls: [(&str, Operation, usize); 4] = [
        ("put", |backend| block_on(backend.save(&key("k"), Bytes::from_static(b"v"))), 8 << 20),
        ("get", |backend| block_on(backend.load(&key("k"))).map(drop), 25 << 20),
        ("list", |backend| block_on(backend.list("")).map(drop), 8 << 20),
        ("versions", |backend| block_on(backend.old_versions()).map(drop), 8 << 20),
    ];
    for (name, call, bound) in calls {
        let server = Server::start();
        // So long that it is not the attempt's time that ends it.
        let config = Config { attempt_timeout: Duration::from_secs(5), ..config(server.endpoint()) };
        let backend = open(&server, config).unwrap();
        block_on(backend.save(&key("k"), Bytes::from_static(b"u"))).unwrap();
        server.fail(1, Fault::Endless, false);
        call(&backend).unwrap();
        assert!(server.heal());
        // What is sent and not read yet stands in the buffers of the connection.
        let (sent, allowed) = (server.endless_len(), bound + (16 << 20));
        assert!(sent >= bound && sent <= allowed, "{name}: {sent} bytes were sent, and {allowed} may be");
    }
}

/// An answer that never comes is the end of one attempt and not of the commit.
#[test]
fn silence_is_survived() {
    for inline_len in [0, 64 << 10] {
        let [_, not_applied, unknown] = at_every_request(inline_len, &Fault::Silence, false, commit, "b");
        assert_eq!((not_applied, unknown), (0, 0));
    }
}

/// What does not pass ends the commit in bounded time, and it says truly whether it is known what became of it.
#[test]
fn a_fault_that_stays_is_told() {
    for fault in [Fault::Status(503), Fault::AppliedThenStatus(500), Fault::AppliedThenReset, Fault::ErrorInside200] {
        for inline_len in [0, 64 << 10] {
            let [_, not_applied, unknown] = at_every_request(inline_len, &fault, true, commit, "b");
            assert!(not_applied + unknown > 0, "{fault:?}");
        }
    }
    let [_, not_applied, unknown] = at_every_request(64 << 10, &Fault::Status(403), true, commit, "b");
    assert_eq!((not_applied, unknown), (1, 0), "a refusal is none that is not known");
}

/// The service's own 412 to a write that it has applied: the reply to the first attempt was lost, and the second finds it.
#[test]
fn its_own_success_is_no_conflict() {
    let server = Server::start();
    let backend = open(&server, impatient(server.endpoint())).unwrap();
    for (from, to) in [(None, "a"), (Some("a"), "b"), (Some("b"), "c")] {
        server.fail(1, Fault::AppliedThenStatus(412), false);
        block_on(backend.commit(step(from, to))).unwrap();
        assert!(server.heal());
        server.fail(1, Fault::AppliedThenReset, false);
    }
    assert_eq!(state(&server).as_deref(), Some("c"));
}

/// Saving and deleting single values, and opening, with every fault that passes at every request.
#[test]
fn single_calls_survive_faults() {
    let save: Operation = |backend| block_on(backend.save(&key("r/x"), Bytes::from_static(b"b")));
    for fault in &ONCE {
        for k in 1..30 {
            let server = Server::start();
            let backend = open(&server, impatient(server.endpoint())).unwrap();
            server.fail(k, fault.clone(), false);
            save(&backend).unwrap();
            block_on(backend.save(&key("k"), Bytes::from_static(b"v"))).unwrap();
            assert_eq!(block_on(backend.load(&key("k"))).unwrap().as_deref(), Some(&b"v"[..]));
            assert_eq!(block_on(backend.list("")).unwrap().len(), 2, "{fault:?} at request {k}");
            block_on(backend.delete(&key("k"))).unwrap();
            assert_eq!(block_on(backend.load(&key("k"))).unwrap(), None);
            if !server.heal() {
                break;
            }
        }
        for k in 1..30 {
            let server = Server::start();
            server.fail(k, fault.clone(), false);
            let backend = open(&server, impatient(server.endpoint())).unwrap();
            let deleted = block_on(backend.delete(&key("k")));
            assert!(deleted.is_ok(), "{fault:?} at request {k} of a first write: {:?}", deleted.err());
            assert!(server.keys().is_empty(), "{fault:?} at request {k} of a first write: the probe leaves nothing");
            if !server.heal() {
                break;
            }
        }
    }
}

/// Two writers from the same root, the second one running to its end while the first stands still at each of its requests,
/// before it is applied or after: exactly one of them wins.
#[test]
fn two_writers_that_meet_anywhere() {
    let mut pairs = 0;
    for inline_len in [0, 64 << 10] {
        for after in [false, true] {
            for k in 1..40 {
                let server = Server::start();
                let config = Config { inline_len, ..config(server.endpoint()) };
                let (first, second) = (open(&server, config.clone()).unwrap(), open(&server, config).unwrap());
                block_on(first.commit(step(None, "a"))).unwrap();
                block_on(second.load(&key("r/x"))).unwrap();
                let hold = if after { Hold::after() } else { Hold::before() };
                server.fail(k, Fault::Hold(hold.clone()), false);
                let (one, other, met) = std::thread::scope(|scope| {
                    let (done, ended) = std::sync::mpsc::channel();
                    let first = &first;
                    scope.spawn(move || {
                        let result = block_on(first.commit(step(Some("a"), "b")));
                        block_on(first.close()).unwrap();
                        let _ = done.send(result);
                    });
                    // Either the first writer stands still, or it has ended without meeting the fault.
                    let early = loop {
                        if server.is_met() {
                            block_on(hold.reached());
                            break None;
                        }
                        match ended.recv_timeout(Duration::from_millis(1)) {
                            Ok(result) => break Some(result),
                            Err(_) => continue,
                        }
                    };
                    let met = early.is_none();
                    if !met {
                        // It made fewer requests: the second writer is not to meet the fault in its place.
                        server.heal();
                    }
                    let other = block_on(second.commit(step(Some("a"), "c")));
                    hold.release();
                    (early.unwrap_or_else(|| ended.recv().unwrap()), other, met)
                });
                block_on(second.close()).unwrap();
                server.heal();
                let winners = [&one, &other].iter().filter(|result| result.is_ok()).count();
                assert_eq!(winners, 1, "request {k}: {one:?} {other:?}");
                let wanted = if one.is_ok() { "b" } else { "c" };
                assert_eq!(state(&server).as_deref(), Some(wanted), "request {k}");
                let loser = if one.is_ok() { other } else { one };
                assert_eq!(loser.unwrap_err().kind(), ErrorKind::Conflict, "request {k}");
                pairs += usize::from(met);
                if !met {
                    break;
                }
            }
        }
    }
    println!("{pairs} meetings");
    assert!(pairs >= 10, "{pairs} meetings");
}

/// A writer whose connection is cut while others write on top of its commit, or instead of it. The object that is there
/// names the writes before it, so it is known which.
#[test]
fn a_lost_answer_is_found_under_the_commits_of_others() {
    for inline_len in [0, 64 << 10] {
        // How many commits of others follow, and what the writer is told: none that is known after more than an object names.
        for (others, known) in [(1, true), (60, true), (70, false)] {
            for applied in [true, false] {
                let server = Server::start();
                let config = Config { inline_len, ..config(server.endpoint()) };
                let (writer, other) = (open(&server, config.clone()).unwrap(), open(&server, config).unwrap());
                let root = |number: usize| Bytes::from(format!("other {number}"));
                let swap = |from: Bytes, to: Bytes| Commit {
                    puts: Vec::new(),
                    swap: Swap { key: key("r/x"), expected: Some(from), replacement: Some(to) },
                    deletes: Vec::new(),
                };
                block_on(writer.commit(step(None, "a"))).unwrap();
                block_on(writer.close()).unwrap();
                let writer = open(&server, Config { inline_len, ..common::config(server.endpoint()) }).unwrap();
                block_on(writer.load(&key("r/x"))).unwrap();
                let hold = if applied { Hold::after() } else { Hold::before() };
                server.fail(1, Fault::HoldThenReset(hold.clone()), false);
                let told = std::thread::scope(|scope| {
                    let writing = scope.spawn(|| block_on(writer.commit(swap("a".into(), "b".into()))));
                    block_on(hold.reached());
                    let mut from = if applied { Bytes::from("b") } else { Bytes::from("a") };
                    for number in 0..others {
                        block_on(other.commit(swap(from, root(number)))).unwrap();
                        from = root(number);
                    }
                    hold.release();
                    writing.join().unwrap()
                });
                let told = told.map_err(|error| error.kind());
                let wanted = match (known, applied) {
                    (true, true) => Ok(()),
                    (true, false) => Err(ErrorKind::Conflict),
                    (false, _) => Err(ErrorKind::OutcomeUnknown),
                };
                assert_eq!(told, wanted, "applied: {applied}, {others} others");
                assert_eq!(block_on(writer.load(&key("r/x"))).unwrap(), Some(root(others - 1)));
            }
        }
    }
}

/// The service refuses a condition that holds: that is said, and soon.
#[test]
fn a_condition_that_holds_and_is_refused_is_told() {
    let server = Server::start();
    let backend = open(&server, config(server.endpoint())).unwrap();
    block_on(backend.commit(step(None, "a"))).unwrap();
    server.refuse_conditions(true);
    let start = Instant::now();
    let error = block_on(backend.commit(step(Some("a"), "b"))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error:?}");
    assert!(error.to_string().contains("condition holds"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    server.refuse_conditions(false);
    block_on(backend.commit(step(Some("a"), "b"))).unwrap();
}

/// A value that panics when it is dropped, so in the middle of the call that it was given to.
struct Panics;

impl AsRef<[u8]> for Panics {
    fn as_ref(&self) -> &[u8] {
        b"value"
    }
}

impl Drop for Panics {
    fn drop(&mut self) {
        std::panic::resume_unwind(Box::new("planned"));
    }
}

#[test]
fn a_write_that_panics_is_an_unknown_outcome_and_the_backend_goes_on() {
    let server = Server::start();
    let backend = open(&server, config(server.endpoint())).unwrap();
    let put = |name: &str| (key(name), Bytes::from_owner(Panics));
    let commit = |name: &str| Commit { puts: vec![put(name)], ..step(None, "a") };

    let saved = block_on(backend.save(&key("k"), Bytes::from_owner(Panics))).unwrap_err();
    assert_eq!(saved.kind(), ErrorKind::OutcomeUnknown, "{saved:?}");
    let found = block_on(backend.load(&key("k"))).unwrap();
    assert!(found.is_none() || found.as_deref() == Some(b"value"), "{found:?}");

    let committed = block_on(backend.commit(commit("own/1"))).unwrap_err();
    assert_eq!(committed.kind(), ErrorKind::OutcomeUnknown, "{committed:?}");

    let many = block_on(backend.commit_many(vec![commit("own/2"), step(Some("a"), "b")]));
    let kinds: Vec<_> = many.into_iter().map(|result| result.map_err(|error| error.kind())).collect();
    assert_eq!(kinds, [Err(ErrorKind::OutcomeUnknown); 2]);
    block_on(backend.save(&key("k"), "after".into())).unwrap();
    assert_eq!(block_on(backend.load(&key("k"))).unwrap().as_deref(), Some(&b"after"[..]));
}
