//! A client's records against a `BTreeMap`: random changes, reopening, chunks, garbage.

// A test fails by panicking.
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;

use common::{dump, keep_in};
use futures_executor::block_on;
use mls_keep_core::{Changes, ClientStore, ErrorKind, MemoryBackend, RecordRange, ScopeId, StorageBackend, Value};
use proptest::prelude::*;

/// One change of a random history.
#[derive(Clone, Debug)]
enum Step {
    Put { scope: u8, key: u16, len: usize, byte: u8 },
    Splice { scope: u8, key: u16, at: usize, byte: u8 },
    Remove { scope: u8, key: u16 },
    RemoveScope { scope: u8 },
    Commit,
    Reopen,
}

type Model = BTreeMap<u8, BTreeMap<Vec<u8>, Vec<u8>>>;

fn step() -> impl Strategy<Value = Step> {
    let len = prop_oneof![6 => 0_usize..300, 3 => 3000_usize..6000, 1 => 20_000_usize..400_000];
    prop_oneof![
        8 => (0_u8..3, 0_u16..400, len, any::<u8>())
            .prop_map(|(scope, key, len, byte)| Step::Put { scope, key, len, byte }),
        4 => (0_u8..3, 0_u16..400, any::<usize>(), any::<u8>())
            .prop_map(|(scope, key, at, byte)| Step::Splice { scope, key, at, byte }),
        3 => (0_u8..3, 0_u16..400).prop_map(|(scope, key)| Step::Remove { scope, key }),
        1 => (0_u8..3).prop_map(|scope| Step::RemoveScope { scope }),
        4 => Just(Step::Commit),
        1 => Just(Step::Reopen),
    ]
}

/// Not all alike, so that chunks are cut where the contents say.
fn content(len: usize, byte: u8) -> Vec<u8> {
    (0..len).map(|at| ((at * 31 + at / 97 * 7) as u8).wrapping_mul(at as u8 | 1).wrapping_add(byte)).collect()
}

fn scope_id(scope: u8) -> ScopeId {
    ScopeId::group(&[scope]).unwrap()
}

fn key_bytes(key: u16) -> Vec<u8> {
    format!("{key:03}-{}", "k".repeat(usize::from(key % 40))).into_bytes()
}

async fn read(client: &ClientStore, scope: u8) -> BTreeMap<Vec<u8>, Value> {
    let records = client.records(&scope_id(scope), &RecordRange::all()).await.unwrap();
    records.into_iter().map(|record| (record.key.to_vec(), record.value)).collect()
}

async fn commit(client: &mut ClientStore, before: &Model, after: &Model) {
    let mut changes = Changes::new();
    for scope in 0..3 {
        let (old, new) = (before.get(&scope), after.get(&scope));
        if old == new {
            continue;
        }
        let loaded = read(client, scope).await;
        let base = client.scope_version(&scope_id(scope)).await.unwrap();
        let changed = changes.scope(scope_id(scope), base);
        let empty = BTreeMap::new();
        let (old, new) = (old.unwrap_or(&empty), new.unwrap_or(&empty));
        if new.is_empty() {
            changed.remove_all();
        }
        for key in old.keys().filter(|key| !new.contains_key(*key)) {
            changed.remove(key.clone());
        }
        for (key, value) in new.iter().filter(|(key, value)| old.get(*key) != Some(value)) {
            changed.put(key.clone(), value.clone().into(), loaded.get(key).cloned()).unwrap();
        }
    }
    client.commit(&changes).await.unwrap();
}

async fn run(steps: Vec<Step>) {
    let backend = MemoryBackend::new();
    let mut seed = 1;
    let mut client = keep_in(backend.clone(), seed).await.create_client(b"alice").await.unwrap();
    let (mut stored, mut model) = (Model::new(), Model::new());
    for step in steps.into_iter().chain([Step::Commit, Step::Reopen]) {
        match step {
            Step::Put { scope, key, len, byte } => {
                model.entry(scope).or_default().insert(key_bytes(key), content(len, byte));
            }
            Step::Splice { scope, key, at, byte } => {
                if let Some(value) = model.entry(scope).or_default().get_mut(&key_bytes(key)) {
                    let at = at % (value.len() + 1);
                    value.splice(at..(at + 3).min(value.len()), [byte; 7]);
                }
            }
            Step::Remove { scope, key } => {
                model.entry(scope).or_default().remove(&key_bytes(key));
            }
            Step::RemoveScope { scope } => {
                model.remove(&scope);
            }
            Step::Commit => {
                commit(&mut client, &stored, &model).await;
                stored = model.clone();
            }
            Step::Reopen => {
                model = stored.clone();
                seed += 1;
                client = keep_in(backend.clone(), seed).await.open_client(b"alice").await.unwrap();
            }
        }
    }
    for scope in 0..3 {
        let expected = model.remove(&scope).unwrap_or_default();
        let found = read(&client, scope).await;
        assert!(found.keys().eq(expected.keys()), "the keys of scope {scope} differ");
        assert!(found.iter().all(|(key, value)| value.as_slice() == expected[key]), "a value of scope {scope} differs");
        let last: Vec<_> = client
            .records(&scope_id(scope), &RecordRange::prefix(b"1").backwards().limit(3))
            .await
            .unwrap()
            .into_iter()
            .map(|record| record.key.to_vec())
            .collect();
        assert!(last.iter().eq(expected.keys().rev().filter(|key| key.starts_with(b"1")).take(3)));
    }
    let found = client.verify(&mut |_| ()).await.unwrap();
    assert_eq!(found.problems, Vec::<String>::new());
    assert_eq!(found.statistics.orphans, 0, "a node was left behind");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn records_are_what_was_put_and_nothing_is_left_behind(steps in prop::collection::vec(step(), 1..120)) {
        block_on(run(steps));
    }
}

#[test]
fn thousands_of_scopes_and_records_are_found_again() {
    block_on(async {
        let backend = MemoryBackend::new();
        let mut client = keep_in(backend.clone(), 1).await.create_client(b"alice").await.unwrap();
        let mut changes = Changes::new();
        for scope in 0..3000_u32 {
            let id = ScopeId::group(&scope.to_be_bytes()).unwrap();
            changes.scope(id, None).put(b"name".to_vec(), scope.to_be_bytes().to_vec().into(), None).unwrap();
        }
        let many = changes.scope(ScopeId::client(), None);
        for record in 0..5000_u32 {
            many.put(record.to_be_bytes().to_vec(), content(40, record as u8).into(), None).unwrap();
        }
        client.commit(&changes).await.unwrap();

        let client = keep_in(backend, 2).await.open_client(b"alice").await.unwrap();
        assert_eq!(client.scopes().await.unwrap().len(), 3001);
        for scope in (0..3000_u32).step_by(97) {
            let id = ScopeId::group(&scope.to_be_bytes()).unwrap();
            let value = client.record(&id, b"name").await.unwrap().unwrap();
            assert_eq!(value.as_slice(), scope.to_be_bytes());
        }
        let some = RecordRange::between(&2500_u32.to_be_bytes(), &4000_u32.to_be_bytes()).limit(1000);
        let some = client.records(&ScopeId::client(), &some).await.unwrap();
        assert_eq!(some.len(), 1000);
        assert_eq!(some[999].key.as_ref(), 3499_u32.to_be_bytes());
    });
}

#[test]
fn a_small_change_of_a_long_value_writes_little() {
    block_on(async {
        let mut client = keep_in(MemoryBackend::new(), 1).await.create_client(b"alice").await.unwrap();
        let scope = ScopeId::client();
        let mut value = Vec::new();
        // Incompressible, so that what is stored is what was written.
        for at in 0..30_000_u64 {
            use sha2::Digest as _;
            value.extend_from_slice(&sha2::Sha256::digest(at.to_be_bytes())[..32]);
        }
        let mut changes = Changes::new();
        changes.scope(scope.clone(), None).put(b"v".to_vec(), value.clone().into(), None).unwrap();
        let first = client.commit(&changes).await.unwrap();
        assert!(first.stored_bytes > value.len());
        let mut base = first.long_value(&scope, b"v").cloned();
        let mut worst = 0;
        for round in 0..40_usize {
            let at = round * 23_456 % value.len();
            value.splice(at..at, [round as u8; 5]);
            let mut changes = Changes::new();
            let version = client.scope_version(&scope).await.unwrap();
            changes.scope(scope.clone(), version).put(b"v".to_vec(), value.clone().into(), base).unwrap();
            let committed = client.commit(&changes).await.unwrap();
            worst = worst.max(committed.stored_bytes);
            base = committed.long_value(&scope, b"v").cloned();
        }
        assert!(worst < 48 << 10, "one changed byte of {} wrote {worst}", value.len());
        assert_eq!(client.record(&scope, b"v").await.unwrap().unwrap().as_slice(), value);
        assert!(client.verify(&mut |_| ()).await.unwrap().is_sound());
    });
}

#[test]
fn a_scope_that_somebody_else_changed_is_a_conflict_and_any_other_is_not() {
    block_on(async {
        let backend = MemoryBackend::new();
        let keep = keep_in(backend.clone(), 1).await;
        let mut one = keep.create_client(b"alice").await.unwrap();
        let mut two = keep.open_client(b"alice").await.unwrap();
        let put = |scope: u8, base, value: &str| {
            let mut changes = Changes::new();
            let value = value.as_bytes().to_vec().into();
            changes.scope(scope_id(scope), base).put(b"k".to_vec(), value, None).unwrap();
            changes
        };
        one.commit(&put(1, None, "one")).await.unwrap();
        // `two` reads from an older root; its scope is untouched, so its change is applied to the new root.
        two.commit(&put(2, None, "two")).await.unwrap();
        // Nobody may create scope 1 again.
        let refused = two.commit(&put(1, None, "again")).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Conflict);
        // A stale base.
        let base = two.scope_version(&scope_id(1)).await.unwrap();
        one.refresh().await.unwrap();
        one.commit(&put(1, base, "one again")).await.unwrap();
        let refused = two.commit(&put(1, base, "lost update")).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Conflict);
        let value = two.record(&scope_id(1), b"k").await.unwrap().unwrap();
        assert_eq!(value.as_slice(), b"one again");
        assert_eq!(dump(&backend).await.len(), 2 + 2, "header, root, and a node for each scope");
    });
}

#[test]
fn gc_deletes_what_no_root_names_and_nothing_else() {
    block_on(async {
        let backend = MemoryBackend::new();
        let mut client = keep_in(backend.clone(), 1).await.create_client(b"alice").await.unwrap();
        let mut changes = Changes::new();
        changes.scope(scope_id(1), None).put(b"k".to_vec(), content(50_000, 1).into(), None).unwrap();
        client.commit(&changes).await.unwrap();
        let before = dump(&backend).await;
        let node = before.iter().find(|(key, _)| key.as_str().starts_with("n/")).unwrap().clone();
        let mut orphan = node.0.as_str().to_owned();
        orphan.replace_range(orphan.len() - 1.., "0");
        backend.save(&mls_keep_core::Key::new(&orphan).unwrap(), node.1).await.unwrap();
        assert_eq!(client.verify(&mut |_| ()).await.unwrap().statistics.orphans, 1);
        assert_eq!(client.gc().await.unwrap(), 1);
        assert_eq!(client.gc().await.unwrap(), 0);
        assert_eq!(dump(&backend).await.len(), before.len());
        assert_eq!(client.record(&scope_id(1), b"k").await.unwrap().unwrap().as_slice(), content(50_000, 1));
    });
}
