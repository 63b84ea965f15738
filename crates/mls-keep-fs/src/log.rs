//! [`Log`]: the commits that have no files of their own yet, in the order in which they came.
//!
//! ```text
//! 0     head of even generations   magic(8) version(4) flags(4) generation(8) least length(8) crc(4), then zeros
//! 4096  head of odd generations    the same
//! 8192  records                    length(4) crc of the payload(4) crc of these two(4) payload(length)
//! ```
//!
//! Numbers are big-endian. The newer of the two heads that are whole counts, so that a head whose writing was cut short
//! leaves the other one. The checksums of a record cover the generation too: what an earlier generation has left behind is
//! no record. So the file is written over and over, and a flush need not make a new length durable. A head says how long the
//! file is at least, so one that was cut within that is refused.
//!
//! Records end at the first one that is not whole: it was never acknowledged. Only if another whole one stands anywhere
//! behind it was it damaged afterwards, which is an error. So is a head that is not whole if there are records of it.
//!
//! What is read may have been written by somebody else. A log longer than [`MAX_LEN`] is refused and a record longer than
//! [`MAX_COMMIT_LEN`] is none; checksums are computed in small pieces, and memory is taken for one value at a time.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use mls_keep_core::{Error, ErrorKind, Key, Result};

use crate::config::{MAX_CHECKPOINT_LEN, MAX_COMMIT_LEN};
use crate::directory::Directory;
use crate::error::{committing, corrupt, io_error, is_full};
use crate::files::{make_file, open_file, refuse_second_name};
use crate::head::{self, HEAD_LEN, Head};
use crate::record::{self, Entry, RECORD_HEAD_LEN, RecordHead};

/// The log's name in the directory, and the name under which it is made.
pub(crate) const NAME: &str = "log";
const NEW: &str = "log.new";

/// Where the records begin.
const FIRST: u64 = 8192;

/// How many times its usual length the log may reach while nobody lets it rest.
pub(crate) const LONGEST: u64 = 4;

/// Longest log, bytes: none that this crate has written with any configuration is longer.
const MAX_LEN: u64 = FIRST + LONGEST * MAX_CHECKPOINT_LEN as u64 + RECORD_HEAD_LEN as u64 + MAX_COMMIT_LEN as u64;

/// How many heads of records are looked at behind the last whole record. More than one comes of damage, or of somebody.
const MAX_HEADS: usize = 16;

/// How much is read at once, and how much is written of what is not in memory already.
const READ_LEN: usize = 64 << 10;
const WRITE_LEN: usize = 1 << 20;

/// An open log.
#[derive(Debug)]
pub(crate) struct Log {
    file: File,
    path: PathBuf,
    head: Head,
    /// What the next head says of flushes.
    flush: bool,
    /// Where the next record goes.
    end: u64,
    /// As far as anything was ever written to this generation or an earlier one since the log was last wiped.
    dirty: u64,
    /// How long the file is when it is empty.
    room: u64,
}

/// Makes an empty log under another name, and gives it its own when it is durable.
pub(crate) fn create(directory: &Directory, room: u32, flush: bool) -> Result<()> {
    let (path, new) = (directory.entry(NAME), directory.entry(NEW));
    let mut log = make_file(&new)?;
    let least = FIRST + u64::from(room);
    let head = Head { generation: 0, flushed: flush, least }.encode();
    // Real zeros, so that the room is there and a flush of a record has no new block to make durable.
    let made = log.write_all(&head).and_then(|()| write_zeros(&mut log, least - HEAD_LEN as u64));
    let made = made.and_then(|()| log.sync_all()).and_then(|()| fs::rename(&new, &path));
    made.map_err(|source| io_error(source, &path))?;
    directory.sync()
}

impl Log {
    /// Opens the log, finds the end of its records and makes its head durable. What cannot be right is refused before
    /// anything was written.
    pub(crate) fn open(directory: &Directory, room: u32, flush: bool) -> Result<Self> {
        let path = directory.entry(NAME);
        let file = open_file(&path, OpenOptions::new().read(true).write(true))?;
        refuse_second_name(&file, &path)?;
        let len = file.metadata().map_err(|source| io_error(source, &path))?.len();
        if len > MAX_LEN {
            return Err(corrupt(&path, "the log is longer than any that this crate writes"));
        }
        if len < FIRST {
            return Err(corrupt(&path, "the log is cut"));
        }
        let (head, both) = head::read(&file, &path)?;
        if len < head.least {
            return Err(corrupt(&path, "the log is cut"));
        }
        let room = FIRST + u64::from(room);
        let mut log = Self { file, path, head, flush, end: FIRST, dirty: FIRST, room };
        let newer = Head { generation: head.generation + 1, ..head };
        if !both && log.record_at(newer, FIRST, len)?.is_some() {
            return Err(corrupt(&log.path, "the newer head of the log is damaged"));
        }
        log.find_end(len)?;
        log.replay(&mut |_| Ok(()))?;
        // What is longer than the room is cut off when the log begins again, so it need not be read.
        log.dirty = if len > room { len } else { log.last_used().map_err(|source| io_error(source, &log.path))? };
        // It may be in memory only, left by a process that was killed before its flush or whose flush has failed. Records
        // of this generation count for nothing without it.
        log.write_head(head).map_err(|source| io_error(source, &log.path))?;
        Ok(log)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The length of all records.
    pub(crate) fn len(&self) -> u64 {
        self.end - FIRST
    }

    /// Whether nothing is in the log, not even what an earlier generation has left, and its head says what is wanted.
    pub(crate) fn is_clean(&self) -> bool {
        self.dirty <= FIRST && self.head.flushed == self.flush
    }

    /// Hands all entries to `replay`, in their order. A record is read again for it, in memory for one value.
    pub(crate) fn replay(&self, replay: &mut dyn FnMut(Entry) -> Result<()>) -> Result<()> {
        let mut place = FIRST;
        while place < self.end {
            let Some(RecordHead { len, .. }) = self.record_head(self.head, place, self.end)? else {
                return Err(corrupt(&self.path, "the log changes while it is read"));
            };
            let mut payload = self.reader(place + RECORD_HEAD_LEN as u64, len.into());
            loop {
                match record::read(&mut payload) {
                    Ok(Some(entry)) => replay(entry)?,
                    Ok(None) => break,
                    Err(error) if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) => {
                        return Err(corrupt(&self.path, "a record makes no sense"));
                    }
                    Err(error) => return Err(io_error(error, &self.path)),
                }
            }
            place += RECORD_HEAD_LEN as u64 + u64::from(len);
        }
        Ok(())
    }

    /// Appends one record with `entries`: one write and one flush. `Unknown` errors are of the kind `OutcomeUnknown`.
    pub(crate) fn append<'a>(&mut self, entries: impl Iterator<Item = (&'a Key, Option<&'a Bytes>)>) -> Result<()> {
        let mut record = vec![0; RECORD_HEAD_LEN];
        for (key, value) in entries {
            record::encode(&mut record, key, value);
        }
        let (head, payload) = record.split_at_mut(RECORD_HEAD_LEN);
        let Some(len) = u32::try_from(payload.len()).ok().filter(|_| payload.len() <= MAX_COMMIT_LEN) else {
            return Err(too_long());
        };
        let end = self.end + RECORD_HEAD_LEN as u64 + u64::from(len);
        if end > MAX_LEN {
            let text = "the log is as long as it may be, and its values could not be given files: free some room";
            return Err(Error::new(ErrorKind::NoSpace, text));
        }
        let mut hasher = record::hasher(self.head.generation);
        hasher.update(payload);
        head.copy_from_slice(&RecordHead { len, crc: hasher.finalize() }.encode(self.head.generation));
        match self.write_at(self.end, &record) {
            Ok(()) => {}
            // The record is not whole, so it is none; the next one takes its place.
            Err(error) if is_full(&error) => return Err(io_error(error, &self.path)),
            Err(error) => return Err(committing(error)),
        }
        self.dirty = self.dirty.max(end);
        if self.flush {
            self.file.sync_data().map_err(committing)?;
        }
        self.end = end;
        Ok(())
    }

    /// Begins a new generation, which has no records. What the log said must be durable elsewhere.
    ///
    /// # Errors
    /// Then it is not known which generation counts. It is not tried again: a second flush can succeed without the bytes
    /// being there.
    pub(crate) fn restart(&mut self) -> io::Result<()> {
        let len = self.file.metadata()?.len();
        let least = len.min(self.room);
        self.write_head(Head { generation: self.head.generation + 1, flushed: self.flush, least })?;
        self.end = FIRST;
        if len > self.room {
            self.file.set_len(self.room)?;
            self.dirty = self.dirty.min(self.room);
        }
        Ok(())
    }

    /// Writes the records once more where they stand, and makes them durable: no room is needed for it. Nothing is left
    /// behind them.
    pub(crate) fn rewrite(&mut self) -> Result<()> {
        let rewritten = self.rewrite_records().and_then(|()| self.file.sync_data());
        rewritten.map_err(|source| io_error(source, &self.path))?;
        self.wipe()?;
        let head = Head { flushed: self.flush, ..self.head };
        self.write_head(head).map_err(|source| io_error(source, &self.path))
    }

    /// Overwrites what earlier generations have left behind the last record.
    pub(crate) fn wipe(&mut self) -> Result<()> {
        let len = self.dirty.saturating_sub(self.end);
        if len == 0 {
            return Ok(());
        }
        let wiped = self.file.seek(SeekFrom::Start(self.end)).and_then(|_| write_zeros(&mut self.file, len));
        wiped.and_then(|()| self.file.sync_data()).map_err(|source| io_error(source, &self.path))?;
        self.dirty = self.end;
        Ok(())
    }

    fn write_head(&mut self, head: Head) -> io::Result<()> {
        self.write_at(head.place(), &head.encode())?;
        self.file.sync_data()?;
        self.head = head;
        Ok(())
    }

    fn write_at(&mut self, place: u64, data: &[u8]) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(place))?;
        self.file.write_all(data)
    }

    fn rewrite_records(&mut self) -> io::Result<()> {
        let mut place = FIRST;
        let mut piece = Vec::new();
        while place < self.end {
            piece.clear();
            let len = (self.end - place).min(WRITE_LEN as u64);
            self.file.seek(SeekFrom::Start(place))?;
            (&self.file).take(len).read_to_end(&mut piece)?;
            if piece.len() as u64 != len {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.write_at(place, &piece)?;
            place += len;
        }
        Ok(())
    }

    /// Finds where the records end.
    fn find_end(&mut self, len: u64) -> Result<()> {
        while let Some(end) = self.record_at(self.head, self.end, len)? {
            self.end = end;
        }
        if self.head.flushed && self.another_follows(len)? {
            return Err(corrupt(&self.path, "a record is damaged"));
        }
        Ok(())
    }

    /// Whether a whole record of this generation stands behind the end.
    fn another_follows(&self, len: u64) -> Result<bool> {
        let mut heads = 0;
        let mut place = self.end + 1;
        // A record that was damaged is no longer than any is.
        let stop = len.min(place + (RECORD_HEAD_LEN + MAX_COMMIT_LEN) as u64);
        let mut piece = Vec::new();
        while place + RECORD_HEAD_LEN as u64 <= stop {
            piece.clear();
            let read = self.reader(place, (READ_LEN as u64).min(len - place)).read_to_end(&mut piece);
            read.map_err(|source| io_error(source, &self.path))?;
            let found =
                |bytes: &[u8]| bytes.first_chunk().and_then(|bytes| RecordHead::decode(bytes, self.head.generation));
            for (at, bytes) in piece.windows(RECORD_HEAD_LEN).enumerate() {
                if found(bytes).is_some() {
                    heads += 1;
                    if heads > MAX_HEADS || self.record_at(self.head, place + at as u64, len)?.is_some() {
                        return Ok(true);
                    }
                }
            }
            place += (piece.len().saturating_sub(RECORD_HEAD_LEN) + 1) as u64;
        }
        Ok(false)
    }

    /// Where the last byte ends that is not zero. Reads no further than the room.
    fn last_used(&self) -> io::Result<u64> {
        let mut place = self.end;
        let mut last = place;
        let mut bytes = self.reader(place, self.room.saturating_sub(place));
        loop {
            let read = bytes.fill_buf()?;
            if read.is_empty() {
                return Ok(last);
            }
            if let Some(used) = read.iter().rposition(|byte| *byte != 0) {
                last = place + used as u64 + 1;
            }
            let len = read.len();
            bytes.consume(len);
            place += len as u64;
        }
    }

    /// Where the record at `place` ends, if a whole one of the generation is there.
    fn record_at(&self, head: Head, place: u64, len: u64) -> Result<Option<u64>> {
        let Some(record) = self.record_head(head, place, len)? else { return Ok(None) };
        let payload_len = u64::from(record.len);
        let mut payload = self.reader(place + RECORD_HEAD_LEN as u64, payload_len);
        let mut hasher = record::hasher(head.generation);
        loop {
            let read = payload.fill_buf().map_err(|source| io_error(source, &self.path))?;
            if read.is_empty() {
                break;
            }
            hasher.update(read);
            let len = read.len();
            payload.consume(len);
        }
        Ok((hasher.finalize() == record.crc).then_some(place + RECORD_HEAD_LEN as u64 + payload_len))
    }

    /// The head of what may be a record of the generation of `head` that ends before `len`.
    fn record_head(&self, head: Head, place: u64, len: u64) -> Result<Option<RecordHead>> {
        let room = len.checked_sub(place).and_then(|room| room.checked_sub(RECORD_HEAD_LEN as u64));
        let Some(room) = room else { return Ok(None) };
        let mut bytes = [0; RECORD_HEAD_LEN];
        let read = self.reader(place, RECORD_HEAD_LEN as u64).read_exact(&mut bytes);
        read.map_err(|source| io_error(source, &self.path))?;
        Ok(RecordHead::decode(&bytes, head.generation).filter(|record| u64::from(record.len) <= room))
    }

    /// Reads `len` bytes from `place` on, in small pieces.
    fn reader(&self, place: u64, len: u64) -> impl BufRead {
        BufReader::with_capacity(READ_LEN, At { file: &self.file, place }.take(len))
    }
}

/// Reads a file from a place of its own on.
struct At<'a> {
    file: &'a File,
    place: u64,
}

impl Read for At<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.seek(SeekFrom::Start(self.place))?;
        let len = self.file.read(buffer)?;
        self.place += len as u64;
        Ok(len)
    }
}

/// The error of a change whose record no opening would take.
pub(crate) fn too_long() -> Error {
    Error::new(ErrorKind::Invalid, format!("a commit has more than {MAX_COMMIT_LEN} bytes: split it"))
}

fn write_zeros(file: &mut File, len: u64) -> io::Result<()> {
    let zeros = vec![0; usize::try_from(len).unwrap_or(usize::MAX).min(WRITE_LEN)];
    let mut left = len;
    while left > 0 {
        let piece = zeros.get(..usize::try_from(left).unwrap_or(usize::MAX).min(zeros.len())).unwrap_or_default();
        file.write_all(piece)?;
        left -= piece.len() as u64;
    }
    Ok(())
}
