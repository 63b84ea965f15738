//! [`copy_store`]: a keep from one backend to another, as it stands: sealed, and without its key.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::backend::StorageBackend;
use crate::commit::{Commit, Swap};
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;
use crate::names;

/// How many values are in memory at once, and in one commit of the target. A node is at most 18 KiB long.
const PAGE: usize = 128;

/// How often it is begun anew when somebody writes to the source meanwhile.
const ROUNDS: usize = 3;

/// What was copied.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Copied {
    /// Values that the source has, and that the target was seen to have at the end.
    pub values: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Values that an earlier run had copied already.
    pub already_there: usize,
}

/// Copies every value of `source` to `target`: nodes first, then roots, then the header, so that `target` opens only when it
/// is whole. Reads back all of it at the end. `progress` gets how many values were copied or compared so far.
///
/// A run that ended early is taken up again by the next one. No key is needed, and nothing is learned of what the values
/// mean.
///
/// Use only one of the two afterwards. Two live copies of a client are a fork, and reuse keys.
///
/// # Errors
/// - [`ErrorKind::Conflict`]: `target` holds another keep or another state of a client, and was left as it was; or somebody
///   writes to `source` all the time, and `target` does not open.
/// - [`ErrorKind::NotFound`]: `source` is empty.
/// - [`ErrorKind::Corrupt`]: what was written to `target` is not what it holds.
/// - What the backends say.
pub async fn copy_store(
    source: &dyn StorageBackend,
    target: &dyn StorageBackend,
    progress: &mut dyn FnMut(usize),
) -> Result<Copied> {
    let mut roots = roots(source).await?;
    if roots.is_empty() {
        return Err(Error::new(ErrorKind::NotFound, "there is nothing to copy"));
    }
    refuse_other_state(&self::roots(target).await?, &roots)?;
    let mut done = 0;
    let mut already_there = 0;
    for round in 1.. {
        already_there = copy_nodes(source, target, &mut done, progress).await?;
        let now = self::roots(source).await?;
        if now == roots {
            break;
        }
        if round == ROUNDS {
            return Err(busy());
        }
        roots = now;
    }
    let written = write_roots(target, &roots).await?;
    already_there += roots.len() - written.len();
    if self::roots(source).await? != roots {
        // It had become whole for a moment. Nobody shall go on from it.
        for (key, value) in written.into_iter().rev() {
            target.commit(swap(Swap { key, expected: Some(value), replacement: None })).await?;
        }
        return Err(busy());
    }
    let mut copied = compare(source, target, &mut done, progress).await?;
    copied.already_there = already_there;
    Ok(copied)
}

/// Everything that is no node: few values, and small ones.
async fn roots(backend: &dyn StorageBackend) -> Result<BTreeMap<Key, Bytes>> {
    let mut roots = BTreeMap::new();
    let mut after: Option<Key> = None;
    loop {
        let keys = backend.list_page("", after.as_ref(), PAGE).await?;
        let Some(last) = keys.last() else { return Ok(roots) };
        after = Some(last.clone());
        for key in keys.into_iter().filter(|key| !key.as_str().starts_with(names::NODES)) {
            if let Some(value) = backend.load(&key).await? {
                roots.insert(key, value);
            }
        }
    }
}

fn refuse_other_state(target: &BTreeMap<Key, Bytes>, source: &BTreeMap<Key, Bytes>) -> Result<()> {
    if target.iter().any(|(key, value)| source.get(key) != Some(value)) {
        return Err(Error::new(
            ErrorKind::Conflict,
            "the target holds another keep or another state of a client, and was left as it was: name an empty one",
        ));
    }
    Ok(())
}

/// Copies the nodes that the target does not have. How many it had.
async fn copy_nodes(
    source: &dyn StorageBackend,
    target: &dyn StorageBackend,
    done: &mut usize,
    progress: &mut dyn FnMut(usize),
) -> Result<usize> {
    let (mut after, mut already_there) = (None, 0);
    loop {
        let keys = source.list_page(names::NODES, after.as_ref(), PAGE).await?;
        let Some(last) = keys.last() else { return Ok(already_there) };
        after = Some(last.clone());
        let values = source.load_many(&keys).await?;
        let there = target.load_many(&keys).await?;
        *done += keys.len();
        let mut missing = Vec::new();
        for ((key, value), there) in keys.into_iter().zip(values).zip(there) {
            match value {
                Some(value) if there.as_ref() == Some(&value) => already_there += 1,
                // A value that is gone again belonged to a root that was replaced meanwhile.
                Some(value) => missing.push((key, value, there)),
                None => {}
            }
        }
        if let Some((key, replacement, expected)) = missing.pop() {
            let puts = missing.into_iter().map(|(key, value, _)| (key, value)).collect();
            let swap = Swap { key, expected, replacement: Some(replacement) };
            // One flush for all of them, on any backend that can.
            target.commit(Commit { puts, swap, deletes: Vec::new() }).await?;
        }
        progress(*done);
    }
}

/// Writes what the target does not have, the header last: `header` comes before all roots. What was written, in that order.
async fn write_roots(target: &dyn StorageBackend, roots: &BTreeMap<Key, Bytes>) -> Result<Vec<(Key, Bytes)>> {
    let mut written = Vec::new();
    for (key, value) in roots.iter().rev() {
        if target.load(key).await?.as_ref() != Some(value) {
            let (key, value) = (key.clone(), value.clone());
            target.commit(swap(Swap { key: key.clone(), expected: None, replacement: Some(value.clone()) })).await?;
            written.push((key, value));
        }
    }
    Ok(written)
}

/// Reads everything back.
async fn compare(
    source: &dyn StorageBackend,
    target: &dyn StorageBackend,
    done: &mut usize,
    progress: &mut dyn FnMut(usize),
) -> Result<Copied> {
    let (mut after, mut copied) = (None, Copied::default());
    loop {
        let keys = source.list_page("", after.as_ref(), PAGE).await?;
        let Some(last) = keys.last() else { return Ok(copied) };
        after = Some(last.clone());
        let (values, there) = (source.load_many(&keys).await?, target.load_many(&keys).await?);
        for (value, there) in values.into_iter().zip(there) {
            if value != there {
                return Err(Error::new(
                    ErrorKind::Corrupt,
                    "the target does not hold what was written to it, or somebody writes to the source: copy again",
                ));
            }
            copied.values += 1;
            copied.bytes += value.map_or(0, |value| value.len() as u64);
        }
        *done += keys.len();
        progress(*done);
    }
}

fn swap(swap: Swap) -> Commit {
    Commit { puts: Vec::new(), swap, deletes: Vec::new() }
}

fn busy() -> Error {
    Error::new(ErrorKind::Conflict, "somebody writes to the source: close it there and copy again")
}
