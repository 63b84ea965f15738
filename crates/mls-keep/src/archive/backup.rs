//! Backups: written while the client works, and restored as a client that enters its groups anew.

use std::fmt;
use std::io::Write;
use std::sync::Arc;
use std::time::SystemTime;

use mls_keep_core::{
    Archive, ArchiveContents, ArchiveSummary, BackupPlan, Encryption, Error, ErrorKind, RestorePlan, Result,
};
use openmls_rust_crypto::RustCrypto;
use tracing::instrument;

use super::contents::{is_own_material, is_restored, is_without_group_secrets};
use super::{Progress, in_millis, load};
use crate::client::{Client, CryptoProvider};
use crate::clock::system_time;
use crate::manager::PersistenceManager;

/// What a backup holds, and under which key.
#[must_use = "options do nothing by themselves"]
pub struct BackupOptions<'a> {
    pub(super) key: Encryption,
    pub(super) contents: ArchiveContents,
    pub(super) since: Option<&'a Archive>,
    pub(super) progress: Progress<'a>,
    pub(super) created: Option<SystemTime>,
}

/// How a client is restored.
#[must_use = "options do nothing by themselves"]
pub struct RestoreOptions<'a> {
    replace: bool,
    progress: Progress<'a>,
}

impl<'a> BackupOptions<'a> {
    /// Everything, under this key or passphrase, in a backup that stands alone.
    ///
    /// Anyone with such a backup and its key can read what is sent in the client's groups, until each of the groups has had a
    /// commit of that client, or removed it. See [`without_group_secrets`](Self::without_group_secrets).
    pub fn new(key: Encryption) -> Self {
        Self { key, contents: ArchiveContents::Everything, since: None, progress: Box::new(|_| ()), created: None }
    }

    /// Leaves out the secrets of groups, key packages and pre-shared keys: what remains is the identity with its signature
    /// key, the lists of members, the history, and the application's records. Enough to come back by entering the groups
    /// anew, and worthless for reading what is sent in them.
    pub fn without_group_secrets(mut self) -> Self {
        self.contents = ArchiveContents::WithoutGroupSecrets;
        self
    }

    /// Only what has changed since another backup of the same client and contents. To restore it, that one is needed, too.
    pub fn since(mut self, parent: &'a Archive) -> Self {
        self.since = Some(parent);
        self
    }

    /// Calls `progress` with the number of bytes of records that were written so far.
    pub fn progress(mut self, progress: impl FnMut(u64) + Send + 'a) -> Self {
        self.progress = Box::new(progress);
        self
    }

    /// Says that it is made at this time. Otherwise the system's clock is asked. Nothing is decided by it.
    pub fn created(mut self, time: SystemTime) -> Self {
        self.created = Some(time);
        self
    }

    pub(super) fn plan(&self) -> BackupPlan<'a> {
        let plan = BackupPlan::new(in_millis(self.created.unwrap_or_else(system_time)));
        let plan = match self.contents {
            ArchiveContents::WithoutGroupSecrets => plan.only(self.contents, &is_without_group_secrets),
            ArchiveContents::OwnMaterial => plan.only(self.contents, &is_own_material),
            _ => plan,
        };
        match self.since {
            Some(parent) => plan.since(parent),
            None => plan,
        }
    }
}

impl<'a> RestoreOptions<'a> {
    /// Where there is no client of this identity.
    pub fn new() -> Self {
        Self { replace: false, progress: Box::new(|_| ()) }
    }

    /// In the place of a client of this identity, whose state goes.
    pub fn replace(mut self) -> Self {
        self.replace = true;
        self
    }

    /// Calls `progress` with the number of bytes of records that were restored so far.
    pub fn progress(mut self, progress: impl FnMut(u64) + Send + 'a) -> Self {
        self.progress = Box::new(progress);
        self
    }
}

impl PersistenceManager {
    /// Writes what is stored of `client` as an archive to `out`: one state, between two commits. What is not saved is not in it.
    ///
    /// The client is not borrowed, and can be used meanwhile. `out` should be buffered by nobody: it is written in pieces of 16
    /// KiB. When this returns, `out` was flushed, and is for the caller to make durable.
    ///
    /// ```
    /// # use mls_keep::{Archive, BackupOptions, Client, Encryption, MasterKey, MemoryBackend, PersistenceManager, RestoreOptions, SystemEntropy};
    /// # use std::io::Cursor;
    /// # futures_executor::block_on(async {
    /// # let open = || PersistenceManager::builder(MemoryBackend::new()).encryption(Encryption::hkdf_sha256(MasterKey::new([1; 32]))).open();
    /// # let manager = open().await?;
    /// # let mut alice = manager.client_builder("alice").create().await?;
    /// # let group = alice.create_group("tea").await?;
    /// let words = || Encryption::passphrase("six words that nobody will guess");
    /// let mut file = Vec::new(); // or a std::fs::File
    /// manager.create_backup(&alice, &mut file, BackupOptions::new(words())).await?;
    ///
    /// let backup = Archive::open(Cursor::new(file), &words(), &mut |_| ()).await?;
    /// let elsewhere = open().await?;
    /// let mut alice = elsewhere.restore_from_backup(&mut [backup], RestoreOptions::new()).await?;
    /// assert_eq!(alice.groups_to_rejoin().await?, [(group, "tea".to_owned())]);
    /// # Ok::<(), mls_keep::Error>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// `Invalid` if the client does not belong to this keep, or the options do not fit; `Conflict` if others commit so often
    /// that no state could be read; `MovedOut`, `Corrupt`; and the errors of the backend and of `out`. What was written by then
    /// is refused by everything that opens archives.
    pub fn create_backup<'a, C: CryptoProvider>(
        &'a self,
        client: &Client<C>,
        out: &'a mut (dyn Write + Send),
        options: BackupOptions<'a>,
    ) -> impl Future<Output = Result<ArchiveSummary>> + Send + use<'a, C> {
        let identity = client.belongs_to(self.keep()).then(|| client.identity().to_vec());
        async move {
            let identity = identity.ok_or_else(|| {
                Error::new(ErrorKind::Invalid, "the client does not belong to this keep: save it first")
            })?;
            self.create_backup_of(identity, out, options).await
        }
    }

    /// As [`create_backup`](Self::create_backup), of the client with this identity, which need not be loaded.
    ///
    /// # Errors
    /// `NotFound` if there is none; and as [`create_backup`](Self::create_backup).
    #[instrument(level = "debug", skip_all, err(level = "debug"))]
    pub async fn create_backup_of(
        &self,
        identity: impl AsRef<[u8]>,
        out: &mut (dyn Write + Send),
        mut options: BackupOptions<'_>,
    ) -> Result<ArchiveSummary> {
        let store = self.keep().open_client(identity.as_ref()).await?;
        let plan = options.plan();
        store.back_up(out, &options.key, &plan, options.progress.as_mut()).await
    }

    /// Restores a client from a backup and its deltas, in the order in which they were made: all of it, or nothing. The archive of
    /// a move will do, too.
    ///
    /// A restored client does not go on where the backup was made: keys may have been used since. So each of its groups
    /// must be entered anew ([`groups_to_rejoin`](Client::groups_to_rejoin)) before anything is sent in it; reading and
    /// receiving work as far as the backup has the secrets. Its key packages are gone: publish new ones.
    ///
    /// # Errors
    /// `Conflict` if the keep has a client of this identity, and it is not to be [replaced](RestoreOptions::replace), or
    /// somebody writes to it meanwhile; `Invalid` if the archives do not go on from each other; `Corrupt`,
    /// `UnsupportedVersion`; and the errors of the backend and of the files.
    pub async fn restore_from_backup(&self, archives: &mut [Archive], options: RestoreOptions<'_>) -> Result<Client> {
        self.restore_from_backup_with(archives, options, Arc::new(RustCrypto::default())).await
    }

    /// As [`restore_from_backup`](Self::restore_from_backup), with the cryptography of the caller's choice.
    ///
    /// # Errors
    /// As [`restore_from_backup`](Self::restore_from_backup).
    #[instrument(level = "debug", skip_all, err(level = "debug"))]
    pub async fn restore_from_backup_with<C: CryptoProvider>(
        &self,
        archives: &mut [Archive],
        mut options: RestoreOptions<'_>,
        crypto: Arc<C>,
    ) -> Result<Client<C>> {
        let plan = RestorePlan::new(&is_restored);
        let plan = if options.replace { plan.replace() } else { plan };
        let store = self.keep().restore_client(archives, &plan, options.progress.as_mut()).await?;
        Ok(self.bounded(load(store, crypto).await?))
    }
}

impl Default for RestoreOptions<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for BackupOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackupOptions")
            .field("contents", &self.contents)
            .field("since", &self.since)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for RestoreOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RestoreOptions").field("replace", &self.replace).finish_non_exhaustive()
    }
}
