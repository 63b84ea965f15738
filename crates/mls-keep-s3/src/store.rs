//! [`Store`]: the contract of a backend on top of a bucket.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::future::{join_all, try_join_all};
use mls_keep_core::names::root_of;
use mls_keep_core::{Error, ErrorKind, Key, Result};

use crate::bucket::{Bucket, Read};
use crate::cache::{Cache, Seen};
use crate::config::{Config, MAX_VALUE_LEN, OldVersions};
use crate::error::{Failure, outcome_unknown};
use crate::layout::{Roots, VALUES, is_root, name, roots_of};
use crate::look::{Look, Looks};
use crate::object::{Object, REMOVED_LEN};
use crate::open::connect;
use crate::pending::{Deletion, Pending};
use crate::probe::{Found, probe};
use crate::swap::{Plan, nodes_of};

pub(crate) struct Store {
    pub(crate) bucket: Bucket,
    pub(crate) inline_len: usize,
    pub(crate) looks: Looks,
    /// Whether old versions are to be deleted.
    pub(crate) purges: bool,
    /// Whether the bucket was seen to keep any.
    pub(crate) keeps_versions: AtomicBool,
    pub(crate) cache: Cache,
    pub(crate) pending: Arc<Pending>,
    /// What the last page of a listing left.
    rest: Mutex<Option<Rest>>,
    /// How many writes began or ended.
    writes: AtomicU64,
}

/// The keys of a listing that come after those that were given already.
struct Rest {
    prefix: String,
    after: Key,
    keys: Vec<Key>,
    /// [`Store::writes`] when it was listed.
    writes: u64,
}

/// Which nodes a listing takes for those that ride.
#[derive(Clone, Copy)]
pub(crate) enum Riding {
    /// Those that ride now.
    Now,
    /// Those that rode when the root was seen last.
    SeenLast,
}

/// A write that is under way.
pub(crate) struct Writing<'a>(&'a AtomicU64);

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Release);
    }
}

impl Store {
    pub(crate) async fn open(bucket: String, prefix: String, config: &Config) -> Result<Self> {
        let (client, endpoint) = connect(config).await?;
        let looks = Looks::new(endpoint.as_deref(), &bucket);
        Ok(Self {
            bucket: Bucket::new(client, bucket, prefix, config),
            looks,
            inline_len: config.inline_len as usize,
            purges: config.old_versions == OldVersions::Purge,
            keeps_versions: AtomicBool::default(),
            cache: Cache::default(),
            pending: Arc::default(),
            rest: Mutex::default(),
            writes: AtomicU64::default(),
        })
    }

    /// Looks whether the service's conditional writes can decide a root, if nobody has lately. Before every write.
    pub(crate) async fn look(&self) -> Result<Look> {
        if let Some(look) = self.looks.standing() {
            return Ok(look);
        }
        let _looking = self.looks.looking.lock().await;
        match self.looks.standing() {
            Some(look) => Ok(look),
            None => {
                let Found { quotes, keeps_versions } = probe(&self.bucket, self.purges).await?;
                Ok(self.looks.looked(quotes, keeps_versions))
            }
        }
    }

    /// What was listed is old when a write begins, and when it ends.
    pub(crate) fn writing(&self) -> Writing<'_> {
        self.writes.fetch_add(1, Ordering::Release);
        Writing(&self.writes)
    }

    pub(crate) async fn load_many(&self, keys: &[Key]) -> Result<Vec<Option<Bytes>>> {
        self.pending.wait_for(keys).await;
        let roots: HashSet<Key> = keys.iter().filter_map(root_of).collect();
        let seen: HashMap<_, _> =
            roots.into_iter().filter_map(|root| Some((root.clone(), self.cache.get(&root)?))).collect();
        let rides = |key: &Key| seen.get(&root_of(key)?)?.object.nodes.get(key).cloned();
        // A node is written once: what rides with its root as it was seen last is its value.
        let known: Vec<Option<Bytes>> = keys.iter().map(rides).collect();
        let missing: Vec<&Key> =
            keys.iter().zip(&known).filter(|(_, known)| known.is_none()).map(|(key, _)| key).collect();
        let mut missing = self.ask_for(&missing).await?.into_iter();
        Ok(known.into_iter().map(|known| known.or_else(|| missing.next().flatten())).collect())
    }

    async fn ask_for(&self, keys: &[&Key]) -> Result<Vec<Option<Bytes>>> {
        let roots: HashSet<Key> = keys.iter().filter_map(|key| root_of(key)).collect();
        let now = try_join_all(roots.into_iter().map(|root| async move {
            let seen = self.fetch(&root).await?;
            Ok::<_, Error>((root, seen))
        }));
        let own = try_join_all(keys.iter().map(|key| self.load_own(key)));
        let (now, own) = futures_util::future::try_join(now, own).await?;
        let now: HashMap<Key, Option<Arc<Seen>>> = now.into_iter().collect();
        try_join_all(keys.iter().zip(own).map(|(key, own)| {
            let root = root_of(key).and_then(|root| now.get(&root).cloned());
            async move {
                let Some(root) = root else { return Ok(own) };
                let riding = root.and_then(|seen| seen.object.nodes.get(*key).cloned());
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
        let seen = self.read(key, None).await.map_err(Failure::into_error)?;
        Ok(seen.and_then(|seen| seen.object.value))
    }

    /// The object of the root `key`, as it is now.
    pub(crate) async fn fetch(&self, key: &Key) -> Result<Option<Arc<Seen>>> {
        let cached = self.cache.get(key);
        let etag = cached.as_ref().map(|seen| seen.tag.etag.as_str());
        let found = match self.read(key, etag).await {
            Err(Failure::NotModified) => return Ok(cached),
            Err(failure) => return Err(failure.into_error()),
            Ok(found) => found,
        };
        let Some(seen) = found.map(Arc::new) else {
            self.cache.remove(key);
            return Ok(None);
        };
        self.cache.insert(key, Arc::clone(&seen));
        Ok(Some(seen))
    }

    /// The object of `key`, unless its ETag is `known`.
    async fn read(&self, key: &Key, known_etag: Option<&str>) -> Result<Option<Seen>, Failure> {
        let name = name(key);
        let attempt = || async {
            let read = self.bucket.get_once(&name, known_etag).await?;
            self.seen(read).map_err(Failure::Unreadable)
        };
        match self.bucket.patience().repeat(attempt).await {
            Ok(seen) => Ok(Some(seen)),
            Err(Failure::Missing) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// What was read, after learning from it.
    pub(crate) fn seen(&self, read: Read) -> Result<Seen> {
        let object = Object::decode(read.body)?;
        if let Some(history) = &object.history {
            self.looks.learn(history.look, read.tag.kept().is_some());
        }
        if read.tag.kept().is_some() {
            self.keeps_versions.store(true, Ordering::Relaxed);
        }
        Ok(Seen { object, tag: read.tag })
    }

    pub(crate) async fn save(&self, key: &Key, data: Bytes) -> Result<()> {
        ensure_fits(&data)?;
        self.pending.wait_for(std::slice::from_ref(key)).await;
        if is_root(key) {
            let value = |seen: Option<&Arc<Seen>>| {
                Ok(Some(Plan { value: Some(data.clone()), nodes: nodes_of(seen), own: Vec::new() }))
            };
            return self.rewrite(key, self.fetch(key).await?, value).await.map(drop);
        }
        if let Some((root, seen)) = self.ridden(key).await? {
            // It is replaced where it is, so that there is one value at any time.
            if self.change(&root, seen, |nodes| drop(nodes.insert(key.clone(), data.clone()))).await? {
                return Ok(());
            }
        }
        self.replace(key, &data).await
    }

    /// A write without a condition, of which the last one wins.
    pub(crate) async fn put_blindly(&self, key: &Key, data: &Bytes) -> Result<()> {
        let body = Object::new(Some(data.clone()), BTreeMap::new())?.encode();
        let tag = self.bucket.put(&name(key), body).await.map_err(unknown_if_for_now)?;
        if self.purges && (tag.version.is_some() || self.keeps_versions.load(Ordering::Relaxed)) {
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
            let moved = Arc::clone(&seen);
            let removed = |seen: Option<&Arc<Seen>>| match seen {
                Some(seen) if seen.object.nodes.keys().all(|key| moved.object.nodes.contains_key(key)) => {
                    Ok(Some(Plan { value: None, nodes: BTreeMap::new(), own: Vec::new() }))
                }
                Some(_) => Err(Error::new(ErrorKind::Busy, "the root that is deleted is being written")),
                None => Ok(None),
            };
            return self.rewrite(key, Some(seen), removed).await.map(drop);
        }
        self.delete_own(key).await.map_err(unknown_if_for_now)?;
        match self.ridden(key).await? {
            Some((root, seen)) => self.change(&root, seen, |nodes| drop(nodes.remove(key))).await.map(drop),
            None => Ok(()),
        }
    }

    /// The root that `key` rides with, if it does, and its object.
    async fn ridden(&self, key: &Key) -> Result<Option<(Key, Arc<Seen>)>> {
        let Some(root) = root_of(key) else { return Ok(None) };
        let seen = self.fetch(&root).await?;
        Ok(seen.filter(|seen| seen.object.nodes.contains_key(key)).map(|seen| (root, seen)))
    }

    /// Changes what rides with `root`. Not if there is no such root any more.
    async fn change(&self, root: &Key, seen: Arc<Seen>, change: impl Fn(&mut BTreeMap<Key, Bytes>)) -> Result<bool> {
        let changed = |seen: Option<&Arc<Seen>>| {
            let Some(seen) = seen.filter(|seen| seen.object.value.is_some()) else { return Ok(None) };
            let mut nodes = seen.object.nodes.clone();
            change(&mut nodes);
            Ok(Some(Plan { value: seen.object.value.clone(), nodes, own: Vec::new() }))
        };
        Ok(self.rewrite(root, Some(seen), changed).await?.is_some())
    }

    pub(crate) async fn save_all(&self, values: impl Iterator<Item = (Key, Bytes)>) -> Result<()> {
        try_join_all(values.map(|(key, data)| async move {
            let body = Object::new(Some(data), BTreeMap::new())?.encode();
            // Nothing names it yet, so not knowing whether it is there is not having written it.
            self.bucket.put(&name(&key), body).await.map_err(Failure::into_error)
        }))
        .await
        .map(drop)
    }

    /// Deletes keys after a commit of `root`, with which they do not ride. What stays, the next opening of the client finds.
    pub(crate) async fn delete_all(&self, root: &Key, deletion: Deletion) {
        let _writing = self.writing();
        join_all(deletion.keys.iter().map(|key| async move {
            let _ = match root_of(key) {
                Some(other) if other != *root => self.remove(key).await,
                _ if is_root(key) => self.remove(key).await,
                _ => self.delete_own(key).await.map_err(Failure::into_error),
            };
        }))
        .await;
    }

    /// A page continues the listing of the page before, if nothing was written here in between: a service lists from the
    /// beginning each time (see [`Bucket::list`]).
    pub(crate) async fn list(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Vec<Key>> {
        let rest = self.rest.lock().unwrap_or_else(PoisonError::into_inner).take();
        let writes = self.writes.load(Ordering::Acquire);
        let continues = |rest: &Rest| rest.prefix == prefix && Some(&rest.after) == after && rest.writes == writes;
        let mut keys = match rest.filter(continues) {
            Some(rest) => rest.keys,
            None => {
                let mut keys = self.list_whole(prefix, Riding::Now).await?;
                keys.retain(|key| after.is_none_or(|after| key > after));
                keys
            }
        };
        let later = keys.split_off(limit.min(keys.len()));
        if let Some(after) = keys.last().filter(|_| !later.is_empty()).cloned() {
            let rest = Rest { prefix: prefix.to_owned(), after, keys: later, writes };
            *self.rest.lock().unwrap_or_else(PoisonError::into_inner) = Some(rest);
        }
        Ok(keys)
    }

    pub(crate) async fn list_whole(&self, prefix: &str, riding: Riding) -> Result<Vec<Key>> {
        self.pending.wait_below(prefix).await;
        // Those that ride are looked for first: one that moves to an object of its own meanwhile is then found there.
        let mut keys: Vec<Key> = self.riding(prefix, riding).await?;
        keys.retain(|key| key.as_str().starts_with(prefix));
        let listed = self.bucket.list(&format!("{VALUES}{prefix}")).await.map_err(Failure::into_error)?;
        let values = listed.iter().filter(|listed| listed.len != REMOVED_LEN as u64);
        keys.extend(values.filter_map(|listed| Key::new(listed.name.strip_prefix(VALUES)?).ok()));
        keys.sort_unstable();
        keys.dedup();
        Ok(keys)
    }

    /// The keys of all nodes that ride with roots and may begin with `prefix`.
    async fn riding(&self, prefix: &str, riding: Riding) -> Result<Vec<Key>> {
        let keys = |seen: &Seen| seen.object.nodes.keys().cloned().collect::<Vec<_>>();
        let roots = match roots_of(prefix)? {
            Roots::None => return Ok(Vec::new()),
            Roots::One(root) => {
                let seen = self.cache.get(&root).filter(|_| matches!(riding, Riding::SeenLast));
                let seen = if seen.is_some() { seen } else { self.fetch(&root).await? };
                return Ok(seen.as_deref().map(keys).unwrap_or_default());
            }
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
}

pub(crate) fn ensure_fits(data: &Bytes) -> Result<()> {
    if data.len() <= MAX_VALUE_LEN {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Invalid, format!("a value has at most {MAX_VALUE_LEN} bytes, this one {}", data.len())))
}

/// The error of a single write that gave up.
fn unknown_if_for_now(failure: Failure) -> Error {
    if failure.may_be_applied() { outcome_unknown("and it cannot be asked") } else { failure.into_error() }
}
