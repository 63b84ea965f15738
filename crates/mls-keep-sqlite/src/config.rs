//! [`Config`]: how the file is opened and what an acknowledged commit survives.

use std::time::Duration;

use mls_keep_core::{Durability, Error, ErrorKind, Result};

/// Longest value, bytes: 16 times what the contract asks for. It bounds what a damaged or forged file can make a reader
/// allocate.
pub const MAX_VALUE_LEN: usize = 16 << 20;

/// How an [`SqliteBackend`](crate::SqliteBackend) opens its file. The default is the safest choice for each field.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Config {
    /// How long a write waits for another process to finish its own before it is [`ErrorKind::Busy`]; an opening that
    /// finds something in the log waits as long. 5 seconds by default, at most `i32::MAX` milliseconds.
    pub busy_timeout: Duration,
    /// Whether a file that is not there is made. On by default; when off, a missing file is [`ErrorKind::NotFound`].
    pub create: bool,
    /// What an acknowledged commit survives.
    ///
    /// [`Durability::PowerLoss`], the default, flushes the write-ahead log before a commit is acknowledged
    /// (`synchronous=FULL`). [`Durability::ProcessCrash`] leaves that to the operating system (`synchronous=NORMAL`):
    /// power loss then undoes the last commits, which for an MLS client means that keys may be used twice. An opening then
    /// does not flush either what others have left in the log, so all who share a file should choose the same.
    /// [`Durability::None`] is [`ErrorKind::Invalid`].
    pub durability: Durability,
}

impl Default for Config {
    fn default() -> Self {
        Self { busy_timeout: Duration::from_secs(5), create: true, durability: Durability::PowerLoss }
    }
}

impl Config {
    pub(crate) fn check(&self) -> Result<()> {
        if self.durability == Durability::None {
            return Err(Error::new(
                ErrorKind::Invalid,
                "SQLite always survives the end of the process: choose Durability::ProcessCrash or PowerLoss",
            ));
        }
        // SQLite takes the timeout as an int of milliseconds.
        if i32::try_from(self.busy_timeout.as_millis()).is_err() {
            return Err(Error::new(ErrorKind::Invalid, "busy_timeout is more than i32::MAX milliseconds"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_is_the_safest() {
        let config = Config::default();
        assert_eq!(config.durability, Durability::PowerLoss);
        config.check().unwrap();
    }

    #[test]
    fn no_durability_is_invalid() {
        let config = Config { durability: Durability::None, ..Config::default() };
        assert_eq!(config.check().unwrap_err().kind(), ErrorKind::Invalid);
    }

    #[test]
    fn a_timeout_that_sqlite_cannot_hold_is_invalid() {
        let config = Config { busy_timeout: Duration::MAX, ..Config::default() };
        assert_eq!(config.check().unwrap_err().kind(), ErrorKind::Invalid);
    }
}
