//! Buckets that keep old versions: they go, or they are counted.

// A test fails by panicking.
#![allow(clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use bytes::Bytes;
use common::config;
use futures_executor::block_on;
use mls_keep_core::{Commit, ErrorKind, Key, StorageBackend, Swap};
use mls_keep_s3::{Config, OldVersions, S3Backend};
use s3_test_server::{BUCKET, Quirks, Server};

const MARKER: &[u8] = b"marker-of-what-was-replaced";

fn open(server: &Server, old_versions: OldVersions) -> S3Backend {
    let config = Config { old_versions, inline_len: 500, ..config(server.endpoint()) };
    block_on(S3Backend::open(BUCKET, "p", config)).unwrap()
}

/// Values that are replaced and deleted in every way, each with the marker.
fn work(backend: &S3Backend) {
    let key = |name: &str| Key::new(name).unwrap();
    let marked = |len: usize| Bytes::from([MARKER, &vec![b'x'; len]].concat());
    let plain = Bytes::from_static(b"plain");
    block_on(async {
        backend.save(&key("k"), marked(1)).await.unwrap();
        backend.save(&key("k"), plain.clone()).await.unwrap();
        backend.save(&key("gone"), marked(2)).await.unwrap();
        backend.delete(&key("gone")).await.unwrap();
        let mut expected = None;
        // Nodes that ride, nodes with objects of their own, and the last without any.
        for (round, node_len) in [10, 1000, 2000, 10].into_iter().enumerate() {
            let last = round == 3;
            let root = if last { plain.clone() } else { marked(round) };
            let node = if last { plain.clone() } else { marked(node_len) };
            let commit = Commit {
                puts: vec![(key(&format!("n/x/{round}")), node)],
                swap: Swap { key: key("r/x"), expected: expected.clone(), replacement: Some(root.clone()) },
                deletes: round.checked_sub(1).map(|before| key(&format!("n/x/{before}"))).into_iter().collect(),
            };
            backend.commit(commit).await.unwrap();
            expected = Some(root);
        }
        backend.close().await.unwrap();
    });
}

#[test]
fn purged_versions_are_gone() {
    let server = Server::with(Quirks { versioning: true, ..Quirks::default() });
    let backend = open(&server, OldVersions::Purge);
    work(&backend);
    assert_eq!(server.old_versions(), 0);
    assert!(!server.contains(MARKER), "the bytes of a replaced or deleted value are in the bucket");
}

#[test]
fn versions_that_stay_are_counted_and_can_be_purged() {
    for page_len in [0, 1, 3] {
        versions_in_pages_of(page_len);
    }
}

fn versions_in_pages_of(page_len: usize) {
    let server = Server::with(Quirks { versioning: true, page_len, ..Quirks::default() });
    work(&open(&server, OldVersions::Report));
    assert!(server.contains(MARKER));
    let backend = open(&server, OldVersions::Report);
    let found = block_on(backend.old_versions()).unwrap();
    assert_eq!(found.count, server.old_versions());
    assert!(found.count > 5 && found.bytes > 3000, "{found:?}");
    let before = block_on(backend.list("")).unwrap();
    assert_eq!(block_on(backend.purge_old_versions()).unwrap(), found.count);
    assert_eq!((server.old_versions(), server.contains(MARKER)), (0, false));
    assert_eq!(block_on(backend.list("")).unwrap(), before, "what is current stays");
}

#[test]
fn a_listing_of_versions_that_does_not_move_on_is_refused() {
    let server = Server::with(Quirks { versioning: true, page_len: 3, stuck_versions: true, ..Quirks::default() });
    let backend = open(&server, OldVersions::Report);
    work(&backend);
    let backend = open(&server, OldVersions::Report);
    let _ = server.take_requests();
    assert_eq!(block_on(backend.old_versions()).unwrap_err().kind(), ErrorKind::Invalid);
    assert!(server.count() < 10, "{} requests", server.count());
}

#[test]
fn a_bucket_without_versions_has_none() {
    let server = Server::start();
    let backend = open(&server, OldVersions::Purge);
    assert_eq!(block_on(backend.old_versions()).unwrap().count, 0);
    work(&backend);
    assert!(!server.contains(MARKER));
}

/// A keep that was made before its bucket began to keep versions, in a bucket that keeps them from the start, and in one that
/// stops: what is replaced or deleted goes, and the probe leaves nothing.
#[test]
fn versioning_that_is_switched_leaves_nothing() {
    let states = [None, Some(true), Some(false)];
    for (before, after, forgets_versions) in states.into_iter().flat_map(|before| {
        let allowed = states.into_iter().filter(move |after| before.is_none() || after.is_some());
        allowed.flat_map(move |after| [false, true].map(|forgets| (before, after, forgets)))
    }) {
        let server = Server::with(Quirks { forgets_versions, ..Quirks::default() });
        server.set_versioning(before);
        let (key, marked) = (|name: &str| Key::new(name).unwrap(), Bytes::from_static(MARKER));
        let swap = |from: Option<&Bytes>, to: Bytes, node: &str| Commit {
            puts: vec![(key(node), to.clone())],
            swap: Swap { key: key("r/x"), expected: from.cloned(), replacement: Some(to) },
            deletes: Vec::new(),
        };
        let backend = open(&server, OldVersions::Purge);
        block_on(async {
            backend.commit(swap(None, marked.clone(), "n/x/1")).await.unwrap();
            backend.save(&key("k"), marked.clone()).await.unwrap();
            backend.save(&key("gone"), marked.clone()).await.unwrap();
            server.set_versioning(after);
            let plain = Bytes::from_static(b"plain");
            let mut commit = swap(Some(&marked), plain.clone(), "n/x/2");
            commit.deletes = vec![key("n/x/1")];
            backend.commit(commit).await.unwrap();
            backend.save(&key("k"), plain.clone()).await.unwrap();
            backend.delete(&key("gone")).await.unwrap();
            backend.commit(swap(Some(&plain), "last".into(), "n/x/3")).await.unwrap();
            backend.close().await.unwrap();
        });
        assert!(!server.contains(MARKER), "{before:?} then {after:?}");
        assert_eq!(server.old_versions(), 0, "{before:?} then {after:?}");
        let fresh = open(&server, OldVersions::Purge);
        assert_eq!(block_on(fresh.load(&key("r/x"))).unwrap().as_deref(), Some(&b"last"[..]));
        assert_eq!(block_on(fresh.load(&key("n/x/2"))).unwrap().as_deref(), Some(&b"plain"[..]));
        assert_eq!(block_on(fresh.load(&key("gone"))).unwrap(), None);
    }
}

/// A service that fails the probe because of versions, as Ceph does: nothing of the probe stays, and the keep can be read.
#[test]
fn a_refusal_leaves_no_versions() {
    for old_versions in [OldVersions::Purge, OldVersions::Report] {
        let server = Server::with(Quirks { ignores_if_none_match_with_versions: true, ..Quirks::default() });
        let key = Key::new("k").unwrap();
        block_on(open(&server, old_versions).save(&key, "v".into())).unwrap();
        server.set_versioning(Some(true));
        let backend = open(&server, old_versions);
        let refused = block_on(backend.save(&key, "w".into())).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Invalid, "{refused:?}");
        assert_eq!((server.old_versions(), server.keys()), (0, vec!["p/v/k".to_owned()]));
        assert_eq!(block_on(backend.load(&key)).unwrap().as_deref(), Some(&b"v"[..]));
        assert_eq!(block_on(backend.old_versions()).unwrap().count, 0);
    }
}

/// Versions that stay are those of the store: none of the probe.
#[test]
fn the_probe_leaves_no_versions_where_others_stay() {
    let server = Server::with(Quirks { versioning: true, ..Quirks::default() });
    let key = Key::new("k").unwrap();
    block_on(open(&server, OldVersions::Report).save(&key, "v".into())).unwrap();
    assert_eq!(server.old_versions(), 0);
}

/// Conditions that are looked at only while no versions are kept: what an earlier look found does not stand any more.
#[test]
fn versioning_makes_the_service_be_looked_at_again() {
    let server = Server::with(Quirks { ignores_if_none_match_with_versions: true, ..Quirks::default() });
    let swap = |from: Option<&'static str>, to: &'static str| Commit {
        puts: Vec::new(),
        swap: Swap { key: Key::new("r/x").unwrap(), expected: from.map(Bytes::from), replacement: Some(to.into()) },
        deletes: Vec::new(),
    };
    let backend = open(&server, OldVersions::Purge);
    block_on(backend.commit(swap(None, "a"))).unwrap();
    server.set_versioning(Some(true));
    // Nobody can know before the first write.
    block_on(backend.commit(swap(Some("a"), "b"))).unwrap();
    let fresh = open(&server, OldVersions::Purge);
    block_on(fresh.load(&Key::new("r/x").unwrap())).unwrap();
    for backend in [backend, fresh] {
        assert_eq!(block_on(backend.commit(swap(Some("b"), "c"))).unwrap_err().kind(), ErrorKind::Invalid);
    }
}
