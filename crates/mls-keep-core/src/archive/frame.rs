//! Frames: what the plaintext of an archive consists of (docs/format.md, "Archive").

use super::summary::{ArchiveContents, ArchiveKind};
use crate::codec::{Reader, Writer};
use crate::error::{Error, ErrorKind, Result};
use crate::keep::ScopeId;
use crate::limits::{MAX_IDENTITY_LEN, MAX_RECORD_KEY_LEN, MAX_SCOPE_LEN, MAX_VALUE_LEN};
use crate::secret_bytes::SecretBytes;
use crate::secret_vec::SecretVec;

/// Type and length.
pub(super) const HEAD_LEN: usize = 5;

pub(super) const CATALOGUE: u8 = 1;
pub(super) const PART: u8 = 2;
pub(super) const RECORD: u8 = 3;
pub(super) const PART_END: u8 = 4;
pub(super) const PART_VOID: u8 = 5;
pub(super) const SCOPE: u8 = 6;
pub(super) const END: u8 = 255;

pub(super) const PART_END_LEN: usize = 4;
pub(super) const END_LEN: usize = 5 * 8 + 32;
/// A scope without its labels and the bytes of its id.
pub(super) const SCOPE_HEAD_LEN: usize = 1 + LABEL_LEN + 2;
pub(super) const MAX_CATALOGUE_LEN: usize = 2 + 8 + 16 + 16 + 1 + MAX_ARCHIVES * 16 + 2 + MAX_IDENTITY_LEN;
pub(super) const MAX_RECORD_LEN: usize = 2 + MAX_RECORD_KEY_LEN + MAX_VALUE_LEN;
pub(super) const MAX_SCOPE_FRAME_LEN: usize = 64 << 20;

/// How many archives a client remembers that it was moved with.
pub(crate) const MAX_ARCHIVES: usize = 16;

pub(crate) const LABEL_LEN: usize = 12;

/// What a part is called: nothing but the same records has the same label.
pub(crate) type Label = [u8; LABEL_LEN];

const FULL: u8 = 1;
const DELTA: u8 = 2;
const MOVE: u8 = 3;

/// The first frame: what is known when an archive is begun.
#[derive(Clone)]
pub(crate) struct Catalogue {
    pub(crate) kind: ArchiveKind,
    pub(crate) contents: ArchiveContents,
    pub(crate) created: u64,
    pub(crate) store_id: [u8; 16],
    /// Archives that the client was moved with before, the newest first.
    pub(crate) archives: Vec<[u8; 16]>,
    pub(crate) identity: SecretBytes,
}

/// A scope of the state that an archive holds.
#[derive(Clone)]
pub(crate) struct ScopeEntry {
    pub(crate) id: ScopeId,
    pub(crate) flags: u8,
    /// Of the scope as a whole.
    pub(crate) version: Label,
    /// Its parts in the order of their keys. One alone is called as the scope is.
    pub(crate) labels: Vec<Label>,
}

/// The last frame, but for its digest.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Totals {
    pub(super) number: u64,
    pub(super) parts: u64,
    pub(super) records: u64,
    pub(super) value_bytes: u64,
    pub(super) scopes: u64,
}

impl Catalogue {
    pub(super) fn encode(&self) -> SecretVec {
        let mut out = Writer::with_capacity(MAX_CATALOGUE_LEN);
        let (kind, parent) = match self.kind {
            ArchiveKind::Full => (FULL, [0; 16]),
            ArchiveKind::Delta { parent } => (DELTA, parent),
            ArchiveKind::Move => (MOVE, [0; 16]),
        };
        out.u8(kind);
        out.u8(self.contents as u8);
        out.u64(self.created);
        out.raw(&self.store_id);
        out.raw(&parent);
        out.u8(self.archives.len() as u8);
        self.archives.iter().for_each(|id| out.raw(id));
        out.short_bytes(&self.identity);
        out.finish()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self> {
        let mut input = Reader::new(bytes);
        let kind = input.u8()?;
        let contents = match input.u8()? {
            0 => ArchiveContents::Everything,
            1 => ArchiveContents::WithoutGroupSecrets,
            2 => ArchiveContents::OwnMaterial,
            _ => return Err(unknown()),
        };
        let (created, store_id, parent) = (input.u64()?, input.array()?, input.array()?);
        let kind = match kind {
            FULL if parent == [0; 16] => ArchiveKind::Full,
            MOVE if parent == [0; 16] && contents == ArchiveContents::Everything => ArchiveKind::Move,
            DELTA => ArchiveKind::Delta { parent },
            _ => return Err(unknown()),
        };
        let count = usize::from(input.u8()?);
        if count > MAX_ARCHIVES {
            return Err(Error::new(ErrorKind::Corrupt, "an archive names too many others"));
        }
        let mut archives = Vec::with_capacity(count);
        for _ in 0..count {
            archives.push(input.array()?);
        }
        let identity: SecretBytes = input.short_bytes(MAX_IDENTITY_LEN)?.into();
        input.finish()?;
        if identity.is_empty() {
            return Err(Error::new(ErrorKind::Corrupt, "an archive is of no client"));
        }
        Ok(Self { kind, contents, created, store_id, archives, identity })
    }
}

impl ScopeEntry {
    pub(super) fn frame_len(&self) -> usize {
        SCOPE_HEAD_LEN + self.id.as_key().len() + self.listed().len() * LABEL_LEN
    }

    /// The labels that stand in its frame.
    pub(super) fn listed(&self) -> &[Label] {
        if self.labels == [self.version] { &[] } else { &self.labels }
    }

    pub(super) fn encode_head(&self) -> SecretVec {
        let mut out = Writer::with_capacity(SCOPE_HEAD_LEN + self.id.as_key().len());
        out.u8(self.flags);
        out.raw(&self.version);
        out.short_bytes(self.id.as_key());
        out.finish()
    }
}

/// Whether a scope can have this id: the client's own, or a group's.
pub(super) fn scope_id(bytes: &[u8]) -> Result<ScopeId> {
    match bytes {
        [0] | [1, ..] if bytes.len() <= MAX_SCOPE_LEN => Ok(ScopeId::from_key(bytes)),
        _ => Err(Error::new(ErrorKind::Corrupt, "an archive has a scope of an unknown kind")),
    }
}

impl Totals {
    pub(super) fn encode(&self, digest: &[u8; 32]) -> SecretVec {
        let mut out = Writer::with_capacity(END_LEN);
        [self.number, self.parts, self.records, self.value_bytes, self.scopes].iter().for_each(|total| out.u64(*total));
        out.raw(digest);
        out.finish()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<(Self, [u8; 32])> {
        let mut input = Reader::new(bytes);
        let totals = Self {
            number: input.u64()?,
            parts: input.u64()?,
            records: input.u64()?,
            value_bytes: input.u64()?,
            scopes: input.u64()?,
        };
        let digest = input.array()?;
        input.finish()?;
        Ok((totals, digest))
    }
}

fn unknown() -> Error {
    Error::new(ErrorKind::UnsupportedVersion, "the archive is of a kind that this program does not know")
}
