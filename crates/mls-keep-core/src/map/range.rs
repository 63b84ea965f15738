//! [`RecordRange`]: which records of a map to read.

use std::ops::Bound;

use zeroize::Zeroizing;

use crate::secret_bytes::SecretBytes;

/// Which records of a map to read, in which direction, and how many at most.
///
/// ```
/// use mls_keep_core::RecordRange;
/// let newest_ten = RecordRange::prefix(b"history/").backwards().limit(10);
/// # let _ = newest_ten;
/// ```
#[derive(Clone, Debug)]
pub struct RecordRange {
    from: Bound<SecretBytes>,
    to: Bound<SecretBytes>,
    pub(crate) limit: usize,
    pub(crate) backwards: bool,
}

impl RecordRange {
    /// Every record.
    #[must_use]
    pub fn all() -> Self {
        Self { from: Bound::Unbounded, to: Bound::Unbounded, limit: usize::MAX, backwards: false }
    }

    /// The records whose keys begin with `prefix`.
    #[must_use]
    pub fn prefix(prefix: &[u8]) -> Self {
        let mut after = Zeroizing::new(prefix.to_vec());
        while after.last() == Some(&u8::MAX) {
            after.pop();
        }
        let to = match after.last_mut() {
            Some(last) => {
                *last += 1;
                Bound::Excluded(after.into())
            }
            None => Bound::Unbounded,
        };
        Self { from: Bound::Included(prefix.into()), to, ..Self::all() }
    }

    /// The records from `from` (inclusive) to `to` (exclusive).
    #[must_use]
    pub fn between(from: &[u8], to: &[u8]) -> Self {
        Self { from: Bound::Included(from.into()), to: Bound::Excluded(to.into()), ..Self::all() }
    }

    /// Of these, the ones after `key`: where an earlier read stopped. With [`backwards`](Self::backwards), those before.
    #[must_use]
    pub fn beyond(mut self, key: &[u8]) -> Self {
        let end = Bound::Excluded(key.into());
        if self.backwards {
            self.to = end;
        } else {
            self.from = end;
        }
        self
    }

    /// At most `count` records.
    #[must_use]
    pub fn limit(mut self, count: usize) -> Self {
        self.limit = count;
        self
    }

    /// The last record first.
    #[must_use]
    pub fn backwards(mut self) -> Self {
        self.backwards = true;
        self
    }

    pub(crate) fn first_key(&self) -> Option<&[u8]> {
        match &self.from {
            Bound::Included(from) | Bound::Excluded(from) => Some(from),
            Bound::Unbounded => None,
        }
    }

    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        let begun = match &self.from {
            Bound::Included(from) => key >= from.as_slice(),
            Bound::Excluded(from) => key > from.as_slice(),
            Bound::Unbounded => true,
        };
        begun && !self.ends_before(key)
    }

    pub(crate) fn ends_before(&self, key: &[u8]) -> bool {
        match &self.to {
            Bound::Included(to) => key > to.as_slice(),
            Bound::Excluded(to) => key >= to.as_slice(),
            Bound::Unbounded => false,
        }
    }
}
