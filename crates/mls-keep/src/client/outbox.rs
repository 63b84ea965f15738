//! What is durable and has not left yet.

use mls_keep_core::{Error, ErrorKind, Result, ScopeId, Value};
use openmls::framing::MlsMessageOut;
use openmls::group::GroupId;
use openmls::prelude::OpenMlsProvider;
use serde::{Deserialize, Serialize};

use super::history::GroupRecord;
use super::{BoxError, Client, CryptoProvider};
use crate::provider::{Scope, TransactionStorage};
use crate::{record, record_key};

/// What one operation on a group made for others, from the group's outbox.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Outgoing {
    /// The group.
    pub group: GroupId,
    /// Its place in the outbox. Counts up from 0, and no number comes twice.
    pub number: u64,
    /// For the members: the TLS encoding of an `MLSMessage`.
    pub message: Vec<u8>,
    /// For new members: the TLS encoding of an `MLSMessage` that is a Welcome.
    pub welcome: Option<Vec<u8>>,
}

/// A message of the outbox: record `32` of its group's scope.
#[derive(Deserialize, Serialize)]
struct OutgoingRecord {
    message: Vec<u8>,
    welcome: Option<Vec<u8>>,
}

impl<C: CryptoProvider> Client<C> {
    /// Whether what an operation on a group makes for others (a message, a commit, a Welcome, a proposal) is put into
    /// the group's outbox, in the same commit, until [`delivered`](Self::delivered). Off at first, and not saved.
    ///
    /// Without it, a crash after an operation and before its result has left the device loses the result. A lost message
    /// is a gap for its receivers; a lost commit cuts this client off, as it is in an epoch that the others never hear of.
    pub fn set_outbox(&mut self, on: bool) {
        self.outbox = on;
    }

    /// What has not been reported as delivered, the oldest first.
    ///
    /// # Errors
    /// `Corrupt`; and the errors of the backend.
    pub async fn outbox(&mut self, group: &GroupId) -> Result<Vec<Outgoing>> {
        self.freshen().await?;
        let scope = ScopeId::group(group.as_slice())?;
        let found = self.read_records(&scope, &[record_key::OUTGOING], usize::MAX, false).await?;
        let decode = |(key, value): (Vec<u8>, Value)| {
            let OutgoingRecord { message, welcome } = record::decode(&value)?;
            let number = record_key::number(&key).unwrap_or_default();
            Ok(Outgoing { group: group.clone(), number, message, welcome })
        };
        found.into_iter().map(decode).collect()
    }

    /// Takes something out of the outbox.
    ///
    /// # Errors
    /// `NotFound` if it is not there, `Conflict`; and the errors of the backend.
    pub async fn delivered(&mut self, group: &GroupId, number: u64) -> Result<()> {
        let key = record_key::outgoing(number);
        let scope = ScopeId::group(group.as_slice())?;
        self.freshen().await?;
        if self.read_record(&scope, &key).await?.is_none() {
            return Err(Error::new(ErrorKind::NotFound, "this is not in the outbox of the group"));
        }
        self.repeat(std::slice::from_ref(group), |tx| {
            tx.provider.storage().put(&Scope::Group(group.as_slice().to_vec()), key.clone(), None);
            Ok(())
        })
        .await
    }
}

/// Puts what an operation made into the outbox.
pub(super) fn put(
    storage: &TransactionStorage,
    group: &GroupId,
    message: &MlsMessageOut,
    welcome: Option<&MlsMessageOut>,
) -> Result<(), BoxError> {
    let scope = Scope::Group(group.as_slice().to_vec());
    let known = storage.get(&scope, record_key::GROUP).map(|value| record::decode::<GroupRecord>(&value));
    let mut known = known.transpose()?.unwrap_or_default();
    let number = known.next_outgoing;
    known.next_outgoing += 1;
    let outgoing =
        OutgoingRecord { message: message.to_bytes()?, welcome: welcome.map(MlsMessageOut::to_bytes).transpose()? };
    storage.put(&scope, record_key::GROUP.to_vec(), Some(record::encode(&known)?));
    storage.put(&scope, record_key::outgoing(number), Some(record::encode(&outgoing)?));
    Ok(())
}
