//! When a client is saved.

use std::time::Duration;

use mls_keep_core::{Error, ErrorKind, Result};

use crate::manager::PersistenceManager;

/// Where and when a client is saved.
#[derive(Clone, Debug)]
pub struct Persistence {
    /// The keep that the client is saved in.
    pub manager: PersistenceManager,
    /// When it is saved.
    pub save: SavePolicy,
}

/// When a client is saved.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum SavePolicy {
    /// Every operation is durable before its result is returned.
    #[default]
    EveryOperation,
    /// Messages that are sent and received wait for a save; everything else is durable before its result is returned, and
    /// all that waited with it. For clients that handle many messages a second.
    ///
    /// **No key is used twice, whatever is killed when**: before messages of a group are sent without a commit, `reserve` of
    /// their keys are given up, durably. The client that loads the group after an unclean end skips that many. The receivers see a
    /// gap. They tolerate [`maximum_forward_distance`](crate::GroupSettings::maximum_forward_distance) missing messages of a
    /// sender, so `reserve` is at most half of that; unclean ends with nothing received in between add up, until a commit
    /// begins a new epoch.
    ///
    /// A process that ends without [`Client::close`](crate::Client::close) loses what was not saved: the history and
    /// the outbox lack messages that may have left, and messages that were received arrive again if they were not
    /// acknowledged. So acknowledge one when [`Client::saved_through`](crate::Client::saved_through) has reached the
    /// [`SaveNumber`](crate::SaveNumber) that covers it. The keys of what was not saved stay in the store for so long.
    ///
    /// Another process that uses the same client makes the next save here a `Conflict`, as it would with
    /// [`Manual`](Self::Manual): this policy is for clients that one process has for itself.
    Interval {
        /// A save is due when something has waited for so long. It is made by the next operation after that, and by
        /// [`Client::save_if_due`](crate::Client::save_if_due), which an application with a runtime calls regularly.
        every: Duration,
        /// Messages that can be sent in a group between two saves. The one after them saves before it is due. 0: each
        /// message that is sent saves, and only what is received waits.
        reserve: u32,
    },
    /// Only [`Client::save`](crate::Client::save) and the manager's calls save.
    ///
    /// What was not saved is lost with the process. A message that was sent before a save that never came leaves the
    /// saved ratchets behind those of the receivers: the next one is sent under a key that was used already, and is
    /// refused as a replay. So save before anything leaves the device.
    Manual,
}

impl SavePolicy {
    /// How many messages may be reserved for a group whose members tolerate so many missing ones.
    pub(crate) fn most_reserved(maximum_forward_distance: u32) -> u32 {
        (maximum_forward_distance / 2).min(MAX_RESERVED)
    }

    /// Refuses to reserve more than receivers tolerate.
    pub(crate) fn check(self, maximum_forward_distance: u32) -> Result<()> {
        let most = Self::most_reserved(maximum_forward_distance);
        match self {
            Self::Interval { reserve, .. } if reserve > most => Err(Error::new(
                ErrorKind::Invalid,
                format!("at most {most} messages can be reserved, half of the groups' maximum forward distance"),
            )),
            _ => Ok(()),
        }
    }
}

/// More are never reserved: skipping one costs about as much as sending it.
pub(crate) const MAX_RESERVED: u32 = 1 << 16;
