//! [`Changed`]: inputs of a corpus with random changes.

use std::fmt;
use std::ops::Bound;

use bolero::{Driver, ValueGenerator};

/// Most changes that one input gets. Few, so that most of it still means something.
const MOST_CHANGES: usize = 6;

/// Longest piece that one change inserts, removes or copies, bytes.
const MOST_BYTES: usize = 64;

/// Numbers at which lengths and counts go wrong.
const NUMBERS: [u64; 12] =
    [0, 1, 2, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, 0xffff_ffff, i64::MAX as u64, u64::MAX];

/// Generates changed inputs of a corpus, and now and then bytes of its own.
#[derive(Debug)]
pub(crate) struct Changed<'c> {
    pub(crate) corpus: &'c [Vec<u8>],
}

/// Bytes that a failed run prints as far as they can be read; the file has all of them.
#[derive(Clone)]
pub(crate) struct Input(pub(crate) Vec<u8>);

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.get(..256).unwrap_or(&self.0);
        write!(f, "{} bytes: \"{}\"", self.0.len(), shown.escape_ascii())
    }
}

impl ValueGenerator for Changed<'_> {
    type Output = Input;

    fn generate<D: Driver>(&self, driver: &mut D) -> Option<Input> {
        let fresh = self.corpus.is_empty() || below(driver, 16)? == 0;
        let mut bytes = if fresh { random(driver)? } else { self.pick(driver)?.to_vec() };
        for _ in 0..below(driver, MOST_CHANGES + 1)? {
            self.change(driver, &mut bytes)?;
        }
        Some(Input(bytes))
    }
}

impl Changed<'_> {
    fn pick<D: Driver>(&self, driver: &mut D) -> Option<&[u8]> {
        self.corpus.get(below(driver, self.corpus.len())?).map(Vec::as_slice)
    }

    fn change<D: Driver>(&self, driver: &mut D, bytes: &mut Vec<u8>) -> Option<()> {
        let at = below(driver, bytes.len() + 1)?;
        let len = below(driver, MOST_BYTES)?.min(bytes.len() - at);
        match below(driver, 8)? {
            0 => overwrite(bytes, at, &[driver.gen_u8(Bound::Unbounded, Bound::Unbounded)?]),
            1 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << below(driver, 8)?;
                }
            }
            2 => {
                let number = *NUMBERS.get(below(driver, NUMBERS.len())?)?;
                let width = [1, 2, 4, 8].into_iter().nth(below(driver, 4)?)?;
                let big = number.to_be_bytes();
                overwrite(bytes, at, big.get(8 - width..)?);
            }
            3 => bytes.truncate(at),
            4 => drop(bytes.drain(at..at + len)),
            5 => drop(bytes.splice(at..at, random(driver)?)),
            6 => {
                let piece = bytes.get(at..at + len)?.to_vec();
                bytes.splice(at..at, piece);
            }
            _ => {
                let other = if self.corpus.is_empty() { &[] } else { self.pick(driver)? };
                let from = below(driver, other.len() + 1)?;
                let len = below(driver, MOST_BYTES)?.min(other.len() - from);
                overwrite(bytes, at, other.get(from..from + len)?);
            }
        }
        Some(())
    }
}

fn overwrite(bytes: &mut [u8], at: usize, with: &[u8]) {
    for (byte, new) in bytes.iter_mut().skip(at).zip(with) {
        *byte = *new;
    }
}

fn random<D: Driver>(driver: &mut D) -> Option<Vec<u8>> {
    let len = below(driver, MOST_BYTES)?;
    (0..len).map(|_| driver.gen_u8(Bound::Unbounded, Bound::Unbounded)).collect()
}

/// A number below `end`, which is not 0.
fn below<D: Driver>(driver: &mut D, end: usize) -> Option<usize> {
    driver.gen_usize(Bound::Included(&0), Bound::Excluded(&end))
}
