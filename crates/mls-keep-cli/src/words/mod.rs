//! Passphrases of six words, from the long list of the Electronic Frontier Foundation: 77 bits.

use mls_keep::{Entropy, Result, SystemEntropy};
use zeroize::Zeroizing;

/// 7776 words, one a line (see `LICENSE` beside it).
const LIST: &str = include_str!("eff_large_wordlist.txt");
const COUNT: u16 = 7776;
const WORDS: usize = 6;
/// Longest of the words, bytes.
const MAX_WORD_LEN: usize = 9;

/// Six words that were drawn at random, with hyphens between them.
pub(crate) fn passphrase() -> Result<Zeroizing<String>> {
    let mut words = Zeroizing::new(String::with_capacity(WORDS * (MAX_WORD_LEN + 1)));
    for at in 0..WORDS {
        if at > 0 {
            words.push('-');
        }
        words.push_str(LIST.lines().nth(usize::from(number()?)).unwrap_or_default());
    }
    Ok(words)
}

/// A number below [`COUNT`], each as likely as the others.
fn number() -> Result<u16> {
    let mut bytes = Zeroizing::new([0; 2]);
    loop {
        SystemEntropy.fill(bytes.as_mut_slice())?;
        let drawn = u16::from_be_bytes(*bytes);
        if drawn < u16::MAX / COUNT * COUNT {
            return Ok(drawn % COUNT);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_passphrase_is_six_words_of_the_list() {
        let words: HashSet<_> = LIST.lines().collect();
        assert_eq!(words.len(), usize::from(COUNT));
        assert_eq!(words.iter().map(|word| word.len()).max(), Some(MAX_WORD_LEN));
        let drawn: HashSet<_> = (0..100).map(|_| passphrase().unwrap().to_string()).collect();
        assert_eq!(drawn.len(), 100);
        for passphrase in drawn {
            // Four of the words have a hyphen themselves.
            assert!(passphrase.split('-').count() >= WORDS, "{passphrase}");
            assert!(passphrase.len() <= WORDS * (MAX_WORD_LEN + 1));
        }
    }
}
