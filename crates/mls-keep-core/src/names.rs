//! The keys under which a keep stores what it has (`docs/format.md`, "Keys of the backend").
//!
//! An adapter may lay out its storage by them, as S3's does, which writes small nodes with the root that names them. It must
//! store every other [`Key`] as well.
//!
//! ```
//! use mls_keep_core::{Key, names};
//!
//! let node = Key::new("n/000g40o40k30e209185gk/0123")?;
//! assert_eq!(names::root_of(&node).unwrap().as_str(), "r/000g40o40k30e209185gk");
//! # Ok::<(), mls_keep_core::Error>(())
//! ```

use crate::key::Key;

/// The key of the keep's header.
pub const HEADER: &str = "header";

/// What the keys of roots begin with. The client's token follows.
pub const ROOTS: &str = "r/";

/// What the keys of nodes begin with. The client's token, a `/` and the node's name follow.
pub const NODES: &str = "n/";

/// The key of the root whose commits write and delete `node`; `None` if it is no key of a node.
#[must_use]
pub fn root_of(node: &Key) -> Option<Key> {
    let (token, _) = node.as_str().strip_prefix(NODES)?.split_once('/')?;
    Key::new(&format!("{ROOTS}{token}")).ok()
}
