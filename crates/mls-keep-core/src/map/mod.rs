//! The sealed map: an ordered map of byte keys to byte values, stored as nodes. The only data structure on disk.
//!
//! `tree` is the map, `node` the encoding of one block, `chunk` what becomes of long values, `parts` where these are,
//! `cutter` where they are cut, `bulk` a map that is made at once, `leaves` one that is read from its beginning to its end,
//! `frame` and `packer` compression and padding, `store` reading and sealing, `pointer` the name and the key of a node, `names`
//! the nodes that a map consists of.

mod bulk;
mod chunk;
mod cutter;
mod frame;
#[cfg(test)]
pub(crate) mod fuzz;
mod leaves;
mod names;
mod node;
mod packer;
mod parts;
mod pointer;
mod range;
mod store;
#[cfg(test)]
mod tests;
mod tree;
mod value;

pub(crate) use bulk::BulkTree;
pub(crate) use chunk::{load as load_long, replace as replace_long, write as write_value};
pub(crate) use leaves::{Leaf, Leaves, read_leaves};
pub(crate) use names::names_below;
pub(crate) use node::{
    GarbagePage, LeafEntries, LeafEntry, LeafSlice, LeafValue, MAX_PAGE_NAMES, Node, decode_chunk, decode_index,
};
pub(crate) use packer::{Packer, Unpacker};
pub(crate) use parts::Part;
pub(crate) use pointer::{NodeName, Pointer};
pub use range::RecordRange;
pub(crate) use store::{Batch, NodeStore, Written};
pub(crate) use tree::{Edits, Tree};
pub use value::Value;
