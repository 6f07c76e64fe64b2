//! The one storage format: panels of 32 columns.
//!
//! A matrix [rows, cols] is `ceil(cols / 32)` consecutive panels; a panel is `rows` rows of 32 floats. The last panel
//! is as wide in memory as the others; columns beyond `cols` are padding. Activations, gradients, weights, their
//! transposes and the optimiser's moments all have this format, whether a product reads them along rows, down columns
//! or as its right operand.

use crate::simd::{LANES, Lanes, Row, WIDTH, floats};
use std::ops::Range;

/// The number of panels that hold `cols` columns.
pub const fn panels_of(cols: usize) -> usize {
    cols.div_ceil(WIDTH)
}

/// The number of vectors (1 or 2) of panel `panel` that hold columns of a matrix with `cols` columns.
pub fn vectors_of(cols: usize, panel: usize) -> usize {
    (cols - panel * WIDTH).min(WIDTH).div_ceil(LANES)
}

/// Columns `col..col + len`, split by panel: (panel, lanes of its row, part of `0..len`).
pub fn spans(col: usize, len: usize) -> impl Iterator<Item = (usize, Range<usize>, Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let (panel, first) = ((col + done) / WIDTH, (col + done) % WIDTH);
        let part = done..len.min(done + WIDTH - first);
        done = part.end;
        (!part.is_empty()).then(|| (panel, first..first + part.len(), part))
    })
}

/// A view of a matrix in panels.
#[derive(Clone, Copy)]
pub struct Panels<'a> {
    data: &'a [Row],
    rows: usize,
    cols: usize,
}

impl<'a> Panels<'a> {
    /// The matrix [rows, cols] whose panels start at the beginning of `data`.
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

    /// Copies columns `col..col + out.len()` of a row.
    pub fn copy_row(&self, row: usize, col: usize, out: &mut [f32]) {
        for (panel, lanes, part) in spans(col, out.len()) {
            out[part].copy_from_slice(&floats(&self.panel(panel)[row])[lanes]);
        }
    }

    /// Copies columns `col..col + 16` of several rows. Lanes beyond the end of the matrix are unspecified.
    #[inline(always)]
    pub fn gather(&self, rows: Range<usize>, col: usize, out: &mut [Lanes; LANES]) {
        let (panel, first) = (col / WIDTH, col % WIDTH);
        let split = WIDTH - first; // lanes in this panel
        let next = if split < LANES { panels_of(self.cols).min(panel + 2) - 1 } else { panel };
        let (here, next) = (&self.panel(panel)[rows.clone()], &self.panel(next)[rows]);
        for ((here, next), lanes) in here.iter().zip(next).zip(out) {
            if split >= LANES {
                lanes.0.copy_from_slice(&floats(here)[first..first + LANES]);
            } else {
                lanes.0[..split].copy_from_slice(&floats(here)[first..]);
                lanes.0[split..].copy_from_slice(&floats(next)[..LANES - split]);
            }
        }
    }
}

/// The map from the columns of a tensor to columns of the matrix that contains it.
#[derive(Clone, Copy, Debug)]
pub enum ColumnMap {
    /// Consecutive columns from this one on.
    From(usize),
    /// The first (0) or second (1) sixteen columns of each panel.
    Half(usize),
    /// Channels of pixels: channel by channel in the other matrix, pixel by pixel, each with panels of its own, here.
    Pixels {
        /// Pixels.
        positions: usize,
        /// Columns from pixel to pixel.
        width: usize,
    },
    /// These columns again and again.
    Repeated(usize),
}

impl ColumnMap {
    /// The matrix column of tensor column `j`; saturates.
    pub fn at(self, j: usize) -> usize {
        match self {
            ColumnMap::From(first) => first + j,
            ColumnMap::Half(half) => {
                (j / LANES).saturating_mul(WIDTH).saturating_add(half * LANES + j % LANES)
            }
            ColumnMap::Pixels { positions, width } => j % positions * width + j / positions,
            ColumnMap::Repeated(columns) => j % columns,
        }
    }
}

/// Which rows of a matrix the rows of another one are.
#[derive(Clone, Copy, Debug)]
pub enum RowMap {
    /// The same.
    Same,
    /// A kernel's taps and channels: channel by channel in the other matrix, tap by tap here. Rows behind them are the same.
    Taps {
        /// Taps.
        taps: usize,
        /// The first channel.
        first: usize,
        /// The number of channels.
        channels: usize,
        /// All channels of a tap.
        all: usize,
    },
    /// The kernel of a convolution of stride 1 in the rows of the transposed convolution that it equals: its taps reversed, and a
    /// tap's output channels here. In the other matrix a column is an output channel's taps of an input channel.
    Reversed {
        /// Taps.
        taps: usize,
        /// The first output channel.
        first: usize,
        /// Input channels.
        inputs: usize,
        /// All output channels.
        all: usize,
    },
}

impl RowMap {
    /// The place of row `i` of column `j`.
    pub fn at(self, i: usize, j: usize) -> usize {
        match self {
            RowMap::Taps { taps, first, channels, all } if i < taps * channels => {
                i % taps * all + first + i / taps
            }
            RowMap::Reversed { taps, first, inputs, all } => {
                (taps - 1 - i) * all + first + j / inputs
            }
            _ => i,
        }
    }
}

/// Copies a row-major [cols, rows] matrix (a torch `weight`: [out, in]) into the panels of its transpose. `stride` is
/// the number of rows from one panel to the next.
pub fn to_panels(
    plain: &[f32],
    (rows, order): (usize, RowMap),
    to: ColumnMap,
    stride: usize,
    panels: &mut [Row],
) {
    for (j, column) in plain.chunks_exact(rows).enumerate() {
        let (panel, lane) = (to.at(j) / WIDTH, to.at(j) % WIDTH);
        let panel = &mut panels[panel * stride..];
        for (i, &x) in column.iter().enumerate() {
            panel[order.at(i, j)][lane / LANES].0[lane % LANES] = x;
        }
    }
}

/// The inverse of [`to_panels`].
pub fn from_panels(
    panels: &[Row],
    (rows, order): (usize, RowMap),
    from: ColumnMap,
    stride: usize,
    plain: &mut [f32],
) {
    for (j, column) in plain.chunks_exact_mut(rows).enumerate() {
        let (panel, lane) = (from.at(j) / WIDTH, from.at(j) % WIDTH);
        let panel = &panels[panel * stride..];
        for (i, x) in column.iter_mut().enumerate() {
            *x = panel[order.at(i, j)][lane / LANES].0[lane % LANES];
        }
    }
}
