//! [`Random`]: small numbers from a seed that a test prints and takes from `MLS_KEEP_SEED`.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

/// A generator for choices of tests, not for keys (splitmix64).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// From a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// From the environment variable `MLS_KEEP_SEED`, or any seed. Prints which, and what to set to have it again.
    ///
    /// # Panics
    /// If the variable is no number.
    #[must_use]
    pub fn from_environment() -> Self {
        let seed = match std::env::var("MLS_KEEP_SEED") {
            Ok(seed) => seed.parse().expect("MLS_KEEP_SEED is a number"),
            // The only randomness that the standard library has.
            Err(_) => RandomState::new().hash_one(0) >> 16,
        };
        println!("seed: run again with MLS_KEEP_SEED={seed}");
        Self::new(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.bits() % end as u64) as usize
    }

    /// Bytes that do not compress.
    #[must_use]
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        std::iter::repeat_with(|| self.bits().to_be_bytes()).flatten().take(len).collect()
    }
}
