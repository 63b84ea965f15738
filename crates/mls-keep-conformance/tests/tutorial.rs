//! A backend that keeps everything in one file, which each commit replaces.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use mls_keep_conformance::{
    Harness, ModelConfig, async_trait, conformance_suite, copy_directory, directory_contains, model_test,
};
use mls_keep_core::{
    Capabilities, Durability, Engine, EngineThread, Error, ErrorKind, Key, Result, StorageBackend, SwapScope,
    WriteBatch,
};

struct OneFile {
    thread: EngineThread<Store>,
}

mls_keep_core::storage_backend!(OneFile, thread);

impl OneFile {
    fn open(directory: PathBuf) -> Result<Self> {
        Ok(Self { thread: EngineThread::start("OneFile", move || Store::open(directory))? })
    }
}

struct Store {
    directory: PathBuf,
    values: BTreeMap<Key, Bytes>,
    /// A rename or flush failed, so what is on the disk is not known.
    lost: bool,
    _lock: File,
}

impl Store {
    fn open(directory: PathBuf) -> Result<Self> {
        let lock = File::create(directory.join("lock")).map_err(not_applied)?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => Error::new(ErrorKind::Busy, "another process has the store: close it there"),
            TryLockError::Error(source) => not_applied(source),
        })?;
        let values = match fs::read(directory.join("keep")) {
            Ok(bytes) => decode(&bytes).ok_or_else(|| Error::new(ErrorKind::Corrupt, "the file is damaged"))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(not_applied(error)),
        };
        Ok(Self { directory, values, lost: false, _lock: lock })
    }

    /// Replaces the file. A reader finds the old one or the new one, whole.
    fn write(&mut self, values: &BTreeMap<Key, Bytes>) -> Result<()> {
        let new = self.directory.join("keep.new");
        let mut file = File::create(&new).map_err(not_applied)?;
        file.write_all(&encode(values)).and_then(|()| file.sync_all()).map_err(not_applied)?;
        let replaced = fs::rename(&new, self.directory.join("keep"));
        replaced.and_then(|()| File::open(&self.directory)?.sync_all()).map_err(|source| {
            self.lost = true;
            Error::new(ErrorKind::OutcomeUnknown, "the file may be replaced: open it again").with_source(source)
        })
    }

    fn check(&self) -> Result<()> {
        let lost = || Error::new(ErrorKind::Poisoned, "a write did not say how it ended: open the store again");
        if self.lost { Err(lost()) } else { Ok(()) }
    }
}

impl Engine for Store {
    fn load_many(&mut self, keys: &[Key]) -> Result<Vec<Option<Bytes>>> {
        self.check()?;
        Ok(keys.iter().map(|key| self.values.get(key).cloned()).collect())
    }

    fn list(&mut self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Vec<Key>> {
        self.check()?;
        let listed = |key: &&Key| key.as_str().starts_with(prefix) && after.is_none_or(|after| *key > after);
        Ok(self.values.keys().filter(listed).take(limit).cloned().collect())
    }

    fn apply(&mut self, batches: &[WriteBatch]) -> Vec<Result<()>> {
        let mut values = self.values.clone();
        let results: Vec<Result<()>> = batches.iter().map(|batch| write(&mut values, batch)).collect();
        match self.check().and_then(|()| self.write(&values)) {
            Ok(()) => self.values = values,
            Err(error) => {
                return results.into_iter().map(|result| result.and(Err(error.clone()))).collect();
            }
        }
        results
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::weakest()
            .with_swap(SwapScope::ExclusiveProcess)
            .with_durability(Durability::PowerLoss)
            .with_atomic_commit(true)
            .with_erases_deleted(true)
    }

    fn close(self) -> Result<()> {
        Ok(())
    }
}

fn write(values: &mut BTreeMap<Key, Bytes>, batch: &WriteBatch) -> Result<()> {
    if let Some(swap) = &batch.swap {
        swap.check(values.get(&swap.key).map(Bytes::as_ref))?;
    }
    values.extend(batch.stored().map(|(key, data)| (key.clone(), data.clone())));
    batch.removed().for_each(|key| drop(values.remove(key)));
    Ok(())
}

/// The length of a key and the key, the length of its value and the value; and so on.
fn encode(values: &BTreeMap<Key, Bytes>) -> Vec<u8> {
    let fields = values.iter().flat_map(|(key, data)| [key.as_str().as_bytes(), data]);
    fields.flat_map(|field| [&(field.len() as u64).to_be_bytes()[..], field].concat()).collect()
}

fn decode(mut bytes: &[u8]) -> Option<BTreeMap<Key, Bytes>> {
    let mut values = BTreeMap::new();
    while !bytes.is_empty() {
        let key = std::str::from_utf8(field(&mut bytes)?).ok()?;
        values.insert(Key::new(key).ok()?, Bytes::copy_from_slice(field(&mut bytes)?));
    }
    Some(values)
}

fn field<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (len, rest) = bytes.split_first_chunk()?;
    let (field, rest) = rest.split_at_checked(u64::from_be_bytes(*len).try_into().ok()?)?;
    *bytes = rest;
    Some(field)
}

fn not_applied(source: io::Error) -> Error {
    Error::new(source.kind().into(), "the directory cannot be read or written").with_source(source)
}

struct Mine(tempfile::TempDir);

impl Mine {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("there is room for a temporary directory"))
    }
}

#[async_trait]
impl Harness for Mine {
    async fn open(&self) -> Result<Arc<dyn StorageBackend>> {
        Ok(Arc::new(OneFile::open(self.0.path().into())?))
    }

    async fn medium_contains(&self, marker: &[u8]) -> bool {
        directory_contains(self.0.path(), marker)
    }

    async fn copy(&self) -> Option<Box<dyn Harness>> {
        let copy = Mine::new();
        copy_directory(self.0.path(), copy.0.path());
        Some(Box::new(copy))
    }

    fn location(&self) -> Option<String> {
        Some(self.0.path().display().to_string())
    }

    async fn open_at(&self, location: &str) -> Result<Arc<dyn StorageBackend>> {
        Ok(Arc::new(OneFile::open(location.into())?))
    }
}

conformance_suite!(Mine::new());

#[test]
fn model() {
    model_test(Mine::new, ModelConfig { cases: 16, ..ModelConfig::default() });
}
