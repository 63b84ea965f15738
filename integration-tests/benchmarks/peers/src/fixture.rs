//! What an application that uses OpenMLS has stored when it moves to mls-keep. Shared by the makers of fixtures: each
//! includes this file.

use std::fs;
use std::path::Path;

use openmls::prelude::tls_codec::Deserialize as _;
use openmls::prelude::*;
use openmls::schedule::PreSharedKeyId;
use openmls_basic_credential::SignatureKeyPair;
use openmls_rust_crypto::OpenMlsRustCrypto;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

const CIPHERSUITE: Ciphersuite = Ciphersuite::MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519;

/// Errors of storage providers are not `Send`, so that they become text.
macro_rules! checked {
    ($result:expr) => {
        $result.map_err(|error| error.to_string())?
    };
}

/// A member: its provider, its signature key and its credential.
struct Member<'p, P> {
    provider: &'p P,
    signer: SignatureKeyPair,
    credential: CredentialWithKey,
}

/// Alice, whose state `alice` gets, and bob, who is her peer. Puts bob's state and what they would have sent next into
/// `directory`.
pub(crate) fn make<P: OpenMlsProvider>(alice: &P, directory: &Path) -> Result<()> {
    let bobs = OpenMlsRustCrypto::default();
    let alice = Member::new(alice, "alice")?;
    let bob = Member::new(&bobs, "bob")?;
    let carol = Member::new(alice.provider, "carol")?;

    talk(&alice, &bob)?;
    updating(&alice, &bob)?;
    let staged = staged(&alice, &bob)?;
    removed(&alice, &bob)?;
    // Another user of the same database.
    carol.group("carols")?;

    let id = PreSharedKeyId::external(b"psk".to_vec(), vec![7; 32]);
    checked!(id.store(alice.provider, b"what was agreed upon"));
    fs::write(directory.join("key-package"), alice.key_package()?.to_bytes()?)?;
    fs::write(directory.join("staged-commit"), staged)?;
    bobs.storage().save_to_file(&fs::File::create(directory.join("bob.json"))?)?;
    Ok(())
}

/// A group of alice's in which both have sent, in two epochs.
fn talk<P: OpenMlsProvider>(alice: &Member<'_, P>, bob: &Member<'_, OpenMlsRustCrypto>) -> Result<()> {
    let mut hers = alice.group("tea")?;
    let mut his = alice.invite(&mut hers, bob)?;
    for round in 0..2 {
        let message = checked!(hers.create_message(alice.provider, &alice.signer, b"from alice"));
        bob.receive(&mut his, &message)?;
        for _ in 0..=round {
            let message = checked!(his.create_message(bob.provider, &bob.signer, b"from bob"));
            alice.receive(&mut hers, &message)?;
        }
        let update = checked!(hers.self_update(alice.provider, &alice.signer, LeafNodeParameters::default()));
        checked!(hers.merge_pending_commit(alice.provider));
        bob.receive(&mut his, update.commit())?;
    }
    let message = checked!(hers.create_message(alice.provider, &alice.signer, b"from alice"));
    bob.receive(&mut his, &message)
}

/// A group of bob's in which alice has proposed to update her leaf, and bob has to commit that.
fn updating<P: OpenMlsProvider>(alice: &Member<'_, P>, bob: &Member<'_, OpenMlsRustCrypto>) -> Result<()> {
    let mut his = bob.group("coffee")?;
    let mut hers = bob.invite(&mut his, alice)?;
    let proposed = hers.propose_self_update(alice.provider, &alice.signer, LeafNodeParameters::default());
    let (proposal, _) = checked!(proposed);
    bob.receive(&mut his, &proposal)
}

/// A group in which alice has staged a commit that bob has not seen. Returns it.
fn staged<P: OpenMlsProvider>(alice: &Member<'_, P>, bob: &Member<'_, OpenMlsRustCrypto>) -> Result<Vec<u8>> {
    let mut hers = alice.group("staged")?;
    alice.invite(&mut hers, bob)?;
    let update = checked!(hers.self_update(alice.provider, &alice.signer, LeafNodeParameters::default()));
    Ok(update.into_commit().to_bytes()?)
}

/// A group that alice was removed from.
fn removed<P: OpenMlsProvider>(alice: &Member<'_, P>, bob: &Member<'_, OpenMlsRustCrypto>) -> Result<()> {
    let mut his = bob.group("left")?;
    let mut hers = bob.invite(&mut his, alice)?;
    let leaf = hers.own_leaf_index();
    let (commit, _, _) = checked!(his.remove_members(bob.provider, &bob.signer, &[leaf]));
    checked!(his.merge_pending_commit(bob.provider));
    alice.receive(&mut hers, &commit)
}

impl<'p, P: OpenMlsProvider> Member<'p, P> {
    fn new(provider: &'p P, name: &str) -> Result<Self> {
        let signer = SignatureKeyPair::new(CIPHERSUITE.signature_algorithm())?;
        checked!(signer.store(provider.storage()));
        let credential = BasicCredential::new(name.into()).into();
        let credential = CredentialWithKey { credential, signature_key: signer.to_public_vec().into() };
        Ok(Self { provider, signer, credential })
    }

    fn group(&self, id: &str) -> Result<MlsGroup> {
        let config = MlsGroupCreateConfig::builder()
            .ciphersuite(CIPHERSUITE)
            .wire_format_policy(PURE_CIPHERTEXT_WIRE_FORMAT_POLICY)
            .use_ratchet_tree_extension(true)
            .max_past_epochs(2)
            .build();
        let (id, credential) = (GroupId::from_slice(id.as_bytes()), self.credential.clone());
        Ok(checked!(MlsGroup::new_with_group_id(self.provider, &self.signer, &config, id, credential)))
    }

    fn key_package(&self) -> Result<MlsMessageOut> {
        let builder = KeyPackage::builder();
        let built = checked!(builder.build(CIPHERSUITE, self.provider, &self.signer, self.credential.clone()));
        Ok(MlsMessageOut::from(built.key_package().clone()))
    }

    /// Adds `guest`, and returns the group as it has it.
    fn invite<Q: OpenMlsProvider>(&self, group: &mut MlsGroup, guest: &Member<'_, Q>) -> Result<MlsGroup> {
        let builder = KeyPackage::builder();
        let built = checked!(builder.build(CIPHERSUITE, guest.provider, &guest.signer, guest.credential.clone()));
        let added = group.add_members(self.provider, &self.signer, &[built.key_package().clone()]);
        let (_, welcome, _) = checked!(added);
        checked!(group.merge_pending_commit(self.provider));
        let MlsMessageBodyIn::Welcome(welcome) = incoming(&welcome)?.extract() else {
            return Err("this is no Welcome".into());
        };
        let config = MlsGroupJoinConfig::builder()
            .wire_format_policy(PURE_CIPHERTEXT_WIRE_FORMAT_POLICY)
            .use_ratchet_tree_extension(true)
            .max_past_epochs(2)
            .build();
        let staged = checked!(StagedWelcome::new_from_welcome(guest.provider, &config, welcome, None));
        Ok(checked!(staged.into_group(guest.provider)))
    }

    fn receive(&self, group: &mut MlsGroup, message: &MlsMessageOut) -> Result<()> {
        let message = incoming(message)?.try_into_protocol_message()?;
        match checked!(group.process_message(self.provider, message)).into_content() {
            ProcessedMessageContent::StagedCommitMessage(commit) => {
                checked!(group.merge_staged_commit(self.provider, *commit));
            }
            ProcessedMessageContent::ProposalMessage(proposal) => {
                checked!(group.store_pending_proposal(self.provider.storage(), *proposal));
            }
            _ => {}
        }
        Ok(())
    }
}

fn incoming(message: &MlsMessageOut) -> Result<MlsMessageIn> {
    Ok(MlsMessageIn::tls_deserialize_exact(message.to_bytes()?)?)
}
