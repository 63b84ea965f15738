//! The parts that a long value is stored in: what its leaf says of them, and where all of them are.

use std::sync::Arc;

use super::pointer::Pointer;

/// Where a long value is: `levels` of index nodes above the chunks, 0 if `parts` are the chunks themselves.
#[derive(Clone, Debug)]
pub(crate) struct ChunkList {
    pub(crate) len: usize,
    pub(crate) levels: u8,
    pub(crate) parts: Vec<Part>,
}

/// One chunk, or an index node over several: `len` is how many bytes of the value are below it.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) len: usize,
    pub(crate) pointer: Arc<Pointer>,
}

/// Where the parts of a stored value are.
pub(crate) struct Layout {
    /// From the chunks upwards: each level's parts. The last level is the list in the leaf.
    levels: Vec<Vec<Part>>,
}

impl Layout {
    pub(crate) fn new(levels: Vec<Vec<Part>>) -> Self {
        Self { levels }
    }

    pub(crate) fn levels(&self) -> &[Vec<Part>] {
        &self.levels
    }

    pub(crate) fn chunks(&self) -> &[Part] {
        self.levels.first().map_or(&[], Vec::as_slice)
    }

    pub(crate) fn top(&self) -> &[Part] {
        self.levels.last().map_or(&[], Vec::as_slice)
    }

    /// Whether this is the layout of the value that `list` stands for.
    pub(crate) fn describes(&self, list: &ChunkList) -> bool {
        let top = self.top();
        self.levels.len() == usize::from(list.levels) + 1
            && top.len() == list.parts.len()
            && top.iter().zip(&list.parts).all(|(ours, theirs)| ours.pointer.same(&theirs.pointer))
    }

    pub(crate) fn pointers(&self) -> impl Iterator<Item = &Arc<Pointer>> {
        self.levels.iter().flatten().map(|part| &part.pointer)
    }
}
