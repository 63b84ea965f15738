//! [`Worlds`]: the states that the store may be in.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use mls_keep_core::{Capabilities, Commit, Durability, ErrorKind, Key, MemoryBackend, StorageBackend, Swap};

use super::request::{Failed, Outcome, Request, call};
use super::step::{Action, CommitOf, Data, Expected, Name};
use crate::support::shown;

type World = BTreeMap<Key, Bytes>;

/// More states than this, and the store is looked at although nothing asked for it.
const MAX_WORLDS: usize = 16;

/// The states that the store may be in: one, unless a write did not say whether it happened.
pub(super) struct Worlds {
    promised: Capabilities,
    worlds: BTreeSet<World>,
}

impl Worlds {
    pub(super) fn new(promised: Capabilities) -> Self {
        Self { promised, worlds: BTreeSet::from([World::new()]) }
    }

    /// The call that `action` is now: its commits expect a root that may be there.
    pub(super) fn resolve(&self, action: &Action) -> Request {
        match action {
            Action::Save(name, data) => Request::Save(name.key(), data.bytes()),
            Action::Delete(name) => Request::Delete(name.key()),
            Action::Commit(commit) => Request::Commit(self.commit(commit)),
            Action::CommitMany(commits) => {
                Request::CommitMany(commits.iter().map(|commit| self.commit(commit)).collect())
            }
            Action::Load(name) => Request::Load(name.key()),
            Action::LoadMany(names) => Request::LoadMany(names.iter().map(|name| name.key()).collect()),
            Action::List(prefix) => Request::List((*prefix).to_owned()),
            Action::ListPage(prefix, after, limit) => {
                Request::ListPage((*prefix).to_owned(), after.map(Name::key), *limit)
            }
            Action::Close | Action::Drop => unreachable!("opening again is no call"),
        }
    }

    fn commit(&self, commit: &CommitOf) -> Commit {
        let key = Name::Root(commit.root).key();
        let expected = match commit.expected {
            Expected::Current => self.worlds.first().and_then(|world| world.get(&key)).cloned(),
            Expected::Absent => None,
            Expected::Other(data) => Some(data.bytes()),
        };
        let put = |number: &u8| (Name::Node(*number).key(), Data::of_node(*number).bytes());
        Commit {
            puts: commit.puts.iter().map(put).collect(),
            swap: Swap { key, expected, replacement: commit.replacement.map(Data::bytes) },
            deletes: commit.deletes.iter().map(|number| Name::Node(*number).key()).collect(),
        }
    }

    /// What was acknowledged is there, unless nothing of that kind was promised.
    pub(super) fn reopened(&mut self) {
        if self.promised.durability == Durability::None {
            self.worlds.insert(World::new());
        }
    }

    /// Keeps the states that `outcome` allows, after `request`. `injected`: it comes from a fault.
    pub(super) async fn follow(&mut self, request: &Request, outcome: &Outcome, injected: bool) -> Result<(), String> {
        if injected && is_unknown(outcome) {
            let mut next = BTreeSet::new();
            for world in &self.worlds {
                next.extend(self.after(world, request, true).await.into_iter().map(|(world, _)| world));
            }
            self.worlds = next;
            return Ok(());
        }
        if injected && is_unavailable(outcome) {
            // Not applied.
            return Ok(());
        }
        let (mut next, mut allowed) = (BTreeSet::new(), Vec::new());
        for world in &self.worlds {
            for (world, wanted) in self.after(world, request, false).await {
                if wanted == *outcome {
                    next.insert(world);
                } else if !allowed.contains(&wanted) {
                    allowed.push(wanted);
                }
            }
        }
        if next.is_empty() {
            return Err(format!("the backend says {outcome:?}, allowed is {allowed:?}"));
        }
        self.worlds = next;
        Ok(())
    }

    /// A look at the store does not decide what a step could have decided.
    pub(super) fn can_be_compared(&self) -> bool {
        self.worlds.len() == 1 || self.worlds.len() > MAX_WORLDS
    }

    /// Compares everything that is in the store. One state is left.
    pub(super) async fn compare(&mut self, backend: &dyn StorageBackend) -> Result<(), String> {
        let keys = backend.list("").await.map_err(|error| format!("listing: {error:?}"))?;
        let values = backend.load_many(&keys).await.map_err(|error| format!("loading: {error:?}"))?;
        let found: World = keys.into_iter().zip(values).filter_map(|(key, data)| Some((key, data?))).collect();
        if !self.worlds.contains(&found) {
            let show = |world: &World| {
                let entry = |(key, data): (&Key, &Bytes)| format!("{key} ({})", shown(Some(data)));
                world.iter().map(entry).collect::<Vec<_>>()
            };
            let allowed: Vec<_> = self.worlds.iter().take(4).map(show).collect();
            let count = self.worlds.len();
            return Err(format!("the store has {:?}; allowed are {count} states: {allowed:?}", show(&found)));
        }
        self.worlds = BTreeSet::from([found]);
        Ok(())
    }

    /// The states after `request` in `world`, with what it says. `unknown`: it was interrupted somewhere.
    async fn after(&self, world: &World, request: &Request, unknown: bool) -> Vec<(World, Outcome)> {
        let commits = match request {
            Request::Commit(commit) => std::slice::from_ref(commit),
            Request::CommitMany(commits) => commits,
            _ => {
                let (next, outcome) = in_memory(world, request).await;
                let before = unknown.then(|| (world.clone(), Outcome::Written(Vec::new())));
                return before.into_iter().chain([(next, outcome)]).collect();
            }
        };
        let mut states = vec![(world.clone(), Vec::new())];
        for commit in commits {
            let mut next = Vec::new();
            for (world, results) in states {
                for (world, result) in self.after_commit(&world, commit, unknown).await {
                    next.push((world, results.iter().cloned().chain([result]).collect()));
                }
            }
            next.sort_by(|a: &(World, Vec<_>), b| a.0.cmp(&b.0));
            next.dedup();
            states = next;
        }
        states.into_iter().map(|(world, results)| (world, Outcome::Written(results))).collect()
    }

    async fn after_commit(&self, world: &World, commit: &Commit, unknown: bool) -> Vec<(World, Result<(), Failed>)> {
        let (applied, outcome) = in_memory(world, &Request::Commit(commit.clone())).await;
        let result = match outcome {
            Outcome::Written(results) => results.into_iter().next().unwrap_or(Ok(())),
            _ => Ok(()),
        };
        let mut states = vec![(applied, result.clone())];
        if unknown {
            states.push((world.clone(), result.clone()));
        }
        let puts = || commit.puts.iter().map(|(key, data)| (key, Some(data)));
        if !self.promised.atomic_commit && (unknown || result.is_err()) {
            states.extend(some_of(world, puts()).map(|world| (world, result.clone())));
        }
        if !self.promised.atomic_commit && unknown && result.is_ok() {
            let mut swapped = world.clone();
            let root = (&commit.swap.key, commit.swap.replacement.as_ref());
            puts().chain([root]).for_each(|change| apply(&mut swapped, change));
            let deletes = commit.deletes.iter().map(|key| (key, None));
            states.extend(some_of(&swapped, deletes).map(|world| (world, result.clone())));
        }
        states
    }
}

fn any_is(results: &[Result<(), Failed>], kind: ErrorKind) -> bool {
    results.iter().any(|result| result.as_ref().is_err_and(|error| error.is(kind)))
}

/// Whether it was told that a write may have happened.
fn is_unknown(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Written(results) if any_is(results, ErrorKind::OutcomeUnknown))
}

fn is_unavailable(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Written(results) => any_is(results, ErrorKind::Unavailable),
        Outcome::Failed(error) => error.is(ErrorKind::Unavailable),
        Outcome::Values(_) | Outcome::Keys(_) => false,
    }
}

/// What the model says: a call of a backend in memory that holds `world`.
async fn in_memory(world: &World, request: &Request) -> (World, Outcome) {
    let memory = MemoryBackend::new();
    for (key, data) in world {
        // Memory does not fail.
        drop(memory.save(key, data.clone()).await);
    }
    let outcome = call(&memory, request).await;
    let keys = memory.list("").await.unwrap_or_default();
    let values = memory.load_many(&keys).await.unwrap_or_default();
    (keys.into_iter().zip(values).filter_map(|(key, data)| Some((key, data?))).collect(), outcome)
}

fn apply(world: &mut World, (key, data): (&Key, Option<&Bytes>)) {
    match data {
        Some(data) => world.insert(key.clone(), data.clone()),
        None => world.remove(key),
    };
}

/// `world` with each selection of `changes`.
fn some_of<'a>(
    world: &World,
    changes: impl Iterator<Item = (&'a Key, Option<&'a Bytes>)>,
) -> impl Iterator<Item = World> {
    let mut worlds = vec![world.clone()];
    for change in changes {
        let changed = worlds.clone().into_iter().map(|mut world| {
            apply(&mut world, change);
            world
        });
        worlds = worlds.iter().cloned().chain(changed).collect();
    }
    worlds.into_iter()
}
