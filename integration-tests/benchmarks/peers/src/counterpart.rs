//! The other members of a group. Shared by the benchmark programs: each includes this file.

// Each program uses a part of it.
#![allow(dead_code)]

use openmls::prelude::tls_codec::{Deserialize as _, Serialize as _};
use openmls::prelude::*;
use openmls_basic_credential::SignatureKeyPair;
use openmls_rust_crypto::OpenMlsRustCrypto;

use crate::scenario::Result;

pub(crate) const CIPHERSUITE: Ciphersuite = Ciphersuite::MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519;

/// The creator of a group, with its state in memory. The members besides it and the subject never say anything.
pub(crate) struct Counterpart {
    provider: OpenMlsRustCrypto,
    signer: SignatureKeyPair,
    group: MlsGroup,
}

impl Counterpart {
    /// A group of `members` members that the counterpart is one of.
    pub(crate) fn with_group(members: usize) -> Result<Self> {
        let provider = OpenMlsRustCrypto::default();
        let (signer, credential) = identity("bob")?;
        let config = MlsGroupCreateConfig::builder()
            .ciphersuite(CIPHERSUITE)
            .wire_format_policy(PURE_CIPHERTEXT_WIRE_FORMAT_POLICY)
            .use_ratchet_tree_extension(true)
            .build();
        let group = MlsGroup::new(&provider, &signer, &config, credential)?;
        let mut bob = Self { provider, signer, group };
        let others = (1..members).map(|_| another()).collect::<Result<Vec<_>>>()?;
        if !others.is_empty() {
            bob.group.add_members(&bob.provider, &bob.signer, &others)?;
            bob.group.merge_pending_commit(&bob.provider)?;
        }
        Ok(bob)
    }

    /// The key package of somebody else, TLS-encoded as an `MLSMessage`.
    pub(crate) fn key_package_of_another() -> Result<Vec<u8>> {
        Ok(MlsMessageOut::from(another()?).to_bytes()?)
    }

    /// Adds a member. Returns the Welcome.
    pub(crate) fn add(&mut self, key_package: &[u8]) -> Result<Vec<u8>> {
        let welcome = self.stage_add(key_package)?;
        self.group.merge_pending_commit(&self.provider)?;
        Ok(welcome)
    }

    /// As [`add`](Self::add), and then thinks better of it.
    pub(crate) fn offer(&mut self, key_package: &[u8]) -> Result<Vec<u8>> {
        let welcome = self.stage_add(key_package)?;
        self.group.clear_pending_commit(self.provider.storage())?;
        Ok(welcome)
    }

    pub(crate) fn send(&mut self, content: &[u8]) -> Result<Vec<u8>> {
        Ok(self.group.create_message(&self.provider, &self.signer, content)?.to_bytes()?)
    }

    /// Renews its own keys.
    pub(crate) fn commit(&mut self) -> Result<Vec<u8>> {
        let bundle = self.group.self_update(&self.provider, &self.signer, LeafNodeParameters::default())?;
        self.group.merge_pending_commit(&self.provider)?;
        Ok(bundle.into_commit().to_bytes()?)
    }

    pub(crate) fn receive(&mut self, commit: &[u8]) -> Result<()> {
        let message = protocol_message(commit)?;
        let processed = self.group.process_message(&self.provider, message)?;
        match processed.into_content() {
            ProcessedMessageContent::StagedCommitMessage(commit) => {
                Ok(self.group.merge_staged_commit(&self.provider, *commit)?)
            }
            _ => Err("this is no commit".into()),
        }
    }

    /// What a message says.
    pub(crate) fn hear(&mut self, message: &[u8]) -> Result<Vec<u8>> {
        let processed = self.group.process_message(&self.provider, protocol_message(message)?)?;
        match processed.into_content() {
            ProcessedMessageContent::ApplicationMessage(message) => Ok(message.into_bytes()),
            _ => Err("this is no application message".into()),
        }
    }

    fn stage_add(&mut self, key_package: &[u8]) -> Result<Vec<u8>> {
        let key_package = parse_key_package(&self.provider, key_package)?;
        let (_, welcome, _) = self.group.add_members(&self.provider, &self.signer, &[key_package])?;
        Ok(welcome.tls_serialize_detached()?)
    }
}

/// A new identity.
pub(crate) fn identity(name: &str) -> Result<(SignatureKeyPair, CredentialWithKey)> {
    let signer = SignatureKeyPair::new(CIPHERSUITE.signature_algorithm())?;
    let credential = BasicCredential::new(name.into()).into();
    let credential = CredentialWithKey { credential, signature_key: signer.to_public_vec().into() };
    Ok((signer, credential))
}

pub(crate) fn parse_key_package(provider: &impl OpenMlsProvider, bytes: &[u8]) -> Result<KeyPackage> {
    match MlsMessageIn::tls_deserialize_exact(bytes)?.extract() {
        MlsMessageBodyIn::KeyPackage(key_package) => {
            Ok(key_package.validate(provider.crypto(), ProtocolVersion::Mls10)?)
        }
        _ => Err("this is no key package".into()),
    }
}

pub(crate) fn protocol_message(bytes: &[u8]) -> Result<ProtocolMessage> {
    match MlsMessageIn::tls_deserialize_exact(bytes)?.extract() {
        MlsMessageBodyIn::PrivateMessage(message) => Ok(message.into()),
        _ => Err("this is no private message".into()),
    }
}

/// The key package of a client that is never heard of again. A keep's own identities are as long as this one's.
fn another() -> Result<KeyPackage> {
    let (signer, credential) = identity("somebody@example.com")?;
    let provider = OpenMlsRustCrypto::default();
    Ok(KeyPackage::builder().build(CIPHERSUITE, &provider, &signer, credential)?.key_package().clone())
}
