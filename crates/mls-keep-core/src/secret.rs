//! [`MasterKey`], which the user holds, and the 32-byte secrets that are derived from it or drawn at random.

use std::fmt;

use data_encoding::BASE32_DNSSEC;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::entropy::Entropy;
use crate::error::{Error, ErrorKind, Result};

const LEN: usize = 32;
const CHECKSUM_LEN: usize = 4;

/// Stands before a master key as text, so that a key is distinguished from other secrets and from later forms.
const TEXT_PREFIX: &str = "mls-keep-key-1:";

/// The 32-byte key that a keep is opened with.
///
/// It must be uniformly random: made by [`generate`](Self::generate), a key store, or a key derivation. What people
/// type is a passphrase, for [`Encryption::passphrase`](crate::Encryption::passphrase). It is wiped from memory when
/// dropped, and cannot be cloned, compared or printed.
pub struct MasterKey(Secret32);

impl MasterKey {
    /// A master key from its bytes. The caller wipes whatever it read them from.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Secret32::from_bytes(bytes))
    }

    /// A master key from a slice of exactly 32 bytes.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) if the length is another one.
    pub fn from_slice(bytes: &[u8]) -> Result<Self> {
        let mut secret = Secret32::zeros();
        if bytes.len() != LEN {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("a master key has 32 bytes, this one has {}", bytes.len()),
            ));
        }
        secret.0.copy_from_slice(bytes);
        Ok(Self(secret))
    }

    /// A fresh random master key.
    ///
    /// # Errors
    /// Any error of `entropy`, unchanged.
    pub fn generate(entropy: &dyn Entropy) -> Result<Self> {
        Secret32::random(entropy).map(Self)
    }

    /// The key as one line of text for a key file, without a line end: `mls-keep-key-1:` and 58 characters of base32hex
    /// (RFC 4648 section 7, lower case, no padding) that hold the key and a 4-byte checksum.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new([0; LEN + CHECKSUM_LEN]);
        let (key, sum) = bytes.split_at_mut(LEN);
        key.copy_from_slice(self.0.expose());
        sum.copy_from_slice(&checksum(key));
        let len = TEXT_PREFIX.len() + BASE32_DNSSEC.encode_len(bytes.len());
        let mut text = Zeroizing::new(String::with_capacity(len));
        text.push_str(TEXT_PREFIX);
        BASE32_DNSSEC.encode_append(bytes.as_slice(), &mut text);
        text
    }

    /// Reads what [`to_text`](Self::to_text) wrote. White space around it and the case of the 58 characters do not
    /// matter.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid), with a text that distinguishes a typing error from something that is not a key at
    /// all, and that repeats no part of `text`.
    pub fn from_text(text: &str) -> Result<Self> {
        let invalid = |message: &'static str| Error::new(ErrorKind::Invalid, message);
        let digits = text
            .trim()
            .strip_prefix(TEXT_PREFIX)
            .ok_or_else(|| invalid("this is not a master key: the text does not start with mls-keep-key-1:"))?;
        let mut bytes = Zeroizing::new([0; LEN + CHECKSUM_LEN]);
        if digits.len() != BASE32_DNSSEC.encode_len(bytes.len()) {
            return Err(invalid("the master key is cut short or too long: after the prefix it has 58 characters"));
        }
        let mistyped = "the master key is mistyped: its checksum does not match";
        // The decoder's own error names a position and so would say something about the key.
        BASE32_DNSSEC.decode_mut(digits.as_bytes(), bytes.as_mut_slice()).map_err(|_| invalid(mistyped))?;
        let (key, sum) = bytes.split_at(LEN);
        if !bool::from(checksum(key).ct_eq(sum)) {
            return Err(invalid(mistyped));
        }
        Self::from_slice(key)
    }

    pub(crate) fn expose(&self) -> &[u8; 32] {
        self.0.expose()
    }
}

impl ZeroizeOnDrop for MasterKey {}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(..)")
    }
}

/// 32 secret bytes. Boxed, because moving an array leaves copies that nobody wipes.
pub(crate) struct Secret32(Box<[u8; LEN]>);

impl Secret32 {
    pub(crate) fn random(entropy: &dyn Entropy) -> Result<Self> {
        let mut secret = Self::zeros();
        entropy.fill(secret.0.as_mut_slice())?;
        Ok(secret)
    }

    pub(crate) fn from_bytes(mut bytes: [u8; LEN]) -> Self {
        let mut secret = Self::zeros();
        secret.0.copy_from_slice(&bytes);
        bytes.zeroize();
        secret
    }

    /// A secret that `fill` writes in place.
    pub(crate) fn fill_with<E>(fill: impl FnOnce(&mut [u8; LEN]) -> Result<(), E>) -> Result<Self, E> {
        let mut secret = Self::zeros();
        fill(&mut secret.0)?;
        Ok(secret)
    }

    pub(crate) fn expose(&self) -> &[u8; LEN] {
        &self.0
    }

    /// Compares in constant time.
    pub(crate) fn ct_eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&*other.0).into()
    }

    fn zeros() -> Self {
        Self(Box::new([0; LEN]))
    }
}

impl Zeroize for Secret32 {
    fn zeroize(&mut self) {
        self.0.as_mut_slice().zeroize();
    }
}

impl Drop for Secret32 {
    fn drop(&mut self) {
        self.zeroize();
    }
}

impl ZeroizeOnDrop for Secret32 {}

impl fmt::Debug for Secret32 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret32(..)")
    }
}

/// Finds typing errors. It protects nothing: it stands beside the key.
fn checksum(key: &[u8]) -> [u8; CHECKSUM_LEN] {
    let digest = Sha256::new().chain_update(TEXT_PREFIX).chain_update(key).finalize();
    let mut sum = [0; CHECKSUM_LEN];
    for (to, from) in sum.iter_mut().zip(digest) {
        *to = from;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 32] = *b"0123456789abcdefghijklmnopqrstuv";

    #[test]
    fn a_key_survives_as_text() {
        let text = MasterKey::new(KEY).to_text();
        assert_eq!(text.len(), 73);
        assert_eq!(MasterKey::from_text(&text).unwrap().expose(), &KEY);
        let shouted = text.replace(TEXT_PREFIX, "").to_uppercase();
        let framed = format!("\t {TEXT_PREFIX}{shouted}\r\n");
        assert_eq!(MasterKey::from_text(&framed).unwrap().expose(), &KEY);
    }

    #[test]
    fn every_single_wrong_character_is_noticed() {
        let text = MasterKey::new(KEY).to_text();
        for at in TEXT_PREFIX.len()..text.len() {
            for other in "0123456789abcdefghijklmnopqrstuvwxyz -".chars().filter(|c| text.chars().nth(at) != Some(*c)) {
                let mut wrong: Vec<char> = text.chars().collect();
                wrong[at] = other;
                let wrong: String = wrong.into_iter().collect();
                let error = MasterKey::from_text(&wrong).expect_err(&wrong);
                assert_eq!(error.kind(), ErrorKind::Invalid);
            }
        }
    }

    #[test]
    fn what_is_no_key_is_refused_and_not_repeated() {
        let text = MasterKey::new(KEY).to_text();
        let digits = &text[TEXT_PREFIX.len()..];
        let swapped = format!("{TEXT_PREFIX}{}{}{}", &digits[1..2], &digits[0..1], &digits[2..]);
        let longer = format!("{}0", *text);
        let accents = format!("{TEXT_PREFIX}{}", "é".repeat(29));
        for wrong in ["", TEXT_PREFIX, digits, &text[..72], &longer, &swapped, &accents] {
            let error = MasterKey::from_text(wrong).expect_err(wrong);
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(!format!("{error:?} {error}").contains(&digits[..8]));
        }
        for len in [0, 31, 33] {
            assert_eq!(MasterKey::from_slice(&vec![1; len]).expect_err("length").kind(), ErrorKind::Invalid);
        }
        assert_eq!(MasterKey::from_slice(&KEY).unwrap().expose(), &KEY);
    }

    #[test]
    fn debug_prints_no_key() {
        let text = format!("{:?} {:?}", MasterKey::new(KEY), Secret32::from_bytes(KEY));
        assert_eq!(text, "MasterKey(..) Secret32(..)");
    }

    #[test]
    fn equality_looks_at_every_byte() {
        for at in 0..32 {
            let mut other = KEY;
            other[at] ^= 1;
            assert!(!Secret32::from_bytes(KEY).ct_eq(&Secret32::from_bytes(other)));
        }
        assert!(Secret32::from_bytes(KEY).ct_eq(&Secret32::from_bytes(KEY)));
    }

    #[test]
    fn zeroize_wipes() {
        let mut secret = Secret32::from_bytes(KEY);
        secret.zeroize();
        assert_eq!(secret.expose(), &[0; 32]);
    }

    const _: () = {
        const fn wiped<T: ZeroizeOnDrop>() {}
        wiped::<MasterKey>();
        wiped::<Secret32>();
    };
}
