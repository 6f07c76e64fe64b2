//! The user's array, read row by row in whatever form it has; it is never copied whole.
#![allow(unsafe_code)]

use crate::data::binarize::Binarize;
use crate::data::csr::Csr;
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
    /// uint8, 0..255 scaled to 0..1: each value is `x / 255`, correctly rounded.
    U8,
    /// uint8, numbers as they are.
    Count,
}

impl Element {
    /// What elements are divided by.
    fn unit(self) -> f32 {
        if self == Element::U8 { 255.0 } else { 1.0 }
    }
}

/// A matrix [rows, cols] somewhere in memory: with any strides and any alignment, or sparse.
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
    conditions: Option<&'a Source<'a>>,
    owner: PhantomData<&'a [u8]>,
}

// SAFETY: it only reads; `new` demands memory that stays readable from any thread.
unsafe impl Send for Source<'_> {}
// SAFETY: as above.
unsafe impl Sync for Source<'_> {}

impl<'a> Source<'a> {
    /// A matrix whose element (i, j) is at `start + i * strides[0] + j * strides[1]` bytes.
    ///
    /// # Safety
    /// For all i < rows and j < cols that address holds an element, readable for 'a. If somebody writes there
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
            conditions: None,
            owner: PhantomData,
        }
    }

    /// The same read as counts, which are not scaled.
    pub fn counts(self) -> Source<'a> {
        let element = if self.element == Element::U8 { Element::Count } else { self.element };
        Source { element, ..self }
    }

    /// A plain row-major matrix.
    pub fn from_slice(values: &'a [f32], cols: usize) -> Source<'a> {
        let shape = [values.len() / cols, cols];
        // SAFETY: the slice holds rows * cols floats, row after row.
        unsafe { Source::new(values.as_ptr().cast(), Element::F32, shape, [4 * cols as isize, 4]) }
    }

    /// A sparse matrix. Its values are counts or other numbers, and never scaled.
    pub fn from_csr(csr: &'a Csr<'a>) -> Source<'a> {
        let shape = [csr.rows(), csr.cols()];
        // SAFETY: no element is read from there: the values are in the sparse matrix.
        let nowhere = unsafe { Source::new(ptr::null(), Element::F32, shape, [0, 0]) };
        Source { sparse: Some(csr), ..nowhere }
    }

    /// The rows `index` of it, in that order.
    pub fn select(self, index: &'a [u64]) -> Result<Source<'a>> {
        assert!(self.index.is_none(), "rows are selected from a whole array");
        assert!(self.conditions.is_none(), "rows are selected before conditions join them");
        if let Some(bad) = index.iter().find(|&&row| row >= self.rows as u64) {
            return Err(Error::Shape(format!("row {bad} of an array of {} rows", self.rows)));
        }
        let repeats = !index.is_sorted_by(|a, b| a < b);
        Ok(Source { rows: index.len(), index: Some(index), repeats, ..self })
    }

    /// The same, to be made binary where it is loaded as a batch.
    pub fn binarized(self, binarize: Option<Binarize>) -> Source<'a> {
        Source { binarize, ..self }
    }

    /// How it is to be made binary, if it is.
    pub fn binarize(&self) -> Option<Binarize> {
        self.binarize
    }

    /// The same, and with each row its row of `y`: what a conditional model is told of it.
    pub fn given(self, y: &'a Source<'a>) -> Result<Source<'a>> {
        if y.rows != self.rows {
            return Err(Error::Shape(format!("{} rows of y for {} rows", y.rows, self.rows)));
        }
        Ok(Source { conditions: Some(y), ..self })
    }

    /// The matrix that [`Source::given`] has put beside this one.
    pub fn conditions(&self) -> Option<&'a Source<'a>> {
        self.conditions
    }

    /// Whether these are some rows of a larger array.
    pub fn is_selection(&self) -> bool {
        self.index.is_some()
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

    /// The sparse matrix that it is, or of which it is some rows.
    pub fn csr(&self) -> Option<&'a Csr<'a>> {
        self.sparse
    }

    /// The number of stored values that no `rows` rows of it exceed, if it is sparse.
    pub fn most_stored(&self, rows: usize) -> Option<usize> {
        self.sparse.map(|csr| csr.most(rows, self.repeats))
    }

    /// Which row of the whole array a row is.
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

    /// Asks for columns of a row to be brought nearer, where they lie side by side.
    #[inline(always)]
    pub fn ask(&self, row: usize, cols: Range<usize>) {
        if let Some(csr) = self.sparse {
            if cols.start == 0 {
                csr.ask(csr.row(self.place(row))); // all of it is less than it would be otherwise
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

    /// The same of a matrix that is not sparse: inlined where elements lie side by side, so that the CPU's features reach it.
    #[inline(always)]
    fn read_dense(&self, row: usize, col: usize, out: &mut [f32]) {
        let Some(last) = out.len().checked_sub(1) else { return };
        let (from, step) = (self.address(row, col), self.strides[1]);
        assert!(col + last < self.cols);
        // SAFETY: all elements read are inside the matrix (asserted), which `new`'s caller made readable;
        // reads are unaligned.
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
                Element::U8 | Element::Count if step == 1 => {
                    let unit = self.element.unit();
                    for (j, x) in out.iter_mut().enumerate() {
                        *x = f32::from(*from.add(j)) / unit;
                    }
                }
                _ => self.read_apart(from, out),
            }
        }
    }

    /// Reads elements that do not lie side by side, the first one at `from`.
    ///
    /// # Safety
    /// They are inside the matrix.
    #[inline(never)]
    unsafe fn read_apart(&self, from: *const u8, out: &mut [f32]) {
        let (step, unit) = (self.strides[1], self.element.unit());
        for (j, x) in out.iter_mut().enumerate() {
            let at = from.wrapping_offset(j as isize * step);
            // SAFETY: the caller's promise; reads are unaligned.
            *x = unsafe {
                match self.element {
                    Element::F32 => ptr::read_unaligned(at.cast()),
                    Element::F64 => ptr::read_unaligned(at.cast::<f64>()) as f32,
                    Element::U8 | Element::Count => f32::from(*at) / unit,
                }
            };
        }
    }

    /// Reads the 32 columns of panel `panel` of a row; zeros fill the last panel.
    #[inline(always)]
    pub fn read_panel(&self, row: usize, panel: usize, out: &mut Row) {
        self.read_next_panel(row, panel, out, &mut 0);
    }

    /// The same of a row whose panels are read in turn; `place`, of a sparse row, is where the next one begins.
    #[inline(always)]
    pub fn read_next_panel(&self, row: usize, panel: usize, out: &mut Row, place: &mut usize) {
        let (col, floats) = (panel * WIDTH, floats_mut(std::slice::from_mut(out)));
        if self.sparse.is_some() || self.cols - col < WIDTH {
            return self.read_rest(row, col, floats, place);
        }
        self.read_dense(row, col, &mut floats[..WIDTH]); // a length that the compiler knows
    }

    /// The same of a sparse row, or of the last panel.
    #[inline(never)]
    fn read_rest(&self, row: usize, col: usize, out: &mut [f32], place: &mut usize) {
        let (inside, padding) = out.split_at_mut((self.cols - col).min(WIDTH));
        padding.fill(0.0);
        match self.sparse {
            Some(csr) => csr.read(self.place(row), col, inside, place),
            None => self.read_dense(row, col, inside),
        }
    }

    /// Into how many pieces of 32 values a row is cut to be looked at: all of a dense row, what is stored of a sparse one.
    pub fn pieces(&self, row: usize) -> usize {
        self.sparse.map_or(self.cols, |csr| csr.row(self.place(row)).len()).div_ceil(WIDTH)
    }

    /// Reads such a piece; the last one is filled up with zeros.
    #[inline(always)]
    pub fn read_piece(&self, row: usize, piece: usize, out: &mut Row) {
        match self.sparse {
            Some(csr) => self.read_stored(csr, row, piece, out),
            None => self.read_panel(row, piece, out),
        }
    }

    /// The same of a sparse row.
    #[inline(never)]
    fn read_stored(&self, csr: &Csr, row: usize, piece: usize, out: &mut Row) {
        let places = csr.row(self.place(row)).skip(piece * WIDTH);
        *out = ZERO_ROW;
        for (x, place) in floats_mut(std::slice::from_mut(out)).iter_mut().zip(places) {
            *x = csr.value(place);
        }
    }

    /// The first column of a row whose value is not in `low..=high`, with the value. NaN is in it only if it is `allowed`.
    pub fn find_outside(
        &self,
        row: usize,
        (low, high): (f32, f32),
        allowed: bool,
    ) -> Option<(usize, f32)> {
        let inside = |x: f32| (x >= low && x <= high) || (allowed && x.is_nan());
        let mut buffer = [0.0f32; 64];
        for col in (0..self.cols).step_by(64) {
            let values = &mut buffer[..(self.cols - col).min(64)];
            self.read(row, col, values);
            if let Some(bad) = values.iter().position(|&x| !inside(x)) {
                return Some((col + bad, values[bad]));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_strides_are_read_and_asked_for() {
        let values: Vec<f32> = (0..60).map(|i| i as f32).collect();
        // SAFETY: every element's address is inside the vector: the matrix [6, 10] upside down and backwards.
        let backwards = unsafe {
            Source::new(values.as_ptr().wrapping_add(59).cast(), Element::F32, [6, 10], [-40, -4])
        };
        let (mut row, mut panel) = ([0.0; 10], [Default::default(); 2]);
        for i in 0..6 {
            backwards.ask(i, 0..10);
            backwards.read(i, 0, &mut row);
            assert!((0..10).all(|j| row[j] == values[59 - 10 * i - j]));
            backwards.read_panel(i, 0, &mut panel);
            assert_eq!(panel[0].0[..10], row);
            assert_eq!(panel[1].0, [0.0; 16]);
        }
    }

    #[test]
    fn bytes_are_grey_values_or_counts() {
        let bytes: Vec<u8> = (0..=255).collect();
        // SAFETY: one row of 256 bytes.
        let source = unsafe { Source::new(bytes.as_ptr(), Element::U8, [1, 256], [256, 1]) };
        let mut row = [0.0; 256];
        source.read(0, 0, &mut row);
        assert!((0..256).all(|i| row[i] == i as f32 / 255.0));
        source.counts().read(0, 0, &mut row);
        assert!((0..256).all(|i| row[i] == i as f32));
    }
}
