//! [`Wiped`]: fields of records that are wiped when they are dropped.

use std::fmt;

use serde::de::{Error as _, IgnoredAny, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::{Zeroize, Zeroizing};

/// A field of a record that is wiped when the record is dropped, also one that decodes half-way only.
#[derive(Default)]
pub(crate) struct Wiped<T: Zeroize>(Zeroizing<T>);

impl<T: Default + Zeroize> Wiped<T> {
    /// For the application, which does with it what it wants.
    pub(crate) fn release(mut self) -> T {
        std::mem::take(&mut *self.0)
    }
}

impl<T: Zeroize> std::ops::Deref for Wiped<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> From<T> for Wiped<T> {
    fn from(value: T) -> Self {
        Self(Zeroizing::new(value))
    }
}

impl<T: Zeroize> From<Zeroizing<T>> for Wiped<T> {
    fn from(value: Zeroizing<T>) -> Self {
        Self(value)
    }
}

impl Serialize for Wiped<Vec<u8>> {
    fn serialize<S: Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
        if self.0.is_empty() {
            // As rmp-serde writes an empty `Vec`, whose elements it cannot see: an empty array.
            return output.collect_seq(self.0.iter());
        }
        output.serialize_bytes(&self.0)
    }
}

impl Serialize for Wiped<String> {
    fn serialize<S: Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
        output.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Wiped<Vec<u8>> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        input.deserialize_bytes(WholeBytes)
    }
}

impl<'de> Deserialize<'de> for Wiped<String> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        String::deserialize(input).map(Self::from)
    }
}

/// Takes bytes in one piece: serde's own `Vec` grows, and leaves copies.
struct WholeBytes;

impl<'de> Visitor<'de> for WholeBytes {
    type Value = Wiped<Vec<u8>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Self::Value, E> {
        Ok(bytes.to_vec().into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        match elements.next_element::<IgnoredAny>()? {
            None => Ok(Wiped::default()),
            Some(_) => Err(A::Error::invalid_type(Unexpected::Seq, &self)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Kind, codec};
    use super::*;

    #[derive(Deserialize, Serialize)]
    struct Plain {
        content: Vec<u8>,
        name: String,
    }

    #[derive(Deserialize, Serialize)]
    struct Wiping {
        content: Wiped<Vec<u8>>,
        name: Wiped<String>,
    }

    #[test]
    fn a_field_that_is_wiped_is_stored_like_any_other() {
        for len in [0, 1, 200, 255, 256, 70_000] {
            let plain = Plain { content: vec![7; len], name: "n".repeat(len) };
            let wiping = Wiping { content: plain.content.clone().into(), name: plain.name.clone().into() };
            let stored = codec::encode(Kind::Message, &plain, 0).unwrap();
            assert_eq!(codec::encode(Kind::Message, &wiping, 0).unwrap(), stored, "{len} bytes");
            let loaded: Wiping = codec::decode(Kind::Message, &stored).unwrap();
            assert_eq!((loaded.content.release(), loaded.name.release()), (plain.content, plain.name));
        }
    }
}
