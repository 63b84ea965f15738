//! A write whose reply is lost, and that lands later.

mod world;

pub use mls_keep_conformance::late::{Landing, Late, LateBackend};
pub use world::{Before, Checked, First, Next, Said, World};
