//! Backups and moves of real clients.

#![allow(clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)]

mod cuts;
mod secrets;

use std::io::Cursor;

use mls_keep::{Archive, Encryption, MasterKey, Result};

fn key() -> Encryption {
    Encryption::hkdf_sha256(MasterKey::new([9; 32]))
}

async fn opened(archive: &[u8]) -> Result<Archive> {
    Archive::open(Cursor::new(archive.to_vec()), &key(), &mut |_| ()).await
}
