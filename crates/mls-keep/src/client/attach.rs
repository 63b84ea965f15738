//! The first save of a client that was only in memory.
//!
//! Once it has begun, it may have stored the client, and another process may use what is stored. So no key of the client
//! is used before the outcome is known.

use mls_keep_core::{Changes, ClientStore, Committed, Error, ErrorKind, Keep, Result, ScopeId};

use super::load::read_scope;
use super::{Client, CryptoProvider};
use crate::policy::SavePolicy;
use crate::records::Kind;

/// A first save whose outcome was not seen.
pub(super) struct FirstSave {
    /// Of the keep.
    store_id: [u8; 16],
    /// What knows how to find it out; `None` if only another handle of the keep can.
    store: Option<ClientStore>,
}

impl<C: CryptoProvider> Client<C> {
    /// Saves the client in `keep`, to which it belongs from here on. A client that cannot be saved belongs to no keep.
    pub(crate) async fn attach_and_save(&mut self, keep: &Keep, memory: usize) -> Result<()> {
        if self.store.is_none() {
            self.attach(keep).await?;
        }
        self.set_memory_if_unset(memory);
        if !self.belongs_to(keep) {
            return Err(Error::new(ErrorKind::Invalid, "the client belongs to another keep"));
        }
        self.save().await
    }

    /// Finds out what became of the first save. If it was applied, the client belongs to the keep from here on.
    pub(super) async fn settle_first_save(&mut self) -> Result<()> {
        let Some(first_save) = &mut self.first_save else { return Ok(()) };
        let Some(store) = &mut first_save.store else { return Err(unknown()) };
        store.settle().await?;
        let store = self.first_save.take().and_then(|first_save| first_save.store);
        if let Some(store) = store.filter(|store| store.number() > 0) {
            self.belong_to(store);
        }
        Ok(())
    }

    async fn attach(&mut self, keep: &Keep) -> Result<()> {
        let settled = self.settle_first_save().await;
        if self.store.is_some() {
            return Ok(());
        }
        let asked_elsewhere = match (&self.first_save, settled) {
            // The handle that it was begun with may be closed.
            (Some(first_save), Err(_)) if first_save.store_id == keep.store_id() => true,
            (_, settled) => {
                settled?;
                false
            }
        };
        if asked_elsewhere && self.find_first_save(keep).await? {
            return Ok(());
        }
        let mut store = keep.new_client(&self.profile.identity).await?;
        let mut changes = Changes::new();
        self.add_unsaved(&mut changes)?;
        // Before the commit: a call that is dropped leaves it in doubt. The commit takes the place of one that is late.
        let store_id = keep.store_id();
        if asked_elsewhere {
            self.first_save = Some(FirstSave { store_id, store: None });
            let committed = store_first(&mut store, &changes).await?;
            return self.attached(store, &committed);
        }
        self.first_save = Some(FirstSave { store_id, store: Some(store) });
        let Some(FirstSave { store: Some(store), .. }) = &mut self.first_save else { return Err(unknown()) };
        let committed = store_first(store, &changes).await;
        if committed.as_ref().is_err_and(|error| error.kind() == ErrorKind::OutcomeUnknown) {
            return committed.map(drop);
        }
        let store = self.first_save.take().and_then(|first_save| first_save.store).ok_or_else(unknown)?;
        self.attached(store, &committed?)
    }

    /// Looks with another handle of the keep whether the first save was applied. `false` if it was not so far.
    async fn find_first_save(&mut self, keep: &Keep) -> Result<bool> {
        let store = match keep.open_client(&self.profile.identity).await {
            Ok(store) => store,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        let stored = read_scope(&store, &ScopeId::client()).await?;
        // Its signature key pair is among them, which nobody else has, or the random bytes that stand in its place.
        let kinds = [Kind::Client, Kind::SignatureKeyPair, Kind::ExternalSigner];
        let identifies = |key: &[u8]| kinds.iter().any(|kind| kind.has(key));
        let own = self.own.records.iter().filter(|(key, _)| identifies(key));
        let is_this = own.clone().all(|(key, value)| stored.records.get(key) == Some(value)) && own.count() > 1;
        // Another client is in the place, so what this one has begun is not applied, now or later.
        self.first_save = None;
        if is_this {
            self.belong_to(store);
        }
        Ok(is_this)
    }

    /// Goes on from what is stored: what is in memory is that, or older.
    fn belong_to(&mut self, store: ClientStore) {
        self.groups.clear();
        self.saves.reservations.forget();
        self.own.discard_unsaved();
        self.store = Some(store);
        self.policy = SavePolicy::EveryOperation;
    }

    fn attached(&mut self, store: ClientStore, committed: &Committed) -> Result<()> {
        self.first_save = None;
        self.store = Some(store);
        self.policy = SavePolicy::EveryOperation;
        self.saved(committed)
    }
}

async fn store_first(store: &mut ClientStore, changes: &Changes) -> Result<Committed> {
    const ATTEMPTS: usize = 8;
    let mut attempt = 1;
    loop {
        match store.commit_alone(changes).await {
            // A tombstone came or went. If somebody else has made the client, the refresh says so.
            Err(error) if error.kind() == ErrorKind::Conflict && store.number() == 0 && attempt < ATTEMPTS => {
                store.refresh().await?;
                attempt += 1;
            }
            other => return other,
        }
    }
}

fn unknown() -> Error {
    Error::new(
        ErrorKind::OutcomeUnknown,
        "whether the client was stored is not known: save it again, in the same keep, before it is used",
    )
}
