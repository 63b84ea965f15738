//! [`ClientBuilder`]: makes a client.

use std::fmt;
use std::sync::Arc;

use mls_keep_core::{Error, ErrorKind, Result, SecretBytes, limits};
use openmls::credentials::{BasicCredential, Credential, CredentialType, CredentialWithKey};
use openmls::prelude::{Capabilities, Ciphersuite};
use openmls_basic_credential::SignatureKeyPair;
use openmls_rust_crypto::RustCrypto;
use openmls_traits::random::OpenMlsRand;

use super::interval::Saves;
use super::load::ClientRecord;
use super::receive_policy::AcceptValid;
use super::settings::GroupSettings;
use super::signer::GivenSigners;
use super::{Client, ClientSigner, CryptoProvider, Profile};
use crate::clock::system_time;
use crate::memory::ScopeMemory;
use crate::policy::{Persistence, SavePolicy};
use crate::provider::TransactionStorage;
use crate::records::{Kind, codec};
use crate::scope::Scope;

/// Makes a [`Client`]: see [`Client::builder`](super::Client::builder).
#[must_use = "a builder does nothing until `create` is called"]
pub struct ClientBuilder<C = RustCrypto> {
    identity: SecretBytes,
    ciphersuite: Ciphersuite,
    credential: Option<Credential>,
    signer: Option<ClientSigner>,
    settings: GroupSettings,
    persistence: Option<Persistence>,
    memory: Option<usize>,
    crypto: Arc<C>,
}

impl ClientBuilder {
    pub(super) fn new(identity: Vec<u8>) -> Self {
        Self {
            identity: identity.into(),
            ciphersuite: Ciphersuite::MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519,
            credential: None,
            signer: None,
            settings: GroupSettings::default(),
            persistence: None,
            memory: None,
            crypto: Arc::new(RustCrypto::default()),
        }
    }
}

impl<C: CryptoProvider> ClientBuilder<C> {
    /// The ciphersuite (RFC 9420 section 17.1). Default: `MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519`, the one that
    /// every MLS library has.
    pub fn ciphersuite(mut self, ciphersuite: Ciphersuite) -> Self {
        self.ciphersuite = ciphersuite;
        self
    }

    /// The credential (RFC 9420 section 5.3). Default: a basic credential of the identity.
    pub fn credential(mut self, credential: Credential) -> Self {
        self.credential = Some(credential);
        self
    }

    /// A signature key that the application has made, for instance because the credential certifies it: a `SignatureKeyPair`, which
    /// is kept with the client, or an [external signer](ClientSigner::external), which is asked for one signature here, to see that
    /// it has the key. Default: a fresh key pair.
    pub fn signer(mut self, signer: impl Into<ClientSigner>) -> Self {
        self.signer = Some(signer.into());
        self
    }

    /// How this client's groups work.
    pub fn settings(mut self, settings: GroupSettings) -> Self {
        self.settings = settings;
        self
    }

    /// The keep that the client is saved in, from the beginning.
    pub fn persistence(mut self, persistence: Persistence) -> Self {
        self.persistence = Some(persistence);
        self
    }

    /// Bounds what the client keeps in memory: see [`Client::set_memory`].
    pub fn memory(mut self, bytes: usize) -> Self {
        self.memory = Some(bytes);
        self
    }

    /// Another cryptographic library.
    pub fn crypto<D: CryptoProvider>(self, crypto: Arc<D>) -> ClientBuilder<D> {
        let Self { identity, ciphersuite, credential, signer, settings, persistence, memory, .. } = self;
        ClientBuilder { identity, ciphersuite, credential, signer, settings, persistence, memory, crypto }
    }

    /// Makes the client, and its keys. With a persistence it is saved.
    ///
    /// # Errors
    /// `Invalid` if the identity is over its limit, the cryptographic library does not have the ciphersuite, the signature key is
    /// not of its scheme, an external signer does not sign with its public key (`Aborted` if it fails), or more is to be
    /// [reserved](SavePolicy::Interval) than the groups tolerate; `Conflict` if the keep has a client of this identity; and the
    /// errors of the backend.
    pub async fn create(self) -> Result<Client<C>> {
        if self.identity.is_empty() || self.identity.len() > limits::MAX_IDENTITY_LEN {
            let max = limits::MAX_IDENTITY_LEN;
            return Err(Error::new(ErrorKind::Invalid, format!("an identity has 1 to {max} bytes")));
        }
        self.crypto.supports(self.ciphersuite).map_err(|error| {
            Error::new(ErrorKind::Invalid, "the cryptographic library does not have this ciphersuite")
                .with_source(error)
        })?;
        let algorithm = self.ciphersuite.signature_algorithm();
        let signer = match self.signer {
            Some(signer) => signer,
            None => {
                let pair = SignatureKeyPair::new(algorithm).map_err(|error| {
                    Error::new(ErrorKind::Internal, "the signature key could not be made").with_source(error)
                })?;
                pair.into()
            }
        };
        let signer = signer.checked(&self.crypto, algorithm)?;
        let mut given = GivenSigners::default();
        given.give(&signer);
        let credential = self.credential.unwrap_or_else(|| BasicCredential::new(self.identity.to_vec()).into());
        let profile = Profile {
            credential: CredentialWithKey { credential, signature_key: signer.public_key().into() },
            identity: self.identity,
            ciphersuite: self.ciphersuite,
            signer,
            given,
            settings: self.settings,
        };
        let mut client = Client {
            own: profile.first_scope(self.crypto.as_ref())?,
            crypto: self.crypto,
            profile,
            groups: Default::default(),
            escaped: Default::default(),
            uses: 1,
            memory: self.memory,
            store: None,
            first_save: None,
            policy: SavePolicy::Manual,
            saves: Saves::new()?,
            uncertain: false,
            saving: false,
            receive_policy: Arc::new(AcceptValid),
            outbox: false,
            wall_clock: Arc::new(system_time),
        };
        if let Some(Persistence { manager, save }) = self.persistence {
            client.profile.settings.check(save)?;
            manager.save_client_state(&mut client).await?;
            client.policy = save;
        }
        Ok(client)
    }
}

impl<C> fmt::Debug for ClientBuilder<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder").field("ciphersuite", &self.ciphersuite).finish_non_exhaustive()
    }
}

impl Profile {
    /// What leaves under `settings` say that the client can do.
    pub(super) fn capabilities(&self, settings: &GroupSettings) -> Capabilities {
        let credentials = match self.credential.credential.credential_type() {
            CredentialType::Basic => vec![CredentialType::Basic],
            other => vec![CredentialType::Basic, other],
        };
        settings.capabilities(&credentials)
    }

    /// The own scope of a new client, unsaved.
    fn first_scope(&self, rand: &impl OpenMlsRand) -> Result<ScopeMemory> {
        let storage = TransactionStorage::new(Default::default(), Default::default());
        self.signer.store(&storage, rand)?;
        let client = ClientRecord {
            ciphersuite: self.ciphersuite.into(),
            credential_type: self.credential.credential.credential_type().into(),
            credential: self.credential.credential.serialized_content().to_vec().into(),
            signature_key: self.signer.public_key().to_vec(),
            settings: self.settings.clone(),
        };
        storage.put(&Scope::Client, Kind::Client.only(), Some(codec::encode(Kind::Client, &client, 0)?));
        let mut own = ScopeMemory::default();
        own.apply(storage.take_changes().client);
        Ok(own)
    }
}
