//! [`Object`]: what one S3 object holds, and its bytes (docs/format.md).

use std::collections::BTreeMap;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use mls_keep_core::limits::MAX_KEY_LEN;
use mls_keep_core::{Error, ErrorKind, Key, Result};

use crate::config::{MAX_INLINE_LEN, MAX_VALUE_LEN};
use crate::look::Look;

/// The first bytes of every object.
pub(crate) const MAGIC: [u8; 4] = *b"mlsk";
const VERSION: u8 = 1;
const REMOVED: u8 = 0;
const VALUE: u8 = 1;
const SWAPPED: u8 = 2;

/// Length of an object that says that its value was removed. No other object is as short.
pub(crate) const REMOVED_LEN: usize = 22;

/// Longest object that this adapter writes, bytes: a value, the nodes that ride with it, and their keys.
pub(crate) const MAX_OBJECT_LEN: usize = MAX_VALUE_LEN + 2 * MAX_INLINE_LEN as usize + 2048;

/// Smallest room that a node takes in an object, so that empty ones are bounded too.
const ENTRY_LEN: usize = 6;

/// The id of one write: random, so that a writer knows its own write when it reads it back, and so that no two writes of
/// the same value have the same ETag.
pub(crate) type WriteId = [u8; 16];

/// The first bytes of a [`WriteId`], which stand for it in later objects.
type Earlier = [u8; 8];

/// Most earlier writes that an object names. Others may replace a root so often before a writer looks what became of its
/// own: with 16, one of eight busy writers sometimes came too late.
const MAX_BEFORE: usize = 64;

/// Stands for the absence of an object among [`Object::before`].
const NOTHING: Earlier = [0; 8];

/// What an object says of how it came about.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct History {
    /// The last look at the service before it.
    pub(crate) look: Look,
    /// The writes that this one came after, the newest first: what it replaced, what that had replaced, and so on. A writer
    /// that finds its own id here was applied; one that finds what it meant to replace and not itself never will be.
    before: Vec<Earlier>,
}

/// A value, and the nodes that ride with it.
#[derive(Clone)]
pub(crate) struct Object {
    pub(crate) id: WriteId,
    /// `None` of one that was written without a condition.
    pub(crate) history: Option<History>,
    /// `None` if the value was removed; then no nodes ride with it.
    pub(crate) value: Option<Bytes>,
    pub(crate) nodes: BTreeMap<Key, Bytes>,
}

impl Object {
    /// An object that is written without a condition.
    pub(crate) fn new(value: Option<Bytes>, nodes: BTreeMap<Key, Bytes>) -> Result<Self> {
        debug_assert!(value.is_some() || nodes.is_empty());
        let mut id = WriteId::default();
        getrandom::fill(&mut id).map_err(|source| {
            Error::new(ErrorKind::Unavailable, "the system gives no random bytes").with_source(source)
        })?;
        Ok(Self { id, history: None, value, nodes })
    }

    /// The same object, to be written in place of `replaced` and of nothing else.
    pub(crate) fn in_place_of(mut self, replaced: Option<&Self>, look: Look) -> Self {
        let before = [replaced.map_or(NOTHING, |replaced| earlier_of(&replaced.id))];
        let earlier = replaced.map_or(&[][..], Self::before);
        let before = before.iter().chain(earlier).take(MAX_BEFORE).copied().collect();
        // One that is removed has room for no more than its id: no other object is as short.
        self.history = self.value.is_some().then_some(History { look, before });
        self
    }

    fn before(&self) -> &[Earlier] {
        self.history.as_ref().map_or(&[], |history| &history.before)
    }

    /// Whether the write `id`, which was to replace `replaced`, was applied before this one: yes, no and never will be, or
    /// `None` if this one does not know it any more. If the key was deleted in between, that is not seen.
    pub(crate) fn came_after(&self, id: WriteId, replaced: Option<WriteId>) -> Option<bool> {
        let before = self.before();
        if before.contains(&earlier_of(&id)) {
            return Some(true);
        }
        before.contains(&replaced.map_or(NOTHING, |id| earlier_of(&id))).then_some(false)
    }

    pub(crate) fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(self.len());
        bytes.put_slice(&MAGIC);
        bytes.put_u8(VERSION);
        bytes.put_u8(match (&self.value, &self.history) {
            (None, _) => REMOVED,
            (Some(_), None) => VALUE,
            (Some(_), Some(_)) => SWAPPED,
        });
        bytes.put_slice(&self.id);
        if let Some(value) = &self.value {
            bytes.put_u32(self.len() as u32);
            if let Some(History { look, before }) = &self.history {
                look.encode(&mut bytes);
                bytes.put_u8(before.len() as u8);
                before.iter().for_each(|id| bytes.put_slice(id));
            }
            bytes.put_u32(value.len() as u32);
            bytes.put_slice(value);
            for (key, node) in &self.nodes {
                bytes.put_u16(key.as_str().len() as u16);
                bytes.put_slice(key.as_str().as_bytes());
                bytes.put_u32(node.len() as u32);
                bytes.put_slice(node);
            }
        }
        bytes.freeze()
    }

    fn len(&self) -> usize {
        let Some(value) = &self.value else { return REMOVED_LEN };
        let history = |history: &History| Look::LEN + 1 + history.before.len() * size_of::<Earlier>();
        REMOVED_LEN + 4 + self.history.as_ref().map_or(0, history) + 4 + value.len() + nodes_len(&self.nodes)
    }

    /// # Errors
    /// `Corrupt` if these are not bytes of [`encode`](Self::encode), `UnsupportedVersion` if a newer version wrote them.
    pub(crate) fn decode(mut bytes: Bytes) -> Result<Self> {
        let whole_len = bytes.len();
        let bad = || Error::new(ErrorKind::Corrupt, "an object in the bucket is damaged, or something else wrote it");
        let mut take = |len: usize| (len <= bytes.len()).then(|| bytes.split_to(len));
        if take(4).as_deref() != Some(&MAGIC) {
            return Err(bad());
        }
        let head = take(2).ok_or_else(bad)?;
        let [version, kind] = *head else { return Err(bad()) };
        if version != VERSION {
            return Err(Error::new(ErrorKind::UnsupportedVersion, "a newer version of mls-keep wrote this object"));
        }
        let id = take(16).and_then(|id| WriteId::try_from(&*id).ok()).ok_or_else(bad)?;
        if kind == REMOVED {
            let removed = Self { id, history: None, value: None, nodes: BTreeMap::new() };
            return if bytes.is_empty() { Ok(removed) } else { Err(bad()) };
        }
        // One that was cut between two nodes is not to pass for one with fewer.
        let len = bytes.try_get_u32().ok().ok_or_else(bad)?;
        if len as usize != whole_len {
            return Err(bad());
        }
        let history = match kind {
            VALUE => None,
            SWAPPED => Some(take_history(&mut bytes).ok_or_else(bad)?),
            _ => return Err(bad()),
        };
        let value = take_long(&mut bytes, MAX_VALUE_LEN).ok_or_else(bad)?;
        let mut nodes = BTreeMap::new();
        while !bytes.is_empty() {
            let key = take_key(&mut bytes).ok_or_else(bad)?;
            let node = take_long(&mut bytes, MAX_VALUE_LEN).ok_or_else(bad)?;
            if nodes.last_key_value().is_some_and(|(last, _)| *last >= key) {
                return Err(bad());
            }
            nodes.insert(key, node);
        }
        Ok(Self { id, history, value: Some(value), nodes })
    }
}

/// The room that `nodes` take in an object, bytes.
pub(crate) fn nodes_len(nodes: &BTreeMap<Key, Bytes>) -> usize {
    nodes.iter().map(|(key, node)| ENTRY_LEN + key.as_str().len() + node.len()).sum()
}

fn earlier_of(id: &WriteId) -> Earlier {
    id.first_chunk().copied().unwrap_or(NOTHING)
}

fn take_history(bytes: &mut Bytes) -> Option<History> {
    let look = Look::decode(bytes.first_chunk()?)?;
    let count = usize::from(*bytes.get(Look::LEN)?);
    let len = Look::LEN + 1 + count * size_of::<Earlier>();
    if count > MAX_BEFORE || len > bytes.len() {
        return None;
    }
    let ids = bytes.split_to(len).slice(Look::LEN + 1..);
    let before = ids.chunks_exact(size_of::<Earlier>()).map(|id| id.try_into().ok()).collect::<Option<_>>()?;
    Some(History { look, before })
}

fn take_long(bytes: &mut Bytes, most: usize) -> Option<Bytes> {
    let len = u32::from_be_bytes(*bytes.first_chunk()?) as usize;
    let whole = len <= most && len <= bytes.len() - 4;
    whole.then(|| bytes.split_to(4 + len).slice(4..))
}

fn take_key(bytes: &mut Bytes) -> Option<Key> {
    let len = usize::from(u16::from_be_bytes(*bytes.first_chunk()?));
    if len > MAX_KEY_LEN || len > bytes.len() - 2 {
        return None;
    }
    let key = bytes.split_to(2 + len).slice(2..);
    Key::new(std::str::from_utf8(&key).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::look::Quotes;

    const LOOK: Look = Look { at: 1_700_000_000, place: [7; 8], quotes: Quotes::Without, keeps_versions: true };

    fn object() -> Object {
        let nodes = [("n/x/1", "one"), ("n/x/2", "")].map(|(key, node)| (Key::new(key).unwrap(), Bytes::from(node)));
        Object::new(Some(Bytes::from_static(b"root")), nodes.into()).unwrap()
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let (object, removed) = (object(), Object::new(None, BTreeMap::new()).unwrap());
        let swapped = object.clone().in_place_of(Some(&removed), LOOK);
        for object in [object, removed, swapped] {
            let bytes = object.encode();
            assert_eq!(bytes.len(), object.len());
            let found = Object::decode(bytes).unwrap();
            assert_eq!((found.id, found.history), (object.id, object.history));
            assert_eq!((found.value, found.nodes), (object.value, object.nodes));
        }
    }

    #[test]
    fn only_a_removed_value_is_as_short() {
        assert_eq!(Object::new(None, BTreeMap::new()).unwrap().encode().len(), REMOVED_LEN);
        assert!(Object::new(Some(Bytes::new()), BTreeMap::new()).unwrap().encode().len() > REMOVED_LEN);
    }

    #[test]
    fn the_newest_writes_are_named() {
        let mut last = object().in_place_of(None, LOOK);
        assert_eq!(last.before(), [NOTHING]);
        let mut ids = vec![NOTHING];
        for _ in 0..2 * MAX_BEFORE {
            ids.insert(0, earlier_of(&last.id));
            ids.truncate(MAX_BEFORE);
            last = object().in_place_of(Some(&last), LOOK);
            assert_eq!(last.before(), ids);
        }
        assert_eq!(Object::decode(last.encode()).unwrap().before(), ids);
    }

    #[test]
    fn two_writes_of_one_value_differ() {
        assert_ne!(object().encode(), object().encode());
    }

    #[test]
    fn damage_is_told_and_never_panics() {
        let bytes = object().in_place_of(None, LOOK).encode();
        for len in 0..bytes.len() {
            let error = Object::decode(bytes.slice(..len)).err().unwrap_or_else(|| panic!("{len} bytes are taken"));
            assert_eq!(error.kind(), ErrorKind::Corrupt, "the first {len} bytes");
        }
        for position in 0..bytes.len() {
            let mut other = bytes.to_vec();
            other[position] ^= 0xff;
            let _ = Object::decode(other.into());
        }
    }
}
