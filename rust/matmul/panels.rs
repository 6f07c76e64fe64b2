//! The one storage format: panels of 32 columns.
//!
//! A matrix [rows, cols] is `ceil(cols / 32)` panels, one after the other; a panel is `rows` rows of 32
//! floats. The last panel is as wide in memory as the others; what lies beyond `cols` is padding. Whether a
//! matrix is read along its rows, down its columns or as the right operand of a product, this is the format:
//! activations, gradients, weights, their transposes and the optimiser's moments all share it.

use crate::isa::{LANES, Lanes, Row, WIDTH};
use std::ops::Range;

/// The number of panels that hold `cols` columns.
pub const fn panels_of(cols: usize) -> usize {
    cols.div_ceil(WIDTH)
}

/// How many vectors (1 or 2) of panel `panel` hold columns of a matrix `cols` wide.
pub fn vectors_of(cols: usize, panel: usize) -> usize {
    (cols - panel * WIDTH).min(WIDTH).div_ceil(LANES)
}

/// A view of a matrix in panels.
#[derive(Clone, Copy)]
pub struct Panels<'a> {
    data: &'a [Row],
    rows: usize,
    cols: usize,
}

impl<'a> Panels<'a> {
    /// A matrix [rows, cols] whose panels start at the beginning of `data`.
    pub fn new(data: &'a [Row], rows: usize, cols: usize) -> Panels<'a> {
        let data = &data[..panels_of(cols) * rows];
        Panels { data, rows, cols }
    }

    /// The rows of all panels.
    pub fn data(&self) -> &'a [Row] {
        self.data
    }

    /// Rows of the matrix.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns of the matrix, without padding.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// All rows of one panel.
    pub fn panel(&self, panel: usize) -> &'a [Row] {
        &self.data[panel * self.rows..][..self.rows]
    }

    /// Copies `out.len()` columns of a row, from column `col` on.
    pub fn copy_row(&self, row: usize, col: usize, out: &mut [f32]) {
        for (j, x) in (col..).zip(out) {
            *x = self.panel(j / WIDTH)[row][j % WIDTH / LANES].0[j % LANES];
        }
    }

    /// The same for `n` <= 16 columns of several rows, the rest of each vector zero.
    pub fn gather(&self, rows: Range<usize>, col: usize, n: usize, out: &mut [Lanes; LANES]) {
        for (row, lanes) in rows.zip(out) {
            lanes.0[n..].fill(0.0);
            self.copy_row(row, col, &mut lanes.0[..n]);
        }
    }
}

/// Copies a plain [cols, rows] matrix (a torch `weight`: [out, in]) into the panels of its transpose.
/// `stride` is the number of rows between panels.
pub fn to_panels(plain: &[f32], rows: usize, first: usize, stride: usize, panels: &mut [Row]) {
    for (j, column) in plain.chunks_exact(rows).enumerate() {
        let (panel, lane) = ((first + j) / WIDTH, (first + j) % WIDTH);
        for (row, &x) in panels[panel * stride..].iter_mut().zip(column) {
            row[lane / LANES].0[lane % LANES] = x;
        }
    }
}

/// The inverse of [`to_panels`].
pub fn from_panels(panels: &[Row], rows: usize, first: usize, stride: usize, plain: &mut [f32]) {
    for (j, column) in plain.chunks_exact_mut(rows).enumerate() {
        let (panel, lane) = ((first + j) / WIDTH, (first + j) % WIDTH);
        for (row, x) in panels[panel * stride..].iter().zip(column) {
            *x = row[lane / LANES].0[lane % LANES];
        }
    }
}
