//! What is durable and has not left yet.

use std::collections::BTreeSet;

use mls_keep_core::{Error, ErrorKind, Result, SecretBytes, Value};
use openmls::framing::MlsMessageOut;
use openmls::group::GroupId;
use openmls::prelude::OpenMlsProvider;
use serde::{Deserialize, Serialize};

use super::history::{GroupRecord, after};
use super::records::Keys;
use super::{BoxError, Client, CryptoProvider};
use crate::provider::TransactionStorage;
use crate::records::{self, Kind, codec};
use crate::scope::Scope;

/// What one operation on a group made for others, from the group's outbox.
#[derive(Clone, Eq, PartialEq)]
#[non_exhaustive]
pub struct Outgoing {
    /// The group.
    pub group: GroupId,
    /// Its place in the outbox. Counts up from 0, and no number comes twice.
    pub number: u64,
    /// For the members: the TLS encoding of an `MLSMessage`. `None` if it is a commit that was [confirmed](Client::confirm), so
    /// that only its Welcome is left.
    pub message: Option<Vec<u8>>,
    /// For new members: the TLS encoding of an `MLSMessage` that is a Welcome.
    pub welcome: Option<Vec<u8>>,
    /// The GroupInfo of the epoch that a commit begins, if it was wanted.
    pub group_info: Option<Vec<u8>>,
    /// Whether it is the staged commit, which leaves the outbox when it is [confirmed](Client::confirm) or
    /// [rejected](Client::reject).
    pub is_staged: bool,
}

/// A message of the outbox: record `32` of its group's scope.
#[derive(Deserialize, Serialize)]
pub(super) struct OutgoingRecord {
    #[serde(with = "serde_bytes")]
    pub(super) message: Option<Vec<u8>>,
    #[serde(with = "serde_bytes")]
    pub(super) welcome: Option<Vec<u8>>,
    #[serde(with = "serde_bytes")]
    pub(super) group_info: Option<Vec<u8>>,
}

impl<C: CryptoProvider> Client<C> {
    /// Whether what an operation on a group makes for others (a message, a commit, a Welcome, a proposal) is put into
    /// the group's outbox, in the same commit, until [`delivered`](Self::delivered). Off at first, and not saved.
    ///
    /// Without it, a crash after an operation and before its result has left the device loses the result. A lost message
    /// is a gap for its receivers; a lost commit that was [merged at once](Self::commit_at_once) cuts this client off, as it
    /// is in an epoch that the others never hear of. A [staged](Self::stage) commit is in the outbox in any case.
    pub fn set_outbox(&mut self, on: bool) {
        self.outbox = on;
    }

    /// What has not been reported as delivered, of all groups: in the order of their ids, and of each the oldest first. For
    /// after a restart.
    ///
    /// # Errors
    /// `Corrupt`; and the errors of the backend.
    pub async fn outbox_of_all_groups(&mut self) -> Result<Vec<Outgoing>> {
        self.freshen().await?;
        let mut groups: BTreeSet<Vec<u8>> = self.groups.keys().map(|id| id.to_vec()).collect();
        if let Some(store) = &self.store {
            groups.extend(store.scopes().await?.iter().filter_map(|scope| Some(scope.group_id()?.to_vec())));
        }
        let mut outgoing = Vec::new();
        for group in groups {
            outgoing.extend(self.outbox(&GroupId::from_slice(&group)).await?);
        }
        Ok(outgoing)
    }

    /// What has not been reported as delivered, the oldest first.
    ///
    /// # Errors
    /// `Corrupt`; and the errors of the backend.
    pub async fn outbox(&mut self, group: &GroupId) -> Result<Vec<Outgoing>> {
        self.freshen().await?;
        let scope = Scope::group(group);
        let found = self.read_records(&scope, Keys::Prefix(&Kind::Outgoing.only()), usize::MAX, false).await?;
        let staged = self.staged(group).await?.map(|staged| staged.outgoing);
        let decode = |(key, value): (SecretBytes, Value)| {
            let OutgoingRecord { message, welcome, group_info } = codec::decode(Kind::Outgoing, &value)?;
            let number = records::number(&key).unwrap_or_default();
            Ok(Outgoing {
                group: group.clone(),
                number,
                message,
                welcome,
                group_info,
                is_staged: staged == Some(number),
            })
        };
        found.into_iter().map(decode).collect()
    }

    /// Takes something out of the outbox. What is not there was taken out before.
    ///
    /// # Errors
    /// `NotFound` if the client has no such group, `CommitPending` if it is the staged commit, `Conflict`; and the errors of the backend.
    pub async fn delivered(&mut self, group: &GroupId, number: u64) -> Result<()> {
        let key = Kind::Outgoing.numbered(number);
        let scope = Scope::group(group);
        self.freshen().await?;
        if self.read_record(&scope, &key).await?.is_none() {
            self.loaded_group(group).await?;
            return Ok(());
        }
        if self.staged(group).await?.is_some_and(|staged| staged.outgoing == number) {
            return Err(Error::new(ErrorKind::CommitPending, "this is the staged commit: confirm or reject it"));
        }
        self.repeat(std::slice::from_ref(group), |tx| {
            tx.provider.storage().put(&Scope::group(group), key.clone(), None);
            tx.provider.storage().let_wait(0);
            Ok(())
        })
        .await
    }
}

/// Puts a message into the outbox.
pub(super) fn put_message(
    storage: &TransactionStorage,
    group: &GroupId,
    message: &MlsMessageOut,
) -> Result<(), BoxError> {
    put(storage, group, &OutgoingRecord { message: Some(message.to_bytes()?), welcome: None, group_info: None })?;
    Ok(())
}

/// Puts what an operation made into the outbox. Returns its number.
pub(super) fn put(storage: &TransactionStorage, group: &GroupId, outgoing: &OutgoingRecord) -> Result<u64> {
    let mut known = GroupRecord::read(storage, group)?;
    let number = known.next_outgoing;
    known.next_outgoing = after(number)?;
    known.write(storage, group)?;
    let outgoing = codec::encode(Kind::Outgoing, outgoing, 0)?;
    storage.put(&Scope::group(group), Kind::Outgoing.numbered(number), Some(outgoing));
    Ok(number)
}

#[cfg(test)]
mod tests {
    use futures_executor::block_on;

    use super::*;
    use crate::Change;
    use crate::{Encryption, MasterKey, MemoryBackend, Persistence, PersistenceManager};

    #[test]
    fn what_is_made_for_others_waits_until_it_was_delivered() {
        block_on(async {
            let encryption = Encryption::hkdf_sha256(MasterKey::new([7; 32]));
            let manager = PersistenceManager::builder(MemoryBackend::new()).encryption(encryption).open().await?;
            let persistence = Persistence { manager: manager.clone(), save: Default::default() };
            let mut alice = Client::builder("alice").persistence(persistence).create().await?;
            let mut bob = Client::builder("bob").create().await?;
            let group = alice.create_group("tea").await?;
            alice.commit_at_once(&group, Change::new().update()).await?;
            assert_eq!(alice.outbox(&group).await?, [], "nothing waits before it is switched on");

            alice.set_outbox(true);
            let key_package = bob.key_package().await?.to_bytes().unwrap();
            let invitation = alice.commit_at_once(&group, Change::new().invite([key_package])).await?;
            let message = alice.send(&group, "hello").await?;
            let commit = alice.commit_at_once(&group, Change::new().update()).await?;
            drop(alice);

            let mut alice = manager.load_client_state("alice").await?;
            let waiting = alice.outbox(&group).await?;
            let bytes = |message: &MlsMessageOut| message.to_bytes().unwrap();
            let made = [invitation.commit.clone(), bytes(&message), commit.commit].map(Some);
            assert_eq!(waiting.iter().map(|outgoing| outgoing.number).collect::<Vec<_>>(), [0, 1, 2]);
            assert_eq!(
                waiting.iter().map(|outgoing| &outgoing.message).collect::<Vec<_>>(),
                made.iter().collect::<Vec<_>>()
            );
            assert_eq!(waiting[0].welcome, invitation.welcome);
            assert_eq!(waiting[1].welcome, None);

            alice.delivered(&group, 1).await?;
            alice.delivered(&group, 1).await?;
            let numbers = |waiting: Vec<Outgoing>| waiting.iter().map(|outgoing| outgoing.number).collect::<Vec<_>>();
            assert_eq!(numbers(alice.outbox(&group).await?), [0, 2]);
            alice.delivered(&group, 0).await?;
            alice.delivered(&group, 2).await?;
            alice.set_outbox(true);
            alice.send(&group, "no number comes twice").await?;
            assert_eq!(numbers(alice.outbox(&group).await?), [3]);
            alice.forget_group(&group).await?;
            assert_eq!(alice.outbox(&group).await?, []);
            Ok::<_, Error>(())
        })
        .unwrap();
    }
}
