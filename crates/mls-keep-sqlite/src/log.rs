//! The files beside the database: SQLite's write-ahead log, its index, and a rollback journal.
//!
//! SQLite locks bytes of the database and of the index only. So the log and a journal may be opened and closed here: POSIX
//! drops all locks that a process holds on a file when any of its descriptors of that file is closed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use mls_keep_core::{Error, ErrorKind, Result};

use crate::error::io_error;

/// Begins the log: <https://www.sqlite.org/fileformat2.html#walformat>. The last bit is the byte order of the checksums.
const MAGIC: u32 = 0x377f_0682;
const VERSION: u32 = 3_007_000;
const HEADER_LEN: usize = 32;
const FRAME_HEADER_LEN: usize = 24;
const FRAME_LEN: usize = FRAME_HEADER_LEN + 4096;

/// Begins a rollback journal: <https://www.sqlite.org/fileformat2.html#the_rollback_journal>.
const JOURNAL_MAGIC: [u8; 8] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];

/// Ends a rollback journal that belongs to a transaction over several files, behind the name of a further file.
const SUPER_JOURNAL: [u8; 8] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];

/// The write-ahead log of the database at `path`, which is what all links lead to.
pub(crate) fn path_of(path: &Path) -> PathBuf {
    beside(path, "-wal")
}

/// Refuses what SQLite would follow, before it reads for the first time: files beside the database that it would open,
/// overwrite or delete by their names.
pub(crate) fn look_beside(path: &Path) -> Result<()> {
    let log = path_of(path);
    let logged = regular(&log)?;
    if logged.is_some() {
        refuse_foreign(&log, &[&MAGIC.to_be_bytes(), &(MAGIC | 1).to_be_bytes()])?;
    }
    // In this order: when there is something in a log of ours, there is something in the database.
    if logged.is_some_and(|len| len > 0) && fs::metadata(path).is_ok_and(|found| found.len() == 0) {
        return Err(corrupt(path, "is empty while its log is not, so it was shortened or removed"));
    }
    if logged.is_some() {
        Log::open(&log, &mut OpenOptions::new())?;
    }
    let index = beside(path, "-shm");
    // By its length, as it may not be opened here. SQLite begins it anew by cutting it to three bytes, and makes room by writing
    // the last byte of a page, which a power cut may take back.
    if regular(&index)?.is_some_and(|len| len != 3 && len % 4096 != 0 && len % 4096 != 4095) {
        return Err(foreign(&index));
    }
    let journal = beside(path, "-journal");
    if regular(&journal)?.is_some() {
        refuse_foreign(&journal, &[&JOURNAL_MAGIC])?;
    }
    if regular(&journal)?.is_some_and(|len| len >= 8)
        && names_another(&journal).map_err(|error| io_error(error, &journal))?
    {
        return Err(corrupt(&journal, "names another file, so it is of another program"));
    }
    Ok(())
}

/// Writes what the log at `path` holds once more, and flushes it.
///
/// The caller holds SQLite's write lock, so nobody else writes or empties the log, and readers find the same bytes at any
/// moment. A second flush alone would not do: after one that failed the system may take pages for written that are not.
pub(crate) fn rewrite(path: &Path) -> Result<()> {
    let Some(mut log) = Log::open(path, OpenOptions::new().write(true))? else { return Ok(()) };
    log.rewrite().map_err(|error| io_error(error, path))
}

/// How many frames of the log at `path` the next opening would replay.
pub(crate) fn replayed(path: &Path) -> Result<u64> {
    let Some(log) = Log::open(path, &mut OpenOptions::new())? else { return Ok(0) };
    log.replayed().map_err(|error| io_error(error, path))
}

struct Log {
    file: File,
    header: [u8; HEADER_LEN],
}

impl Log {
    /// `None` if SQLite takes the log for empty: none is there, or its header is not whole.
    fn open(path: &Path, options: &mut OpenOptions) -> Result<Option<Self>> {
        let failed = |error| io_error(error, path);
        let mut file = match options.read(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let mut header = [0; HEADER_LEN];
        match file.read_exact(&mut header) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(failed(error)),
        }
        let log = Self { file, header };
        let (covered, sum) = header.split_at(HEADER_LEN - 8);
        if word(&header, 0) & !1 != MAGIC || log.checksum((0, 0), covered) != (word(sum, 0), word(sum, 4)) {
            return Ok(None);
        }
        if word(&header, 4) != VERSION || word(&header, 8) as usize != FRAME_LEN - FRAME_HEADER_LEN {
            return Err(corrupt(path, "is a log as this crate never makes one"));
        }
        Ok(Some(log))
    }

    /// Frames of an earlier use of the log have other salts. Their checksums do not matter here: too much may be rewritten.
    fn rewrite(&mut self) -> io::Result<()> {
        self.write_at(0, &self.header.clone())?;
        let mut part = vec![0; 64 * FRAME_LEN];
        let mut at = HEADER_LEN as u64;
        loop {
            let read = self.read_at(at, &mut part)?;
            let frames = part.get(..read).unwrap_or_default().chunks_exact(FRAME_LEN);
            let whole = frames.take_while(|frame| self.salt_of(frame)).count() * FRAME_LEN;
            self.write_at(at, part.get(..whole).unwrap_or_default())?;
            at += whole as u64;
            if whole < part.len() {
                return self.file.sync_all();
            }
        }
    }

    /// Up to the last frame that ends a transaction and whose checksum, which goes on from frame to frame, is right.
    fn replayed(self) -> io::Result<u64> {
        let mut sum = (word(&self.header, 24), word(&self.header, 28));
        let mut frames = BufReader::with_capacity(64 * FRAME_LEN, &self.file);
        let mut frame = [0; FRAME_LEN];
        let mut ended = 0;
        for number in 1.. {
            match frames.read_exact(&mut frame) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
                Err(error) => return Err(error),
            }
            let (head, page) = frame.split_at(FRAME_HEADER_LEN);
            sum = self.checksum(self.checksum(sum, head.get(..8).unwrap_or_default()), page);
            if !self.salt_of(head) || sum != (word(head, 16), word(head, 20)) {
                break;
            }
            if word(head, 4) != 0 {
                ended = number;
            }
        }
        Ok(ended)
    }

    fn salt_of(&self, frame: &[u8]) -> bool {
        frame.get(8..16) == self.header.get(16..24)
    }

    /// SQLite's checksum of `data`, going on from `sum`.
    fn checksum(&self, sum: (u32, u32), data: &[u8]) -> (u32, u32) {
        let big = word(&self.header, 0) & 1 == 1;
        let number = |at: &[u8; 4]| if big { u32::from_be_bytes(*at) } else { u32::from_le_bytes(*at) };
        data.as_chunks::<8>().0.iter().fold(sum, |(first, second), pair| {
            let [a, b, c, d, e, f, g, h] = *pair;
            let first = first.wrapping_add(number(&[a, b, c, d])).wrapping_add(second);
            (first, second.wrapping_add(number(&[e, f, g, h])).wrapping_add(first))
        })
    }

    fn write_at(&mut self, at: u64, data: &[u8]) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(at))?;
        self.file.write_all(data)
    }

    /// As much as there is.
    fn read_at(&mut self, at: u64, data: &mut [u8]) -> io::Result<usize> {
        self.file.seek(SeekFrom::Start(at))?;
        let mut read = 0;
        while let Some(rest) = data.get_mut(read..).filter(|rest| !rest.is_empty()) {
            match self.file.read(rest) {
                Ok(0) => break,
                Ok(more) => read += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }
}

/// The big-endian number at `at`; zero behind the end.
fn word(data: &[u8], at: usize) -> u32 {
    data.get(at..).and_then(|data| data.first_chunk()).map_or(0, |word| u32::from_be_bytes(*word))
}

/// The length of the file at `path`, if there is one. SQLite would follow a link, and wait at a pipe.
fn regular(path: &Path) -> Result<Option<u64>> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_file() => Ok(Some(found.len())),
        Ok(_) => {
            let text = format!("{} is not a regular file: remove it", path.display());
            Err(Error::new(ErrorKind::Invalid, text))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error(error, path)),
    }
}

/// Refuses a file of something else than SQLite, which would overwrite or delete it. One of SQLite's begins with one of
/// `magics`, or with zeros where its beginning has not reached the medium, or was taken back.
fn refuse_foreign(path: &Path, magics: &[&[u8]]) -> Result<()> {
    let mut first = Vec::new();
    let read = match File::open(path) {
        Ok(found) => found.take(8).read_to_end(&mut first),
        // The process that had the database open has just closed it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => Err(error),
    };
    read.map_err(|error| io_error(error, path))?;
    // After a power cut a part of it may be zero.
    let begins = |magic: &[u8]| first.iter().zip(magic).all(|(is, should)| is == should || *is == 0);
    if magics.iter().any(|magic| begins(magic)) {
        return Ok(());
    }
    Err(foreign(path))
}

fn foreign(path: &Path) -> Error {
    let text = format!("{} is not of SQLite, which would overwrite it: move it away", path.display());
    Error::new(ErrorKind::Invalid, text)
}

fn names_another(journal: &Path) -> io::Result<bool> {
    let mut tail = [0; SUPER_JOURNAL.len()];
    let mut journal = match File::open(journal) {
        // Its transaction has just ended.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        opened => opened?,
    };
    let len = journal.seek(SeekFrom::End(0))?;
    journal.seek(SeekFrom::Start(len.saturating_sub(tail.len() as u64)))?;
    match journal.read_exact(&mut tail) {
        // Shortened meanwhile.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        read => read.map(|()| tail == SUPER_JOURNAL),
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn corrupt(path: &Path, what: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("{} {what}: restore a backup", path.display()))
}
