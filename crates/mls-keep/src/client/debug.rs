//! What goes into a log: counts and states. Names, identities, ids and texts are secret towards its readers.

use std::fmt::{Debug, Formatter, Result};

use super::{GroupMember, GroupSummary, Joined, Outgoing, Received};

impl Debug for GroupSummary {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.debug_struct("GroupSummary")
            .field("epoch", &self.epoch)
            .field("members", &self.members)
            .field("is_active", &self.is_active)
            .field("pending_proposals", &self.pending_proposals)
            .field("ciphersuite", &self.ciphersuite)
            .finish_non_exhaustive()
    }
}

impl Debug for GroupMember {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.debug_struct("GroupMember").field("index", &self.index).finish_non_exhaustive()
    }
}

impl Debug for Joined {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.debug_struct("Joined").field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

impl Debug for Outgoing {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.debug_struct("Outgoing")
            .field("number", &self.number)
            .field("message", &self.message.as_ref().map(Vec::len))
            .field("welcome", &self.welcome.as_ref().map(Vec::len))
            .field("is_staged", &self.is_staged)
            .finish_non_exhaustive()
    }
}

impl Debug for Received {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Message(message) => f.debug_tuple("Message").field(message).finish(),
            Self::AlreadyReceived(message) => f.debug_tuple("AlreadyReceived").field(message).finish(),
            Self::Commit(summary) => f.debug_tuple("Commit").field(summary).finish(),
            Self::Own { .. } => f.debug_struct("Own").finish_non_exhaustive(),
            Self::Proposal(summary) => f.debug_tuple("Proposal").field(summary).finish(),
            Self::Held { epoch, .. } => f.debug_struct("Held").field("epoch", epoch).finish_non_exhaustive(),
        }
    }
}
