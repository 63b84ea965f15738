//! Fuzz targets of the root, and of what a client does with a root and nodes that are not as they should be.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_executor::block_on;
use fuzzing::Target;

use super::*;
use crate::fuzz::{Counted, IDENTITY, dump, encryption, store};
use crate::keep::{Changes, Keep, ScopeId};
use crate::map::fuzz::{Plain, plaintexts, split_off};
use crate::{Key, MemoryBackend, RecordRange, StorageBackend, Value, names};

struct Opened {
    header: Header,
    token: [u8; 16],
    stored: Vec<u8>,
    root: Root,
    all: BTreeMap<Key, Bytes>,
}

fn opened() -> Opened {
    let all = dump(&store());
    let (header, _) = block_on(Header::open(&encryption(), &all[&Key::new("header").unwrap()])).unwrap();
    let token = header.token(IDENTITY).unwrap();
    let stored = all[&root_key(&token)].to_vec();
    let root = Root::open(&header, &token, &stored).unwrap();
    Opened { header, token, stored, root, all }
}

fn root_key(token: &[u8; 16]) -> Key {
    Key::new(&format!("{}{}", names::ROOTS, crate::text::encode(token))).unwrap()
}

/// The nodes of the store that the targets begin with.
pub(crate) fn nodes() -> Vec<Plain> {
    let Opened { token, root, all, .. } = opened();
    plaintexts(&all, &node_prefix(&token), &root.directory)
}

fn node_prefix(token: &[u8; 16]) -> String {
    format!("{}{}/", names::NODES, crate::text::encode(token))
}

fn without_padding(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
    &bytes[..end]
}

fn expected(error: &Error) {
    assert!(matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::UnsupportedVersion), "{error}");
}

#[test]
fn root() {
    let mut root = opened().root;
    let stored = root.encode().unwrap().to_vec();
    let nodes = crate::map::NodeStore::new(Arc::new(MemoryBackend::new()), "n/x/".to_owned());
    let entropy = Counted::default();
    let mut batch = crate::map::Batch::new(&nodes, &entropy);
    let names = (0..300_u16).map(|number| [number as u8; 20]);
    root.garbage.extend(&mut batch, names).unwrap();
    root.garbage.extend(&mut batch, [[5; 20], [6; 20]]).unwrap();
    root = (0..20).fold(root, |root, number: u8| root.next(Some(&[number])));
    root.directory = Tree::Empty;
    root.remember(&(0..20).map(|number| [number; 16]).collect::<Vec<_>>());
    let full = root.encode().unwrap().to_vec();
    let small = Root::new(b"bob", &Counted::default()).unwrap().encode().unwrap().to_vec();
    Target::new(env!("CARGO_PKG_NAME"), "root").seeds([stored, full, small]).run(|input| {
        let root = match Root::decode(input) {
            Ok(root) => root,
            Err(error) => return expected(&error),
        };
        let again = root.encode().unwrap();
        assert_eq!(without_padding(&again), without_padding(input), "a root that is read is written the same");
        assert_eq!(*Root::decode(&again).unwrap().encode().unwrap(), *again);
    });
}

#[test]
fn stored_root() {
    let Opened { header, token, stored, .. } = opened();
    Target::new(env!("CARGO_PKG_NAME"), "stored_root").seeds([stored.clone()]).run(|input| {
        match Root::open(&header, &token, input) {
            Ok(_) => assert_eq!(input, stored, "a forged root opens"),
            Err(error) => expected(&error),
        }
    });
}

/// Where the nodes of a made-up client stand: each under a pointer that the others can name.
fn pointer(number: u8) -> Arc<Pointer> {
    Pointer::from_bytes([number; 32])
}

/// A client whose root and nodes were written by somebody who has its key, such as a version of the program with a
/// defect. Whatever they say, each call ends, in bounded memory.
#[test]
fn client() {
    let Opened { header, token, all, .. } = opened();
    let all_nodes = nodes();
    let mut kinds = all_nodes.clone();
    kinds.retain(|node| node.bytes.len() < 3000);
    kinds.dedup_by_key(|node| node.bytes.first().copied());
    let seeds = [&kinds[..kinds.len().min(8)], &all_nodes[..3]].map(packed);
    let header_stored = all[&Key::new("header").unwrap()].clone();
    Target::new(env!("CARGO_PKG_NAME"), "client").seeds(seeds).memory(256 << 20).run(|input| {
        block_on(async {
            let backend = MemoryBackend::new();
            backend.save(&Key::new("header").unwrap(), header_stored.clone()).await.unwrap();
            let nodes = crate::map::NodeStore::new(Arc::new(backend.clone()), node_prefix(&token));
            let mut count = 0;
            for (number, plaintext) in (0..=u8::MAX).zip(split_off(input)) {
                let pointer = pointer(number);
                let Ok(sealed) = crate::map::fuzz::sealed(&pointer, plaintext) else { continue };
                backend.save(&nodes.key(pointer.name()).unwrap(), sealed.into()).await.unwrap();
                count += 1;
            }
            let mut root = Root::new(IDENTITY, &Counted::default()).unwrap();
            root.directory = Tree::Stored(pointer(0));
            root.nodes = count;
            let stored = root.seal(&header, &token, &Counted::default()).unwrap();
            backend.save(&root_key(&token), stored).await.unwrap();
            use_client(backend).await;
        });
    });
}

async fn use_client(backend: MemoryBackend) {
    let keep = Keep::open(Arc::new(backend), &encryption(), Arc::new(Counted::default())).await.unwrap();
    let Ok(mut client) = keep.open_client(IDENTITY).await else { return };
    let found = client.verify(&mut |_| ()).await;
    let scopes = client.scopes().await.unwrap_or_default();
    let sound = found.as_ref().is_ok_and(crate::Verification::is_sound);
    for scope in scopes.iter().take(4) {
        let records = client.records(scope, &RecordRange::all().limit(8)).await;
        assert!(records.is_ok() || !sound, "what verify calls sound is read: {records:?}");
        drop(client.records(scope, &RecordRange::prefix(&[0]).limit(3).backwards()).await);
        drop(client.record(scope, b"\x10").await);
    }
    let mut changes = Changes::new();
    for scope in scopes.into_iter().take(2).chain([ScopeId::client()]) {
        let changed = changes.scope(scope, None);
        changed.put(b"\x10".to_vec(), Value::from(vec![1; 5000]), None).unwrap();
        changed.remove(b"\x11".to_vec());
    }
    drop(client.commit(&changes).await);
    drop(client.gc().await);
}

/// The nodes, each behind its length, with the pointers that the target uses.
fn packed(nodes: &[Plain]) -> Vec<u8> {
    let mut packed = Vec::new();
    for node in nodes {
        let mut bytes = node.bytes.clone();
        for (number, other) in (0..=u8::MAX).zip(nodes) {
            rename(&mut bytes, &other.pointer, &[number; 32]);
        }
        packed.extend_from_slice(&(bytes.len() as u16).to_be_bytes());
        packed.extend_from_slice(&bytes);
    }
    packed
}

fn rename(bytes: &mut [u8], from: &[u8; 32], to: &[u8; 32]) {
    let places: Vec<_> = bytes.windows(32).enumerate().filter(|(_, part)| part == from).map(|(at, _)| at).collect();
    for at in places {
        bytes[at..at + 32].copy_from_slice(to);
    }
}
