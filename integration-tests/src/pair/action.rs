//! [`Action`]: one step of a [`Pair`](super::Pair), as it stands in the lines that a child prints.

use std::fmt;

/// One of the two.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Who {
    /// Who makes the groups.
    Alice,
    /// Who is invited.
    Bob,
}

impl Who {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Alice, Self::Bob];

    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Alice => Self::Bob,
            Self::Bob => Self::Alice,
        }
    }

    /// The identity.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Alice => "alice",
            Self::Bob => "bob",
        }
    }
}

/// A step: each is one commit of one client, but for what is said of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Action {
    /// Makes the keep, if there is none, and the client.
    Create(Who),
    /// Alice makes a group.
    CreateGroup(String),
    /// Bob makes a key package.
    KeyPackage,
    /// Alice invites bob.
    Invite(String),
    /// Sends a text to a group.
    Send(Who, String, String),
    /// Takes in the first letter, a message or a Welcome.
    Receive(Who),
    /// Puts what is in the outbox into the other's mail: a commit for each.
    Post(Who),
    /// Renews the keys in the main group; the epoch that begins.
    Update(Who, u64),
    /// Alice removes bob.
    Remove(String),
    /// Forgets a group.
    Forget(Who, String),
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create(who) => write!(f, "create {}", who.name()),
            Self::CreateGroup(group) => write!(f, "create-group alice {group}"),
            Self::KeyPackage => write!(f, "key-package bob"),
            Self::Invite(group) => write!(f, "invite alice {group}"),
            Self::Send(who, group, text) => write!(f, "send {} {group} {text}", who.name()),
            Self::Receive(who) => write!(f, "receive {}", who.name()),
            Self::Post(who) => write!(f, "post {}", who.name()),
            Self::Update(who, epoch) => write!(f, "update {} {epoch}", who.name()),
            Self::Remove(group) => write!(f, "remove alice {group}"),
            Self::Forget(who, group) => write!(f, "forget {} {group}", who.name()),
        }
    }
}
