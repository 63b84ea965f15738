//! Fuzz targets of nodes, and what other targets need of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use fuzzing::Target;

use super::frame::Framer;
use super::node::{decode_chunk, decode_index, encode_chunk, encode_index};
use super::*;
use crate::limits::MAX_NODE_LEN;
use crate::{Error, ErrorKind, Key, Result, envelope};

/// A node as it was before it was packed.
#[derive(Clone)]
pub(crate) struct Plain {
    pub(crate) pointer: [u8; 32],
    /// What its parent says of its length, if it is an index node or a chunk.
    pub(crate) len: usize,
    pub(crate) bytes: Vec<u8>,
}

/// The nodes below `top`, each before those that it names.
pub(crate) fn plaintexts(stored: &BTreeMap<Key, Bytes>, prefix: &str, top: &Tree) -> Vec<Plain> {
    let open = |(pointer, len): (Arc<Pointer>, usize)| {
        let key = Key::new(&format!("{prefix}{}", crate::text::encode(pointer.name()))).unwrap();
        let frame = envelope::open_node(pointer.expose(), &stored[&key]).unwrap();
        Plain { pointer: *pointer.expose(), len, bytes: Framer::new().unframe(&frame).unwrap().to_vec() }
    };
    let mut waiting: Vec<Plain> = match top {
        Tree::Stored(pointer) => vec![open((Arc::clone(pointer), 0))],
        Tree::Inline(node) => vec![Plain { pointer: [0; 32], len: 0, bytes: node.encode().to_vec() }],
        Tree::Empty => Vec::new(),
    };
    let mut found: Vec<Plain> = Vec::new();
    while let Some(node) = waiting.pop() {
        let below = match node.bytes.first() {
            Some(0 | 1) => named(&Node::decode(&node.bytes).unwrap()),
            Some(2) => in_parts(&decode_index(&node.bytes, node.len).unwrap()),
            _ => Vec::new(),
        };
        waiting.extend(below.into_iter().map(open));
        if found.iter().all(|other| other.pointer != node.pointer) {
            found.push(node);
        }
    }
    found
}

fn named(node: &Node) -> Vec<(Arc<Pointer>, usize)> {
    match node {
        Node::Inner { entries, .. } => entries.iter().map(|entry| (Arc::clone(&entry.child), 0)).collect(),
        Node::Leaf(entries) => entries
            .iter()
            .flat_map(|entry| match &entry.value {
                LeafValue::Inline(_) => Vec::new(),
                LeafValue::Chunked(list) => in_parts(&list.parts),
                LeafValue::Map { top, .. } => vec![(Arc::clone(top), 0)],
            })
            .collect(),
    }
}

fn in_parts(parts: &[Part]) -> Vec<(Arc<Pointer>, usize)> {
    parts.iter().map(|part| (Arc::clone(&part.pointer), part.len)).collect()
}

/// A node as the backend has it.
pub(crate) fn sealed(pointer: &Pointer, plaintext: &[u8]) -> Result<Vec<u8>> {
    envelope::seal_node(pointer.expose(), Framer::new().frame(plaintext)?)
}

/// The pieces of `input`, each behind its length of 16 bits.
pub(crate) fn split_off(input: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = input;
    std::iter::from_fn(move || {
        let (len, after) = rest.split_first_chunk::<2>()?;
        let (piece, after) = after.split_at(usize::from(u16::from_be_bytes(*len)).min(after.len()));
        rest = after;
        Some(piece)
    })
}

fn corrupt(error: &Error) {
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
}

/// The shortest, a middling and the longest of the nodes that begin with `kind`.
fn some(kind: u8) -> Vec<Plain> {
    let mut nodes = crate::keep::fuzz_nodes();
    nodes.retain(|node| node.bytes.first() == Some(&kind));
    nodes.sort_by_key(|node| node.bytes.len());
    [0, nodes.len() / 2, nodes.len() - 1].map(|at| nodes[at].clone()).into()
}

fn seeds(kinds: &[u8]) -> Vec<Vec<u8>> {
    kinds.iter().flat_map(|kind| some(*kind)).map(|node| node.bytes).collect()
}

/// The length that a parent gives stands before the node.
fn seeds_with_len(kind: u8) -> Vec<Vec<u8>> {
    some(kind).into_iter().map(|node| [&(node.len as u32).to_be_bytes()[..], &node.bytes].concat()).collect()
}

#[test]
fn node() {
    Target::new(env!("CARGO_PKG_NAME"), "node").seeds(seeds(&[0, 1])).run(|input| match Node::decode(input) {
        Ok(node) => {
            assert_eq!(*node.encode(), input, "a node that is read is written the same");
            assert_eq!(node.encoded_len(), input.len());
        }
        Err(error) => corrupt(&error),
    });
}

#[test]
fn index() {
    Target::new(env!("CARGO_PKG_NAME"), "index").seeds(seeds_with_len(2)).run(|input| {
        let Some((len, node)) = input.split_first_chunk() else { return };
        match decode_index(node, u32::from_be_bytes(*len) as usize) {
            Ok(parts) => assert_eq!(*encode_index(&parts), node, "an index that is read is written the same"),
            Err(error) => corrupt(&error),
        }
    });
}

#[test]
fn chunk() {
    Target::new(env!("CARGO_PKG_NAME"), "chunk").seeds(seeds_with_len(3).into_iter().take(1)).run(|input| {
        let Some((len, node)) = input.split_first_chunk() else { return };
        let len = u32::from_be_bytes(*len) as usize;
        match decode_chunk(node, len) {
            Ok(chunk) => {
                assert_eq!(chunk.len(), len);
                assert_eq!(*encode_chunk(chunk), node, "a chunk that is read is written the same");
            }
            Err(error) => corrupt(&error),
        }
    });
}

#[test]
fn frame() {
    let framer = Framer::new();
    let mut nodes = seeds(&[0, 1, 3]);
    nodes.push(vec![b'z'; MAX_NODE_LEN]);
    let seeds: Vec<_> = nodes.iter().map(|node| framer.frame(node).unwrap().to_vec()).collect();
    // A node and its ciphertext, nothing in proportion to a length that is only claimed.
    Target::new(env!("CARGO_PKG_NAME"), "frame").seeds(seeds).memory(1 << 20).run(|input| {
        match framer.unframe(input) {
            Ok(node) => {
                assert!(node.len() <= MAX_NODE_LEN);
                assert_eq!(*framer.unframe(&framer.frame(&node).unwrap()).unwrap(), *node);
            }
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::UnsupportedVersion), "{error}");
            }
        }
    });
}
