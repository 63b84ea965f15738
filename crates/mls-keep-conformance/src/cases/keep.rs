//! A keep on top of the backend: what the contract is for. These cases find what the others did not think of.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use mls_keep_core::{
    Changes, ClientStore, Encryption, Entropy, ErrorKind, Keep, MasterKey, RecordRange, Result, ScopeId, StorageBackend,
};

use super::concurrency::MEETINGS;
use crate::harness::Harness;
use crate::support::{assert_kind, close, key, load, names, noise, open, race, reopen, save, value};

/// Bytes from a counter: different each time and in each process, and no secret at all. For tests only.
struct Counting;

impl Entropy for Counting {
    fn fill(&self, out: &mut [u8]) -> Result<()> {
        static CALLS: AtomicU64 = AtomicU64::new(1);
        let process = u64::from(std::process::id()) << 32;
        out.copy_from_slice(&noise(process | CALLS.fetch_add(1, Ordering::Relaxed), out.len()));
        Ok(())
    }
}

const MASTER_KEY: u8 = 7;

fn encryption(master_key: u8) -> Encryption {
    Encryption::hkdf_sha256(MasterKey::new([master_key; 32]))
}

async fn create(backend: &Arc<dyn StorageBackend>) -> Keep {
    let keep = Keep::create(Arc::clone(backend), &encryption(MASTER_KEY), Arc::new(Counting)).await;
    keep.expect("a keep is made in an empty store")
}

/// A keep of its own on `backend`: nothing that another one has in memory.
async fn open_keep(backend: &Arc<dyn StorageBackend>) -> Keep {
    let keep = Keep::open(Arc::clone(backend), &encryption(MASTER_KEY), Arc::new(Counting)).await;
    keep.expect("the keep opens")
}

async fn open_client(backend: &Arc<dyn StorageBackend>) -> ClientStore {
    open_keep(backend).await.open_client(b"alice").await.expect("the client opens")
}

async fn create_client(backend: &Arc<dyn StorageBackend>) -> ClientStore {
    create(backend).await.create_client(b"alice").await.expect("a client is made")
}

fn scope(number: u64) -> ScopeId {
    ScopeId::group(&number.to_be_bytes()).expect("the id of a group is short enough")
}

/// Commits one record of `id`, made from the state that `client` reads.
async fn put(client: &mut ClientStore, id: &ScopeId, record: &str, data: &Bytes) -> Result<()> {
    let mut changes = Changes::new();
    let base = client.scope_version(id).await?;
    changes.scope(id.clone(), base).put(record.as_bytes(), data.to_vec().into(), None)?;
    client.commit(&changes).await.map(drop)
}

async fn record(client: &ClientStore, id: &ScopeId, record: &str) -> Option<Bytes> {
    let found = client.record(id, record.as_bytes()).await.expect("a record is read");
    found.map(|found| Bytes::copy_from_slice(found.as_slice()))
}

/// Asserts that all that the root names is there and whole, and that `orphans` nodes are there that it does not name.
async fn assert_sound(client: &ClientStore, orphans: usize) {
    let found = client.verify(&mut |_| ()).await.expect("the client is verified");
    assert_eq!(found.problems, [""; 0], "what is wrong with the client");
    assert_eq!(found.statistics.orphans, orphans, "nodes that no root names");
}

/// A keep is made once, in an empty store, and found by all who open it.
pub async fn is_made_once(harness: &dyn Harness) {
    let backend = open(harness).await;
    let missing = Keep::open(Arc::clone(&backend), &encryption(MASTER_KEY), Arc::new(Counting)).await;
    assert_kind(missing, ErrorKind::NotFound, "a keep in an empty store");
    let keep = create(&backend).await;
    let again = Keep::create(Arc::clone(&backend), &encryption(MASTER_KEY), Arc::new(Counting)).await;
    assert_kind(again, ErrorKind::Conflict, "a second keep in one store");
    let found = Keep::open_or_create(Arc::clone(&backend), &encryption(MASTER_KEY), Arc::new(Counting)).await;
    assert_eq!(found.expect("the keep opens").store_id(), keep.store_id(), "it is the same keep");
}

/// Opens the keep on `backend`, or makes it, and says which it is.
pub(crate) async fn make_or_find(backend: &Arc<dyn StorageBackend>) -> Result<[u8; 16]> {
    let keep = Keep::open_or_create(Arc::clone(backend), &encryption(MASTER_KEY), Arc::new(Counting)).await?;
    Ok(keep.store_id())
}

/// Backends that open an empty store at once, each to make a keep in it if there is none: all get the same one.
pub async fn is_made_once_by_racing_backends(harness: &dyn Harness) {
    for round in 0..10 {
        let keeps = race(harness, 4, |_| async {
            let backend = harness.open().await.expect("a store can be opened while others open it");
            let made = make_or_find(&backend).await;
            close(backend).await;
            made
        });
        let ids: BTreeSet<_> =
            keeps.into_iter().map(|made| made.expect("a keep is made, or the one of another is found")).collect();
        assert_eq!(ids.len(), 1, "round {round}: all have the same keep");
        // Empty again.
        let backend = open(harness).await;
        for name in names(&*backend, "").await {
            backend.delete(&key(&name)).await.expect("deleting succeeds");
        }
        close(backend).await;
    }
}

/// A store that holds other things is not made a keep, and is left as it is.
pub async fn is_not_made_among_other_things(harness: &dyn Harness) {
    let backend = open(harness).await;
    save(&*backend, "zebra", &value("x")).await;
    let refused = Keep::open_or_create(Arc::clone(&backend), &encryption(MASTER_KEY), Arc::new(Counting)).await;
    assert_kind(refused, ErrorKind::Invalid, "a keep in a store that holds other things");
    assert_eq!(names(&*backend, "").await, ["zebra"]);
}

/// The wrong master key is `WrongKey`, and changes nothing.
pub async fn wrong_key(harness: &dyn Harness) {
    let backend = open(harness).await;
    let mut client = create_client(&backend).await;
    put(&mut client, &ScopeId::client(), "k", &value("x")).await.expect("the commit succeeds");
    let before = names(&*backend, "").await;
    let refused = Keep::open(Arc::clone(&backend), &encryption(MASTER_KEY + 1), Arc::new(Counting)).await;
    assert_kind(refused, ErrorKind::WrongKey, "another master key");
    assert_eq!(names(&*backend, "").await, before, "the wrong key changes nothing");
    assert_eq!(record(&open_client(&backend).await, &ScopeId::client(), "k").await, Some(value("x")));
}

/// What was committed is read through a keep that has nothing in memory: put, replaced, removed, a scope that went.
pub async fn committed_records_are_found(harness: &dyn Harness) {
    let backend = open(harness).await;
    let mut client = create_client(&backend).await;
    for number in 0..4 {
        put(&mut client, &scope(number), "kept", &noise(number, 300)).await.expect("the commit succeeds");
        put(&mut client, &scope(number), "other", &value("before")).await.expect("the commit succeeds");
    }
    let mut changes = Changes::new();
    for number in 0..3 {
        let base = client.scope_version(&scope(number)).await.expect("the scope is read");
        let changed = changes.scope(scope(number), base);
        match number {
            0 => changed.put(b"other".to_vec(), b"after".to_vec().into(), None).expect("a short record"),
            1 => changed.remove(b"other".to_vec()),
            _ => changed.remove_all(),
        }
    }
    client.commit(&changes).await.expect("the commit succeeds");

    let client = open_client(&backend).await;
    assert_eq!(client.scopes().await.expect("the scopes are read"), [scope(0), scope(1), scope(3)]);
    for (number, other) in [(0, Some("after")), (1, None), (3, Some("before"))] {
        assert_eq!(record(&client, &scope(number), "kept").await, Some(noise(number, 300)), "scope {number}");
        assert_eq!(record(&client, &scope(number), "other").await, other.map(value), "scope {number}");
    }
    assert_sound(&client, 0).await;
}

/// A row of commits leaves nothing behind: every node in the store is named by the root.
pub async fn commits_leave_nothing_behind(harness: &dyn Harness) {
    let backend = open(harness).await;
    let mut client = create_client(&backend).await;
    for round in 0..30 {
        let data = noise(round, 200 + round as usize * 37 % 900);
        put(&mut client, &scope(round % 5), &format!("{:02}", round % 7), &data).await.expect("the commit succeeds");
    }
    assert_eq!(client.number(), 31, "the root counts its commits");
    assert_sound(&open_client(&backend).await, 0).await;
}

/// A long value is kept in pieces, and a change of a few bytes of it too.
pub async fn long_value(harness: &dyn Harness) {
    let backend = open(harness).await;
    let mut client = create_client(&backend).await;
    let mut data = noise(1, 400_000).to_vec();
    put(&mut client, &scope(1), "long", &data.clone().into()).await.expect("the commit succeeds");
    let mut client = open_client(&backend).await;
    let base = client.record(&scope(1), b"long").await.expect("the record is read");
    data.splice(150_000..150_010, *b"changed");
    let mut changes = Changes::new();
    let version = client.scope_version(&scope(1)).await.expect("the scope is read");
    changes.scope(scope(1), version).put(b"long".to_vec(), data.clone().into(), base).expect("the record is in bounds");
    client.commit(&changes).await.expect("the commit succeeds");
    let client = open_client(&backend).await;
    assert!(record(&client, &scope(1), "long").await == Some(data.into()), "the long value is the changed one");
    assert_sound(&client, 0).await;
}

/// A client of many scopes, made in one commit, changed in another.
pub async fn large_client(harness: &dyn Harness) {
    let backend = open(harness).await;
    let mut client = create_client(&backend).await;
    let mut changes = Changes::new();
    for number in 0..400 {
        let data = noise(number, 600).to_vec();
        changes.scope(scope(number), None).put(b"k".to_vec(), data.into(), None).expect("the record is in bounds");
    }
    client.commit(&changes).await.expect("the commit succeeds");
    put(&mut client, &scope(123), "k", &value("changed")).await.expect("the commit succeeds");
    let client = open_client(&backend).await;
    assert_eq!(client.scopes().await.expect("the scopes are read").len(), 400);
    for number in (0..400).step_by(41) {
        let wanted = if number == 123 { value("changed") } else { noise(number, 600) };
        assert_eq!(record(&client, &scope(number), "k").await, Some(wanted), "scope {number}");
    }
    assert_sound(&client, 0).await;
}

/// Many clients in one keep: each has its own records, and one that is deleted takes all it has with it.
pub async fn many_clients(harness: &dyn Harness) {
    let backend = open(harness).await;
    let keep = create(&backend).await;
    let identity = |number: u64| format!("client {number:02}").into_bytes();
    for number in 0..20 {
        let mut client = keep.create_client(&identity(number)).await.expect("a client is made");
        put(&mut client, &scope(1), "k", &noise(number, 5000)).await.expect("the commit succeeds");
    }
    let before = names(&*backend, "").await.len();
    let keep = open_keep(&backend).await;
    let second = keep.create_client(&identity(3)).await;
    assert_kind(second, ErrorKind::Conflict, "a second client of one identity");
    keep.open_client(&identity(3)).await.expect("the client opens").delete().await.expect("the client goes");
    let left: Vec<_> = (0..20).filter(|number| *number != 3).map(identity).collect();
    assert_eq!(keep.clients().await.expect("the clients are listed"), left);
    assert_kind(keep.open_client(&identity(3)).await, ErrorKind::NotFound, "a deleted client");
    assert!(names(&*backend, "").await.len() <= before - 2, "the root and the nodes of the deleted client are gone");
    for number in [2, 4] {
        let client = keep.open_client(&identity(number)).await.expect("the client opens");
        assert_eq!(record(&client, &scope(1), "k").await, Some(noise(number, 5000)), "client {number}");
        assert_sound(&client, 0).await;
    }
}

/// Nodes that no root names, as an interrupted commit leaves them, are counted and collected, and nothing else is.
pub async fn gc_collects_orphans(harness: &dyn Harness) {
    let backend = open(harness).await;
    let mut client = create_client(&backend).await;
    put(&mut client, &scope(1), "k", &noise(1, 60_000)).await.expect("the commit succeeds");
    let before = names(&*backend, "").await;
    let node = before.iter().find(|name| name.starts_with("n/")).expect("a long value has nodes").clone();
    let data = load(&*backend, &node).await.expect("the node is there");
    let twins = ["0", "g"].map(|end| format!("{}{end}", node.get(..node.len() - 1).unwrap_or_default()));
    let orphans: Vec<_> = twins.iter().filter(|twin| !before.contains(twin)).collect();
    for orphan in &orphans {
        save(&*backend, orphan, &data).await;
    }
    assert_sound(&client, orphans.len()).await;
    assert_eq!(client.gc().await.expect("gc succeeds"), orphans.len());
    assert_eq!(names(&*backend, "").await, before, "gc deletes what no root names and nothing else");
    assert_eq!(record(&open_client(&backend).await, &scope(1), "k").await, Some(noise(1, 60_000)));
}

/// A commit that was made from an older root is replayed if nobody touched its scopes, and else is a conflict.
pub async fn conflict_is_replayed(harness: &dyn Harness) {
    let backend = open(harness).await;
    let mut one = create_client(&backend).await;
    let mut two = open_client(&backend).await;
    put(&mut one, &scope(1), "k", &value("one")).await.expect("the commit succeeds");
    put(&mut two, &scope(2), "k", &value("two")).await.expect("another scope: replayed onto the newer root");
    let mut late = Changes::new();
    late.scope(scope(1), None).put(b"k".to_vec(), b"late".to_vec().into(), None).expect("a short record");
    assert_kind(two.commit(&late).await, ErrorKind::Conflict, "a scope that must not exist yet");
    let client = open_client(&backend).await;
    assert_eq!(record(&client, &scope(1), "k").await, Some(value("one")));
    assert_eq!(record(&client, &scope(2), "k").await, Some(value("two")));
    // Where commits are not atomic, the refused ones leave nodes until the next gc.
    let found = client.verify(&mut |_| ()).await.expect("the client is verified");
    assert!(found.is_sound(), "{:?}", found.problems);
}

/// Closed and opened again, the keep has all that was committed.
pub async fn opens_again(harness: &dyn Harness) {
    let mut backend = open(harness).await;
    drop(create_client(&backend).await);
    for round in 0..4 {
        let mut client = open_client(&backend).await;
        put(&mut client, &scope(round), "k", &noise(round, 9000)).await.expect("the commit succeeds");
        drop(client);
        backend = reopen(harness, backend).await;
        let client = open_client(&backend).await;
        assert_eq!(client.number(), round + 2, "round {round}: the last commit is there");
        for earlier in 0..=round {
            assert_eq!(record(&client, &scope(earlier), "k").await, Some(noise(earlier, 9000)), "round {round}");
        }
        assert_sound(&client, 0).await;
    }
    close(backend).await;
}

/// Writers of one client, each in a scope of its own: all of their commits are applied, by replaying those that lost. Each
/// commits at least 6 times, and up to 30 times until they have met often enough.
async fn writers(harness: &dyn Harness, backends: &[Arc<dyn StorageBackend>]) {
    const WRITERS: usize = 4;
    let first = backends.first().expect("there is a backend");
    drop(create_client(first).await);
    let meetings = AtomicUsize::new(0);
    let meetings = &meetings;
    let rounds = race(harness, WRITERS, |writer| {
        let backend = backends.get(writer % backends.len()).map(Arc::clone).expect("there is a backend");
        async move {
            let mut client = open_client(&backend).await;
            let scope = scope(writer as u64);
            let mut round = 0;
            while round < 6 || round < 30 && meetings.load(Ordering::Relaxed) < MEETINGS {
                let before = client.number();
                // A commit gives up after several lost races; nothing was applied then.
                while let Err(error) = put(&mut client, &scope, &round.to_string(), &noise(round, 400)).await {
                    assert_eq!(error.kind(), ErrorKind::Conflict, "writer {writer}, round {round}: {error:?}");
                    client.refresh().await.expect("the newest root is read");
                }
                // Others were faster: it did not find the root that it expected.
                meetings.fetch_add(usize::from(client.number() > before + 1), Ordering::Relaxed);
                round += 1;
            }
            round
        }
    });
    for backend in backends {
        let client = open_client(backend).await;
        assert_eq!(client.number(), 1 + rounds.iter().sum::<u64>(), "each commit of {rounds:?} made one root");
        for (writer, rounds) in rounds.iter().enumerate() {
            let all = client.records(&scope(writer as u64), &RecordRange::all()).await.expect("the records are read");
            assert_eq!(all.len() as u64, *rounds, "all records of writer {writer}");
        }
    }
}

/// Writers of one client through one backend lose no commit.
pub async fn racing_writers(harness: &dyn Harness) {
    let backend = open(harness).await;
    writers(harness, &[backend]).await;
}

/// Writers of one client through two backends lose no commit.
pub async fn racing_writers_on_two_backends(harness: &dyn Harness) {
    let backends = [open(harness).await, open(harness).await];
    writers(harness, &backends).await;
}
