//! Memory of which the workers of a team read and write disjoint parts.
#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::ops::Range;

/// A slice that several workers use at once. In a phase each tile writes parts that no other tile reads or writes; a
/// barrier ends the phase. The compiler cannot check this rule, so the accessors are unsafe, and every call has a
/// comment that says why its part is disjoint from others.
#[derive(Clone, Copy)]
pub struct Shared<'a, T> {
    start: *mut T,
    len: usize,
    owner: PhantomData<&'a mut [T]>,
}

// SAFETY: a `Shared` passes parts of a `&mut [T]` to threads; the accessors' contract keeps the parts disjoint.
unsafe impl<T: Send + Sync> Send for Shared<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for Shared<'_, T> {}

impl<'a, T> Shared<'a, T> {
    /// Shares a slice for as long as the borrow lasts.
    pub fn new(slice: &'a mut [T]) -> Shared<'a, T> {
        Shared { start: slice.as_mut_ptr(), len: slice.len(), owner: PhantomData }
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the slice is empty.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The address of an element, which may be out of bounds: for prefetching only.
    pub fn address(&self, index: usize) -> *const T {
        self.start.wrapping_add(index)
    }

    /// Reads a part.
    ///
    /// # Safety
    /// No thread writes to the part while the result lives.
    pub unsafe fn read(&self, part: Range<usize>) -> &'a [T] {
        assert!(part.start <= part.end && part.end <= self.len);
        // SAFETY: inside the slice (asserted); the caller excludes writers.
        unsafe { std::slice::from_raw_parts(self.start.add(part.start), part.len()) }
    }

    /// Reads the whole slice.
    ///
    /// # Safety
    /// No thread writes to the slice while the result lives.
    pub unsafe fn all(&self) -> &'a [T] {
        // SAFETY: passed on to the caller.
        unsafe { self.read(0..self.len) }
    }

    /// Writes the whole slice.
    ///
    /// # Safety
    /// No other reference to the slice is used while the result lives.
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn all_mut(&self) -> &'a mut [T] {
        // SAFETY: passed on to the caller.
        unsafe { self.write(0..self.len) }
    }

    /// Writes a part.
    ///
    /// # Safety
    /// No other reference to the part is used while the result lives.
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn write(&self, part: Range<usize>) -> &'a mut [T] {
        assert!(part.start <= part.end && part.end <= self.len);
        // SAFETY: inside the slice (asserted); the caller excludes all other users.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(part.start), part.len()) }
    }
}
