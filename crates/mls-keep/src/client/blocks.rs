//! What the calls of [`Client`](super::Client) do besides MLS, for transactions of the application's own: history, outbox,
//! arrivals.

use std::time::SystemTime;

use mls_keep_core::Result;
use openmls::framing::MlsMessageOut;
use openmls::prelude::OpenMlsProvider;

use super::arrivals::{self, Arrival};
use super::history::{HistoryRecord, Retention, in_millis, remember};
use super::outbox::{self, OutgoingRecord};
use super::refusal::ensure_may_send;
use super::transaction::Transaction;
use super::{BoxError, CryptoProvider, draft};
use crate::records;

/// How a client's calls do what they do besides MLS.
#[derive(Clone, Copy)]
pub(super) struct Habits<'c> {
    pub(super) identity: &'c [u8],
    /// Of groups that have none of their own.
    pub(super) retention: Retention,
    pub(super) outbox: bool,
    pub(super) now: SystemTime,
}

impl<C: CryptoProvider> Transaction<'_, C> {
    /// Encrypts an application message as [`Client::send`](super::Client::send) does: it is put into the history, and into the
    /// outbox if that is on.
    ///
    /// # Errors
    /// `NotMember`, `ProposalPending`, and what OpenMLS refuses.
    pub fn send(&mut self, content: &[u8], aad: &[u8]) -> Result<MlsMessageOut, BoxError> {
        ensure_may_send(self.group)?;
        if !aad.is_empty() {
            self.group.set_aad(aad.to_vec());
        }
        let message = draft::create_message(self.group, self.provider, self.signer, content)?;
        self.remember_sent(content, aad)?;
        if self.habits.outbox {
            self.put_outgoing(&message, None)?;
        }
        Ok(message)
    }

    /// Appends a message that this client has sent to the history, if the group keeps one. Returns its number.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn remember_sent(&mut self, content: &[u8], aad: &[u8]) -> Result<Option<u64>> {
        let sender = self.habits.identity.to_vec();
        self.remember(&sender, self.group.own_leaf_index().u32(), true, content, aad)
    }

    /// Appends a message that this client has received to the history, if the group keeps one. Returns its number, which
    /// [`note_arrival`](Self::note_arrival) wants to know.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn remember_received(&mut self, sender: &[u8], leaf: u32, content: &[u8], aad: &[u8]) -> Result<Option<u64>> {
        self.remember(sender, leaf, false, content, aad)
    }

    fn remember(&self, sender: &[u8], leaf: u32, own: bool, content: &[u8], aad: &[u8]) -> Result<Option<u64>> {
        let message = HistoryRecord {
            sender: sender.to_vec().into(),
            leaf,
            epoch: self.group.epoch().as_u64(),
            own,
            time: in_millis(self.habits.now),
            aad: aad.to_vec().into(),
            content: content.to_vec().into(),
        };
        remember(self.provider.storage(), self.group.group_id(), &message, self.habits.retention)
    }

    /// Puts what this transaction made for others into the group's outbox. Returns its number there.
    ///
    /// # Errors
    /// What does not encode; `Corrupt`.
    pub fn put_outgoing(&mut self, message: &MlsMessageOut, welcome: Option<&MlsMessageOut>) -> Result<u64, BoxError> {
        let welcome = welcome.map(MlsMessageOut::to_bytes).transpose()?;
        let outgoing = OutgoingRecord { message: Some(message.to_bytes()?), welcome, group_info: None };
        Ok(outbox::put(self.provider.storage(), self.group.group_id(), &outgoing)?)
    }

    /// Remembers that a message, the TLS encoding of an `MLSMessage`, was received, and under which number it stands in the
    /// history: so [`Client::receive`](super::Client::receive) recognises it when it arrives again.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn note_arrival(&mut self, message: &[u8], number: Option<u64>) -> Result<()> {
        let digest = records::digest(message);
        arrivals::note(self.provider.storage(), self.group.group_id(), &digest, Arrival { number })
    }
}
