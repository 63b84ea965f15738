//! Attacks: by the owner of the bucket or of its policy, on the connection, and by requests that are held up and take effect
//! after later ones.

// A test fails by panicking.
#![allow(clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::{config, impatient};
use futures_executor::block_on;
use mls_keep_core::{
    Changes, Commit, Encryption, Entropy, ErrorKind, Keep, Key, MasterKey, Result, ScopeId, StorageBackend, Swap,
};
use mls_keep_s3::{Config, OldVersions, S3Backend};
use s3_test_server::{BUCKET, Fault, Hold, Quirks, Server};

fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

fn open(server: &Server, config: Config) -> S3Backend {
    let backend = block_on(S3Backend::open(BUCKET, "", config)).unwrap();
    let _ = server.take_requests();
    backend
}

fn swap(from: Option<&str>, to: &str) -> Commit {
    let bytes = |text: &str| Bytes::from(text.to_owned());
    Commit {
        puts: Vec::new(),
        swap: Swap { key: key("r/x"), expected: from.map(bytes), replacement: Some(bytes(to)) },
        deletes: Vec::new(),
    }
}

fn load(backend: &S3Backend, name: &str) -> Option<Bytes> {
    block_on(backend.load(&key(name))).unwrap()
}

/// A proxy that answers with the head and a part of the body, and then with nothing.
#[test]
fn an_answer_that_stops_coming_is_the_end_of_an_attempt() {
    let calls: [fn(&S3Backend); 3] = [
        |backend| assert_eq!(load(backend, "r/x"), Some("a".into())),
        |backend| assert_eq!(block_on(backend.list("")).unwrap(), [key("r/x")]),
        |backend| assert_eq!(block_on(backend.old_versions()).unwrap().count, 0),
    ];
    for call in calls {
        let server = Server::start();
        let backend = open(&server, impatient(server.endpoint()));
        block_on(backend.commit(swap(None, "a"))).unwrap();
        let fresh = open(&server, impatient(server.endpoint()));
        server.fail(1, Fault::Stalled, false);
        let start = Instant::now();
        call(&fresh);
        assert!(server.heal() && start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    }
    let server = Server::start();
    block_on(open(&server, config(server.endpoint())).commit(swap(None, "a"))).unwrap();
    let fresh = open(&server, impatient(server.endpoint()));
    server.fail(1, Fault::Stalled, true);
    let start = Instant::now();
    assert_eq!(block_on(fresh.load(&key("r/x"))).unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

/// A proxy that cuts an object, and says that this is all: it is asked again, and what stays cut is not believed.
#[test]
fn an_object_that_comes_cut_is_asked_for_again() {
    let nodes: Vec<_> = (0..4).map(|number| (key(&format!("n/x/{number}")), Bytes::from(vec![b'n'; 500]))).collect();
    let first = Commit { puts: nodes.clone(), ..swap(None, "a") };
    let server = Server::start();
    block_on(open(&server, config(server.endpoint())).commit(first)).unwrap();
    for k in 1..4 {
        let backend = open(&server, config(server.endpoint()));
        server.fail(k, Fault::CutShort, false);
        assert_eq!(load(&backend, "r/x"), Some("a".into()), "request {k}");
        for (key, node) in &nodes {
            assert_eq!(block_on(backend.load(key)).unwrap().as_ref(), Some(node), "request {k}");
        }
        assert!(server.heal() || k > 1);
    }
    let backend = open(&server, config(server.endpoint()));
    server.fail(1, Fault::CutShort, true);
    let start = Instant::now();
    assert_eq!(block_on(backend.load(&key("r/x"))).unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(block_on(backend.commit(swap(Some("a"), "b"))).unwrap_err().kind(), ErrorKind::Corrupt);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    server.heal();
    block_on(backend.commit(swap(Some("a"), "b"))).unwrap();
    assert_eq!(block_on(backend.list("n/x/")).unwrap().len(), 4, "no node was left out");
}

/// A service whose ETags say no more than a length: who holds an old one could write over what is new.
#[test]
fn etags_that_repeat_are_refused() {
    let server = Server::with(Quirks { etags_of_length: true, ..Quirks::default() });
    let refused = block_on(open(&server, config(server.endpoint())).commit(swap(None, "a"))).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    assert!(refused.to_string().contains("ETag"), "{refused}");
    assert!(server.keys().is_empty(), "the probe leaves nothing");
}

/// ETags as parts of an upload or encryption make them: they are compared, and nothing is read from them.
#[test]
fn etags_that_are_no_digests_are_taken() {
    for etag_end in ["-2", "-10000/x", ""] {
        let server = Server::with(Quirks { etag_end, ..Quirks::default() });
        let (one, two) = (open(&server, config(server.endpoint())), open(&server, config(server.endpoint())));
        block_on(one.commit(swap(None, "a"))).unwrap();
        assert_eq!(load(&two, "r/x"), Some("a".into()));
        block_on(two.commit(swap(Some("a"), "b"))).unwrap();
        assert_eq!(block_on(one.commit(swap(Some("a"), "c"))).unwrap_err().kind(), ErrorKind::Conflict);
        assert_eq!(load(&one, "r/x"), Some("b".into()));
        assert_eq!(block_on(one.list("")).unwrap(), [key("r/x")]);
    }
}

/// A write without a condition would take the place of a later one.
#[test]
fn a_save_that_lands_late_changes_nothing() {
    for name in ["k", "r/x", "n/x/1"] {
        let server = Server::start();
        let backend = open(&server, config(server.endpoint()));
        block_on(backend.save(&key("other"), "v".into())).unwrap();
        for (k, first) in [(1, "one"), (2, "three"), (3, "five"), (4, "seven")] {
            server.fail(k, Fault::Late, false);
            block_on(backend.save(&key(name), first.into())).unwrap();
            server.heal();
            block_on(backend.save(&key(name), "later".into())).unwrap();
            server.land();
            assert_eq!(load(&backend, name), Some("later".into()), "{name}, request {k}");
        }
    }
}

/// A service that takes the folder of other keys for an object, and refuses to make one.
#[test]
fn a_key_above_others_is_saved_where_folders_count() {
    let server = Server::with(Quirks { directories: true, ..Quirks::default() });
    let backend = open(&server, config(server.endpoint()));
    let start = Instant::now();
    for name in ["a/b/c", "a/b", "a"] {
        block_on(backend.save(&key(name), name.into())).unwrap();
        assert_eq!(load(&backend, name), Some(name.into()));
    }
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

/// Nodes that were given objects of their own in an attempt that lost keep them: their deletion, held up, could land when they
/// have objects of their own again.
#[test]
fn a_deletion_that_lands_late_takes_no_node() {
    let server = Server::start();
    let config = Config { inline_len: 3000, ..impatient(server.endpoint()) };
    let (writer, other) = (open(&server, config.clone()), open(&server, config));
    let node = |name: &str, len: usize| (key(name), Bytes::from(vec![b'n'; len]));
    let start = Commit { puts: vec![node("n/x/kept", 500), node("n/x/large", 2000)], ..swap(None, "a") };
    block_on(writer.commit(start)).unwrap();
    // Both that are there and the new one go into objects of their own; the root's write is the fourth request.
    let hold = Hold::before();
    server.fail(4, Fault::Hold(hold.clone()), false);
    std::thread::scope(|scope| {
        let (writer, more) = (&writer, Commit { puts: vec![node("n/x/more", 1000)], ..swap(Some("a"), "b") });
        let writing = scope.spawn(move || block_on(writer.commit(more)));
        block_on(hold.reached());
        // Now there is room for the rest; the value is the same.
        block_on(other.delete(&key("n/x/large"))).unwrap();
        // A read, the write of the root, and then, should it delete what it has written in vain, that: held up, and repeated.
        server.fail(3, Fault::Late, false);
        hold.release();
        writing.join().unwrap().unwrap();
    });
    block_on(writer.close()).unwrap();
    server.heal();
    let config = Config { inline_len: 100, ..common::config(server.endpoint()) };
    block_on(open(&server, config).commit(swap(Some("b"), "c"))).unwrap();
    server.land();
    let fresh = open(&server, common::config(server.endpoint()));
    for (name, len) in [("n/x/kept", 500), ("n/x/more", 1000)] {
        assert_eq!(load(&fresh, name).map(|node| node.len()), Some(len), "{name}");
    }
}

/// A service that gives the first page again and again, each time with another token.
#[test]
fn a_listing_that_goes_in_circles_is_refused() {
    let server = Server::with(Quirks { page_len: 3, circling: true, versioning: true, ..Quirks::default() });
    let backend = open(&server, Config { old_versions: OldVersions::Report, ..config(server.endpoint()) });
    for number in 0..5 {
        server.tamper(&format!("v/m/{number}"), b"x");
    }
    let calls: [fn(&S3Backend) -> Result<()>; 2] =
        [|backend| block_on(backend.list("m/")).map(drop), |backend| block_on(backend.old_versions()).map(drop)];
    for call in calls {
        let _ = server.take_requests();
        assert_eq!(call(&backend).unwrap_err().kind(), ErrorKind::Invalid);
        assert!(server.count() < 200, "{} requests", server.count());
    }
}

/// What others keep in the bucket is not the store's to delete, also where the store is the whole bucket.
#[test]
fn purging_leaves_what_others_keep() {
    for prefix in ["", "p"] {
        let server = Server::with(Quirks { versioning: true, ..Quirks::default() });
        let backend = block_on(S3Backend::open(
            BUCKET,
            prefix,
            Config { old_versions: OldVersions::Report, ..config(server.endpoint()) },
        ))
        .unwrap();
        let others = if prefix.is_empty() { "photos/1" } else { "p/photos/1" };
        for body in ["old", "older", "now"] {
            server.tamper(others, body.as_bytes());
            block_on(backend.save(&key("k"), body.into())).unwrap();
        }
        assert_eq!(block_on(backend.old_versions()).unwrap().count, 2);
        assert_eq!(block_on(backend.purge_old_versions()).unwrap(), 2);
        assert_eq!(server.old_versions(), 2, "those of the others");
    }
}

struct Counting;

impl Entropy for Counting {
    fn fill(&self, out: &mut [u8]) -> Result<()> {
        static CALLS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
        let mut state =
            CALLS.fetch_add(1, std::sync::atomic::Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        for byte in out {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            *byte = (state >> 24) as u8;
        }
        Ok(())
    }
}

/// A policy that permits no deletion, or no listing, from some time on: commits go on, nothing is lost, and what could not be
/// deleted is when it may be.
#[test]
fn a_policy_that_forbids_deleting_or_listing_loses_nothing() {
    for forbidden in ["DELETE", "LIST"] {
        let server = Server::start();
        let encryption = Encryption::hkdf_sha256(MasterKey::new([7; 32]));
        let keep = || {
            let config = Config { inline_len: 1000, ..impatient(server.endpoint()) };
            let backend: Arc<dyn StorageBackend> = Arc::new(open(&server, config));
            block_on(Keep::open_or_create(backend, &encryption, Arc::new(Counting))).unwrap()
        };
        let scope = ScopeId::client();
        let value =
            |round: u8| (0..20_000_u32).map(|at| at.wrapping_mul(2_654_435_761) as u8 ^ round).collect::<Vec<u8>>();
        let first = keep();
        drop(block_on(first.create_client(b"alice")).unwrap());
        block_on(first.close()).unwrap();
        server.forbid(Some(forbidden));
        for round in 0..6 {
            let keep = keep();
            let mut client = block_on(keep.open_client(b"alice")).unwrap();
            let mut changes = Changes::new();
            let version = block_on(client.scope_version(&scope)).unwrap();
            changes.scope(scope.clone(), version).put(b"k".to_vec(), value(round).into(), None).unwrap();
            block_on(client.commit(&changes)).unwrap();
            drop(client);
            block_on(keep.close()).unwrap();
        }
        server.forbid(None);
        let keep = keep();
        let client = block_on(keep.open_client(b"alice")).unwrap();
        let found = block_on(client.record(&scope, b"k")).unwrap().unwrap();
        assert_eq!(found.as_slice(), value(5), "{forbidden}");
        let found = block_on(client.verify(&mut |_| ())).unwrap();
        assert!(found.is_sound() && found.statistics.orphans == 0, "{forbidden}: {found:?}");
    }
}

const FAULTS: [Fault; 11] = [
    Fault::Answer(412, "PreconditionFailed", &[]),
    Fault::AppliedThenStatus(412),
    Fault::Status(409),
    Fault::Status(500),
    Fault::AppliedThenStatus(500),
    Fault::Status(503),
    Fault::Reset,
    Fault::AppliedThenReset,
    Fault::Truncated,
    Fault::CutShort,
    Fault::Late,
];

/// Two writers in turn, each from the root that is there, through a service that answers at random, and applies what is late at
/// random. What is reported holds: applied, not applied and never will be, or not known.
#[test]
fn what_is_told_holds_in_any_mixture_of_faults() {
    const STEPS: u64 = 12;
    let first = std::env::var("MLS_KEEP_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let count = std::env::var("MLS_KEEP_SEEDS").ok().and_then(|count| count.parse().ok()).unwrap_or(12);
    let mut endings = [0; 4];
    for seed in first..first + count {
        let versioning = seed % 3 == 0;
        let server = Server::with(Quirks { versioning, lost_is_500: seed % 4 == 1, ..Quirks::default() });
        let permille = if seed % 5 == 0 { 850 } else { 350 };
        let inline_len = if seed % 2 == 0 { 64 << 10 } else { 2500 };
        let config = Config { inline_len, ..impatient(server.endpoint()) };
        let writers = [open(&server, config.clone()), open(&server, config.clone())];
        let node = |step: u64, index: u64| (key(&format!("n/x/{step}-{index}")), Bytes::from(vec![step as u8; 400]));
        block_on(writers[0].commit(Commit { puts: (0..3).map(|index| node(0, index)).collect(), ..swap(None, "0") }))
            .unwrap();
        let mut now = "0".to_owned();
        // What may land yet, each with what it replaces; and what never will.
        let (mut maybe, mut never): (Vec<(String, String)>, BTreeSet<String>) = Default::default();
        for step in 1..=STEPS {
            let writer = &writers[(seed + step) as usize % 2];
            let case = format!("MLS_KEEP_SEED={seed}, step {step}");
            let next = step.to_string();
            let before: u64 = now.parse().unwrap();
            server.fail_at_random(seed * 1000 + step, permille, &FAULTS);
            let result = block_on(writer.commit(Commit {
                puts: (0..3).map(|index| node(step, index)).collect(),
                deletes: (0..3).map(|index| node(before, index).0).collect(),
                ..swap(Some(&now), &next)
            }));
            server.heal();
            if step % 3 == 0 {
                server.land();
            }
            let observer = open(&server, common::config(server.endpoint()));
            let found = String::from_utf8(load(&observer, "r/x").unwrap().to_vec()).unwrap();
            let may_have_landed = maybe.iter().any(|(from, to)| *from == now && *to == found);
            match result.map_err(|error| error.kind()) {
                Ok(()) => {
                    assert_eq!(found, next, "{case}: acknowledged");
                    endings[0] += 1;
                }
                Err(ErrorKind::OutcomeUnknown) => {
                    assert!(found == now || found == next || may_have_landed, "{case}: {found}");
                    maybe.push((now.clone(), next));
                    endings[1] += 1;
                }
                Err(kind) => {
                    assert!(found == now || may_have_landed, "{case}: {kind} means not applied, and {found} is there");
                    assert_ne!(kind, ErrorKind::Internal, "{case}");
                    never.insert(next);
                    endings[if kind == ErrorKind::Conflict { 2 } else { 3 }] += 1;
                }
            }
            assert!(!never.contains(&found), "{case}: {found} was reported as not applied");
            let number: u64 = found.parse().unwrap();
            for (key, data) in (0..3).map(|index| node(number, index)) {
                assert_eq!(block_on(observer.load(&key)).unwrap(), Some(data), "{case}: {key} of the root {found}");
            }
            now = found;
        }
        for writer in &writers {
            block_on(writer.close()).unwrap();
        }
    }
    println!("applied, unknown, conflict, not applied: {endings:?}");
    assert!(endings[0] > 0);
}
