//! [`Values`]: the values that have files of their own.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::thread;

use bytes::Bytes;
use mls_keep_core::{Error, ErrorKind, Key, Result};

use crate::config::MAX_VALUE_LEN;
use crate::directory::Directory;
use crate::error::{corrupt, io_error};
use crate::files::{make_directory, make_file, open_file, remove, sync_directory};
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
    /// Whether storing has failed, so that names may be gone in memory and not on the medium.
    failed: bool,
}

/// What a key has from now on: a value, or none.
pub(crate) type Entries<'a> = [(&'a Key, Option<&'a Bytes>)];

impl Values {
    /// Opens the directory, or makes it with a keep, and removes what a kill has left half written.
    pub(crate) fn open(directory: &Directory, is_made: bool) -> Result<Self> {
        let path = directory.entry(NAME);
        if is_made && fs::symlink_metadata(&path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            return Err(corrupt(&path, "the directory of values is missing"));
        }
        make_directory(&path)?;
        for number in 0..WRITERS {
            remove(&path.join(format!("{NEW}{number}")))?;
        }
        Ok(Self { path, keys: None, failed: false })
    }

    /// Whether there is no file.
    pub(crate) fn is_empty(&self) -> Result<bool> {
        Ok(fs::read_dir(&self.path).map_err(|source| io_error(source, &self.path))?.next().is_none())
    }

    /// The value of `key`.
    pub(crate) fn load(&self, key: &Key) -> Result<Option<Bytes>> {
        let path = self.file(key);
        match fs::symlink_metadata(&path) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error(error, &path)),
        }
        let opened = open_file(&path, OpenOptions::new().read(true))?;
        let len = opened.metadata().map_err(|source| io_error(source, &path))?.len();
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let mut data = Vec::with_capacity(len.min(MAX_VALUE_LEN));
        if len <= MAX_VALUE_LEN {
            // One more than allowed, to see that there is more.
            opened.take(MAX_VALUE_LEN as u64 + 1).read_to_end(&mut data).map_err(|source| io_error(source, &path))?;
        }
        if len.max(data.len()) > MAX_VALUE_LEN {
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
    pub(crate) fn store(&mut self, entries: &Entries<'_>) -> Result<()> {
        self.store_all(entries, false)
    }

    /// As [`store`](Self::store), when it is not known what an earlier process has done of it. If the flush of the directory
    /// failed there, what it removed is gone in memory and perhaps not on the medium, and a further flush has nothing to do.
    /// So each name is given and removed once more; as it is
    /// after a failure of this process.
    pub(crate) fn store_again(&mut self, entries: &Entries<'_>) -> Result<()> {
        self.store_all(entries, true)
    }

    fn store_all(&mut self, entries: &Entries<'_>, again: bool) -> Result<()> {
        // Whatever happens, what was known of the files is not known any more.
        let keys = self.keys.take();
        let again = again || self.failed;
        self.failed = true;
        let share = entries.len().div_ceil(WRITERS).max(1);
        thread::scope(|scope| {
            let this = &*self;
            let writers: Vec<_> = entries
                .chunks(share)
                .enumerate()
                .map(|(number, share)| {
                    let write = move || this.store_share(number, share, again);
                    // Where no thread can be had, this one does it.
                    thread::Builder::new().spawn_scoped(scope, write).map_err(|_| write())
                })
                .collect();
            // All of them, before the first error is returned.
            let results: Vec<_> = writers
                .into_iter()
                .map(|writer| match writer {
                    Ok(thread) => thread.join().unwrap_or_else(|_| Err(ended())),
                    Err(result) => result,
                })
                .collect();
            results.into_iter().collect::<Result<()>>()
        })?;
        sync_directory(&self.path)?;
        self.failed = false;
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

    fn store_share(&self, number: usize, entries: &Entries<'_>, again: bool) -> Result<()> {
        let new = self.path.join(format!("{NEW}{number}"));
        entries.iter().try_for_each(|(key, value)| self.store_one(&new, key, *value, again))
    }

    fn store_one(&self, new: &Path, key: &Key, value: Option<&Bytes>, again: bool) -> Result<()> {
        let path = self.file(key);
        let Some(value) = value else {
            if again {
                make_file(&path)?;
            }
            return remove(&path);
        };
        let mut written = open_file(new, OpenOptions::new().write(true).create_new(true))?;
        let stored = written.write_all(value).and_then(|()| written.sync_all()).and_then(|()| fs::rename(new, &path));
        stored.map_err(|source| {
            // It takes room, and the next one has to be new.
            drop(remove(new));
            if fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir()) {
                return corrupt(&path, "it is a directory");
            }
            io_error(source, &path)
        })
    }

    fn read_keys(&self) -> Result<BTreeSet<Key>> {
        let mut keys = BTreeSet::new();
        for entry in fs::read_dir(&self.path).map_err(|source| io_error(source, &self.path))? {
            let name = entry.map_err(|source| io_error(source, &self.path))?.file_name();
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

/// A panic in a thread that writes values.
fn ended() -> Error {
    Error::new(ErrorKind::Internal, "a thread that writes values ended unexpectedly: please report it")
}
