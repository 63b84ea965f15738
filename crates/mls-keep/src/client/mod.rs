//! [`Client`]: one MLS device identity and its groups.
//!
//! - `builder` makes one, `load` reads one from a keep, `attach` saves one for the first time.
//! - `session` runs OpenMLS calls and the application's, which get what `transaction` has, as one transaction; `finish` ends it;
//!   `interval` and `reserve` let it wait.
//! - `groups`, `membership`, `entry`, `key_packages`, `credential` (its keys: `signer`), `change`, `staged`, `messages` and
//!   `receive` (one message: `take`) are the calls that most programs need, all made of transactions.
//! - `history`, `outbox`, `held`, `arrivals`, `last_resort` and `records` are what they left.

mod arrivals;
mod attach;
mod blocks;
mod builder;
mod change;
mod credential;
mod debug;
mod draft;
mod entry;
mod finish;
mod groups;
mod held;
mod history;
#[cfg(feature = "import")]
mod import;
mod interval;
mod key_packages;
mod last_resort;
mod load;
mod membership;
mod messages;
mod outbox;
mod receive;
mod receive_policy;
mod records;
mod refusal;
mod rejoin;
mod reserve;
mod session;
mod settings;
mod signer;
mod staged;
mod summary;
mod take;
mod transaction;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use mls_keep_core::{Changes, ClientStore, Committed, Error, ErrorKind, Keep, Result, ScopeId, SecretBytes};
use openmls::credentials::CredentialWithKey;
use openmls::prelude::Ciphersuite;
use openmls_rust_crypto::RustCrypto;
use openmls_traits::crypto::OpenMlsCrypto;
use openmls_traits::random::OpenMlsRand;

use crate::memory::{GroupMemory, ScopeMemory};
use crate::policy::SavePolicy;
use attach::FirstSave;
pub use builder::ClientBuilder;
pub use change::Change;
pub use groups::{GroupMember, GroupSummary, MAX_NAME_LEN, NAME_EXTENSION, NewGroup};
pub use history::{Message, Retention};
pub use interval::SaveNumber;
use interval::Saves;
pub use key_packages::{KeyPackageOptions, KeyPackageSummary, MAX_KEY_PACKAGES};
pub use membership::{JoinOptions, Joined};
pub use messages::MAX_MESSAGE_LEN;
pub use outbox::Outgoing;
pub use receive::Received;
pub use receive_policy::{Decision, ProposalSummary, Proposed, ReceivePolicy, WelcomeSummary};
pub use rejoin::GroupToRejoin;
#[cfg(test)]
pub(crate) use reserve::of_nobody;
pub use session::Session;
pub use settings::{GroupSettings, HandshakeFormat};
pub use signer::ClientSigner;
use signer::GivenSigners;
pub use staged::OwnCommit;
pub(crate) use staged::StagedRecord;
pub use summary::{CommitSummary, Committer, Newcomer};
pub use transaction::{BoxError, GroupsTransaction, RecordWriter, Transaction};

/// What a client keeps in memory takes at most about this much, bytes, unless it is said otherwise.
pub(crate) const DEFAULT_MEMORY: usize = 68 << 20;
/// Of that, nodes of the store take this part, and no more than that: see [`ClientStore::set_cache_len`].
const NODES_PART: usize = 4;
const MAX_NODE_MEMORY: usize = 4 << 20;
/// And there are at most this many.
const MAX_GROUPS_IN_MEMORY: usize = 1024;

/// What a client needs of a cryptographic library. Everything that is `OpenMlsCrypto` and `OpenMlsRand` is one.
pub trait CryptoProvider: OpenMlsCrypto + OpenMlsRand + Send + Sync + 'static {}

impl<C: OpenMlsCrypto + OpenMlsRand + Send + Sync + 'static> CryptoProvider for C {}

/// One MLS device identity and its groups.
///
/// A client that belongs to a keep makes each operation one durable commit: when a call returns `Ok`, it survives; when
/// it returns an error, or never returns, the client is as it was before, in memory and in storage. A client without a
/// keep lives in memory until [`PersistenceManager::save_client_state`](crate::PersistenceManager::save_client_state).
///
/// Nothing that a call returns has left the device, and all of it is durable: send it at leisure.
pub struct Client<C = RustCrypto> {
    crypto: Arc<C>,
    profile: Profile,
    own: ScopeMemory,
    groups: BTreeMap<SecretBytes, GroupMemory>,
    /// Groups of which the application may have an `MlsGroup` of its own, and may put it into a transaction: none of them is
    /// kept in memory as OpenMLS holds it.
    escaped: BTreeSet<SecretBytes>,
    uses: u64,
    /// What was said about memory; else it is the keep's to say.
    memory: Option<usize>,
    store: Option<ClientStore>,
    first_save: Option<FirstSave>,
    policy: SavePolicy,
    saves: Saves,
    /// A commit began and its outcome was not seen: the root must be read before the next operation.
    uncertain: bool,
    /// That commit was a save of what is unsaved.
    saving: bool,
    receive_policy: Arc<dyn ReceivePolicy>,
    /// Operations put what they make for others into the group's outbox.
    outbox: bool,
    wall_clock: Arc<dyn Fn() -> SystemTime + Send + Sync>,
}

/// What stays the same for the life of a client.
struct Profile {
    identity: SecretBytes,
    ciphersuite: Ciphersuite,
    credential: CredentialWithKey,
    signer: ClientSigner,
    given: GivenSigners,
    settings: GroupSettings,
}

impl Client {
    /// Begins to make a client. The identity is what other members see, 1 to
    /// [`MAX_IDENTITY_LEN`](mls_keep_core::limits::MAX_IDENTITY_LEN) bytes.
    pub fn builder(identity: impl Into<Vec<u8>>) -> ClientBuilder {
        ClientBuilder::new(identity.into())
    }
}

impl<C: CryptoProvider> Client<C> {
    /// The identity that other members see.
    #[must_use]
    pub fn identity(&self) -> &[u8] {
        &self.profile.identity
    }

    /// The ciphersuite of this client's key packages and of groups that it creates.
    #[must_use]
    pub fn ciphersuite(&self) -> Ciphersuite {
        self.profile.ciphersuite
    }

    /// The credential and the signature public key that go into this client's leaves.
    #[must_use]
    pub fn credential(&self) -> &CredentialWithKey {
        &self.profile.credential
    }

    /// When this client is saved.
    #[must_use]
    pub fn save_policy(&self) -> SavePolicy {
        self.policy
    }

    /// Saves at other times from here on. What is unsaved stays so until the next save.
    ///
    /// # Errors
    /// `Invalid` if more is to be reserved than this client's groups tolerate: see [`SavePolicy::Interval`].
    pub fn set_save_policy(&mut self, policy: SavePolicy) -> Result<()> {
        self.profile.settings.check(policy)?;
        if self.policy == SavePolicy::Manual {
            // What was sent by hand was taken out of no reservation.
            self.saves.reservations.use_up();
        }
        self.policy = policy;
        Ok(())
    }

    /// Asks `policy` before anything that others sent is taken in. Without one, what is valid in OpenMLS's terms is accepted
    /// from everybody. Not saved.
    pub fn set_receive_policy(&mut self, policy: Arc<dyn ReceivePolicy>) {
        self.receive_policy = policy;
    }

    /// Takes the time of messages in the history from here, and not from the system's clock. Not saved.
    pub fn set_wall_clock(&mut self, now: impl Fn() -> SystemTime + Send + Sync + 'static) {
        self.wall_clock = Arc::new(now);
    }

    /// Whether anything of this client is not durable.
    #[must_use]
    pub fn has_unsaved(&self) -> bool {
        let mut scopes = self.groups.values().map(|group| &group.scope).chain([&self.own]);
        self.store.is_none() || scopes.any(ScopeMemory::is_unsaved)
    }

    /// Makes everything durable, in one commit.
    ///
    /// # Errors
    /// `Invalid` if the client belongs to no keep, `Conflict` if somebody else changed what is unsaved here: see
    /// [`discard_unsaved`](Self::discard_unsaved); and the errors of the backend. What was unsaved stays so.
    pub async fn save(&mut self) -> Result<()> {
        self.save_all(false).await
    }

    async fn save_all(&mut self, closing: bool) -> Result<()> {
        self.settle_first_save().await?;
        self.settle().await?;
        let mut changes = self.unsaved()?;
        self.add_reservations(&mut changes, None, closing)?;
        let store = self.store.as_mut().ok_or_else(not_kept)?;
        if changes.is_empty() {
            return Ok(());
        }
        self.uncertain = true;
        self.saving = true;
        let committed = store.commit(&changes).await;
        self.uncertain = committed.as_ref().is_err_and(|error| error.kind() == ErrorKind::OutcomeUnknown);
        self.saving = self.uncertain;
        let committed = self.heed(committed)?;
        self.saved(&committed)
    }

    /// Takes back everything that is not durable, as if the process had ended and the client had been loaded again. Does
    /// nothing for a client that belongs to no keep.
    ///
    /// This is the way on when a [`save`](Self::save), or an operation after a change of the policy, is a `Conflict`: what
    /// somebody else has stored cannot be joined with what is unsaved here, so that repeating the call does not help.
    /// What was sent and is taken back leaves the ratchets behind, as [`SavePolicy::Manual`] says.
    pub fn discard_unsaved(&mut self) {
        if self.store.is_some() {
            // What was reserved may have been used.
            self.saves.reservations.forget();
            self.groups.retain(|_, group| !group.scope.is_unsaved());
            if self.own.is_unsaved() {
                self.own.discard_unsaved();
            }
        }
    }

    /// Finds out what became of a commit whose outcome was not seen. If a [`save`](Self::save) was applied, what is unsaved
    /// now was made from what that has stored; if an operation was, all that was unsaved is stored, and is read anew.
    pub(super) async fn settle(&mut self) -> Result<()> {
        let Some(store) = &mut self.store else { return Ok(()) };
        let committed = store.settle().await?;
        if let Some(committed) = committed {
            if !self.saving {
                self.saves.count();
            }
            let own = Some((ScopeId::client(), &mut self.own));
            let groups = self.groups.iter_mut().map(|(id, group)| Ok((ScopeId::group(id)?, &mut group.scope)));
            for scope in own.map(Ok).into_iter().chain(groups) {
                let (id, scope): (_, &mut ScopeMemory) = scope?;
                match self.saving {
                    true if scope.is_unsaved() && committed.changed(&id) => scope.version = committed.version(&id),
                    false if committed.changed(&id) => scope.discard_unsaved(),
                    _ => {}
                }
            }
        }
        self.saving = false;
        Ok(())
    }

    /// What the client's keep holds of it, for what has nothing to do with MLS: `verify`, `gc`, statistics. `None` if the
    /// client is only in memory.
    #[must_use]
    pub fn store(&self) -> Option<&ClientStore> {
        self.store.as_ref()
    }

    /// Deletes what interrupted commits left in the store: see [`ClientStore::gc`]. Returns how many nodes.
    ///
    /// # Errors
    /// `Invalid` if the client belongs to no keep; and as [`ClientStore::gc`].
    pub async fn gc(&mut self) -> Result<usize> {
        self.settle().await?;
        self.store.as_mut().ok_or_else(not_kept)?.gc().await
    }

    /// As [`store`](Self::store), to be changed behind the client's back: for what ends its use here.
    pub(crate) fn store_mut(&mut self) -> Result<&mut ClientStore> {
        self.store.as_mut().ok_or_else(not_kept)
    }

    pub(crate) fn belongs_to(&self, keep: &Keep) -> bool {
        self.store.as_ref().is_some_and(|store| store.keep().store_id() == keep.store_id())
    }

    fn unsaved(&self) -> Result<Changes> {
        let mut changes = Changes::new();
        self.add_unsaved(&mut changes)?;
        Ok(changes)
    }

    fn add_unsaved(&self, changes: &mut Changes) -> Result<()> {
        self.own.add_to(changes, ScopeId::client(), None)?;
        for (id, group) in &self.groups {
            group.scope.add_to(changes, ScopeId::group(id)?, None)?;
        }
        Ok(())
    }

    /// What was unsaved became durable.
    fn saved(&mut self, committed: &Committed) -> Result<()> {
        self.reserved();
        self.own.saved(&ScopeId::client(), committed);
        for (id, group) in self.groups.iter_mut().filter(|(_, group)| group.scope.is_unsaved()) {
            group.scope.saved(&ScopeId::group(id)?, committed);
        }
        self.saves.count();
        self.trim();
        Ok(())
    }

    /// Bounds what this client keeps in memory beside its own scope, bytes: groups, as far as they are saved, and nodes of the
    /// store. Default: as the [manager](crate::PersistenceManagerBuilder::memory) says. The groups that an operation is about are
    /// in memory while it runs, whatever their size, and the one used last stays. With less memory, more is read. Not saved.
    pub fn set_memory(&mut self, bytes: usize) {
        self.memory = Some(bytes);
        if let Some(store) = &self.store {
            store.set_cache_len(node_memory(bytes));
        }
        self.trim();
    }

    /// As [`set_memory`](Self::set_memory), if nothing was said so far.
    pub(crate) fn set_memory_if_unset(&mut self, bytes: usize) {
        self.set_memory(self.memory.unwrap_or(bytes));
    }

    /// Forgets groups that were not used for long, as far as they are stored.
    fn trim(&mut self) {
        if self.store.is_none() {
            return;
        }
        let memory = self.memory.unwrap_or(DEFAULT_MEMORY);
        let bound = memory - node_memory(memory);
        let mut total: usize = self.groups.values().map(GroupMemory::weight).sum();
        while self.groups.len() > 1 && (total > bound || self.groups.len() > MAX_GROUPS_IN_MEMORY) {
            let kept = |id: &SecretBytes| self.saves.reservations.holds(id);
            let stored = self.groups.iter().filter(|(id, group)| !group.scope.is_unsaved() && !kept(id));
            let oldest = stored.filter(|(_, group)| group.used < self.uses).min_by_key(|(_, group)| group.used);
            let Some((id, _)) = oldest else { break };
            let id = id.clone();
            total -= self.groups.remove(&id).map_or(0, |group| group.weight());
        }
    }
}

impl<C> fmt::Debug for Client<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("policy", &self.policy).field("store", &self.store).finish_non_exhaustive()
    }
}

/// How much of a client's memory nodes of the store take, bytes.
fn node_memory(memory: usize) -> usize {
    (memory / NODES_PART).min(MAX_NODE_MEMORY)
}

fn not_kept() -> Error {
    Error::new(ErrorKind::Invalid, "the client is only in memory: save it with a manager first")
}
