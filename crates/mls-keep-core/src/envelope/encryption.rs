//! [`Encryption`]: what a keep is opened with, and the root key that it gives.

use std::fmt;

use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::header::{Form, HeaderPrefix, ID_LEN, Kdf, SALT_LEN};
use super::passphrase::{Argon2Params, spawn};
use crate::entropy::Entropy;
use crate::error::{Error, ErrorKind, Result};
use crate::secret::{MasterKey, Secret32};
use crate::secret_vec::SecretVec;

/// Longest salt of the user, bytes.
const MAX_USER_SALT_LEN: usize = 1024;

/// Longest passphrase, bytes.
const MAX_PASSPHRASE_LEN: usize = 64 << 10;

/// What a keep or an archive is sealed and opened with: a master key or a passphrase, and a salt if there is one.
///
/// There is no keep and no archive without encryption. Mistakes in the values show when a keep is created or opened with them, as
/// [`Invalid`](ErrorKind::Invalid); a wrong value as [`WrongKey`](ErrorKind::WrongKey).
///
/// ```
/// use mls_keep_core::{Argon2Params, Encryption, MasterKey, Result};
///
/// fn from_key_file(text: &str) -> Result<Encryption> {
///     Ok(Encryption::hkdf_sha256(MasterKey::from_text(text)?).salt("alice's laptop"))
/// }
///
/// fn from_words(words: String) -> Encryption {
///     Encryption::passphrase(words).argon2(Argon2Params { memory_kib: 256 << 10, ..Argon2Params::default() })
/// }
/// ```
pub struct Encryption {
    holder: Holder,
    salt: SecretVec,
    argon2: Option<Argon2Params>,
    argon2_limit: Option<Argon2Params>,
}

/// What holds the key: something that can keep 32 bytes, or a person.
enum Holder {
    MasterKey(MasterKey),
    Passphrase(SecretVec),
}

impl Encryption {
    /// A master key of 32 random bytes. The root key is HKDF-SHA256 of it (RFC 5869), under a random salt that stands in
    /// the keep's header.
    #[must_use]
    pub fn hkdf_sha256(master_key: MasterKey) -> Self {
        Self::new(Holder::MasterKey(master_key))
    }

    /// A passphrase of 1 byte to 64 KiB, stretched with argon2id (RFC 9106) and [`Argon2Params`].
    ///
    /// The bytes are taken as they are. Text is not normalised: a program that reads it from people on several platforms does
    /// that first (NFC), and always in the same way.
    ///
    /// Stretching takes the memory and the time that the header of a keep asks for, also if an attacker wrote it: up to 1 GiB
    /// and many seconds of one core ([`Argon2Params`]) before a wrong passphrase or a forged header shows. It runs on a
    /// thread of its own where one can be started. See [`argon2_limit`](Self::argon2_limit).
    #[must_use]
    pub fn passphrase(passphrase: impl Into<Vec<u8>>) -> Self {
        Self::new(Holder::Passphrase(SecretVec::new(passphrase.into())))
    }

    /// Mixes `salt`, up to 1024 bytes, into the root key, beside the random salt that every keep has anyway.
    ///
    /// It is stored nowhere: without the same salt the keep does not open. No salt and an empty one are the same.
    #[must_use]
    pub fn salt(mut self, salt: impl AsRef<[u8]>) -> Self {
        self.salt = SecretVec::new(salt.as_ref().to_vec());
        self
    }

    /// What a new keep asks of argon2id. A keep that exists says so itself. Goes with a passphrase only.
    #[must_use]
    pub fn argon2(mut self, params: Argon2Params) -> Self {
        self.argon2 = Some(params);
        self
    }

    /// The most that a keep may ask of argon2id. One whose header asks for more memory, or for more work (memory times
    /// iterations), does not open: [`Invalid`](ErrorKind::Invalid), before any memory is taken. Without a limit, the bounds
    /// of [`Argon2Params`] are all there is. Goes with a passphrase only; lanes are not looked at.
    ///
    /// ```
    /// # use mls_keep_core::{Argon2Params, Encryption};
    /// // No more than what this program asks of new keeps.
    /// let encryption = Encryption::passphrase("words").argon2_limit(Argon2Params::default());
    /// ```
    #[must_use]
    pub fn argon2_limit(mut self, limit: Argon2Params) -> Self {
        self.argon2_limit = Some(limit);
        self
    }

    /// The clear part of a new header, under a fresh salt.
    ///
    /// # Errors
    /// `Invalid` for a value out of its documented bounds; any error of `entropy`, unchanged.
    pub(crate) fn new_prefix(&self, form: Form, entropy: &dyn Entropy, id: [u8; ID_LEN]) -> Result<HeaderPrefix> {
        self.check()?;
        let kdf = match self.holder {
            Holder::MasterKey(_) => Kdf::HkdfSha256,
            Holder::Passphrase(_) => Kdf::Argon2id(self.argon2.unwrap_or_default()),
        };
        let mut salt = [0; SALT_LEN];
        entropy.fill(&mut salt)?;
        Ok(HeaderPrefix { form, kdf, salt, id })
    }

    /// The root key of the keep, or the key of the archive, with this header. With a passphrase it takes the time and the
    /// memory that the header asks for, within the bounds of [`Argon2Params`] and the limit, on a thread of its own if there
    /// can be one.
    ///
    /// # Errors
    /// `Invalid` as for [`new_prefix`](Self::new_prefix), and if the header asks for more than the limit; `WrongKey` if it
    /// wants a passphrase and this is a master key, or the other way round; `NoSpace` if there is no memory for
    /// argon2id.
    pub(crate) async fn root_key(&self, prefix: &HeaderPrefix) -> Result<Secret32> {
        self.check()?;
        let wrong = |message| Err(Error::new(ErrorKind::WrongKey, message));
        match (&self.holder, prefix.kdf) {
            (Holder::MasterKey(key), Kdf::HkdfSha256) => Ok(self.mix(&prefix.salt, key.expose())),
            (Holder::Passphrase(passphrase), Kdf::Argon2id(params)) => {
                if let Some(limit) = self.argon2_limit {
                    params.check_limit(limit)?;
                }
                let stretched = params.derive_aside(passphrase, &prefix.salt, spawn).await?;
                Ok(self.mix(&prefix.salt, stretched.expose()))
            }
            (Holder::MasterKey(_), Kdf::Argon2id(_)) => wrong("this opens with a passphrase, not a master key"),
            (Holder::Passphrase(_), Kdf::HkdfSha256) => wrong("this opens with a master key, not a passphrase"),
        }
    }

    fn new(holder: Holder) -> Self {
        Self { holder, salt: SecretVec::default(), argon2: None, argon2_limit: None }
    }

    pub(crate) fn check(&self) -> Result<()> {
        let invalid = |message| Err(Error::new(ErrorKind::Invalid, message));
        if self.salt.len() > MAX_USER_SALT_LEN {
            return invalid("the salt is over 1024 bytes");
        }
        match &self.holder {
            Holder::Passphrase(passphrase) if passphrase.is_empty() => invalid("the passphrase is empty"),
            Holder::Passphrase(passphrase) if passphrase.len() > MAX_PASSPHRASE_LEN => {
                invalid("the passphrase is over 64 KiB")
            }
            Holder::Passphrase(_) => {
                self.argon2.iter().chain(&self.argon2_limit).try_for_each(|params| params.check(ErrorKind::Invalid))
            }
            Holder::MasterKey(_) if self.argon2.or(self.argon2_limit).is_some() => {
                invalid("argon2 goes with a passphrase, not with a master key")
            }
            Holder::MasterKey(_) => Ok(()),
        }
    }

    /// Both salts, the user's behind its length, so that no two pairs give the same bytes.
    fn mix(&self, header_salt: &[u8; SALT_LEN], ikm: &[u8; 32]) -> Secret32 {
        let mut salt = SecretVec::with_capacity(SALT_LEN + 4 + self.salt.len());
        salt.extend_from_slice(header_salt);
        salt.extend_from_slice(&(self.salt.len() as u32).to_be_bytes());
        salt.extend_from_slice(&self.salt);
        extract(&salt, ikm)
    }
}

// Every field wipes itself.
impl ZeroizeOnDrop for Encryption {}

impl fmt::Debug for Encryption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.holder {
            Holder::MasterKey(_) => "Encryption(master key)",
            Holder::Passphrase(_) => "Encryption(passphrase)",
        })
    }
}

/// HKDF-Extract-SHA256 (RFC 5869 section 2.2).
pub(crate) fn extract(salt: &[u8], ikm: &[u8; 32]) -> Secret32 {
    let (mut prk, _) = Hkdf::<Sha256>::extract(Some(salt), ikm);
    let secret = Secret32::from_bytes(prk.into());
    prk.as_mut_slice().zeroize();
    secret
}
