//! OpenMLS's view of a transaction: an `OpenMlsProvider` whose storage is an overlay over the loaded records.
//!
//! A transaction loads the records of the scopes that it names, hands OpenMLS a [`Provider`], and commits the
//! difference that is left in the overlay. Nothing is written before that, so an operation that fails leaves no trace.
//!
//! - `overlay`: the records of the scopes, and what is collected at the end.
//! - `storage`: OpenMLS's `StorageProvider` over them.

mod overlay;
mod storage;
#[cfg(feature = "virtual-clients-draft")]
mod storage_draft;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mls_keep_core::{SecretBytes, Value};
use openmls_traits::OpenMlsProvider;
use openmls_traits::crypto::OpenMlsCrypto;
use openmls_traits::random::OpenMlsRand;

pub use storage::TransactionStorage;

use crate::records::Kind;

/// What a message that comes or goes changes, with what the application wrote for it.
const MESSAGE_KINDS: [u8; 7] = [
    Kind::Group as u8,
    Kind::Arrivals as u8,
    Kind::MessageSecrets as u8,
    Kind::Message as u8,
    Kind::Outgoing as u8,
    Kind::Held as u8,
    Kind::Application as u8,
];

/// The records of one scope as loaded: record key to value.
pub(crate) type Records = BTreeMap<SecretBytes, Value>;

/// What a transaction changed in the records of one scope: `None` removes the record.
pub(crate) type RecordChanges = BTreeMap<SecretBytes, Option<Value>>;

/// What a transaction changed.
#[derive(Debug, Default)]
pub(crate) struct TransactionChanges {
    /// In the client's own scope.
    pub(crate) client: RecordChanges,
    /// In groups, by group id; groups without a change are not among them.
    pub(crate) groups: BTreeMap<SecretBytes, GroupChanges>,
    /// Groups that the transaction read or wrote without having been given their records. It took them to be absent,
    /// and is worth nothing if one of them is not.
    pub(crate) taken_as_absent: BTreeSet<SecretBytes>,
    /// Whether it may wait for a save.
    pub(crate) urgency: Urgency,
}

/// When a transaction's changes are to be stored.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Urgency {
    /// With every policy that saves operations.
    #[default]
    Operation,
    /// They are a message that came or went, and wait where the policy lets these wait.
    MayWait {
        /// Messages that were encrypted.
        sent: u32,
    },
    /// Now, whatever the policy is.
    AtOnce,
}

impl Urgency {
    /// How many messages were encrypted of those that may wait.
    pub(crate) fn sent(self) -> u32 {
        match self {
            Self::MayWait { sent } => sent,
            Self::Operation | Self::AtOnce => 0,
        }
    }
}

impl TransactionChanges {
    /// Whether these are nothing but a message that came or went, and what is remembered of it.
    pub(crate) fn may_wait(&self) -> bool {
        let waits = |key: &SecretBytes| key.first().is_some_and(|kind| MESSAGE_KINDS.contains(kind));
        let of_message = |group: &GroupChanges| {
            let GroupChanges { cleared, created, deleted, unmarked, .. } = group;
            !(*cleared || *created || *deleted || *unmarked) && group.records.keys().all(waits)
        };
        matches!(self.urgency, Urgency::MayWait { .. })
            && self.client.is_empty()
            && self.taken_as_absent.is_empty()
            && self.groups.values().all(of_message)
    }
}

/// What a transaction changed in the scope of one group.
#[derive(Debug, Default)]
pub(crate) struct GroupChanges {
    /// Everything that was in the scope goes, before `records` are applied.
    pub(crate) cleared: bool,
    pub(crate) records: RecordChanges,
    /// There is a group of OpenMLS in the scope since this transaction.
    pub(crate) created: bool,
    /// OpenMLS deleted the group. Its MLS records are removed by `records`; others may be left in the scope.
    pub(crate) deleted: bool,
    /// The group was entered anew: it need not be any more.
    pub(crate) unmarked: bool,
}

/// The provider that OpenMLS works with during a transaction: the client's cryptography and randomness, and the
/// transaction's storage.
pub struct Provider<C> {
    crypto: Arc<C>,
    storage: TransactionStorage,
}

impl<C> Provider<C> {
    pub(crate) fn new(crypto: Arc<C>, storage: TransactionStorage) -> Self {
        Self { crypto, storage }
    }
}

impl<C: OpenMlsCrypto + OpenMlsRand> OpenMlsProvider for Provider<C> {
    type CryptoProvider = C;
    type RandProvider = C;
    type StorageProvider = TransactionStorage;

    fn storage(&self) -> &TransactionStorage {
        &self.storage
    }

    fn crypto(&self) -> &C {
        &self.crypto
    }

    fn rand(&self) -> &C {
        &self.crypto
    }
}
