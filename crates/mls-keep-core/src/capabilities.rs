//! [`Capabilities`]: what a backend really promises. The conformance suite tests each promise.

/// What a backend really promises. The weakest promise is the default, so a promise is always spelled out.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Capabilities {
    /// Who may race for a root and still see exactly one winner.
    pub swap: SwapScope,
    /// What an acknowledged commit survives.
    pub durability: Durability,
    /// Whether puts, swap and deletes of a commit are applied together or not at all, and the values of a
    /// [`load_many`](crate::StorageBackend::load_many) are all of one moment.
    pub atomic_commit: bool,
    /// Whether the bytes of deleted and replaced values are gone from the medium's files after `close`.
    pub erases_deleted: bool,
    /// Largest value, bytes. `None` is no limit of its own. At least
    /// [`MIN_BACKEND_VALUE_LEN`](crate::limits::MIN_BACKEND_VALUE_LEN).
    pub max_value_len: Option<usize>,
}

/// Who may race for a root and still see exactly one winner.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub enum SwapScope {
    /// Nobody: a writer must be alone, or commits are lost. What the provided
    /// [`commit`](crate::StorageBackend::commit) gives. Its writes have no condition, so one of unknown outcome must not land
    /// behind a later one: see [`StorageBackend`](crate::StorageBackend#a-write-that-lands-late).
    #[default]
    OneWriter,
    /// Users of one backend value. Two processes, or two backends on one store, can overwrite each other.
    Handle,
    /// One process at a time can have the store open; within it the users of one backend value.
    ExclusiveProcess,
    /// Any number of processes and backends on the same store.
    Everyone,
}

/// What an acknowledged commit survives.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub enum Durability {
    /// Nothing: the data live in memory.
    #[default]
    None,
    /// The end of the process, at any point. Power loss may undo it.
    ProcessCrash,
    /// Power loss, at any point, on a medium that honours flushes.
    PowerLoss,
}

impl Capabilities {
    /// The weakest promises. Add to them with the `with_` methods.
    #[must_use]
    pub fn weakest() -> Self {
        Self::default()
    }

    /// Sets [`swap`](Self::swap).
    #[must_use]
    pub fn with_swap(mut self, swap: SwapScope) -> Self {
        self.swap = swap;
        self
    }

    /// Sets [`durability`](Self::durability).
    #[must_use]
    pub fn with_durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Sets [`atomic_commit`](Self::atomic_commit).
    #[must_use]
    pub fn with_atomic_commit(mut self, atomic: bool) -> Self {
        self.atomic_commit = atomic;
        self
    }

    /// Sets [`erases_deleted`](Self::erases_deleted).
    #[must_use]
    pub fn with_erases_deleted(mut self, erases: bool) -> Self {
        self.erases_deleted = erases;
        self
    }

    /// Sets [`max_value_len`](Self::max_value_len).
    #[must_use]
    pub fn with_max_value_len(mut self, bytes: usize) -> Self {
        self.max_value_len = Some(bytes);
        self
    }
}
