//! [`Garbage`]: the nodes that a root lists to be deleted, until they are (docs/format.md, "Root").

use std::sync::Arc;

use crate::codec::{Reader, Writer};
use crate::error::{Error, ErrorKind, Result};
use crate::map::{Batch, GarbagePage, MAX_PAGE_NAMES, NodeName, NodeStore, Pointer};

/// Names that stand in the root itself. More of them go into nodes, so no list is too long for a root.
const MAX_NAMES: usize = 256;

const NO_PAGES: u8 = 0;
const PAGES: u8 = 1;

/// Nodes that no root names any more and that are to be deleted. Only where deletes do not ride in the commit.
#[derive(Clone, Default)]
pub(crate) struct Garbage {
    names: Vec<NodeName>,
    /// The newest of the pages that hold further names. Each points to the one before it.
    pages: Option<Arc<Pointer>>,
}

/// A list with its pages read.
#[derive(Default)]
pub(crate) struct Listed {
    /// Nodes to delete.
    pub(crate) names: Vec<NodeName>,
    /// The pages themselves: nodes that the root still names.
    pub(crate) pages: Vec<NodeName>,
}

impl Garbage {
    /// Whether it has more than `count` names, a number below those that stand in the root itself.
    pub(crate) fn is_longer_than(&self, count: usize) -> bool {
        self.pages.is_some() || self.names.len() > count
    }

    pub(crate) fn pages(&self) -> Option<&Arc<Pointer>> {
        self.pages.as_ref()
    }

    /// Adds `names`. What does not fit the root becomes nodes of `batch`.
    pub(crate) fn extend(&mut self, batch: &mut Batch<'_>, names: impl IntoIterator<Item = NodeName>) -> Result<()> {
        self.names.extend(names);
        while self.names.len() > MAX_NAMES {
            let page = self.names.split_off(self.names.len().saturating_sub(MAX_PAGE_NAMES));
            self.pages = Some(batch.write_block(GarbagePage { names: page, before: self.pages.take() }.encode())?);
        }
        Ok(())
    }

    /// All names, those in nodes too.
    pub(crate) async fn list(&self, store: &NodeStore) -> Result<Listed> {
        let mut listed = Listed { names: self.names.clone(), pages: Vec::new() };
        let mut next = self.pages.clone();
        while let Some(pointer) = next {
            let blocks = store.blocks(&[&pointer]).await?;
            let page = GarbagePage::decode(blocks.first().map_or(&[], |block| block.as_slice()))?;
            listed.pages.push(*pointer.name());
            listed.names.extend(page.names);
            next = page.before;
        }
        Ok(listed)
    }

    pub(crate) fn encoded_len(&self) -> usize {
        4 + self.names.len() * size_of::<NodeName>() + 1 + 32
    }

    pub(crate) fn encode(&self, out: &mut Writer) {
        out.u32(self.names.len() as u32);
        for name in &self.names {
            out.raw(name);
        }
        match &self.pages {
            None => out.u8(NO_PAGES),
            Some(pointer) => {
                out.u8(PAGES);
                out.raw(pointer.expose());
            }
        }
    }

    pub(crate) fn decode(input: &mut Reader<'_>) -> Result<Self> {
        let count = input.u32()? as usize;
        let mut names = Vec::with_capacity(input.count(count, size_of::<NodeName>())?);
        for _ in 0..count {
            names.push(input.array()?);
        }
        let pages = match input.u8()? {
            NO_PAGES => None,
            PAGES => Some(Pointer::from_bytes(input.array()?)),
            _ => return Err(Error::new(ErrorKind::Corrupt, "a root's list of garbage is of an unknown kind")),
        };
        Ok(Self { names, pages })
    }
}
