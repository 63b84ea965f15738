//! Reservations: keys that are given up before they are used, so that messages can be sent without a commit each.
//!
//! A reservation stands in its group's scope, beside the ratchets that it was stored with: so many messages may have been
//! encrypted since. Its holder sends them without storing anything. Any other client that finds it, and the holder itself after a
//! restart, cannot know how many there were, and skips them all before the first own message.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use mls_keep_core::{Changes, Entropy as _, Error, ErrorKind, Result, ScopeId, SecretBytes, Value};
use openmls::group::{GroupId, MlsGroup, MlsGroupJoinConfig};
use openmls::prelude::OpenMlsProvider as _;
use serde::{Deserialize, Serialize};

use super::load::no_group;
use super::refusal::aborted;
use super::signer::NoSignature;
use super::{Client, CryptoProvider, draft};
use crate::entropy::SystemEntropy;
use crate::memory::ScopeMemory;
use crate::policy::{MAX_RESERVED, SavePolicy};
use crate::provider::{GroupChanges, Provider, TransactionChanges, TransactionStorage, Urgency};
use crate::records::{Kind, codec};
use crate::scope::Scope;

/// Record `05` of a group's scope.
#[derive(Deserialize, Serialize)]
pub(super) struct ReservationRecord {
    /// How many messages may have been encrypted since the ratchets in this scope were stored.
    messages: u32,
    /// By whom: random, drawn whenever a client is loaded.
    holder: Vec<u8>,
}

/// The reservations of a client.
pub(super) struct Reservations {
    holder: [u8; 16],
    held: BTreeMap<SecretBytes, Held>,
    /// What the commit that is under way makes of them: a record and how many messages it is for, or none.
    underway: Vec<(SecretBytes, Option<(Value, u32)>)>,
}

/// A reservation of this client's own.
struct Held {
    /// So many messages can still be sent. Never more than what is stored allows, whatever becomes of a commit that is
    /// under way.
    left: u32,
    /// Something was sent since the last commit.
    used: bool,
    /// When something was sent last.
    last: Duration,
}

impl Reservations {
    pub(super) fn new() -> Result<Self> {
        let mut holder = [0; 16];
        SystemEntropy.fill(&mut holder)?;
        Ok(Self { holder, held: BTreeMap::new(), underway: Vec::new() })
    }

    /// Takes the messages that `changes` has sent out of the reservations, if they suffice.
    pub(super) fn take(&mut self, changes: &TransactionChanges, now: Duration) -> bool {
        let sent = changes.urgency.sent();
        if sent == 0 {
            return true;
        }
        let mut groups = changes.groups.keys();
        let (Some(id), None) = (groups.next(), groups.next()) else { return false };
        match self.held.get_mut(id) {
            Some(held) if held.left >= sent => {
                held.left -= sent;
                held.used = true;
                held.last = now;
                true
            }
            _ => false,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    pub(super) fn holds(&self, id: &[u8]) -> bool {
        self.held.contains_key(id)
    }

    /// Takes what was held to be another's: its ratchets went back.
    pub(super) fn forget(&mut self) {
        self.held.clear();
    }

    /// Takes everything that is held to be sent: the next message has to be stored.
    pub(super) fn use_up(&mut self) {
        for held in self.held.values_mut() {
            held.left = 0;
            held.used = true;
        }
    }

    fn is_own(&self, scope: &ScopeMemory) -> Result<bool> {
        Ok(read(scope)?.is_some_and(|record| record.holder == self.holder))
    }
}

impl<C: CryptoProvider> Client<C> {
    /// Once the store has said that the client does not go on here, nothing more is sent, also not what is reserved.
    pub(super) fn heed<T>(&mut self, result: Result<T>) -> Result<T> {
        let kind = result.as_ref().err().map(Error::kind);
        if matches!(kind, Some(ErrorKind::MovedOut | ErrorKind::NotFound | ErrorKind::RolledBack)) {
            self.saves.reservations.use_up();
        }
        result
    }

    /// Adds to a commit the reservations that it has to renew, and takes back those that were not used for long; all of
    /// them, if `closing`.
    pub(super) fn add_reservations(
        &mut self,
        commit: &mut Changes,
        changes: Option<&TransactionChanges>,
        closing: bool,
    ) -> Result<()> {
        self.saves.reservations.underway.clear();
        let (every, reserve) = match self.policy {
            SavePolicy::Interval { every, reserve } if !closing => (every, reserve),
            _ => (Duration::ZERO, 0),
        };
        let now = self.saves.now();
        let sending = changes.filter(|changes| changes.urgency.sent() > 0);
        let sending: BTreeSet<_> = sending.into_iter().flat_map(|changes| changes.groups.keys().cloned()).collect();
        let held: Vec<_> = self.saves.reservations.held.keys().cloned().collect();
        for id in held.into_iter().chain(sending.iter().cloned()).collect::<BTreeSet<_>>() {
            let reservations = &mut self.saves.reservations;
            let cleared = changes.and_then(|changes| changes.groups.get(&id)).is_some_and(|group| group.cleared);
            let memory = self.groups.get(&id).filter(|memory| !cleared && !memory.scope.cleared);
            let Some(memory) = memory else {
                reservations.held.remove(&id);
                continue;
            };
            if reservations.holds(&id) && !reservations.is_own(&memory.scope)? {
                reservations.held.remove(&id);
            }
            let held = reservations.held.get_mut(&id);
            let used = sending.contains(&id) || held.as_ref().is_some_and(|held| held.used);
            let messages = if used { reserve.min(most_reserved(&memory.scope)?) } else { 0 };
            match held {
                Some(held) if !used && now.saturating_sub(held.last) < every => continue,
                Some(held) => held.left = held.left.min(messages),
                None if messages == 0 => continue,
                None => {}
            }
            let scope = commit.scope(ScopeId::group(&id)?, memory.scope.version);
            let record = if messages == 0 {
                scope.remove(Kind::Reservation.only());
                None
            } else {
                let record = ReservationRecord { messages, holder: reservations.holder.to_vec() };
                let record = codec::encode(Kind::Reservation, &record, 0)?;
                scope.put(Kind::Reservation.only(), record.clone(), None)?;
                Some((record, messages))
            };
            reservations.underway.push((id, record));
        }
        Ok(())
    }

    /// What [`add_reservations`](Self::add_reservations) added became durable.
    pub(super) fn reserved(&mut self) {
        let now = self.saves.now();
        for (id, record) in std::mem::take(&mut self.saves.reservations.underway) {
            let Some(memory) = self.groups.get_mut(&id) else { continue };
            let held = &mut self.saves.reservations.held;
            let value = match record {
                Some((value, left)) => {
                    let last = held.get(&id).filter(|held| held.used).map_or(now, |held| held.last);
                    held.insert(id, Held { left, used: false, last });
                    Some(value)
                }
                None => {
                    held.remove(&id);
                    None
                }
            };
            memory.scope.apply(BTreeMap::from([(Kind::Reservation.only(), value)]));
        }
    }

    /// Skips the messages of a reservation that is not this client's own, durably: before anything is sent in the group.
    pub(super) async fn burn_reservation(&mut self, id: &GroupId) -> Result<()> {
        let memory = self.groups.get_mut(id.as_slice()).ok_or_else(no_group)?;
        memory.used = self.uses;
        let Some(record) = read(&memory.scope)? else {
            self.saves.reservations.held.remove(id.as_slice());
            return Ok(());
        };
        if record.holder == self.saves.reservations.holder && self.saves.reservations.holds(id.as_slice()) {
            return Ok(());
        }
        self.saves.reservations.held.remove(id.as_slice());
        // Where nothing may be sent, nothing is skipped.
        if memory.scope.needs_rejoin() || !memory.group.as_ref().is_some_and(MlsGroup::is_active) {
            return Ok(());
        }
        memory.group = None;
        let secrets = self.skipped(id, record.messages)?;
        let records = BTreeMap::from([(Kind::MessageSecrets.only(), secrets), (Kind::Reservation.only(), None)]);
        let group = GroupChanges { records, ..GroupChanges::default() };
        let groups = BTreeMap::from([(id.as_slice().into(), group)]);
        let changes = TransactionChanges { groups, urgency: Urgency::AtOnce, ..TransactionChanges::default() };
        self.finish(changes, Vec::new()).await?;
        self.loaded_group(id).await?;
        Ok(())
    }

    /// The MessageSecrets of a group after so many messages that nobody gets.
    fn skipped(&self, id: &GroupId, messages: u32) -> Result<Option<Value>> {
        if messages > MAX_RESERVED {
            return Err(Error::new(ErrorKind::Corrupt, "a reservation is for more messages than can be reserved"));
        }
        let records = self.groups.get(id.as_slice()).map(|memory| Arc::clone(&memory.scope.records));
        let records = BTreeMap::from([(id.as_slice().into(), records.unwrap_or_default())]);
        let storage = TransactionStorage::new(Arc::clone(&self.own.records), records);
        let provider = Provider::new(Arc::clone(&self.crypto), storage);
        let mut group = MlsGroup::load(provider.storage(), id)?.ok_or_else(no_group)?;
        // With proposals OpenMLS encrypts no message. Only the ratchets are taken over from here.
        group.clear_pending_proposals(provider.storage())?;
        let signer = NoSignature(self.ciphersuite().signature_algorithm());
        for _ in 0..messages {
            draft::create_message(&mut group, &provider, &signer, b"").map_err(aborted)?;
        }
        Ok(provider.storage().get(&Scope::group(id), &Kind::MessageSecrets.only()))
    }
}

/// A reservation that no process holds: the next sender in its group skips that many messages first.
#[cfg(any(feature = "import", test))]
pub(crate) fn of_nobody(messages: u32) -> Result<Value> {
    codec::encode(Kind::Reservation, &ReservationRecord { messages, holder: Vec::new() }, 0)
}

fn read(scope: &ScopeMemory) -> Result<Option<ReservationRecord>> {
    let record = scope.records.get(Kind::Reservation.only().as_slice());
    record.map(|record| codec::decode(Kind::Reservation, record)).transpose()
}

/// How many messages the members of a group tolerate to be missing, as far as this client's own configuration says so.
fn most_reserved(scope: &ScopeMemory) -> Result<u32> {
    let Some(config) = scope.records.get(Kind::JoinConfig.only().as_slice()) else { return Ok(0) };
    let config: MlsGroupJoinConfig = codec::decode(Kind::JoinConfig, config)?;
    Ok(SavePolicy::most_reserved(config.sender_ratchet_configuration().maximum_forward_distance()))
}
