//! A slice that the threads of a team write together, each in places of its own.

use std::marker::PhantomData;
use std::ops::Range;

/// Mutable numbers, lent out in ranges.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shares<'a, T> {
    start: *mut T,
    length: usize,
    lent: PhantomData<&'a mut [T]>,
}

#[expect(unsafe_code, reason = "threads write one slice in disjoint ranges; see SAFETY")]
// SAFETY: a `Shares` gives nothing away but through `range`, whose callers keep ranges apart.
unsafe impl<T: Send> Sync for Shares<'_, T> {}
#[expect(unsafe_code, reason = "threads write one slice in disjoint ranges; see SAFETY")]
// SAFETY: as above.
unsafe impl<T: Send> Send for Shares<'_, T> {}

impl<'a, T> Shares<'a, T> {
    pub(crate) fn new(numbers: &'a mut [T]) -> Self {
        Self { start: numbers.as_mut_ptr(), length: numbers.len(), lent: PhantomData }
    }

    pub(crate) fn length(&self) -> usize {
        self.length
    }

    /// Lends a range.
    ///
    /// # Panics
    /// Panics when the range is not inside.
    ///
    /// # Safety
    /// No two ranges that are lent at the same time overlap.
    #[expect(unsafe_code, reason = "that is what it is for; see Safety")]
    pub(crate) unsafe fn range(&self, range: Range<usize>) -> &'a mut [T] {
        assert!(range.start <= range.end && range.end <= self.length, "{range:?} of {}", self.length);
        // SAFETY: the range lies in the slice that this value borrows for `'a`, and the caller keeps it apart from others.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }
}
