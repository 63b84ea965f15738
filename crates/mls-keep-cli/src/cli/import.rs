//! The commands about coming from elsewhere.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum, ValueHint};
use mls_keep::import::SKIPPED;

#[derive(Debug, Subcommand)]
pub(crate) enum ImportCommand {
    /// From a database of openmls_sqlite_storage or openmls_sqlx_storage, or the JSON file of openmls_memory_storage
    ///
    /// Makes the client, and the keep if there is none, and takes over its groups, key packages, pre-shared keys and signature
    /// keys; what cannot be taken over is left, and said. Running it again does no harm. If the file is of several
    /// identities, --identity chooses one.
    ///
    /// End the other application first, and delete its file afterwards: it would use the same keys again.
    Openmls {
        /// The file; it is only read
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
        /// How a database encodes its values; what it looks like, if this is not given
        #[arg(long, value_enum)]
        codec: Option<Codec>,
        /// In each group, skip the keys of so many messages, which may have been sent and are not in the file
        #[arg(long, value_name = "MESSAGES", default_value_t = SKIPPED)]
        skip: u32,
    },
}

/// How a database encodes its values.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Codec {
    /// serde_json
    Json,
    /// ciborium
    Cbor,
}
