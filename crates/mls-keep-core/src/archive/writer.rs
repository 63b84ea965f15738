//! [`ArchiveWriter`]: from records to an archive.

use std::io::Write;

use super::frame::{CATALOGUE, Catalogue, END, Label, PART, PART_END, PART_VOID, RECORD, SCOPE, ScopeEntry, Totals};
use super::header;
use super::page::PageWriter;
use super::sealed::{Sealing, Sink};
use super::summary::ArchiveSummary;
use crate::entropy::Entropy;
use crate::envelope::Encryption;
use crate::error::Result;

/// Writes an archive from its beginning to its end, in the memory of some hundred pages.
pub(crate) struct ArchiveWriter<'o> {
    out: PageWriter<'o>,
    id: [u8; 16],
    catalogue: Catalogue,
    totals: Totals,
    /// What the part that is open adds to the totals.
    open: Totals,
}

impl<'o> ArchiveWriter<'o> {
    /// Begins an archive.
    ///
    /// # Errors
    /// `Invalid` for an encryption that is out of its bounds; those of `out` and `entropy`.
    pub(crate) async fn begin(
        out: &'o mut (dyn Write + Send),
        id: [u8; 16],
        catalogue: Catalogue,
        encryption: &Encryption,
        entropy: &dyn Entropy,
    ) -> Result<Self> {
        let (header, sealer) = header::create(id, encryption, entropy).await?;
        let mut out = PageWriter::new(Sink::new(out, &header)?, Sealing::new(sealer))?;
        let body = catalogue.encode();
        frame(&mut out, CATALOGUE, &[&body])?;
        Ok(Self { out, id, catalogue, totals: Totals::default(), open: Totals::default() })
    }

    pub(crate) fn begin_part(&mut self, label: &Label) -> Result<()> {
        self.open = Totals::default();
        frame(&mut self.out, PART, &[label])
    }

    pub(crate) fn record(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.open.records += 1;
        self.open.value_bytes += value.len() as u64;
        frame(&mut self.out, RECORD, &[&(key.len() as u16).to_be_bytes(), key, value])
    }

    pub(crate) fn end_part(&mut self) -> Result<()> {
        self.totals.parts += 1;
        self.totals.records += self.open.records;
        self.totals.value_bytes += self.open.value_bytes;
        frame(&mut self.out, PART_END, &[&(self.open.records as u32).to_be_bytes()])
    }

    /// The part that was begun could not be read to its end, and counts for nothing.
    pub(crate) fn void_part(&mut self) -> Result<()> {
        frame(&mut self.out, PART_VOID, &[])
    }

    /// Bytes of values so far.
    pub(crate) fn value_bytes(&self) -> u64 {
        self.totals.value_bytes
    }

    /// Writes to the sink what was given so far, but for the last few bytes: if it cannot take that, it shows now.
    ///
    /// # Errors
    /// Those of the sink.
    pub(crate) fn flush(&mut self) -> Result<()> {
        self.out.flush()
    }

    /// Writes the scopes of the state after commit `number`, in the order of their ids, and the end.
    ///
    /// # Errors
    /// Those of the sink. Whatever fails before the last byte leaves an archive that is refused everywhere.
    pub(crate) fn finish<'s>(
        mut self,
        number: u64,
        scopes: impl Iterator<Item = &'s ScopeEntry>,
    ) -> Result<ArchiveSummary> {
        for scope in scopes {
            self.totals.scopes += 1;
            let head = scope.encode_head();
            begin_frame(&mut self.out, SCOPE, scope.frame_len())?;
            self.out.write(&head)?;
            for label in scope.listed() {
                self.out.write(label)?;
            }
        }
        self.totals.number = number;
        let end = self.totals.encode(&self.out.digest());
        frame(&mut self.out, END, &[&end])?;
        let len = self.out.finish()?;
        Ok(self.totals.summary(self.id, self.catalogue, len))
    }
}

impl Totals {
    pub(super) fn summary(self, id: [u8; 16], catalogue: Catalogue, len: u64) -> ArchiveSummary {
        let Catalogue { kind, contents, created, store_id, identity, .. } = catalogue;
        let Self { number, records, value_bytes, scopes, .. } = self;
        ArchiveSummary { id, kind, contents, created, store_id, identity, number, scopes, records, value_bytes, len }
    }
}

fn frame(out: &mut PageWriter<'_>, kind: u8, parts: &[&[u8]]) -> Result<()> {
    begin_frame(out, kind, parts.iter().map(|part| part.len()).sum())?;
    parts.iter().try_for_each(|part| out.write(part))
}

/// Lengths are below 4 GiB: those of records by the limits of a map, those of scopes by what a client can have.
fn begin_frame(out: &mut PageWriter<'_>, kind: u8, len: usize) -> Result<()> {
    out.write(&[kind])?;
    out.write(&(len as u32).to_be_bytes())
}
