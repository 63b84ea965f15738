//! [`Key`]: the name under which a backend keeps one value.

use std::fmt;
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::limits::MAX_KEY_LEN;

/// The name of one stored value: 1 to [`MAX_KEY_LEN`] bytes of `[a-z0-9._/-]`, in segments separated by `/`.
///
/// No segment is empty, `.` or `..`, so a key is a relative file name and an S3 object key as it stands.
/// Keys order as their bytes do. Cloning is cheap.
///
/// ```
/// use mls_keep_core::Key;
/// let key = Key::new("n/7d3k/0a1b2c")?;
/// assert_eq!(key.as_str(), "n/7d3k/0a1b2c");
/// assert!(Key::new("../passwd").is_err());
/// # Ok::<(), mls_keep_core::Error>(())
/// ```
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Key(Arc<str>);

impl Key {
    /// Checks `name` and makes it a key.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if `name` breaks a rule of the type.
    pub fn new(name: &str) -> Result<Self> {
        if name.is_empty() || name.len() > MAX_KEY_LEN {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("a key has 1 to {MAX_KEY_LEN} bytes, this one {}", name.len()),
            ));
        }
        let allowed = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'/' | b'-');
        if !name.bytes().all(allowed) {
            return Err(Error::new(ErrorKind::Invalid, "a key has only the bytes a-z 0-9 . _ / -"));
        }
        if name.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
            return Err(Error::new(ErrorKind::Invalid, "a key has no empty segment and none that is \".\" or \"..\""));
        }
        Ok(Self(name.into()))
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for Key {
    fn as_ref(&self) -> &str {
        &self.0
    }
}
