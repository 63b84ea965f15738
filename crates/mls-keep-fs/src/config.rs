//! [`Config`]: how the directory is opened and what an acknowledged commit survives.

use std::time::Duration;

use mls_keep_core::{Durability, Error, ErrorKind, Result};

/// Longest value, bytes: 16 times what the contract asks for. It bounds what a damaged file can make a reader allocate.
pub const MAX_VALUE_LEN: usize = 16 << 20;

/// Longest commit, bytes of all its keys and values: 16 values of the greatest length. A longer one is
/// [`ErrorKind::Invalid`]. It bounds what a damaged file can make a reader do.
pub const MAX_COMMIT_LEN: usize = 256 << 20;

/// Most that [`Config::checkpoint_len`] may be.
pub(crate) const MAX_CHECKPOINT_LEN: u32 = 1 << 30;

/// How an [`FsBackend`](crate::FsBackend) opens its directory. The default is the safest choice for each field.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Config {
    /// How long opening waits for another holder of the directory before it is [`ErrorKind::Busy`]. 5 seconds by default.
    pub busy_timeout: Duration,
    /// Whether a directory that is not there is made. On by default; when off, a missing one is [`ErrorKind::NotFound`].
    pub create: bool,
    /// What an acknowledged commit survives.
    ///
    /// [`Durability::PowerLoss`], the default, flushes the log before a commit is acknowledged.
    /// [`Durability::ProcessCrash`] leaves that to the operating system: power loss then undoes the last commits, which
    /// for an MLS client means that keys may be used twice. [`Durability::None`] is [`ErrorKind::Invalid`].
    pub durability: Durability,
    /// How long the log may grow before its values go to files of their own, bytes. 1 MiB by default, which is also the
    /// room that an empty store takes; at most 1 GiB.
    ///
    /// Each value that is still in the log then costs a file and a flush. With many busy clients on one directory most
    /// values are, and 16 MiB lets that happen a sixteenth as often; opening after a crash reads that much, and gives
    /// each of its values a file.
    pub checkpoint_len: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            busy_timeout: Duration::from_secs(5),
            create: true,
            durability: Durability::PowerLoss,
            checkpoint_len: 1 << 20,
        }
    }
}

impl Config {
    pub(crate) fn check(&self) -> Result<()> {
        if self.durability == Durability::None {
            return Err(Error::new(
                ErrorKind::Invalid,
                "files always survive the end of the process: choose Durability::ProcessCrash or PowerLoss",
            ));
        }
        if self.checkpoint_len > MAX_CHECKPOINT_LEN {
            return Err(Error::new(ErrorKind::Invalid, "checkpoint_len is more than 1 GiB"));
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
    fn what_makes_no_sense_is_invalid() {
        let none = Config { durability: Durability::None, ..Config::default() };
        let long = Config { checkpoint_len: u32::MAX, ..Config::default() };
        for config in [none, long] {
            assert_eq!(config.check().unwrap_err().kind(), ErrorKind::Invalid);
        }
    }
}
