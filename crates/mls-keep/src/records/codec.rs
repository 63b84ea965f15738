//! How values become records, and back.
//!
//! A record is a codec byte (1: MessagePack), for OpenMLS's kinds the OpenMLS storage version as two bytes, big-endian, and
//! the encoding. OpenMLS supports self-describing encodings only, since its types gain fields: structs are maps with
//! field names, byte strings are `bin`.

use mls_keep_core::{Error, ErrorKind, Result, SecretBytes, Value};
use openmls_traits::storage::CURRENT_VERSION;
use rmp_serde::config::BytesMode;
use rmp_serde::decode::{Error as DecodeError, ReadRefReader};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::Kind;
use super::buffer::Buffer;

/// The only codec so far: MessagePack.
const MESSAGE_PACK: u8 = 1;

/// How deep arrays and maps may stand in each other. OpenMLS's are less than half as deep, with its drafts too. A type that
/// has an untagged enum in it takes 1 MiB for each array or map that claims to be long, before it has seen what is in it.
const MAX_DEPTH: usize = 64;

/// How MessagePack begins an array of two.
const PAIR: u8 = 0x92;

/// The record of `kind` that holds `value`. `expected` is the length of the value that it replaces, if there is one: the buffer is
/// reserved for that, because growing it copies.
pub(crate) fn encode<T: Serialize + ?Sized>(kind: Kind, value: &T, expected: usize) -> Result<Value> {
    let mut buffer = Buffer::with_capacity(expected + expected / 16 + 256);
    buffer.append(&[MESSAGE_PACK]);
    if kind.is_of_openmls() {
        buffer.append(&CURRENT_VERSION.to_be_bytes());
    }
    write(value, &mut buffer)?;
    Ok(SecretBytes::from(buffer.into_inner()).into())
}

/// What the record of `kind` holds.
pub(crate) fn decode<'r, T: Deserialize<'r>>(kind: Kind, value: &'r Value) -> Result<T> {
    let mut input = reader(body(kind, value)?);
    let decoded = T::deserialize(&mut input).map_err(|_| corrupt(kind))?;
    match IgnoredAny::deserialize(&mut input) {
        Err(DecodeError::InvalidMarkerRead(_)) => Ok(decoded),
        _ => Err(corrupt(kind)),
    }
}

fn reader(bytes: &[u8]) -> rmp_serde::Deserializer<ReadRefReader<'_, [u8]>> {
    let mut input = rmp_serde::Deserializer::from_read_ref(bytes);
    input.set_max_depth(MAX_DEPTH);
    input
}

/// The first half of a record that holds a pair.
pub(crate) fn decode_first<T: DeserializeOwned>(kind: Kind, value: &Value) -> Result<T> {
    match body(kind, value)? {
        [PAIR, first @ ..] => T::deserialize(&mut reader(first)).map_err(|_| corrupt(kind)),
        _ => Err(corrupt(kind)),
    }
}

/// Whether the first half of a record that holds a pair is what was encoded as `first` by [`encode_key`].
/// An encoding is never the beginning of another one, so the bytes decide.
pub(crate) fn first_is(kind: Kind, value: &Value, first: &[u8]) -> Result<bool> {
    match body(kind, value)? {
        [PAIR, rest @ ..] => Ok(rest.starts_with(first)),
        _ => Err(corrupt(kind)),
    }
}

/// The bare encoding of a key that OpenMLS gives.
pub(crate) fn encode_key<T: Serialize + ?Sized>(key: &T) -> Result<Zeroizing<Vec<u8>>> {
    let mut buffer = Buffer::with_capacity(128);
    write(key, &mut buffer)?;
    Ok(buffer.into_inner())
}

fn write<T: Serialize + ?Sized>(value: &T, buffer: &mut Buffer) -> Result<()> {
    let mut output = rmp_serde::Serializer::new(buffer).with_struct_map().with_bytes(BytesMode::ForceAll);
    value.serialize(&mut output).map_err(|_| Error::new(ErrorKind::Internal, "a record cannot be encoded"))
}

fn body(kind: Kind, value: &Value) -> Result<&[u8]> {
    match (value.as_slice(), kind.is_of_openmls()) {
        ([MESSAGE_PACK, high, low, body @ ..], true) if u16::from_be_bytes([*high, *low]) <= CURRENT_VERSION => {
            Ok(body)
        }
        ([MESSAGE_PACK, body @ ..], false) => Ok(body),
        ([] | [_] | [_, _], true) | ([], false) => Err(corrupt(kind)),
        _ => Err(Error::new(
            ErrorKind::UnsupportedVersion,
            format!("a {kind:?} record was written by a newer version; update the program"),
        )),
    }
}

/// Without a source: what serde says about a value that does not decode can quote it.
fn corrupt(kind: Kind) -> Error {
    Error::new(ErrorKind::Corrupt, format!("a {kind:?} record does not decode"))
}
