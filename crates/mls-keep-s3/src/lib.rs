//! The S3 adapter of mls-keep: [`S3Backend`] keeps everything below one prefix of a bucket, in AWS S3 or
//! any compatible service.
//!
//! **When to choose it.** Where there is no disk that lasts, or where several machines serve one client: the root is replaced
//! by a conditional write, so of any number of writers exactly one wins. Not where each operation has to end within a
//! millisecond: a commit is one round trip to the service, or two.
//!
//! **What it guarantees**, each by a test in the crate:
//!
//! - Whoever loads a root finds all of its nodes. New nodes ride in the root's object while they are small
//!   ([`Config::inline_len`]), or are written before it.
//! - A write whose answer is lost is looked for, not repeated blindly: it ends applied once, not applied, or as
//!   [`OutcomeUnknown`](mls_keep_core::ErrorKind::OutcomeUnknown), in bounded time ([`Config::deadline`]).
//! - Every write has a condition, so one that the network holds back takes the place of no later one. (SeaweedFS refuses that
//!   for a key that is also the folder of others; a keep has no such key, and there the last write wins.)
//! - Nothing is written to a service whose conditional writes do not compare, or whose ETags repeat. It can be read.
//! - An object that comes cut is asked for again, and never taken for a shorter one.
//! - Old versions in a versioned bucket are deleted, or counted ([`Config::old_versions`]). Those of others' objects stay.
//! - No error and no `Debug` shows a credential, a signature or an address.
//!
//! What the service promises it promises: durability is its own. A service whose conditional writes compare first and write
//! later passes the probe, and loses commits; the conformance suite finds that.
//!
//! What S3 cannot give: a deletion has no condition. One that the network holds back until its key is saved again takes what is
//! there then. A keep never saves a key again that it has deleted. Copying a store back to where it was deleted does.
//!
//! Credentials, region and endpoint come from AWS's default chain where [`Config`] names none.

mod answer;
mod backend;
mod bucket;
mod cache;
mod config;
mod error;
#[cfg(test)]
mod fuzz;
mod layout;
mod location;
mod look;
mod object;
mod open;
mod pending;
mod probe;
mod retry;
mod store;
mod swap;
mod versions;

pub use backend::{OldVersionsFound, S3Backend};
pub use config::{Config, Credentials, MAX_INLINE_LEN, MAX_VALUE_LEN, OldVersions, ServerSideEncryption};
pub use error::OfTheService;
pub use location::Location;
