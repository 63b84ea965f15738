//! [`Files`]: makes durable what sled writes. Its own `flush` starts the writing and does not wait for the medium
//! (`sync_file_range` on Linux).

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::settle::LOG;

/// The files of a sled directory. sled appends to one of them and reuses it; all others are written once, under a name of
/// their own.
#[derive(Debug)]
pub(crate) struct Files {
    directory: PathBuf,
    log: File,
    /// What was flushed once and never changes.
    flushed: BTreeSet<PathBuf>,
}

impl Files {
    /// The files in `directory`, which sled has open.
    pub(crate) fn open(directory: &Path) -> io::Result<Self> {
        let log = File::open(directory.join(LOG))?;
        Ok(Self { directory: directory.to_owned(), log, flushed: BTreeSet::new() })
    }

    /// The file that sled locks.
    pub(crate) fn log(&self) -> &File {
        &self.log
    }

    /// Waits until everything that sled has written is on the medium.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        self.log.sync_data()?;
        let directory = self.directory.clone();
        let mut found = BTreeSet::new();
        self.sync_new(&directory, &mut found)?;
        self.flushed = found;
        Ok(())
    }

    fn sync_new(&self, directory: &Path, found: &mut BTreeSet<PathBuf>) -> io::Result<()> {
        let mut is_new = false;
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let path = entry.path();
            if entry.file_type()?.is_dir() {
                self.sync_new(&path, found)?;
            }
            if !self.flushed.contains(&path) {
                is_new = true;
                if entry.file_type()?.is_file() {
                    // sled may remove what it has just replaced.
                    match File::open(&path).and_then(|file| file.sync_all()) {
                        Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                        result => result?,
                    }
                }
            }
            found.insert(path);
        }
        if is_new && cfg!(unix) {
            File::open(directory)?.sync_all()?;
        }
        Ok(())
    }
}
