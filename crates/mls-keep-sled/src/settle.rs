//! Makes sled's files durable before sled looks at them, so that it shows nothing that a power cut could undo, and refuses
//! what sled would read without end.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use mls_keep_core::{Error, ErrorKind, Result};

use crate::error::{corrupt, io_error};

/// The file in our directory that says that a process has the database open, or ended without closing it. It says nothing
/// about a time before the last start of the system: whatever is read after that comes from the medium. So it need not be
/// durable itself.
const OPEN: &str = "mls-keep.open";

/// The file that sled appends to and reuses, and that it locks.
pub(crate) const LOG: &str = "db";
const CONF: &str = "conf";
const BLOBS: &str = "blobs";
const SNAPSHOT: &str = "snap.";

/// Longest files of sled's, which it reads into memory: the settings are three numbers, a snapshot has some bytes for each
/// message in the log.
const MAX_CONF_LEN: u64 = 4 << 10;
const MAX_BLOB_LEN: u64 = 128 << 20;
const MAX_SNAPSHOT_LEN: u64 = 1 << 20;
const SNAPSHOT_PER_LOG: u64 = 2;

/// How much longer than what it takes of the disk a file may be: this many times, and this many bytes.
const MOST_HOLES: u64 = 8;
const HOLES_LEN: u64 = 64 << 20;

/// How much is in memory at once.
const PIECE_LEN: usize = 1 << 20;

/// How long to wait before a held lock is tried again.
pub(crate) const AGAIN: Duration = Duration::from_millis(5);

/// Makes all of `store` durable, and says that it is open.
///
/// What a killed process has written may be in the memory of the system only. After a flush that failed it may stay there:
/// its pages are marked as clean, and another flush does nothing. So after an end that was not clean each byte is written
/// once more over itself before the flush.
pub(crate) fn settle(directory: &Path, store: &Path, timeout: Duration) -> Result<()> {
    let files = look(store)?;
    let log = open(&store.join(LOG))?;
    let free = is_free(&log, timeout).map_err(|source| io_error(source, store))?;
    if !free {
        let text = format!("{} is open elsewhere: close it there or try again later", directory.display());
        return Err(Error::new(ErrorKind::Busy, text));
    }
    let marker = directory.join(OPEN);
    let was_open = fs::symlink_metadata(&marker).is_ok();
    for path in &files {
        let opened = open(path)?;
        let rewritten = if was_open { rewrite(&opened) } else { Ok(()) };
        rewritten.and_then(|()| opened.sync_all()).map_err(|source| io_error(source, path))?;
    }
    for path in [&store.join(BLOBS), store, directory] {
        sync_directory(path)?;
    }
    if !was_open {
        File::create_new(&marker).map_err(|source| io_error(source, &marker))?;
    }
    Ok(())
}

/// Says that everything was closed in order, as soon as sled has let go of its files.
pub(crate) fn closed(directory: &Path, log: &File, timeout: Duration) {
    // If it cannot be said the next opening writes all once more.
    if is_free(log, timeout).is_ok_and(|free| free) {
        drop(fs::remove_file(directory.join(OPEN)));
    }
}

/// Makes the names of new files durable.
pub(crate) fn sync_directory(path: &Path) -> Result<()> {
    if cfg!(unix) {
        File::open(path).and_then(|directory| directory.sync_all()).map_err(|source| io_error(source, path))?;
    }
    Ok(())
}

/// All files of `store`. Refuses what sled did not make: it follows links, waits for pipes, and reads some of its files into
/// memory whatever their length is.
fn look(store: &Path) -> Result<Vec<PathBuf>> {
    let log_len = regular(&store.join(LOG))?;
    let mut files = Vec::new();
    for path in entries(store)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let most = match name.as_str() {
            LOG => u64::MAX,
            CONF => MAX_CONF_LEN,
            BLOBS => {
                if !fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir()) {
                    return Err(corrupt(&path, "it is not a directory"));
                }
                for blob in entries(&path)? {
                    bounded(&blob, MAX_BLOB_LEN)?;
                    files.push(blob);
                }
                continue;
            }
            _ if name.starts_with(SNAPSHOT) => {
                MAX_SNAPSHOT_LEN.saturating_add(log_len.saturating_mul(SNAPSHOT_PER_LOG))
            }
            _ => return Err(corrupt(&path, "sled makes no such file")),
        };
        bounded(&path, most)?;
        files.push(path);
    }
    Ok(files)
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
    let failed = |source| io_error(source, directory);
    fs::read_dir(directory).map_err(failed)?.map(|entry| Ok(entry.map_err(failed)?.path())).collect()
}

fn bounded(path: &Path, most: u64) -> Result<()> {
    if regular(path)? > most {
        return Err(corrupt(path, "it is longer than sled makes it"));
    }
    Ok(())
}

/// The length of a regular file that is not nearly all holes.
fn regular(path: &Path) -> Result<u64> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(corrupt(path, "it is missing")),
        Err(error) => return Err(io_error(error, path)),
    };
    if !found.is_file() {
        return Err(corrupt(path, "it is not a regular file"));
    }
    #[cfg(unix)]
    {
        let taken = std::os::unix::fs::MetadataExt::blocks(&found).saturating_mul(512);
        // Some file systems do not count. sled begins a file with what is not zero.
        let is_hole = if taken > 0 {
            found.len() > HOLES_LEN.saturating_add(taken.saturating_mul(MOST_HOLES))
        } else {
            found.len() > HOLES_LEN && begins_with_zeros(path).map_err(|source| io_error(source, path))?
        };
        if is_hole {
            return Err(corrupt(path, "nearly all of it is holes"));
        }
    }
    Ok(found.len())
}

#[cfg(unix)]
fn begins_with_zeros(path: &Path) -> io::Result<bool> {
    let mut first = Vec::new();
    File::open(path)?.take(4096).read_to_end(&mut first)?;
    Ok(first.iter().all(|byte| *byte == 0))
}

fn open(path: &Path) -> Result<File> {
    OpenOptions::new().read(true).write(true).open(path).map_err(|source| io_error(source, path))
}

/// Waits until sled, some thread of which may outlive its database for a moment, has let go of `log`.
fn is_free(log: &File, timeout: Duration) -> io::Result<bool> {
    let start = Instant::now();
    loop {
        match log.try_lock() {
            Ok(()) => return log.unlock().map(|()| true),
            Err(TryLockError::WouldBlock) if start.elapsed() < timeout => thread::sleep(AGAIN),
            Err(TryLockError::WouldBlock) => return Ok(false),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

fn rewrite(mut opened: &File) -> io::Result<()> {
    let mut place = 0;
    let mut piece = Vec::new();
    loop {
        piece.clear();
        opened.seek(SeekFrom::Start(place))?;
        opened.take(PIECE_LEN as u64).read_to_end(&mut piece)?;
        if piece.is_empty() {
            return Ok(());
        }
        opened.seek(SeekFrom::Start(place))?;
        match opened.write_all(&piece) {
            // A hole that stays one holds the same zeros; what is no hole needs no room.
            Err(error)
                if ErrorKind::from(error.kind()) == ErrorKind::NoSpace && piece.iter().all(|byte| *byte == 0) => {}
            written => written?,
        }
        place += piece.len() as u64;
    }
}
