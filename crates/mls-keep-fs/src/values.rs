//! [`Values`]: the values that have files of their own.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::thread;

use bytes::Bytes;
use mls_keep_core::{Key, Result};

use crate::config::MAX_VALUE_LEN;
use crate::directory::{Directory, make_directory, open_file, sync_directory};
use crate::error::{corrupt, file};
use crate::name::{key_of, name_of};

/// The name of their directory.
const NAME: &str = "values";

/// What the name of a file begins with that is being written. No value's does.
const NEW: &str = "new-";

/// How many files are written at once. A file system makes the flushes of several threads durable together.
const WRITERS: usize = 8;

/// The directory of values.
#[derive(Debug)]
pub(crate) struct Values {
    path: PathBuf,
    /// Their keys, once somebody has asked for them.
    keys: Option<BTreeSet<Key>>,
}

impl Values {
    /// Opens or makes the directory, and removes what a kill has left half written.
    pub(crate) fn open(directory: &Directory) -> Result<Self> {
        let path = directory.entry(NAME);
        make_directory(&path)?;
        for number in 0..WRITERS {
            remove(&path.join(format!("{NEW}{number}")))?;
        }
        Ok(Self { path, keys: None })
    }

    /// The value of `key`.
    pub(crate) fn load(&self, key: &Key) -> Result<Option<Bytes>> {
        let path = self.file(key);
        match fs::symlink_metadata(&path) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(file(error, &path)),
        }
        let opened = open_file(&path, OpenOptions::new().read(true))?;
        let mut data = Vec::new();
        // One more than allowed, to see that there is more.
        opened.take(MAX_VALUE_LEN as u64 + 1).read_to_end(&mut data).map_err(|source| file(source, &path))?;
        if data.len() > MAX_VALUE_LEN {
            return Err(corrupt(&path, "the value is longer than any that this crate stores"));
        }
        Ok(Some(data.into()))
    }

    /// All keys that have a file.
    pub(crate) fn keys(&mut self) -> Result<&BTreeSet<Key>> {
        let keys = match self.keys.take() {
            Some(keys) => keys,
            None => self.read_keys()?,
        };
        Ok(self.keys.insert(keys))
    }

    /// Gives each value a file of its own and removes the files of what is gone. Durable when `Ok`.
    pub(crate) fn store(&mut self, entries: &[(&Key, Option<&Bytes>)]) -> Result<()> {
        // Whatever happens, what was known of the files is not known any more.
        let keys = self.keys.take();
        let share = entries.len().div_ceil(WRITERS).max(1);
        thread::scope(|scope| {
            let this = &*self;
            let writers: Vec<_> = entries
                .chunks(share)
                .enumerate()
                .map(|(number, entries)| {
                    let new = this.path.join(format!("{NEW}{number}"));
                    scope.spawn(move || entries.iter().try_for_each(|(key, value)| this.store_one(&new, key, *value)))
                })
                .collect();
            // All of them, before the first error is told.
            let results: Vec<_> = writers.into_iter().map(|writer| writer.join()).collect();
            results.into_iter().try_for_each(|result| result.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        })?;
        sync_directory(&self.path)?;
        self.keys = keys.map(|mut keys| {
            for (key, value) in entries {
                if value.is_some() {
                    keys.insert((*key).clone())
                } else {
                    keys.remove(key)
                };
            }
            keys
        });
        Ok(())
    }

    fn store_one(&self, new: &Path, key: &Key, value: Option<&Bytes>) -> Result<()> {
        let path = self.file(key);
        let Some(value) = value else { return remove(&path) };
        let mut written = open_file(new, OpenOptions::new().write(true).create(true).truncate(true))?;
        let stored = written.write_all(value).and_then(|()| written.sync_all()).and_then(|()| fs::rename(new, &path));
        stored.map_err(|source| file(source, &path))
    }

    fn read_keys(&self) -> Result<BTreeSet<Key>> {
        let mut keys = BTreeSet::new();
        for entry in fs::read_dir(&self.path).map_err(|source| file(source, &self.path))? {
            let name = entry.map_err(|source| file(source, &self.path))?.file_name();
            let name = name.to_string_lossy();
            if name.starts_with(NEW) {
                continue;
            }
            keys.insert(key_of(&name).ok_or_else(|| corrupt(&self.path, "a file there is no value"))?);
        }
        Ok(keys)
    }

    fn file(&self, key: &Key) -> PathBuf {
        self.path.join(name_of(key))
    }
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(file(error, path)),
        _ => Ok(()),
    }
}
