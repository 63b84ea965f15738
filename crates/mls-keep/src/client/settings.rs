//! [`GroupSettings`]: how groups work.

use mls_keep_core::Result;
use openmls::group::{
    MIXED_CIPHERTEXT_WIRE_FORMAT_POLICY, MIXED_PLAINTEXT_WIRE_FORMAT_POLICY, MlsGroupCreateConfig,
    MlsGroupCreateConfigBuilder, MlsGroupJoinConfig, WireFormatPolicy,
};
use openmls::prelude::{
    Capabilities, Ciphersuite, CredentialType, ExtensionType, ProposalType, SenderRatchetConfiguration,
};
use serde::{Deserialize, Serialize};

use super::history::Retention;
use crate::policy::SavePolicy;

/// How a client's groups work. Stored with the client; a group keeps the settings that it was made or entered with until
/// [`set_group_settings`](crate::Client::set_group_settings).
///
/// ```
/// use mls_keep::{GroupSettings, HandshakeFormat};
/// let settings = GroupSettings::new().max_past_epochs(5).handshake_format(HandshakeFormat::Public);
/// ```
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
#[must_use = "it has an effect once it is given to a client"]
pub struct GroupSettings {
    max_past_epochs: usize,
    padding_size: usize,
    out_of_order_tolerance: u32,
    maximum_forward_distance: u32,
    history: bool,
    handshake_format: HandshakeFormat,
    extension_types: Vec<u16>,
    proposal_types: Vec<u16>,
}

/// How commits and proposals travel.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub enum HandshakeFormat {
    /// As `PrivateMessage`: the delivery service sees the group, the epoch and the length.
    #[default]
    Private,
    /// As `PublicMessage`: the delivery service sees what a commit does and who made it, and can order commits, check
    /// them, and keep the tree. Members see each other's either way.
    Public,
}

impl Default for GroupSettings {
    fn default() -> Self {
        Self {
            max_past_epochs: 3,
            padding_size: 0,
            out_of_order_tolerance: 32,
            maximum_forward_distance: 1000,
            history: true,
            handshake_format: HandshakeFormat::Private,
            extension_types: Vec::new(),
            proposal_types: Vec::new(),
        }
    }
}

impl GroupSettings {
    /// The defaults: what a messenger needs to lose nothing that is under way, and no more.
    pub fn new() -> Self {
        Self::default()
    }

    /// Epochs whose secrets are kept after they ended, so that messages can be read that were sent before a commit and arrive
    /// after it. Each is a window in which a stolen device reads the past. Default 3; with 0, no such message is read.
    pub fn max_past_epochs(mut self, epochs: usize) -> Self {
        self.max_past_epochs = epochs;
        self
    }

    /// Messages are padded to a multiple of this, bytes, so that their length says less. Default 0: not padded.
    pub fn padding_size(mut self, bytes: usize) -> Self {
        self.padding_size = bytes;
        self
    }

    /// Messages of one sender that may arrive out of order: so many keys are kept for each. Default 32.
    pub fn out_of_order_tolerance(mut self, messages: u32) -> Self {
        self.out_of_order_tolerance = messages;
        self
    }

    /// Messages of one sender that may be missing before the next one. Default 1000.
    pub fn maximum_forward_distance(mut self, messages: u32) -> Self {
        self.maximum_forward_distance = messages;
        self
    }

    /// Whether messages are kept in the history, of groups that have no
    /// [retention](crate::Client::set_retention) of their own. Default true.
    pub fn history(mut self, history: bool) -> Self {
        self.history = history;
        self
    }

    /// How this client's commits and proposals travel; others' are taken in either way. Default `PrivateMessage`.
    pub fn handshake_format(mut self, format: HandshakeFormat) -> Self {
        self.handshake_format = format;
        self
    }

    /// Extensions beyond those of RFC 9420 that this client understands, by their types (sections 7.2 and 17.3): each member of a
    /// group must say so of all that stand in the group's context. It is said in leaves that are made from here on: of new
    /// groups, key packages and external commits.
    pub fn extension_types(mut self, types: impl IntoIterator<Item = u16>) -> Self {
        self.extension_types = types.into_iter().collect();
        self
    }

    /// As [`extension_types`](Self::extension_types), of proposals (section 17.4).
    pub fn proposal_types(mut self, types: impl IntoIterator<Item = u16>) -> Self {
        self.proposal_types = types.into_iter().collect();
        self
    }

    /// What leaves say that the client can do, whose credentials are of these types.
    pub(super) fn capabilities(&self, credentials: &[CredentialType]) -> Capabilities {
        let more = self.extension_types.iter().copied().map(ExtensionType::from);
        let extensions: Vec<_> = [ExtensionType::LastResort].into_iter().chain(more).collect();
        let proposals: Vec<_> = self.proposal_types.iter().copied().map(ProposalType::from).collect();
        Capabilities::new(None, None, Some(&extensions), Some(&proposals), Some(credentials))
    }

    /// Refuses to reserve more messages than may be missing.
    pub(super) fn check(&self, save: SavePolicy) -> Result<()> {
        save.check(self.maximum_forward_distance)
    }

    /// Which messages groups keep that say nothing else.
    pub(super) fn retention(&self) -> Retention {
        if self.history { Retention::all() } else { Retention::nothing() }
    }

    pub(super) fn create_config(
        &self,
        ciphersuite: Ciphersuite,
        capabilities: Capabilities,
    ) -> MlsGroupCreateConfigBuilder {
        MlsGroupCreateConfig::builder()
            .ciphersuite(ciphersuite)
            .capabilities(capabilities)
            .wire_format_policy(self.wire_format_policy())
            .use_ratchet_tree_extension(true)
            .max_past_epochs(self.max_past_epochs)
            .padding_size(self.padding_size)
            .sender_ratchet_configuration(self.ratchet())
    }

    pub(super) fn join_config(&self) -> MlsGroupJoinConfig {
        MlsGroupJoinConfig::builder()
            .wire_format_policy(self.wire_format_policy())
            .use_ratchet_tree_extension(true)
            .max_past_epochs(self.max_past_epochs)
            .padding_size(self.padding_size)
            .sender_ratchet_configuration(self.ratchet())
            .build()
    }

    /// What others send is taken in both formats: they may have other settings, or newer ones.
    fn wire_format_policy(&self) -> WireFormatPolicy {
        match self.handshake_format {
            HandshakeFormat::Private => MIXED_CIPHERTEXT_WIRE_FORMAT_POLICY,
            HandshakeFormat::Public => MIXED_PLAINTEXT_WIRE_FORMAT_POLICY,
        }
    }

    fn ratchet(&self) -> SenderRatchetConfiguration {
        SenderRatchetConfiguration::new(self.out_of_order_tolerance, self.maximum_forward_distance)
    }
}
