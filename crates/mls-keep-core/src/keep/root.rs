//! [`Root`]: the one mutable record of a client, and its stored form (docs/format.md, "Root").

use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::header::{Header, RootKeyId};
use crate::codec::{Reader, Writer};
use crate::entropy::Entropy;
use crate::envelope;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{MAX_IDENTITY_LEN, MAX_NODE_LEN, MAX_SCOPE_LEN, MAX_STORED_ROOT_LEN};
use crate::map::{Node, NodeName, Pointer, Tree};

#[cfg(test)]
pub(super) mod fuzz;

const MAGIC: [u8; 8] = *b"\x89MLSR\r\n\x1a";
const VERSION: u16 = 1;
const PREFIX_LEN: usize = 24;
const BODY_VERSION: u8 = 1;
const CONTEXT: &[u8] = b"mls-keep root v1\0";

const EMPTY: u8 = 0;
const INLINE: u8 = 1;
const STORED: u8 = 2;

/// What a client's root says.
pub(crate) struct Root {
    /// How many commits made this root: 0 before the first.
    pub(crate) number: u64,
    /// SHA-256 of the root before it as stored; zeros for the first.
    pub(crate) previous: [u8; 32],
    pub(crate) identity: Vec<u8>,
    /// Secret that decides where long values are cut.
    pub(crate) seed: u64,
    pub(crate) standing: Standing,
    /// Of the archive that this client was restored from or moved out with; zeros if it was neither.
    pub(crate) archive_id: [u8; 16],
    /// Generations that may have been used without a commit of their own.
    pub(crate) reservations: Vec<Reservation>,
    /// Nodes to delete at the next open, where deletes do not ride in the commit.
    pub(crate) garbage: Vec<NodeName>,
    /// Scope to the top node of its map.
    pub(crate) directory: Tree,
}

/// Whether a client may go on as it stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Standing {
    Active = 0,
    /// Restored from a backup: sending would reuse keys until each group is re-entered.
    Restored = 1,
    /// Moved to another device: it must not go on here.
    MovedOut = 2,
}

/// Generations of a group's own ratchets that count as used up to `generation`, exclusive.
pub(crate) struct Reservation {
    pub(crate) scope: Vec<u8>,
    pub(crate) epoch: u64,
    pub(crate) generation: u32,
}

impl Root {
    /// The root of a client that nothing was committed to.
    pub(crate) fn new(identity: &[u8], entropy: &dyn Entropy) -> Result<Self> {
        let mut seed = [0; 8];
        entropy.fill(&mut seed)?;
        Ok(Self {
            number: 0,
            previous: [0; 32],
            identity: identity.to_vec(),
            // Zero would be the cutter's public default.
            seed: u64::from_be_bytes(seed).max(1),
            standing: Standing::Active,
            archive_id: [0; 16],
            reservations: Vec::new(),
            garbage: Vec::new(),
            directory: Tree::Empty,
        })
    }

    /// Seals the root of the client `token` of this keep.
    pub(crate) fn seal(&self, header: &Header, token: &[u8; 16], entropy: &dyn Entropy) -> Result<Bytes> {
        let (key_id, root_key) = header.newest_root_key();
        let mut prefix = Writer::with_capacity(PREFIX_LEN);
        prefix.raw(&MAGIC);
        prefix.u16(VERSION);
        prefix.u16(0);
        prefix.u32(key_id);
        prefix.u64(0);
        let body = self.encode()?;
        let key = sealing_key(root_key);
        let sealed = envelope::seal(key.expose(), &context(header, token, prefix.as_slice()), &body, entropy)?;
        let mut stored = Vec::with_capacity(PREFIX_LEN + sealed.len());
        stored.extend_from_slice(prefix.as_slice());
        stored.extend_from_slice(&sealed);
        if stored.len() > MAX_STORED_ROOT_LEN {
            return Err(Error::new(ErrorKind::Invalid, "a client's root would be over its limit"));
        }
        Ok(stored.into())
    }

    /// Opens a stored root of the client `token` of this keep.
    ///
    /// # Errors
    /// `UnsupportedVersion`, or `Corrupt` for everything else: the header has shown that the key is right.
    pub(crate) fn open(header: &Header, token: &[u8; 16], stored: &[u8]) -> Result<Self> {
        if stored.len() > MAX_STORED_ROOT_LEN {
            return Err(Error::new(ErrorKind::Corrupt, "a stored root is over its limit"));
        }
        let (prefix, body) = stored
            .split_at_checked(PREFIX_LEN)
            .ok_or_else(|| Error::new(ErrorKind::Corrupt, "a stored root is too short"))?;
        let key_id = decode_prefix(prefix)?;
        let root_key = header.root_key(key_id).ok_or_else(|| {
            Error::new(ErrorKind::Corrupt, "a root is sealed under a key that the header does not have")
        })?;
        let key = sealing_key(root_key);
        let plaintext = envelope::open(key.expose(), &context(header, token, prefix), body).map_err(|_| {
            Error::new(ErrorKind::Corrupt, "a client's root is damaged or is not the root of this client")
        })?;
        Self::decode(&plaintext)
    }

    fn encode(&self) -> Result<zeroize::Zeroizing<Vec<u8>>> {
        let directory = match &self.directory {
            Tree::Inline(node) => node.encoded_len(),
            Tree::Empty | Tree::Stored(_) => 32,
        };
        let reserved: usize = self.reservations.iter().map(|reservation| 14 + reservation.scope.len()).sum();
        let len = 128 + self.identity.len() + reserved + self.garbage.len() * 20 + directory;
        let mut out = Writer::with_capacity(envelope::padded_len(len));
        out.u8(BODY_VERSION);
        // The length of what is before the padding, filled in when it is known.
        let at = out.as_slice().len();
        out.u32(0);
        out.u64(self.number);
        out.raw(&self.previous);
        out.short_bytes(&self.identity);
        out.u64(self.seed);
        out.u8(self.standing as u8);
        out.raw(&self.archive_id);
        out.u16(self.reservations.len() as u16);
        for reservation in &self.reservations {
            out.short_bytes(&reservation.scope);
            out.u64(reservation.epoch);
            out.u32(reservation.generation);
        }
        out.u32(self.garbage.len() as u32);
        for name in &self.garbage {
            out.raw(name);
        }
        match &self.directory {
            Tree::Empty => out.u8(EMPTY),
            Tree::Inline(node) => {
                out.u8(INLINE);
                out.short_bytes(&node.encode());
            }
            Tree::Stored(pointer) => {
                out.u8(STORED);
                out.raw(pointer.expose());
            }
        }
        let mut bytes = out.finish();
        let used = bytes.len() as u32;
        if let Some(field) = bytes.get_mut(at..at + 4) {
            field.copy_from_slice(&used.to_be_bytes());
        }
        let padded = envelope::padded_len(bytes.len());
        bytes.resize(padded, 0);
        Ok(bytes)
    }

    fn decode(plaintext: &[u8]) -> Result<Self> {
        let mut input = Reader::new(plaintext);
        let version = input.u8()?;
        if version != BODY_VERSION {
            return Err(Error::new(ErrorKind::UnsupportedVersion, format!("a root has body version {version}")));
        }
        let used = input.u32()? as usize;
        let (body, padding) = plaintext
            .split_at_checked(used)
            .ok_or_else(|| Error::new(ErrorKind::Corrupt, "a root is shorter than it says"))?;
        if padding.iter().any(|byte| *byte != 0) {
            return Err(Error::new(ErrorKind::Corrupt, "a root's padding is not zero"));
        }
        let mut input = Reader::new(body);
        input.raw(5)?;
        let number = input.u64()?;
        let previous = input.array()?;
        let identity = input.short_bytes(MAX_IDENTITY_LEN)?.to_vec();
        let seed = input.u64()?;
        let standing = match input.u8()? {
            0 => Standing::Active,
            1 => Standing::Restored,
            2 => Standing::MovedOut,
            _ => return Err(Error::new(ErrorKind::UnsupportedVersion, "a client's standing is of an unknown kind")),
        };
        let archive_id = input.array()?;
        let count = usize::from(input.u16()?);
        let mut reservations = Vec::with_capacity(input.count(count, 14)?);
        for _ in 0..count {
            let scope = input.short_bytes(MAX_SCOPE_LEN)?.to_vec();
            reservations.push(Reservation { scope, epoch: input.u64()?, generation: input.u32()? });
        }
        let count = input.u32()? as usize;
        let mut garbage = Vec::with_capacity(input.count(count, size_of::<NodeName>())?);
        for _ in 0..count {
            garbage.push(input.array()?);
        }
        let directory = match input.u8()? {
            EMPTY => Tree::Empty,
            INLINE => Tree::Inline(Arc::new(Node::decode(input.short_bytes(MAX_NODE_LEN)?)?)),
            STORED => Tree::Stored(Pointer::from_bytes(input.array()?)),
            _ => return Err(Error::new(ErrorKind::Corrupt, "a root's directory is of an unknown kind")),
        };
        input.finish()?;
        Ok(Self { number, previous, identity, seed, standing, archive_id, reservations, garbage, directory })
    }
}

/// SHA-256 of a root as stored: what the next root and an anchor remember of it.
pub(crate) fn digest(stored: &[u8]) -> [u8; 32] {
    Sha256::digest(stored).into()
}

fn decode_prefix(prefix: &[u8]) -> Result<RootKeyId> {
    let mut input = Reader::new(prefix);
    if input.array()? != MAGIC {
        return Err(Error::new(ErrorKind::Corrupt, "a stored root does not begin as a root does"));
    }
    let version = input.u16()?;
    if version != VERSION {
        return Err(Error::new(
            ErrorKind::UnsupportedVersion,
            format!("a root has format version {version}, this program knows {VERSION}"),
        ));
    }
    let reserved = input.u16()?;
    let key_id = input.u32()?;
    let anchor_version = input.u64()?;
    if reserved != 0 {
        return Err(Error::new(ErrorKind::Corrupt, "a root's reserved bytes are not zero"));
    }
    if anchor_version != 0 {
        return Err(Error::new(ErrorKind::UnsupportedVersion, "a root is sealed under an anchor"));
    }
    Ok(key_id)
}

/// Without an anchor its secret counts as 32 zero bytes.
fn sealing_key(root_key: &crate::secret::Secret32) -> crate::secret::Secret32 {
    envelope::extract(&[0; 32], root_key.expose())
}

fn context(header: &Header, token: &[u8; 16], prefix: &[u8]) -> Vec<u8> {
    let mut context = Vec::with_capacity(CONTEXT.len() + 32 + prefix.len());
    context.extend_from_slice(CONTEXT);
    context.extend_from_slice(&header.store_id);
    context.extend_from_slice(token);
    context.extend_from_slice(prefix);
    context
}
