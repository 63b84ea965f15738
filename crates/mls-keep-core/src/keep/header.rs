//! [`Header`]: how the user's key opens the keep, and the keep's own keys (docs/format.md, "Header").

use bytes::Bytes;
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::codec::{Reader, Writer};
use crate::entropy::Entropy;
use crate::envelope::{self, Encryption, HEADER_PREFIX_LEN, HeaderPrefix, OpenError};
use crate::error::{Error, ErrorKind, Result};
use crate::secret::Secret32;

#[cfg(test)]
mod fuzz;

const BODY_VERSION: u8 = 1;
const CONTEXT: &[u8] = b"mls-keep header v1\0";
const CLIENT_INFO: &[u8] = b"mls-keep client v1\0";
/// More than one only while the master key is being changed.
const MAX_ROOT_KEYS: usize = 8;
const MAX_STORED_LEN: usize = 4096;

/// Names a root key within its keep.
pub(crate) type RootKeyId = u32;

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
    /// A fresh header and its stored form.
    pub(crate) fn create(encryption: &Encryption, entropy: &dyn Entropy) -> Result<(Self, Bytes)> {
        let mut store_id = [0; 16];
        entropy.fill(&mut store_id)?;
        let prefix = encryption.new_prefix(entropy, store_id)?;
        let header = Self {
            store_id,
            name_key: Secret32::random(entropy)?,
            newest: RootKey { id: 1, secret: Secret32::random(entropy)? },
            older: Vec::new(),
        };
        let clear = prefix.encode();
        let key = encryption.root_key(&prefix)?;
        let sealed = envelope::seal(key.expose(), &context(&clear), &header.encode(), entropy)?;
        let mut stored = clear.to_vec();
        stored.extend_from_slice(&sealed);
        Ok((header, stored.into()))
    }

    /// Opens a stored header.
    ///
    /// # Errors
    /// `WrongKey` if the key, salt or passphrase is not the keep's, `UnsupportedVersion`, or `Corrupt`.
    pub(crate) fn open(encryption: &Encryption, stored: &[u8]) -> Result<Self> {
        if stored.len() > MAX_STORED_LEN {
            return Err(Error::new(ErrorKind::Corrupt, "the keep's header is over its limit"));
        }
        let (clear, body) = stored
            .split_at_checked(HEADER_PREFIX_LEN)
            .ok_or_else(|| Error::new(ErrorKind::Corrupt, "the keep's header is too short"))?;
        let prefix = HeaderPrefix::decode(clear)?;
        let key = encryption.root_key(&prefix)?;
        let plaintext = envelope::open(key.expose(), &context(clear), body).map_err(|error| match error {
            OpenError::Commitment => {
                Error::new(ErrorKind::WrongKey, "the keep does not open under this key (or passphrase, or salt)")
            }
            OpenError::Length | OpenError::Tag => Error::new(ErrorKind::Corrupt, "the keep's header is damaged"),
        })?;
        Self::decode(prefix.store_id, &plaintext)
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
        let mut token = [0; 16];
        Hkdf::<Sha256>::from_prk(self.name_key.expose())
            .map_err(|_| derivation_failed())?
            .expand_multi_info(&[CLIENT_INFO, identity], &mut token)
            .map_err(|_| derivation_failed())?;
        Ok(token)
    }

    fn encode(&self) -> Zeroizing<Vec<u8>> {
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
            return Err(Error::new(ErrorKind::UnsupportedVersion, format!("the header has body version {version}")));
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

fn context(clear: &[u8]) -> Vec<u8> {
    [CONTEXT, clear].concat()
}

fn derivation_failed() -> Error {
    Error::new(ErrorKind::Internal, "a client's name could not be derived")
}
