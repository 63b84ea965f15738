//! [`Header`]: how the user's key opens the keep, and the keep's own keys (docs/format.md, "Header").

use bytes::Bytes;
use hkdf::Hkdf;
use sha2::Sha256;

use crate::codec::{Reader, Writer};
use crate::entropy::Entropy;
use crate::envelope::{self, Encryption, Form, HEADER_PREFIX_LEN, HeaderPrefix, OpenError};
use crate::error::{Error, ErrorKind, Result};
use crate::secret::Secret32;
use crate::secret_vec::SecretVec;

#[cfg(test)]
mod fuzz;

const BODY_VERSION: u8 = 1;
const CONTEXT: &[u8] = b"mls-keep header v1\0";
const CLIENT_INFO: &[u8] = b"mls-keep client v1\0";
const LABEL_INFO: &[u8] = b"mls-keep label v1\0";
/// More than one only while the master key is being changed.
const MAX_ROOT_KEYS: usize = 8;
const MAX_STORED_LEN: usize = 4096;

/// Names a root key within its keep.
pub(crate) type RootKeyId = u32;

/// What a header is opened with: its clear part, and the key that the user's key gives for it.
pub(crate) struct HeaderKey {
    clear: [u8; HEADER_PREFIX_LEN],
    key: Secret32,
}

/// An opened header.
pub(crate) struct Header {
    pub(crate) store_id: [u8; 16],
    /// What clients' names in the backend are derived from. Stays when the master key changes.
    pub(crate) name_key: Secret32,
    /// What roots are sealed under.
    newest: RootKey,
    /// Keys that roots may still be sealed under while the master key is being changed.
    older: Vec<RootKey>,
}

struct RootKey {
    id: RootKeyId,
    secret: Secret32,
}

impl Header {
    /// A fresh header, its stored form, and what opens it.
    pub(crate) async fn create(encryption: &Encryption, entropy: &dyn Entropy) -> Result<(Self, Bytes, HeaderKey)> {
        let mut store_id = [0; 16];
        entropy.fill(&mut store_id)?;
        let prefix = encryption.new_prefix(Form::Keep, entropy, store_id)?;
        let header = Self {
            store_id,
            name_key: Secret32::random(entropy)?,
            newest: RootKey { id: 1, secret: Secret32::random(entropy)? },
            older: Vec::new(),
        };
        let key = HeaderKey { clear: prefix.encode(), key: encryption.root_key(&prefix).await? };
        let stored = header.seal(&key, entropy)?;
        Ok((header, stored, key))
    }

    /// Opens a stored header.
    ///
    /// # Errors
    /// `WrongKey` if the key, salt or passphrase is not the keep's, `UnsupportedVersion`, or `Corrupt`.
    pub(crate) async fn open(encryption: &Encryption, stored: &[u8]) -> Result<(Self, HeaderKey)> {
        let (clear, _) = split(stored)?;
        let prefix = HeaderPrefix::decode(Form::Keep, clear)?;
        let key = HeaderKey { clear: prefix.encode(), key: encryption.root_key(&prefix).await? };
        Ok((Self::open_with(&key, stored)?, key))
    }

    /// Opens a header that was stored anew since `key` opened it.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub(crate) fn open_with(key: &HeaderKey, stored: &[u8]) -> Result<Self> {
        let (clear, body) = split(stored)?;
        let store_id = HeaderPrefix::decode(Form::Keep, clear)?.id;
        let wrong =
            || Error::new(ErrorKind::WrongKey, "the keep does not open under this key (or passphrase, or salt)");
        if clear != key.clear {
            return Err(wrong());
        }
        let plaintext = envelope::open(key.key.expose(), &context(clear), body).map_err(|error| match error {
            OpenError::Commitment => wrong(),
            OpenError::Length | OpenError::Tag => Error::new(ErrorKind::Corrupt, "the keep's header is damaged"),
        })?;
        Self::decode(store_id, &plaintext)
    }

    /// Of which keep a stored header is.
    ///
    /// # Errors
    /// `UnsupportedVersion`, or `Corrupt`.
    pub(crate) fn store_id(stored: &[u8]) -> Result<[u8; 16]> {
        Ok(HeaderPrefix::decode(Form::Keep, split(stored)?.0)?.id)
    }

    fn seal(&self, key: &HeaderKey, entropy: &dyn Entropy) -> Result<Bytes> {
        let sealed = envelope::seal(key.key.expose(), &context(&key.clear), &self.encode(), entropy)?;
        Ok([key.clear.as_slice(), &sealed].concat().into())
    }

    /// Whether `self` is a later state of `other`: the same keep, with no root key less new.
    pub(crate) fn follows(&self, other: &Self) -> bool {
        self.store_id == other.store_id && self.name_key.ct_eq(&other.name_key) && self.newest.id >= other.newest.id
    }

    /// The same header with a new root key before the others, and its stored form.
    #[cfg(test)]
    pub(crate) fn with_new_root_key(&self, key: &HeaderKey, entropy: &dyn Entropy) -> Result<Bytes> {
        let copy = |key: &RootKey| RootKey { id: key.id, secret: Secret32::from_bytes(*key.secret.expose()) };
        let header = Self {
            store_id: self.store_id,
            name_key: Secret32::from_bytes(*self.name_key.expose()),
            newest: RootKey { id: self.newest.id + 1, secret: Secret32::random(entropy)? },
            older: self.root_keys().map(copy).collect(),
        };
        header.seal(key, entropy)
    }

    pub(crate) fn newest_root_key(&self) -> (RootKeyId, &Secret32) {
        (self.newest.id, &self.newest.secret)
    }

    pub(crate) fn root_key(&self, id: RootKeyId) -> Option<&Secret32> {
        self.root_keys().find(|key| key.id == id).map(|key| &key.secret)
    }

    fn root_keys(&self) -> impl Iterator<Item = &RootKey> {
        std::iter::once(&self.newest).chain(&self.older)
    }

    /// What a client of this identity is called in the backend.
    pub(crate) fn token(&self, identity: &[u8]) -> Result<[u8; 16]> {
        self.derived_name(&[CLIENT_INFO, identity])
    }

    /// What a scope of the client with this token is called in events.
    pub(crate) fn label(&self, token: &[u8; 16], scope: &[u8]) -> Result<[u8; 4]> {
        self.derived_name(&[LABEL_INFO, token, scope])
    }

    fn derived_name<const N: usize>(&self, info: &[&[u8]]) -> Result<[u8; N]> {
        let mut name = [0; N];
        Hkdf::<Sha256>::from_prk(self.name_key.expose())
            .map_err(|_| derivation_failed())?
            .expand_multi_info(info, &mut name)
            .map_err(|_| derivation_failed())?;
        Ok(name)
    }

    fn encode(&self) -> SecretVec {
        let count = 1 + self.older.len();
        let mut out = Writer::with_capacity(34 + count * 36);
        out.u8(BODY_VERSION);
        out.raw(self.name_key.expose());
        out.u8(count as u8);
        for key in self.root_keys() {
            out.u32(key.id);
            out.raw(key.secret.expose());
        }
        out.finish()
    }

    fn decode(store_id: [u8; 16], plaintext: &[u8]) -> Result<Self> {
        let mut input = Reader::new(plaintext);
        let version = input.u8()?;
        if version != BODY_VERSION {
            return Err(Error::newer_version("the body of the header", version, BODY_VERSION));
        }
        let name_key = Secret32::from_bytes(input.array()?);
        let count = usize::from(input.u8()?);
        if count == 0 || count > MAX_ROOT_KEYS {
            return Err(Error::new(ErrorKind::Corrupt, "the header has no root key or too many"));
        }
        let newest = RootKey::decode(&mut input)?;
        let mut older = Vec::with_capacity(count - 1);
        for _ in 1..count {
            older.push(RootKey::decode(&mut input)?);
        }
        input.finish()?;
        Ok(Self { store_id, name_key, newest, older })
    }
}

impl RootKey {
    fn decode(input: &mut Reader<'_>) -> Result<Self> {
        Ok(Self { id: input.u32()?, secret: Secret32::from_bytes(input.array()?) })
    }
}

/// The clear part and the body of a stored header.
fn split(stored: &[u8]) -> Result<(&[u8], &[u8])> {
    if stored.len() > MAX_STORED_LEN {
        return Err(Error::new(ErrorKind::Corrupt, "the keep's header is over its limit"));
    }
    stored
        .split_at_checked(HEADER_PREFIX_LEN)
        .ok_or_else(|| Error::new(ErrorKind::Corrupt, "the keep's header is too short"))
}

fn context(clear: &[u8]) -> Vec<u8> {
    [CONTEXT, clear].concat()
}

fn derivation_failed() -> Error {
    Error::new(ErrorKind::Internal, "a client's name could not be derived")
}
