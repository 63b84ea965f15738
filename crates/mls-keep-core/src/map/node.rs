//! [`Node`]: what one sealed block of a map holds, and its encoding (docs/format.md, "Node").

use std::sync::Arc;

use super::parts::{ChunkList, Part};
use super::pointer::{NodeName, POINTER_LEN, Pointer};
use super::value::Value;
use crate::codec::{Reader, Writer};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{MAX_DEPTH, MAX_NODE_LEN, MAX_RECORD_KEY_LEN, MAX_VALUE_LEN};
use crate::secret_bytes::SecretBytes;
use crate::secret_vec::SecretVec;

const LEAF: u8 = 0;
const INNER: u8 = 1;
const INDEX: u8 = 2;
const CHUNK: u8 = 3;
const GARBAGE: u8 = 4;

const INLINE: u8 = 0;
const CHUNKED: u8 = 1;
const MAP: u8 = 2;

/// Bytes before the first entry of a leaf or an inner node.
const HEAD_LEN: usize = 4;

/// A node of a map: entries in key order, each key once.
#[derive(Debug)]
pub(crate) enum Node {
    Leaf(Vec<LeafEntry>),
    /// `level` is the distance to the leaves, at least 1.
    Inner {
        level: u8,
        entries: Vec<InnerEntry>,
    },
}

#[derive(Clone, Debug)]
pub(crate) struct LeafEntry {
    pub(crate) key: SecretBytes,
    pub(crate) value: LeafValue,
}

#[derive(Clone, Debug)]
pub(crate) enum LeafValue {
    Inline(Value),
    Chunked(ChunkList),
    /// The top node of a map of its own: what a client's directory says of a scope.
    Map {
        flags: u8,
        top: Arc<Pointer>,
    },
}

/// `key` is at most the first key below `child`. The first entry's subtree also takes keys before it.
#[derive(Clone, Debug)]
pub(crate) struct InnerEntry {
    pub(crate) key: SecretBytes,
    pub(crate) child: Arc<Pointer>,
}

impl Node {
    pub(crate) fn level(&self) -> u8 {
        match self {
            Self::Leaf(_) => 0,
            Self::Inner { level, .. } => *level,
        }
    }

    /// The first and the last key.
    pub(crate) fn bounds(&self) -> Option<(&[u8], &[u8])> {
        match self {
            Self::Leaf(entries) => Some((&entries.first()?.key, &entries.last()?.key)),
            Self::Inner { entries, .. } => Some((&entries.first()?.key, &entries.last()?.key)),
        }
    }

    pub(crate) fn encoded_len(&self) -> usize {
        HEAD_LEN
            + match self {
                Self::Leaf(entries) => entries.iter().map(LeafEntry::encoded_len).sum::<usize>(),
                Self::Inner { entries, .. } => entries.iter().map(InnerEntry::encoded_len).sum(),
            }
    }

    pub(crate) fn encode(&self) -> SecretVec {
        let mut out = Writer::with_capacity(self.encoded_len());
        match self {
            Self::Leaf(entries) => {
                out.u8(LEAF);
                out.u8(0);
                out.u16(entries.len() as u16);
                for entry in entries {
                    entry.encode(&mut out);
                }
            }
            Self::Inner { level, entries } => {
                out.u8(INNER);
                out.u8(*level);
                out.u16(entries.len() as u16);
                for entry in entries {
                    out.short_bytes(&entry.key);
                    out.raw(entry.child.expose());
                }
            }
        }
        out.finish()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        if bytes.first() == Some(&LEAF) {
            let mut input = LeafEntries::new(bytes)?;
            let mut entries = Vec::with_capacity(input.left);
            while let Some((key, value)) = input.next()? {
                let value = match value {
                    LeafSlice::Inline(value) => LeafValue::Inline(SecretBytes::from(value).into()),
                    LeafSlice::Other(value) => value,
                };
                entries.push(LeafEntry { key: key.into(), value });
            }
            return Ok(Self::Leaf(entries));
        }
        let mut input = Reader::new(bytes);
        let (kind, level) = (input.u8()?, input.u8()?);
        let count = usize::from(input.u16()?);
        let node = match (kind, level) {
            (INNER, 1..) if usize::from(level) < MAX_DEPTH && count > 0 => {
                let count = input.count(count, 2 + POINTER_LEN)?;
                let mut entries = Vec::with_capacity(count);
                for _ in 0..count {
                    let key = input.short_bytes(MAX_RECORD_KEY_LEN)?.into();
                    entries.push(InnerEntry { key, child: Pointer::from_bytes(input.array()?) });
                }
                ensure_ordered(entries.iter().map(|entry| &entry.key))?;
                Self::Inner { level, entries }
            }
            _ => return Err(other_kind()),
        };
        input.finish()?;
        Ok(node)
    }
}

/// The entries of an encoded leaf one after the other, where they stand.
pub(crate) struct LeafEntries<'b> {
    input: Reader<'b>,
    left: usize,
    last: Option<&'b [u8]>,
}

/// A value in an encoded leaf.
pub(crate) enum LeafSlice<'b> {
    Inline(&'b [u8]),
    Other(LeafValue),
}

impl<'b> LeafEntries<'b> {
    /// Whether it is a leaf that this is the encoding of.
    pub(crate) fn are_in(block: &[u8]) -> bool {
        block.first() == Some(&LEAF)
    }

    pub(crate) fn new(block: &'b [u8]) -> Result<Self> {
        let mut input = Reader::new(block);
        if (input.u8()?, input.u8()?) != (LEAF, 0) {
            return Err(other_kind());
        }
        let count = usize::from(input.u16()?);
        let left = input.count(count, 4)?;
        Ok(Self { input, left, last: None })
    }

    /// The next one, `None` behind the last one. All are in the order of their keys.
    pub(crate) fn next(&mut self) -> Result<Option<(&'b [u8], LeafSlice<'b>)>> {
        if self.left == 0 {
            std::mem::replace(&mut self.input, Reader::new(&[])).finish()?;
            return Ok(None);
        }
        self.left -= 1;
        let key = self.input.short_bytes(MAX_RECORD_KEY_LEN)?;
        if self.last.replace(key).is_some_and(|last| last >= key) {
            return Err(out_of_order());
        }
        Ok(Some((key, LeafSlice::decode(&mut self.input)?)))
    }
}

impl LeafEntry {
    pub(crate) fn encoded_len(&self) -> usize {
        let value = match &self.value {
            LeafValue::Inline(value) => 4 + value.as_slice().len(),
            LeafValue::Chunked(list) => 7 + list.parts.len() * (4 + POINTER_LEN),
            LeafValue::Map { .. } => 1 + POINTER_LEN,
        };
        2 + self.key.len() + 1 + value
    }

    fn encode(&self, out: &mut Writer) {
        out.short_bytes(&self.key);
        match &self.value {
            LeafValue::Inline(value) => {
                out.u8(INLINE);
                out.long_bytes(value.as_slice());
            }
            LeafValue::Chunked(list) => {
                out.u8(CHUNKED);
                out.u32(list.len as u32);
                out.u8(list.levels);
                encode_parts(out, &list.parts);
            }
            LeafValue::Map { flags, top } => {
                out.u8(MAP);
                out.u8(*flags);
                out.raw(top.expose());
            }
        }
    }
}

impl<'b> LeafSlice<'b> {
    fn decode(input: &mut Reader<'b>) -> Result<Self> {
        Ok(match input.u8()? {
            INLINE => Self::Inline(input.long_bytes(MAX_NODE_LEN)?),
            CHUNKED => {
                let len = input.u32()? as usize;
                let levels = input.u8()?;
                if len > MAX_VALUE_LEN || usize::from(levels) > MAX_DEPTH {
                    return Err(Error::new(ErrorKind::Corrupt, "a stored value is over its limit"));
                }
                let parts = decode_parts(input)?;
                ensure_sum(&parts, len)?;
                Self::Other(LeafValue::Chunked(ChunkList { len, levels, parts }))
            }
            MAP => Self::Other(LeafValue::Map { flags: input.u8()?, top: Pointer::from_bytes(input.array()?) }),
            _ => return Err(Error::new(ErrorKind::Corrupt, "a stored value is of an unknown kind")),
        })
    }
}

impl InnerEntry {
    pub(crate) fn encoded_len(&self) -> usize {
        2 + self.key.len() + POINTER_LEN
    }
}

/// An index node: the parts below one part of a chunk list.
pub(crate) fn encode_index(parts: &[Part]) -> SecretVec {
    let mut out = Writer::with_capacity(3 + parts.len() * (4 + POINTER_LEN));
    out.u8(INDEX);
    encode_parts(&mut out, parts);
    out.finish()
}

/// The parts of an index node over `len` bytes of the value.
pub(crate) fn decode_index(bytes: &[u8], len: usize) -> Result<Vec<Part>> {
    let mut input = Reader::new(bytes);
    expect_kind(&mut input, INDEX)?;
    let parts = decode_parts(&mut input)?;
    ensure_sum(&parts, len)?;
    input.finish()?;
    Ok(parts)
}

/// A chunk's node.
pub(crate) fn encode_chunk(bytes: &[u8]) -> SecretVec {
    let mut out = Writer::with_capacity(1 + bytes.len());
    out.u8(CHUNK);
    out.raw(bytes);
    out.finish()
}

/// The `len` bytes of a chunk's node.
pub(crate) fn decode_chunk(bytes: &[u8], len: usize) -> Result<&[u8]> {
    let mut input = Reader::new(bytes);
    expect_kind(&mut input, CHUNK)?;
    let chunk = input.rest();
    if chunk.len() != len {
        return Err(Error::new(ErrorKind::Corrupt, "a chunk has another length than its parent says"));
    }
    Ok(chunk)
}

/// Most names of a page of garbage.
pub(crate) const MAX_PAGE_NAMES: usize = 800;

/// Names of nodes to delete, for which there is no room in the root.
pub(crate) struct GarbagePage {
    pub(crate) names: Vec<NodeName>,
    /// The page that was written before this one.
    pub(crate) before: Option<Arc<Pointer>>,
}

impl GarbagePage {
    pub(crate) fn encode(&self) -> SecretVec {
        let mut out = Writer::with_capacity(4 + self.names.len() * size_of::<NodeName>() + POINTER_LEN);
        out.u8(GARBAGE);
        out.u16(self.names.len() as u16);
        self.names.iter().for_each(|name| out.raw(name));
        out.u8(u8::from(self.before.is_some()));
        if let Some(before) = &self.before {
            out.raw(before.expose());
        }
        out.finish()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let mut input = Reader::new(bytes);
        expect_kind(&mut input, GARBAGE)?;
        let count = usize::from(input.u16()?);
        let mut names = Vec::with_capacity(input.count(count, size_of::<NodeName>())?);
        for _ in 0..count {
            names.push(input.array()?);
        }
        let before = match input.u8()? {
            0 => None,
            1 => Some(Pointer::from_bytes(input.array()?)),
            _ => return Err(Error::new(ErrorKind::Corrupt, "a page of garbage is of an unknown kind")),
        };
        input.finish()?;
        Ok(Self { names, before })
    }
}

fn expect_kind(input: &mut Reader<'_>, kind: u8) -> Result<()> {
    if input.u8()? == kind {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Corrupt, "a block is not the kind of node that its parent meant"))
}

fn encode_parts(out: &mut Writer, parts: &[Part]) {
    out.u16(parts.len() as u16);
    for part in parts {
        out.u32(part.len as u32);
        out.raw(part.pointer.expose());
    }
}

fn decode_parts(input: &mut Reader<'_>) -> Result<Vec<Part>> {
    let count = usize::from(input.u16()?);
    let count = input.count(count, 4 + POINTER_LEN)?;
    let mut parts = Vec::with_capacity(count);
    for _ in 0..count {
        parts.push(Part { len: input.u32()? as usize, pointer: Pointer::from_bytes(input.array()?) });
    }
    Ok(parts)
}

fn ensure_sum(parts: &[Part], len: usize) -> Result<()> {
    // Every part has at least one byte, so a list cannot be longer than what it holds.
    let sum = parts.iter().try_fold(0_usize, |sum, part| if part.len == 0 { None } else { sum.checked_add(part.len) });
    if sum == Some(len) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Corrupt, "the parts of a value do not add up to its length"))
}

fn ensure_ordered<'a>(keys: impl Iterator<Item = &'a SecretBytes> + Clone) -> Result<()> {
    if keys.clone().zip(keys.skip(1)).all(|(key, next)| key < next) {
        return Ok(());
    }
    Err(out_of_order())
}

fn out_of_order() -> Error {
    Error::new(ErrorKind::Corrupt, "the keys of a node are out of order")
}

fn other_kind() -> Error {
    Error::new(ErrorKind::Corrupt, "a block is not the kind of node that its parent meant")
}
