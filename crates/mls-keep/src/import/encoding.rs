//! [`Encoding`]: the codecs that values of OpenMLS are stored in.

use std::fmt;

use mls_keep_core::{Error, ErrorKind, Result, SecretBytes};
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use zeroize::Zeroizing;

/// How a storage provider encodes values. OpenMLS supports self-describing codecs only; these two are in use.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Encoding {
    /// JSON, as `serde_json` writes it.
    #[default]
    Json,
    /// CBOR (RFC 8949), as `ciborium` writes it.
    Cbor,
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Json => "JSON",
            Self::Cbor => "CBOR",
        })
    }
}

impl Encoding {
    /// The encoding of a value that is a map, as an encoded group id is one.
    #[must_use]
    pub fn of_map(map: &[u8]) -> Self {
        if map.first() == Some(&b'{') { Self::Json } else { Self::Cbor }
    }

    /// # Errors
    /// `Corrupt`, without a source: what a decoder says can quote the value.
    pub(crate) fn decode<T: DeserializeOwned>(self, bytes: &[u8]) -> Result<T> {
        match self {
            Self::Json => serde_json::from_slice(bytes).map_err(|_| corrupt()),
            Self::Cbor => {
                let mut rest = bytes;
                let value = ciborium::from_reader(&mut rest).map_err(|_| corrupt())?;
                if rest.is_empty() { Ok(value) } else { Err(corrupt()) }
            }
        }
    }

    pub(super) fn encode<T: Serialize>(self, value: &T) -> Result<SecretBytes> {
        let mut bytes = Zeroizing::new(Vec::new());
        let encoded = match self {
            Self::Json => serde_json::to_writer(&mut *bytes, value).is_ok(),
            Self::Cbor => ciborium::into_writer(value, &mut *bytes).is_ok(),
        };
        if encoded { Ok(bytes.into()) } else { Err(corrupt()) }
    }
}

/// Puts encoded values together to a larger one.
pub(super) struct Composer {
    encoding: Encoding,
    bytes: Zeroizing<Vec<u8>>,
    /// Of each map or list that is open: how it ends, and whether something is in it.
    open: Vec<(&'static str, bool)>,
}

impl Composer {
    pub(super) fn new(encoding: Encoding, expected: usize) -> Self {
        Self { encoding, bytes: Zeroizing::new(Vec::with_capacity(expected)), open: Vec::new() }
    }

    pub(super) fn map(&mut self, entries: usize) {
        self.begin(0xa0, entries, "{", "}");
    }

    pub(super) fn list(&mut self, elements: usize) {
        self.begin(0x80, elements, "[", "]");
    }

    /// The key of an entry. Its value follows.
    pub(super) fn key(&mut self, name: &str) {
        self.separate();
        match self.encoding {
            Encoding::Json => {
                self.bytes.push(b'"');
                self.bytes.extend_from_slice(name.as_bytes());
                self.bytes.extend_from_slice(b"\":");
            }
            Encoding::Cbor => {
                self.head(0x60, name.len());
                self.bytes.extend_from_slice(name.as_bytes());
            }
        }
    }

    /// The value of an entry.
    ///
    /// # Errors
    /// `Corrupt` if it is anything else than one value.
    pub(super) fn value(&mut self, value: &[u8]) -> Result<()> {
        self.encoding.decode::<IgnoredAny>(value)?;
        self.bytes.extend_from_slice(value);
        Ok(())
    }

    /// An element of a list.
    pub(super) fn element(&mut self, value: &[u8]) -> Result<()> {
        self.separate();
        self.value(value)
    }

    /// Ends the map or list that was begun last.
    pub(super) fn end(&mut self) {
        if let Some((end, _)) = self.open.pop()
            && self.encoding == Encoding::Json
        {
            self.bytes.extend_from_slice(end.as_bytes());
        }
    }

    pub(super) fn into_bytes(self) -> Zeroizing<Vec<u8>> {
        self.bytes
    }

    fn begin(&mut self, major: u8, len: usize, begin: &str, end: &'static str) {
        match self.encoding {
            Encoding::Json => self.bytes.extend_from_slice(begin.as_bytes()),
            Encoding::Cbor => self.head(major, len),
        }
        self.open.push((end, false));
    }

    fn separate(&mut self) {
        if let Some((_, filled)) = self.open.last_mut()
            && std::mem::replace(filled, true)
            && self.encoding == Encoding::Json
        {
            self.bytes.push(b',');
        }
    }

    /// The head of a CBOR item (RFC 8949 section 3).
    fn head(&mut self, major: u8, len: usize) {
        match len as u64 {
            len @ 0..24 => self.bytes.push(major | len as u8),
            len => {
                self.bytes.push(major | 27);
                self.bytes.extend_from_slice(&len.to_be_bytes());
            }
        }
    }
}

pub(super) fn corrupt() -> Error {
    Error::new(ErrorKind::Corrupt, "a value of OpenMLS does not decode")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_put_together_in_both_encodings() {
        for encoding in [Encoding::Json, Encoding::Cbor] {
            let text = encoding.encode(&"text").unwrap();
            let mut composer = Composer::new(encoding, 0);
            composer.map(2);
            composer.key("a");
            composer.list(30);
            for _ in 0..30 {
                composer.element(&text).unwrap();
            }
            composer.end();
            composer.key("b");
            composer.map(0);
            composer.end();
            composer.end();
            let composed: serde_json::Value = encoding.decode(&composer.into_bytes()).unwrap();
            assert_eq!(composed, serde_json::json!({ "a": vec!["text"; 30], "b": {} }));
        }
    }

    #[test]
    fn a_value_is_not_more_than_one() {
        for (encoding, two) in [(Encoding::Json, &b"1,\"b\":2"[..]), (Encoding::Cbor, &[1, 2][..])] {
            let mut composer = Composer::new(encoding, 0);
            composer.map(1);
            composer.key("a");
            assert_eq!(composer.value(two).unwrap_err().kind(), ErrorKind::Corrupt);
        }
    }
}
