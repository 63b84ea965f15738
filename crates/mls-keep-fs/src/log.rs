//! [`Log`]: the commits that have no files of their own yet, in the order in which they came.
//!
//! ```text
//! 0     head of even generations   magic(8) version(4) flags(4) generation(8) crc(4), then zeros
//! 4096  head of odd generations    the same
//! 8192  records                    length(4) crc(4) payload(length)
//! ```
//!
//! Numbers are big-endian. The newer of the two heads that are whole counts, so that a head whose writing was cut short
//! leaves the other one. The checksum of a record covers the generation too: what an earlier generation has left behind is
//! no record. So the file is written over and over, and a flush need not make a new length durable.
//!
//! Records end at the first one that is not whole: it was never acknowledged. Only if another whole one follows right
//! behind it was it damaged afterwards, which is an error.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use bytes::{Buf, Bytes};
use mls_keep_core::{Error, ErrorKind, Key, Result};

use crate::config::MAX_VALUE_LEN;
use crate::directory::{Directory, open_file};
use crate::error::{committing, corrupt, file, is_full, poisoned};

/// The log's name in the directory, and the name under which it is made.
pub(crate) const NAME: &str = "log";
const NEW: &str = "log.new";

const MAGIC: [u8; 8] = *b"MLSklog\0";
const FORMAT_VERSION: u32 = 1;
const HEAD_LEN: usize = 28;
const HEADS: [u64; 2] = [0, 4096];
const FIRST: u64 = 8192;

/// In the flags: records of this generation were not flushed one by one, so the last of them may be out of order.
const NOT_FLUSHED: u32 = 1;

/// A key, and the value that it has from now on.
pub(crate) type Entry = (Key, Option<Bytes>);

/// An open log.
#[derive(Debug)]
pub(crate) struct Log {
    file: File,
    path: PathBuf,
    flush: bool,
    generation: u64,
    /// Where the next record goes.
    end: u64,
    /// As far as anything was ever written to this generation or an earlier one since the log was last wiped.
    dirty: u64,
    /// How long the file is when it is empty.
    room: u64,
}

impl Log {
    /// Opens the log and hands its entries to `replay`, in their order. Makes it if it is not there: then `values` must be
    /// empty.
    pub(crate) fn open(
        directory: &Directory,
        room: u32,
        flush: bool,
        is_new: impl FnOnce() -> Result<bool>,
        replay: &mut dyn FnMut(Entry),
    ) -> Result<Self> {
        let path = directory.entry(NAME);
        if fs::symlink_metadata(&path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            if !is_new()? {
                return Err(corrupt(&path, "the log is missing"));
            }
            create(directory, FIRST + u64::from(room), flush)?;
        }
        let mut file = open_file(&path, OpenOptions::new().read(true).write(true))?;
        let (generation, flags) = read_heads(&mut file, &path)?;
        let len = file.metadata().map_err(|source| self::file(source, &path))?.len();
        let room = FIRST + u64::from(room);
        let mut log = Self { file, path, flush, generation, end: FIRST, dirty: FIRST, room };
        log.replay(len, flags, replay)?;
        log.dirty = log.last_used().map_err(|source| self::file(source, &log.path))?;
        if (flags & NOT_FLUSHED == 0) != flush {
            log.write_head(generation, flush)?;
        }
        Ok(log)
    }

    /// The length of all records.
    pub(crate) fn len(&self) -> u64 {
        self.end - FIRST
    }

    /// Appends one record with `entries`: one write and one flush. `Unknown` errors are of the kind `OutcomeUnknown`.
    pub(crate) fn append<'a>(&mut self, entries: impl Iterator<Item = (&'a Key, Option<&'a Bytes>)>) -> Result<()> {
        let mut record = vec![0; 8];
        for (key, value) in entries {
            encode(&mut record, key, value);
        }
        let (head, payload) = record.split_at_mut(8);
        let Ok(len) = u32::try_from(payload.len()) else {
            return Err(Error::new(ErrorKind::Invalid, "a commit has more than 4 GiB: split it"));
        };
        head.copy_from_slice(&[len.to_be_bytes(), checksum(self.generation, payload).to_be_bytes()].concat());
        match self.write_at(self.end, &record) {
            Ok(()) => {}
            // The record is not whole, so it is none; the next one takes its place.
            Err(error) if is_full(&error) => return Err(self::file(error, &self.path)),
            Err(error) => return Err(committing(error)),
        }
        self.dirty = self.dirty.max(self.end + record.len() as u64);
        if self.flush {
            self.file.sync_data().map_err(committing)?;
        }
        self.end += record.len() as u64;
        Ok(())
    }

    /// Begins a new generation, which has no records. What the log said must be durable elsewhere.
    pub(crate) fn restart(&mut self) -> Result<()> {
        self.write_head(self.generation + 1, self.flush)?;
        self.generation += 1;
        self.end = FIRST;
        if self.file.metadata().map_err(|source| self::file(source, &self.path))?.len() > self.room {
            self.file.set_len(self.room).map_err(|source| self::file(source, &self.path))?;
            self.dirty = self.dirty.min(self.room);
        }
        Ok(())
    }

    /// Overwrites what earlier generations have left behind the last record.
    pub(crate) fn wipe(&mut self) -> Result<()> {
        let len = usize::try_from(self.dirty.saturating_sub(self.end)).unwrap_or(usize::MAX);
        if len == 0 {
            return Ok(());
        }
        let wiped = self.write_at(self.end, &vec![0; len]).and_then(|()| self.file.sync_data());
        wiped.map_err(|source| self::file(source, &self.path))?;
        self.dirty = self.end;
        Ok(())
    }

    fn write_head(&mut self, generation: u64, flush: bool) -> Result<()> {
        let place = if generation.is_multiple_of(2) { HEADS[0] } else { HEADS[1] };
        let written = self.write_at(place, &head(generation, flush)).and_then(|()| self.file.sync_data());
        // Not tried again: a second flush can succeed without the bytes being there.
        written.map_err(|source| poisoned().with_source(source))
    }

    fn write_at(&mut self, place: u64, data: &[u8]) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(place))?;
        self.file.write_all(data)
    }

    fn replay(&mut self, len: u64, flags: u32, replay: &mut dyn FnMut(Entry)) -> Result<()> {
        while let Some(payload) = self.record_at(self.end, len)? {
            self.end += 8 + payload.len() as u64;
            let mut payload = Bytes::from(payload);
            while !payload.is_empty() {
                replay(decode(&mut payload).ok_or_else(|| corrupt(&self.path, "a record makes no sense"))?);
            }
        }
        let behind = self.claimed_end(len)?;
        if flags & NOT_FLUSHED == 0 && behind.is_some_and(|behind| matches!(self.record_at(behind, len), Ok(Some(_)))) {
            return Err(corrupt(&self.path, "a record is damaged"));
        }
        Ok(())
    }

    /// Where the last byte ends that is not zero.
    fn last_used(&mut self) -> io::Result<u64> {
        let mut place = self.file.seek(SeekFrom::Start(self.end))?;
        let mut last = place;
        let mut buffer = vec![0; 64 << 10];
        loop {
            let len = self.file.read(&mut buffer)?;
            let read = buffer.get(..len).unwrap_or_default();
            if read.is_empty() {
                return Ok(last);
            }
            if let Some(used) = read.iter().rposition(|byte| *byte != 0) {
                last = place + used as u64 + 1;
            }
            place += len as u64;
        }
    }

    /// The payload of the record at `place`, if a whole one is there.
    fn record_at(&mut self, place: u64, len: u64) -> Result<Option<Vec<u8>>> {
        let Some((payload_len, crc)) = self.head_at(place, len)? else { return Ok(None) };
        let mut payload = vec![0; payload_len];
        self.file.read_exact(&mut payload).map_err(|source| self::file(source, &self.path))?;
        Ok((checksum(self.generation, &payload) == crc).then_some(payload))
    }

    /// Where the record that is not whole would end.
    fn claimed_end(&mut self, len: u64) -> Result<Option<u64>> {
        Ok(self.head_at(self.end, len)?.map(|(payload_len, _)| self.end + 8 + payload_len as u64))
    }

    /// Length and checksum of what may be a record: not empty, and within the file.
    fn head_at(&mut self, place: u64, len: u64) -> Result<Option<(usize, u32)>> {
        let Some(room) = len.checked_sub(place).and_then(|room| room.checked_sub(8)) else { return Ok(None) };
        let mut head = [0; 8];
        let read = self.file.seek(SeekFrom::Start(place)).and_then(|_| self.file.read_exact(&mut head));
        read.map_err(|source| self::file(source, &self.path))?;
        let mut head = &head[..];
        let (payload_len, crc) = (head.get_u32(), head.get_u32());
        let fits = payload_len > 0 && u64::from(payload_len) <= room;
        Ok(usize::try_from(payload_len).ok().filter(|_| fits).map(|payload_len| (payload_len, crc)))
    }
}

/// Makes an empty log under another name, and gives it its own when it is durable.
fn create(directory: &Directory, room: u64, flush: bool) -> Result<()> {
    let (path, new) = (directory.entry(NAME), directory.entry(NEW));
    let mut log = open_file(&new, OpenOptions::new().write(true).create(true).truncate(true))?;
    let mut content = vec![0; usize::try_from(room).unwrap_or(usize::MAX)];
    if let Some(place) = content.get_mut(..HEAD_LEN) {
        place.copy_from_slice(&head(0, flush));
    }
    // Real zeros, so that the room is there and a flush of a record has no new block to make durable.
    let made = log.write_all(&content).and_then(|()| log.sync_all()).and_then(|()| fs::rename(&new, &path));
    made.map_err(|source| file(source, &path))?;
    directory.sync()
}

fn head(generation: u64, flush: bool) -> [u8; HEAD_LEN] {
    let flags = if flush { 0 } else { NOT_FLUSHED };
    let mut head = [0; HEAD_LEN];
    let fields = [&MAGIC[..], &FORMAT_VERSION.to_be_bytes(), &flags.to_be_bytes(), &generation.to_be_bytes()].concat();
    let crc = crc32fast::hash(&fields);
    for (place, byte) in head.iter_mut().zip(fields.into_iter().chain(crc.to_be_bytes())) {
        *place = byte;
    }
    head
}

/// Generation and flags of the newer head that is whole.
fn read_heads(file: &mut File, path: &Path) -> Result<(u64, u32)> {
    let mut newest = None;
    for place in HEADS {
        let mut head = [0; HEAD_LEN];
        let read = file.seek(SeekFrom::Start(place)).and_then(|_| file.read_exact(&mut head));
        match read {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(corrupt(path, "the log is cut")),
            Err(error) => return Err(self::file(error, path)),
        }
        let (fields, mut crc) = head.split_at(HEAD_LEN - 4);
        if crc32fast::hash(fields) != crc.get_u32() {
            continue;
        }
        let Some(mut fields) = fields.strip_prefix(&MAGIC) else { continue };
        let (version, flags, generation) = (fields.get_u32(), fields.get_u32(), fields.get_u64());
        if version > FORMAT_VERSION {
            let text = format!("the log has format version {version} and this program knows {FORMAT_VERSION}");
            return Err(Error::new(ErrorKind::UnsupportedVersion, text + ": update the program"));
        }
        newest = newest.max(Some((generation, flags)));
    }
    newest.ok_or_else(|| corrupt(path, "neither head of the log is whole"))
}

fn checksum(generation: u64, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&generation.to_be_bytes());
    hasher.update(payload);
    hasher.finalize()
}

/// `key length(1) key 0`, or `key length(1) key 1 value length(4) value`.
fn encode(record: &mut Vec<u8>, key: &Key, value: Option<&Bytes>) {
    let name = key.as_str().as_bytes();
    // A key has at most 128 bytes, and a value at most `MAX_VALUE_LEN`.
    record.push(name.len() as u8);
    record.extend_from_slice(name);
    record.push(u8::from(value.is_some()));
    if let Some(value) = value {
        record.extend_from_slice(&(value.len() as u32).to_be_bytes());
        record.extend_from_slice(value);
    }
}

fn decode(payload: &mut Bytes) -> Option<Entry> {
    let mut take = |len: usize| (payload.len() >= len).then(|| payload.split_to(len));
    let name_len = usize::from(take(1)?.get_u8());
    let key = Key::new(std::str::from_utf8(&take(name_len)?).ok()?).ok()?;
    if take(1)?.get_u8() == 0 {
        return Some((key, None));
    }
    let len = usize::try_from(take(4)?.get_u32()).ok().filter(|len| *len <= MAX_VALUE_LEN)?;
    // A copy, so that a small value does not hold the whole record in memory.
    Some((key, Some(Bytes::copy_from_slice(&take(len)?))))
}
