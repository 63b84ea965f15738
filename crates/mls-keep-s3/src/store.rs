//! [`Store`]: the contract of a backend on top of a bucket.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::{join_all, try_join_all};
use mls_keep_core::{Commit, Error, ErrorKind, Key, Result};

use crate::bucket::{Bucket, Condition, Tag};
use crate::cache::{Cache, Seen};
use crate::config::{Config, MAX_VALUE_LEN, OldVersions};
use crate::failure::{Applied, Failure};
use crate::layout::{Roots, VALUES, is_root, name, root_of, roots_of};
use crate::object::{Object, REMOVED_LEN, nodes_len};
use crate::pending::Pending;
use crate::probe;

pub(crate) struct Store {
    bucket: Bucket,
    inline_len: usize,
    /// Whether old versions are to be deleted.
    purges: bool,
    cache: Cache,
    pub(crate) pending: Pending,
}

/// What became of a conditional write.
enum Swapped {
    Done,
    /// Something else is there, or nothing.
    Lost(Option<Arc<Seen>>),
}

impl Store {
    pub(crate) async fn open(bucket: String, prefix: String, config: &Config) -> Result<Self> {
        let mut bucket = Bucket::new(bucket, prefix, config).await?;
        let found = probe::probe(&mut bucket).await?;
        bucket.set_quotes(found.quotes);
        let store = Self {
            bucket,
            inline_len: config.inline_len as usize,
            purges: found.versioned && config.old_versions == OldVersions::Purge,
            cache: Cache::default(),
            pending: Pending::default(),
        };
        if store.purges {
            // Of the probe; and so the permission is tried before anything depends on it.
            store.purge(crate::layout::PROBES).await?;
        }
        Ok(store)
    }

    pub(crate) async fn load_many(&self, keys: &[Key]) -> Result<Vec<Option<Bytes>>> {
        self.pending.wait_for(keys).await;
        // What was seen of the roots says where to look first.
        let seen: BTreeMap<Key, Arc<Seen>> =
            keys.iter().filter_map(root_of).filter_map(|root| Some((root.clone(), self.cache.get(&root)?))).collect();
        let rides = |key: &Key| {
            root_of(key).and_then(|root| seen.get(&root)).is_some_and(|seen| seen.object.nodes.contains_key(key))
        };
        let roots: HashSet<Key> = keys.iter().filter_map(root_of).collect();
        let now = try_join_all(roots.into_iter().map(|root| async move {
            let seen = self.fetch(&root).await?;
            Ok::<_, Error>((root, seen))
        }));
        let own = try_join_all(
            keys.iter().map(|key| async move { if rides(key) { Ok(None) } else { self.load_own(key).await } }),
        );
        let (now, own) = futures_util::future::try_join(now, own).await?;
        let now: BTreeMap<Key, Option<Arc<Seen>>> = now.into_iter().collect();
        try_join_all(keys.iter().zip(own).map(|(key, own)| {
            let root = root_of(key).and_then(|root| now.get(&root).cloned());
            async move {
                let Some(root) = root else { return Ok(own) };
                let riding = root.and_then(|seen| seen.object.nodes.get(key).cloned());
                match riding.or(own) {
                    Some(value) => Ok(Some(value)),
                    // It may have moved to an object of its own since that was looked for.
                    None => self.load_own(key).await,
                }
            }
        }))
        .await
    }

    /// The value of the object of `key`.
    async fn load_own(&self, key: &Key) -> Result<Option<Bytes>> {
        if is_root(key) {
            return Ok(self.fetch(key).await?.and_then(|seen| seen.object.value.clone()));
        }
        Ok(self.read(key, None).await?.and_then(|seen| seen.object.value.clone()))
    }

    /// The object of the root `key`, as it is now.
    async fn fetch(&self, key: &Key) -> Result<Option<Arc<Seen>>> {
        let cached = self.cache.get(key);
        let etag = cached.as_ref().map(|seen| seen.tag.etag.as_str());
        let found = match self.bucket.get(&name(key), etag).await {
            Err(Failure::NotModified) => return Ok(cached),
            Err(failure) => return Err(failure.into_error()),
            Ok(found) => found,
        };
        let Some(read) = found else {
            self.cache.remove(key);
            return Ok(None);
        };
        let seen = Arc::new(Seen { object: Object::decode(read.body)?, tag: read.tag });
        self.cache.insert(key, Arc::clone(&seen));
        Ok(Some(seen))
    }

    async fn read(&self, key: &Key, etag: Option<&str>) -> Result<Option<Seen>> {
        let Some(read) = self.bucket.get(&name(key), etag).await.map_err(Failure::into_error)? else { return Ok(None) };
        Ok(Some(Seen { object: Object::decode(read.body)?, tag: read.tag }))
    }

    pub(crate) async fn save(&self, key: &Key, data: Bytes) -> Result<()> {
        ensure_fits(&data)?;
        self.pending.wait_for(std::slice::from_ref(key)).await;
        if is_root(key) {
            return self.rewrite(key, |seen| Ok(Some((Some(data.clone()), nodes_of(seen))))).await;
        }
        if let Some(root) = root_of(key)
            && self.fetch(&root).await?.is_some_and(|seen| seen.object.nodes.contains_key(key))
        {
            // It is replaced where it is, so that there is one value at any time.
            return self
                .rewrite(&root, |seen| {
                    let Some(seen) = seen else { return Ok(None) };
                    let mut nodes = seen.object.nodes.clone();
                    nodes.insert(key.clone(), data.clone());
                    Ok(Some((seen.object.value.clone(), nodes)))
                })
                .await;
        }
        self.save_own(key, data).await
    }

    async fn save_own(&self, key: &Key, data: Bytes) -> Result<()> {
        let body = Object::new(Some(data), BTreeMap::new())?.encode();
        let tag = self.bucket.put(&name(key), body).await.map_err(unknown_if_for_now)?;
        if self.purges && tag.version.is_some() {
            self.purge_others(key, &tag).await;
        }
        Ok(())
    }

    pub(crate) async fn delete(&self, key: &Key) -> Result<()> {
        self.pending.wait_for(std::slice::from_ref(key)).await;
        self.remove(key).await
    }

    /// Deletes the value of `key`, wherever it is.
    async fn remove(&self, key: &Key) -> Result<()> {
        if is_root(key) {
            let Some(seen) = self.fetch(key).await? else { return Ok(()) };
            if seen.object.nodes.is_empty() {
                self.delete_own(key).await.map_err(unknown_if_for_now)?;
                self.cache.remove(key);
                return Ok(());
            }
            self.save_all(seen.object.nodes.iter().map(|(key, node)| (key.clone(), node.clone()))).await?;
            let moved = seen;
            return self
                .rewrite(key, |seen| match seen {
                    Some(seen) if seen.object.nodes.keys().all(|key| moved.object.nodes.contains_key(key)) => {
                        Ok(Some((None, BTreeMap::new())))
                    }
                    Some(_) => Err(Error::new(ErrorKind::Busy, "the root that is deleted is being written")),
                    None => Ok(None),
                })
                .await;
        }
        self.delete_own(key).await.map_err(unknown_if_for_now)?;
        let Some(root) = root_of(key) else { return Ok(()) };
        if !self.fetch(&root).await?.is_some_and(|seen| seen.object.nodes.contains_key(key)) {
            return Ok(());
        }
        self.rewrite(&root, |seen| {
            let Some(seen) = seen.filter(|seen| seen.object.nodes.contains_key(key)) else { return Ok(None) };
            let mut nodes = seen.object.nodes.clone();
            nodes.remove(key);
            Ok(Some((seen.object.value.clone(), nodes)))
        })
        .await
    }

    /// Deletes the object of `key`, with its versions if they are to go.
    async fn delete_own(&self, key: &Key) -> Result<(), Failure> {
        let name = name(key);
        if !self.purges {
            return self.bucket.delete(&name, None).await;
        }
        let versions = self.bucket.versions(&name).await?;
        let versions: Vec<_> = versions.into_iter().filter(|version| version.name == name).collect();
        // The current one goes last: what was replaced is not to come back meanwhile.
        for version in versions.iter().filter(|version| !version.is_latest) {
            self.bucket.delete(&name, Some(&version.id)).await?;
        }
        for version in versions.iter().filter(|version| version.is_latest) {
            self.bucket.delete(&name, Some(&version.id)).await?;
        }
        Ok(())
    }

    /// Replaces the object of a root by what `make` makes of it, until nobody is in between. `None` leaves it as it is.
    async fn rewrite(
        &self,
        key: &Key,
        make: impl Fn(Option<&Arc<Seen>>) -> Result<Option<(Option<Bytes>, BTreeMap<Key, Bytes>)>>,
    ) -> Result<()> {
        let mut patience = self.bucket.patience();
        let mut seen = self.fetch(key).await?;
        loop {
            let Some((value, nodes)) = make(seen.as_ref())? else { return Ok(()) };
            match self.swap(key, seen.as_ref(), Object::new(value, nodes)?).await? {
                Swapped::Done => return Ok(()),
                Swapped::Lost(now) => seen = now,
            }
            patience.after(Failure::InTheWay).await.map_err(Failure::into_error)?;
        }
    }

    /// Writes `object` in place of what was `seen`. One write whose answer is lost is looked for and not repeated blindly.
    async fn swap(&self, key: &Key, seen: Option<&Arc<Seen>>, object: Object) -> Result<Swapped> {
        let (name, body) = (name(key), object.encode());
        let condition = seen.map_or(Condition::Absent, |seen| Condition::Is(seen.tag.etag.clone()));
        let mut patience = self.bucket.patience();
        let tag = loop {
            let failure = match self.bucket.put_once(&name, body.clone(), &condition).await {
                Ok(tag) => break tag,
                Err(failure) => failure,
            };
            let lost = matches!(failure, Failure::Lost | Failure::Missing);
            if !lost {
                let applied = patience.applied;
                if let Err(failure) = patience.after(failure).await {
                    self.cache.remove(key);
                    // A refusal says nothing about an earlier attempt.
                    return Err(match applied {
                        Applied::Unknown => outcome_unknown(),
                        Applied::No => unknown_if_for_now(failure),
                    });
                }
                if patience.applied == Applied::No {
                    continue;
                }
            }
            // Whose object is there?
            let now = match self.bucket.get(&name, None).await {
                Ok(now) => now,
                Err(_) => {
                    self.cache.remove(key);
                    return Err(if patience.applied == Applied::Unknown {
                        outcome_unknown()
                    } else {
                        failed_to_compare()
                    });
                }
            };
            let Some(now) = now else {
                self.cache.remove(key);
                match (lost, &condition) {
                    // Not there yet: the same write once more.
                    (false, Condition::Absent) => continue,
                    _ if patience.applied == Applied::Unknown => return Err(outcome_unknown()),
                    _ => return Ok(Swapped::Lost(None)),
                }
            };
            if now.body == body {
                break now.tag;
            }
            let now = Arc::new(Seen { object: Object::decode(now.body)?, tag: now.tag });
            self.cache.insert(key, Arc::clone(&now));
            if !lost && seen.is_some_and(|seen| seen.object.id == now.object.id) {
                continue;
            }
            if patience.applied == Applied::Unknown {
                // Ours may have been there in between.
                return Err(outcome_unknown());
            }
            return Ok(Swapped::Lost(Some(now)));
        };
        self.cache.insert(key, Arc::new(Seen { object, tag }));
        if self.purges
            && let Some(version) = seen.and_then(|seen| seen.tag.version.as_deref())
        {
            // The commit stands; a version that stays is found by `purge_old_versions`.
            let _ = self.bucket.delete(&name, Some(version)).await;
        }
        Ok(Swapped::Done)
    }

    async fn save_all(&self, values: impl Iterator<Item = (Key, Bytes)>) -> Result<()> {
        try_join_all(values.map(|(key, data)| async move {
            let body = Object::new(Some(data), BTreeMap::new())?.encode();
            // Nothing names it yet, so not knowing whether it is there is not having written it.
            self.bucket.put(&name(&key), body).await.map_err(Failure::into_error)
        }))
        .await
        .map(drop)
    }

    /// Applies `commit` and says which keys are to be deleted afterwards.
    pub(crate) async fn commit(&self, commit: &Commit) -> Result<Vec<Key>> {
        for data in commit.puts.iter().map(|(_, data)| data).chain(&commit.swap.replacement) {
            ensure_fits(data)?;
        }
        let swap = &commit.swap;
        let puts: Vec<Key> = commit.puts.iter().map(|(key, _)| key.clone()).collect();
        self.pending.wait_for(&puts).await;
        let mut patience = self.bucket.patience();
        let mut seen = match self.cache.get(&swap.key) {
            Some(seen) if seen.object.value == swap.expected => Some(seen),
            // Most likely there is nothing, and the write itself finds out.
            None if swap.expected.is_none() => None,
            _ => self.fetch(&swap.key).await?,
        };
        let mut written = HashSet::new();
        let riding = loop {
            if seen.as_ref().and_then(|seen| seen.object.value.as_ref()) != swap.expected.as_ref() {
                return Err(Error::new(ErrorKind::Conflict, "the root is not the one that the commit was made from"));
            }
            let (nodes, own) = self.place(commit, seen.as_deref());
            // Objects first: the root names them.
            let own = own.into_iter().filter(|(key, _)| !written.contains(key)).collect::<Vec<_>>();
            written.extend(own.iter().map(|(key, _)| key.clone()));
            self.save_all(own.into_iter()).await?;
            let riding: HashSet<Key> = nodes.keys().cloned().collect();
            let swapped = if swap.replacement.is_none() && seen.is_none() {
                match self.fetch(&swap.key).await? {
                    None => Swapped::Done,
                    now => Swapped::Lost(now),
                }
            } else {
                self.swap(&swap.key, seen.as_ref(), Object::new(swap.replacement.clone(), nodes)?).await?
            };
            match swapped {
                Swapped::Done => break riding,
                Swapped::Lost(now) => seen = now,
            }
            // The same root in another write: only what rides with it was moved.
            if seen.as_ref().and_then(|seen| seen.object.value.as_ref()) == swap.expected.as_ref() {
                patience.after(Failure::InTheWay).await.map_err(Failure::into_error)?;
            }
        };
        let rode = |key: &Key| seen.as_ref().is_some_and(|seen| seen.object.nodes.contains_key(key));
        let deletes = commit.deletes.iter().filter(|key| !rode(key)).cloned();
        // Objects of an attempt that was lost, of nodes for which there was room in the end.
        Ok(deletes.chain(written.into_iter().filter(|key| riding.contains(key))).collect())
    }

    /// Which nodes ride with the root after `commit`, and which get objects of their own.
    fn place(&self, commit: &Commit, seen: Option<&Seen>) -> (BTreeMap<Key, Bytes>, Vec<(Key, Bytes)>) {
        let root = &commit.swap.key;
        let mut riding = seen.map(|seen| seen.object.nodes.clone()).unwrap_or_default();
        let mut own = Vec::new();
        for (key, data) in &commit.puts {
            if is_root(root) && root_of(key).as_ref() == Some(root) {
                riding.insert(key.clone(), data.clone());
            } else {
                own.push((key.clone(), data.clone()));
            }
        }
        for key in &commit.deletes {
            riding.remove(key);
        }
        if commit.swap.replacement.is_none() || nodes_len(&riding) > self.inline_len {
            own.extend(std::mem::take(&mut riding));
        }
        (riding, own)
    }

    /// Deletes `keys` after a commit of `root`, with which they do not ride. What stays, the next opening of the client finds.
    pub(crate) async fn delete_all(&self, root: &Key, keys: &[Key]) {
        join_all(keys.iter().map(|key| async move {
            let _ = match root_of(key) {
                Some(other) if other != *root => self.remove(key).await,
                _ if is_root(key) => self.remove(key).await,
                _ => self.delete_own(key).await.map_err(Failure::into_error),
            };
        }))
        .await;
        self.pending.end(keys);
    }

    pub(crate) async fn list(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Vec<Key>> {
        self.pending.wait_for_all().await;
        // Those that ride are looked for first: one that moves to an object of its own meanwhile is then found there.
        let mut keys: Vec<Key> = self.riding(prefix).await?;
        keys.retain(|key| key.as_str().starts_with(prefix) && after.is_none_or(|after| key > after));
        let listed = self.bucket.list(&format!("{VALUES}{prefix}")).await.map_err(Failure::into_error)?;
        let values = listed.iter().filter(|listed| listed.len != REMOVED_LEN as u64);
        let own = values.filter_map(|listed| Key::new(listed.name.strip_prefix(VALUES)?).ok());
        keys.extend(own.filter(|key| after.is_none_or(|after| key > after)));
        keys.sort_unstable();
        keys.dedup();
        keys.truncate(limit);
        Ok(keys)
    }

    /// The keys of all nodes that ride with roots and may begin with `prefix`.
    async fn riding(&self, prefix: &str) -> Result<Vec<Key>> {
        let keys = |seen: &Seen| seen.object.nodes.keys().cloned().collect::<Vec<_>>();
        let roots = match roots_of(prefix)? {
            Roots::None => return Ok(Vec::new()),
            Roots::One(root) => return Ok(self.fetch(&root).await?.as_deref().map(keys).unwrap_or_default()),
            Roots::Prefix(roots) => format!("{VALUES}{roots}"),
        };
        let listed = self.bucket.list(&roots).await.map_err(Failure::into_error)?;
        let seen = try_join_all(listed.iter().map(|listed| async move {
            let Some(root) = listed.name.strip_prefix(VALUES).and_then(|key| Key::new(key).ok()) else {
                return Ok(None);
            };
            let same = |seen: &Arc<Seen>| seen.tag.etag.trim_matches('"') == listed.etag.trim_matches('"');
            match self.cache.get(&root).filter(same) {
                Some(seen) => Ok(Some(seen)),
                None => self.fetch(&root).await,
            }
        }))
        .await?;
        Ok(seen.iter().flatten().flat_map(|seen| keys(seen)).collect())
    }

    /// Deletes all versions of the objects whose names begin with `prefix` that are not current. Returns how many.
    pub(crate) async fn purge(&self, prefix: &str) -> Result<usize> {
        let versions = self.bucket.versions(prefix).await.map_err(Failure::into_error)?;
        // A marker of deletion goes after what it hides.
        let (markers, old): (Vec<_>, Vec<_>) = versions
            .iter()
            .filter(|version| !version.is_latest || version.is_marker)
            .partition(|version| version.is_latest);
        for group in [&old, &markers] {
            try_join_all(group.iter().map(|version| self.bucket.delete(&version.name, Some(&version.id))))
                .await
                .map_err(Failure::into_error)?;
        }
        Ok(old.len() + markers.len())
    }

    /// How many versions below the prefix are not current, and how many bytes they hold.
    pub(crate) async fn old_versions(&self) -> Result<(usize, u64)> {
        let versions = self.bucket.versions("").await.map_err(Failure::into_error)?;
        let old = versions.iter().filter(|version| !version.is_latest || version.is_marker);
        Ok(old.fold((0, 0), |(count, len), version| (count + 1, len + version.len)))
    }

    /// Deletes all versions of the object of `key` but the one that was just written.
    async fn purge_others(&self, key: &Key, tag: &Tag) {
        let name = name(key);
        let Ok(versions) = self.bucket.versions(&name).await else { return };
        let others =
            versions.iter().filter(|version| version.name == name && Some(&version.id) != tag.version.as_ref());
        // A version that another writer has just written stays: it is current.
        join_all(
            others.filter(|version| !version.is_latest).map(|version| self.bucket.delete(&name, Some(&version.id))),
        )
        .await;
    }
}

fn nodes_of(seen: Option<&Arc<Seen>>) -> BTreeMap<Key, Bytes> {
    seen.map(|seen| seen.object.nodes.clone()).unwrap_or_default()
}

fn ensure_fits(data: &Bytes) -> Result<()> {
    if data.len() <= MAX_VALUE_LEN {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Invalid, format!("a value has at most {MAX_VALUE_LEN} bytes, this one {}", data.len())))
}

/// The error of a write of which it is not known whether it landed.
fn outcome_unknown() -> Error {
    Error::new(
        ErrorKind::OutcomeUnknown,
        "the service did not say whether the write was applied, and cannot be asked now: read the root back",
    )
}

fn failed_to_compare() -> Error {
    Error::new(ErrorKind::Unavailable, "the service refused the write and cannot be asked now why: try again")
}

/// The error of a single write that gave up.
fn unknown_if_for_now(failure: Failure) -> Error {
    match failure {
        Failure::ForNow { applied: Applied::Unknown, .. } => outcome_unknown(),
        failure => failure.into_error(),
    }
}
