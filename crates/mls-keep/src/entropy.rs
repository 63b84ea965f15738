//! [`SystemEntropy`]: the operating system's random generator.

use mls_keep_core::{Entropy, Error, ErrorKind, Result};

/// The operating system's random generator.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, out: &mut [u8]) -> Result<()> {
        getrandom::fill(out).map_err(|error| {
            Error::new(ErrorKind::Unavailable, "the operating system gives no random bytes").with_source(error)
        })
    }
}
