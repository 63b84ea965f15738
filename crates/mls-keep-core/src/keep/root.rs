//! [`Root`]: the one mutable record of a client, and its stored form (docs/format.md, "Root").

use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::garbage::Garbage;
use super::header::{Header, RootKeyId};
use crate::archive::MAX_ARCHIVES;
use crate::codec::{Reader, Writer};
use crate::entropy::Entropy;
use crate::envelope;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{MAX_IDENTITY_LEN, MAX_NODE_LEN, MAX_STORED_ROOT_LEN};
use crate::map::{Node, Pointer, Tree};
use crate::secret_bytes::SecretBytes;
use crate::secret_vec::SecretVec;

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

/// How many older roots a root remembers besides the one before it.
const MAX_ANCESTORS: usize = 16;

/// SHA-256 of a root as stored.
pub(crate) type Digest = [u8; 32];

/// What a root remembers of an older one: the first bytes of its digest.
type Ancestor = [u8; 8];

/// What a client's root says.
#[derive(Clone)]
pub(crate) struct Root {
    /// How many commits made this root: 0 before the first.
    pub(crate) number: u64,
    /// Of the root before it; zeros for the first.
    pub(crate) previous: Digest,
    /// Of those before that one, the newest first.
    ancestors: Vec<Ancestor>,
    pub(crate) identity: SecretBytes,
    /// Secret that decides where long values are cut. Fresh for each client that is made, so it also distinguishes a client
    /// from one of the same identity that was deleted.
    pub(crate) seed: u64,
    pub(crate) standing: Standing,
    /// Of the archives of moves that this client was restored from or moved with, the newest first. A tombstone keeps them, so
    /// that none is imported twice.
    pub(crate) archives: Vec<[u8; 16]>,
    /// How many nodes it names.
    pub(crate) nodes: u64,
    /// Nodes to delete, where deletes do not ride in the commit.
    pub(crate) garbage: Garbage,
    /// Scope to the top node of its map.
    pub(crate) directory: Tree,
}

/// Whether a client may go on as it stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Standing {
    Active = 0,
    /// Restored from a backup. It is used as an active one is; which groups must be entered anew, their marks say.
    Restored = 1,
    /// Moved to another device: it does not go on here.
    MovedOut = 2,
    /// Deleted, or never there: a tombstone, which no late writer expects. It has neither identity nor directory.
    Deleted = 3,
}

/// Where one root stands to another that was seen before.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Descent {
    /// It was made from that one, by one commit or several.
    After,
    /// It was not: it is older, or on another branch.
    Elsewhere,
    /// It has a greater number, but remembers no root as old as that one.
    Unknown,
    /// It is of another client of the same identity, made after the other one was deleted.
    OtherClient,
}

impl Root {
    /// The root of a client that nothing was committed to.
    pub(crate) fn new(identity: &[u8], entropy: &dyn Entropy) -> Result<Self> {
        let mut seed = [0; 8];
        entropy.fill(&mut seed)?;
        Ok(Self {
            number: 0,
            previous: [0; 32],
            ancestors: Vec::new(),
            identity: identity.into(),
            // Zero would be the cutter's public default.
            seed: u64::from_be_bytes(seed).max(1),
            standing: Standing::Active,
            archives: Vec::new(),
            nodes: 0,
            garbage: Garbage::default(),
            directory: Tree::Empty,
        })
    }

    /// The root of a client that is gone, or that must not be made by a commit that is late. It had to do with `archives`.
    pub(crate) fn tombstone(archives: &[[u8; 16]], entropy: &dyn Entropy) -> Result<Self> {
        let archives = archives.to_vec();
        Ok(Self { number: 1, standing: Standing::Deleted, archives, ..Self::new(&[], entropy)? })
    }

    /// Remembers archives before the others, as many as there is room for.
    pub(crate) fn remember(&mut self, archives: &[[u8; 16]]) {
        let known = std::mem::take(&mut self.archives);
        for id in archives.iter().chain(&known) {
            if self.archives.len() < MAX_ARCHIVES && !self.archives.contains(id) {
                self.archives.push(*id);
            }
        }
    }

    /// The root after this one, which is stored as `stored`, with nothing changed.
    pub(crate) fn next(&self, stored: Option<&[u8]>) -> Self {
        let previous = stored.map(digest).unwrap_or_default();
        // What a first root takes the place of is a tombstone, which is of no client.
        let ancestors = match self.number {
            0 | 1 => Vec::new(),
            _ => [ancestor(&self.previous)]
                .into_iter()
                .chain(self.ancestors.iter().copied())
                .take(MAX_ANCESTORS)
                .collect(),
        };
        Self { number: self.number + 1, previous, ancestors, ..self.clone() }
    }

    /// Where this root stands to one of the number and the digest that are given.
    pub(crate) fn descent(&self, seed: u64, number: u64, seen: &Digest) -> Descent {
        if self.seed != seed {
            return Descent::OtherClient;
        }
        let Some(distance) = self.number.checked_sub(number).filter(|distance| *distance > 0) else {
            return Descent::Elsewhere;
        };
        let same = match distance {
            1 => self.previous == *seen,
            _ => match usize::try_from(distance - 2).ok().and_then(|at| self.ancestors.get(at)) {
                Some(remembered) => *remembered == ancestor(seen),
                None => return Descent::Unknown,
            },
        };
        if same { Descent::After } else { Descent::Elsewhere }
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

    fn encode(&self) -> Result<SecretVec> {
        let directory = match &self.directory {
            Tree::Inline(node) => node.encoded_len(),
            Tree::Empty | Tree::Stored(_) => 32,
        };
        let ancestors = self.ancestors.len() * size_of::<Ancestor>();
        let ancestors = ancestors + self.archives.len() * 16;
        let len = 96 + ancestors + self.identity.len() + self.garbage.encoded_len() + 3 + directory;
        let mut out = Writer::with_capacity(envelope::padded_len(len));
        out.u8(BODY_VERSION);
        // The length of what is before the padding, filled in when it is known.
        let at = out.as_slice().len();
        out.u32(0);
        out.u64(self.number);
        out.raw(&self.previous);
        out.u8(self.ancestors.len() as u8);
        for ancestor in &self.ancestors {
            out.raw(ancestor);
        }
        out.short_bytes(&self.identity);
        out.u64(self.seed);
        out.u8(self.standing as u8);
        out.u8(self.archives.len() as u8);
        self.archives.iter().for_each(|id| out.raw(id));
        out.u64(self.nodes);
        self.garbage.encode(&mut out);
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
        let used = out.as_slice().len();
        out.pad_to(envelope::padded_len(used));
        let mut bytes = out.finish();
        if let Some(field) = bytes.get_mut(at..at + 4) {
            field.copy_from_slice(&(used as u32).to_be_bytes());
        }
        Ok(bytes)
    }

    fn decode(plaintext: &[u8]) -> Result<Self> {
        let mut input = Reader::new(plaintext);
        let version = input.u8()?;
        if version != BODY_VERSION {
            return Err(Error::newer_version("the body of a root", version, BODY_VERSION));
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
        let count = usize::from(input.u8()?);
        if count > MAX_ANCESTORS {
            return Err(Error::new(ErrorKind::Corrupt, "a root remembers too many others"));
        }
        let mut ancestors = Vec::with_capacity(input.count(count, size_of::<Ancestor>())?);
        for _ in 0..count {
            ancestors.push(input.array()?);
        }
        let identity = input.short_bytes(MAX_IDENTITY_LEN)?.into();
        let seed = input.u64()?;
        let standing = match input.u8()? {
            0 => Standing::Active,
            1 => Standing::Restored,
            2 => Standing::MovedOut,
            3 => Standing::Deleted,
            _ => return Err(Error::new(ErrorKind::UnsupportedVersion, "a client's standing is of an unknown kind")),
        };
        let count = usize::from(input.u8()?);
        if count > MAX_ARCHIVES {
            return Err(Error::new(ErrorKind::Corrupt, "a root remembers too many archives"));
        }
        let mut archives = Vec::with_capacity(input.count(count, 16)?);
        for _ in 0..count {
            archives.push(input.array()?);
        }
        let nodes = input.u64()?;
        let garbage = Garbage::decode(&mut input)?;
        let directory = match input.u8()? {
            EMPTY => Tree::Empty,
            INLINE => Tree::Inline(Arc::new(Node::decode(input.short_bytes(MAX_NODE_LEN)?)?)),
            STORED => Tree::Stored(Pointer::from_bytes(input.array()?)),
            _ => return Err(Error::new(ErrorKind::Corrupt, "a root's directory is of an unknown kind")),
        };
        input.finish()?;
        Ok(Self { number, previous, ancestors, identity, seed, standing, archives, nodes, garbage, directory })
    }
}

/// SHA-256 of a root as stored: what the next root and an anchor remember of it.
pub(crate) fn digest(stored: &[u8]) -> Digest {
    Sha256::digest(stored).into()
}

fn ancestor(digest: &Digest) -> Ancestor {
    let (first, _) = digest.split_first_chunk().expect("a digest is longer than what is remembered of it");
    *first
}

/// Which root key a stored root is sealed under.
pub(crate) fn root_key_id(stored: &[u8]) -> Result<RootKeyId> {
    let (prefix, _) = stored
        .split_at_checked(PREFIX_LEN)
        .ok_or_else(|| Error::new(ErrorKind::Corrupt, "a stored root is too short"))?;
    decode_prefix(prefix)
}

fn decode_prefix(prefix: &[u8]) -> Result<RootKeyId> {
    let mut input = Reader::new(prefix);
    if input.array()? != MAGIC {
        return Err(Error::new(ErrorKind::Corrupt, "a stored root does not begin as a root does"));
    }
    let version = input.u16()?;
    if version != VERSION {
        return Err(Error::newer_version("a root", version, VERSION));
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
