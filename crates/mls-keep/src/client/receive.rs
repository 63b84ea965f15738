//! Receiving.

use std::collections::BTreeMap;

use mls_keep_core::{Error, ErrorKind, Result};
use openmls::group::GroupId;
use openmls::prelude::OpenMlsProvider;
use tracing::instrument;

use super::arrivals::{self, Arrival};
use super::held::HeldRecord;
use super::history::Message;
use super::receive_policy::ProposalSummary;
use super::summary::CommitSummary;
use super::take::{Incoming, Processed, Refusal, take};
use super::transaction::RecordWriter;
use super::{BoxError, Client, CryptoProvider};
use crate::records;
use crate::scope::Scope;

/// What a received message was.
#[derive(Clone, Eq, PartialEq)]
#[non_exhaustive]
pub enum Received {
    /// An application message.
    Message(Message),
    /// A message that was received before, or that is held. What it said, if it was one of the last 224 and is in the
    /// history.
    AlreadyReceived(Option<Message>),
    /// A commit, merged: another member's, or the staged one of this client, which is confirmed by that.
    Commit(CommitSummary),
    /// A message that says that this client sent it, as the delivery service gives back what it was given. That is not
    /// authenticated, and changes nothing. If it is a commit that was [rejected](Client::reject), the service has taken it all
    /// the same, and the others have gone on: [enter the group anew](Client::stage_entry).
    Own {
        /// The group.
        group: GroupId,
    },
    /// A proposal, which waits for somebody's commit.
    Proposal(ProposalSummary),
    /// A message of an epoch that this client has not entered yet, a commit of a proposal that has not come yet, or what the
    /// [policy](crate::ReceivePolicy) holds. It is kept, durably: [`receive_held`](Client::receive_held) takes it in.
    Held {
        /// The group.
        group: GroupId,
        /// The epoch that it says it is of.
        epoch: u64,
    },
}

/// At most so many messages are taken in by one commit.
const MAX_BATCH: usize = 64;

/// What an application does in the commit that takes a message in.
pub(super) type Then<'f> =
    &'f mut (dyn FnMut(&Received, &mut RecordWriter<'_>) -> std::result::Result<(), BoxError> + Send);

impl<C: CryptoProvider> Client<C> {
    /// Takes in a message for one of this client's groups, the TLS encoding of an `MLSMessage`: decrypts an application
    /// message, merges a commit, or keeps a proposal, if the [policy](Self::set_receive_policy) accepts it. When this
    /// returns `Ok`, that is durable, so the message may be acknowledged; under
    /// [`SavePolicy::Interval`](crate::SavePolicy::Interval) when the save that [covers](Self::covered_by) it was made. One
    /// that was interrupted can be received again; one that arrives twice is recognised.
    ///
    /// # Errors
    /// These say that the message will not be read, so it may be acknowledged and dropped:
    /// - `Invalid`: the bytes are no message for a group, or OpenMLS refuses them; its reason is the source. Among these are
    ///   messages that arrive out of order by more than
    ///   [`out_of_order_tolerance`](crate::GroupSettings::out_of_order_tolerance).
    /// - `PastEpoch`: it is of an epoch that is over, and cannot be read any more.
    /// - `NotMember`: the client was removed from the group.
    ///
    /// These say that it may be received later: `NotFound` if the client has no such group (so far), `Refused` if the policy
    /// refuses it, `FutureEpoch` if it would be held and too much is held already, or it is of an epoch more than 64 ahead,
    /// `Conflict`; and the errors of the backend.
    pub async fn receive(&mut self, message: impl AsRef<[u8]>) -> Result<Received> {
        self.take_in(&Incoming::parse(message.as_ref())?, None).await
    }

    /// As [`receive`](Self::receive), with records of the application in the same commit: `then` sees what was received, and
    /// writes into the scope of its group. It is not called for what changes nothing: a message that was received before,
    /// one that says that it is this client's own, one that is held. It may be called more than once; what the last call
    /// wrote counts. If it fails, the message was not received, and can be again.
    ///
    /// # Errors
    /// `Aborted` with the error of `then` as source; and as [`receive`](Self::receive).
    pub async fn receive_with(
        &mut self,
        message: impl AsRef<[u8]>,
        mut then: impl FnMut(&Received, &mut RecordWriter<'_>) -> std::result::Result<(), BoxError> + Send,
    ) -> Result<Received> {
        self.take_in(&Incoming::parse(message.as_ref())?, Some(&mut then)).await
    }

    /// Takes in what arrived while the client was away, in few commits: at most 64 messages of a group share one, whatever
    /// arrived between them. Those of one group are taken in in their order. Returns what became of each, in the order of
    /// `messages`, as [`receive`](Self::receive) does. A message of which the outcome is an error of the backend is not durable:
    /// it must not be acknowledged.
    pub async fn receive_many(&mut self, messages: &[impl AsRef<[u8]>]) -> Vec<Result<Received>> {
        let mut outcomes = Vec::with_capacity(messages.len());
        let mut of_groups: Vec<Vec<(usize, Incoming<'_>)>> = Vec::new();
        let mut places = BTreeMap::new();
        for (at, message) in messages.iter().enumerate() {
            match Incoming::parse(message.as_ref()) {
                Ok(incoming) => {
                    let place = *places.entry(incoming.message.group_id().clone()).or_insert(of_groups.len());
                    match of_groups.get_mut(place) {
                        Some(of_group) => of_group.push((at, incoming)),
                        None => of_groups.push(vec![(at, incoming)]),
                    }
                }
                Err(error) => outcomes.push((at, Err(error))),
            }
        }
        for of_group in of_groups {
            let mut rest = of_group.into_iter();
            loop {
                let (places, batch): (Vec<_>, Vec<_>) = rest.by_ref().take(MAX_BATCH).unzip();
                if batch.is_empty() {
                    break;
                }
                match self.take_in_together(&batch).await {
                    Ok(taken) => {
                        let is_final = |outcome: &Result<_>| matches!(outcome, Err(error) if is_final(error.kind()));
                        // What another process has done may be why they cannot be read.
                        let behind = match taken.iter().any(is_final) {
                            true => self.refresh().await,
                            false => Ok(false),
                        };
                        for ((at, incoming), outcome) in places.into_iter().zip(&batch).zip(taken) {
                            let outcome = match &behind {
                                Ok(true) if is_final(&outcome) => self.take_in(incoming, None).await,
                                Err(error) if is_final(&outcome) => Err(error.clone()),
                                _ => outcome,
                            };
                            outcomes.push((at, outcome));
                        }
                    }
                    // One of them cannot share a commit with the others.
                    Err(_) => {
                        for (at, incoming) in places.into_iter().zip(&batch) {
                            outcomes.push((at, self.take_in(incoming, None).await));
                        }
                    }
                }
            }
        }
        outcomes.sort_by_key(|(at, _)| *at);
        outcomes.into_iter().map(|(_, outcome)| outcome).collect()
    }

    /// Takes in what is held of a group and can be read now: after a commit of an epoch that others were in before, after a
    /// proposal whose commit came first, or when the policy decides otherwise. Returns what became of each; what still cannot be
    /// read stays.
    ///
    /// # Errors
    /// `NotFound` if the client has no such group, `Corrupt`; and the errors of the backend.
    #[instrument(level = "debug", skip_all, fields(scope = self.label(group)), err(level = "debug"))]
    pub async fn receive_held(&mut self, group: &GroupId) -> Result<Vec<Result<Received>>> {
        self.take_in_held(group, None).await
    }

    /// As [`receive_held`](Self::receive_held), with records of the application in the same commits: see
    /// [`receive_with`](Self::receive_with).
    ///
    /// # Errors
    /// As [`receive_held`](Self::receive_held). An error of `then` is the outcome of its message, which stays held.
    #[instrument(level = "debug", skip_all, fields(scope = self.label(group)), err(level = "debug"))]
    pub async fn receive_held_with(
        &mut self,
        group: &GroupId,
        mut then: impl FnMut(&Received, &mut RecordWriter<'_>) -> std::result::Result<(), BoxError> + Send,
    ) -> Result<Vec<Result<Received>>> {
        self.take_in_held(group, Some(&mut then)).await
    }

    async fn take_in_held(&mut self, group: &GroupId, mut then: Option<Then<'_>>) -> Result<Vec<Result<Received>>> {
        let mut outcomes = Vec::new();
        loop {
            let epoch = self.loaded_group(group).await?.epoch().as_u64();
            let held = self.held(group).await?;
            for (number, HeldRecord { epoch: of, message }) in held {
                if of > epoch {
                    continue;
                }
                let incoming = Incoming { held: Some(number), ..Incoming::parse(&message)? };
                let outcome = self.take_in(&incoming, reborrow(&mut then)).await;
                match &outcome {
                    Ok(Received::Held { .. }) => continue,
                    Ok(Received::AlreadyReceived(_) | Received::Own { .. }) => {
                        self.drop_held(group, number, &message, true).await?;
                    }
                    Err(error) if error.kind() == ErrorKind::Aborted => {}
                    Err(error) if !is_final(error.kind()) && error.kind() != ErrorKind::Refused => {
                        return outcome.map(|_| outcomes);
                    }
                    Err(_) => self.drop_held(group, number, &message, false).await?,
                    Ok(_) => {}
                }
                outcomes.push(outcome);
            }
            if self.loaded_group(group).await?.epoch().as_u64() == epoch {
                return Ok(outcomes);
            }
        }
    }

    #[instrument(
        name = "receive",
        level = "debug",
        skip_all,
        fields(scope = self.label(incoming.message.group_id()), bytes = incoming.bytes.len()),
        err(level = "debug")
    )]
    async fn take_in(&mut self, incoming: &Incoming<'_>, mut then: Option<Then<'_>>) -> Result<Received> {
        let mut attempt = 1;
        loop {
            let received = self.try_take_in(incoming, reborrow(&mut then)).await;
            // What another process has done may be why it cannot be read.
            let behind =
                matches!(&received, Err(error) if is_final(error.kind())) && attempt == 1 && self.refresh().await?;
            if !behind && !self.may_repeat(&received, &mut attempt) {
                return received;
            }
            attempt = attempt.max(2);
        }
    }

    async fn try_take_in(&mut self, incoming: &Incoming<'_>, then: Option<Then<'_>>) -> Result<Received> {
        self.freshen().await?;
        let group = incoming.message.group_id().clone();
        if incoming.held.is_none()
            && let Some(earlier) = self.earlier(&group, incoming.bytes).await?
        {
            return Ok(earlier);
        }
        if self.staged(&group).await?.is_some_and(|staged| staged.digest == records::digest(incoming.bytes)) {
            return self.confirm_received(&group, then).await;
        }
        let policy = std::sync::Arc::clone(&self.receive_policy);
        let mut session = self.begin(std::slice::from_ref(&group)).await?;
        match take(&mut session, incoming, policy.as_ref()) {
            Ok(processed @ (Processed::Own { .. } | Processed::Again)) => {
                // Anybody can say so: nothing is remembered of it.
                session.give_back();
                Ok(processed.release())
            }
            Ok(processed) => {
                if processed.may_wait() {
                    session.provider().storage().let_wait(0);
                }
                let Some(then) = then else {
                    session.commit().await?;
                    return Ok(processed.release());
                };
                let received = processed.release();
                let written = then(&received, &mut session.records(Scope::group(&group)));
                written.map_err(|error| session.aborted(error))?;
                session.commit().await?;
                Ok(received)
            }
            Err(Refusal::Untouched(error)) => {
                session.give_back();
                Err(error)
            }
            Err(Refusal::Touched(error)) => Err(error),
            Err(Refusal::Hold) => {
                drop(session);
                let epoch = incoming.message.epoch().as_u64();
                if incoming.held.is_none() {
                    self.hold(&group, epoch, incoming.bytes).await?;
                }
                Ok(Received::Held { group, epoch })
            }
            Err(Refusal::Staged) => {
                drop(session);
                self.confirm_received(&group, then).await
            }
        }
    }

    /// Confirms the staged commit, as it came.
    async fn confirm_received(&mut self, group: &GroupId, then: Option<Then<'_>>) -> Result<Received> {
        self.confirm_with(group, then).await.map(Received::Commit).map_err(|error| match error.kind() {
            // Somebody else was faster, and it was received before.
            ErrorKind::NotFound => Error::new(ErrorKind::Conflict, "the commit is no longer staged").with_source(error),
            _ => error,
        })
    }

    /// All in one commit, or an error and none.
    #[instrument(name = "receive_many", level = "debug", skip_all, fields(messages = batch.len()))]
    async fn take_in_together(&mut self, batch: &[Incoming<'_>]) -> Result<Vec<Result<Received>>> {
        let cannot = || Error::new(ErrorKind::Conflict, "these messages cannot share a commit");
        let [first, _, ..] = batch else { return Err(cannot()) };
        self.freshen().await?;
        let group = first.message.group_id().clone();
        let mut earlier = Vec::with_capacity(batch.len());
        for incoming in batch {
            earlier.push(self.earlier(&group, incoming.bytes).await?);
        }
        let policy = std::sync::Arc::clone(&self.receive_policy);
        let mut session = self.begin(std::slice::from_ref(&group)).await?;
        let mut taken = Vec::with_capacity(batch.len());
        for (incoming, earlier) in batch.iter().zip(earlier) {
            let just_now = arrivals::find_in(session.provider().storage(), &group, &records::digest(incoming.bytes))?;
            taken.push(match earlier.or(just_now.map(|_| Received::AlreadyReceived(None))) {
                Some(earlier) => Ok(Err(earlier)),
                None => match take(&mut session, incoming, policy.as_ref()) {
                    Ok(processed) => Ok(Ok(processed)),
                    Err(Refusal::Untouched(error)) => Err(error),
                    Err(Refusal::Touched(_) | Refusal::Hold | Refusal::Staged) => return Err(cannot()),
                },
            });
        }
        if taken.iter().flatten().flatten().all(Processed::may_wait) {
            session.provider().storage().let_wait(0);
        }
        session.commit().await?;
        let release =
            |taken: std::result::Result<Processed, Received>| taken.map_or_else(|earlier| earlier, Processed::release);
        Ok(taken.into_iter().map(|taken| taken.map(release)).collect())
    }

    /// What is known of a message that arrived before.
    async fn earlier(&mut self, group: &GroupId, bytes: &[u8]) -> Result<Option<Received>> {
        let records = std::sync::Arc::clone(&self.load_scope_or_default(group.as_slice()).await?.scope.records);
        let arrival = arrivals::find(|key| records.get(key).cloned(), &records::digest(bytes))?;
        let Some(Arrival { number }) = arrival else { return Ok(None) };
        let message = match number {
            Some(number) => self.message(group, number).await?,
            None => None,
        };
        Ok(Some(Received::AlreadyReceived(message)))
    }
}

fn reborrow<'f>(then: &'f mut Option<Then<'_>>) -> Option<Then<'f>> {
    match then {
        Some(then) => Some(&mut **then),
        None => None,
    }
}

/// Whether a message that was refused so will never be read.
fn is_final(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Invalid | ErrorKind::PastEpoch | ErrorKind::NotMember)
}
