//! A record of the log: its head, and the keys in it with the value that each has from now on.

use std::io::{self, Read};

use bytes::Bytes;
use mls_keep_core::{Key, WriteBatch};

use crate::config::{MAX_COMMIT_LEN, MAX_VALUE_LEN};

pub(crate) const RECORD_HEAD_LEN: usize = 12;

/// What stands before the payload of a record. It has a checksum of its own, so that a record is found behind a damaged one.
pub(crate) struct RecordHead {
    /// Of the payload; at least 1.
    pub(crate) len: u32,
    /// Of the payload, with the generation.
    pub(crate) crc: u32,
}

impl RecordHead {
    pub(crate) fn encode(&self, generation: u64) -> [u8; RECORD_HEAD_LEN] {
        let mut bytes = [0; RECORD_HEAD_LEN];
        let (fields, check) = bytes.split_at_mut(8);
        fields.copy_from_slice(&[self.len.to_be_bytes(), self.crc.to_be_bytes()].concat());
        check.copy_from_slice(&Self::check(fields, generation).to_be_bytes());
        bytes
    }

    /// `None` if it is no head of a record of this generation.
    pub(crate) fn decode(bytes: &[u8; RECORD_HEAD_LEN], generation: u64) -> Option<Self> {
        let [l0, l1, l2, l3, c0, c1, c2, c3, check @ ..] = *bytes;
        let len = u32::from_be_bytes([l0, l1, l2, l3]);
        if len == 0 || len as usize > MAX_COMMIT_LEN {
            return None;
        }
        let is_right = Self::check(&bytes[..8], generation) == u32::from_be_bytes(check);
        is_right.then_some(Self { len, crc: u32::from_be_bytes([c0, c1, c2, c3]) })
    }

    fn check(fields: &[u8], generation: u64) -> u32 {
        let mut hasher = hasher(generation);
        hasher.update(fields);
        hasher.finalize()
    }
}

/// The checksum of what belongs to `generation`.
pub(crate) fn hasher(generation: u64) -> crc32fast::Hasher {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&generation.to_be_bytes());
    hasher
}

/// A key, and the value that it has from now on.
pub(crate) type Entry = (Key, Option<Bytes>);

/// How long the entries of `change` are in a record.
pub(crate) fn len_of(change: &WriteBatch) -> usize {
    let stored = change.stored().map(|(key, data)| 6 + key.as_str().len() + data.len());
    let removed = change.removed().map(|key| 2 + key.as_str().len());
    stored.chain(removed).fold(0, usize::saturating_add)
}

/// `key length(1) key 0`, or `key length(1) key 1 value length(4) value`.
pub(crate) fn encode(record: &mut Vec<u8>, key: &Key, value: Option<&Bytes>) {
    let name = key.as_str().as_bytes();
    // A key has at most 128 bytes, and a value at most `MAX_VALUE_LEN`.
    record.push(name.len() as u8);
    record.extend_from_slice(name);
    record.push(u8::from(value.is_some()));
    if let Some(value) = value {
        record.extend_from_slice(&(value.len() as u32).to_be_bytes());
        record.extend_from_slice(value);
    }
}

/// The next entry of a payload, or `None` at its end. Takes memory for one value. What makes no sense is `InvalidData` or
/// `UnexpectedEof`.
pub(crate) fn read(payload: &mut impl Read) -> io::Result<Option<Entry>> {
    let mut name = Vec::new();
    payload.by_ref().take(1).read_to_end(&mut name)?;
    let Some(name_len) = name.pop() else { return Ok(None) };
    name.resize(usize::from(name_len), 0);
    payload.read_exact(&mut name)?;
    let key = std::str::from_utf8(&name).ok().and_then(|name| Key::new(name).ok()).ok_or_else(nonsense)?;
    let [is_value] = read_array(payload)?;
    match is_value {
        0 => return Ok(Some((key, None))),
        1 => {}
        _ => return Err(nonsense()),
    }
    let len = u32::from_be_bytes(read_array(payload)?);
    let len = usize::try_from(len).ok().filter(|len| *len <= MAX_VALUE_LEN).ok_or_else(nonsense)?;
    let mut value = vec![0; len];
    payload.read_exact(&mut value)?;
    Ok(Some((key, Some(value.into()))))
}

fn read_array<const LEN: usize>(payload: &mut impl Read) -> io::Result<[u8; LEN]> {
    let mut array = [0; LEN];
    payload.read_exact(&mut array)?;
    Ok(array)
}

fn nonsense() -> io::Error {
    io::ErrorKind::InvalidData.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_read_and_has_the_length_that_was_foretold() {
        let (a, b) = (Key::new("a/b").unwrap(), Key::new("gone").unwrap());
        let change = WriteBatch { puts: vec![(a.clone(), "value".into())], swap: None, deletes: vec![b.clone()] };
        let mut record = Vec::new();
        encode(&mut record, &a, Some(&"value".into()));
        encode(&mut record, &b, None);
        assert_eq!(record.len(), len_of(&change));
        let mut payload = &record[..];
        assert_eq!(read(&mut payload).unwrap(), Some((a, Some("value".into()))));
        assert_eq!(read(&mut payload).unwrap(), Some((b, None)));
        assert_eq!(read(&mut payload).unwrap(), None);
    }

    #[test]
    fn what_is_cut_or_makes_no_sense_is_an_error() {
        let mut whole = Vec::new();
        encode(&mut whole, &Key::new("k").unwrap(), Some(&"value".into()));
        for len in 1..whole.len() {
            assert!(read(&mut &whole[..len]).is_err(), "cut to {len}");
        }
        let long = [&b"\x01k\x01"[..], &(MAX_VALUE_LEN as u32 + 1).to_be_bytes()].concat();
        for nonsense in [&b"\0"[..], b"\x01K\0", b"\x02..\0", b"\x01\xff\0", b"\x01k\x02", b"\xffk\0", &long] {
            assert!(read(&mut &nonsense[..]).is_err(), "{nonsense:?}");
        }
    }
}
