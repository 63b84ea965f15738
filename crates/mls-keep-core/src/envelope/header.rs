//! The clear part of a keep's header and of an archive's: what one has to know before there is a key (docs/format.md,
//! "Header").

use super::passphrase::Argon2Params;
use crate::error::{Error, ErrorKind, Result};

/// Length of [`HeaderPrefix`], bytes.
pub(crate) const HEADER_PREFIX_LEN: usize = 72;

pub(super) const SALT_LEN: usize = 32;
pub(super) const ID_LEN: usize = 16;

const VERSION: u16 = 1;

const KDF_HKDF_SHA256: u8 = 1;
const KDF_ARGON2ID: u8 = 2;

/// The first 72 bytes of a keep's header or of an archive. Nothing in it is secret, and whatever it says is checked before
/// it is used; what is sealed beneath it has [`encode`](Self::encode) in its context.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct HeaderPrefix {
    pub(super) form: Form,
    pub(super) kdf: Kdf,
    pub(super) salt: [u8; SALT_LEN],
    /// Of the keep or of the archive.
    pub(crate) id: [u8; ID_LEN],
}

/// What the header is of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Form {
    Keep,
    Archive,
}

impl Form {
    /// As in PNG: a byte over 127, a name, and line ends that a transfer in text mode damages.
    fn magic(self) -> [u8; 8] {
        match self {
            Self::Keep => *b"\x89MLSK\r\n\x1a",
            Self::Archive => *b"\x89MLSP\r\n\x1a",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Archive => "archive",
        }
    }
}

/// How the root key comes from what the user holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kdf {
    /// From a 32-byte master key.
    HkdfSha256,
    /// From a passphrase. The parameters are within their bounds.
    Argon2id(Argon2Params),
}

impl HeaderPrefix {
    pub(crate) fn encode(&self) -> [u8; HEADER_PREFIX_LEN] {
        let (kdf, params) = match self.kdf {
            Kdf::HkdfSha256 => (KDF_HKDF_SHA256, [0; 3]),
            Kdf::Argon2id(params) => (KDF_ARGON2ID, [params.memory_kib, params.iterations, params.parallelism]),
        };
        let mut bytes = [0; HEADER_PREFIX_LEN];
        let fields = self.form.magic().into_iter().chain(VERSION.to_be_bytes()).chain([kdf, 0]);
        let fields = fields.chain(params.into_iter().flat_map(u32::to_be_bytes));
        let fields = fields.chain(self.salt).chain(self.id);
        for (byte, field) in bytes.iter_mut().zip(fields) {
            *byte = field;
        }
        bytes
    }

    /// Reads the prefix of `header`, which may go on behind it. Takes no memory.
    ///
    /// # Errors
    /// `Corrupt` if it is no header of this form, is cut short, or its parameters are out of their bounds;
    /// `UnsupportedVersion` if a newer mls-keep wrote it.
    pub(crate) fn decode(form: Form, header: &[u8]) -> Result<Self> {
        let mut rest = header;
        if take(&mut rest)? != form.magic() {
            return Err(match form {
                Form::Keep => corrupt("this is not the header of a keep"),
                Form::Archive => corrupt("this is not an archive of mls-keep"),
            });
        }
        match u16::from_be_bytes(take(&mut rest)?) {
            VERSION => {}
            0 => return Err(corrupt("the header has format version 0, which never was")),
            newer => {
                let name = form.name();
                return Err(unsupported(format!(
                    "the {name}'s header has format version {newer}, this program reads 1"
                )));
            }
        }
        let [kdf, reserved] = take(&mut rest)?;
        let params = Argon2Params {
            memory_kib: u32::from_be_bytes(take(&mut rest)?),
            iterations: u32::from_be_bytes(take(&mut rest)?),
            parallelism: u32::from_be_bytes(take(&mut rest)?),
        };
        let kdf = match kdf {
            KDF_HKDF_SHA256 if params == NO_PARAMS => Kdf::HkdfSha256,
            KDF_HKDF_SHA256 => return Err(corrupt("the header has argon2 parameters, but asks for a master key")),
            KDF_ARGON2ID => {
                params.check(ErrorKind::Corrupt)?;
                Kdf::Argon2id(params)
            }
            other => return Err(unsupported(format!("the header asks for key derivation {other}, which is unknown"))),
        };
        if reserved != 0 {
            return Err(corrupt("a reserved byte of the header is not zero"));
        }
        Ok(Self { form, kdf, salt: take(&mut rest)?, id: take(&mut rest)? })
    }
}

const NO_PARAMS: Argon2Params = Argon2Params { memory_kib: 0, iterations: 0, parallelism: 0 };

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N]> {
    let (field, behind) = rest.split_first_chunk().ok_or_else(|| corrupt("the header is cut short"))?;
    *rest = behind;
    Ok(*field)
}

fn corrupt(message: &'static str) -> Error {
    Error::new(ErrorKind::Corrupt, message)
}

fn unsupported(message: String) -> Error {
    Error::new(ErrorKind::UnsupportedVersion, message)
}
