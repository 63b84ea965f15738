//! [`ArchiveSummary`]: what an archive says of itself.

use std::fmt;

use crate::secret_bytes::SecretBytes;

/// What an archive is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum ArchiveKind {
    /// A backup that stands alone.
    Full,
    /// A backup of what has changed since another one.
    Delta {
        /// The id of the archive that it goes on from, be it a full one or a delta.
        parent: [u8; 16],
    },
    /// A client on its way to another device: nothing but an import goes on from it.
    Move,
}

/// How much of a client is in an archive.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum ArchiveContents {
    /// Everything.
    #[default]
    Everything,
    /// Everything but the secrets of groups: enough to enter them anew, and worthless for reading what is sent in them.
    WithoutGroupSecrets,
    /// The client's own material, and no group.
    OwnMaterial,
}

/// What an archive says of itself. All of it is authenticated by the archive's key.
#[derive(Clone, Eq, PartialEq)]
#[non_exhaustive]
pub struct ArchiveSummary {
    /// 16 random bytes that distinguish this archive from every other.
    pub id: [u8; 16],
    /// What it is for.
    pub kind: ArchiveKind,
    /// How much of the client is in it.
    pub contents: ArchiveContents,
    /// When it was made, by the clock of who made it: milliseconds since 1970. Nothing is decided by it.
    pub created: u64,
    /// Of the keep that the client was in.
    pub store_id: [u8; 16],
    /// The client's identity.
    pub identity: SecretBytes,
    /// The number of the client's commits that the archive is the state after.
    pub number: u64,
    /// Scopes of the state: the client's own, and its groups.
    pub scopes: u64,
    /// Records that stand in this archive. A delta's state has others besides.
    pub records: u64,
    /// Bytes of their values.
    pub value_bytes: u64,
    /// Length of the archive, bytes.
    pub len: u64,
}

impl fmt::Debug for ArchiveSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArchiveSummary")
            .field("id", &crate::text::encode(&self.id))
            .field("kind", &self.kind)
            .field("contents", &self.contents)
            .field("number", &self.number)
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}
