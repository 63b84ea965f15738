//! Long values: cut into content-defined chunks, each a node, under index nodes where the list grows long.
//!
//! Chunks whose bytes did not change keep their pointer and are not written again. The cut points depend on a secret of
//! the client, so that the lengths of chunks alone do not identify known contents. They do show where a value has changed.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;

use super::cutter::{Cutter, MIN_CHUNK_LEN};
use super::node::{LeafValue, decode_chunk, decode_index, encode_chunk, encode_index};
use super::parts::{ChunkList, Layout, Part};
use super::pointer::Pointer;
use super::store::{Batch, NodeStore};
use super::value::Value;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::MAX_DEPTH;
use crate::secret_vec::SecretVec;

/// Values up to this length stand in their leaf, bytes.
pub(crate) const MAX_INLINE_LEN: usize = 4 << 10;

/// A list of more parts than this gets index nodes.
const MAX_LIST_PARTS: usize = 32;
/// Parts below one index node. In between, a node ends where the pointer's last byte says so: once in 16 times.
const MIN_INDEX_PARTS: usize = 8;
const MAX_INDEX_PARTS: usize = 64;
const INDEX_END_MASK: u8 = 0x0f;

/// Writes `value` as a leaf's value. `base` is the value that it takes the place of, as it was loaded or committed:
/// chunks that both have are kept.
pub(crate) fn write(batch: &mut Batch<'_>, seed: u64, value: &Value, base: Option<&Value>) -> Result<Written> {
    let bytes = value.as_slice();
    if bytes.len() <= MAX_INLINE_LEN {
        return Ok(Written { leaf: LeafValue::Inline(value.clone()), layout: None });
    }
    let base = base.and_then(|base| base.layout().map(|layout| (base.as_slice(), layout.as_ref())));
    let mut chunks = Vec::new();
    for piece in cut(bytes, base.map(|(old, layout)| (old, layout.chunks())), seed) {
        let pointer = match piece.kept {
            Some(pointer) => pointer,
            None => batch.write_block(encode_chunk(bytes.get(piece.start..piece.end).unwrap_or_default()))?,
        };
        chunks.push(Part { len: piece.end - piece.start, pointer });
    }
    let layout = index(batch, chunks, base.map(|(_, layout)| layout))?;
    let list = ChunkList { len: bytes.len(), levels: (layout.levels().len() - 1) as u8, parts: layout.top().to_vec() };
    Ok(Written { leaf: LeafValue::Chunked(list), layout: Some(Arc::new(layout)) })
}

/// A value as it goes into a leaf, and where its parts are if it is a long one.
pub(crate) struct Written {
    pub(crate) leaf: LeafValue,
    pub(crate) layout: Option<Arc<Layout>>,
}

/// Says that all nodes of `old` are replaced but those that `new` has as well.
pub(crate) async fn replace(
    batch: &mut Batch<'_>,
    old: &ChunkList,
    base: Option<&Value>,
    new: Option<&Layout>,
) -> Result<()> {
    let known = base.and_then(Value::layout).filter(|layout| layout.describes(old));
    let loaded;
    let layout = match known {
        Some(layout) => layout.as_ref(),
        None => {
            loaded = load_layout(batch.store, old).await?;
            &loaded
        }
    };
    let kept: std::collections::HashSet<_> = new.into_iter().flat_map(Layout::pointers).map(|p| *p.name()).collect();
    for pointer in layout.pointers().filter(|pointer| !kept.contains(pointer.name())) {
        batch.replace(pointer);
    }
    Ok(())
}

/// Loads a long value.
pub(crate) async fn load(store: &NodeStore, list: &ChunkList) -> Result<Value> {
    let layout = load_layout(store, list).await?;
    let pointers: Vec<_> = layout.chunks().iter().map(|part| &part.pointer).collect();
    // Reserved once: a buffer that grows leaves unwiped copies behind. The length is bounded by the node codec.
    let mut bytes = SecretVec::with_capacity(list.len);
    for (block, part) in store.blocks(&pointers).await?.iter().zip(layout.chunks()) {
        bytes.extend_from_slice(decode_chunk(block, part.len)?);
    }
    Ok(Value::stored(bytes.into(), layout))
}

/// All parts of a value, level by level.
async fn load_layout(store: &NodeStore, list: &ChunkList) -> Result<Layout> {
    let mut levels = vec![list.parts.clone()];
    // The last chunk may be shorter than any other.
    let most = list.len / MIN_CHUNK_LEN + 1;
    for _ in 0..list.levels {
        let above = levels.last().map_or(&[][..], Vec::as_slice);
        let pointers: Vec<_> = above.iter().map(|part| &part.pointer).collect();
        let mut below = Vec::new();
        for (block, part) in store.blocks(&pointers).await?.iter().zip(above) {
            below.extend(decode_index(block, part.len)?);
            if below.len() > most {
                return Err(Error::new(ErrorKind::Corrupt, "a long value has more parts than it can be cut into"));
            }
        }
        levels.push(below);
    }
    levels.reverse();
    Ok(Layout::new(levels))
}

/// Puts index nodes over `chunks` until the list is short. An index node over the same parts as before is kept.
fn index(batch: &mut Batch<'_>, chunks: Vec<Part>, base: Option<&Layout>) -> Result<Layout> {
    let mut levels = vec![chunks];
    while let Some(below) = levels.last().filter(|parts| parts.len() > MAX_LIST_PARTS) {
        if levels.len() > MAX_DEPTH {
            return Err(Error::new(ErrorKind::Internal, "a value has too many chunks"));
        }
        let depth = levels.len() - 1;
        let before = base.map(|base| groups(base, depth)).unwrap_or_default();
        let mut above = Vec::new();
        for group in group(below) {
            let kept = group.first().and_then(|first| before.get(first.pointer.name())).filter(|(old, _)| {
                old.len() == group.len() && old.iter().zip(group).all(|(old, new)| old.pointer.same(&new.pointer))
            });
            let pointer = match kept {
                Some((_, pointer)) => Arc::clone(pointer),
                None => batch.write_block(encode_index(group))?,
            };
            above.push(Part { len: group.iter().map(|part| part.len).sum(), pointer });
        }
        levels.push(above);
    }
    Ok(Layout::new(levels))
}

/// The index nodes over level `depth` of `layout`: by the name of their first part, their parts and their pointer.
fn groups(layout: &Layout, depth: usize) -> HashMap<super::pointer::NodeName, (&[Part], &Arc<Pointer>)> {
    let (Some(below), Some(above)) = (layout.levels().get(depth), layout.levels().get(depth + 1)) else {
        return HashMap::new();
    };
    let named = group(below).zip(above);
    named.filter_map(|(parts, node)| Some((*parts.first()?.pointer.name(), (parts, &node.pointer)))).collect()
}

/// Cuts a list of parts into groups, at places that depend on the parts alone.
fn group(parts: &[Part]) -> impl Iterator<Item = &[Part]> {
    let mut rest = parts;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let ends = |(at, part): (usize, &Part)| {
            let [.., last] = part.pointer.name();
            (at + 1 >= MIN_INDEX_PARTS && last & INDEX_END_MASK == 0) || at + 1 == MAX_INDEX_PARTS
        };
        let len = rest.iter().enumerate().position(ends).map_or(rest.len(), |at| at + 1);
        let (group, after) = rest.split_at(len);
        rest = after;
        Some(group)
    })
}

struct Piece {
    start: usize,
    end: usize,
    kept: Option<Arc<Pointer>>,
}

/// Cuts `new` into chunks, keeping those of the old value that it still has.
///
/// Most of a value does not change, so only what lies between the common beginning and the common end of both is cut
/// again, until a cut falls on an old one; in between, chunks are recognised by their bytes.
fn cut(new: &[u8], base: Option<(&[u8], &[Part])>, seed: u64) -> Vec<Piece> {
    let (old, parts) = base.unwrap_or_default();
    let mut ends = Vec::with_capacity(parts.len());
    let mut end = 0;
    for part in parts {
        end += part.len;
        ends.push(end);
    }
    if end != old.len() {
        return cut(new, None, seed);
    }
    let front = common_prefix(old, new);
    let back = common_prefix_rev(old, new).min(old.len().min(new.len()) - front);

    let mut pieces = Vec::new();
    let mut at = 0;
    // The last chunk ends where the value did, not where its contents say, so it is kept only if all is the same.
    let keepable =
        if front == old.len() && old.len() == new.len() { parts.len() } else { parts.len().saturating_sub(1) };
    for (part, end) in parts.iter().zip(&ends).take(keepable).take_while(|(_, end)| **end <= front) {
        pieces.push(Piece { start: at, end: *end, kept: Some(Arc::clone(&part.pointer)) });
        at = *end;
    }

    let middle = Middle::new(old, parts, &ends, pieces.len(), old.len() - back);
    let cutter = Cutter::new(seed);
    while at < new.len() {
        if new.len() - at <= back
            && let Ok(index) = ends.binary_search(&(old.len() - (new.len() - at)))
        {
            for part in parts.iter().skip(index + 1) {
                pieces.push(Piece { start: at, end: at + part.len, kept: Some(Arc::clone(&part.pointer)) });
                at += part.len;
            }
            break;
        }
        let rest = new.get(at..).unwrap_or_default();
        let end = match cutter.cut(rest) {
            0 => new.len(),
            len => at + len,
        };
        pieces.push(Piece { start: at, end, kept: middle.find(new.get(at..end).unwrap_or_default()) });
        at = end;
    }
    pieces
}

/// Old chunks by their contents. A found one is compared byte by byte.
struct Middle<'a> {
    hasher: RandomState,
    by_hash: HashMap<u64, (&'a [u8], &'a Arc<Pointer>)>,
}

impl<'a> Middle<'a> {
    /// The chunks after the first `skip` that begin before `back`: those further on are met again as a common end.
    fn new(old: &'a [u8], parts: &'a [Part], ends: &[usize], skip: usize, back: usize) -> Self {
        let hasher = RandomState::new();
        let named = parts.iter().zip(ends).skip(skip).filter_map(|(part, end)| {
            let bytes = old.get(end - part.len..*end).filter(|_| end - part.len < back)?;
            Some((hasher.hash_one(bytes), (bytes, &part.pointer)))
        });
        let by_hash = named.collect();
        Self { hasher, by_hash }
    }

    fn find(&self, bytes: &[u8]) -> Option<Arc<Pointer>> {
        if self.by_hash.is_empty() {
            return None;
        }
        let (known, pointer) = self.by_hash.get(&self.hasher.hash_one(bytes))?;
        (*known == bytes).then(|| Arc::clone(pointer))
    }
}

/// Compared in blocks of this many bytes: the comparison of slices is a memcmp, that of single bytes is a loop.
const BLOCK: usize = 256;

fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    let blocks = a.chunks_exact(BLOCK).zip(b.chunks_exact(BLOCK)).take_while(|(a, b)| a == b).count() * BLOCK;
    let rest = a.iter().zip(b).skip(blocks).take_while(|(a, b)| a == b).count();
    blocks + rest
}

fn common_prefix_rev(a: &[u8], b: &[u8]) -> usize {
    let blocks = a.rchunks_exact(BLOCK).zip(b.rchunks_exact(BLOCK)).take_while(|(a, b)| a == b).count() * BLOCK;
    let rest = a.iter().rev().zip(b.iter().rev()).skip(blocks).take_while(|(a, b)| a == b).count();
    blocks + rest
}
