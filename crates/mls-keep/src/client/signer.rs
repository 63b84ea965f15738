//! [`ClientSigner`]: what signs for a client.
//!
//! A key pair stands in the store. Of a key that lives elsewhere the store has the public half (record `07` of the client's
//! scope), and the application gives the signer again after loading.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mls_keep_core::{Error, ErrorKind, Result, SecretBytes};
use openmls::group::GroupId;
use openmls::prelude::{KeyPackageBundle, OpenMlsProvider};
use openmls_basic_credential::SignatureKeyPair;
use openmls_traits::random::OpenMlsRand;
use openmls_traits::signatures::{Signer, SignerError};
use openmls_traits::types::SignatureScheme;
use serde::{Deserialize, Serialize};

use super::{Client, CryptoProvider};
use crate::provider::TransactionStorage;
use crate::records::{Kind, codec};
use crate::scope::Scope;

/// A signer that the application gives.
#[derive(Clone)]
struct External {
    signer: Arc<dyn Signer + Send + Sync>,
    /// Whether a signature is one of the public key. None before the client knows the signer.
    verifies: Option<Verifier>,
}

type Verifier = Arc<dyn Fn(&[u8], &[u8]) -> bool + Send + Sync>;

/// What signs for a client: a key pair that is kept with it, or a signer of the application's, whose private key stands
/// elsewhere: in an enclave, a TPM, an HSM.
///
/// ```
/// use std::sync::Arc;
/// use mls_keep::openmls::prelude::{Ciphersuite, SignatureScheme};
/// use mls_keep::{Client, ClientSigner, ErrorKind, Signer, SignerError};
/// # use mls_keep::{Encryption, MasterKey, MemoryBackend, PersistenceManager, SignatureKeyPair};
///
/// struct Enclave {
///     // a handle of the platform's
/// #   key: SignatureKeyPair,
/// }
///
/// impl Signer for Enclave {
///     fn sign(&self, payload: &[u8]) -> Result<Vec<u8>, SignerError> {
///         // Ask the enclave, which may ask the user.
/// #       self.key.sign(payload)
///     }
///
///     fn signature_scheme(&self) -> SignatureScheme {
///         SignatureScheme::ED25519
///     }
/// }
/// # futures_executor::block_on(async {
/// # let encryption = Encryption::hkdf_sha256(MasterKey::new([1; 32]));
/// # let manager = PersistenceManager::builder(MemoryBackend::new()).encryption(encryption).open().await?;
/// # let key = SignatureKeyPair::new(SignatureScheme::ED25519).unwrap();
/// # let public_key = key.to_public_vec();
/// # let enclave = Arc::new(Enclave { key });
/// let signer = || ClientSigner::external(public_key.clone(), enclave.clone());
/// let mut alice = manager.client_builder("alice").signer(signer()).create().await?;
/// let group = alice.create_group("tea").await?;
/// drop(alice);
///
/// let mut alice = manager.load_client_state("alice").await?;
/// let refused = alice.send(&group, "at five?").await; // what signs nothing works
/// assert_eq!(refused.unwrap_err().kind(), ErrorKind::NoSigner);
/// alice.use_signer(signer())?;
/// alice.send(&group, "at five?").await?;
/// # Ok::<(), mls_keep::Error>(())
/// # }).unwrap();
/// ```
pub struct ClientSigner {
    public_key: Vec<u8>,
    scheme: SignatureScheme,
    key: Key,
}

enum Key {
    Stored(SignatureKeyPair),
    External(External),
    /// Nobody has given the signer. Whether it was asked.
    NotGiven(AtomicBool),
    Withheld,
}

/// What is stored of a key whose signer is elsewhere: record `07` of the client's scope.
#[derive(Deserialize, Serialize)]
struct ExternalRecord {
    public_key: Vec<u8>,
    /// Random, so that two clients with one key are not taken for each other.
    id: [u8; 16],
}

/// The signers that were given to a client, by their public keys. Not saved.
#[derive(Clone, Default)]
pub(super) struct GivenSigners(Vec<(Vec<u8>, External)>);

impl ClientSigner {
    /// A signer of the application's, which has the private key that belongs to `public_key`. Nothing but `public_key` is
    /// stored: after loading, [give the signer again](Client::use_signer).
    ///
    /// What the application signs with it past the client is not seen here. In a group that was restored from a backup, sign
    /// nothing until the client has entered the group anew.
    ///
    /// It is called in the middle of a transaction, and blocks the thread for as long as it takes. If it fails, or panics, nothing
    /// has changed. Each signature is verified before it is used: one that others would refuse leaves them in another epoch.
    pub fn external(public_key: impl Into<Vec<u8>>, signer: Arc<dyn Signer + Send + Sync>) -> Self {
        let (public_key, scheme) = (public_key.into(), signer.signature_scheme());
        Self { public_key, scheme, key: Key::External(External { signer, verifies: None }) }
    }

    /// The public key, as it stands in leaves (RFC 9420 section 5.1.1).
    #[must_use]
    pub fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    /// Whether the private key stands elsewhere than in the store.
    #[must_use]
    pub fn is_external(&self) -> bool {
        matches!(self.key, Key::External(_) | Key::NotGiven(_))
    }

    /// Signs nothing.
    pub(super) fn withheld(&self) -> Self {
        Self { public_key: self.public_key.clone(), scheme: self.scheme, key: Key::Withheld }
    }

    fn not_given(public_key: &[u8], scheme: SignatureScheme) -> Self {
        Self { public_key: public_key.into(), scheme, key: Key::NotGiven(AtomicBool::new(false)) }
    }

    /// Whether it was asked for a signature since this was asked last, and nobody has given it.
    pub(super) fn was_missed(&self) -> bool {
        matches!(&self.key, Key::NotGiven(asked) if asked.swap(false, Ordering::Relaxed))
    }

    /// The same signer for a client with this cryptography. Refused is one that does not sign with the key that it is said to
    /// have.
    pub(super) fn checked(mut self, crypto: &Arc<impl CryptoProvider>, scheme: SignatureScheme) -> Result<Self> {
        if self.scheme != scheme {
            return Err(Error::new(ErrorKind::Invalid, "the signature key is not of the ciphersuite's scheme"));
        }
        let Key::External(external) = &mut self.key else { return Ok(self) };
        let (crypto, public_key) = (Arc::clone(crypto), self.public_key.clone());
        external.verifies = Some(Arc::new(move |payload, signature| {
            crypto.verify_signature(scheme, payload, &public_key, signature).is_ok()
        }));
        // Nothing in MLS: what is signed there begins with another label.
        match self.sign(b"mls-keep tries a signer") {
            Ok(_) => Ok(self),
            Err(SignerError::InvalidSignature) => {
                Err(Error::new(ErrorKind::Invalid, "the signer does not sign with this public key"))
            }
            Err(error) => {
                Err(Error::new(ErrorKind::Aborted, "the signer does not sign").with_source(format!("{error:?}")))
            }
        }
    }

    /// Puts into the client's scope what is stored of it.
    pub(super) fn store(&self, storage: &TransactionStorage, rand: &impl OpenMlsRand) -> Result<()> {
        if let Key::Stored(pair) = &self.key {
            return pair.store(storage);
        }
        let key = record_key(&self.public_key)?;
        if storage.get(&Scope::Client, &key).is_none() {
            let id = rand.random_array().map_err(|error| {
                Error::new(ErrorKind::Internal, "there are no random bytes").with_source(format!("{error:?}"))
            })?;
            let record = ExternalRecord { public_key: self.public_key.clone(), id };
            let record = codec::encode(Kind::ExternalSigner, &record, 0)?;
            storage.put(&Scope::Client, key, Some(record));
        }
        Ok(())
    }
}

impl GivenSigners {
    pub(super) fn give(&mut self, signer: &ClientSigner) {
        if let Key::External(external) = &signer.key {
            self.0.retain(|(key, _)| *key != signer.public_key);
            self.0.push((signer.public_key.clone(), external.clone()));
        }
    }

    fn has(&self, public_key: &[u8]) -> bool {
        self.0.iter().any(|(key, _)| key == public_key)
    }

    /// The signer of a key that the client has; `None` if it has no such key.
    pub(super) fn find(
        &self,
        storage: &TransactionStorage,
        public_key: &[u8],
        scheme: SignatureScheme,
    ) -> Option<ClientSigner> {
        if let Some(pair) = SignatureKeyPair::read(storage, public_key, scheme) {
            return Some(pair.into());
        }
        if !is_external(storage, public_key) {
            return None;
        }
        let fits = |external: &External| external.signer.signature_scheme() == scheme;
        let given = self.0.iter().find(|(key, external)| key == public_key && fits(external));
        Some(match given {
            Some((_, external)) => {
                ClientSigner { public_key: public_key.into(), scheme, key: Key::External(external.clone()) }
            }
            None => ClientSigner::not_given(public_key, scheme),
        })
    }
}

impl<C: CryptoProvider> Client<C> {
    /// Gives a client the signer of a key of its own that is not stored. That is needed each time a client of such a key was
    /// loaded, restored, imported or reclaimed, before anything is signed; until then whatever signs is `NoSigner`, and
    /// everything else works: reading, receiving, joining. The signer is asked for one signature here, to see that it has
    /// the key.
    ///
    /// After [`set_credential`](Self::set_credential) the client's groups go over to the new key one by one. Until they have,
    /// give the old signer, too.
    ///
    /// # Errors
    /// `NotFound` if the client has no such key, `Invalid` if the key is stored, or the signer does not sign with it, `Aborted`
    /// if the signer fails.
    pub fn use_signer(&mut self, signer: ClientSigner) -> Result<()> {
        let storage = TransactionStorage::new(Arc::clone(&self.own.records), Default::default());
        if matches!(signer.key, Key::Stored(_)) {
            return Err(Error::new(
                ErrorKind::Invalid,
                "a key pair is stored with the client, and is no external signer",
            ));
        }
        if !is_external(&storage, &signer.public_key) {
            return Err(Error::new(ErrorKind::NotFound, "the client has no external signer of this public key"));
        }
        let signer = signer.checked(&self.crypto, self.ciphersuite().signature_algorithm())?;
        self.profile.given.give(&signer);
        self.reload_profile()
    }

    /// The public keys of this client whose signers are elsewhere and were not [given](Self::use_signer) so far.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn missing_signers(&self) -> Result<Vec<Vec<u8>>> {
        let mut missing = Vec::new();
        for (_, record) in self.own.records.iter().filter(|(key, _)| Kind::ExternalSigner.has(key)) {
            let ExternalRecord { public_key, .. } = codec::decode(Kind::ExternalSigner, record)?;
            if !self.profile.given.has(&public_key) {
                missing.push(public_key);
            }
        }
        Ok(missing)
    }

    /// Forgets the external signers that nothing needs any more: not the client, none of its groups, and no key package that
    /// others may still use. Returns their public keys, so that the private ones can be deleted where they are. Reads all
    /// groups, if there is more than one external signer. While something is staged or proposed in any group, all stay.
    ///
    /// Call it when no other process uses the client: one that has not seen the last
    /// [`set_credential`](Self::set_credential) may just be committing the old key.
    ///
    /// # Errors
    /// `Conflict`, `Corrupt`; and the errors of the backend.
    pub async fn prune_signers(&mut self) -> Result<Vec<Vec<u8>>> {
        let mut attempt = 1;
        loop {
            let pruned = self.try_prune_signers().await;
            if !self.may_repeat(&pruned, &mut attempt) {
                return pruned;
            }
        }
    }

    async fn try_prune_signers(&mut self) -> Result<Vec<Vec<u8>>> {
        self.refresh().await?;
        self.freshen().await?;
        let mut unused = BTreeMap::new();
        for (key, record) in self.own.records.iter().filter(|(key, _)| Kind::ExternalSigner.has(key)) {
            let ExternalRecord { public_key, .. } = codec::decode(Kind::ExternalSigner, record)?;
            unused.insert(public_key, key.clone());
        }
        unused.remove(self.profile.credential.signature_key.as_slice());
        if unused.is_empty() {
            return Ok(Vec::new());
        }
        for (key, value) in self.own.records.iter() {
            if Kind::KeyPackage.has(key) {
                let bundle: KeyPackageBundle = codec::decode(Kind::KeyPackage, value)?;
                unused.remove(bundle.key_package().leaf_node().signature_key().as_slice());
            } else if Kind::RetainedKeyPackageMaterial.has(key) {
                return Ok(Vec::new());
            }
        }
        let version = self.own.version;
        for id in self.group_scopes().await? {
            if unused.is_empty() {
                return Ok(Vec::new());
            }
            let scope = &self.load_scope_or_default(id.as_slice()).await?.scope;
            let waits = [Kind::Staged, Kind::OwnLeafNode, Kind::QueuedProposal];
            if scope.records.keys().any(|key| waits.iter().any(|kind| kind.has(key))) {
                return Ok(Vec::new());
            }
            if scope.has_group() {
                let group = self.loaded_group(&id).await?;
                if group.pending_commit().is_some() {
                    return Ok(Vec::new());
                }
                if let Some(leaf) = group.own_leaf_node() {
                    unused.remove(leaf.signature_key().as_slice());
                }
            }
        }
        if unused.is_empty() {
            return Ok(Vec::new());
        }
        let session = self.begin(&[]).await?;
        if session.own_version() != version {
            return Err(Error::new(ErrorKind::Conflict, "somebody else has changed the client meanwhile"));
        }
        for key in unused.values() {
            session.provider().storage().put(&Scope::Client, key.clone(), None);
        }
        session.commit().await?;
        self.profile.given.0.retain(|(key, _)| !unused.contains_key(key));
        Ok(unused.into_keys().collect())
    }

    /// The groups that there are, or that are about to be entered.
    async fn group_scopes(&mut self) -> Result<Vec<GroupId>> {
        let mut ids: BTreeSet<SecretBytes> = self.groups.keys().cloned().collect();
        while let Some(store) = &self.store {
            let scopes = store.scopes().await;
            if !self.must_repeat(&scopes).await? {
                ids.extend(scopes?.iter().filter_map(|scope| scope.group_id().map(SecretBytes::from)));
                break;
            }
        }
        Ok(ids.iter().map(|id| GroupId::from_slice(id)).collect())
    }
}

impl Signer for ClientSigner {
    fn sign(&self, payload: &[u8]) -> Result<Vec<u8>, SignerError> {
        match &self.key {
            Key::Stored(pair) => pair.sign(payload),
            Key::External(External { signer, verifies }) => {
                let signature = signer.sign(payload)?;
                match verifies {
                    Some(verifies) if !verifies(payload, &signature) => Err(SignerError::InvalidSignature),
                    _ => Ok(signature),
                }
            }
            Key::NotGiven(asked) => {
                asked.store(true, Ordering::Relaxed);
                Err(SignerError::SigningError)
            }
            Key::Withheld => Err(SignerError::SigningError),
        }
    }

    fn signature_scheme(&self) -> SignatureScheme {
        self.scheme
    }
}

impl From<SignatureKeyPair> for ClientSigner {
    /// A key pair that is kept with the client.
    fn from(pair: SignatureKeyPair) -> Self {
        Self { public_key: pair.to_public_vec(), scheme: pair.signature_scheme(), key: Key::Stored(pair) }
    }
}

impl fmt::Debug for ClientSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientSigner").field("is_external", &self.is_external()).finish_non_exhaustive()
    }
}

/// Signs with nothing, for messages that nobody gets.
pub(super) struct NoSignature(pub(super) SignatureScheme);

impl Signer for NoSignature {
    fn sign(&self, _: &[u8]) -> Result<Vec<u8>, SignerError> {
        Ok(Vec::new())
    }

    fn signature_scheme(&self) -> SignatureScheme {
        self.0
    }
}

pub(super) fn no_signer() -> Error {
    let text = "the client's signature key is elsewhere, and its signer was not given: give it first";
    Error::new(ErrorKind::NoSigner, text)
}

fn is_external(storage: &TransactionStorage, public_key: &[u8]) -> bool {
    record_key(public_key).is_ok_and(|key| storage.get(&Scope::Client, &key).is_some())
}

fn record_key(public_key: &[u8]) -> Result<SecretBytes> {
    Ok(Kind::ExternalSigner.by_encoded(&codec::encode_key(public_key)?))
}
