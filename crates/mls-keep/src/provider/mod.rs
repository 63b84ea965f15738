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
