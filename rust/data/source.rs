//! The user's array, read row by row in any layout. It is never copied as a whole.
#![allow(unsafe_code)]

use crate::data::binarize::Binarize;
use crate::data::csr::Csr;
use crate::data::weights::Weights;
use crate::error::{Error, Result};
use crate::simd::{LINE, Row, WIDTH, ZERO_ROW, floats_mut, prefetch};
use std::marker::PhantomData;
use std::ops::Range;
use std::ptr;

/// The type of an array's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// float32
    F32,
    /// float64, rounded to float32.
    F64,
    /// uint8 grey values, scaled to [0, 1]: `x / 255`, correctly rounded.
    U8,
    /// uint8 numbers, not scaled.
    Byte,
}

impl Element {
    /// The divisor of elements.
    fn divisor(self) -> f32 {
        if self == Element::U8 { 255.0 } else { 1.0 }
    }
}

/// The numbers of rows in the whole data, of which they are a part.
#[derive(Clone, Copy, Debug)]
enum Numbers<'a> {
    /// Row i has the number `first + i`: a share of the examples of several ranks, or with `first` 0 the whole data.
    From(usize),
    /// Row i has the number `numbers[i]`: a block of the rows of a source.
    Each(&'a [u64]),
}

/// A matrix [rows, cols] in memory, with any strides and alignment, or sparse.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    start: *const u8,
    element: Element,
    rows: usize,
    cols: usize,
    strides: [isize; 2],
    sparse: Option<&'a Csr<'a>>,
    index: Option<&'a [u64]>,
    repeats: bool,
    binarize: Option<Binarize>,
    numbers: Numbers<'a>,
    conditions: Option<&'a Source<'a>>,
    weights: Option<Weights<'a>>,
    owner: PhantomData<&'a [u8]>,
}

// SAFETY: it only reads; the caller of `new` promises memory that stays readable from any thread.
unsafe impl Send for Source<'_> {}
// SAFETY: as above.
unsafe impl Sync for Source<'_> {}

impl<'a> Source<'a> {
    /// A matrix whose element (i, j) is at address `start + i * strides[0] + j * strides[1]`, strides in bytes.
    ///
    /// # Safety
    /// For all i < rows and j < cols that address holds an element, readable for 'a. If another thread writes to it
    /// meanwhile, the values read are unspecified, as with any numpy function that releases the GIL.
    pub unsafe fn new(
        start: *const u8,
        element: Element,
        [rows, cols]: [usize; 2],
        strides: [isize; 2],
    ) -> Source<'a> {
        Source {
            start,
            element,
            rows,
            cols,
            strides,
            sparse: None,
            index: None,
            repeats: false,
            binarize: None,
            numbers: Numbers::From(0),
            conditions: None,
            weights: None,
            owner: PhantomData,
        }
    }

    /// Reads uint8 as numbers, which are not scaled.
    pub fn unscaled(self) -> Source<'a> {
        let element = if self.element == Element::U8 { Element::Byte } else { self.element };
        Source { element, ..self }
    }

    /// A row-major matrix [values.len() / cols, cols].
    pub fn from_slice(values: &'a [f32], cols: usize) -> Source<'a> {
        let shape = [values.len() / cols, cols];
        // SAFETY: the slice holds rows * cols floats, row after row.
        unsafe { Source::new(values.as_ptr().cast(), Element::F32, shape, [4 * cols as isize, 4]) }
    }

    /// A sparse matrix. Its values are never scaled.
    pub fn from_csr(csr: &'a Csr<'a>) -> Source<'a> {
        let shape = [csr.rows(), csr.cols()];
        // SAFETY: no element is read at this address: the values are in the sparse matrix.
        let empty = unsafe { Source::new(ptr::null(), Element::F32, shape, [0, 0]) };
        Source { sparse: Some(csr), ..empty }
    }

    /// A selection of rows: row i is row `index[i]` of the array.
    pub fn select(self, index: &'a [u64]) -> Result<Source<'a>> {
        assert!(self.index.is_none(), "rows are selected from a whole array");
        assert!(self.conditions.is_none(), "rows are selected before conditions join them");
        if let Some(bad) = index.iter().find(|&&row| row >= self.rows as u64) {
            return Err(Error::Shape(format!(
                "row {bad} does not exist: the array has {} rows",
                self.rows
            )));
        }
        let repeats = !index.is_sorted_by(|a, b| a < b) && repeats(index, self.rows);
        Ok(Source { rows: index.len(), index: Some(index), repeats, ..self })
    }

    /// Sets the binarization that loading a batch applies.
    pub fn binarized(self, binarize: Option<Binarize>) -> Source<'a> {
        Source { binarize, ..self }
    }

    /// The binarization that loading a batch applies.
    pub fn binarize(&self) -> Option<Binarize> {
        self.binarize
    }

    /// Numbers the rows as in the whole data, of which they are a block: row i is row `numbers[i]` of the data.
    pub fn numbered(self, numbers: &'a [u64]) -> Result<Source<'a>> {
        if numbers.len() != self.rows {
            return Err(Error::Shape(format!("{} numbers of {} rows", numbers.len(), self.rows)));
        }
        Ok(Source { numbers: Numbers::Each(numbers), ..self })
    }

    /// The number of a row in the whole data, which keys its binary draw.
    #[inline(always)]
    pub fn number(&self, row: usize) -> usize {
        match self.numbers {
            Numbers::From(first) => first + row,
            Numbers::Each(numbers) => numbers[row] as usize,
        }
    }

    /// The number of a row for messages: in the array that was passed, or in the source that it is a block of.
    pub fn shown(&self, row: usize) -> usize {
        match self.numbers {
            Numbers::From(_) => self.place(row),
            Numbers::Each(numbers) => numbers[row] as usize,
        }
    }

    /// Attaches the conditions `y` [rows, conditions] of a conditional model: row i of `y` belongs to row i.
    pub fn with_conditions(self, y: &'a Source<'a>) -> Result<Source<'a>> {
        if y.rows != self.rows {
            return Err(Error::Shape(format!(
                "y has {} rows and X has {}; pass a row of y for each row of X",
                y.rows, self.rows
            )));
        }
        Ok(Source { conditions: Some(y), ..self })
    }

    /// The conditions [rows, conditions], if [`Source::with_conditions`] has attached some.
    pub fn conditions(&self) -> Option<&'a Source<'a>> {
        self.conditions
    }

    /// Attaches the weights of the array's rows in the loss, from which rows may have been selected. `mean`: that of all
    /// rows of a pass of which these are a block.
    pub fn with_weights(self, values: &'a [f32], mean: Option<f64>) -> Result<Source<'a>> {
        Ok(Source { weights: Some(Weights::new(values, &self, mean)?), ..self })
    }

    /// The array as a share of several, `total` their rows and the sum of their weights: the mean weight over all rows is 1. Its
    /// first row has the number `first` among the rows of all shares.
    pub fn share_of(self, total: (usize, f64), first: usize) -> Source<'a> {
        let weights = self.weights.map(|weights| weights.among(total));
        Source { weights, numbers: Numbers::From(first), ..self }
    }

    /// Whether rows have weights in the loss.
    pub fn is_weighted(&self) -> bool {
        self.weights.is_some()
    }

    /// The weight of a row in the loss, whose mean over the rows is 1.
    pub fn weight(&self, row: usize) -> f32 {
        self.weights.map_or(1.0, |weights| weights.of(self.place(row)))
    }

    /// The sum of the weights of all rows in the loss; without weights the number of rows.
    pub fn total_weight(&self) -> f64 {
        self.weights.map_or(self.rows as f64, |weights| weights.total())
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The type of its elements.
    pub fn element(&self) -> Element {
        self.element
    }

    /// The sparse matrix behind it, if there is one; a selection shares the matrix of all rows.
    pub fn csr(&self) -> Option<&'a Csr<'a>> {
        self.sparse
    }

    /// An upper bound on the stored values in any `rows` rows, if it is sparse.
    pub fn most_stored(&self, rows: usize) -> Option<usize> {
        self.sparse.map(|csr| csr.max_stored(rows, self.repeats))
    }

    /// The row of the whole array that `row` of a selection is.
    #[inline(always)]
    pub fn place(&self, row: usize) -> usize {
        self.index.map_or(row, |index| index[row] as usize)
    }

    #[inline(always)]
    fn address(&self, row: usize, col: usize) -> *const u8 {
        assert!(row < self.rows && col < self.cols);
        let row = self.place(row);
        let offset = row as isize * self.strides[0] + col as isize * self.strides[1];
        self.start.wrapping_offset(offset)
    }

    /// Prefetches columns of a row, if its elements are contiguous.
    #[inline(always)]
    pub fn prefetch(&self, row: usize, cols: Range<usize>) {
        if let Some(csr) = self.sparse {
            if cols.start == 0 {
                csr.prefetch(csr.row(self.place(row))); // the whole row, at its first panel
            }
            return;
        }
        let (from, step) = (self.address(row, cols.start), self.strides[1]);
        if (1..=size_of::<f64>() as isize).contains(&step) {
            for line in (0..step as usize * cols.len()).step_by(LINE) {
                prefetch(from.wrapping_add(line));
            }
        }
    }

    /// Reads columns `col..col + out.len()` of a row.
    #[inline(never)]
    pub fn read(&self, row: usize, col: usize, out: &mut [f32]) {
        match self.sparse {
            Some(csr) => csr.read(self.place(row), col, out, &mut 0),
            None => self.read_dense(row, col, out),
        }
    }

    /// Reads columns of a dense row. Inlined for contiguous elements, so that it is compiled with the CPU's features.
    #[inline(always)]
    fn read_dense(&self, row: usize, col: usize, out: &mut [f32]) {
        let Some(last) = out.len().checked_sub(1) else { return };
        let (from, step) = (self.address(row, col), self.strides[1]);
        assert!(col + last < self.cols);
        // SAFETY: all elements read are inside the matrix (asserted), which `new`'s caller made readable; reads are
        // unaligned.
        unsafe {
            match self.element {
                Element::F32 if step == 4 => {
                    ptr::copy_nonoverlapping(from, out.as_mut_ptr().cast(), 4 * out.len());
                }
                Element::F64 if step == 8 => {
                    for (j, x) in out.iter_mut().enumerate() {
                        *x = ptr::read_unaligned(from.cast::<f64>().add(j)) as f32;
                    }
                }
                Element::U8 | Element::Byte if step == 1 => {
                    let divisor = self.element.divisor();
                    for (j, x) in out.iter_mut().enumerate() {
                        *x = f32::from(*from.add(j)) / divisor;
                    }
                }
                _ => self.read_strided(from, out),
            }
        }
    }

    /// Reads elements of a row that are not contiguous; the first one is at `from`.
    ///
    /// # Safety
    /// All `out.len()` elements are inside the matrix.
    #[inline(never)]
    unsafe fn read_strided(&self, from: *const u8, out: &mut [f32]) {
        let (step, divisor) = (self.strides[1], self.element.divisor());
        for (j, x) in out.iter_mut().enumerate() {
            let at = from.wrapping_offset(j as isize * step);
            // SAFETY: the caller's promise; reads are unaligned.
            *x = unsafe {
                match self.element {
                    Element::F32 => ptr::read_unaligned(at.cast()),
                    Element::F64 => ptr::read_unaligned(at.cast::<f64>()) as f32,
                    Element::U8 | Element::Byte => f32::from(*at) / divisor,
                }
            };
        }
    }

    /// Reads the 32 columns of panel `panel` of a row. The padding of the last panel is zero.
    #[inline(always)]
    pub fn read_panel(&self, row: usize, panel: usize, out: &mut Row) {
        self.read_next_panel(row, panel, out, &mut 0);
    }

    /// [`Source::read_panel`] for panels read in ascending order. `place` is the hint of [`Csr::read`]; start with 0.
    #[inline(always)]
    pub fn read_next_panel(&self, row: usize, panel: usize, out: &mut Row, place: &mut usize) {
        let (col, floats) = (panel * WIDTH, floats_mut(std::slice::from_mut(out)));
        if self.sparse.is_some() || self.cols - col < WIDTH {
            return self.read_partial(row, col, floats, place);
        }
        self.read_dense(row, col, &mut floats[..WIDTH]); // a constant length
    }

    /// Reads a panel of a sparse row, or the last panel.
    #[inline(never)]
    fn read_partial(&self, row: usize, col: usize, out: &mut [f32], place: &mut usize) {
        let (inside, padding) = out.split_at_mut((self.cols - col).min(WIDTH));
        padding.fill(0.0);
        match self.sparse {
            Some(csr) => csr.read(self.place(row), col, inside, place),
            None => self.read_dense(row, col, inside),
        }
    }

    /// The number of pieces of 32 values that a check of a row reads: all values of a dense row, the stored values of a
    /// sparse row.
    pub fn pieces(&self, row: usize) -> usize {
        self.sparse.map_or(self.cols, |csr| csr.row(self.place(row)).len()).div_ceil(WIDTH)
    }

    /// Reads piece `piece` of a row. The padding of the last piece is zero.
    #[inline(always)]
    pub fn read_piece(&self, row: usize, piece: usize, out: &mut Row) {
        match self.sparse {
            Some(csr) => self.read_stored(csr, row, piece, out),
            None => self.read_panel(row, piece, out),
        }
    }

    /// Reads a piece of the stored values of a sparse row.
    #[inline(never)]
    fn read_stored(&self, csr: &Csr, row: usize, piece: usize, out: &mut Row) {
        let places = csr.row(self.place(row)).skip(piece * WIDTH);
        *out = ZERO_ROW;
        for (x, place) in floats_mut(std::slice::from_mut(out)).iter_mut().zip(places) {
            *x = csr.value(place);
        }
    }

    /// A float64 element before it is rounded to float32.
    pub fn exact(&self, row: usize, col: usize) -> Option<f64> {
        let dense = self.element == Element::F64 && row < self.rows && col < self.cols;
        // SAFETY: inside the matrix, which `new`'s caller made readable; the read is unaligned.
        dense.then(|| unsafe { ptr::read_unaligned(self.address(row, col).cast()) })
    }

    /// The first column of a row with a value outside its range, ends included, and that value. With `allow_nan`, NaN counts as
    /// inside.
    pub fn find_outside(
        &self,
        row: usize,
        range: &dyn Fn(usize) -> (f32, f32),
        allow_nan: bool,
    ) -> Option<(usize, f32)> {
        let inside = |col: usize, x: f32| {
            let (low, high) = range(col);
            (x >= low && x <= high) || (allow_nan && x.is_nan())
        };
        let mut buffer = [0.0f32; 64];
        for col in (0..self.cols).step_by(64) {
            let values = &mut buffer[..(self.cols - col).min(64)];
            self.read(row, col, values);
            let mut all = values.iter().enumerate();
            if let Some(bad) = all.position(|(j, &x)| !inside(col + j, x)) {
                return Some((col + bad, values[bad]));
            }
        }
        None
    }
}

/// Whether a row < `rows` stands in `index` more than once.
fn repeats(index: &[u64], rows: usize) -> bool {
    let mut seen = vec![false; rows];
    index.iter().any(|&row| std::mem::replace(&mut seen[row as usize], true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_in_another_order_do_not_repeat() {
        let values = [0.0f32; 6];
        let x = Source::from_slice(&values, 2);
        for (index, repeated) in
            [(vec![2u64, 0, 1], false), (vec![2, 0, 2], true), (vec![0, 2], false)]
        {
            assert_eq!(x.select(&index).expect("rows exist").repeats, repeated, "{index:?}");
        }
    }

    #[test]
    fn any_strides_are_read_and_prefetched() {
        let values: Vec<f32> = (0..60).map(|i| i as f32).collect();
        // SAFETY: every element's address is inside the vector: the matrix [6, 10] upside down and backwards.
        let backwards = unsafe {
            Source::new(values.as_ptr().wrapping_add(59).cast(), Element::F32, [6, 10], [-40, -4])
        };
        let (mut row, mut panel) = ([0.0; 10], [Default::default(); 2]);
        for i in 0..6 {
            backwards.prefetch(i, 0..10);
            backwards.read(i, 0, &mut row);
            assert!((0..10).all(|j| row[j] == values[59 - 10 * i - j]));
            backwards.read_panel(i, 0, &mut panel);
            assert_eq!(panel[0].0[..10], row);
            assert_eq!(panel[1].0, [0.0; 16]);
        }
    }

    #[test]
    fn bytes_are_grey_values_or_numbers() {
        let bytes: Vec<u8> = (0..=255).collect();
        // SAFETY: one row of 256 bytes.
        let source = unsafe { Source::new(bytes.as_ptr(), Element::U8, [1, 256], [256, 1]) };
        let mut row = [0.0; 256];
        source.read(0, 0, &mut row);
        assert!((0..256).all(|i| row[i] == i as f32 / 255.0));
        source.unscaled().read(0, 0, &mut row);
        assert!((0..256).all(|i| row[i] == i as f32));
    }
}
