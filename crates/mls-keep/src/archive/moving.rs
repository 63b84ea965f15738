//! Moving a client to another device: it goes on there, with the keys that it has, and no longer here.

use std::fmt;
use std::io::Write;
use std::sync::Arc;

use mls_keep_core::{
    Archive, ArchiveContents, ArchiveKind, ArchiveSummary, Changes, ClientStore, Encryption, Error, ErrorKind,
    RecordRange, RestorePlan, Result, ScopeId,
};
use openmls_rust_crypto::RustCrypto;
use tracing::instrument;

use super::backup::BackupOptions;
use super::contents::{NOT_RESTORED, is_restored};
use super::{Progress, in_millis, load};
use crate::client::{Client, CryptoProvider};
use crate::clock::system_time;
use crate::manager::PersistenceManager;

/// What is exported, and under which key.
#[must_use = "options do nothing by themselves"]
pub struct ExportOptions<'a> {
    include_groups: bool,
    key: Encryption,
    progress: Progress<'a>,
}

impl<'a> ExportOptions<'a> {
    /// The client with its groups, under this key or passphrase: it does not go on here.
    pub fn new(key: Encryption) -> Self {
        Self { include_groups: true, key, progress: Box::new(|_| ()) }
    }

    /// Only the client's own material, its signature key and the application's records among it, for another client of the same
    /// identity. This one goes on.
    pub fn without_groups(mut self) -> Self {
        self.include_groups = false;
        self
    }

    /// Is told how many bytes of records were written so far.
    pub fn progress(mut self, progress: impl FnMut(u64) + Send + 'a) -> Self {
        self.progress = Box::new(progress);
        self
    }
}

impl<C: CryptoProvider> Client<C> {
    /// Exports the client as an archive, to be [imported](Client::import_state) once, on the device where it goes on.
    ///
    /// With its groups, the client is fenced here first, in one commit, and then written: from that commit on every call is
    /// `MovedOut`, here and in every other process, whatever ends when. (A process that has
    /// [reserved](crate::SavePolicy::Interval) messages may still send those until its next save. The imported client skips their
    /// keys.) If the archive cannot be written, the fence is taken back. If the process ends in between, or the archive is lost
    /// before it was imported, [`export_again`](PersistenceManager::export_again) writes it again, and
    /// [`reclaim`](PersistenceManager::reclaim) goes on here as after a backup.
    ///
    /// What is unsaved is saved before. `out` is for the caller to make durable.
    ///
    /// # Errors
    /// `Invalid` if the client belongs to no keep, or for a key out of its bounds; `Conflict`; and the errors of the backend and
    /// of `out`. Whether the client is fenced then, its next call says.
    #[instrument(level = "debug", skip_all, err(level = "debug"))]
    pub async fn export_state(
        &mut self,
        out: &mut (dyn Write + Send),
        options: ExportOptions<'_>,
    ) -> Result<ArchiveSummary> {
        // Also what was reserved: the importer has nothing to skip then.
        self.close().await?;
        let store = self.store_mut()?;
        store.ensure_here()?;
        let ExportOptions { include_groups, key, mut progress } = options;
        if include_groups {
            return store.move_out(out, &key, in_millis(system_time()), progress.as_mut()).await;
        }
        let own = BackupOptions { contents: ArchiveContents::OwnMaterial, ..BackupOptions::new(key) };
        let plan = own.plan();
        store.back_up(out, &own.key, &plan, progress.as_mut()).await
    }
}

impl Client {
    /// Imports what [`export_state`](Self::export_state) wrote. A client with its groups goes on as it stood: its next message is
    /// read by the others as if nothing had been.
    ///
    /// An archive is imported once. A second time into the same keep is refused; into another keep it cannot be, and two
    /// clients that go on from one state reuse keys: a reader of both their messages may learn what is in them, and their
    /// groups fall apart.
    ///
    /// # Errors
    /// `Conflict` if the keep has a client of this identity, or this archive was imported into it before, also if the client
    /// is gone since; `Invalid` if it is a backup; `Corrupt`, `UnsupportedVersion`; and the errors of the backend and of the file.
    pub async fn import_state(manager: &PersistenceManager, archive: Archive) -> Result<Self> {
        Self::import_state_with(manager, archive, Arc::new(RustCrypto::default())).await
    }
}

impl<C: CryptoProvider> Client<C> {
    /// As [`import_state`](Client::import_state), with the cryptography of the caller's choice.
    ///
    /// # Errors
    /// As [`import_state`](Client::import_state).
    #[instrument(level = "debug", skip_all, err(level = "debug"))]
    pub async fn import_state_with(manager: &PersistenceManager, mut archive: Archive, crypto: Arc<C>) -> Result<Self> {
        let is_own = archive.summary().contents == ArchiveContents::OwnMaterial;
        let plan = match archive.summary().kind {
            ArchiveKind::Full if is_own => RestorePlan::new(&is_restored),
            _ => RestorePlan::import(),
        };
        let archives = std::slice::from_mut(&mut archive);
        let store = manager.keep().restore_client(archives, &plan, &mut |_| ()).await?;
        Ok(manager.bounded(load(store, crypto).await?))
    }
}

impl PersistenceManager {
    /// Writes the archive of a client that was moved out again, because it was not completed or was lost. Import only one of them.
    ///
    /// # Errors
    /// `Invalid` if the client was not moved out, or for a key out of its bounds, `NotFound`, `Corrupt`; and the errors of the
    /// backend and of `out`.
    #[instrument(level = "debug", skip_all, err(level = "debug"))]
    pub async fn export_again(
        &self,
        identity: impl AsRef<[u8]>,
        out: &mut (dyn Write + Send),
        options: ExportOptions<'_>,
    ) -> Result<ArchiveSummary> {
        let mut store = self.moved_out(identity.as_ref()).await?;
        let ExportOptions { key, mut progress, .. } = options;
        store.move_out(out, &key, in_millis(system_time()), progress.as_mut()).await
    }

    /// Takes a client back that was moved out and never arrived. It is as one that was restored: each of its groups must be entered
    /// anew, and its key packages are gone. So nothing is sent twice, even if the archive turns up and is imported.
    ///
    /// # Errors
    /// `Invalid` if the client was not moved out, `NotFound`, `Conflict`, `Corrupt`; and the errors of the backend.
    #[instrument(level = "debug", skip_all, err(level = "debug"))]
    pub async fn reclaim(&self, identity: impl AsRef<[u8]>) -> Result<Client> {
        let mut store = self.moved_out(identity.as_ref()).await?;
        let changes = without_what_is_not_restored(&store).await?;
        store.reclaim(&changes).await?;
        Ok(self.bounded(load(store, Arc::new(RustCrypto::default())).await?))
    }

    async fn moved_out(&self, identity: &[u8]) -> Result<ClientStore> {
        let store = self.keep().inspect_client(identity).await?;
        match store.is_moved_out() {
            true => Ok(store),
            false => Err(Error::new(ErrorKind::Invalid, "the client was not moved out")),
        }
    }
}

/// What a restoration leaves out, removed.
async fn without_what_is_not_restored(store: &ClientStore) -> Result<Changes> {
    let mut changes = Changes::new();
    for scope in store.scopes().await? {
        let base = store.scope_version(&scope).await?;
        for prefix in NOT_RESTORED.iter().map(|kind| kind.only()) {
            for record in store.records(&scope, &RecordRange::prefix(&prefix)).await? {
                if is_restored(&scope, &record.key, &record.value) {
                    continue;
                }
                let changed = changes.scope(scope.clone(), base);
                changed.remove(record.key);
                if scope != ScopeId::client() {
                    changed.set_needs_rejoin(true);
                }
            }
        }
    }
    Ok(changes)
}

impl fmt::Debug for ExportOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExportOptions").field("include_groups", &self.include_groups).finish_non_exhaustive()
    }
}
