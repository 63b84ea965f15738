//! [`ReceivePolicy`]: what is accepted of what others send.

use std::fmt;

use mls_keep_core::Result;
use openmls::framing::Sender;
use openmls::group::{GroupId, MlsGroup, QueuedProposal, StagedWelcome};
use openmls::prelude::{LibraryError, Proposal};

use super::groups::GroupMember;
use super::summary::{CommitSummary, Committer, Newcomer, member_at, who_goes};

/// What to do with something that arrived and is valid in OpenMLS's terms.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Decision {
    /// It is taken in.
    Accept,
    /// It is not taken in: the call is `Refused`, and has changed nothing.
    Refuse,
    /// Not now: it is kept, and [`Client::receive_held`](super::Client::receive_held) asks again. A Welcome is not kept: it is
    /// refused, and can be joined with later.
    Hold,
}

/// Looks at what others send before it is merged. MLS authenticates members by their signature keys; whose the credentials
/// are, and who may do what, is for the application to know (RFC 9420 section 5.3.1).
///
/// The calls are made inside of a transaction, and should be quick. Each accepts everything if it is not implemented: what
/// is valid in OpenMLS's terms, from everybody. A refused commit leaves this client in an epoch that the others have
/// left, so a policy that refuses commits is agreed on by all members, or enforced by the delivery service.
pub trait ReceivePolicy: Send + Sync {
    /// A commit of another member, or of a client that enters by it.
    fn commit(&self, commit: &CommitSummary) -> Decision {
        let _ = commit;
        Decision::Accept
    }

    /// A proposal, which somebody may commit.
    fn proposal(&self, proposal: &ProposalSummary) -> Decision {
        let _ = proposal;
        Decision::Accept
    }

    /// A Welcome: the group that this client is invited to.
    fn welcome(&self, welcome: &WelcomeSummary) -> Decision {
        let _ = welcome;
        Decision::Accept
    }
}

/// Accepts what is valid in OpenMLS's terms.
pub(super) struct AcceptValid;

impl ReceivePolicy for AcceptValid {}

/// A proposal, and who made it.
#[derive(Clone, Eq, PartialEq)]
#[non_exhaustive]
pub struct ProposalSummary {
    /// The group.
    pub group: GroupId,
    /// The epoch that it is made in.
    pub epoch: u64,
    /// Who made it; `None` if a sender from outside did.
    pub sender: Option<Committer>,
    /// What it proposes.
    pub proposed: Proposed,
}

/// What a proposal proposes.
#[derive(Clone, Eq, PartialEq)]
#[non_exhaustive]
pub enum Proposed {
    /// That somebody enters.
    Add(Newcomer),
    /// That a member goes.
    Remove(GroupMember),
    /// New keys, or another credential, of a member: as they would be.
    Update(GroupMember),
    /// Other extensions of the group's context.
    Extensions,
    /// Something else: a pre-shared key, a reinitialisation.
    Other,
}

/// A group that this client is invited to.
#[derive(Clone, Eq, PartialEq)]
#[non_exhaustive]
pub struct WelcomeSummary {
    /// The group.
    pub group: GroupId,
    /// The epoch.
    pub epoch: u64,
    /// Who invites.
    pub sender: Newcomer,
    /// Who is in, this client among them.
    pub members: Vec<GroupMember>,
    /// The client is a member already, and its state of the group would be replaced.
    pub replaces: bool,
}

impl ProposalSummary {
    pub(super) fn new(group: &MlsGroup, queued: &QueuedProposal) -> Result<Self> {
        let sender = match queued.sender() {
            Sender::Member(index) if *index == group.own_leaf_index() => Some(Committer::Own),
            Sender::Member(index) => Some(Committer::Member(member_at(group, *index)?)),
            _ => None,
        };
        let goes = who_goes(queued).map(|index| member_at(group, index)).transpose()?;
        let proposed = match (queued.proposal(), queued.sender()) {
            (Proposal::Add(add), _) => Proposed::Add(Newcomer::of_leaf(add.key_package().leaf_node())),
            (Proposal::Update(update), Sender::Member(index)) => {
                Proposed::Update(GroupMember::of_leaf(*index, update.leaf_node()))
            }
            (Proposal::GroupContextExtensions(_), _) => Proposed::Extensions,
            _ => goes.map_or(Proposed::Other, Proposed::Remove),
        };
        Ok(Self { group: group.group_id().clone(), epoch: group.epoch().as_u64(), sender, proposed })
    }
}

impl WelcomeSummary {
    pub(super) fn new(staged: &StagedWelcome, replaces: bool) -> Result<Self, LibraryError> {
        let context = staged.group_context();
        Ok(Self {
            group: context.group_id().clone(),
            epoch: context.epoch().as_u64(),
            sender: Newcomer::of_leaf(staged.welcome_sender()?),
            members: staged.members().map(GroupMember::from).collect(),
            replaces,
        })
    }
}

impl fmt::Debug for ProposalSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProposalSummary")
            .field("epoch", &self.epoch)
            .field("sender", &self.sender)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for WelcomeSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WelcomeSummary")
            .field("epoch", &self.epoch)
            .field("members", &self.members.len())
            .finish_non_exhaustive()
    }
}
