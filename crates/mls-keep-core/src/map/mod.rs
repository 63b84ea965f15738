//! The sealed map.

mod chunk;
mod value;

pub use value::Value;
