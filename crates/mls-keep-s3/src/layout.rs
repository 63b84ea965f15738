//! Where the value of a key is: the object `v/KEY`, or with the root whose commits write it.

use mls_keep_core::names::{NODES, ROOTS};
use mls_keep_core::{Key, Result};

/// What the names of all objects with values begin with.
pub(crate) const VALUES: &str = "v/";
/// What the names of the objects of a probe begin with.
pub(crate) const PROBES: &str = "probe/";

/// The name of the object of `key`.
pub(crate) fn name(key: &Key) -> String {
    format!("{VALUES}{key}")
}

/// Whether nodes may ride in the object of `key`.
pub(crate) fn is_root(key: &Key) -> bool {
    key.as_str().starts_with(ROOTS)
}

/// The roots in whose objects there may be keys that begin with `prefix`.
pub(crate) enum Roots {
    None,
    One(Key),
    /// All whose keys begin so.
    Prefix(String),
}

pub(crate) fn roots_of(prefix: &str) -> Result<Roots> {
    if NODES.starts_with(prefix) {
        return Ok(Roots::Prefix(ROOTS.to_owned()));
    }
    let Some(rest) = prefix.strip_prefix(NODES) else { return Ok(Roots::None) };
    Ok(match rest.split_once('/') {
        // No key begins with an empty segment.
        Some(("", _)) => Roots::None,
        Some((owner, _)) => Key::new(&format!("{ROOTS}{owner}")).map_or(Roots::None, Roots::One),
        None => Roots::Prefix(format!("{ROOTS}{rest}")),
    })
}

#[cfg(test)]
mod tests {
    use mls_keep_core::names::root_of;

    use super::*;

    #[test]
    fn a_node_rides_with_the_root_of_its_owner() {
        let root = |key: &str| root_of(&Key::new(key).unwrap()).map(|root| root.to_string());
        assert_eq!(root("n/x/1").as_deref(), Some("r/x"));
        assert_eq!(root("n/x/1/2").as_deref(), Some("r/x"));
        for key in ["n/x", "header", "r/x", "m/x/1"] {
            assert_eq!(root(key), None, "{key}");
        }
    }

    #[test]
    fn a_listing_asks_the_roots_that_matter() {
        let roots = |prefix: &str| match roots_of(prefix).unwrap() {
            Roots::None => "none".to_owned(),
            Roots::One(key) => format!("one {key}"),
            Roots::Prefix(prefix) => format!("all {prefix}"),
        };
        for (prefix, wanted) in [
            ("", "all r/"),
            ("n", "all r/"),
            ("n/", "all r/"),
            ("n/x", "all r/x"),
            ("n/x/", "one r/x"),
            ("n/x/1", "one r/x"),
        ] {
            assert_eq!(roots(prefix), wanted, "{prefix}");
        }
        for prefix in ["h", "r/x", "n//", "nn"] {
            assert_eq!(roots(prefix), "none", "{prefix}");
        }
    }
}
