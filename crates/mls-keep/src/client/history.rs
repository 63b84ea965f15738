//! The messages of a group, kept in the same commits as the ratchets.

use std::time::{Duration, SystemTime};

use mls_keep_core::{Error, ErrorKind, Result, SecretBytes, Value};
use openmls::group::GroupId;
use openmls::prelude::OpenMlsProvider;
use serde::{Deserialize, Serialize};
use tracing::instrument;

use super::records::Keys;
use super::transaction::Transaction;
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
    /// Its place in the history, from 0; `None` if it is not kept.
    pub number: Option<u64>,
    /// The identity of who sent it.
    pub sender: Vec<u8>,
    /// The leaf of who sent it, in its epoch.
    pub leaf: u32,
    /// The epoch in which it was sent.
    pub epoch: u64,
    /// Whether this client sent it.
    pub own: bool,
    /// When this client sent or received it, by its own clock, in whole milliseconds. What the sender's clock said is for
    /// the content to say.
    pub time: SystemTime,
    /// The additional data that was authenticated with it and is not encrypted (RFC 9420 section 6.3.2).
    pub aad: Vec<u8>,
    /// What was sent.
    pub content: Vec<u8>,
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Plaintext does not belong into a log.
        f.debug_struct("Message")
            .field("number", &self.number)
            .field("epoch", &self.epoch)
            .field("own", &self.own)
            .field("content", &self.content.len())
            .finish_non_exhaustive()
    }
}

/// Which messages of a group are kept in its history.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use = "it has an effect once it is set"]
pub struct Retention {
    keep: bool,
    messages: Option<u64>,
    age: Option<Duration>,
}

impl std::fmt::Display for Retention {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if !self.keep {
            return f.write_str("no messages");
        }
        match self.messages {
            Some(messages) => write!(f, "the newest {messages} messages")?,
            None => f.write_str("all messages")?,
        }
        match self.age {
            Some(age) => write!(f, " of the last {:.1} days", age.as_secs_f64() / 86_400.0),
            None => Ok(()),
        }
    }
}

impl Retention {
    /// All of them.
    pub fn all() -> Self {
        Self { keep: true, messages: None, age: None }
    }

    /// None of them.
    pub fn nothing() -> Self {
        Self { keep: false, ..Self::all() }
    }

    /// At most so many, the newest ones.
    pub fn messages(mut self, messages: u64) -> Self {
        self.messages = Some(messages);
        self
    }

    /// None that is older. Older ones are not shown from then on, and go with the next
    /// [`prune_history`](Client::prune_history).
    pub fn age(mut self, age: Duration) -> Self {
        self.age = Some(age);
        self
    }

    /// Whether a message of this number and time is kept, if `next` is the number of the next one.
    fn keeps(&self, number: u64, time: SystemTime, next: u64, now: SystemTime) -> bool {
        let is_new = self.messages.is_none_or(|messages| number.saturating_add(messages) >= next);
        let is_young = self.age.is_none_or(|age| now.duration_since(time).is_ok_and(|since| since <= age));
        // A time to come is that of a clock that was set back.
        self.keep && is_new && (is_young || time > now)
    }
}

/// A message: record `30` of its group's scope.
#[derive(Deserialize, Serialize)]
pub(super) struct HistoryRecord {
    pub(super) sender: Wiped<Vec<u8>>,
    #[serde(default)]
    pub(super) leaf: u32,
    pub(super) epoch: u64,
    pub(super) own: bool,
    /// Milliseconds since 1970.
    #[serde(default)]
    pub(super) time: u64,
    #[serde(default, skip_serializing_if = "is_empty")]
    pub(super) aad: Wiped<Vec<u8>>,
    pub(super) content: Wiped<Vec<u8>>,
}

fn is_empty(bytes: &Wiped<Vec<u8>>) -> bool {
    bytes.is_empty()
}

/// Record `02` of a group's scope.
#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct GroupRecord {
    pub(super) next_message: u64,
    pub(super) next_outgoing: u64,
    pub(super) next_arrival: u64,
    pub(super) next_held: u64,
    pub(super) held: u64,
    pub(super) held_len: u64,
    /// No message of the history has a lower number.
    oldest_message: u64,
    /// Instead of the client's settings.
    #[serde(skip_serializing_if = "Option::is_none")]
    retention: Option<StoredRetention>,
}

#[derive(Clone, Copy, Deserialize, Serialize)]
struct StoredRetention {
    keep: bool,
    messages: Option<u64>,
    /// Milliseconds.
    age: Option<u64>,
}

impl From<Retention> for StoredRetention {
    fn from(Retention { keep, messages, age }: Retention) -> Self {
        Self { keep, messages, age: age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)) }
    }
}

impl From<StoredRetention> for Retention {
    fn from(StoredRetention { keep, messages, age }: StoredRetention) -> Self {
        Self { keep, messages, age: age.map(Duration::from_millis) }
    }
}

impl GroupRecord {
    pub(super) fn read(storage: &TransactionStorage, group: &GroupId) -> Result<Self> {
        Self::decode(storage.get(&Scope::group(group), &Kind::Group.only()).as_ref())
    }

    fn decode(stored: Option<&Value>) -> Result<Self> {
        Ok(stored.map(|value| codec::decode(Kind::Group, value)).transpose()?.unwrap_or_default())
    }

    /// Which messages are kept, if the client keeps these by default, and the number of the next one.
    pub(super) fn retention_and_next(stored: Option<&Value>, default: Retention) -> Result<(Retention, u64)> {
        let known = Self::decode(stored)?;
        Ok((known.retention.map_or(default, Retention::from), known.next_message))
    }

    pub(super) fn write(&self, storage: &TransactionStorage, group: &GroupId) -> Result<()> {
        storage.put(&Scope::group(group), Kind::Group.only(), Some(codec::encode(Kind::Group, self, 0)?));
        Ok(())
    }
}

impl HistoryRecord {
    pub(super) fn into_message(self, group: GroupId, number: Option<u64>) -> Message {
        let time = self.time();
        let Self { sender, leaf, epoch, own, aad, content, .. } = self;
        let (sender, aad, content) = (sender.release(), aad.release(), content.release());
        Message { group, number, sender, leaf, epoch, own, time, aad, content }
    }

    fn time(&self) -> SystemTime {
        let since = Duration::from_millis(self.time);
        SystemTime::UNIX_EPOCH.checked_add(since).unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

/// Messages that are read in pages, until there are as many as are wanted of those that are not past their time.
pub(super) struct Pages {
    /// The keys that have not been read.
    pub(super) between: (SecretBytes, SecretBytes),
    /// How many records the next page has.
    pub(super) page: usize,
    limit: usize,
    backwards: bool,
    now: SystemTime,
    pub(super) shown: Vec<Message>,
}

impl Pages {
    pub(super) fn new(between: (SecretBytes, SecretBytes), limit: usize, backwards: bool, now: SystemTime) -> Self {
        Self { between, page: limit, limit, backwards, now, shown: Vec::new() }
    }

    /// Takes the next page of a group that keeps what `retention` says, and whose next message is number `next`. Whether it was
    /// the last one.
    pub(super) fn take(
        &mut self,
        group: &GroupId,
        (retention, next): (Retention, u64),
        found: impl IntoIterator<Item = (SecretBytes, Value)>,
    ) -> Result<bool> {
        /// What is past its time stands together.
        const MORE: usize = 256;
        let (mut read, mut last) = (0, None);
        for (key, value) in found {
            let number = records::number(&key).unwrap_or_default();
            let record: HistoryRecord = codec::decode(Kind::Message, &value)?;
            let is_shown = retention.age.is_none() || retention.keeps(number, record.time(), next, self.now);
            if is_shown && self.shown.len() < self.limit {
                self.shown.push(record.into_message(group.clone(), Some(number)));
            }
            (read, last) = (read + 1, Some((key, number)));
        }
        let Some((key, number)) = last.filter(|_| read >= self.page && self.shown.len() < self.limit) else {
            return Ok(true);
        };
        self.page = self.limit.max(MORE);
        match self.backwards {
            true => self.between.1 = key,
            false => self.between.0 = Kind::Message.numbered(number.saturating_add(1)),
        }
        Ok(false)
    }
}

/// In milliseconds since 1970.
pub(super) fn in_millis(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl<C: CryptoProvider> Client<C> {
    /// The last messages of a group, at most `limit` of them, the oldest first.
    ///
    /// # Errors
    /// `Corrupt`; and the errors of the backend.
    pub async fn history(&mut self, group: &GroupId, limit: usize) -> Result<Vec<Message>> {
        self.history_before(group, u64::MAX, limit).await
    }

    /// The messages before `number`, at most `limit` of them, those nearest to it, the oldest first: for paging backwards.
    ///
    /// # Errors
    /// As [`history`](Self::history).
    pub async fn history_before(&mut self, group: &GroupId, number: u64, limit: usize) -> Result<Vec<Message>> {
        let between = (Kind::Message.only(), Kind::Message.numbered(number));
        let mut found = self.messages_between(group, between, limit, true).await?;
        found.reverse();
        Ok(found)
    }

    /// The messages after `number`, at most `limit` of them, the oldest first: for paging forwards, and for what is new.
    ///
    /// # Errors
    /// As [`history`](Self::history).
    pub async fn history_after(&mut self, group: &GroupId, number: u64, limit: usize) -> Result<Vec<Message>> {
        let between = (Kind::Message.numbered(number.saturating_add(1)), Kind::Message.numbered(u64::MAX));
        self.messages_between(group, between, limit, false).await
    }

    async fn messages_between(
        &mut self,
        group: &GroupId,
        between: (SecretBytes, SecretBytes),
        limit: usize,
        backwards: bool,
    ) -> Result<Vec<Message>> {
        self.freshen().await?;
        let scope = Scope::group(group);
        let kept = self.retention_and_next(group).await?;
        let mut pages = Pages::new(between, limit, backwards, (self.wall_clock)());
        loop {
            let (start, end) = &pages.between;
            let found = self.read_records(&scope, Keys::Between(start, end), pages.page, backwards).await?;
            if pages.take(group, kept, found)? {
                return Ok(pages.shown);
            }
        }
    }

    pub(super) async fn message(&mut self, group: &GroupId, number: u64) -> Result<Option<Message>> {
        let scope = Scope::group(group);
        let value = self.read_record(&scope, &Kind::Message.numbered(number)).await?;
        let decode = |value| {
            Ok(codec::decode::<HistoryRecord>(Kind::Message, &value)?.into_message(group.clone(), Some(number)))
        };
        value.map(decode).transpose()
    }

    /// Deletes one message of the history. The bytes are gone from the backend as soon as it deletes for good: see
    /// [`Capabilities`](mls_keep_core::Capabilities).
    ///
    /// # Errors
    /// `NotFound` if the client has no such group, or the group no such message, `Conflict`; and the errors of the backend.
    #[instrument(level = "debug", skip_all, fields(scope = self.label(group)), err(level = "debug"))]
    pub async fn delete_message(&mut self, group: &GroupId, number: u64) -> Result<()> {
        let (scope, key) = (Scope::group(group), Kind::Message.numbered(number));
        self.freshen().await?;
        if self.read_record(&scope, &key).await?.is_none() {
            return Err(Error::new(ErrorKind::NotFound, "the group's history has no message of this number"));
        }
        self.repeat(std::slice::from_ref(group), |tx| {
            tx.provider.storage().put(&scope, key.clone(), None);
            Ok(())
        })
        .await
    }

    /// Which messages of a group are kept, from here on and of those that are there.
    ///
    /// # Errors
    /// `NotFound` if the client has no such group, `Conflict`, `Corrupt`; and the errors of the backend.
    #[instrument(level = "debug", skip_all, fields(scope = self.label(group)), err(level = "debug"))]
    pub async fn set_retention(&mut self, group: &GroupId, retention: Retention) -> Result<()> {
        let set = |tx: &mut Transaction<'_, C>| Ok(set_retention(tx.provider.storage(), group, retention)?);
        self.repeat_on(group, set).await?;
        self.prune_history(group).await?;
        Ok(())
    }

    /// Which messages of a group are kept.
    ///
    /// # Errors
    /// `Corrupt`; and the errors of the backend.
    pub async fn retention(&mut self, group: &GroupId) -> Result<Retention> {
        self.freshen().await?;
        Ok(self.retention_and_next(group).await?.0)
    }

    async fn retention_and_next(&mut self, group: &GroupId) -> Result<(Retention, u64)> {
        let stored = self.read_record(&Scope::group(group), &Kind::Group.only()).await?;
        GroupRecord::retention_and_next(stored.as_ref(), self.profile.settings.retention())
    }

    /// Deletes the messages of a group that are older than its [`Retention`] says. What is too many goes with each new
    /// message; what is too old goes here, so call this now and then, such as at a start. Returns how many there were.
    ///
    /// # Errors
    /// `NotFound` if the client has no such group, `Conflict`, `Corrupt`; and the errors of the backend.
    #[instrument(level = "debug", skip_all, fields(scope = self.label(group)), err(level = "debug"))]
    pub async fn prune_history(&mut self, group: &GroupId) -> Result<usize> {
        /// At most so many go with one commit.
        const BATCH: usize = 256;
        let scope = Scope::group(group);
        let mut gone = 0;
        loop {
            self.freshen().await?;
            let (retention, next) = self.retention_and_next(group).await?;
            let now = (self.wall_clock)();
            let found = self.read_records(&scope, Keys::Prefix(&Kind::Message.only()), BATCH, false).await?;
            let mut goes = Vec::new();
            for (key, value) in found {
                let number = records::number(&key).unwrap_or_default();
                let record: HistoryRecord = codec::decode(Kind::Message, &value)?;
                if retention.keeps(number, record.time(), next, now) {
                    break;
                }
                goes.push(key);
            }
            if goes.is_empty() {
                return Ok(gone);
            }
            self.repeat(std::slice::from_ref(group), |tx| {
                for key in &goes {
                    tx.provider.storage().put(&scope, key.clone(), None);
                }
                Ok(())
            })
            .await?;
            gone += goes.len();
        }
    }
}

/// The number after `number`. No group gets that far, so a record that says so is not one that was written in order.
pub(super) fn after(number: u64) -> Result<u64> {
    number.checked_add(1).ok_or_else(|| Error::new(ErrorKind::Corrupt, "the numbers of a group are used up"))
}

pub(super) fn set_retention(storage: &TransactionStorage, group: &GroupId, retention: Retention) -> Result<()> {
    let known = GroupRecord::read(storage, group)?;
    GroupRecord { retention: Some(retention.into()), ..known }.write(storage, group)
}

/// Appends to the history, if the group keeps one. Returns the message's number.
pub(super) fn remember(
    storage: &TransactionStorage,
    group: &GroupId,
    message: &HistoryRecord,
    default: Retention,
) -> Result<Option<u64>> {
    /// Ones that are too many go with a new one, at most so many at a time.
    const AT_ONCE: usize = 8;
    let mut known = GroupRecord::read(storage, group)?;
    let retention = known.retention.map_or(default, Retention::from);
    if !retention.keep || retention.messages == Some(0) {
        return Ok(None);
    }
    let scope = Scope::group(group);
    let number = known.next_message;
    known.next_message = after(number)?;
    for _ in 0..AT_ONCE {
        if retention.messages.is_some_and(|messages| known.next_message - known.oldest_message.min(number) > messages) {
            storage.put(&scope, Kind::Message.numbered(known.oldest_message), None);
            known.oldest_message += 1;
        }
    }
    known.write(storage, group)?;
    storage.put(&scope, Kind::Message.numbered(number), Some(codec::encode(Kind::Message, message, 0)?));
    Ok(Some(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_what_the_retention_says() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let kept = |retention: Retention| {
            let kept = |number: &u64| retention.keeps(*number, at(number * 10), 10, at(100));
            (0..10).filter(kept).collect::<Vec<_>>()
        };
        assert_eq!(kept(Retention::all()).len(), 10);
        assert!(kept(Retention::nothing()).is_empty());
        assert_eq!(kept(Retention::all().messages(3)), [7, 8, 9]);
        assert_eq!(kept(Retention::all().age(Duration::from_secs(40))), [6, 7, 8, 9]);
        assert_eq!(kept(Retention::all().age(Duration::from_secs(40)).messages(2)), [8, 9]);
        // The clock was set back: what seems to come from the future is kept until its age can be told.
        assert!(Retention::all().age(Duration::from_secs(1)).keeps(0, at(500), 10, at(100)));
    }
}
