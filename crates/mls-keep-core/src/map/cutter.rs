//! [`Cutter`]: where a long value is cut into chunks.

use fastcdc::v2020::{Normalization, cut_gear, get_gear_with_seed, select_masks};
use zeroize::{ZeroizeOnDrop, Zeroizing};

/// Chunk lengths, bytes (docs/decisions/0003-node-sizes.md).
pub(super) const MIN_CHUNK_LEN: usize = 2 << 10;
const AVG_CHUNK_LEN: usize = 8 << 10;
const MAX_CHUNK_LEN: usize = 15 << 10;

/// FastCDC (2020) over tables of the client's own. `fastcdc`'s own cutter frees such tables as they are, and they give
/// away the seed: its public tables are what they were made from.
pub(super) struct Cutter {
    gear: Zeroizing<Vec<u64>>,
    gear_shifted: Zeroizing<Vec<u64>>,
    strict: u64,
    relaxed: u64,
}

impl Cutter {
    pub(super) fn new(seed: u64) -> Self {
        let (gear, gear_shifted) = get_gear_with_seed(0);
        let (strict, relaxed) = select_masks(AVG_CHUNK_LEN, Normalization::Level1);
        Self { gear: mixed(&gear, seed), gear_shifted: mixed(&gear_shifted, seed << 1), strict, relaxed }
    }

    /// The length of the chunk that `rest` begins with.
    pub(super) fn cut(&self, rest: &[u8]) -> usize {
        let (strict, relaxed) = (self.strict, self.relaxed);
        let (min, avg, max) = (MIN_CHUNK_LEN, AVG_CHUNK_LEN, MAX_CHUNK_LEN);
        let (gear, shifted) = (&self.gear, &self.gear_shifted);
        cut_gear(rest, min, avg, max, strict, relaxed, strict << 1, relaxed << 1, gear, shifted).1
    }
}

impl ZeroizeOnDrop for Cutter {}

fn mixed(table: &[u64], seed: u64) -> Zeroizing<Vec<u64>> {
    Zeroizing::new(table.iter().map(|entry| entry ^ seed).collect())
}

#[cfg(test)]
mod tests {
    use fastcdc::v2020::FastCDC;
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn it_cuts_where_fastcdc_does() {
        let value: Vec<u8> = (0..10_000_u64).flat_map(|at| Sha256::digest(at.to_be_bytes())).collect();
        for seed in [1, 0x1234_5678_9abc_def0, u64::MAX] {
            let (min, avg, max) = (MIN_CHUNK_LEN, AVG_CHUNK_LEN, MAX_CHUNK_LEN);
            let theirs = FastCDC::with_level_and_seed(&value, min, avg, max, Normalization::Level1, seed);
            let theirs: Vec<_> = theirs.map(|chunk| chunk.length).collect();
            let (cutter, mut rest, mut ours) = (Cutter::new(seed), value.as_slice(), Vec::new());
            while !rest.is_empty() {
                ours.push(cutter.cut(rest));
                rest = &rest[ours[ours.len() - 1]..];
            }
            assert_eq!(ours, theirs, "seed {seed:#x}");
            assert!(ours.iter().filter(|len| (MIN_CHUNK_LEN + 1..MAX_CHUNK_LEN).contains(len)).count() > 20);
        }
    }
}
