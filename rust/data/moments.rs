//! The moments of the columns of an array, in one pass. Each column has one accumulator in f64, rows ascending: results
//! depend neither on the number of threads nor on whether the array is sparse.

use crate::data::Source;
use crate::error::{Result, collected, filled};
use crate::matrix::panels_of;
use crate::nn::likelihood::{Column, ColumnGroups, Likelihood};
use crate::simd::{Isa, LANES, Lanes, Op, Row, Simd, WIDTH, ZERO_ROW, floats};
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The sums over the observed values of 32 columns.
#[derive(Clone, Debug)]
struct Sums {
    sum: [f64; WIDTH],
    squares: [f64; WIDTH],
    count: [f64; WIDTH],
    zeros: [f64; WIDTH],
    /// The number of stored NaN of a sparse array.
    holes: [f64; WIDTH],
    least: Row,
    most: Row,
    /// Counts of observed values and of nonzeros in the current rows, exact in f32; `count` and `zeros` follow.
    current: [Row; 2],
}

impl Sums {
    const EMPTY: Sums = Sums {
        sum: [0.0; WIDTH],
        squares: [0.0; WIDTH],
        count: [0.0; WIDTH],
        zeros: [0.0; WIDTH],
        holes: [0.0; WIDTH],
        least: [Lanes([f32::INFINITY; LANES]); 2],
        most: [Lanes([f32::NEG_INFINITY; LANES]); 2],
        current: [ZERO_ROW; 2],
    };

    /// Adds a row of the 32 columns. Overwrites NaN by zero.
    #[inline(always)]
    fn add_row<S: Simd>(&mut self, s: S, row: &mut Row) {
        let (one, zero) = (s.splat(1.0), s.zero());
        let [observed, nonzero] = &mut self.current;
        for v in 0..WIDTH / LANES {
            let value = s.load(&row[v]);
            let seen = s.is_number(value);
            let count = s.add(s.load(&observed[v]), s.select(seen, one, zero));
            s.store(count, &mut observed[v]);
            let other = s.select(s.less(zero, s.abs(value)), one, zero);
            s.store(s.add(s.load(&nonzero[v]), other), &mut nonzero[v]);
            s.store(s.min(value, s.load(&self.least[v])), &mut self.least[v]);
            s.store(s.max(value, s.load(&self.most[v])), &mut self.most[v]);
            s.store(s.select(seen, value, zero), &mut row[v]);
        }
        for (j, &x) in floats(row).iter().enumerate() {
            let value = f64::from(x);
            self.sum[j] += value;
            self.squares[j] += value * value;
        }
    }

    /// Adds the counts of the current rows to the totals.
    fn end_rows(&mut self) {
        let [observed, nonzero] = std::mem::replace(&mut self.current, [ZERO_ROW; 2]);
        for j in 0..WIDTH {
            let (observed, nonzero) = (floats(&observed)[j], floats(&nonzero)[j]);
            self.count[j] += f64::from(observed);
            self.zeros[j] += f64::from(observed - nonzero);
        }
    }

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
        let [least, most] =
            [&mut self.least, &mut self.most].map(|row| &mut row[j / LANES].0[j % LANES]);
        (*least, *most) = (least.min(x), most.max(x));
    }

    /// The moments of column `j`; of a sparse array with `rows` rows, all of which are observed but a stored NaN.
    fn column(&self, j: usize, rows: Option<f64>) -> Column {
        let [mut least, mut most] = [&self.least, &self.most].map(|row| f64::from(floats(row)[j]));
        let stored = self.count[j];
        let count = rows.map_or(stored, |rows| rows - self.holes[j]);
        if count > stored {
            (least, most) = (least.min(0.0), most.max(0.0));
        }
        if count == 0.0 {
            return Column::default();
        }
        let mean = self.sum[j] / count;
        let variance = (self.squares[j] / count - mean * mean).max(0.0);
        let zeros = self.zeros[j] + (count - stored);
        Column { count, mean, variance, zeros, least, most }
    }
}

/// Panels that one thread adds row by row: contiguous in a row of the array, and their sums stay in the first-level cache.
const TOGETHER: usize = 16;

/// The moments of the columns of an array, in progress.
pub struct ColumnMoments {
    groups: Vec<Mutex<Vec<Sums>>>,
    cols: usize,
    /// The likelihood whose encoder's transform of the columns is read, if any.
    encoded: Option<Likelihood>,
}

impl ColumnMoments {
    /// The moments of no rows of an array with `cols` columns.
    pub fn new(cols: usize) -> Result<ColumnMoments> {
        let panels = panels_of(cols);
        let group =
            |first| Ok(Mutex::new(filled(Sums::EMPTY, Some(TOGETHER.min(panels - first)))?));
        let groups = (0..panels).step_by(TOGETHER).map(group).collect::<Result<_>>()?;
        Ok(ColumnMoments { groups, cols, encoded: None })
    }

    /// The moments of what the encoder reads of the columns, before it is standardised.
    pub fn encoded(self, likelihood: &Likelihood) -> ColumnMoments {
        ColumnMoments { encoded: Some(likelihood.clone()), ..self }
    }

    /// The number of parts that [`ColumnMoments::add`] adds at once: independent columns, or the whole sparse array.
    pub fn parts(&self, x: &Source) -> usize {
        if self.is_scattered(x) { 1 } else { self.groups.len() }
    }

    /// Adds part `part` of some rows, fewer than 2^24. NaN is a missing value.
    pub fn add(&self, isa: Isa, x: &Source, rows: Range<usize>, part: usize) {
        if self.is_scattered(x) {
            self.add_stored(x, rows);
        } else {
            let first = part * TOGETHER;
            let encoded = self.encoded.as_ref().and_then(|likelihood| likelihood.groups());
            isa.run(AddRows { isa, x, rows, first, encoded, sums: &mut self.lock(part) });
        }
    }

    /// Adds the stored values of rows. The zeros add nothing to the sums, and [`ColumnMoments::columns`] counts them.
    fn add_stored(&self, x: &Source, rows: Range<usize>) {
        let Some(csr) = x.csr() else { return };
        let mut groups: Vec<_> = (0..self.groups.len()).map(|group| self.lock(group)).collect();
        for row in rows {
            for place in csr.row(x.place(row)) {
                let (panel, j) = (csr.col(place) / WIDTH, csr.col(place) % WIDTH);
                groups[panel / TOGETHER][panel % TOGETHER].add(j, csr.value(place));
            }
        }
    }

    /// The moments of the columns of `x`, all rows of which were added.
    pub fn columns(&self, x: &Source) -> Result<Vec<Column>> {
        let rows = self.is_scattered(x).then_some(x.rows() as f64);
        collected((0..self.cols).map(|col| {
            let panel = col / WIDTH;
            self.lock(panel / TOGETHER)[panel % TOGETHER].column(col % WIDTH, rows)
        }))
    }

    /// Whether only the stored values of a sparse array are read. Binarization and transforms read whole panels.
    fn is_scattered(&self, x: &Source) -> bool {
        x.csr().is_some() && x.binarize().is_none() && self.encoded.is_none()
    }

    fn lock(&self, group: usize) -> MutexGuard<'_, Vec<Sums>> {
        self.groups[group].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds rows of the panels from `first` on.
struct AddRows<'a> {
    isa: Isa,
    x: &'a Source<'a>,
    rows: Range<usize>,
    first: usize,
    encoded: Option<&'a ColumnGroups>,
    sums: &'a mut [Sums],
}

impl Op for AddRows<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let AddRows { isa, x, rows, first, encoded, sums } = self;
        let mut values = ZERO_ROW;
        for row in rows {
            let mut place = 0;
            for (panel, sums) in (first..).zip(&mut *sums) {
                x.read_next_panel(row, panel, &mut values, &mut place);
                if let Some(binarize) = x.binarize() {
                    binarize.apply(isa, x.place(row), panel, &mut values);
                }
                if let Some(groups) = encoded {
                    groups.panels[panel].encode(s, &mut values);
                }
                sums.add_row(s, &mut values);
            }
        }
        sums.iter_mut().for_each(Sums::end_rows);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::csr::Csr;

    fn moments(x: &Source) -> Vec<Column> {
        let found = ColumnMoments::new(x.cols()).unwrap();
        for rows in [0..2, 2..x.rows()] {
            (0..found.parts(x))
                .for_each(|part| found.add(Isa::detect().unwrap(), x, rows.clone(), part));
        }
        found.columns(x).unwrap()
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
