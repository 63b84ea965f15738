//! Archives: a client's state as a portable sealed file, for backups and for moving to another device (docs/format.md,
//! "Archive").
//!
//! An archive is independent of keep, backend and master key: inside of its seal, records stand as they are. It holds the
//! state of one root, as parts: runs of records that change together. A delta holds the parts that its parent does not have.
//!
//! From the file inwards: `header` what has to be known before there is a key, `sealed` the chunks, `page` compression, `frame`
//! what the plaintext consists of, `writer` and `reader` whole archives. What writes a client into one and reads it back is
//! `keep/back_up.rs` and `keep/restore.rs`.

mod frame;
#[cfg(test)]
mod fuzz;
mod header;
mod page;
mod reader;
mod sealed;
mod summary;
mod writer;

pub use reader::{Archive, ArchiveFile};
pub use summary::{ArchiveContents, ArchiveKind, ArchiveSummary};

pub(crate) use frame::{Catalogue, LABEL_LEN, Label, MAX_ARCHIVES, ScopeEntry};
pub(crate) use reader::Chain;
pub(crate) use writer::ArchiveWriter;
