//! The steps of destroying keys, in order: the places where a test kills the process.

/// What has just happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// The order has come; nothing is changed.
    Ordered,
    /// The new root key is on disk, and nothing names it.
    NewRoot,
    /// The transaction is whole and not committed.
    Written,
    /// The transaction is durable: the new root key is named, the old one is still there.
    Committed,
    /// The old root key is overwritten, its file is still there.
    Overwritten,
    /// The old root key is gone.
    OldRootGone,
    /// The write-ahead log is truncated.
    Truncated,
    /// Some ciphertext of the destroyed keys is gone.
    Swept,
}

#[cfg(test)]
impl Step {
    pub(crate) const ALL: [Self; 8] = [
        Self::Ordered,
        Self::NewRoot,
        Self::Written,
        Self::Committed,
        Self::Overwritten,
        Self::OldRootGone,
        Self::Truncated,
        Self::Swept,
    ];
}

/// Called as each step is done. Outside tests it does nothing.
#[cfg(not(test))]
#[inline]
pub(crate) fn reached(_: Step) {}

#[cfg(test)]
pub(crate) use super::tests::kill::reached;
