//! Padded lengths: Padmé (Nikitin et al., "Reducing Metadata Leakage from Encrypted Files and Communication with
//! PURBs", PETS 2019, section 4).

/// Shorter plaintexts are padded to this: small groups and small records look alike.
const MIN_LEN: usize = 256;

/// The length that `len` bytes are padded to before they are sealed: at least 256, and above that a length whose
/// floating-point mantissa is no longer than its exponent. A length leaks O(log log n) bits and grows by less than
/// 1 part in 16.
///
/// `len` is the length of something in memory, so at most `isize::MAX`, and nothing here overflows.
pub(crate) fn padded_len(len: usize) -> usize {
    if len <= MIN_LEN {
        return MIN_LEN;
    }
    let exponent = len.ilog2();
    let mantissa_bits = exponent.ilog2() + 1;
    let mask = (1 << (exponent - mantissa_bits)) - 1;
    (len + mask) & !mask
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const MIB: usize = 1 << 20;

    #[test]
    fn never_shorter_and_never_smaller_for_more() {
        let mut previous = 0;
        for len in 0..=MIB {
            let padded = padded_len(len);
            assert!(padded >= len.max(previous), "{len}");
            assert_eq!(padded_len(padded), padded, "a padded length stays as it is");
            previous = padded;
        }
    }

    #[test]
    fn costs_little_and_tells_little() {
        let worst = (MIN_LEN + 1..=MIB).map(|len| (padded_len(len) - len) as f64 / len as f64).fold(0.0, f64::max);
        assert!((0.05..0.0625).contains(&worst), "worst overhead above 256 bytes is {worst}");
        let sizes: BTreeSet<usize> = (0..=MIB).map(padded_len).collect();
        assert_eq!(sizes.len(), 257);
    }

    #[test]
    fn agrees_with_the_paper() {
        // Worked by hand: 16,385 has exponent 14, which has 4 bits, so of its 14 low bits 10 must be zero.
        for (len, padded) in [(0, 256), (256, 256), (257, 272), (1000, 1024), (16_385, 17_408), (1_000_000, 1_015_808)]
        {
            assert_eq!(padded_len(len), padded, "{len}");
        }
    }

    #[test]
    fn holds_for_the_largest_length_in_memory() {
        let len = isize::MAX as usize;
        assert_eq!(padded_len(len), len + 1);
    }
}
