//! Replacing the object of a root: [`Store::commit`], and the conditional write below it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use mls_keep_core::names::root_of;
use mls_keep_core::{Commit, Key, Result};

use crate::bucket::{Condition, Tag};
use crate::cache::Seen;
use crate::error::{Failure, failed_to_compare, outcome_unknown};
use crate::layout::{is_root, name};
use crate::object::{Object, nodes_len};
use crate::store::{Store, ensure_fits};

/// What is to be written.
pub(crate) struct Plan {
    pub(crate) value: Option<Bytes>,
    /// The nodes that ride with it.
    pub(crate) nodes: BTreeMap<Key, Bytes>,
    /// Nodes with objects of their own, which are written before it.
    pub(crate) own: Vec<(Key, Bytes)>,
}

/// What became of a conditional write.
enum Swapped {
    Done,
    /// Something else is there, or nothing.
    Lost(Option<Arc<Seen>>),
}

impl Store {
    /// Applies `commit` and says which keys are to be deleted afterwards.
    pub(crate) async fn commit(&self, commit: &Commit) -> Result<Vec<Key>> {
        for data in commit.puts.iter().map(|(_, data)| data).chain(&commit.swap.replacement) {
            ensure_fits(data)?;
        }
        let swap = &commit.swap;
        let puts: Vec<Key> = commit.puts.iter().map(|(key, _)| key.clone()).collect();
        self.pending.wait_for(&puts).await;
        let seen = match self.cache.get(&swap.key) {
            Some(seen) if seen.object.value == swap.expected => Some(seen),
            // Most likely there is nothing, and the write itself finds out.
            None if swap.expected.is_none() && swap.replacement.is_some() => None,
            _ => self.fetch(&swap.key).await?,
        };
        let make = |seen: Option<&Arc<Seen>>| {
            swap.check(seen.and_then(|seen| seen.object.value.as_deref()))?;
            // Nothing is there, and nothing is to be.
            if seen.is_none() && swap.replacement.is_none() {
                return Ok(None);
            }
            Ok(Some(self.place(commit, seen)))
        };
        let Some(before) = self.rewrite(&swap.key, seen, make).await? else {
            self.save_all(commit.puts.iter().cloned()).await?;
            return Ok(commit.deletes.clone());
        };
        let rode = |key: &Key| before.as_ref().is_some_and(|seen| seen.object.nodes.contains_key(key));
        Ok(commit.deletes.iter().filter(|key| !rode(key)).cloned().collect())
    }

    /// Which nodes ride with the root after `commit`, and which get objects of their own.
    fn place(&self, commit: &Commit, seen: Option<&Arc<Seen>>) -> Plan {
        let root = &commit.swap.key;
        let mut nodes = nodes_of(seen);
        let mut own = Vec::new();
        for (key, data) in &commit.puts {
            if is_root(root) && root_of(key).as_ref() == Some(root) {
                nodes.insert(key.clone(), data.clone());
            } else {
                own.push((key.clone(), data.clone()));
            }
        }
        for key in &commit.deletes {
            nodes.remove(key);
        }
        if commit.swap.replacement.is_none() || nodes_len(&nodes) > self.inline_len {
            own.extend(std::mem::take(&mut nodes));
        }
        Plan { value: commit.swap.replacement.clone(), nodes, own }
    }

    /// Replaces the object of a root by what `make` makes of the one that is there, `seen` at first, until nobody is in
    /// between. Returns what was there before. If it makes `None`, all stays as it is.
    pub(crate) async fn rewrite(
        &self,
        key: &Key,
        mut seen: Option<Arc<Seen>>,
        make: impl Fn(Option<&Arc<Seen>>) -> Result<Option<Plan>>,
    ) -> Result<Option<Option<Arc<Seen>>>> {
        let mut patience = self.bucket.patience();
        let mut written = HashMap::new();
        loop {
            let Some(Plan { value, mut nodes, own }) = make(seen.as_ref())? else { return Ok(None) };
            // What was given an object of its own in an attempt that lost keeps it. If it rode again, that object would have to
            // go, and a deletion that is held up could take it when it counts again.
            nodes.retain(|key, data| written.get(key) != Some(data));
            // Objects first: the root names them.
            let own: Vec<_> = own.into_iter().filter(|(key, data)| written.get(key) != Some(data)).collect();
            written.extend(own.iter().cloned());
            self.save_all(own.into_iter()).await?;
            match self.swap(key, seen.as_ref(), Object::new(value, nodes)?).await? {
                Swapped::Done => return Ok(Some(seen)),
                Swapped::Lost(now) => seen = now,
            }
            // Before it waits: mostly there is nothing to be done any more.
            make(seen.as_ref())?;
            patience.after(Failure::InTheWay).await.map_err(Failure::into_error)?;
        }
    }

    /// Makes `data` the value of `key`, which is no root. On a condition, though there is nothing to compare: a write that is
    /// held up is not to take the place of a later one.
    pub(crate) async fn replace(&self, key: &Key, data: &Bytes) -> Result<()> {
        let mut patience = self.bucket.patience();
        let mut seen = None;
        loop {
            let object = Object::new(Some(data.clone()), BTreeMap::new())?;
            match self.swap(key, seen.as_ref(), object).await? {
                Swapped::Done => break,
                // Refused, and nothing is there: SeaweedFS takes what lies below the key for an object of the key.
                Swapped::Lost(None) if seen.is_none() => return self.put_blindly(key, data).await,
                Swapped::Lost(now) => seen = now,
            }
            patience.after(Failure::InTheWay).await.map_err(Failure::into_error)?;
        }
        // Others write it, too, and nobody asks for it before that.
        self.cache.remove(key);
        Ok(())
    }

    /// Writes `object` in place of what was `seen`. A write whose answer is lost is looked for before it is repeated.
    async fn swap(&self, key: &Key, seen: Option<&Arc<Seen>>, object: Object) -> Result<Swapped> {
        let look = self.look().await?;
        let object = object.in_place_of(seen.map(|seen| &seen.object), look);
        let (name, body) = (name(key), object.encode());
        let condition = seen.map_or(Condition::Absent, |seen| Condition::Is(seen.tag.etag.clone(), look.quotes));
        let mut patience = self.bucket.patience();
        let attempt = || async {
            let failure = match self.bucket.put_once(&name, body.clone(), &condition).await {
                Ok(tag) => return Ok(Answer::Taken(tag)),
                Err(failure) => failure,
            };
            let lost = matches!(failure, Failure::Lost | Failure::Missing);
            if !lost && !failure.may_be_applied() {
                return Err(failure);
            }
            // Whose object is there?
            match self.bucket.get_once(&name, None).await {
                Ok(now) if now.body == body => Ok(Answer::Taken(now.tag)),
                Ok(read) => match self.seen(read) {
                    Ok(now) => match seen.filter(|seen| seen.object.id == now.object.id) {
                        Some(seen) if lost && seen.tag.etag == now.tag.etag => Err(Failure::Refused),
                        Some(_) if !lost => Err(failure),
                        _ => Ok(Answer::Other { now: Some(Arc::new(now)), lost }),
                    },
                    Err(error) if lost => Err(Failure::Unreadable(error)),
                    Err(_) => Err(failure),
                },
                Err(Failure::Missing) if lost || seen.is_some() => Ok(Answer::Other { now: None, lost }),
                Err(_) if lost => Err(failed_to_compare()),
                // Not there yet, or it cannot be asked: the same write once more.
                Err(_) => Err(failure),
            }
        };
        let answer = patience.repeat(attempt).await;
        let unknown = patience.may_be_applied();
        // Whatever is not known after this is asked for.
        self.cache.remove(key);
        let now = match answer {
            Ok(Answer::Taken(tag)) => {
                if tag.kept().is_some() != look.keeps_versions {
                    self.looks.forget();
                }
                let now = Arc::new(Seen { object, tag });
                self.cache.insert(key, Arc::clone(&now));
                Some(now)
            }
            Ok(Answer::Other { now, lost }) => {
                let mine =
                    now.as_ref().and_then(|now| now.object.came_after(object.id, seen.map(|seen| seen.object.id)));
                if let Some(now) = &now {
                    self.cache.insert(key, Arc::clone(now));
                }
                match mine {
                    Some(true) => now,
                    Some(false) => return Ok(Swapped::Lost(now)),
                    None if lost && !unknown => return Ok(Swapped::Lost(now)),
                    None => return Err(outcome_unknown("and others wrote too often since to say it now")),
                }
            }
            // A refusal says nothing about an earlier attempt.
            Err(_) if unknown => return Err(outcome_unknown("and cannot be asked now")),
            Err(failure) => {
                if matches!(failure, Failure::Refused) {
                    self.looks.forget();
                }
                return Err(failure.into_error());
            }
        };
        if let Some((seen, now)) = seen.zip(now).filter(|_| self.purges) {
            self.purge_replaced(key, &seen.tag, &now.tag).await;
        }
        Ok(Swapped::Done)
    }
}

/// What is known after a conditional write.
enum Answer {
    /// The object is there.
    Taken(Tag),
    /// Another one is there, or none. `lost` if the service refused the write.
    Other { now: Option<Arc<Seen>>, lost: bool },
}

pub(crate) fn nodes_of(seen: Option<&Arc<Seen>>) -> BTreeMap<Key, Bytes> {
    seen.map(|seen| seen.object.nodes.clone()).unwrap_or_default()
}
