//! The envelope: everything that turns secrets and plaintext into what a backend may see (docs/format.md, "Envelope").
//!
//! Two primitives only, HKDF-SHA256 (RFC 5869) and AES-256-GCM, and argon2id (RFC 9106) where a keep is opened by a
//! passphrase. Records that are rewritten under one key are sealed as a [`body`]; a [`node`] has a key of its own.

mod body;
mod encryption;
mod header;
mod node;
mod pad;
mod passphrase;
mod stream;

pub use encryption::Encryption;
pub use passphrase::Argon2Params;

pub(crate) use body::{OpenError, open, seal};
pub(crate) use encryption::extract;
pub(crate) use header::{Form, HEADER_PREFIX_LEN, HeaderPrefix};
pub(crate) use node::{NODE_OVERHEAD, node_name, open_node, seal_node};
pub(crate) use pad::padded_len;
pub(crate) use stream::{CHUNK_LEN, ChunkOpener, ChunkSealer, HEAD_LEN, TAG_LEN};

#[cfg(test)]
mod tests;
