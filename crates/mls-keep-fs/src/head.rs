//! The two heads of the log, of which the newer one counts.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use bytes::Buf;
use mls_keep_core::{Error, ErrorKind, Result};

use crate::error::{corrupt, io_error};

const MAGIC: [u8; 8] = *b"MLSklog\0";
const FORMAT_VERSION: u32 = 1;
pub(crate) const HEAD_LEN: usize = 36;

/// Where the heads of even and of odd generations stand: in sectors, and pages, of their own.
const PLACES: [u64; 2] = [0, 4096];

/// In the flags: records of this generation were not flushed one by one, so the last of them may be out of order.
const NOT_FLUSHED: u32 = 1;

/// No log gets there. It leaves room to count on from.
const MAX_GENERATION: u64 = 1 << 63;

/// What a head says.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Head {
    pub(crate) generation: u64,
    /// Whether each record of the generation was flushed before the next one was written.
    pub(crate) flushed: bool,
    /// The log is at least this long for as long as the generation lasts: a shorter one was cut.
    pub(crate) least: u64,
}

impl Head {
    /// Where it stands in the log.
    pub(crate) fn place(self) -> u64 {
        if self.generation.is_multiple_of(2) { PLACES[0] } else { PLACES[1] }
    }

    pub(crate) fn encode(self) -> [u8; HEAD_LEN] {
        let flags = if self.flushed { 0 } else { NOT_FLUSHED };
        let mut head = [0; HEAD_LEN];
        let fields = [
            &MAGIC[..],
            &FORMAT_VERSION.to_be_bytes(),
            &flags.to_be_bytes(),
            &self.generation.to_be_bytes(),
            &self.least.to_be_bytes(),
        ]
        .concat();
        let crc = crc32fast::hash(&fields);
        for (place, byte) in head.iter_mut().zip(fields.into_iter().chain(crc.to_be_bytes())) {
            *place = byte;
        }
        head
    }
}

/// The newer head that is whole, and whether the other one is whole too.
pub(crate) fn read(mut log: &File, path: &Path) -> Result<(Head, bool)> {
    let mut heads = [None; 2];
    for (found, place) in heads.iter_mut().zip(PLACES) {
        let mut head = [0; HEAD_LEN];
        let read = log.seek(SeekFrom::Start(place)).and_then(|_| log.read_exact(&mut head));
        match read {
            Ok(()) => *found = decode(&head, place, path)?,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(corrupt(path, "the log is cut")),
            Err(error) => return Err(io_error(error, path)),
        }
    }
    let newest = heads.into_iter().max().flatten().ok_or_else(|| corrupt(path, "neither head of the log is whole"))?;
    Ok((newest, heads.iter().all(Option::is_some)))
}

/// The head that stands at `place`, if it is whole.
fn decode(head: &[u8; HEAD_LEN], place: u64, path: &Path) -> Result<Option<Head>> {
    let (fields, mut crc) = head.split_at(HEAD_LEN - 4);
    if crc32fast::hash(fields) != crc.get_u32() {
        return Ok(None);
    }
    let Some(mut fields) = fields.strip_prefix(&MAGIC) else { return Ok(None) };
    let (version, flags) = (fields.get_u32(), fields.get_u32());
    let (generation, least) = (fields.get_u64(), fields.get_u64());
    if version > FORMAT_VERSION || flags & !NOT_FLUSHED != 0 {
        let text = format!(
            "the log has format version {version} with flags {flags:#x}, and this program knows version {FORMAT_VERSION}"
        );
        return Err(Error::new(ErrorKind::UnsupportedVersion, text + ": update the program"));
    }
    let head = Head { generation, flushed: flags & NOT_FLUSHED == 0, least };
    if version < FORMAT_VERSION || generation >= MAX_GENERATION || head.place() != place {
        return Err(corrupt(path, "a head of the log makes no sense"));
    }
    Ok(Some(head))
}
