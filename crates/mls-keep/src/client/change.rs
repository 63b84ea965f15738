//! [`Change`]: what a commit is to do to a group.

use mls_keep_core::{Error, ErrorKind, Result};
use openmls::credentials::{CredentialWithKey, NewSignerBundle};
use openmls::extensions::{Extension, Extensions, UnknownExtension};
use openmls::framing::{MlsMessageBodyIn, Sender};
use openmls::group::{CommitMessageBundle, GroupContext, MlsGroup, QueuedProposal};
use openmls::key_packages::KeyPackage;
use openmls::messages::proposals::{PreSharedKeyProposal, Proposal};
use openmls::prelude::{LeafNodeIndex, LeafNodeParameters, OpenMlsProvider, ProtocolVersion};
use openmls::schedule::PreSharedKeyId;
use openmls_traits::signatures::Signer as _;

use super::groups::{NAME_EXTENSION, identity_of};
use super::messages::parse_message;
use super::summary::who_goes;
use super::{BoxError, ClientSigner, CryptoProvider};
use crate::provider::Provider;

/// What a commit is to do to a group (RFC 9420 section 12.4): any of these, together. Proposals that others sent and
/// that wait for a commit go with it, except that this client goes, which only another member can commit.
///
/// ```
/// use mls_keep::Change;
/// # let (carols, daves): (Vec<u8>, Vec<u8>) = Default::default();
/// let change = Change::new().invite([carols, daves]).remove("bob");
/// ```
#[derive(Clone, Default)]
#[must_use = "a change does nothing until it is staged"]
pub struct Change {
    key_packages: Vec<Vec<u8>>,
    removed: Vec<Vec<u8>>,
    removed_leaves: Vec<u32>,
    update: bool,
    credential: bool,
    extensions: Option<Extensions<GroupContext>>,
    psks: Vec<PreSharedKeyId>,
    group_info: bool,
    without_proposals: bool,
}

impl Change {
    /// What others proposed, and nothing else.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds members by their key packages, each the TLS encoding of an `MLSMessage`.
    pub fn invite<K: AsRef<[u8]>>(mut self, key_packages: impl IntoIterator<Item = K>) -> Self {
        self.key_packages.extend(key_packages.into_iter().map(|package| package.as_ref().to_vec()));
        self
    }

    /// Removes every member of this identity.
    pub fn remove(mut self, identity: impl AsRef<[u8]>) -> Self {
        self.removed.push(identity.as_ref().to_vec());
        self
    }

    /// Removes the member at this leaf.
    pub fn remove_leaf(mut self, index: u32) -> Self {
        self.removed_leaves.push(index);
        self
    }

    /// Renews this client's own keys in the group.
    pub fn update(mut self) -> Self {
        self.update = true;
        self
    }

    /// Puts this client's present credential and signature key into its leaf, where
    /// [`set_credential`](crate::Client::set_credential) has changed them. Its other keys are renewed, too.
    pub fn credential(mut self) -> Self {
        self.credential = true;
        self
    }

    /// Replaces the extensions of the group's context (RFC 9420 section 12.1.7).
    pub fn extensions(mut self, extensions: Extensions<GroupContext>) -> Self {
        self.extensions = Some(extensions);
        self
    }

    /// Mixes in a pre-shared key that every member has (RFC 9420 section 12.1.4).
    pub fn psk(mut self, id: PreSharedKeyId) -> Self {
        self.psks.push(id);
        self
    }

    /// Makes the GroupInfo of the new epoch, too, with the ratchet tree: what a service gives to clients that enter by an
    /// external commit.
    pub fn with_group_info(mut self) -> Self {
        self.group_info = true;
        self
    }

    /// Leaves out what others proposed, which is void in the new epoch. The way on when that cannot be committed: anybody in
    /// the group can propose what no commit may do, for instance to add somebody who is there already.
    pub fn without_proposals(mut self) -> Self {
        self.without_proposals = true;
        self
    }

    /// The key packages, checked.
    pub(super) fn validate<C: CryptoProvider>(&self, crypto: &C) -> Result<Vec<KeyPackage>> {
        self.key_packages.iter().map(|bytes| parse_key_package(bytes, crypto)).collect()
    }

    /// Builds the commit and stages it in `group`.
    pub(super) fn build<C: CryptoProvider>(
        &self,
        group: &mut MlsGroup,
        provider: &Provider<C>,
        key_packages: Vec<KeyPackage>,
        committer: &Committer<'_>,
    ) -> Result<CommitMessageBundle, BoxError> {
        let removed = self.leaves_to_remove(group)?;
        let own_leaf = group.own_leaf_index();
        let may_commit = |queued: &QueuedProposal| {
            who_goes(queued) != Some(own_leaf) || *queued.sender() == Sender::Member(own_leaf)
        };
        let psks = self.psks.iter().map(|id| Proposal::PreSharedKey(Box::new(PreSharedKeyProposal::new(id.clone()))));
        let builder = group.commit_builder().consume_proposal_store(!self.without_proposals);
        let mut builder = builder.propose_adds(key_packages).propose_removals(removed).add_proposals(psks);
        if self.update {
            builder = builder.leaf_node_parameters(LeafNodeParameters::default()).force_self_update(true);
        }
        if let Some(extensions) = &self.extensions {
            builder = builder.propose_group_context_extensions(extensions.clone())?;
        }
        let name = committer.group_name.as_bytes();
        let named = Extension::Unknown(NAME_EXTENSION, UnknownExtension(name.to_vec()));
        let builder = builder
            .load_psks(provider.storage())?
            .create_group_info_with_extensions((!name.is_empty()).then_some(named))?
            .use_ratchet_tree_extension(true)
            .create_group_info(self.group_info);
        let (rand, crypto, signer) = (provider.rand(), provider.crypto(), committer.signer);
        let built = if self.credential {
            let new = committer.new_signer()?;
            let credential_with_key = committer.credential.clone();
            let new = NewSignerBundle { signer: new, credential_with_key };
            builder.build_with_new_signer(rand, crypto, signer, new, may_commit)?
        } else {
            builder.build(rand, crypto, signer, may_commit)?
        };
        Ok(built.stage_commit(provider)?)
    }

    pub(super) fn wants_group_info(&self) -> bool {
        self.group_info
    }

    fn leaves_to_remove(&self, group: &MlsGroup) -> Result<Vec<LeafNodeIndex>> {
        let mut leaves: Vec<_> = self.removed_leaves.iter().map(|index| LeafNodeIndex::new(*index)).collect();
        if !leaves.iter().all(|leaf| group.member(*leaf).is_some()) {
            return Err(Error::new(ErrorKind::NotFound, "the group has no member at this leaf"));
        }
        for identity in &self.removed {
            let named = group.members().filter(|member| identity_of(&member.credential) == identity);
            let named: Vec<_> = named.map(|member| member.index).collect();
            if named.is_empty() {
                return Err(Error::new(ErrorKind::NotFound, "the group has no member of this identity"));
            }
            leaves.extend(named);
        }
        leaves.sort_unstable();
        leaves.dedup();
        Ok(leaves)
    }
}

/// What a client puts into its commits.
pub(super) struct Committer<'c> {
    pub(super) group_name: &'c str,
    /// The signature key of its leaf.
    pub(super) signer: &'c ClientSigner,
    /// That of its new leaves.
    pub(super) own_signer: &'c ClientSigner,
    /// What goes into these.
    pub(super) credential: &'c CredentialWithKey,
}

impl Committer<'_> {
    /// The signature key of new leaves.
    fn new_signer(&self) -> Result<&ClientSigner> {
        match self.own_signer.signature_scheme() == self.signer.signature_scheme() {
            true => Ok(self.own_signer),
            false => {
                let text = "the client's signature key does not fit this group's ciphersuite";
                Err(Error::new(ErrorKind::Invalid, text))
            }
        }
    }
}

impl std::fmt::Debug for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Change")
            .field("invited", &self.key_packages.len())
            .field("removed", &(self.removed.len() + self.removed_leaves.len()))
            .field("update", &self.update)
            .finish_non_exhaustive()
    }
}

fn parse_key_package<C: CryptoProvider>(bytes: &[u8], crypto: &C) -> Result<KeyPackage> {
    match parse_message(bytes)?.extract() {
        MlsMessageBodyIn::KeyPackage(key_package) => key_package
            .validate(crypto, ProtocolVersion::Mls10)
            .map_err(|error| Error::new(ErrorKind::Invalid, "the key package is not valid").with_source(error)),
        _ => Err(Error::new(ErrorKind::Invalid, "this MLS message is not a key package")),
    }
}
