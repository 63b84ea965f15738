//! [`CommitSummary`]: what a commit does to a group, and who made it.

use std::fmt;

use mls_keep_core::{Error, ErrorKind, Result};
use openmls::credentials::Credential;
use openmls::framing::Sender;
use openmls::group::{GroupId, MlsGroup, QueuedProposal, StagedCommit};
use openmls::prelude::{LeafNode, LeafNodeIndex, Proposal};

use super::groups::{GroupMember, identity_of};

/// What a commit does to a group.
#[derive(Clone, Eq, PartialEq)]
#[non_exhaustive]
pub struct CommitSummary {
    /// The group.
    pub group: GroupId,
    /// The epoch that it begins.
    pub epoch: u64,
    /// Who made it.
    pub sender: Committer,
    /// Who enters: by an invitation, or by this commit itself.
    pub added: Vec<Newcomer>,
    /// Who is removed, or goes by itself.
    pub removed: Vec<GroupMember>,
    /// Whose keys, or credentials, change: as they will be. The sender is among them if it renewed its own.
    pub updated: Vec<GroupMember>,
    /// The extensions of the group's context are replaced.
    pub changes_extensions: bool,
    /// Pre-shared keys are mixed in.
    pub uses_psk: bool,
    /// It removes this client.
    pub removes_self: bool,
    /// A commit that this client had staged in the same epoch is dropped for it. What it was to do is not done.
    pub drops_staged: bool,
}

/// Who made a commit.
#[derive(Clone, Eq, PartialEq)]
#[non_exhaustive]
pub enum Committer {
    /// This client.
    Own,
    /// Another member.
    Member(GroupMember),
    /// A client that enters by this commit (RFC 9420 section 12.4.3.2): a new one, or a member that lost its state, whose old
    /// leaf is then among the removed ones.
    External(Newcomer),
}

/// Who enters a group.
#[derive(Clone, Eq, PartialEq)]
#[non_exhaustive]
pub struct Newcomer {
    /// The identity in its credential.
    pub identity: Vec<u8>,
    /// Its credential. Whether it is genuine is for the application to know (RFC 9420 section 5.3.1).
    pub credential: Credential,
    /// Its signature public key.
    pub signature_key: Vec<u8>,
}

impl CommitSummary {
    /// Of the commit that is staged in `group`.
    pub(super) fn of_pending(group: &MlsGroup) -> Result<Self> {
        let staged = group.pending_commit();
        let staged = staged.ok_or_else(|| Error::new(ErrorKind::NotFound, "no commit is staged in this group"))?;
        let sender = Sender::Member(group.own_leaf_index());
        Self::new(group, staged, &sender, false)
    }

    /// Of a commit that is not merged yet.
    pub(super) fn new(group: &MlsGroup, commit: &StagedCommit, sender: &Sender, drops_staged: bool) -> Result<Self> {
        let mut updated = Vec::new();
        for update in commit.update_proposals() {
            if let Sender::Member(index) = update.sender() {
                updated.push(GroupMember::of_leaf(*index, update.update_proposal().leaf_node()));
            }
        }
        let path = commit.update_path_leaf_node();
        let sender = match sender {
            Sender::Member(index) => {
                updated.extend(path.map(|leaf| GroupMember::of_leaf(*index, leaf)));
                match *index == group.own_leaf_index() {
                    true => Committer::Own,
                    false => Committer::Member(member_at(group, *index)?),
                }
            }
            _ => Committer::External(Newcomer::of_leaf(path.ok_or_else(malformed)?)),
        };
        let removed = commit.queued_proposals().filter_map(who_goes).map(|index| member_at(group, index));
        let invited = commit.add_proposals().map(|add| Newcomer::of_leaf(add.add_proposal().key_package().leaf_node()));
        let enters = match &sender {
            Committer::External(newcomer) => Some(newcomer.clone()),
            _ => None,
        };
        let added = invited.chain(enters).collect();
        let is_extensions = |proposal: &Proposal| matches!(proposal, Proposal::GroupContextExtensions(_));
        Ok(Self {
            group: group.group_id().clone(),
            epoch: commit.epoch().as_u64(),
            sender,
            added,
            removed: removed.collect::<Result<_>>()?,
            updated,
            changes_extensions: commit.queued_proposals().any(|queued| is_extensions(queued.proposal())),
            uses_psk: commit.psk_proposals().next().is_some(),
            removes_self: commit.self_removed(),
            drops_staged,
        })
    }
}

impl GroupMember {
    pub(super) fn of_leaf(index: LeafNodeIndex, leaf: &LeafNode) -> Self {
        Self {
            index: index.u32(),
            identity: identity_of(leaf.credential()).to_vec(),
            credential: leaf.credential().clone(),
            signature_key: leaf.signature_key().as_slice().to_vec(),
        }
    }
}

impl Newcomer {
    pub(super) fn of_leaf(leaf: &LeafNode) -> Self {
        Self {
            identity: identity_of(leaf.credential()).to_vec(),
            credential: leaf.credential().clone(),
            signature_key: leaf.signature_key().as_slice().to_vec(),
        }
    }
}

pub(super) fn member_at(group: &MlsGroup, index: LeafNodeIndex) -> Result<GroupMember> {
    group.member_at(index).map(GroupMember::from).ok_or_else(malformed)
}

/// The leaf that goes if this is committed.
pub(super) fn who_goes(queued: &QueuedProposal) -> Option<LeafNodeIndex> {
    match (queued.proposal(), queued.sender()) {
        (Proposal::Remove(remove), _) => Some(remove.removed()),
        (Proposal::SelfRemove, Sender::Member(sender)) => Some(*sender),
        _ => None,
    }
}

fn malformed() -> Error {
    Error::new(ErrorKind::Invalid, "the commit names a leaf that is not there")
}

impl fmt::Debug for CommitSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommitSummary")
            .field("epoch", &self.epoch)
            .field("sender", &self.sender)
            .field("added", &self.added.len())
            .field("removed", &self.removed)
            .field("removes_self", &self.removes_self)
            .field("drops_staged", &self.drops_staged)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Committer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own => f.write_str("Own"),
            Self::Member(member) => f.debug_tuple("GroupMember").field(member).finish(),
            Self::External(_) => f.write_str("External(..)"),
        }
    }
}

impl fmt::Debug for Newcomer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Newcomer").finish_non_exhaustive()
    }
}
