//! Taking over what another storage of OpenMLS's holds.
//!
//! A storage provider encodes what OpenMLS gives it, each value by itself, in JSON or CBOR. [`StoredState`] is what it has
//! stored, still encoded; `mls-keep-import` reads one from the databases of OpenMLS's own providers, and
//! [`StoredGroup::read`] reads a group from any provider. [`Client::import`](crate::Client::import) decodes it, as the types
//! of OpenMLS, and commits it group by group.

mod assemble;
mod capture;
mod encoding;

use std::collections::BTreeMap;
use std::fmt;

use mls_keep_core::SecretBytes;

pub(crate) use assemble::{Assembled, KeyPackages, preshared_key, signer};
pub use encoding::Encoding;

/// How many messages' keys [`Client::import`](crate::Client::import) skips in each group.
pub const SKIPPED: u32 = 100;

/// What an application has stored with OpenMLS's storage trait, each value encoded by itself.
#[derive(Default)]
pub struct StoredState {
    /// How the values are encoded.
    pub encoding: Encoding,
    /// The groups.
    pub groups: Vec<StoredGroup>,
    /// `KeyPackageBundle`s.
    pub key_packages: Vec<SecretBytes>,
    /// PSK ids and their `PskBundle`s.
    pub psks: Vec<(SecretBytes, SecretBytes)>,
    /// `SignatureKeyPair`s of `openmls_basic_credential`.
    pub signature_keys: Vec<SecretBytes>,
    /// Public encryption keys and their `EncryptionKeyPair`s: those of updates that nobody has committed so far.
    pub encryption_keys: Vec<(SecretBytes, SecretBytes)>,
}

/// One group of a [`StoredState`].
#[derive(Default)]
pub struct StoredGroup {
    /// The encoded group id.
    pub id: SecretBytes,
    /// What there is one of.
    pub values: BTreeMap<GroupValue, SecretBytes>,
    /// The own leaf nodes of updates that nobody has committed so far.
    pub own_leaf_nodes: Vec<SecretBytes>,
    /// The queued proposals, without their references.
    pub proposals: Vec<SecretBytes>,
    /// The epoch, the leaf index, and the list of key pairs.
    pub epoch_key_pairs: Vec<(SecretBytes, u32, SecretBytes)>,
}

/// What OpenMLS stores one of for each group.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum GroupValue {
    /// `MlsGroupJoinConfig`.
    JoinConfig,
    /// `TreeSync`.
    Tree,
    /// `InterimTranscriptHash`.
    InterimTranscriptHash,
    /// `GroupContext`.
    Context,
    /// `ConfirmationTag`.
    ConfirmationTag,
    /// `MlsGroupState`.
    State,
    /// `MessageSecretsStore`.
    MessageSecrets,
    /// `ResumptionPskStore`.
    ResumptionPskStore,
    /// `LeafNodeIndex`.
    OwnLeafIndex,
    /// `GroupEpochSecrets`.
    EpochSecrets,
    /// `ApplicationExportTree`, of the extensions draft.
    ApplicationExportTree,
}

/// What [`Client::import`](crate::Client::import) has taken over, and what it has not.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ImportReport {
    /// The groups that are the client's now.
    pub groups: Vec<ImportedGroup>,
    /// Groups that were left.
    pub left: Vec<LeftGroup>,
    /// Key packages that are the client's now.
    pub key_packages: usize,
    /// Key packages that were left: of another identity, not readable, or imported before and used since.
    pub key_packages_left: usize,
    /// Pre-shared keys that are the client's now.
    pub psks: usize,
    /// Pre-shared keys that are not readable.
    pub psks_left: usize,
}

/// A group that was taken over.
#[derive(Clone)]
#[non_exhaustive]
pub struct ImportedGroup {
    /// Its id.
    pub id: openmls::group::GroupId,
    /// Its epoch.
    pub epoch: u64,
    /// How many members it has.
    pub members: usize,
    /// A commit of the client's own waits to be confirmed or rejected.
    pub has_staged: bool,
}

/// A group that was not taken over.
#[derive(Clone)]
#[non_exhaustive]
pub struct LeftGroup {
    /// Its id, empty if it is not readable.
    pub id: Vec<u8>,
    /// Why.
    pub why: WhyLeft,
}

/// Why a group was not taken over.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum WhyLeft {
    /// The client has a group of this id.
    AlreadyThere,
    /// It was imported before, and the client has gone on and does not have it any more.
    ImportedBefore,
    /// The own leaf is one of another identity.
    OfAnother,
    /// The client was removed from it.
    NotMember,
    /// Neither the client nor what is imported has the signature key of the own leaf.
    NoSignatureKey,
    /// Something of it is missing, or OpenMLS does not decode it.
    Unreadable,
}

impl fmt::Display for WhyLeft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AlreadyThere => "the client has this group already",
            Self::ImportedBefore => "it was imported before, and keys may have been used since: enter it anew",
            Self::OfAnother => "it is a group of another identity",
            Self::NotMember => "the client was removed from it",
            Self::NoSignatureKey => "the signature key of the own leaf is not there",
            Self::Unreadable => "something of it is missing or does not decode",
        })
    }
}

impl fmt::Debug for StoredState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredState")
            .field("encoding", &self.encoding)
            .field("groups", &self.groups.len())
            .field("key_packages", &self.key_packages.len())
            .field("psks", &self.psks.len())
            .field("signature_keys", &self.signature_keys.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for StoredGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredGroup").field("values", &self.values.len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for ImportedGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImportedGroup")
            .field("epoch", &self.epoch)
            .field("members", &self.members)
            .field("has_staged", &self.has_staged)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for LeftGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeftGroup").field("why", &self.why).finish_non_exhaustive()
    }
}
