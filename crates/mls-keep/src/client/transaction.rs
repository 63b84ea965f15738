//! What a transaction works with: the group, what OpenMLS calls take, and the application's records.

use std::error::Error as StdError;

use mls_keep_core::{Error, ErrorKind, Result, SecretBytes, Value};
use openmls::credentials::CredentialWithKey;
use openmls::group::MlsGroup;
use openmls_traits::OpenMlsProvider;

use super::blocks::Habits;
use super::{ClientSigner, CryptoProvider};
use crate::provider::{Provider, TransactionStorage};
use crate::records::Kind;
use crate::scope::Scope;

/// What a transaction's closure may fail with. `?` turns any error into one.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// What a transaction over one group works with.
#[non_exhaustive]
pub struct Transaction<'t, C> {
    /// The group, as loaded. It stays with the client.
    pub group: &'t mut MlsGroup,
    /// What OpenMLS calls take.
    pub provider: &'t Provider<C>,
    /// The signature key of the client's leaf in the group.
    pub signer: &'t ClientSigner,
    /// The application's records in the group's scope: committed with what OpenMLS does.
    pub records: RecordWriter<'t>,
    pub(super) habits: Habits<'t>,
}

/// What a transaction over any number of groups works with.
#[non_exhaustive]
pub struct GroupsTransaction<'t, C> {
    /// The groups in the order in which they were named.
    pub groups: &'t mut [MlsGroup],
    /// What OpenMLS calls take.
    pub provider: &'t Provider<C>,
    /// The signature key of the client's leaf in the first group; of its new key packages and groups if none is named.
    pub signer: &'t ClientSigner,
    /// The credential and signature public key of the client's new key packages and groups.
    pub credential: &'t CredentialWithKey,
    /// That key's.
    pub(super) own_signer: &'t ClientSigner,
}

/// Writes the application's records of one scope. Reading is [`Client::record`](crate::Client::record).
pub struct RecordWriter<'t> {
    storage: &'t TransactionStorage,
    scope: Scope,
}

impl<C: CryptoProvider> GroupsTransaction<'_, C> {
    /// Writes the application's records of a scope.
    #[must_use]
    pub fn records(&self, scope: Scope) -> RecordWriter<'_> {
        RecordWriter::new(self.provider.storage(), scope)
    }
}

impl<'t> RecordWriter<'t> {
    pub(super) fn new(storage: &'t TransactionStorage, scope: Scope) -> Self {
        Self { storage, scope }
    }

    /// Makes `value` the value of `key`, 1 to 511 bytes, in this transaction.
    ///
    /// # Errors
    /// `Invalid` if the key or the value is over its limit.
    pub fn put(&mut self, key: impl AsRef<[u8]>, value: impl Into<Vec<u8>>) -> Result<()> {
        let value = Value::from(value.into());
        let key = application_key(key.as_ref())?;
        if value.as_slice().len() > mls_keep_core::limits::MAX_VALUE_LEN {
            return Err(Error::new(ErrorKind::Invalid, "the value of a record is over its limit"));
        }
        self.storage.put(&self.scope, key, Some(value));
        Ok(())
    }

    /// Removes `key` and its value in this transaction. Removing what is absent changes nothing.
    ///
    /// # Errors
    /// `Invalid` if the key is over its limit.
    pub fn delete(&mut self, key: impl AsRef<[u8]>) -> Result<()> {
        self.storage.put(&self.scope, application_key(key.as_ref())?, None);
        Ok(())
    }
}

pub(super) fn application_key(key: &[u8]) -> Result<SecretBytes> {
    let max = mls_keep_core::limits::MAX_RECORD_KEY_LEN - 1;
    if key.is_empty() || key.len() > max {
        return Err(Error::new(ErrorKind::Invalid, format!("the key of a record has 1 to {max} bytes")));
    }
    Ok(Kind::Application.with(key))
}
