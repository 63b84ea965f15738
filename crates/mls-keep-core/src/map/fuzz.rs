//! Fuzz targets of nodes, and what other targets need of them.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use fuzzing::Target;

use super::frame::Framer;
use super::node::{decode_chunk, decode_index, encode_chunk, encode_index};
use super::*;
use crate::limits::MAX_NODE_LEN;
use crate::{Error, ErrorKind, Key, Result, envelope};

/// The nodes below `top`, each before the ones that it names: what names a node, and its plaintext.
pub(crate) fn plaintexts(stored: &BTreeMap<Key, Bytes>, prefix: &str, top: &Tree) -> Vec<([u8; 32], Vec<u8>)> {
    let mut waiting: Vec<(Arc<Pointer>, Vec<u8>)> = Vec::new();
    let open = |pointer: &Arc<Pointer>| {
        let key = Key::new(&format!("{prefix}{}", crate::text::encode(pointer.name()))).unwrap();
        let frame = envelope::open_node(pointer.expose(), &stored[&key]).unwrap();
        Framer::new().unframe(&frame).unwrap().to_vec()
    };
    match top {
        Tree::Stored(pointer) => waiting.push((Arc::clone(pointer), open(pointer))),
        Tree::Inline(node) => waiting.push((Pointer::from_bytes([0; 32]), node.encode().to_vec())),
        Tree::Empty => {}
    }
    let (mut found, mut seen) = (Vec::new(), HashSet::new());
    while let Some((pointer, plaintext)) = waiting.pop() {
        if !seen.insert(*pointer.name()) {
            continue;
        }
        let below: Vec<Arc<Pointer>> = match plaintext.first() {
            Some(0 | 1) => named(&Node::decode(&plaintext).unwrap()),
            Some(2) => index_parts(&plaintext).into_iter().map(|part| part.pointer).collect(),
            _ => Vec::new(),
        };
        waiting.extend(below.iter().map(|pointer| (Arc::clone(pointer), open(pointer))));
        found.push((*pointer.expose(), plaintext));
    }
    found
}

fn named(node: &Node) -> Vec<Arc<Pointer>> {
    match node {
        Node::Inner { entries, .. } => entries.iter().map(|entry| Arc::clone(&entry.child)).collect(),
        Node::Leaf(entries) => entries
            .iter()
            .flat_map(|entry| match &entry.value {
                LeafValue::Inline(_) => Vec::new(),
                LeafValue::Chunked(list) => list.parts.iter().map(|part| Arc::clone(&part.pointer)).collect(),
                LeafValue::Map { top, .. } => vec![Arc::clone(top)],
            })
            .collect(),
    }
}

/// The parts of an index node, whose length its parent would know.
fn index_parts(plaintext: &[u8]) -> Vec<Part> {
    let len = (1..=crate::limits::MAX_VALUE_LEN).find_map(|len| decode_index(plaintext, len).ok());
    len.unwrap_or_default()
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

/// Some nodes that begin with `kind`.
fn seeds(kind: u8) -> Vec<Vec<u8>> {
    let mut nodes: Vec<_> = crate::keep::fuzz_nodes().into_iter().filter(|node| node.first() == Some(&kind)).collect();
    nodes.sort_by_key(Vec::len);
    let middle = nodes.len() / 2;
    let chosen = [0, middle, nodes.len() - 1].map(|at| nodes[at].clone());
    chosen.into_iter().collect()
}

#[test]
fn node() {
    Target::new(env!("CARGO_PKG_NAME"), "node").seeds([seeds(0), seeds(1)].concat()).run(|input| {
        match Node::decode(input) {
            Ok(node) => {
                assert_eq!(*node.encode(), input, "a node that is read is written the same");
                assert_eq!(node.encoded_len(), input.len());
            }
            Err(error) => corrupt(&error),
        }
    });
}

/// The length that a parent gives stands before the node.
fn with_len(node: &[u8], len: usize) -> Vec<u8> {
    [&(len as u32).to_be_bytes(), node].concat()
}

#[test]
fn index() {
    let sum = |node: &[u8]| index_parts(node).iter().map(|part| part.len).sum();
    let seeds: Vec<_> = seeds(2).into_iter().map(|node| with_len(&node, sum(&node))).collect();
    Target::new(env!("CARGO_PKG_NAME"), "index").seeds(seeds).run(|input| {
        let Some((len, node)) = input.split_first_chunk() else { return };
        match decode_index(node, u32::from_be_bytes(*len) as usize) {
            Ok(parts) => assert_eq!(*encode_index(&parts), node, "an index that is read is written the same"),
            Err(error) => corrupt(&error),
        }
    });
}

#[test]
fn chunk() {
    let mut seeds: Vec<_> = seeds(3).into_iter().map(|node| with_len(&node, node.len() - 1)).collect();
    seeds.truncate(1);
    Target::new(env!("CARGO_PKG_NAME"), "chunk").seeds(seeds).run(|input| {
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
    let mut nodes = [seeds(0), seeds(1), seeds(3)].concat();
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
