//! The cases, by subject. Each is a plain function that panics when the backend breaks the contract.

pub mod commit;
pub mod concurrency;
pub mod connections;
pub mod errors;
pub mod keep;
pub mod limits;
pub mod list;
pub mod many;
pub mod processes;
pub mod reopen;
pub mod single;
pub mod swap;
