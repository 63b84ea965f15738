//! The name of a value's file: safe on every system, and the key can be read back from it.

use mls_keep_core::Key;

/// The file name of `key`: at most 130 bytes of `[a-z0-9._+=-]`.
///
/// `/` becomes `+`, which no key has. With `=` at both ends no name is hidden, ends in a dot, or is one that Windows keeps
/// for itself, such as `con` and `nul.x`. Keys have no capital letters, so names do not meet where case does not count.
pub(crate) fn name_of(key: &Key) -> String {
    format!("={}=", key.as_str().replace('/', "+"))
}

/// The key whose file has this name, if there is one.
pub(crate) fn key_of(name: &str) -> Option<Key> {
    let name = name.strip_prefix('=')?.strip_suffix('=')?;
    if name.contains('/') {
        return None;
    }
    Key::new(&name.replace('+', "/")).ok()
}

#[cfg(test)]
mod tests {
    use mls_keep_core::limits::MAX_KEY_LEN;

    use super::*;

    #[test]
    fn each_key_has_a_name_of_its_own_that_leads_back() {
        let long = "k".repeat(MAX_KEY_LEN);
        let keys = ["a", "a/b", "a-b", "a.b", "a_b", "con", "nul.x", "a.", ".a", "r/7-_.x/y", long.as_str()];
        let mut names = std::collections::BTreeSet::new();
        for key in keys.map(|key| Key::new(key).unwrap()) {
            let name = name_of(&key);
            assert!(name.len() <= MAX_KEY_LEN + 2 && !name.contains('/') && !name.starts_with('.'));
            assert_eq!(key_of(&name), Some(key));
            assert!(names.insert(name));
        }
    }

    #[test]
    fn other_names_are_of_no_key() {
        for name in ["", "=", "==", "a", "=a", "a=", "=A=", "=a/b=", "=+=", "=..=", "new-1"] {
            assert_eq!(key_of(name), None, "{name}");
        }
    }
}
