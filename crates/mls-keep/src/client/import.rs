//! Coming from another storage of OpenMLS's.

use mls_keep_core::{Error, ErrorKind, Result};
use openmls::credentials::Credential;
use openmls::group::{GroupId, MlsGroup};
use openmls::key_packages::KeyPackageBundle;
use openmls::prelude::{Ciphersuite, OpenMlsProvider, SignaturePublicKey};
use openmls::schedule::PreSharedKeyId;
use openmls_basic_credential::SignatureKeyPair;
use openmls_traits::storage::StorageProvider as _;
use tracing::instrument;

use super::groups::{add_to_list, identity_of};
use super::load::no_group;
use super::reserve::of_nobody;
use super::{Client, ClientBuilder, CryptoProvider};
use crate::import::{
    Assembled, ImportReport, ImportedGroup, KeyPackages, LeftGroup, SKIPPED, StoredGroup, StoredState, WhyLeft,
    preshared_key, signer,
};
use crate::policy::SavePolicy;
use crate::provider::TransactionStorage;
use crate::records::{self, Kind, codec};
use crate::scope::Scope;

/// Who has leaves in what is imported.
#[derive(Clone, Debug)]
struct Owner {
    credential: Credential,
    signature_key: SignaturePublicKey,
    ciphersuite: Ciphersuite,
}

/// How an attempt to take over a group ended.
enum Outcome {
    Taken(ImportedGroup),
    Left(WhyLeft),
}

impl StoredState {
    /// The identities that have own leaves in the groups and key packages, each once.
    #[must_use]
    pub fn identities(&self) -> Vec<Vec<u8>> {
        let mut identities = Vec::new();
        for owner in self.owners() {
            let identity = identity_of(&owner.credential).to_vec();
            if !identities.contains(&identity) {
                identities.push(identity);
            }
        }
        identities
    }

    /// Begins to make the client that has this identity: with the credential, signature key and ciphersuite of its leaves.
    ///
    /// # Errors
    /// `NotFound` if nobody has it, or its signature key is not stored: then make the client with
    /// [`Client::builder`], and give it the key.
    pub fn client_builder(&self, identity: &[u8]) -> Result<ClientBuilder> {
        let owners = self.owners();
        let of_identity = |owner: &&Owner| identity_of(&owner.credential) == identity;
        if !owners.iter().any(|owner| of_identity(&owner)) {
            return Err(Error::new(ErrorKind::NotFound, "nobody of this identity is in what is imported"));
        }
        let mut stored = self.signers();
        let with_signer = owners.iter().filter(of_identity).find_map(|owner| {
            let at = stored.iter().position(|signer| signer.public() == owner.signature_key.as_slice())?;
            Some((owner, stored.swap_remove(at)))
        });
        let no_key = "the signature key of this identity is not in what is imported: make the client with the key";
        let (owner, signer) = with_signer.ok_or_else(|| Error::new(ErrorKind::NotFound, no_key))?;
        Ok(Client::builder(identity).ciphersuite(owner.ciphersuite).credential(owner.credential.clone()).signer(signer))
    }

    fn signers(&self) -> Vec<SignatureKeyPair> {
        self.signature_keys.iter().filter_map(|pair| signer(self.encoding, pair).ok()).collect()
    }

    fn owners(&self) -> Vec<Owner> {
        let mut owners = Vec::new();
        for group in &self.groups {
            let storage = TransactionStorage::new(Default::default(), Default::default());
            let Some(group) = self.load(group, &storage) else { continue };
            if let Some(leaf) = group.own_leaf_node() {
                owners.push(Owner {
                    credential: leaf.credential().clone(),
                    signature_key: leaf.signature_key().clone(),
                    ciphersuite: group.ciphersuite(),
                });
            }
        }
        for package in KeyPackages::new(self).0 {
            let leaf = package.key_package().leaf_node();
            owners.push(Owner {
                credential: leaf.credential().clone(),
                signature_key: leaf.signature_key().clone(),
                ciphersuite: package.key_package().ciphersuite(),
            });
        }
        owners
    }

    /// Decodes a group into `storage`.
    fn load(&self, group: &StoredGroup, storage: &TransactionStorage) -> Option<MlsGroup> {
        let assembled = Assembled::new(self, group).ok()?;
        assembled.store(storage).ok()?;
        MlsGroup::load(storage, &assembled.id).ok()?
    }
}

impl<C: CryptoProvider> Client<C> {
    /// Takes over what another storage of OpenMLS's holds of this client: its groups, a commit for each, and its key
    /// packages, pre-shared keys and signature keys, in one commit before them. Whatever cannot be taken over is left, and
    /// the report says why. An import that was interrupted can be made again: what is there already is left, and so is what was
    /// imported before and is gone since, a group that was forgotten or a key package that was used. Its keys may have been
    /// used, too.
    ///
    /// **What is imported must not be used any more.** The application that it is from would send with the same keys, and
    /// receivers refuse what comes second. End that application first, import, and delete its storage.
    ///
    /// The application may have sent messages that it had not stored, or not in this copy. So the keys of the next
    /// [`SKIPPED`](crate::import::SKIPPED) messages are skipped in each group before anything is sent in it; the receivers see a gap. If it
    /// sent more than that, or a commit, see [`import_skipping`](Self::import_skipping).
    ///
    /// A group comes without a name and without a history, in the epoch that it is in, with its configuration. A commit that
    /// is staged in it can be [confirmed](Self::confirm) or [rejected](Self::reject).
    ///
    /// # Errors
    /// `Invalid` if the client belongs to no keep, `Conflict`; and the errors of the backend.
    pub async fn import(&mut self, stored: &StoredState) -> Result<ImportReport> {
        self.import_skipping(stored, SKIPPED).await
    }

    /// As [`import`](Self::import), and skips the keys of so many messages in each group, but no more than half of what its
    /// members tolerate to be missing (their [maximum forward distance](crate::GroupSettings::maximum_forward_distance), as far as
    /// this client's own says so). 0 if it is certain that nothing was sent which is not in what is imported.
    ///
    /// Proposals and commits have keys of their own, of which none is skipped. A provider stores them before they are sent, unless
    /// the application keeps back what it stores. If it may have sent some that are not in what is imported, have another
    /// member commit in the group before this client does: the new epoch has other keys.
    ///
    /// # Errors
    /// As [`import`](Self::import).
    #[instrument(level = "debug", skip_all, err(level = "debug"))]
    pub async fn import_skipping(&mut self, stored: &StoredState, messages: u32) -> Result<ImportReport> {
        if self.store.is_none() {
            return Err(super::not_kept());
        }
        let mut report = ImportReport::default();
        self.import_keys(stored, &mut report).await?;
        for group in &stored.groups {
            let id = stored.encoding.decode(&group.id).map_or_else(|_| Vec::new(), |id: GroupId| id.to_vec());
            match self.import_group(stored, group, messages).await? {
                Outcome::Taken(group) => report.groups.push(group),
                Outcome::Left(why) => report.left.push(LeftGroup { id, why }),
            }
        }
        Ok(report)
    }

    /// The signature keys are of use to whatever is taken over after this.
    async fn import_keys(&mut self, stored: &StoredState, report: &mut ImportReport) -> Result<()> {
        let identity = self.profile.identity.clone();
        let packages = KeyPackages::new(stored).0;
        let of_this = |package: &&KeyPackageBundle| {
            identity_of(package.key_package().leaf_node().credential()) == identity.as_slice()
        };
        let own: Vec<_> = packages.iter().filter(of_this).collect();
        let psks: Vec<_> = stored.psks.iter().filter_map(|psk| preshared_key(stored.encoding, psk).ok()).collect();
        report.psks = psks.len();
        report.psks_left = stored.psks.len() - psks.len();
        let own_keys: Vec<_> = stored
            .owners()
            .into_iter()
            .filter(|owner| identity_of(&owner.credential) == identity.as_slice())
            .map(|owner| owner.signature_key)
            .collect();
        let signers = stored.signers();
        let own_signers: Vec<_> =
            signers.iter().filter(|signer| own_keys.iter().any(|key| key.as_slice() == signer.public())).collect();
        let ciphersuite = self.ciphersuite();
        let taken = self.repeat(&[], |tx| {
            let storage = tx.provider.storage();
            for signer in &own_signers {
                signer.store(storage)?;
            }
            let mut taken = 0;
            for package in &own {
                let reference = package.key_package().hash_ref(tx.provider.crypto())?;
                let there: Option<KeyPackageBundle> = storage.key_package(&reference)?;
                if there.is_some() || !was_imported(storage, reference.as_slice()) {
                    storage.write_key_package(&reference, *package)?;
                    note_import(storage, reference.as_slice())?;
                    taken += 1;
                }
            }
            for (psk, secret) in &psks {
                PreSharedKeyId::new(ciphersuite, tx.provider.rand(), psk.clone())?.store(tx.provider, secret)?;
            }
            Ok(taken)
        });
        report.key_packages = taken.await?;
        report.key_packages_left = stored.key_packages.len() - report.key_packages;
        Ok(())
    }

    async fn import_group(&mut self, stored: &StoredState, group: &StoredGroup, messages: u32) -> Result<Outcome> {
        let Ok(assembled) = Assembled::new(stored, group) else { return Ok(Outcome::Left(WhyLeft::Unreadable)) };
        let id = assembled.id.clone();
        match self.loaded_group(&id).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) if error.kind() != ErrorKind::NeedsRejoin => return Err(error),
            _ => return Ok(Outcome::Left(WhyLeft::AlreadyThere)),
        }
        let mut session = self.begin(&[]).await?;
        if was_imported(session.provider().storage(), id.as_slice()) {
            return Ok(Outcome::Left(WhyLeft::ImportedBefore));
        }
        let mut why = None;
        let mut taken = None;
        session.replace_groups(|provider, _| {
            assembled.store(provider.storage())?;
            let group = MlsGroup::load(provider.storage(), &id)?.ok_or_else(no_group)?;
            add_to_list(provider, &id, "", None)?;
            note_import(provider.storage(), id.as_slice())?;
            let tolerated = group.configuration().sender_ratchet_configuration().maximum_forward_distance();
            let skipped = messages.min(SavePolicy::most_reserved(tolerated));
            if skipped > 0 {
                provider.storage().put(&Scope::group(&id), Kind::Reservation.only(), Some(of_nobody(skipped)?));
            }
            taken = Some(ImportedGroup {
                id: id.clone(),
                epoch: group.epoch().as_u64(),
                members: group.members().count(),
                has_staged: group.pending_commit().is_some(),
            });
            Ok(vec![group])
        })?;
        let [group] = &*session.groups_transaction().groups else { return Err(no_group()) };
        let leaf = group.own_leaf_node().map(|leaf| identity_of(leaf.credential()).to_vec());
        if !group.is_active() || leaf.is_none() {
            why = Some(WhyLeft::NotMember);
        } else if leaf.as_deref() != Some(session.identity()) {
            why = Some(WhyLeft::OfAnother);
        } else if !assembled.has_keys {
            why = Some(WhyLeft::Unreadable);
        } else if !session.can_sign() {
            why = Some(WhyLeft::NoSignatureKey);
        }
        match (why, taken) {
            (None, Some(taken)) => {
                session.commit().await?;
                Ok(Outcome::Taken(taken))
            }
            (why, _) => Ok(Outcome::Left(why.unwrap_or(WhyLeft::Unreadable))),
        }
    }
}

/// Whether the group of this id, or the key package of this reference, was taken over before.
fn was_imported(storage: &TransactionStorage, id: &[u8]) -> bool {
    storage.get(&Scope::Client, &Kind::Imported.with(&records::digest(id))).is_some()
}

/// Remembers that what has this id was taken over: what becomes of it here must not be undone by another import.
fn note_import(storage: &TransactionStorage, id: &[u8]) -> Result<()> {
    let key = Kind::Imported.with(&records::digest(id));
    storage.put(&Scope::Client, key, Some(codec::encode(Kind::Imported, &(), 0)?));
    Ok(())
}
