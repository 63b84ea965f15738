//! What stands before the first chunk of an archive: its clear part, and what the seal begins with.
//!
//! A checksum covers all of it, so that damage is distinguished from a wrong key and no passphrase is stretched in vain. It
//! protects nothing: a forged header has a right checksum, too.

use sha2::{Digest as _, Sha256};

use crate::entropy::Entropy;
use crate::envelope::{ChunkOpener, ChunkSealer, Encryption, Form, HEAD_LEN, HEADER_PREFIX_LEN, HeaderPrefix};
use crate::error::{Error, ErrorKind, Result};

const CONTEXT: &[u8] = b"mls-keep archive v1\0";
const CHECKSUM_LEN: usize = 8;

/// Where the first chunk begins.
pub(super) const LEN: usize = HEADER_PREFIX_LEN + CHECKSUM_LEN + HEAD_LEN;

/// The header of a new archive, and what seals its chunks.
///
/// # Errors
/// `Invalid` for an encryption that is out of its bounds; any error of `entropy`.
pub(super) async fn create(
    id: [u8; 16],
    encryption: &Encryption,
    entropy: &dyn Entropy,
) -> Result<([u8; LEN], ChunkSealer)> {
    let prefix = encryption.new_prefix(Form::Archive, entropy, id)?;
    let key = encryption.root_key(&prefix).await?;
    let clear = prefix.encode();
    let (sealer, head) = ChunkSealer::new(key.expose(), &context(&clear), entropy)?;
    let mut header = [0; LEN];
    let fields = clear.into_iter().chain(checksum(&clear, &head)).chain(head);
    header.iter_mut().zip(fields).for_each(|(to, from)| *to = from);
    Ok((header, sealer))
}

/// The id of the archive with this header, and what opens its chunks.
///
/// # Errors
/// `Corrupt`, `UnsupportedVersion`; `WrongKey`; and as [`Encryption::root_key`].
pub(super) async fn open(header: &[u8; LEN], encryption: &Encryption) -> Result<([u8; 16], ChunkOpener)> {
    let prefix = decode(header)?;
    let key = encryption.root_key(&prefix).await?;
    let (_, head) = header.split_last_chunk::<HEAD_LEN>().ok_or_else(damaged)?;
    let opener = ChunkOpener::new(key.expose(), &context(&prefix.encode()), head).map_err(|_| {
        Error::new(ErrorKind::WrongKey, "the archive does not open under this key (or passphrase, or salt)")
    })?;
    Ok((prefix.id, opener))
}

/// The clear part, as far as it is known to be whole without a key.
pub(super) fn decode(header: &[u8; LEN]) -> Result<HeaderPrefix> {
    let prefix = HeaderPrefix::decode(Form::Archive, header)?;
    let (clear, rest) = header.split_at(HEADER_PREFIX_LEN);
    let (sum, head) = rest.split_at(CHECKSUM_LEN);
    if checksum(clear, head) != *sum {
        return Err(damaged());
    }
    Ok(prefix)
}

fn context(clear: &[u8]) -> Vec<u8> {
    [CONTEXT, clear].concat()
}

fn checksum(clear: &[u8], head: &[u8]) -> [u8; CHECKSUM_LEN] {
    let digest = Sha256::new().chain_update(clear).chain_update(head).finalize();
    std::array::from_fn(|at| digest.get(at).copied().unwrap_or_default())
}

fn damaged() -> Error {
    Error::new(ErrorKind::Corrupt, "the archive's header is damaged")
}
