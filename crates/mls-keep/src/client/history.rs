//! The messages of a group, kept in the same commits as the ratchets.

use mls_keep_core::{Error, ErrorKind, Result, SecretBytes, Value};
use openmls::group::GroupId;
use serde::{Deserialize, Serialize};

use super::{Client, CryptoProvider};
use crate::provider::TransactionStorage;
use crate::records::{self, Kind, Wiped, codec};
use crate::scope::Scope;

/// An application message of a group's history.
#[derive(Clone, Eq, PartialEq)]
#[non_exhaustive]
pub struct Message {
    /// The group.
    pub group: GroupId,
    /// Its place in the history, from 0. 0 as well if no history is kept.
    pub number: u64,
    /// The identity of who sent it.
    pub sender: Vec<u8>,
    /// The epoch in which it was sent.
    pub epoch: u64,
    /// Whether this client sent it.
    pub own: bool,
    /// What was sent.
    pub content: Vec<u8>,
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Plaintext does not belong into a log.
        write!(f, "Message(number {}, epoch {}, {} bytes)", self.number, self.epoch, self.content.len())
    }
}

/// A message: record `30` of its group's scope.
#[derive(Deserialize, Serialize)]
pub(super) struct HistoryRecord {
    pub(super) sender: Wiped<Vec<u8>>,
    pub(super) epoch: u64,
    pub(super) own: bool,
    pub(super) content: Wiped<Vec<u8>>,
}

/// A received message: record `31` of its group's scope.
#[derive(Deserialize, Serialize)]
pub(super) struct Arrival {
    /// Its number in the history, if it is there.
    pub(super) number: Option<u64>,
}

/// Record `02` of a group's scope.
#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct GroupRecord {
    pub(super) next_message: u64,
    pub(super) next_outgoing: u64,
    pub(super) next_held: u64,
    pub(super) held: u64,
    pub(super) held_len: u64,
}

impl GroupRecord {
    pub(super) fn read(storage: &TransactionStorage, group: &GroupId) -> Result<Self> {
        let known = storage.get(&Scope::group(group), &Kind::Group.only());
        Ok(known.map(|value| codec::decode(Kind::Group, &value)).transpose()?.unwrap_or_default())
    }

    pub(super) fn write(&self, storage: &TransactionStorage, group: &GroupId) -> Result<()> {
        storage.put(&Scope::group(group), Kind::Group.only(), Some(codec::encode(Kind::Group, self, 0)?));
        Ok(())
    }
}

impl HistoryRecord {
    pub(super) fn into_message(self, group: GroupId, number: u64) -> Message {
        let Self { sender, epoch, own, content } = self;
        Message { group, number, sender: sender.release(), epoch, own, content: content.release() }
    }
}

impl<C: CryptoProvider> Client<C> {
    /// The last messages of a group, at most `limit` of them, the oldest first.
    ///
    /// # Errors
    /// `Corrupt`; and the errors of the backend.
    pub async fn history(&mut self, group: &GroupId, limit: usize) -> Result<Vec<Message>> {
        self.freshen().await?;
        let scope = Scope::group(group);
        let found = self.read_records(&scope, &Kind::Message.only(), limit, true).await?;
        let decode = |(key, value): (SecretBytes, Value)| {
            Ok((records::number(&key).unwrap_or_default(), codec::decode::<HistoryRecord>(Kind::Message, &value)?))
        };
        let decoded: Vec<_> = found.into_iter().rev().map(decode).collect::<Result<_>>()?;
        Ok(decoded.into_iter().map(|(number, record)| record.into_message(group.clone(), number)).collect())
    }

    pub(super) async fn message(&mut self, group: &GroupId, number: u64) -> Result<Option<Message>> {
        let scope = Scope::group(group);
        let value = self.read_record(&scope, &Kind::Message.numbered(number)).await?;
        let decode =
            |value| Ok(codec::decode::<HistoryRecord>(Kind::Message, &value)?.into_message(group.clone(), number));
        value.map(decode).transpose()
    }
}

/// The number after `number`. No group gets that far, so a record that says so is not one that was written in order.
pub(super) fn after(number: u64) -> Result<u64> {
    number.checked_add(1).ok_or_else(|| Error::new(ErrorKind::Corrupt, "the numbers of a group are used up"))
}

/// Appends to the history. Returns the message's number.
pub(super) fn remember(storage: &TransactionStorage, group: &GroupId, message: &HistoryRecord) -> Result<u64> {
    let known = GroupRecord::read(storage, group)?;
    let number = known.next_message;
    GroupRecord { next_message: after(number)?, ..known }.write(storage, group)?;
    storage.put(&Scope::group(group), Kind::Message.numbered(number), Some(codec::encode(Kind::Message, message, 0)?));
    Ok(number)
}

/// Remembers that a message arrived.
pub(super) fn arrived(storage: &TransactionStorage, group: &GroupId, message: &[u8], arrival: &Arrival) -> Result<()> {
    arrived_as(storage, group, records::arrival(message), arrival.number)
}

/// Remembers that the message with this key arrived.
pub(super) fn arrived_as(
    storage: &TransactionStorage,
    group: &GroupId,
    key: SecretBytes,
    number: Option<u64>,
) -> Result<()> {
    let arrival = codec::encode(Kind::Arrival, &Arrival { number }, 0)?;
    storage.put(&Scope::group(group), key, Some(arrival));
    Ok(())
}
