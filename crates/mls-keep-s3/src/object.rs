//! [`Object`]: what one S3 object holds, and its bytes (docs/format.md).

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes, BytesMut};
use mls_keep_core::limits::MAX_KEY_LEN;
use mls_keep_core::{Error, ErrorKind, Key, Result};

use crate::config::{MAX_INLINE_LEN, MAX_VALUE_LEN};

/// The first bytes of every object.
pub(crate) const MAGIC: [u8; 4] = *b"mlsk";
const VERSION: u8 = 1;
const REMOVED: u8 = 0;
const VALUE: u8 = 1;

/// Length of an object that says that its value was removed. No other object is as short.
pub(crate) const REMOVED_LEN: usize = 22;

/// Longest object that this adapter writes, bytes: a value, the nodes that ride with it, and their keys.
pub(crate) const MAX_OBJECT_LEN: usize = MAX_VALUE_LEN + 2 * MAX_INLINE_LEN as usize + 1024;

/// Smallest room that a node takes in an object, so that empty ones are bounded too.
const ENTRY_LEN: usize = 6;

/// The id of one write: random, so that a writer knows its own write when it reads it back, and so that no two writes of
/// the same value have the same ETag.
pub(crate) type WriteId = [u8; 16];

/// A value, and the nodes that ride with it.
#[derive(Clone)]
pub(crate) struct Object {
    pub(crate) id: WriteId,
    /// `None` if the value was removed; then no nodes ride with it.
    pub(crate) value: Option<Bytes>,
    pub(crate) nodes: BTreeMap<Key, Bytes>,
}

impl Object {
    pub(crate) fn new(value: Option<Bytes>, nodes: BTreeMap<Key, Bytes>) -> Result<Self> {
        debug_assert!(value.is_some() || nodes.is_empty());
        let mut id = WriteId::default();
        getrandom::fill(&mut id).map_err(|source| {
            Error::new(ErrorKind::Unavailable, "the system gives no random bytes").with_source(source)
        })?;
        Ok(Self { id, value, nodes })
    }

    pub(crate) fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(self.len());
        bytes.put_slice(&MAGIC);
        bytes.put_u8(VERSION);
        bytes.put_u8(if self.value.is_some() { VALUE } else { REMOVED });
        bytes.put_slice(&self.id);
        if let Some(value) = &self.value {
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
        REMOVED_LEN + self.value.as_ref().map_or(0, |value| 4 + value.len()) + nodes_len(&self.nodes)
    }

    /// # Errors
    /// `Corrupt` if these are not bytes of [`encode`](Self::encode), `UnsupportedVersion` if a newer version wrote them.
    pub(crate) fn decode(mut bytes: Bytes) -> Result<Self> {
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
            return if bytes.is_empty() { Ok(Self { id, value: None, nodes: BTreeMap::new() }) } else { Err(bad()) };
        }
        if kind != VALUE {
            return Err(bad());
        }
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
        Ok(Self { id, value: Some(value), nodes })
    }
}

/// The room that `nodes` take in an object, bytes.
pub(crate) fn nodes_len(nodes: &BTreeMap<Key, Bytes>) -> usize {
    nodes.iter().map(|(key, node)| ENTRY_LEN + key.as_str().len() + node.len()).sum()
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

    fn object() -> Object {
        let nodes = [("n/x/1", "one"), ("n/x/2", "")].map(|(key, node)| (Key::new(key).unwrap(), Bytes::from(node)));
        Object::new(Some(Bytes::from_static(b"root")), nodes.into()).unwrap()
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let (object, removed) = (object(), Object::new(None, BTreeMap::new()).unwrap());
        for object in [object, removed] {
            let bytes = object.encode();
            assert_eq!(bytes.len(), object.len());
            let found = Object::decode(bytes).unwrap();
            assert_eq!((found.id, found.value, found.nodes), (object.id, object.value, object.nodes));
        }
    }

    #[test]
    fn only_a_removed_value_is_as_short() {
        assert_eq!(Object::new(None, BTreeMap::new()).unwrap().encode().len(), REMOVED_LEN);
        assert!(Object::new(Some(Bytes::new()), BTreeMap::new()).unwrap().encode().len() > REMOVED_LEN);
    }

    #[test]
    fn two_writes_of_one_value_differ() {
        assert_ne!(object().encode(), object().encode());
    }

    #[test]
    fn damage_is_told_and_never_panics() {
        let bytes = object().encode();
        let whole_entries = [REMOVED_LEN + 8, REMOVED_LEN + 8 + 14, bytes.len()];
        for len in (0..bytes.len()).filter(|len| !whole_entries.contains(len)) {
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
