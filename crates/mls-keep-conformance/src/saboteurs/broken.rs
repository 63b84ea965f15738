//! [`Broken`]: a backend in memory with one [`Defect`], or with none.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use mls_keep_core::limits::MIN_BACKEND_VALUE_LEN;
use mls_keep_core::{
    Capabilities, Commit, Durability, Error, ErrorKind, Key, MemoryBackend, Result, StorageBackend, SwapScope,
};

use super::store::{Cut, Undo};

macro_rules! defects {
    ($($defect:ident)*) => {
        /// What a backend does wrong. The name says it.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        #[allow(missing_docs)]
        #[non_exhaustive]
        pub enum Defect {
            $($defect,)*
        }

        impl Defect {
            /// All of them.
            pub(super) const ALL: &[Self] = &[$(Self::$defect,)*];
        }
    };
}

defects! {
    AbsentIsAnError LosesSaves AppendsOnSave SavesOnlyOnce LosesDeletes DeleteOfAbsentFails DeletedForEver
    EmptyValueIsAbsent TextMode DropsAPartBlock MixesUpCharacters CutsKeys IgnoresSlashes HidesDotFiles
    AppliesHalf SkipsSwapsAlone KeepsRoots DeletesUpToAnAbsentOne RefusesRepeatedPuts CutsLargeCommits CutsLongDeletes
    ForgetsDeletes DeletesBeforeSwap ConflictKeepsPuts SkipsAnUnchangedRoot ConflictIsBusy
    IgnoresExpected ComparesLengths EmptyRootIsNone TakesAReturnForARepeat ComparesWithItsLastCommit HasOneRoot
    ListOfNothingFails ListsUnsorted ListsBySegment EmptyPrefixListsOneLevel PrefixIsAPattern PrefixEndsAtZ ListsDeleted
    PageIncludesAfter PageIsOneShort PageCountsFromTheStart PageOfDeletedStartsAnew PageAfterOutsideIsEmpty
    LimitZeroIsNoLimit ListsThousand ListsNothingLoosely
    LoadManySorts LoadManySkipsMissing LoadManyOfNoneFails LoadsThousand
    BatchAnswersOnce BatchStopsAtConflict BatchComparesFirst BatchSeesOnlyTheStart CutsLongBatches
    CutsLongValues PromisesShortValues PromisesMoreThanItKeeps TakesMoreThanItPromises
    ForgetsAtClose LosesTheLastCommit SavesWithTheNextSave WritesAtClose TearsTheLastValue DeletedReturns
    BatchIsNotFlushed CloseTwiceFails PartlyPoisoned LeavesDeletedBytes
    ErrorShowsRoot PoisonedByConflicts
    ComparesTooEarly NodesAfterRoot LosesParallelSaves SavesInTwoSteps LeavesItsLock TwoStores ReadsFromItsCache
    SharesAnExclusiveStore
    LoadsOneByOne WritesWhenItEnds HalfMadeForOthers LandsAndSaysUnavailable NeverConnectsAgain
    LocksOnlyItsProcess SharedByProcesses KilledKeepsItsLock HalfMadeForOtherProcesses
}

/// A few bytes more than every backend has to store.
const PROMISED_LEN: usize = MIN_BACKEND_VALUE_LEN + 4096;

pub(super) struct Broken {
    pub(super) inner: MemoryBackend,
    pub(super) undo: Undo,
    cut: Cut,
    pub(super) defect: Option<Defect>,
    closed: AtomicBool,
    pub(super) inside: AtomicUsize,
    pub(super) conflicts: AtomicUsize,
    deleted: Mutex<Vec<Key>>,
    cache: Mutex<HashMap<Key, Option<Bytes>>>,
}

impl Broken {
    pub(super) fn new(inner: MemoryBackend, undo: Undo, cut: Cut, defect: Option<Defect>) -> Self {
        let (closed, inside, conflicts) = Default::default();
        let (deleted, cache) = Default::default();
        Self { inner, undo, cut, defect, closed, inside, conflicts, deleted, cache }
    }

    pub(super) fn has(&self, defect: Defect) -> bool {
        self.defect == Some(defect)
    }

    fn map(&self, key: &Key) -> Key {
        let name = match self.defect {
            Some(Defect::IgnoresSlashes) => key.as_str().replace('/', "-"),
            Some(Defect::MixesUpCharacters) => key.as_str().replace('_', "-"),
            Some(Defect::CutsKeys) => key.as_str().chars().take(12).collect(),
            _ => return key.clone(),
        };
        Key::new(name.trim_end_matches('/')).unwrap_or_else(|_| key.clone())
    }

    fn check_poison(&self) -> Result<()> {
        let closed = self.has(Defect::PartlyPoisoned) && self.closed.load(Ordering::SeqCst);
        let conflicts = self.has(Defect::PoisonedByConflicts) && self.conflicts.load(Ordering::SeqCst) > 10;
        if closed || conflicts { Err(Error::new(ErrorKind::Poisoned, "poisoned")) } else { Ok(()) }
    }

    /// Whether a call meets a connection that was cut. It is made again, and the call fails.
    fn meets_a_cut(&self) -> bool {
        if self.has(Defect::NeverConnectsAgain) { self.cut.is_cut() } else { self.cut.mend() }
    }

    /// Fails if the connection was cut, with nothing done.
    fn check_connection(&self) -> Result<()> {
        self.check_poison()?;
        if self.meets_a_cut() { Err(connection_lost()) } else { Ok(()) }
    }

    /// What a load shows of the value that is stored.
    fn shown(&self, key: &Key, data: Option<Bytes>) -> Result<Option<Bytes>> {
        match self.defect {
            Some(Defect::AbsentIsAnError) if data.is_none() => Err(Error::new(ErrorKind::NotFound, "no such key")),
            Some(Defect::EmptyValueIsAbsent) => Ok(data.filter(|data| !data.is_empty())),
            Some(Defect::DeletedForEver) if self.deleted().contains(key) => Ok(None),
            _ => Ok(data),
        }
    }

    /// Remembers what the next open undoes: all of `keys`, in front of a write.
    pub(super) async fn remember<'a>(&self, keys: impl Iterator<Item = &'a Key> + Send) -> Result<()> {
        for key in keys {
            let before = self.inner.load(key).await?;
            self.undo.entries().push((key.clone(), before));
        }
        Ok(())
    }

    /// Remembers what a commit of a batch writes, if batches are not flushed.
    pub(super) async fn remember_batch(&self, commit: &Commit) -> Result<()> {
        let written = commit.puts.iter().map(|(key, _)| key).chain(std::iter::once(&commit.swap.key));
        self.remember(written).await
    }

    /// Waits a while, or until another call is where this one is.
    pub(super) fn meet(&self) {
        self.inside.fetch_add(1, Ordering::SeqCst);
        for _ in 0..2000 {
            if self.inside.load(Ordering::SeqCst) > 1 {
                break;
            }
            std::thread::yield_now();
        }
        self.inside.fetch_sub(1, Ordering::SeqCst);
    }

    pub(super) fn cached(&self) -> MutexGuard<'_, HashMap<Key, Option<Bytes>>> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget_cached(&self, key: &Key) {
        if self.has(Defect::ReadsFromItsCache) {
            self.cached().remove(key);
        }
    }

    pub(super) fn deleted(&self) -> MutexGuard<'_, Vec<Key>> {
        self.deleted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What becomes of a value on its way to the medium.
    async fn mangle(&self, key: &Key, data: Bytes) -> Result<Bytes> {
        Ok(match self.defect {
            Some(Defect::CutsLongValues) => data.slice(..data.len().min(1 << 19)),
            Some(Defect::PromisesMoreThanItKeeps) => data.slice(..data.len().min(MIN_BACKEND_VALUE_LEN)),
            Some(Defect::DropsAPartBlock) if data.len() > 4096 && data.len() % 4096 == 1 => {
                data.slice(..data.len() - 1)
            }
            Some(Defect::TextMode) => String::from_utf8_lossy(&data).replace("\r\n", "\n").into_bytes().into(),
            Some(Defect::AppendsOnSave) => {
                let before = self.inner.load(key).await?.unwrap_or_default();
                [&data[..], before.get(data.len()..).unwrap_or_default()].concat().into()
            }
            _ => data,
        })
    }

    fn refuse_too_long(&self, data: &Bytes) -> Result<()> {
        if self.has(Defect::PromisesMoreThanItKeeps) && data.len() > PROMISED_LEN {
            return Err(Error::new(ErrorKind::Invalid, "too long"));
        }
        Ok(())
    }
}

fn connection_lost() -> Error {
    Error::new(ErrorKind::Unavailable, "the connection is lost")
}

/// Lets others run, so that they see what is half done.
pub(super) fn pause() {
    (0..200).for_each(|_| std::thread::yield_now());
}

#[async_trait]
impl StorageBackend for Broken {
    async fn load(&self, key: &Key) -> Result<Option<Bytes>> {
        self.check_connection()?;
        let key = self.map(key);
        if self.has(Defect::SavesInTwoSteps) {
            pause();
        }
        if self.has(Defect::ReadsFromItsCache) {
            let cached = self.cached().get(&key).cloned();
            if let Some(data) = cached {
                return Ok(data);
            }
        }
        let data = self.inner.load(&key).await?;
        if self.has(Defect::ReadsFromItsCache) {
            self.cached().insert(key, data.clone());
            return Ok(data);
        }
        self.shown(&key, data)
    }

    async fn save(&self, key: &Key, data: Bytes) -> Result<()> {
        self.check_connection()?;
        self.refuse_too_long(&data)?;
        let key = self.map(key);
        self.forget_cached(&key);
        match self.defect {
            Some(Defect::LosesSaves) => return Ok(()),
            Some(Defect::SavesOnlyOnce) if self.inner.load(&key).await?.is_some() => {
                return Err(Error::new(ErrorKind::Conflict, "the key is there already"));
            }
            Some(Defect::LosesParallelSaves) => {
                if self.inside.load(Ordering::SeqCst) > 0 {
                    return Ok(());
                }
                self.meet();
            }
            Some(Defect::SavesInTwoSteps) => {
                self.inner.save(&key, data.slice(..data.len() / 2)).await?;
                pause();
            }
            Some(Defect::SavesWithTheNextSave) => {
                self.undo.entries().clear();
                self.remember(std::iter::once(&key)).await?;
            }
            Some(Defect::WritesAtClose | Defect::WritesWhenItEnds) => self.remember(std::iter::once(&key)).await?,
            _ => {}
        }
        let data = self.mangle(&key, data).await?;
        self.inner.save(&key, data).await
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.check_connection()?;
        let key = self.map(key);
        self.forget_cached(&key);
        match self.defect {
            Some(Defect::LosesDeletes) => return Ok(()),
            Some(Defect::DeleteOfAbsentFails) if self.inner.load(&key).await?.is_none() => {
                return Err(Error::new(ErrorKind::NotFound, "no such key"));
            }
            Some(Defect::DeletedForEver | Defect::ListsDeleted) => self.deleted().push(key.clone()),
            Some(Defect::DeletedReturns | Defect::WritesAtClose | Defect::WritesWhenItEnds) => {
                self.remember(std::iter::once(&key)).await?
            }
            _ => {}
        }
        self.inner.delete(&key).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Key>> {
        if self.meets_a_cut() {
            return Err(connection_lost());
        }
        let mut keys = self.inner.list(prefix).await?;
        match self.defect {
            Some(Defect::ListsUnsorted) => {
                keys.sort_by_key(|key| key.as_str().split('/').map(str::to_owned).collect::<Vec<_>>());
            }
            Some(Defect::ListsBySegment) if !prefix.is_empty() => {
                let directory = format!("{}/", prefix.trim_end_matches('/'));
                keys.retain(|key| key.as_str().starts_with(&directory));
            }
            Some(Defect::ListsThousand) => keys.truncate(1000),
            Some(Defect::ListOfNothingFails) if keys.is_empty() && !prefix.is_empty() => {
                return Err(Error::new(ErrorKind::NotFound, "no such directory"));
            }
            Some(Defect::EmptyPrefixListsOneLevel) if prefix.is_empty() => {
                keys.retain(|key| !key.as_str().contains('/'));
            }
            Some(Defect::PrefixIsAPattern) if prefix.contains('_') => {
                let matches = |name: &str| {
                    name.len() >= prefix.len() && prefix.bytes().zip(name.bytes()).all(|(p, c)| p == b'_' || p == c)
                };
                keys = self.inner.list("").await?;
                keys.retain(|key| matches(key.as_str()));
            }
            Some(Defect::PrefixEndsAtZ) if !prefix.is_empty() => {
                keys.retain(|key| key.as_str() < format!("{prefix}z").as_str());
            }
            Some(Defect::HidesDotFiles) => {
                keys.retain(|key| !key.as_str().split('/').any(|part| part.starts_with('.')))
            }
            Some(Defect::ListsDeleted) => {
                keys.extend(self.deleted().iter().filter(|key| key.as_str().starts_with(prefix)).cloned());
                keys.sort();
                keys.dedup();
            }
            _ => {}
        }
        Ok(keys)
    }

    async fn list_page(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Vec<Key>> {
        let mut keys = self.list(prefix).await?;
        if let Some(after) = after {
            match self.defect {
                Some(Defect::PageIncludesAfter) => keys.retain(|key| key >= after),
                Some(Defect::PageOfDeletedStartsAnew) if !keys.contains(after) => {}
                Some(Defect::PageAfterOutsideIsEmpty) if !after.as_str().starts_with(prefix) => keys.clear(),
                Some(Defect::PageCountsFromTheStart) => keys = keys.split_off(limit.min(keys.len())),
                _ => keys.retain(|key| key > after),
            }
        }
        match self.defect {
            Some(Defect::PageIsOneShort) => keys.truncate(limit.saturating_sub(1)),
            Some(Defect::LimitZeroIsNoLimit) if limit == 0 => {}
            _ => keys.truncate(limit),
        }
        Ok(keys)
    }

    async fn list_loosely(&self, prefix: &str) -> Result<Vec<Key>> {
        if self.has(Defect::ListsNothingLoosely) { Ok(Vec::new()) } else { self.list(prefix).await }
    }

    async fn load_many(&self, keys: &[Key]) -> Result<Vec<Option<Bytes>>> {
        if self.has(Defect::LoadManyOfNoneFails) && keys.is_empty() {
            return Err(Error::new(ErrorKind::Invalid, "no keys"));
        }
        let mut keys = keys.to_vec();
        if self.has(Defect::LoadManySorts) {
            keys.sort();
        }
        let mut values = Vec::new();
        if self.has(Defect::LoadsOneByOne) || self.has(Defect::ReadsFromItsCache) {
            for (index, key) in keys.iter().enumerate() {
                values.push(self.load(key).await?);
                if self.has(Defect::LoadsOneByOne) && index.is_multiple_of(32) {
                    pause();
                }
            }
        } else {
            self.check_connection()?;
            let mapped: Vec<Key> = keys.iter().map(|key| self.map(key)).collect();
            let stored = self.inner.load_many(&mapped).await?;
            values = mapped.iter().zip(stored).map(|(key, data)| self.shown(key, data)).collect::<Result<_>>()?;
        }
        if self.has(Defect::LoadsThousand) {
            values.iter_mut().skip(1000).for_each(|data| *data = None);
        }
        if self.has(Defect::LoadManySkipsMissing) {
            values.retain(Option::is_some);
        }
        Ok(values)
    }

    async fn commit(&self, mut commit: Commit) -> Result<()> {
        self.check_poison()?;
        let cut = self.meets_a_cut();
        if cut && !self.has(Defect::LandsAndSaysUnavailable) {
            return Err(connection_lost());
        }
        for data in commit.puts.iter().map(|(_, data)| data).chain(&commit.swap.replacement) {
            self.refuse_too_long(data)?;
        }
        commit.swap.key = self.map(&commit.swap.key);
        commit.puts = commit.puts.into_iter().map(|(key, data)| (self.map(&key), data)).collect();
        commit.deletes = commit.deletes.iter().map(|key| self.map(key)).collect();
        self.forget_cached(&commit.swap.key);
        let Some(mut commit) = self.twist(commit).await? else { return Ok(()) };
        self.before_commit(&commit).await?;
        if self.has(Defect::NodesAfterRoot) {
            commit.swap.expected = commit.swap.replacement.clone();
        }
        self.remember_commit(&commit).await?;
        if self.has(Defect::ComparesWithItsLastCommit) {
            let (root, replacement) = (commit.swap.key.clone(), commit.swap.replacement.clone());
            self.inner.commit(commit).await?;
            self.cached().insert(root, replacement);
            return Ok(());
        }
        self.inner.commit(commit).await?;
        if cut { Err(connection_lost()) } else { Ok(()) }
    }

    async fn commit_many(&self, commits: Vec<Commit>) -> Vec<Result<()>> {
        self.batch(commits).await
    }

    fn capabilities(&self) -> Capabilities {
        let promised = Capabilities::weakest().with_swap(SwapScope::Everyone).with_atomic_commit(true);
        let durable = promised.with_durability(Durability::ProcessCrash);
        match self.defect {
            Some(Defect::PromisesShortValues) => promised.with_max_value_len(1 << 16),
            Some(Defect::PromisesMoreThanItKeeps | Defect::TakesMoreThanItPromises) => {
                promised.with_max_value_len(PROMISED_LEN)
            }
            Some(Defect::SharesAnExclusiveStore) => promised.with_swap(SwapScope::ExclusiveProcess),
            Some(Defect::TwoStores) => promised,
            Some(Defect::LeavesDeletedBytes) => durable.with_erases_deleted(true),
            _ => durable,
        }
    }

    async fn close(&self) -> Result<()> {
        let before = self.closed.swap(true, Ordering::SeqCst);
        match self.defect {
            Some(Defect::CloseTwiceFails) if before => return Err(Error::new(ErrorKind::Poisoned, "it is closed")),
            Some(Defect::WritesAtClose | Defect::WritesWhenItEnds | Defect::BatchIsNotFlushed) => {
                self.undo.entries().clear();
            }
            _ => {}
        }
        Ok(())
    }
}

impl Drop for Broken {
    fn drop(&mut self) {
        if self.has(Defect::WritesWhenItEnds) {
            self.undo.entries().clear();
        }
    }
}
