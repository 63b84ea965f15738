//! Messages that are kept until they can be read.

use mls_keep_core::{Error, ErrorKind, Result};
use openmls::group::GroupId;
use openmls::prelude::OpenMlsProvider;
use serde::{Deserialize, Serialize};

use super::arrivals::{self, Arrival};
use super::history::{GroupRecord, after};
use super::load::no_group;
use super::records::Keys;
use super::{Client, CryptoProvider};
use crate::provider::TransactionStorage;
use crate::records::{self, Kind, codec};
use crate::scope::Scope;

/// At most so many messages of a group are held: anybody can make more of them.
const MAX_HELD: u64 = 64;

/// And at most so many bytes.
const MAX_HELD_LEN: u64 = 4 << 20;

/// And none of a later epoch than so many on. Anybody can make a message of an epoch that will never come, and it would stay.
const MAX_AHEAD: u64 = 64;

/// A message that is held: record `33` of its group's scope.
#[derive(Deserialize, Serialize)]
pub(super) struct HeldRecord {
    pub(super) epoch: u64,
    #[serde(with = "serde_bytes")]
    pub(super) message: Vec<u8>,
}

impl<C: CryptoProvider> Client<C> {
    /// What is held of a group, in the order of its arrival.
    pub(super) async fn held(&mut self, group: &GroupId) -> Result<Vec<(u64, HeldRecord)>> {
        let found =
            self.read_records(&Scope::group(group), Keys::Prefix(&Kind::Held.only()), usize::MAX, false).await?;
        let decode = |(key, value): (mls_keep_core::SecretBytes, _)| {
            Ok((records::number(&key).unwrap_or_default(), codec::decode(Kind::Held, &value)?))
        };
        found.into_iter().map(decode).collect()
    }

    /// Keeps a message.
    pub(super) async fn hold(&mut self, group: &GroupId, epoch: u64, message: &[u8]) -> Result<()> {
        let scope = Scope::group(group);
        self.repeat(std::slice::from_ref(group), |tx| {
            let [mls_group] = &*tx.groups else { return Err(no_group().into()) };
            if epoch.saturating_sub(mls_group.epoch().as_u64()) > MAX_AHEAD {
                let far = "the message is of an epoch that is far ahead: receive what is missing, then this again";
                return Err(Error::new(ErrorKind::FutureEpoch, far).into());
            }
            let storage = tx.provider.storage();
            let mut counters = GroupRecord::read(storage, group)?;
            if counters.held >= MAX_HELD || counters.held_len + message.len() as u64 > MAX_HELD_LEN {
                let full = "the message is of an epoch to come, and no more are held: receive what is missing, then this again";
                return Err(Error::new(ErrorKind::FutureEpoch, full).into());
            }
            let number = counters.next_held;
            counters.next_held = after(number)?;
            counters.held += 1;
            counters.held_len += message.len() as u64;
            counters.write(storage, group)?;
            let record = codec::encode(Kind::Held, &HeldRecord { epoch, message: message.to_vec() }, 0)?;
            storage.put(&scope, Kind::Held.numbered(number), Some(record));
            arrivals::note(storage, group, &records::digest(message), Arrival { number: None })?;
            Ok(())
        })
        .await
    }

    /// Drops a message that is not taken in. One that was not received before is forgotten: if it comes again, it is looked at
    /// again.
    pub(super) async fn drop_held(
        &mut self,
        group: &GroupId,
        number: u64,
        message: &[u8],
        was_received: bool,
    ) -> Result<()> {
        self.repeat(std::slice::from_ref(group), |tx| {
            let storage = tx.provider.storage();
            remove(storage, group, number, message.len())?;
            if !was_received {
                arrivals::forget(storage, group, &records::digest(message))?;
            }
            Ok(())
        })
        .await
    }
}

/// Removes a message of this length.
pub(super) fn remove(storage: &TransactionStorage, group: &GroupId, number: u64, len: usize) -> Result<()> {
    let mut counters = GroupRecord::read(storage, group)?;
    counters.held = counters.held.saturating_sub(1);
    counters.held_len = counters.held_len.saturating_sub(len as u64);
    counters.write(storage, group)?;
    storage.put(&Scope::group(group), Kind::Held.numbered(number), None);
    Ok(())
}
