//! What an operation costs: requests, and how many of them follow one another, counted at the server.

// A test fails by panicking.
#![allow(clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use bytes::Bytes;
use common::{Bucket, config};
use futures_executor::block_on;
use mls_keep_core::{Commit, Key, StorageBackend, Swap};
use mls_keep_s3::{Config, S3Backend, ServerSideEncryption};
use s3_test_server::{BUCKET, Fault, Hold, Quirks, Request, Server};

fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

fn bytes(text: &str, len: usize) -> Bytes {
    text.bytes().cycle().take(len).collect()
}

/// A commit of the client `x` from the root `from` to `to`, with nodes of this length.
fn commit(from: Option<&str>, to: &str, nodes: usize, node_len: usize) -> Commit {
    let node = |index| (key(&format!("n/x/{to}-{index}")), bytes(to, node_len));
    let deletes = from.iter().flat_map(|from| (0..nodes).map(move |index| key(&format!("n/x/{from}-{index}"))));
    Commit {
        puts: (0..nodes).map(node).collect(),
        swap: Swap { key: key("r/x"), expected: from.map(|from| bytes(from, 300)), replacement: Some(bytes(to, 300)) },
        deletes: deletes.collect(),
    }
}

fn methods(requests: &[Request]) -> Vec<String> {
    requests.iter().map(|request| format!("{} {}", request.method, request.key)).collect()
}

#[test]
fn a_commit_of_a_small_group_is_one_request() {
    let bucket = Bucket::new(64 << 10);
    let backend = block_on(bucket.backend()).unwrap();
    // The service is looked at before the first write.
    block_on(backend.delete(&key("absent"))).unwrap();
    let _ = bucket.server.take_requests();
    for (from, to) in [(None, "a"), (Some("a"), "b"), (Some("b"), "c")] {
        block_on(backend.commit(commit(from, to, 5, 2000))).unwrap();
        let requests = bucket.server.take_requests();
        assert_eq!(methods(&requests), ["PUT keeps/alice/v/r/x"], "{to}");
        assert_eq!(requests[0].conditions.len(), 1, "the write is conditional");
    }
    assert_eq!(bucket.server.keys(), ["keeps/alice/v/r/x"], "the nodes ride with the root");
    let nodes: Vec<Key> = (0..5).map(|index| key(&format!("n/x/c-{index}"))).collect();
    let fresh = block_on(bucket.backend()).unwrap();
    assert!(block_on(fresh.load(&key("r/x"))).unwrap().is_some());
    for backend in [&backend, &fresh] {
        let found = block_on(backend.load_many(&nodes)).unwrap();
        assert!(found.iter().all(|node| node.as_ref() == Some(&bytes("c", 2000))));
    }
    assert_eq!(methods(&bucket.server.take_requests()), ["GET keeps/alice/v/r/x"], "the nodes came with their root");
}

/// The service is looked at before the first write of all, and by nobody who reads what was written after that.
#[test]
fn the_service_is_looked_at_once() {
    let bucket = Bucket::new(64 << 10);
    let probes = || bucket.server.take_requests().iter().filter(|request| request.key.contains("/probe/")).count();
    let first = block_on(bucket.backend()).unwrap();
    assert_eq!(block_on(first.load(&key("r/x"))).unwrap(), None);
    assert_eq!(bucket.server.take_requests().len(), 1, "reading needs no look");
    block_on(first.commit(commit(None, "a", 1, 100))).unwrap();
    assert_eq!(probes(), 7);
    let second = block_on(bucket.backend()).unwrap();
    block_on(second.load(&key("r/x"))).unwrap();
    block_on(second.commit(commit(Some("a"), "b", 1, 100))).unwrap();
    assert_eq!(methods(&bucket.server.take_requests()), ["GET keeps/alice/v/r/x", "PUT keeps/alice/v/r/x"]);
    // A surprise: the service is looked at again by the next write, and refused.
    bucket.server.refuse_conditions(true);
    block_on(second.commit(commit(Some("b"), "c", 1, 100))).unwrap_err();
    assert_eq!(probes(), 0);
    let refused = block_on(second.commit(commit(Some("b"), "c", 1, 100))).unwrap_err();
    assert!(refused.to_string().contains("cannot decide between two writers"), "{refused}");
    assert!(probes() > 0);
    // Nothing read: a blind write looks too.
    bucket.server.refuse_conditions(false);
    let third = block_on(bucket.backend()).unwrap();
    block_on(third.save(&key("k"), bytes("k", 5))).unwrap();
    assert_eq!(probes(), 7);
}

#[test]
fn a_commit_of_a_large_group_is_two_round_trips() {
    let bucket = Bucket::new(64 << 10);
    let backend = block_on(bucket.backend()).unwrap();
    block_on(backend.commit(commit(None, "a", 9, 16_000))).unwrap();
    let _ = bucket.server.take_requests();
    // The nodes wait for one another at the server: they are sent side by side, before the root.
    let hold = Hold::before();
    bucket.server.fail(1, Fault::Hold(hold.clone()), true);
    let backend = &backend;
    std::thread::scope(|scope| {
        let committing = scope.spawn(move || block_on(backend.commit(commit(Some("a"), "b", 9, 16_000))));
        for _ in 0..9 {
            block_on(hold.reached());
        }
        let first = bucket.server.take_requests();
        assert!(first.iter().all(|request| request.key.contains("/v/n/x/b-")), "{:?}", methods(&first));
        assert_eq!(first.len(), 9);
        bucket.server.heal();
        for _ in 0..9 {
            hold.release();
        }
        committing.join().unwrap().unwrap();
    });
    block_on(backend.close()).unwrap();
    let then = bucket.server.take_requests();
    assert_eq!(methods(&then)[0], "PUT keeps/alice/v/r/x", "the second round is the root");
    assert_eq!(then.len(), 1 + 9, "and nobody waits for the deletions: {:?}", methods(&then));
    assert_eq!(bucket.server.keys().len(), 1 + 9);
}

/// Nodes that ride until there is no room, and then get objects of their own: each commit is one round trip or two, and
/// what was committed is there.
#[test]
fn nodes_move_when_there_is_no_room() {
    let bucket = Bucket::new(10_000);
    let backend = block_on(bucket.backend()).unwrap();
    let mut before = None;
    let mut moved = 0;
    for round in 0..20 {
        let (from, to) = (before.as_ref().map(|round: &i32| format!("{round:03}")), format!("{round:03}"));
        let mut commit = commit(from.as_deref(), &to, 2, 1000);
        commit.deletes.truncate(1);
        let _ = bucket.server.take_requests();
        block_on(backend.commit(commit)).unwrap();
        let written: Vec<Request> =
            bucket.server.take_requests().into_iter().filter(|request| request.method == "PUT").collect();
        moved += usize::from(written.len() > 1);
        before = Some(round);
    }
    assert!((1..10).contains(&moved), "{moved} of 20 commits moved nodes");
    let fresh = block_on(bucket.backend()).unwrap();
    let listed = block_on(fresh.list("n/x/")).unwrap();
    assert_eq!(listed.len(), 19 + 2);
    assert!(block_on(fresh.load_many(&listed)).unwrap().iter().all(Option::is_some));
}

#[test]
fn the_encryption_that_is_configured_is_asked_for() {
    for (encryption, wanted) in
        [(ServerSideEncryption::Aes256, "AES256"), (ServerSideEncryption::Kms(Some("key".to_owned())), "aws:kms")]
    {
        let server = Server::start();
        let config = Config { encryption: Some(encryption), ..config(server.endpoint()) };
        let backend = block_on(S3Backend::open(BUCKET, "", config)).unwrap();
        block_on(backend.save(&key("k"), bytes("v", 5))).unwrap();
        block_on(backend.commit(commit(None, "a", 1, 100))).unwrap();
        let writes: Vec<Request> =
            server.take_requests().into_iter().filter(|request| request.method == "PUT").collect();
        assert!(writes.len() >= 4);
        assert!(writes.iter().all(|write| write.encryption.as_deref() == Some(wanted)), "{writes:?}");
    }
}

/// A loose listing, which each opening of a client makes, believes the root that was just read; a listing asks for it.
#[test]
fn a_loose_listing_does_not_ask_for_the_root_again() {
    let bucket = Bucket::new(64 << 10);
    let (writer, other) = (block_on(bucket.backend()).unwrap(), block_on(bucket.backend()).unwrap());
    block_on(writer.commit(commit(None, "a", 2, 100))).unwrap();
    block_on(other.load(&key("r/x"))).unwrap();
    block_on(writer.commit(commit(Some("a"), "b", 2, 100))).unwrap();
    let _ = bucket.server.take_requests();
    assert_eq!(block_on(other.list_loosely("n/x/")).unwrap(), [key("n/x/a-0"), key("n/x/a-1")]);
    assert_eq!(bucket.server.take_requests().len(), 1, "a listing of what has objects of its own");
    assert_eq!(block_on(other.list("n/x/")).unwrap(), [key("n/x/b-0"), key("n/x/b-1")]);
    assert_eq!(bucket.server.take_requests().len(), 2);
    assert_eq!(block_on(other.list_loosely("n/x/")).unwrap(), [key("n/x/b-0"), key("n/x/b-1")]);
    let fresh = block_on(bucket.backend()).unwrap();
    assert_eq!(block_on(fresh.list_loosely("n/x/")).unwrap(), [key("n/x/b-0"), key("n/x/b-1")]);
}

/// A listing does not wait for deletions elsewhere, and its pages are one listing.
#[test]
fn a_listing_waits_for_what_it_lists_and_is_made_once() {
    let server = Server::with(Quirks { page_len: 100, ..Quirks::default() });
    let backend = block_on(S3Backend::open(BUCKET, "", Config { inline_len: 0, ..config(server.endpoint()) })).unwrap();
    block_on(backend.commit(commit(None, "a", 1, 100))).unwrap();
    for number in 0..250 {
        block_on(backend.save(&key(&format!("m/{number:03}")), bytes("m", 10))).unwrap();
    }
    // The third request of this commit is the deletion of its old node, which stands still.
    let hold = Hold::before();
    server.fail(3, Fault::Hold(hold.clone()), false);
    block_on(backend.commit(commit(Some("a"), "b", 1, 100))).unwrap();
    block_on(hold.reached());
    let _ = server.take_requests();
    let mut pages = vec![block_on(backend.list_page("m/", None, 90)).unwrap()];
    while pages.last().is_some_and(|page| page.len() == 90) {
        let after = pages.last().and_then(|page| page.last()).cloned();
        pages.push(block_on(backend.list_page("m/", after.as_ref(), 90)).unwrap());
    }
    assert_eq!(pages.concat().len(), 250);
    assert_eq!(server.take_requests().len(), 3, "three pages of the service, asked for once");
    // What was written meanwhile is there.
    let first = block_on(backend.list_page("m/", None, 90)).unwrap();
    block_on(backend.save(&key("m/089x"), bytes("m", 10))).unwrap();
    let second = block_on(backend.list_page("m/", first.last(), 90)).unwrap();
    assert_eq!(second[0], key("m/089x"));
    hold.release();
    block_on(backend.close()).unwrap();
    let fresh = block_on(S3Backend::open(BUCKET, "", config(server.endpoint()))).unwrap();
    assert_eq!(block_on(fresh.list("n/")).unwrap(), [key("n/x/b-0")]);
}
