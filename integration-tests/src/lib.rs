//! What the tests of mls-keep as a whole share: the adapters, what is compared before and after, and the pair of
//! clients that is killed.

// A test fails by panicking.
#![allow(clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)]

pub mod adapter;
pub mod bucket;
pub mod generations;
pub mod guarantees;
pub mod interval;
pub mod killed;
pub mod late;
pub mod mail;
pub mod needles;
pub mod observe;
pub mod operation;
pub mod pair;
pub mod power_loss;
pub mod random;
pub mod rollback;
pub mod senders;
pub mod store;
pub mod strace;
pub mod wait;
pub mod world;

/// The examples of these pages compile.
#[cfg(doctest)]
macro_rules! pages {
    ($($name:ident: $page:literal),* $(,)?) => {
        $(#[doc = include_str!($page)] pub struct $name;)*
    };
}

#[cfg(doctest)]
pages! {
    Readme: "../../README.md",
    Client: "../../crates/mls-keep/README.md",
    Core: "../../crates/mls-keep-core/README.md",
    Fs: "../../crates/mls-keep-fs/README.md",
    Import: "../../crates/mls-keep-import/README.md",
    Redb: "../../crates/mls-keep-redb/README.md",
    S3: "../../crates/mls-keep-s3/README.md",
    Sled: "../../crates/mls-keep-sled/README.md",
    Sqlite: "../../crates/mls-keep-sqlite/README.md",
    AddToAnApplication: "../../docs/add-to-an-application.md",
    ComingFromElsewhere: "../../docs/coming-from-elsewhere.md",
    Keys: "../../docs/keys.md",
}
