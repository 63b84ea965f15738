//! The suite finds broken backends: each fault below fails at least the cases that are named with it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use mls_keep_conformance::{CASES, Harness, async_trait, run_case};
use mls_keep_core::{
    Capabilities, Commit, Durability, Error, ErrorKind, Key, MemoryBackend, Result, StorageBackend, SwapScope,
};

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fault {
    Nothing,
    IgnoresExpected,
    EmptyRootIsNone,
    ConflictKeepsPuts,
    ConflictIsBusy,
    ForgetsDeletes,
    DeletesBeforeSwap,
    ComparesLater,
    DeleteOfAbsentFails,
    EmptyValueIsAbsent,
    CutsLongValues,
    AppendsOnSave,
    IgnoresSlashes,
    ListsUnsorted,
    ListsBySegment,
    ListsThousand,
    PageIncludesAfter,
    PageOfDeletedStartsAnew,
    LoadManySkipsMissing,
    BatchStopsAtConflict,
    BatchComparesFirst,
    ErrorShowsRoot,
    TwoStores,
    SharesAnExclusiveStore,
    ForgetsAtClose,
    LeavesDeletedBytes,
    ClaimsShortValues,
    PartlyPoisoned,
}

struct Broken {
    inner: MemoryBackend,
    fault: Fault,
    closed: AtomicBool,
}

impl Broken {
    fn has(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    fn map(&self, key: &Key) -> Key {
        if self.has(Fault::IgnoresSlashes) {
            return Key::new(&key.as_str().replace('/', "-")).expect("still a key");
        }
        key.clone()
    }
}

#[async_trait]
impl StorageBackend for Broken {
    async fn load(&self, key: &Key) -> Result<Option<Bytes>> {
        let data = self.inner.load(&self.map(key)).await?;
        Ok(data.filter(|data| !(self.has(Fault::EmptyValueIsAbsent) && data.is_empty())))
    }

    async fn save(&self, key: &Key, mut data: Bytes) -> Result<()> {
        if self.has(Fault::PartlyPoisoned) && self.closed.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Poisoned, "closed"));
        }
        if self.has(Fault::CutsLongValues) {
            data.truncate(1 << 19);
        }
        if self.has(Fault::AppendsOnSave) {
            let before = self.inner.load(key).await?.unwrap_or_default();
            if before.len() > data.len() {
                data = [&data[..], before.get(data.len()..).unwrap_or_default()].concat().into();
            }
        }
        self.inner.save(&self.map(key), data).await
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        if self.has(Fault::DeleteOfAbsentFails) && self.inner.load(key).await?.is_none() {
            return Err(Error::new(ErrorKind::NotFound, "no such key"));
        }
        self.inner.delete(&self.map(key)).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Key>> {
        let mut keys = self.inner.list(prefix).await?;
        match self.fault {
            Fault::ListsUnsorted => {
                keys.sort_by_key(|key| key.as_str().split('/').map(str::to_owned).collect::<Vec<_>>())
            }
            Fault::ListsBySegment if !prefix.is_empty() => {
                let directory = format!("{}/", prefix.trim_end_matches('/'));
                keys.retain(|key| key.as_str().starts_with(&directory));
            }
            Fault::ListsThousand => keys.truncate(1000),
            _ => {}
        }
        Ok(keys)
    }

    async fn list_page(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Vec<Key>> {
        let mut keys = self.list(prefix).await?;
        if let Some(after) = after {
            match self.fault {
                Fault::PageIncludesAfter => keys.retain(|key| key >= after),
                Fault::PageOfDeletedStartsAnew if !keys.contains(after) => {}
                _ => keys.retain(|key| key > after),
            }
        }
        keys.truncate(limit);
        Ok(keys)
    }

    async fn load_many(&self, keys: &[Key]) -> Result<Vec<Option<Bytes>>> {
        let mut values = Vec::new();
        for key in keys {
            values.push(self.load(key).await?);
        }
        if self.has(Fault::LoadManySkipsMissing) {
            values.retain(Option::is_some);
        }
        Ok(values)
    }

    async fn commit(&self, mut commit: Commit) -> Result<()> {
        commit.swap.key = self.map(&commit.swap.key);
        commit.puts = commit.puts.into_iter().map(|(key, data)| (self.map(&key), data)).collect();
        commit.deletes = commit.deletes.iter().map(|key| self.map(key)).collect();
        let stored = self.inner.load(&commit.swap.key).await?;
        match self.fault {
            Fault::IgnoresExpected => commit.swap.expected = stored,
            Fault::ComparesLater if commit.swap.expected == stored => {
                std::thread::yield_now();
                commit.swap.expected = self.inner.load(&commit.swap.key).await?;
            }
            Fault::EmptyRootIsNone if stored.as_deref() == Some(b"") && commit.swap.expected.is_none() => {
                commit.swap.expected = stored;
            }
            Fault::ConflictKeepsPuts => {
                for (key, data) in &commit.puts {
                    self.inner.save(key, data.clone()).await?;
                }
            }
            Fault::ConflictIsBusy if commit.swap.expected != stored => {
                return Err(Error::new(ErrorKind::Busy, "somebody else was faster"));
            }
            Fault::ErrorShowsRoot if commit.swap.expected != stored => {
                return Err(Error::new(ErrorKind::Conflict, format!("the root is {stored:?}")));
            }
            Fault::ForgetsDeletes => commit.deletes.clear(),
            Fault::DeletesBeforeSwap => {
                for key in &commit.deletes {
                    self.inner.delete(key).await?;
                }
                std::thread::yield_now();
            }
            _ => {}
        }
        self.inner.commit(commit).await
    }

    async fn commit_many(&self, commits: Vec<Commit>) -> Vec<Result<()>> {
        if self.has(Fault::BatchComparesFirst) {
            let mut results = Vec::new();
            for mut commit in commits {
                // As if all of them were compared before any of them is applied.
                if results.iter().all(Result::is_ok) {
                    commit.swap.expected = self.inner.load(&commit.swap.key).await.ok().flatten();
                }
                results.push(self.inner.commit(commit).await);
            }
            return results;
        }
        let mut results: Vec<Result<()>> = Vec::new();
        for commit in commits {
            if self.has(Fault::BatchStopsAtConflict) && results.iter().any(Result::is_err) {
                results.push(Err(Error::new(ErrorKind::Conflict, "another commit of the batch conflicts")));
            } else {
                results.push(self.commit(commit).await);
            }
        }
        results
    }

    fn capabilities(&self) -> Capabilities {
        let claimed = Capabilities::weakest().with_swap(SwapScope::Everyone).with_atomic_commit(true);
        let durable = claimed.with_durability(Durability::ProcessCrash);
        match self.fault {
            Fault::ClaimsShortValues => claimed.with_max_value_len(1 << 16),
            Fault::SharesAnExclusiveStore => claimed.with_swap(SwapScope::ExclusiveProcess),
            Fault::ForgetsAtClose => durable,
            Fault::LeavesDeletedBytes => durable.with_erases_deleted(true),
            _ => claimed,
        }
    }

    async fn close(&self) -> Result<()> {
        self.closed.store(true, Ordering::SeqCst);
        Ok(())
    }
}

struct Store(MemoryBackend, Fault);

#[async_trait]
impl Harness for Store {
    async fn open(&self) -> Result<Arc<dyn StorageBackend>> {
        let forgets = matches!(self.1, Fault::TwoStores | Fault::ForgetsAtClose);
        let inner = if forgets { MemoryBackend::new() } else { self.0.clone() };
        Ok(Arc::new(Broken { inner, fault: self.1, closed: AtomicBool::new(false) }))
    }

    async fn medium_contains(&self, _: &[u8]) -> bool {
        true
    }
}

fn failing(fault: Fault) -> Vec<&'static str> {
    let fails = |name| catch_unwind(AssertUnwindSafe(|| run_case(name, &Store(MemoryBackend::new(), fault)))).is_err();
    CASES.iter().map(|case| case.name).filter(|name| fails(name)).collect()
}

#[track_caller]
fn caught(fault: Fault, by: &[&str]) {
    let failing = failing(fault);
    for case in by {
        assert!(failing.contains(case), "{fault:?} must fail {case}; it fails {failing:?}");
    }
}

#[test]
fn nothing_fails_without_a_fault() {
    assert_eq!(failing(Fault::Nothing), [""; 0]);
}

#[test]
fn broken_swaps() {
    caught(
        Fault::IgnoresExpected,
        &["swap::none_expected_but_there", "swap::some_expected_but_absent", "swap::nearly_the_expected_root"],
    );
    caught(Fault::EmptyRootIsNone, &["swap::empty_root"]);
    caught(Fault::ConflictIsBusy, &["swap::root_of_an_earlier_commit", "commit::retry_after_conflict"]);
    caught(Fault::TwoStores, &["concurrency::backends_see_each_other", "concurrency::one_winner_among_backends"]);
    caught(Fault::ComparesLater, &["concurrency::one_winner_each_round"]);
}

#[test]
fn broken_commits() {
    caught(Fault::ConflictKeepsPuts, &["commit::conflict_changes_nothing"]);
    caught(Fault::ForgetsDeletes, &["commit::everything_takes_effect", "commit::large_commit"]);
    caught(Fault::DeletesBeforeSwap, &["commit::conflict_keeps_what_the_root_names"]);
    caught(Fault::BatchStopsAtConflict, &["many::commit_many_with_a_conflict"]);
    caught(Fault::BatchComparesFirst, &["many::commit_many_for_one_root"]);
    caught(Fault::ErrorShowsRoot, &["errors::no_values_in_errors"]);
}

#[test]
fn broken_keys_and_values() {
    caught(Fault::DeleteOfAbsentFails, &["single::delete_of_absent_is_ok"]);
    caught(Fault::EmptyValueIsAbsent, &["single::empty_value"]);
    caught(Fault::CutsLongValues, &["limits::least_value_len"]);
    caught(Fault::AppendsOnSave, &["single::save_replaces"]);
    caught(Fault::IgnoresSlashes, &["single::keys_that_begin_alike"]);
    caught(Fault::ClaimsShortValues, &["limits::claims_are_fixed"]);
    caught(Fault::PartlyPoisoned, &["reopen::use_after_close"]);
}

#[test]
fn claims_that_are_not_kept() {
    caught(Fault::SharesAnExclusiveStore, &["concurrency::second_open_is_busy"]);
    caught(Fault::ForgetsAtClose, &["reopen::everything_acknowledged_is_there", "reopen::dropped_without_a_close"]);
    caught(Fault::LeavesDeletedBytes, &["reopen::deleted_bytes_are_gone"]);
}

#[test]
fn broken_lists() {
    caught(Fault::ListsUnsorted, &["list::byte_order"]);
    caught(Fault::ListsBySegment, &["list::prefix_is_exact"]);
    caught(Fault::ListsThousand, &["list::many_keys"]);
    caught(Fault::PageIncludesAfter, &["list::pages_cover_everything"]);
    caught(Fault::PageOfDeletedStartsAnew, &["list::page_after_an_absent_key"]);
    caught(Fault::LoadManySkipsMissing, &["many::load_many_with_gaps_and_repeats"]);
}
