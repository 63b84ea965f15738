//! Every maximum in one place. Crossing one is [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) on the way in and
//! [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) on the way out, before memory is taken.

/// Longest [`Key`](crate::Key), bytes.
pub const MAX_KEY_LEN: usize = 128;

/// Longest identity of a client, bytes.
pub const MAX_IDENTITY_LEN: usize = 512;

/// Longest name of a scope, bytes. MLS group ids are at most one less.
pub const MAX_SCOPE_LEN: usize = 256;

/// Longest key of a record in a sealed map, bytes.
pub const MAX_RECORD_KEY_LEN: usize = 512;

/// Largest value of a record in a sealed map, bytes.
pub const MAX_VALUE_LEN: usize = 64 << 20;

/// Largest node before compression, padding and sealing, bytes.
pub const MAX_NODE_LEN: usize = 16 << 10;

/// Largest stored node, bytes: the node, its 10-byte frame, the worst padding and the tag.
pub const MAX_STORED_NODE_LEN: usize = MAX_NODE_LEN + MAX_NODE_LEN / 8 + 64;

/// Largest stored root or header, bytes.
pub const MAX_STORED_ROOT_LEN: usize = 1 << 20;

/// Deepest sealed map, levels of nodes. With the smallest fan-out this is far beyond what fits on a disk.
pub const MAX_DEPTH: usize = 12;

/// What every backend must be able to store as one value, bytes.
pub const MIN_BACKEND_VALUE_LEN: usize = MAX_STORED_ROOT_LEN;
