//! A write whose reply is lost, and that lands later.

mod backend;
mod world;

pub use backend::{Landing, Late, LateBackend};
pub use world::{Before, Checked, First, Next, Said, World};
