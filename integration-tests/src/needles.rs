//! [`Needles`]: secrets, and whether they stand anywhere in some bytes, raw or as text.

use std::collections::HashSet;

use data_encoding::{BASE64_NOPAD, BASE64URL_NOPAD, HEXLOWER};

/// Secrets by name, in all the forms that are looked for.
#[derive(Debug, Default)]
pub struct Needles {
    forms: Vec<(String, Vec<u8>)>,
}

impl Needles {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Looks for `secret`: as it is, in hex, in base64 at all three places within a group, and as numbers in a list.
    ///
    /// # Panics
    /// If it is so short that it stands anywhere by chance.
    pub fn add(&mut self, name: &str, secret: &[u8]) {
        assert!(secret.len() >= 6, "{name} is too short to be looked for");
        let mut add = |form: &str, bytes: Vec<u8>| self.forms.push((format!("{name} ({form})"), bytes));
        add("raw", secret.to_vec());
        let hex = HEXLOWER.encode(secret);
        add("HEX", hex.to_uppercase().into_bytes());
        add("hex", hex.into_bytes());
        for (form, encoding) in [("base64", BASE64_NOPAD), ("base64url", BASE64URL_NOPAD)] {
            for shift in 0..3 {
                // What stands before and behind it would change the characters at both ends.
                let text = encoding.encode(&[&vec![0; shift], secret].concat());
                let from = if shift == 0 { 0 } else { shift + 1 };
                add(form, text.as_bytes()[from..text.len() - 1].to_vec());
            }
        }
        let numbers: Vec<_> = secret.iter().map(u8::to_string).collect();
        add("list", numbers.join(", ").into_bytes());
    }

    /// The names of those that are in `bytes`.
    #[must_use]
    pub fn in_bytes(&self, bytes: &[u8]) -> Vec<&str> {
        let mut found = Vec::new();
        for (name, form) in &self.forms {
            if bytes.windows(form.len()).any(|window| window == form) {
                found.push(name.as_str());
            }
        }
        found
    }
}

/// Whether any run of 16 bytes of `secret` stands in one of `files`. Runs of few different bytes do not count: they stand
/// everywhere.
#[must_use]
pub fn shares_a_run(secret: &[u8], files: &HashSet<&[u8]>) -> bool {
    secret.windows(16).any(|run| {
        let different: HashSet<_> = run.iter().collect();
        different.len() >= 8 && files.contains(run)
    })
}

/// All runs of 16 bytes.
#[must_use]
pub fn runs(bytes: &[u8]) -> HashSet<&[u8]> {
    bytes.windows(16).collect()
}
