//! Values over the inline limit, cut into chunks.

/// Where the parts of a stored value are.
pub(crate) struct Layout;
