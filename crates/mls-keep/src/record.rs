//! The encoding of records that are not OpenMLS's: a codec byte and MessagePack with field names.

use mls_keep_core::{Error, ErrorKind, Result, Value};
use rmp_serde::config::BytesMode;
use serde::Serialize;
use serde::de::DeserializeOwned;

const MESSAGE_PACK: u8 = 1;

pub(crate) fn encode<T: Serialize>(record: &T) -> Result<Value> {
    let mut bytes = vec![MESSAGE_PACK];
    let mut output = rmp_serde::Serializer::new(&mut bytes).with_struct_map().with_bytes(BytesMode::ForceAll);
    record.serialize(&mut output).map_err(|_| Error::new(ErrorKind::Internal, "a record cannot be encoded"))?;
    Ok(bytes.into())
}

pub(crate) fn decode<T: DeserializeOwned>(value: &Value) -> Result<T> {
    match value.as_slice() {
        // Without a source: what serde says about a value that does not decode can quote it.
        [MESSAGE_PACK, body @ ..] => {
            rmp_serde::from_slice(body).map_err(|_| Error::new(ErrorKind::Corrupt, "a record does not decode"))
        }
        _ => Err(Error::new(ErrorKind::UnsupportedVersion, "a record is encoded in a way this program does not know")),
    }
}
