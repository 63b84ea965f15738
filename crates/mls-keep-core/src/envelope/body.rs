//! The body of a record: C2SP chunked-encryption (<https://c2sp.org/chunked-encryption>) with AES-256-GCM and
//! HKDF-SHA256.
//!
//! `salt(24) || commitment(32) || chunks`. Key, base nonce and commitment are expanded from the input key, the salt and
//! a context, so a body opens under one key and in one place only, and a wrong key is distinguished from damage before
//! anything is decrypted. Chunks hold 16 KiB; the last one is always shorter, which makes truncation visible.

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, KeyInit, Nonce, Tag};
use hkdf::Hkdf;
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::entropy::Entropy;
use crate::error::{Error, ErrorKind, Result};
use crate::secret_vec::SecretVec;

pub(super) const SALT_LEN: usize = 24;
pub(super) const COMMITMENT_LEN: usize = 32;

/// Plaintext of every chunk but the last, bytes.
pub(crate) const CHUNK_LEN: usize = 16 << 10;
/// Length of an AES-GCM tag, bytes.
pub(crate) const TAG_LEN: usize = 16;
/// Length of an AES-GCM nonce, bytes.
pub(super) const NONCE_LEN: usize = 12;
/// Length of an AES-256 key, bytes.
pub(super) const KEY_LEN: usize = 32;

const INFO: &[u8] = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0";

/// What a body of less than 16 KiB is longer than its plaintext, bytes; every further 16 KiB add 16.
pub(super) const OVERHEAD: usize = SALT_LEN + COMMITMENT_LEN + TAG_LEN;

/// Why sealed bytes do not open. Nothing of the plaintext is released.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum OpenError {
    /// No plaintext has a sealed form of this length: something was cut off or added.
    Length,
    /// Another key or another context, or the salt or the commitment itself is damaged.
    Commitment,
    /// The right key, but the ciphertext is damaged, reordered or cut at a chunk.
    Tag,
}

/// Seals `plaintext` under a fresh salt.
///
/// # Errors
/// Any error of `entropy`, unchanged.
pub(crate) fn seal(
    input_key: &[u8; KEY_LEN],
    context: &[u8],
    plaintext: &[u8],
    entropy: &dyn Entropy,
) -> Result<Vec<u8>> {
    let mut salt = [0; SALT_LEN];
    entropy.fill(&mut salt)?;
    seal_with(expand_sha256, input_key, context, plaintext, &salt)
}

/// Opens what [`seal`] sealed under the same key and context.
pub(crate) fn open(input_key: &[u8; KEY_LEN], context: &[u8], body: &[u8]) -> Result<SecretVec, OpenError> {
    open_with(expand_sha256, input_key, context, body)
}

/// HKDF-Expand (RFC 5869 section 2.3): pseudorandom key, parts of the info, output. The public vectors of the
/// construction use SHA-512, so that is what its tests put here; everything else is HKDF-SHA256.
pub(super) type Expand = fn(&[u8; KEY_LEN], &[&[u8]], &mut [u8]);

pub(super) fn expand_sha256(prk: &[u8; KEY_LEN], info: &[&[u8]], okm: &mut [u8]) {
    // 32 bytes are just what SHA-256 asks of a pseudorandom key, and nothing here expands to more than 255 blocks.
    let hkdf = Hkdf::<Sha256>::from_prk(prk).expect("a 32-byte key is long enough for SHA-256");
    hkdf.expand_multi_info(info, okm).expect("the output is shorter than 255 blocks");
}

pub(super) fn seal_with(
    expand: Expand,
    input_key: &[u8; KEY_LEN],
    context: &[u8],
    plaintext: &[u8],
    salt: &[u8; SALT_LEN],
) -> Result<Vec<u8>> {
    let keys = BodyKeys::derive(expand, input_key, salt, context);
    let (whole, last) = plaintext.as_chunks::<CHUNK_LEN>();
    // Each chunk stands here as plaintext for a moment.
    let mut body = SecretVec::with_capacity(OVERHEAD + plaintext.len() + whole.len() * TAG_LEN);
    body.extend_from_slice(salt);
    body.extend_from_slice(&keys.commitment);
    for (number, chunk) in (0..).zip(whole.iter().map(<[u8; CHUNK_LEN]>::as_slice).chain([last])) {
        let start = body.len();
        body.extend_from_slice(chunk);
        let tag = seal_in_place(&keys.cipher, &keys.nonce(number), body.get_mut(start..).unwrap_or_default())?;
        body.extend_from_slice(&tag);
    }
    Ok(std::mem::take(&mut *body))
}

pub(super) fn open_with(
    expand: Expand,
    input_key: &[u8; KEY_LEN],
    context: &[u8],
    body: &[u8],
) -> Result<SecretVec, OpenError> {
    let (salt, rest) = body.split_first_chunk::<SALT_LEN>().ok_or(OpenError::Length)?;
    let (commitment, sealed) = rest.split_first_chunk::<COMMITMENT_LEN>().ok_or(OpenError::Length)?;
    let (whole, last) = sealed.as_chunks::<{ CHUNK_LEN + TAG_LEN }>();
    let last_len = last.len().checked_sub(TAG_LEN).ok_or(OpenError::Length)?;
    let keys = BodyKeys::derive(expand, input_key, salt, context);
    if !keys.commits_to(commitment) {
        return Err(OpenError::Commitment);
    }
    let mut plaintext = SecretVec::with_capacity(whole.len() * CHUNK_LEN + last_len);
    for (number, chunk) in (0..).zip(whole.iter().map(<[u8; _]>::as_slice).chain([last])) {
        open_onto(&keys.cipher, &keys.nonce(number), chunk, &mut plaintext)?;
    }
    Ok(plaintext)
}

/// Encrypts in place and gives the tag. The additional data is empty: whatever binds the place is in the key.
pub(super) fn seal_in_place(cipher: &Aes256Gcm, nonce: &[u8; NONCE_LEN], chunk: &mut [u8]) -> Result<[u8; TAG_LEN]> {
    match cipher.encrypt_inout_detached(&Nonce::from(*nonce), b"", chunk.into()) {
        Ok(tag) => Ok(tag.into()),
        Err(_) => Err(Error::new(ErrorKind::Internal, "a block is over the 64 GiB that AES-GCM can seal")),
    }
}

/// Decrypts `sealed` (ciphertext and tag) onto the end of `plaintext`, which has the room. The tag is checked first.
pub(super) fn open_onto(
    cipher: &Aes256Gcm,
    nonce: &[u8; NONCE_LEN],
    sealed: &[u8],
    plaintext: &mut Vec<u8>,
) -> Result<(), OpenError> {
    let (ciphertext, tag) = sealed.split_last_chunk::<TAG_LEN>().ok_or(OpenError::Length)?;
    let start = plaintext.len();
    plaintext.extend_from_slice(ciphertext);
    let chunk = plaintext.get_mut(start..).unwrap_or_default();
    cipher.decrypt_inout_detached(&Nonce::from(*nonce), b"", chunk.into(), &Tag::from(*tag)).map_err(|_| OpenError::Tag)
}

pub(super) struct BodyKeys {
    pub(super) cipher: Aes256Gcm,
    base_nonce: Zeroizing<[u8; NONCE_LEN]>,
    pub(super) commitment: [u8; COMMITMENT_LEN],
}

impl BodyKeys {
    pub(super) fn derive(expand: Expand, input_key: &[u8; KEY_LEN], salt: &[u8; SALT_LEN], context: &[u8]) -> Self {
        let mut okm = Zeroizing::new([0; KEY_LEN + NONCE_LEN + COMMITMENT_LEN]);
        expand(input_key, &[INFO, salt, context], okm.as_mut_slice());
        let (key, rest) = okm.split_at(KEY_LEN);
        let (nonce, commitment) = rest.split_at(NONCE_LEN);
        let mut keys =
            Self { cipher: cipher(key), base_nonce: Zeroizing::new([0; NONCE_LEN]), commitment: [0; COMMITMENT_LEN] };
        keys.base_nonce.copy_from_slice(nonce);
        keys.commitment.copy_from_slice(commitment);
        keys
    }

    /// Compares in constant time.
    pub(super) fn commits_to(&self, commitment: &[u8]) -> bool {
        self.commitment.ct_eq(commitment).into()
    }

    /// The base nonce XOR the number of the chunk. Numbers stop at 2^38 in the specification, which is 4 PiB.
    pub(super) fn nonce(&self, number: u64) -> [u8; NONCE_LEN] {
        let mut nonce = *self.base_nonce;
        for (byte, count) in nonce.iter_mut().rev().zip(number.to_le_bytes()) {
            *byte ^= count;
        }
        nonce
    }
}

pub(super) fn cipher(key: &[u8]) -> Aes256Gcm {
    Aes256Gcm::new_from_slice(key).expect("every key is cut from an expansion as 32 bytes")
}

// The schedules wipe themselves only with the feature `zeroize` of their crates; without it this does not compile.
const _: () = {
    const fn wiped<T: ZeroizeOnDrop>() {}
    wiped::<Aes256Gcm>();
    wiped::<Sha256>();
};
