//! Makes a file durable before redb looks at it, so that it shows nothing that a power cut could undo.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use mls_keep_core::{Error, ErrorKind, Result};

use crate::error::io_error;

/// What every redb file begins with, and the byte of flags behind it: "Database header" in redb's `docs/design.md`.
const MAGIC: [u8; 9] = *b"redb\x1a\x0a\xa9\x0d\x0a";
const HEADER_LEN: usize = 320;

/// Flags: the file was not closed, or its last commit was not flushed.
const UNCLEAN: u8 = 2 | 8;

/// How much is in memory at once.
const PIECE_LEN: usize = 1 << 20;

/// How much longer than what it takes of the disk a file may be: this many times, and this many bytes. redb at most triples
/// a file ahead of its use, so a longer one was not made by it and would take for ever to read.
const MOST_HOLES: u64 = 8;
const HOLES_LEN: u64 = 256 << 20;

/// Makes what `opened` holds durable. It must be locked.
///
/// What a killed process has written may be in the memory of the system only. After a flush that failed it may stay there:
/// its pages are marked as clean, and another flush does nothing. So all of it is written once more, each byte over itself,
/// and then flushed. redb flushes everything else before it marks a file as closed, so of such a file only the mark itself
/// is written once more.
pub(crate) fn settle(mut opened: &File, path: &Path) -> Result<()> {
    let failed = |source: io::Error| io_error(source, path);
    let len = refuse_holes(opened, path)?;
    let mut header = Vec::new();
    opened.take(HEADER_LEN as u64).read_to_end(&mut header).map_err(failed)?;
    let Some((flags, _)) = header.strip_prefix(&MAGIC).and_then(<[u8]>::split_first) else {
        return Err(corrupt(path, "it is not a redb database"));
    };
    if header.len() < HEADER_LEN {
        return Err(corrupt(path, "it is cut"));
    }
    let rewritten = if flags & UNCLEAN == 0 {
        opened.rewind().and_then(|()| opened.write_all(&header))
    } else {
        rewrite(opened, len)
    };
    rewritten.and_then(|()| opened.sync_all()).map_err(failed)
}

fn rewrite(mut opened: &File, len: u64) -> io::Result<()> {
    let mut place = 0;
    let mut piece = Vec::new();
    while place < len {
        piece.clear();
        opened.seek(SeekFrom::Start(place))?;
        opened.take(PIECE_LEN as u64).read_to_end(&mut piece)?;
        if piece.is_empty() {
            break;
        }
        opened.seek(SeekFrom::Start(place))?;
        match opened.write_all(&piece) {
            // A hole that stays one holds the same zeros; what is no hole needs no room.
            Err(error) if is_full(&error) && piece.iter().all(|byte| *byte == 0) => {}
            written => written?,
        }
        place += piece.len() as u64;
    }
    Ok(())
}

/// The length of the file, which may not be a multiple of what is in it.
fn refuse_holes(opened: &File, path: &Path) -> Result<u64> {
    let found = opened.metadata().map_err(|source| io_error(source, path))?;
    #[cfg(unix)]
    {
        let taken = std::os::unix::fs::MetadataExt::blocks(&found).saturating_mul(512);
        // Some file systems do not count.
        if taken > 0 && found.len() > HOLES_LEN.saturating_add(taken.saturating_mul(MOST_HOLES)) {
            return Err(corrupt(path, "nearly all of it is holes"));
        }
    }
    Ok(found.len())
}

fn is_full(error: &io::Error) -> bool {
    ErrorKind::from(error.kind()) == ErrorKind::NoSpace
}

/// A file that redb did not leave so.
pub(crate) fn corrupt(path: &Path, what: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("{} cannot be opened: {what}: restore a backup", path.display()))
}
