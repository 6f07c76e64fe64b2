//! The moments of the columns of an array, in one pass. Each column has one accumulator in f64, rows ascending: results
//! depend neither on the number of threads nor on whether the array is sparse.

use crate::data::Source;
use crate::matrix::panels_of;
use crate::nn::likelihood::Column;
use crate::simd::{Isa, Op, Simd, WIDTH, ZERO_ROW, floats};
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The sums over the observed values of 32 columns.
#[derive(Clone, Debug)]
struct Sums {
    count: [f64; WIDTH],
    sum: [f64; WIDTH],
    squares: [f64; WIDTH],
    zeros: [f64; WIDTH],
    least: [f32; WIDTH],
    most: [f32; WIDTH],
    /// The number of stored NaN of a sparse array.
    holes: [f64; WIDTH],
}

impl Sums {
    const EMPTY: Sums = Sums {
        count: [0.0; WIDTH],
        sum: [0.0; WIDTH],
        squares: [0.0; WIDTH],
        zeros: [0.0; WIDTH],
        least: [f32::INFINITY; WIDTH],
        most: [f32::NEG_INFINITY; WIDTH],
        holes: [0.0; WIDTH],
    };

    /// Adds a stored value to the sums of column `j`.
    fn add(&mut self, j: usize, x: f32) {
        if x.is_nan() {
            self.holes[j] += 1.0;
            return;
        }
        let value = f64::from(x);
        self.count[j] += 1.0;
        self.sum[j] += value;
        self.squares[j] += value * value;
        self.zeros[j] += f64::from(u8::from(x == 0.0));
        self.least[j] = self.least[j].min(x);
        self.most[j] = self.most[j].max(x);
    }
}

/// The moments of the columns of an array, in progress.
pub struct ColumnMoments {
    panels: Vec<Mutex<Sums>>,
    cols: usize,
}

impl ColumnMoments {
    /// The moments of no rows of an array with `cols` columns.
    pub fn new(cols: usize) -> ColumnMoments {
        let panels = (0..panels_of(cols)).map(|_| Mutex::new(Sums::EMPTY)).collect();
        ColumnMoments { panels, cols }
    }

    /// The number of parts that [`ColumnMoments::add`] adds at once: independent panels, or the whole sparse array.
    pub fn parts(&self, x: &Source) -> usize {
        if is_scattered(x) { 1 } else { self.panels.len() }
    }

    /// Adds part `part` of some rows. NaN is a missing value.
    pub fn add(&self, isa: Isa, x: &Source, rows: Range<usize>, part: usize) {
        if is_scattered(x) {
            self.add_stored(x, rows);
        } else {
            isa.run(AddRows { isa, x, rows, panel: part, sums: &mut self.lock(part) });
        }
    }

    /// Adds the stored values of rows. The zeros add nothing to the sums, and [`ColumnMoments::columns`] counts them.
    fn add_stored(&self, x: &Source, rows: Range<usize>) {
        let Some(csr) = x.csr() else { return };
        let mut panels: Vec<_> = (0..self.panels.len()).map(|panel| self.lock(panel)).collect();
        for row in rows {
            for place in csr.row(x.place(row)) {
                let col = csr.col(place);
                panels[col / WIDTH].add(col % WIDTH, csr.value(place));
            }
        }
    }

    /// The moments of the columns of `x`, all rows of which were added.
    pub fn columns(&self, x: &Source) -> Vec<Column> {
        let rows = x.rows() as f64;
        (0..self.cols).map(|col| self.column(col, is_scattered(x).then_some(rows))).collect()
    }

    /// The moments of a column; of a sparse array with `rows` rows, all of which are observed but a stored NaN.
    fn column(&self, col: usize, rows: Option<f64>) -> Column {
        let (sums, j) = (self.lock(col / WIDTH), col % WIDTH);
        let (mut least, mut most) = (f64::from(sums.least[j]), f64::from(sums.most[j]));
        let stored = sums.count[j];
        let count = rows.map_or(stored, |rows| rows - sums.holes[j]);
        if count > stored {
            (least, most) = (least.min(0.0), most.max(0.0));
        }
        if count == 0.0 {
            return Column::default();
        }
        let mean = sums.sum[j] / count;
        let variance = (sums.squares[j] / count - mean * mean).max(0.0);
        let zeros = sums.zeros[j] + (count - stored);
        Column { count, mean, variance, zeros, least, most }
    }

    fn lock(&self, panel: usize) -> MutexGuard<'_, Sums> {
        self.panels[panel].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether only the stored values of a sparse array are read. Binarization reads whole panels.
fn is_scattered(x: &Source) -> bool {
    x.csr().is_some() && x.binarize().is_none()
}

/// Adds rows of a panel.
struct AddRows<'a> {
    isa: Isa,
    x: &'a Source<'a>,
    rows: Range<usize>,
    panel: usize,
    sums: &'a mut Sums,
}

impl Op for AddRows<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let AddRows { isa, x, rows, panel, sums } = self;
        let (mut row, mut total) = (ZERO_ROW, sums.clone());
        for i in rows {
            x.read_panel(i, panel, &mut row);
            if let Some(binarize) = x.binarize() {
                binarize.apply(isa, x.place(i), panel, &mut row);
            }
            // A loop for each sum: the compiler vectorises loops over one type.
            let values = floats(&row);
            for (least, &x) in total.least.iter_mut().zip(values) {
                *least = if x < *least { x } else { *least };
            }
            for (most, &x) in total.most.iter_mut().zip(values) {
                *most = if x > *most { x } else { *most };
            }
            for j in 0..WIDTH {
                let observed = !values[j].is_nan();
                let value = if observed { f64::from(values[j]) } else { 0.0 };
                total.count[j] += if observed { 1.0 } else { 0.0 };
                total.sum[j] += value;
                total.squares[j] += value * value;
                total.zeros[j] += if values[j] == 0.0 { 1.0 } else { 0.0 };
            }
        }
        *sums = total;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::csr::Csr;

    fn moments(x: &Source) -> Vec<Column> {
        let found = ColumnMoments::new(x.cols());
        for rows in [0..2, 2..x.rows()] {
            (0..found.parts(x))
                .for_each(|part| found.add(Isa::detect().unwrap(), x, rows.clone(), part));
        }
        found.columns(x)
    }

    #[test]
    fn moments_are_of_the_observed_values() {
        const COLS: usize = 35;
        let mut values = vec![0.0f32; 4 * COLS];
        let column = |values: &mut [f32], j: usize, x: [f32; 4]| {
            (0..4).for_each(|i| values[i * COLS + j] = x[i]);
        };
        column(&mut values, 0, [1.0, 2.0, 3.0, 6.0]);
        column(&mut values, 1, [f32::NAN, 5.0, f32::NAN, -5.0]);
        column(&mut values, 2, [f32::NAN; 4]);
        column(&mut values, 34, [1e5; 4]);
        let found = moments(&Source::from_slice(&values, COLS));
        assert_eq!(found.len(), COLS);
        let column = |count, mean, variance, zeros, [least, most]: [f64; 2]| Column {
            count,
            mean,
            variance,
            zeros,
            least,
            most,
        };
        assert_eq!(found[0], column(4.0, 3.0, 3.5, 0.0, [1.0, 6.0]));
        assert_eq!(found[1], column(2.0, 0.0, 25.0, 0.0, [-5.0, 5.0]));
        assert_eq!(found[2], Column::default());
        assert_eq!(found[3], column(4.0, 0.0, 0.0, 4.0, [0.0, 0.0]));
        assert_eq!((found[34].mean, found[34].deviation()), (1e5, 0.0));
    }

    #[test]
    fn a_sparse_array_has_the_moments_of_the_dense_one() {
        let csr =
            Csr::from_slices(&[0, 3, 3, 5], &[0, 4, 8, 2, 3], &[1., 2., f32::NAN, 4., -5.], 9);
        let mut dense = vec![0.0; 27];
        for (place, x) in [(0, 1.0), (4, 2.0), (8, f32::NAN), (20, 4.0), (21, -5.0)] {
            dense[place] = x;
        }
        // A stored NaN is missing.
        assert_eq!(moments(&Source::from_csr(&csr)), moments(&Source::from_slice(&dense, 9)));
    }
}
