//! Maps that a holder of the keys has made to be read for ever, or into all of memory.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use futures_executor::block_on;

use super::node::{InnerEntry, encode_index};
use super::parts::ChunkList;
use super::*;
use crate::MemoryBackend;
use crate::backend::StorageBackend;
use crate::entropy::Entropy;
use crate::error::{ErrorKind, Result};
use crate::limits::MAX_DEPTH;

struct Random;

impl Entropy for Random {
    fn fill(&self, out: &mut [u8]) -> Result<()> {
        out.iter_mut().for_each(|byte| *byte = RandomState::new().hash_one(0) as u8);
        Ok(())
    }
}

/// A store with what `write` has put into it.
fn stored<T>(write: impl FnOnce(&mut Batch<'_>) -> Result<T>) -> (NodeStore, T) {
    let backend = MemoryBackend::new();
    let store = NodeStore::new(Arc::new(backend.clone()), "n/x/".into());
    let mut batch = Batch::new(&store, &Random);
    let written = write(&mut batch).unwrap();
    for (key, data) in std::mem::take(&mut batch.puts) {
        block_on(backend.save(&key, data)).unwrap();
    }
    drop(batch);
    (store, written)
}

fn leaf(keys: &[&[u8]]) -> Node {
    let entry = |key: &&[u8]| LeafEntry { key: (*key).into(), value: LeafValue::Inline(b"value".to_vec().into()) };
    Node::Leaf(keys.iter().map(entry).collect())
}

fn scanned(store: &NodeStore, top: &Arc<Pointer>, range: &RecordRange) -> Result<Vec<LeafEntry>> {
    block_on(Tree::Stored(Arc::clone(top)).scan(store, range))
}

#[test]
fn a_node_that_stands_in_a_map_many_times_is_read_once() {
    let (store, top) = stored(|batch| {
        let mut child = batch.write_node(leaf(&[b"k"]))?;
        for level in 1..MAX_DEPTH as u8 {
            // 40 to the power of 11 leaves, if each were visited.
            let entries = (0..40_u8).map(|at| InnerEntry { key: [at].as_slice().into(), child: Arc::clone(&child) });
            child = batch.write_node(Node::Inner { level, entries: entries.collect() })?;
        }
        Ok(child)
    });
    for range in [RecordRange::all(), RecordRange::all().backwards(), RecordRange::prefix(b"nothing")] {
        match scanned(&store, &top, &range) {
            Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt),
            Ok(found) => assert!(found.is_empty(), "{range:?}"),
        }
    }
    assert_eq!(scanned(&store, &top, &RecordRange::all()).unwrap_err().kind(), ErrorKind::Corrupt);
}

#[test]
fn leaves_out_of_order_are_damage() {
    let (store, top) = stored(|batch| {
        let (later, earlier) = (batch.write_node(leaf(&[b"m", b"n"]))?, batch.write_node(leaf(&[b"k", b"l"]))?);
        let entries =
            [(b"a", later), (b"b", earlier)].map(|(key, child)| InnerEntry { key: key.as_slice().into(), child });
        batch.write_node(Node::Inner { level: 1, entries: entries.into() })
    });
    for range in [RecordRange::all(), RecordRange::all().backwards()] {
        assert_eq!(scanned(&store, &top, &range).unwrap_err().kind(), ErrorKind::Corrupt);
    }
}

#[test]
fn a_value_in_more_parts_than_it_can_be_cut_into_is_damage() {
    let (store, list) = stored(|batch| {
        let chunk = batch.write_block(super::node::encode_chunk(b"x"))?;
        // Each part has one byte of the value.
        let parts = |count: usize| vec![Part { len: 1, pointer: Arc::clone(&chunk) }; count];
        let index = batch.write_block(encode_index(&parts(400)))?;
        let len = 32 * 400;
        Ok(ChunkList { len, levels: 1, parts: vec![Part { len: 400, pointer: index }; 32] })
    });
    let error = block_on(load_long(&store, &list)).err().unwrap();
    assert!(error.kind() == ErrorKind::Corrupt && error.to_string().contains("parts"), "{error}");
}
