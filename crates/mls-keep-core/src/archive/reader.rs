//! [`Archive`]: one that was looked through to its end, and can be read from.

use std::collections::HashMap;
use std::fmt;
use std::io::SeekFrom;
use std::sync::Arc;

use super::frame::{
    CATALOGUE, Catalogue, END, END_LEN, HEAD_LEN, LABEL_LEN, Label, MAX_CATALOGUE_LEN, MAX_RECORD_LEN,
    MAX_SCOPE_FRAME_LEN, PART, PART_END, PART_END_LEN, PART_VOID, RECORD, SCOPE, SCOPE_HEAD_LEN, ScopeEntry, Totals,
    scope_id,
};
use super::header;
use super::page::{PageReader, Position};
pub use super::sealed::ArchiveFile;
use super::sealed::{SealedReader, unreadable};
use super::summary::{ArchiveKind, ArchiveSummary};
use crate::envelope::Encryption;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{MAX_RECORD_KEY_LEN, MAX_SCOPE_LEN};
use crate::map::Value;
use crate::secret_bytes::SecretBytes;
use crate::secret_vec::SecretVec;

/// An archive that was read and found whole, from its header to its last byte. Nothing of it was released before.
///
/// It takes memory for a list of its parts, about 50 bytes for 8 KiB, and for nothing that is in them.
pub struct Archive {
    reader: PageReader,
    summary: ArchiveSummary,
    catalogue: Catalogue,
    parts: HashMap<Label, Position>,
    scopes: Arc<Vec<ScopeEntry>>,
}

/// A full archive and the deltas that go on from it, together the state of the last one.
pub(crate) struct Chain<'a> {
    archives: &'a mut [Archive],
}

impl Archive {
    /// Reads all of `file`, and keeps nothing but what is where. `progress` gets how many bytes were read so far.
    ///
    /// The file is read again later, part by part. If it is another one then, that is found.
    ///
    /// # Errors
    /// - `WrongKey`: the archive was sealed under another key, passphrase or salt.
    /// - `Corrupt`: it is none, or it is damaged, cut short, or something was added to it.
    /// - `UnsupportedVersion`: a newer mls-keep wrote it.
    /// - `Invalid`: its header asks for more than the encryption's [`argon2_limit`](Encryption::argon2_limit).
    /// - What reading the file says.
    pub async fn open(
        file: impl ArchiveFile + 'static,
        encryption: &Encryption,
        progress: &mut (dyn FnMut(u64) + Send),
    ) -> Result<Self> {
        let mut file: Box<dyn ArchiveFile> = Box::new(file);
        let len = file.seek(SeekFrom::End(0)).map_err(unreadable)?;
        file.seek(SeekFrom::Start(0)).map_err(unreadable)?;
        let mut header = [0; header::LEN];
        file.read_exact(&mut header).map_err(unreadable)?;
        let (id, opener) = header::open(&header, encryption).await?;
        let reader = PageReader::new(SealedReader::new(file, opener, len)?)?;
        Self::look_through(id, reader, progress)
    }

    /// What the archive says of itself.
    #[must_use]
    pub fn summary(&self) -> &ArchiveSummary {
        &self.summary
    }

    /// Whether these are a full archive and deltas that go on from it, in their order, with every part that the last one needs.
    ///
    /// # Errors
    /// `Invalid` if they do not go on from each other, `Corrupt` if a part is missing.
    pub fn check_chain(archives: &mut [Self]) -> Result<()> {
        Chain::new(archives).map(drop)
    }

    /// The scopes of its state, in the order of their ids.
    pub(crate) fn scopes(&self) -> &Arc<Vec<ScopeEntry>> {
        &self.scopes
    }

    pub(crate) fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    fn look_through(id: [u8; 16], reader: PageReader, progress: &mut (dyn FnMut(u64) + Send)) -> Result<Self> {
        let mut look = Look { reader, totals: Totals::default(), parts: HashMap::new(), scopes: Vec::new(), listed: 0 };
        let catalogue = look.catalogue()?;
        let totals = loop {
            let position = look.reader.position();
            let digest = look.reader.digest();
            let (kind, len) = look.frame()?;
            match kind {
                PART if look.scopes.is_empty() => look.part(position, len)?,
                SCOPE => look.scope(len)?,
                END => break look.end(len, digest)?,
                _ => return Err(out_of_place()),
            }
            progress(look.reader.read_len());
        };
        look.check(&catalogue, &totals)?;
        let Look { mut reader, parts, scopes, .. } = look;
        reader.end_digest();
        let summary = totals.summary(id, catalogue.clone(), reader.len());
        Ok(Self { reader, summary, catalogue, parts, scopes: scopes.into() })
    }

    /// Goes to the first record of a part. Returns whether it is here.
    fn go_to(&mut self, label: &Label) -> Result<bool> {
        let Some(position) = self.parts.get(label) else { return Ok(false) };
        self.reader.seek(*position)?;
        let mut frame = [0; HEAD_LEN + LABEL_LEN];
        self.reader.read(&mut frame)?;
        Ok(true)
    }

    /// The next record of the part that this stands in, `None` at its end.
    fn record(&mut self) -> Result<Option<(SecretBytes, Value)>> {
        let (kind, len) = read_head(&mut self.reader)?;
        if kind != RECORD {
            return Ok(None);
        }
        let (key_len, value_len) = record_lengths(&mut self.reader, len)?;
        let mut key = SecretVec::new(vec![0; key_len]);
        self.reader.read(&mut key)?;
        // It was seen to be there when the archive was opened.
        let mut value = SecretVec::new(vec![0; value_len]);
        self.reader.read(&mut value)?;
        Ok(Some((key.into(), SecretBytes::from(value).into())))
    }
}

/// What is known of an archive while it is looked through.
struct Look {
    reader: PageReader,
    totals: Totals,
    parts: HashMap<Label, Position>,
    scopes: Vec<ScopeEntry>,
    /// Labels in all scopes.
    listed: u64,
}

impl Look {
    fn frame(&mut self) -> Result<(u8, usize)> {
        read_head(&mut self.reader)
    }

    fn catalogue(&mut self) -> Result<Catalogue> {
        let (kind, len) = self.frame()?;
        if kind != CATALOGUE || len > MAX_CATALOGUE_LEN {
            return Err(out_of_place());
        }
        let mut body = SecretVec::new(vec![0; len]);
        self.reader.read(&mut body)?;
        Catalogue::decode(&body)
    }

    fn part(&mut self, position: Position, len: usize) -> Result<()> {
        let mut label = [0; LABEL_LEN];
        if len != LABEL_LEN {
            return Err(out_of_place());
        }
        self.reader.read(&mut label)?;
        let mut found = Totals { parts: 1, ..Totals::default() };
        loop {
            let (kind, len) = self.frame()?;
            match (kind, len) {
                (RECORD, _) => {
                    let (key_len, value_len) = record_lengths(&mut self.reader, len)?;
                    self.reader.skip(key_len + value_len)?;
                    found.records += 1;
                    found.value_bytes += value_len as u64;
                }
                (PART_VOID, 0) => return Ok(()),
                (PART_END, PART_END_LEN) => {
                    let mut count = [0; PART_END_LEN];
                    self.reader.read(&mut count)?;
                    if u64::from(u32::from_be_bytes(count)) != found.records {
                        return Err(Error::new(ErrorKind::Corrupt, "a part of the archive does not add up"));
                    }
                    break;
                }
                _ => return Err(out_of_place()),
            }
        }
        if self.parts.insert(label, position).is_some() {
            return Err(Error::new(ErrorKind::Corrupt, "a part is in the archive twice"));
        }
        self.totals.parts += found.parts;
        self.totals.records += found.records;
        self.totals.value_bytes += found.value_bytes;
        Ok(())
    }

    fn scope(&mut self, len: usize) -> Result<()> {
        let labels_len = len.checked_sub(SCOPE_HEAD_LEN).filter(|_| len <= MAX_SCOPE_FRAME_LEN);
        let labels_len = labels_len.ok_or_else(out_of_place)?;
        let (mut flags, mut version, mut id_len) = ([0; 1], [0; LABEL_LEN], [0; 2]);
        self.reader.read(&mut flags)?;
        self.reader.read(&mut version)?;
        self.reader.read(&mut id_len)?;
        let id_len = usize::from(u16::from_be_bytes(id_len));
        let labels_len = labels_len.checked_sub(id_len).filter(|rest| rest % LABEL_LEN == 0 && id_len <= MAX_SCOPE_LEN);
        let count = labels_len.ok_or_else(out_of_place)? / LABEL_LEN;
        let mut id = SecretVec::new(vec![0; id_len]);
        self.reader.read(&mut id)?;
        let id = scope_id(&id)?;
        if self.scopes.last().is_some_and(|last| last.id >= id) {
            return Err(Error::new(ErrorKind::Corrupt, "the scopes of the archive are out of order"));
        }
        let mut labels = Vec::new();
        for _ in 0..count {
            let mut label = [0; LABEL_LEN];
            self.reader.read(&mut label)?;
            labels.push(label);
        }
        if labels.is_empty() {
            labels.push(version);
        }
        let [flags] = flags;
        self.listed += labels.len() as u64;
        self.totals.scopes += 1;
        self.scopes.push(ScopeEntry { id, flags, version, labels });
        Ok(())
    }

    /// `digest` is that of everything before this frame.
    fn end(&mut self, len: usize, digest: Option<[u8; 32]>) -> Result<Totals> {
        if len != END_LEN {
            return Err(out_of_place());
        }
        let mut body = [0; END_LEN];
        self.reader.read(&mut body)?;
        let (totals, written) = Totals::decode(&body)?;
        if Some(written) != digest || totals != (Totals { number: totals.number, ..self.totals }) {
            return Err(Error::new(ErrorKind::Corrupt, "the archive does not add up"));
        }
        if !self.reader.is_at_end()? {
            return Err(Error::new(ErrorKind::Corrupt, "something follows the end of the archive"));
        }
        Ok(totals)
    }

    /// Whether an archive that stands alone has all parts that it names.
    fn check(&self, catalogue: &Catalogue, totals: &Totals) -> Result<()> {
        let alone = !matches!(catalogue.kind, ArchiveKind::Delta { .. });
        let mut labels = self.scopes.iter().flat_map(|scope| &scope.labels);
        if totals.scopes == 0 || (alone && !labels.all(|label| self.parts.contains_key(label))) {
            return Err(Error::new(ErrorKind::Corrupt, "the archive names a part that it does not have"));
        }
        Ok(())
    }
}

impl<'a> Chain<'a> {
    /// # Errors
    /// `Invalid` if they do not go on from each other.
    pub(crate) fn new(archives: &'a mut [Archive]) -> Result<Self> {
        let invalid = |text: &'static str| Err(Error::new(ErrorKind::Invalid, text));
        let Some((first, rest)) = archives.split_first() else { return invalid("no archive is named") };
        if matches!(first.summary.kind, ArchiveKind::Delta { .. }) {
            return invalid("the first archive is a delta: the one that it goes on from is missing");
        }
        let mut before = first;
        for delta in rest {
            if delta.summary.kind != (ArchiveKind::Delta { parent: before.summary.id }) {
                return invalid("an archive does not go on from the one before it: name all of them, in their order");
            }
            before = delta;
        }
        let chain = Self { archives };
        let has = |label| chain.archives.iter().any(|archive| archive.parts.contains_key(label));
        match chain.last()?.scopes.iter().flat_map(|scope| &scope.labels).all(has) {
            true => Ok(chain),
            false => Err(missing_part()),
        }
    }

    /// The archive whose state it is.
    pub(crate) fn last(&self) -> Result<&Archive> {
        self.archives.last().ok_or_else(missing_part)
    }

    /// The records of a part, in the order of their keys.
    pub(crate) fn part(&mut self, label: &Label) -> Result<PartReader<'_>> {
        for archive in self.archives.iter_mut().rev() {
            if archive.go_to(label)? {
                return Ok(PartReader { archive });
            }
        }
        Err(missing_part())
    }
}

/// The records of one part.
pub(crate) struct PartReader<'a> {
    archive: &'a mut Archive,
}

impl PartReader<'_> {
    /// The next record, `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<(SecretBytes, Value)>> {
        self.archive.record()
    }
}

impl fmt::Debug for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Archive").field("summary", &self.summary).finish_non_exhaustive()
    }
}

fn read_head(reader: &mut PageReader) -> Result<(u8, usize)> {
    let mut head = [0; HEAD_LEN];
    reader.read(&mut head)?;
    let [kind, len @ ..] = head;
    Ok((kind, u32::from_be_bytes(len) as usize))
}

/// The lengths of the key and the value of a record whose frame has `len` bytes. The length of the key is read.
fn record_lengths(reader: &mut PageReader, len: usize) -> Result<(usize, usize)> {
    let mut key_len = [0; 2];
    if len > MAX_RECORD_LEN {
        return Err(out_of_place());
    }
    reader.read(&mut key_len)?;
    let key_len = usize::from(u16::from_be_bytes(key_len));
    let value_len = len.checked_sub(2 + key_len).filter(|_| (1..=MAX_RECORD_KEY_LEN).contains(&key_len));
    let value_len = value_len.filter(|len| *len <= crate::limits::MAX_VALUE_LEN).ok_or_else(out_of_place)?;
    Ok((key_len, value_len))
}

fn out_of_place() -> Error {
    Error::new(ErrorKind::Corrupt, "a frame of the archive is out of place or over its limit")
}

fn missing_part() -> Error {
    Error::new(ErrorKind::Corrupt, "a part that a delta goes on from is not in the archives before it")
}
