//! Key packages (RFC 9420 section 10): with each, somebody can invite this client once.

use std::fmt;
use std::time::{Duration, SystemTime};

use mls_keep_core::{Error, ErrorKind, Result};
use openmls::framing::MlsMessageOut;
use openmls::key_packages::{KeyPackage, KeyPackageBundle, Lifetime};
use openmls::prelude::{Ciphersuite, KeyPackageRef, OpenMlsCrypto, OpenMlsProvider};
use openmls_traits::storage::StorageProvider as _;
use tracing::instrument;

use super::refusal::aborted;
use super::{BoxError, Client, CryptoProvider, last_resort};
use crate::clock::system_time;
use crate::records::{Kind, codec};
use crate::scope::Scope;

/// At most so many key packages are made by one call.
pub const MAX_KEY_PACKAGES: usize = 1000;

/// What a key package is to be like.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[must_use = "options do nothing by themselves"]
pub struct KeyPackageOptions {
    lifetime: Option<Duration>,
    last_resort: bool,
}

impl KeyPackageOptions {
    /// Valid for 84 days from an hour ago, used once.
    pub fn new() -> Self {
        Self::default()
    }

    /// How long others may invite with it, counted from now, in whole seconds. An hour before now counts as well, for clocks
    /// that are behind.
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = Some(lifetime);
        self
    }

    /// For a service to give out when it has no other one left. It is not used up, so a later reader of the device reads
    /// the first epoch of every group that was joined with it: see RFC 9420 section 16.8.
    pub fn last_resort(mut self) -> Self {
        self.last_resort = true;
        self
    }
}

/// A key package of this client that has not been used.
#[derive(Clone, Eq, PartialEq)]
#[non_exhaustive]
pub struct KeyPackageSummary {
    /// Its `KeyPackageRef` (RFC 9420 section 5.2).
    pub reference: Vec<u8>,
    /// The key package, to be published: the TLS encoding of an `MLSMessage`.
    pub key_package: Vec<u8>,
    /// The ciphersuite.
    pub ciphersuite: Ciphersuite,
    /// When its lifetime begins.
    pub not_before: SystemTime,
    /// When its lifetime ends.
    pub not_after: SystemTime,
    /// It is a last resort.
    pub last_resort: bool,
}

impl<C: CryptoProvider> Client<C> {
    /// Makes a key package, with which others can invite this client once.
    ///
    /// # Errors
    /// `Aborted` if OpenMLS fails, `Conflict`; and the errors of the backend.
    pub async fn key_package(&mut self) -> Result<MlsMessageOut> {
        let mut made = self.make_key_packages(1, KeyPackageOptions::new()).await?;
        made.pop().ok_or_else(|| Error::new(ErrorKind::Internal, "no key package was made"))
    }

    /// Makes key packages in one commit, at most [`MAX_KEY_PACKAGES`]: each the TLS encoding of an `MLSMessage`.
    ///
    /// # Errors
    /// `Invalid` if there are to be more, or their lifetime is longer than the clock goes; and as
    /// [`key_package`](Self::key_package).
    #[instrument(level = "debug", skip_all, fields(count), err(level = "debug"))]
    pub async fn key_packages(&mut self, count: usize, options: KeyPackageOptions) -> Result<Vec<Vec<u8>>> {
        if count > MAX_KEY_PACKAGES {
            let text = format!("at most {MAX_KEY_PACKAGES} key packages are made at once");
            return Err(Error::new(ErrorKind::Invalid, text));
        }
        if options.lifetime.is_some_and(|lifetime| system_time().checked_add(lifetime).is_none()) {
            return Err(Error::new(ErrorKind::Invalid, "the lifetime of a key package is beyond the clock"));
        }
        let made = self.make_key_packages(count, options).await?;
        made.iter().map(|package| package.to_bytes().map_err(|error| aborted(error.into()))).collect()
    }

    async fn make_key_packages(&mut self, count: usize, options: KeyPackageOptions) -> Result<Vec<MlsMessageOut>> {
        let ciphersuite = self.ciphersuite();
        let capabilities = self.profile.capabilities(&self.profile.settings);
        self.repeat(&[], |tx| {
            let make = |_| {
                let mut builder = KeyPackage::builder().leaf_node_capabilities(capabilities.clone());
                if let Some(lifetime) = options.lifetime {
                    builder = builder.key_package_lifetime(Lifetime::new(lifetime.as_secs()));
                }
                if options.last_resort {
                    builder = builder.mark_as_last_resort();
                }
                let bundle = builder.build(ciphersuite, tx.provider, tx.signer, tx.credential.clone())?;
                Ok::<_, BoxError>(bundle.into_key_package().into())
            };
            (0..count).map(make).collect()
        })
        .await
    }

    /// The key packages that have not been used, in no order.
    ///
    /// # Errors
    /// `Corrupt`; and the errors of the backend.
    pub async fn unused_key_packages(&mut self) -> Result<Vec<KeyPackageSummary>> {
        self.freshen().await?;
        let crypto = std::sync::Arc::clone(&self.crypto);
        let packages = self.own.records.iter().filter(|(key, _)| Kind::KeyPackage.has(key));
        packages.map(|(_, value)| summary(&codec::decode(Kind::KeyPackage, value)?, crypto.as_ref())).collect()
    }

    /// Deletes the key packages whose lifetime ended before `time`. Invitations that were made with them can not be
    /// accepted any more, so leave some time for those that are under way. Returns how many there were.
    ///
    /// # Errors
    /// `Corrupt`, `Conflict`; and the errors of the backend.
    #[instrument(level = "debug", skip_all, err(level = "debug"))]
    pub async fn prune_key_packages(&mut self, time: SystemTime) -> Result<usize> {
        self.remove_key_packages(|package| package.not_after < time).await
    }

    /// Deletes the key package of this reference: it was withdrawn.
    ///
    /// # Errors
    /// `NotFound` if there is none, or it was used; and as [`prune_key_packages`](Self::prune_key_packages).
    pub async fn delete_key_package(&mut self, reference: &[u8]) -> Result<()> {
        match self.remove_key_packages(|package| package.reference == reference).await? {
            0 => Err(Error::new(ErrorKind::NotFound, "the client has no key package of this reference")),
            _ => Ok(()),
        }
    }

    async fn remove_key_packages(&mut self, goes: impl Fn(&KeyPackageSummary) -> bool) -> Result<usize> {
        let crypto = std::sync::Arc::clone(&self.crypto);
        self.repeat(&[], |tx| {
            let mut gone = 0;
            for value in tx.provider.storage().all(&Scope::Client, Kind::KeyPackage) {
                let bundle: KeyPackageBundle = codec::decode(Kind::KeyPackage, &value)?;
                if goes(&summary(&bundle, crypto.as_ref())?) {
                    let reference: KeyPackageRef = bundle.key_package().hash_ref(crypto.as_ref())?;
                    tx.provider.storage().delete_key_package(&reference)?;
                    last_resort::forget(tx.provider.storage(), reference.as_slice());
                    gone += 1;
                }
            }
            Ok(gone)
        })
        .await
    }
}

fn summary(bundle: &KeyPackageBundle, crypto: &impl OpenMlsCrypto) -> Result<KeyPackageSummary> {
    let package = bundle.key_package();
    let reference = package.hash_ref(crypto).map_err(|error| aborted(error.into()))?;
    let bytes = MlsMessageOut::from(package.clone()).to_bytes().map_err(|error| aborted(error.into()))?;
    let time = |seconds| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
    let unknown = || Error::new(ErrorKind::Corrupt, "the lifetime of a key package is beyond the clock");
    Ok(KeyPackageSummary {
        reference: reference.as_slice().to_vec(),
        key_package: bytes,
        ciphersuite: package.ciphersuite(),
        not_before: time(package.life_time().not_before()).ok_or_else(unknown)?,
        not_after: time(package.life_time().not_after()).ok_or_else(unknown)?,
        last_resort: package.last_resort(),
    })
}

impl fmt::Debug for KeyPackageSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyPackageSummary")
            .field("ciphersuite", &self.ciphersuite)
            .field("not_after", &self.not_after)
            .field("last_resort", &self.last_resort)
            .finish_non_exhaustive()
    }
}
