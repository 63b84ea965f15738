//! State goes forward or it says so: late writes, older roots, deletions that were cut, garbage (docs/architecture.md,
//! "Forward only").

// A test fails by panicking.
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use common::backends::{Form, Scripted};
use common::{SeededEntropy, dump, encryption, keep_in};
use futures_executor::block_on;
use mls_keep_core::{
    Changes, ClientStore, ErrorKind, Keep, Key, MemoryBackend, RecordRange, Result, ScopeId, StorageBackend,
};

fn scope(number: u8) -> ScopeId {
    ScopeId::group(&[number]).unwrap()
}

/// Commits one record of `scope`.
async fn put(client: &mut ClientStore, scope: &ScopeId, key: &str, value: &[u8]) -> Result<()> {
    let base = client.scope_version(scope).await?;
    let mut changes = Changes::new();
    changes.scope(scope.clone(), base).put(key.as_bytes().to_vec(), value.to_vec().into(), None)?;
    client.commit(&changes).await.map(drop)
}

async fn remove(client: &mut ClientStore, scope: &ScopeId) -> Result<()> {
    let base = client.scope_version(scope).await?;
    let mut changes = Changes::new();
    changes.scope(scope.clone(), base).remove_all();
    client.commit(&changes).await.map(drop)
}

async fn keys(client: &ClientStore, scope: &ScopeId) -> Vec<String> {
    let records = client.records(scope, &RecordRange::all()).await.unwrap();
    records.iter().map(|record| String::from_utf8(record.key.to_vec()).unwrap()).collect()
}

/// `len` bytes that do not compress.
fn noise(seed: u8, len: usize) -> Vec<u8> {
    use sha2::{Digest, Sha256};
    (0_u32..).flat_map(|at| Sha256::digest([&[seed][..], &at.to_be_bytes()].concat())).take(len).collect()
}

/// Every key of the backend that begins with `prefix`.
async fn names(backend: &MemoryBackend, prefix: &str) -> Vec<String> {
    backend.list(prefix).await.unwrap().iter().map(Key::to_string).collect()
}

async fn reopen(backend: &Scripted) -> Keep {
    Keep::open(Arc::new(backend.clone()), &encryption(), Arc::new(SeededEntropy::new(99))).await.unwrap()
}

/// Commits of one client, each in a scope of its own; what it was told of each.
async fn told(client: &mut ClientStore, told: &mut BTreeMap<u8, Result<()>>) {
    for number in 0..4 {
        let result = put(client, &scope(number), "k", &[number]).await;
        told.insert(number, result);
    }
}

#[test]
fn what_was_said_of_a_commit_stays_true_however_late_it_lands() {
    let mut points = 0;
    for form in Form::BOTH {
        for write in 1.. {
            let mut held = false;
            for after in 0..14 {
                block_on(async {
                    let backend = Scripted::new(form);
                    let keep = keep_in(backend.clone(), 1).await;
                    let mut client = keep.create_client(b"alice").await.unwrap();
                    backend.hold_back(write, after);
                    let mut said = BTreeMap::new();
                    told(&mut client, &mut said).await;
                    held |= said.values().any(Result::is_err) || client.number() > 5;
                    let at_the_end = backend.let_go().await;
                    let case = format!("{form:?}, write {write}, {after} calls later, at the end: {at_the_end}");
                    for result in said.values().filter_map(|result| result.as_ref().err()) {
                        assert_eq!(result.kind(), ErrorKind::Unavailable, "{case}: {result:?}");
                    }
                    // What was said is true, for the client that goes on and for one that opens the store.
                    client.refresh().await.unwrap_or_else(|error| panic!("{case}: {error:?}"));
                    let fresh = reopen(&backend).await.open_client(b"alice").await.unwrap();
                    for client in [&client, &fresh] {
                        for (number, result) in &said {
                            let there = client.record(&scope(*number), b"k").await.unwrap().is_some();
                            assert_eq!(there, result.is_ok(), "{case}: commit {number}, which was {result:?}");
                        }
                    }
                    points += 1;
                });
            }
            if !held {
                break;
            }
        }
    }
    println!("{points} points");
    assert!(points > 100, "too little was tried");
}

#[test]
fn a_late_first_commit_makes_no_client() {
    for form in Form::BOTH {
        for after in 0..8 {
            block_on(async {
                let backend = Scripted::new(form);
                let keep = keep_in(backend.clone(), 1).await;
                backend.hold_back(1, after);
                let mut client = keep.new_client(b"alice").await.unwrap();
                let made = put(&mut client, &scope(1), "k", b"v").await;
                backend.let_go().await;
                let opened = reopen(&backend).await.open_client(b"alice").await;
                let case = format!("{form:?}, {after} calls later: {made:?}");
                match made {
                    Ok(()) => assert_eq!(keys(&opened.unwrap(), &scope(1)).await, ["k"], "{case}"),
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::Unavailable, "{case}");
                        assert_eq!(opened.map(drop).unwrap_err().kind(), ErrorKind::NotFound, "{case}");
                        assert_eq!(keep.clients().await.unwrap(), [[0_u8; 0]; 0], "{case}");
                        // The same client can be made all the same.
                        put(&mut client, &scope(1), "k", b"v").await.unwrap();
                        assert_eq!(keep.clients().await.unwrap(), [b"alice"], "{case}");
                    }
                }
            });
        }
    }
}

#[test]
fn a_commit_whose_future_is_dropped_is_settled_by_the_next_call() {
    for form in Form::BOTH {
        for after in 0..10 {
            block_on(async {
                let backend = Scripted::new(form);
                let keep = keep_in(backend.clone(), 1).await;
                let mut client = keep.create_client(b"alice").await.unwrap();
                // An outcome that is not known and that cannot be asked for.
                backend.hold_back(1, after);
                backend.fail_from(if form == Form::Atomic { 2 } else { 5 });
                let first = put(&mut client, &scope(1), "k", b"1").await;
                let failed = backend.stop_failing();
                put(&mut client, &scope(2), "k", b"2").await.unwrap();
                backend.let_go().await;
                client.refresh().await.unwrap();
                let fresh = reopen(&backend).await.open_client(b"alice").await.unwrap();
                assert_eq!(keys(&fresh, &scope(2)).await, ["k"]);
                if failed && form == Form::Atomic {
                    assert_eq!(first.unwrap_err().kind(), ErrorKind::OutcomeUnknown);
                }
            });
        }
    }
}

/// Puts `image` in the place of all that there is.
async fn put_back(backend: &MemoryBackend, image: &[(Key, Bytes)]) {
    for key in backend.list("").await.unwrap() {
        backend.delete(&key).await.unwrap();
    }
    for (key, value) in image {
        backend.save(key, value.clone()).await.unwrap();
    }
}

#[test]
fn a_client_does_not_follow_its_store_back() {
    block_on(async {
        let backend = MemoryBackend::new();
        let keep = keep_in(backend.clone(), 1).await;
        let mut client = keep.create_client(b"alice").await.unwrap();
        let mut images = Vec::new();
        for number in 0..6 {
            put(&mut client, &scope(number), "k", b"v").await.unwrap();
            images.push(dump(&backend).await);
        }
        let newest = images.pop().unwrap();
        for image in &images {
            put_back(&backend, image).await;
            assert_eq!(client.refresh().await.unwrap_err().kind(), ErrorKind::RolledBack);
            assert_eq!(put(&mut client, &scope(9), "k", b"v").await.unwrap_err().kind(), ErrorKind::RolledBack);
            assert_eq!(client.gc().await.map(drop).unwrap_err().kind(), ErrorKind::RolledBack);
            assert_eq!(dump(&backend).await, *image, "nothing is written to a store that went back");
        }
        assert_eq!(client.verify(&mut |_| ()).await.unwrap_err().kind(), ErrorKind::RolledBack);
        put_back(&backend, &newest).await;
        put(&mut client, &scope(9), "k", b"v").await.unwrap();
    });
}

#[test]
fn a_client_does_not_follow_its_store_onto_another_branch() {
    for others in 1..=17 {
        block_on(async {
            let backend = MemoryBackend::new();
            let keep = keep_in(backend.clone(), 1).await;
            let mut client = keep.create_client(b"alice").await.unwrap();
            let image = dump(&backend).await;
            put(&mut client, &scope(1), "k", b"v").await.unwrap();
            put_back(&backend, &image).await;
            // Somebody who opens the older state goes on from it, further than this client was.
            let other = keep_in(backend.clone(), 2).await;
            let mut other = other.open_client(b"alice").await.unwrap();
            for number in 0..=others {
                put(&mut other, &scope(number), "other", b"v").await.unwrap();
            }
            assert!(other.number() > client.number());
            let refused = put(&mut client, &scope(99), "k", b"v").await.unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::RolledBack, "{others} commits: {refused}");
        });
    }
}

#[test]
fn a_client_that_was_made_again_is_another_one() {
    for form in Form::BOTH {
        block_on(async {
            let backend = Scripted::new(form);
            let keep = keep_in(backend.clone(), 1).await;
            let mut client = keep.create_client(b"alice").await.unwrap();
            keep.delete_client(b"alice").await.unwrap();
            assert_eq!(client.refresh().await.unwrap_err().kind(), ErrorKind::NotFound);
            let mut again = keep.create_client(b"alice").await.unwrap();
            for number in 0..20 {
                put(&mut again, &scope(number), "k", b"v").await.unwrap();
            }
            let refused = put(&mut client, &scope(1), "k", b"v").await.unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::NotFound, "{form:?}: {refused}");
            assert_eq!(keep.clients().await.unwrap(), [b"alice"]);
        });
    }
}

#[test]
fn a_deletion_that_was_cut_anywhere_is_completed_by_a_repeated_call() {
    for form in Form::BOTH {
        for call in 1.. {
            let failed = block_on(async {
                let backend = Scripted::new(form);
                let keep = keep_in(backend.clone(), 1).await;
                let mut client = keep.create_client(b"alice").await.unwrap();
                put(&mut client, &scope(1), "k", &noise(1, 60_000)).await.unwrap();
                backend.fail_from(call);
                let first = keep.delete_client(b"alice").await;
                let failed = backend.stop_failing();
                let case = format!("{form:?}, call {call}: {first:?}");
                assert_eq!(first.is_err(), failed, "{case}");
                // By somebody who has never seen the client.
                let keep = reopen(&backend).await;
                match keep.delete_client(b"alice").await {
                    Ok(()) => assert!(failed, "{case}"),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound, "{case}"),
                }
                assert_eq!(names(&backend.inner, "n/").await, [""; 0], "{case}");
                assert_eq!(keep.clients().await.unwrap(), [[0_u8; 0]; 0], "{case}");
                let mut client = keep.create_client(b"alice").await.unwrap();
                put(&mut client, &scope(1), "k", b"v").await.unwrap();
                failed
            });
            if !failed {
                assert!(call > 2, "{form:?}: nothing was tried");
                break;
            }
        }
    }
}

#[test]
fn what_a_commit_that_was_cut_has_left_is_collected_by_the_next_opening() {
    for call in 1.. {
        let failed = block_on(async {
            let backend = Scripted::new(Form::FourMethods);
            let keep = keep_in(backend.clone(), 1).await;
            let mut client = keep.create_client(b"alice").await.unwrap();
            put(&mut client, &scope(1), "k", &noise(1, 60_000)).await.unwrap();
            backend.fail_from(call);
            let cut = put(&mut client, &scope(1), "k", &noise(2, 60_000)).await;
            let failed = backend.stop_failing();
            drop((client, cut));
            let client = reopen(&backend).await.open_client(b"alice").await.unwrap();
            let found = client.verify(&mut |_| ()).await.unwrap();
            assert_eq!(found.problems, [""; 0], "call {call}");
            assert_eq!(found.statistics.orphans, 0, "call {call}");
            failed
        });
        if !failed {
            assert!(call > 10, "nothing was tried");
            break;
        }
    }
}

#[test]
fn garbage_is_remembered_until_it_is_deleted() {
    block_on(async {
        let backend = Scripted::new(Form::FourMethods);
        let keep = keep_in(backend.clone(), 1).await;
        let mut client = keep.create_client(b"alice").await.unwrap();
        // More than stands in a root, so that the list goes into nodes.
        for number in 0..3 {
            put(&mut client, &scope(number), "k", &noise(number, 8_000_000)).await.unwrap();
        }
        let full = names(&backend.inner, "n/").await.len();
        backend.set_deletes_fail(true);
        for number in 0..2 {
            remove(&mut client, &scope(number)).await.unwrap();
        }
        for round in 0..100 {
            put(&mut client, &scope(2), "small", &[round]).await.unwrap();
        }
        assert!(names(&backend.inner, "n/").await.len() > full, "nothing can be deleted");
        assert!(client.verify(&mut |_| ()).await.unwrap().is_sound());
        backend.set_deletes_fail(false);
        let mut client = reopen(&backend).await.open_client(b"alice").await.unwrap();
        put(&mut client, &scope(2), "small", b"last").await.unwrap();
        let found = client.verify(&mut |_| ()).await.unwrap();
        assert_eq!((found.problems, found.statistics.orphans), (Vec::new(), 0));
        assert!(names(&backend.inner, "n/").await.len() < full / 2);
        assert_eq!(client.record(&scope(2), b"k").await.unwrap().unwrap().as_slice(), noise(2, 8_000_000));
    });
}

#[test]
fn a_client_that_stays_open_deletes_what_could_not_be_deleted_before() {
    block_on(async {
        let backend = Scripted::new(Form::FourMethods);
        let keep = keep_in(backend.clone(), 1).await;
        let mut client = keep.create_client(b"alice").await.unwrap();
        backend.set_deletes_fail(true);
        for round in 0..200 {
            put(&mut client, &scope(1), "k", &[round]).await.unwrap();
        }
        backend.set_deletes_fail(false);
        for round in 0..3 {
            put(&mut client, &scope(1), "k", &[round]).await.unwrap();
        }
        assert_eq!(client.verify(&mut |_| ()).await.unwrap().statistics.orphans, 0);
    });
}

#[test]
fn a_sweep_deletes_what_no_root_names_and_nothing_else() {
    for form in Form::BOTH {
        block_on(async {
            let backend = Scripted::new(form);
            let keep = keep_in(backend.clone(), 1).await;
            for identity in [&b"alice"[..], b"bob", b"carol"] {
                let mut client = keep.create_client(identity).await.unwrap();
                put(&mut client, &scope(1), "k", &noise(1, 30_000)).await.unwrap();
            }
            let roots = names(&backend.inner, "r/").await;
            let whole = dump(&backend.inner).await;
            let token = roots[0].strip_prefix("r/").unwrap();
            // An orphan of a client that is there, and the nodes of one whose root is gone.
            let orphan = Key::new(&format!("n/{token}/{}", "0".repeat(32))).unwrap();
            backend.inner.save(&orphan, Bytes::from_static(b"x")).await.unwrap();
            backend.inner.delete(&Key::new(&roots[1]).unwrap()).await.unwrap();
            let gone = format!("n/{}/", roots[1].strip_prefix("r/").unwrap());
            let nodes = names(&backend.inner, &gone).await.len();
            let foreign = Key::new("n/somebody-else/x").unwrap();
            backend.inner.save(&foreign, Bytes::from_static(b"x")).await.unwrap();

            let swept = keep.sweep(&mut |_| ()).await.unwrap();
            assert_eq!((swept.clients, swept.nodes, swept.skipped), (3, nodes + 1, 0), "{form:?}");
            assert_eq!(names(&backend.inner, &gone).await, [""; 0]);
            assert!(backend.inner.load(&orphan).await.unwrap().is_none());
            assert!(backend.inner.load(&foreign).await.unwrap().is_some(), "what is not of a keep stays");
            for (key, value) in whole.iter().filter(|(key, _)| key.as_str().starts_with("n/")) {
                if !key.as_str().starts_with(&gone) {
                    assert_eq!(backend.inner.load(key).await.unwrap().as_ref(), Some(value), "{form:?}: {key}");
                }
            }
            assert_eq!(keep.sweep(&mut |_| ()).await.unwrap().nodes, 0);
        });
    }
}

/// Takes a commit apart: its nodes are stored, and its root is not, until the test says so.
#[derive(Clone)]
struct Halfway {
    inner: MemoryBackend,
    held: Arc<std::sync::Mutex<Option<mls_keep_core::Commit>>>,
    hold: Arc<std::sync::atomic::AtomicBool>,
}

#[async_trait::async_trait]
impl StorageBackend for Halfway {
    async fn load(&self, key: &Key) -> Result<Option<Bytes>> {
        self.inner.load(key).await
    }

    async fn save(&self, key: &Key, data: Bytes) -> Result<()> {
        self.inner.save(key, data).await
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.inner.delete(key).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Key>> {
        self.inner.list(prefix).await
    }

    async fn commit(&self, mut commit: mls_keep_core::Commit) -> Result<()> {
        for (key, data) in commit.puts.drain(..) {
            self.inner.save(&key, data).await?;
        }
        if self.hold.load(std::sync::atomic::Ordering::Relaxed) {
            *self.held.lock().unwrap() = Some(commit);
            return std::future::pending().await;
        }
        self.inner.commit(commit).await
    }

    fn capabilities(&self) -> mls_keep_core::Capabilities {
        self.inner.capabilities().with_atomic_commit(false)
    }
}

#[test]
fn a_sweep_does_not_harm_a_commit_that_is_under_way() {
    // The commit of a client that is there, the first commit of a new one, and one of a client that is deleted meanwhile.
    for case in ["there", "new", "deleted", "made again"] {
        block_on(async {
            let backend = Halfway { inner: MemoryBackend::new(), held: Arc::default(), hold: Arc::new(false.into()) };
            let keep = keep_in(backend.clone(), 1).await;
            let mut client = match case {
                "new" => keep.new_client(b"alice").await.unwrap(),
                _ => keep.create_client(b"alice").await.unwrap(),
            };
            backend.hold.store(true, std::sync::atomic::Ordering::Relaxed);
            let scope = scope(1);
            let mut commit = Box::pin(put(&mut client, &scope, "k", b"value"));
            std::future::poll_fn(|context| {
                assert!(commit.as_mut().poll(context).is_pending());
                std::task::Poll::Ready(())
            })
            .await;
            drop(commit);
            backend.hold.store(false, std::sync::atomic::Ordering::Relaxed);
            assert!(!names(&backend.inner, "n/").await.is_empty(), "{case}: the nodes are stored");

            let other = keep_in(backend.clone(), 2).await;
            if case == "deleted" || case == "made again" {
                other.delete_client(b"alice").await.unwrap();
            }
            if case == "made again" {
                other.create_client(b"alice").await.unwrap();
            }
            other.sweep(&mut |_| ()).await.unwrap();
            assert_eq!(names(&backend.inner, "n/").await, [""; 0], "{case}: what no root names is gone");

            // Now the rest of the commit comes. Its root would name what is gone, so it must find another root than it expects.
            let late = backend.held.lock().unwrap().take().unwrap();
            assert_eq!(backend.inner.commit(late).await.unwrap_err().kind(), ErrorKind::Conflict, "{case}");
            let again = put(&mut client, &scope, "k", b"value").await;
            match case {
                "deleted" | "made again" => assert_eq!(again.unwrap_err().kind(), ErrorKind::NotFound, "{case}"),
                _ => {
                    again.unwrap();
                    let found = keep.open_client(b"alice").await.unwrap().verify(&mut |_| ()).await.unwrap();
                    assert!(found.is_sound(), "{case}: {:?}", found.problems);
                }
            }
        });
    }
}
