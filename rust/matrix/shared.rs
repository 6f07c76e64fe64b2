//! Memory that the workers of a team read and write in disjoint parts.
#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::ops::Range;

/// A slice that several workers use at once. A phase hands each of its tiles the part that only this tile
/// writes; a barrier ends the phase. That rule cannot be seen by the compiler, so the accessors are unsafe
/// and every call says why its part is its own.
#[derive(Clone, Copy)]
pub struct Shared<'a, T> {
    start: *mut T,
    len: usize,
    owner: PhantomData<&'a mut [T]>,
}

// SAFETY: a `Shared` is a way to pass pieces of a `&mut [T]` to threads; the accessors' contract keeps the
// pieces from overlapping.
unsafe impl<T: Send + Sync> Send for Shared<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for Shared<'_, T> {}

impl<'a, T> Shared<'a, T> {
    /// Shares a slice for as long as the borrow lasts.
    pub fn new(slice: &'a mut [T]) -> Shared<'a, T> {
        Shared { start: slice.as_mut_ptr(), len: slice.len(), owner: PhantomData }
    }

    /// Whether there is nothing to share.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where an element is, or would be: an address to look at, not to read.
    pub fn address(&self, index: usize) -> *const T {
        self.start.wrapping_add(index)
    }

    /// Reads a part.
    ///
    /// # Safety
    /// Nobody writes the part while the result lives.
    pub unsafe fn read(&self, part: Range<usize>) -> &'a [T] {
        assert!(part.start <= part.end && part.end <= self.len);
        // SAFETY: inside the slice; the caller keeps writers away.
        unsafe { std::slice::from_raw_parts(self.start.add(part.start), part.len()) }
    }

    /// Reads all of it.
    ///
    /// # Safety
    /// Nobody writes to it while the result lives.
    pub unsafe fn all(&self) -> &'a [T] {
        // SAFETY: passed on to the caller.
        unsafe { self.read(0..self.len) }
    }

    /// Writes all of it.
    ///
    /// # Safety
    /// Nobody else reads or writes it while the result lives.
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn all_mut(&self) -> &'a mut [T] {
        // SAFETY: passed on to the caller.
        unsafe { self.write(0..self.len) }
    }

    /// Writes a part.
    ///
    /// # Safety
    /// Nobody else reads or writes the part while the result lives.
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn write(&self, part: Range<usize>) -> &'a mut [T] {
        assert!(part.start <= part.end && part.end <= self.len);
        // SAFETY: inside the slice; the caller keeps everyone else away.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(part.start), part.len()) }
    }
}
