use std::collections::HashSet;

use aes_gcm::aes::Aes256;
use aes_gcm::aes::cipher::BlockCipherEncrypt;
use aes_gcm::{Aes256Gcm, KeyInit};

use super::super::body::{OVERHEAD, OpenError, expand_sha256, open, open_onto, seal, seal_with};
use super::{Counting, Stuck, pattern};

const KEY: [u8; 32] = [7; 32];
const CONTEXT: &[u8] = b"context";
const HEAD: usize = 24 + 32;
const CHUNK: usize = 16_384 + 16;

#[test]
fn every_length_around_a_chunk_comes_back() {
    for len in [0, 1, 300, 16_383, 16_384, 16_385, 32_767, 32_768, 40_000] {
        let body = seal(&KEY, CONTEXT, &pattern(len), &Counting::default()).unwrap();
        assert_eq!(body.len(), len + OVERHEAD + len / 16_384 * 16, "{len}");
        assert_eq!(body.capacity(), body.len(), "the buffer never grew");
        let plaintext = open(&KEY, CONTEXT, &body).unwrap();
        assert_eq!(*plaintext, pattern(len));
        assert_eq!(plaintext.capacity(), plaintext.len(), "the buffer never grew");
    }
}

#[test]
fn every_bit_flip_is_refused() {
    let sealed = seal(&KEY, CONTEXT, &pattern(300), &Counting::default()).unwrap();
    for bit in 0..sealed.len() * 8 {
        let mut body = sealed.clone();
        body[bit / 8] ^= 1 << (bit % 8);
        let expected = if bit / 8 < HEAD { OpenError::Commitment } else { OpenError::Tag };
        assert_eq!(open(&KEY, CONTEXT, &body), Err(expected), "bit {bit}");
    }
}

#[test]
fn every_truncation_and_every_addition_is_refused() {
    for (len, step) in [(0, 1), (300, 1), (16_384, 7), (40_000, 97)] {
        let sealed = seal(&KEY, CONTEXT, &pattern(len), &Counting::default()).unwrap();
        let near_a_chunk = |cut: usize| cut.saturating_sub(HEAD - 20) % CHUNK < 40;
        for cut in (0..sealed.len()).filter(|cut| cut % step == 0 || near_a_chunk(*cut)) {
            // Without a tag's length behind the last whole chunk there is nothing to check; with it the tag is wrong.
            let last = cut.checked_sub(HEAD).map(|chunks| chunks % CHUNK);
            let expected = if last.is_some_and(|last| last >= 16) { OpenError::Tag } else { OpenError::Length };
            assert_eq!(open(&KEY, CONTEXT, &sealed[..cut]), Err(expected), "{cut} of {}", sealed.len());
        }
        let mut longer = sealed;
        for added in 1..=64 {
            longer.push(added);
            assert_eq!(open(&KEY, CONTEXT, &longer), Err(OpenError::Tag), "{len} and {added}");
        }
    }
}

#[test]
fn chunks_cannot_be_moved_dropped_or_taken_from_another_body() {
    let entropy = Counting::default();
    let sealed = seal(&KEY, CONTEXT, &pattern(40_000), &entropy).unwrap();
    let other = seal(&KEY, CONTEXT, &pattern(40_000), &entropy).unwrap();
    let (head, chunks) = sealed.split_at(HEAD);
    let chunks: Vec<&[u8]> = chunks.chunks(CHUNK).collect();
    let build = |chunks: &[&[u8]]| [head, &chunks.concat()].concat();
    assert_eq!(*open(&KEY, CONTEXT, &build(&chunks)).unwrap(), pattern(40_000), "control");
    let foreign = &other[HEAD..HEAD + CHUNK];
    for wrong in [
        vec![chunks[1], chunks[0], chunks[2]],
        vec![chunks[0], chunks[2]],
        vec![chunks[1], chunks[2]],
        vec![chunks[0], chunks[1], chunks[1], chunks[2]],
        vec![chunks[2]],
        vec![foreign, chunks[1], chunks[2]],
    ] {
        assert_eq!(open(&KEY, CONTEXT, &build(&wrong)), Err(OpenError::Tag));
    }
    assert_eq!(open(&KEY, CONTEXT, &build(&chunks[..2])), Err(OpenError::Length));
    assert_eq!(open(&KEY, CONTEXT, &build(&[])), Err(OpenError::Length));
}

#[test]
fn another_key_or_another_place_is_told_apart_from_damage() {
    let body = seal(&KEY, CONTEXT, b"plaintext", &Counting::default()).unwrap();
    assert_eq!(open(&[8; 32], CONTEXT, &body), Err(OpenError::Commitment));
    for context in [b"".as_slice(), b"contexu", b"context\0", b"contex"] {
        assert_eq!(open(&KEY, context, &body), Err(OpenError::Commitment));
    }
    let mut damaged = body;
    damaged[HEAD] ^= 1;
    assert_eq!(open(&[8; 32], CONTEXT, &damaged), Err(OpenError::Commitment), "the commitment comes first");
}

#[test]
fn every_seal_has_its_own_salt() {
    let salts = |entropy: &dyn crate::Entropy| -> HashSet<Vec<u8>> {
        (0..1000).map(|_| seal(&KEY, CONTEXT, b"", entropy).unwrap()[..24].to_vec()).collect()
    };
    assert_eq!(salts(&Counting::default()).len(), 1000);
    assert_eq!(salts(&Stuck(9)).len(), 1, "control: a generator that repeats shows");
}

/// AES-GCM does not commit to its key: two blocks of ciphertext and a tag can be made that open under two keys
/// (Grubbs, Lu, Ristenpart, "Message Franking via Committing Authenticated Encryption", CRYPTO 2017). A body cannot.
#[test]
fn a_ciphertext_valid_under_two_keys_opens_under_one() {
    let salt = [3; 24];
    let keys = [[1; 32], [2; 32]];
    let derived = keys.map(|key| {
        let mut okm = [0; 76];
        let info = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0";
        expand_sha256(&key, &[info, &salt, CONTEXT], &mut okm);
        okm
    });
    let sealed = collide(&derived);
    for okm in &derived {
        let (cipher, nonce) = (Aes256Gcm::new_from_slice(&okm[..32]).unwrap(), okm[32..44].try_into().unwrap());
        assert_eq!(open_onto(&cipher, &nonce, &sealed, &mut Vec::new()), Ok(()), "plain AES-GCM opens it");
    }
    for (mine, other) in [(0, 1), (1, 0)] {
        let body = [&salt[..], &derived[mine][44..], &sealed].concat();
        let plaintext = open(&keys[mine], CONTEXT, &body).unwrap();
        assert_eq!(seal_with(expand_sha256, &keys[mine], CONTEXT, &plaintext, &salt).unwrap(), body);
        assert_eq!(open(&keys[other], CONTEXT, &body), Err(OpenError::Commitment));
    }
}

/// Ciphertext and tag valid under both. Of two blocks c1 and c2 the tag is c1 H^3 + c2 H^2 + len H + E(J0), so with c1
/// free, equal tags are one linear equation for c2.
fn collide(derived: &[[u8; 76]; 2]) -> Vec<u8> {
    let [(h1, e1), (h2, e2)] = derived.each_ref().map(|okm| {
        let aes = Aes256::new_from_slice(&okm[..32]).unwrap();
        let encrypt = |block: u128| {
            let mut block = block.to_be_bytes().into();
            aes.encrypt_block(&mut block);
            u128::from_be_bytes(block.into())
        };
        let mut j0 = [0; 16];
        j0[..12].copy_from_slice(&okm[32..44]);
        (encrypt(0), encrypt(u128::from_be_bytes(j0) | 1))
    });
    let (c1, bits) = (0x1234_u128, 256_u128);
    let square = |h| mul(h, h);
    let known = |h, e| mul(c1, mul(h, square(h))) ^ mul(bits, h) ^ e;
    let c2 = mul(known(h1, e1) ^ known(h2, e2), invert(square(h1) ^ square(h2)));
    let tag = known(h1, e1) ^ mul(c2, square(h1));
    [c1, c2, tag].map(u128::to_be_bytes).concat()
}

/// Multiplication in GF(2^128), SP 800-38D section 6.3.
fn mul(x: u128, y: u128) -> u128 {
    let (mut product, mut shifted) = (0, y);
    for bit in (0..128).rev() {
        if x >> bit & 1 == 1 {
            product ^= shifted;
        }
        shifted = (shifted >> 1) ^ if shifted & 1 == 1 { 0xe1 << 120 } else { 0 };
    }
    product
}

/// x^(2^128 - 2): the product of x^2, x^4, ... x^(2^127).
fn invert(x: u128) -> u128 {
    let (mut power, mut inverse) = (x, 1 << 127);
    for _ in 1..128 {
        power = mul(power, power);
        inverse = mul(inverse, power);
    }
    inverse
}
