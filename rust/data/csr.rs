//! Compressed sparse rows (CSR), read in place: each row stores some values with their columns; all others are zero.
#![allow(unsafe_code)]

use crate::error::{Error, Result};
use crate::simd::{LINE, prefetch};
use std::marker::PhantomData;
use std::ops::Range;
use std::ptr;

/// An array in memory. Other threads may change it while it is read.
#[derive(Clone, Copy)]
struct Elements<T> {
    start: *const T,
    len: usize,
}

impl<T: Copy> Elements<T> {
    #[inline(always)]
    fn get(&self, index: usize) -> T {
        assert!(index < self.len);
        // SAFETY: inside the array (asserted), which `Csr::new`'s caller made readable.
        unsafe { ptr::read_unaligned(self.start.add(index)) }
    }

    fn prefetch(&self, part: Range<usize>) {
        let bytes = self.start.wrapping_add(part.start).cast::<u8>();
        (0..part.len() * size_of::<T>())
            .step_by(LINE)
            .for_each(|n| prefetch(bytes.wrapping_add(n)));
    }
}

/// The most values of a row that are prefetched: more would evict the first ones from the cache.
const MAX_PREFETCHED: usize = 512;

/// A matrix [rows, cols]: row i has `data[n]` in column `indices[n]` for n in `indptr[i]..indptr[i + 1]`, and zeros
/// elsewhere. Columns of a row must ascend strictly; [`Csr::check`] reports whether they do. Memory safety does not
/// depend on it: whatever the arrays contain, even if they change, no read is out of bounds and every column is below
/// `cols`.
pub struct Csr<'a> {
    indptr: Elements<i64>,
    indices: Elements<i32>,
    data: Elements<f32>,
    cols: usize,
    lengths: RowLengths,
    owner: PhantomData<&'a [u8]>,
}

// SAFETY: it only reads; `new` demands memory that stays readable from any thread.
unsafe impl Send for Csr<'_> {}
// SAFETY: as above.
unsafe impl Sync for Csr<'_> {}

impl<'a> Csr<'a> {
    /// A matrix with these arrays, each given as an address and a length, and `cols` columns.
    ///
    /// # Safety
    /// Each array has that many elements, readable for 'a. If another thread writes to them meanwhile, the values read
    /// are unspecified, as with any numpy function that releases the GIL.
    pub unsafe fn new(
        indptr: (*const i64, usize),
        indices: (*const i32, usize),
        data: (*const f32, usize),
        cols: usize,
    ) -> Csr<'a> {
        let len = indices.1.min(data.1);
        let mut csr = Csr {
            indptr: Elements { start: indptr.0, len: indptr.1 },
            indices: Elements { start: indices.0, len },
            data: Elements { start: data.0, len },
            cols,
            lengths: RowLengths::of(std::iter::empty()),
            owner: PhantomData,
        };
        csr.lengths = RowLengths::of((0..csr.rows()).map(|row| csr.row(row).len()));
        csr
    }

    /// A matrix with the arrays of three slices and `cols` columns.
    pub fn from_slices(
        indptr: &'a [i64],
        indices: &'a [i32],
        data: &'a [f32],
        cols: usize,
    ) -> Csr<'a> {
        let part = (indices.as_ptr(), indices.len());
        // SAFETY: addresses and lengths are those of slices.
        unsafe {
            Csr::new((indptr.as_ptr(), indptr.len()), part, (data.as_ptr(), data.len()), cols)
        }
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.indptr.len.saturating_sub(1)
    }

    /// The number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The fraction of elements that are stored.
    pub fn density(&self) -> f64 {
        let stored = self.rows().checked_sub(1).map_or(0, |last| self.row(last).end);
        stored as f64 / (self.rows() as f64 * self.cols as f64).max(1.0)
    }

    /// An upper bound, within a factor of two, on the number of values in any `rows` rows. With `repeats`, a row may
    /// count more than once.
    pub fn max_stored(&self, rows: usize, repeats: bool) -> usize {
        if repeats { self.lengths.bound(1).saturating_mul(rows) } else { self.lengths.bound(rows) }
    }

    /// The positions of a row's values in `indices` and `data`.
    #[inline(always)]
    pub fn row(&self, row: usize) -> Range<usize> {
        let bound = |i| usize::try_from(self.indptr.get(i)).unwrap_or(0).min(self.data.len);
        let (start, end) = (bound(row), bound(row + 1));
        start.min(end)..end
    }

    /// The column of the value at position `place`.
    #[inline(always)]
    pub fn col(&self, place: usize) -> usize {
        (self.indices.get(place).max(0) as usize).min(self.cols.saturating_sub(1))
    }

    /// The value at position `place`.
    #[inline(always)]
    pub fn value(&self, place: usize) -> f32 {
        self.data.get(place)
    }

    /// Prefetches values and their columns.
    #[inline(always)]
    pub fn prefetch(&self, places: Range<usize>) {
        let places = places.start..places.end.min(places.start + MAX_PREFETCHED);
        self.indices.prefetch(places.clone());
        self.data.prefetch(places);
    }

    /// Reads columns `col..col + out.len()` of a row. `place` is a hint, of any value at first: on return, the position
    /// of the first value after these columns, so that a read of the next columns needs no search.
    #[inline(never)]
    pub fn read(&self, row: usize, col: usize, out: &mut [f32], place: &mut usize) {
        out.fill(0.0);
        let Range { start, end } = self.row(row);
        let hint_is_right = (start..=end).contains(place)
            && (*place == start || self.col(*place - 1) < col)
            && (*place == end || self.col(*place) >= col);
        if !hint_is_right {
            *place = self.find(start..end, col);
        }
        while *place < end {
            match self.col(*place).checked_sub(col).and_then(|j| out.get_mut(j)) {
                Some(x) => *x = self.value(*place),
                None => break,
            }
            *place += 1;
        }
    }

    /// The position of the first value in column `col` or later, or the end of `values`. Binary search.
    fn find(&self, values: Range<usize>, col: usize) -> usize {
        let Range { mut start, mut end } = values;
        while start < end {
            let middle = start.midpoint(end);
            match self.col(middle) < col {
                true => start = middle + 1,
                false => end = middle,
            }
        }
        start
    }

    /// Returns an error unless the arrays are a valid matrix of `rows` rows, called `name` in messages; else whether
    /// the columns of every row ascend strictly. Values are not checked.
    pub fn check(&self, name: &str, rows: usize) -> Result<bool> {
        let indptr = &self.indptr;
        let bad =
            |what: String| Err(Error::Value(format!("{name} is not a valid CSR matrix: {what}")));
        if indptr.len == 0 || self.rows() != rows {
            let len = indptr.len;
            return bad(format!(
                "indptr has {len} entries for {rows} rows; it must have one entry more than there are rows"
            ));
        }
        if indptr.get(0) != 0 {
            return bad(format!("indptr[0] is {}, not 0", indptr.get(0)));
        }
        let mut before = 0;
        for row in 1..indptr.len {
            let end = indptr.get(row);
            if end < before {
                return bad(format!(
                    "indptr[{row}] is {end}, less than the {before} before it: row starts must ascend"
                ));
            }
            before = end;
        }
        if usize::try_from(before).map_or(true, |end| end > self.data.len) {
            let len = self.data.len;
            return bad(format!(
                "indptr ends with {before}, but indices and data have {len} entries"
            ));
        }
        let mut canonical = true;
        for row in 0..rows {
            let mut before = -1;
            for place in self.row(row) {
                let col = self.indices.get(place);
                if usize::try_from(col).map_or(true, |col| col >= self.cols) {
                    return bad(format!(
                        "indices[{place}], in row {row}, is {col}, but there are {} columns",
                        self.cols
                    ));
                }
                canonical &= before < col;
                before = col;
            }
        }
        Ok(canonical)
    }
}

/// A histogram of the rows' numbers of values: bin b counts lengths of b bits.
struct RowLengths([usize; usize::BITS as usize + 1]);

impl RowLengths {
    /// The histogram of these lengths.
    fn of(lengths: impl Iterator<Item = usize>) -> RowLengths {
        let mut counts = [0; usize::BITS as usize + 1];
        lengths.for_each(|len| counts[(usize::BITS - len.leading_zeros()) as usize] += 1);
        RowLengths(counts)
    }

    /// An upper bound, within a factor of two, on the sum of any `rows` of the lengths.
    fn bound(&self, rows: usize) -> usize {
        let (mut left, mut most) = (rows, 0usize);
        for (bits, &count) in self.0.iter().enumerate().rev() {
            let largest = if bits == 0 { 0 } else { usize::MAX >> (usize::BITS as usize - bits) };
            most = most.saturating_add(count.min(left).saturating_mul(largest));
            left -= count.min(left);
        }
        most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_columns_of_a_row_are_read() {
        let csr = Csr::from_slices(&[0, 3, 3, 5], &[0, 4, 8, 2, 3], &[1., 2., 3., 4., 5.], 9);
        let dense =
            [[1., 0., 0., 0., 2., 0., 0., 0., 3.], [0.; 9], [0., 0., 4., 5., 0., 0., 0., 0., 0.]];
        assert_eq!(csr.check("X", 3), Ok(true));
        for (row, dense) in dense.iter().enumerate() {
            let mut place = 0;
            let columns: Vec<f32> = (0..9)
                .map(|col| {
                    let mut out = [7.0];
                    csr.read(row, col, &mut out, &mut place);
                    out[0]
                })
                .collect();
            assert_eq!(columns, dense);
            for col in 0..9 {
                for len in 0..=9 - col {
                    let mut out = vec![7.0; len];
                    csr.read(row, col, &mut out, &mut 0);
                    assert_eq!(out, dense[col..col + len]);
                }
            }
        }
    }

    #[test]
    fn an_invalid_matrix_is_refused_and_read_safely() {
        let good = ([0, 2, 3], [1, 2, 0], [1., 2., 3.]);
        let bad: [(&[i64], &[i32], &[f32]); 9] = [
            (&[], &good.1, &good.2),
            (&[0, 2], &good.1, &good.2),
            (&[1, 2, 3], &good.1, &good.2),
            (&[0, 3, 2], &good.1, &good.2),
            (&[0, -1, 3], &good.1, &good.2),
            (&[0, 2, i64::MAX], &good.1, &good.2),
            (&good.0, &[1, 3, 0], &good.2),
            (&good.0, &[1, i32::MIN, 0], &good.2),
            (&good.0, &good.1, &good.2[..2]),
        ];
        for (indptr, indices, data) in bad {
            let csr = Csr::from_slices(indptr, indices, data, 3);
            assert!(csr.check("X", 2).is_err(), "{indptr:?} {indices:?}");
            for row in 0..csr.rows() {
                csr.prefetch(csr.row(row));
                csr.read(row, 1, &mut [0.0; 2], &mut 1);
                assert!(csr.row(row).all(|place| csr.col(place) < 3));
            }
        }
        assert_eq!(Csr::from_slices(&good.0, &good.1, &good.2, 3).check("X", 2), Ok(true));
        for indices in [[2, 1, 0], [1, 1, 0]] {
            assert_eq!(Csr::from_slices(&good.0, &indices, &good.2, 3).check("X", 2), Ok(false));
        }
    }

    #[test]
    fn the_longest_rows_are_bounded_within_a_factor_of_two() {
        let lengths = [0, 1, 7, 8, 3, 100, 0, 64, 1];
        let bound = RowLengths::of(lengths.into_iter());
        let mut sorted = lengths;
        sorted.sort_unstable_by(|a, b| b.cmp(a));
        for rows in 0..=lengths.len() + 2 {
            let true_sum: usize = sorted.iter().take(rows).sum();
            assert!((true_sum..=2 * true_sum).contains(&bound.bound(rows)), "{rows}");
        }
        assert_eq!(RowLengths::of([usize::MAX].into_iter()).bound(3), usize::MAX);
    }
}
