//! Batch normalisation of a layer's columns without a learned scale (Ioffe & Szegedy, arXiv:1502.03167), with the
//! constants of `torch.nn.BatchNorm1d`: y = (x - mean) / sqrt(variance + eps). A shift, where there is one, is added by who
//! reads y.
//!
//! Of the batch in training (its population variance), of the running statistics elsewhere; those follow the batches with
//! their unbiased variance.

use crate::simd::{LANES, Op, Row, Simd};

/// Added to the variance.
const EPS: f32 = 1e-5;
/// The weight of a batch in the running statistics.
const MOMENTUM: f32 = 0.1;

/// What is known of a panel's columns in a batch.
pub struct ColumnStatistics<'a> {
    /// Their means.
    pub mean: &'a mut Row,
    /// Their population variances.
    pub variance: &'a mut Row,
    /// 1 / sqrt(variance + eps) of the statistics that were used.
    pub inverse: &'a mut Row,
    /// The sums of dL/dy over the batch: the gradient of a shift.
    pub shift: &'a mut Row,
}

impl<'a> ColumnStatistics<'a> {
    /// Rows that it takes.
    pub const ROWS: usize = 4;

    /// In these rows.
    pub fn of(rows: &'a mut [Row]) -> ColumnStatistics<'a> {
        let [mean, variance, inverse, shift] = rows else { panic!("statistics take four rows") };
        ColumnStatistics { mean, variance, inverse, shift }
    }
}

/// Normalises columns of a panel in place, by `running` statistics (means and variances) or, without, by their own.
pub struct Normalize<'a> {
    /// The panel: x in, y out.
    pub rows: &'a mut [Row],
    /// Columns of the panel to be normalised, from the first one on; the others stay.
    pub cols: usize,
    /// The statistics to use in the place of the batch's.
    pub running: Option<[&'a Row; 2]>,
    /// What was found.
    pub columns: ColumnStatistics<'a>,
}

impl Op for Normalize<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Normalize { rows, cols, running, columns } = self;
        let share = s.div(s.splat(1.0), s.splat(rows.len() as f32));
        for v in 0..cols.div_ceil(LANES).min(2) {
            let (mean, variance) = match running {
                Some([mean, variance]) => (s.load(&mean[v]), s.load(&variance[v])),
                None => {
                    let [mut sum, mut squares] = [s.zero(); 2];
                    for row in &*rows {
                        sum = s.add(sum, s.load(&row[v]));
                    }
                    let mean = s.mul(sum, share);
                    for row in &*rows {
                        let x = s.sub(s.load(&row[v]), mean);
                        squares = s.fma(x, x, squares);
                    }
                    (mean, s.mul(squares, share))
                }
            };
            let inverse = s.div(s.splat(1.0), s.sqrt(s.add(variance, s.splat(EPS))));
            s.store(mean, &mut columns.mean[v]);
            s.store(variance, &mut columns.variance[v]);
            s.store(inverse, &mut columns.inverse[v]);
            let used = s.first(cols - v * LANES);
            for row in &mut *rows {
                let x = s.load(&row[v]);
                let y = s.mul(s.sub(x, mean), inverse);
                s.store(s.select(used, y, x), &mut row[v]);
            }
        }
    }
}

/// From dL/dy to dL/dx, in place: (dy - mean(dy) - y mean(dy y)) / sqrt(variance + eps) where the statistics were the
/// batch's, the means over its rows; dy / sqrt(variance + eps) where they were the running ones.
pub struct NormalizeGradient<'a> {
    /// The panel of dy; dx out.
    pub gradient: &'a mut [Row],
    /// The panel of y.
    pub values: &'a [Row],
    /// Columns that were normalised; the others stay.
    pub cols: usize,
    /// What the forward pass has found; the shift's gradient is new.
    pub columns: ColumnStatistics<'a>,
    /// Whether the statistics were the batch's.
    pub of_batch: bool,
}

impl Op for NormalizeGradient<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let NormalizeGradient { gradient, values, cols, columns, of_batch } = self;
        let share = s.splat(if of_batch { 1.0 / gradient.len() as f32 } else { 0.0 });
        for v in 0..cols.div_ceil(LANES).min(2) {
            let mut sums = [s.zero(); 2];
            for (d, y) in gradient.iter().zip(values) {
                let d = s.load(&d[v]);
                sums = [s.add(sums[0], d), s.fma(d, s.load(&y[v]), sums[1])];
            }
            s.store(sums[0], &mut columns.shift[v]);
            let [mean, slope] = [s.mul(sums[0], share), s.mul(sums[1], share)];
            let (inverse, used) = (s.load(&columns.inverse[v]), s.first(cols - v * LANES));
            for (d, y) in gradient.iter_mut().zip(values) {
                let dy = s.load(&d[v]);
                let centred = s.sub(dy, s.fma(s.load(&y[v]), slope, mean));
                s.store(s.select(used, s.mul(centred, inverse), dy), &mut d[v]);
            }
        }
    }
}

/// Moves running statistics towards a batch's: those of columns where both stay finite.
pub struct UpdateRunning<'a> {
    /// The batch's.
    pub columns: ColumnStatistics<'a>,
    /// Its rows: at least two.
    pub rows: usize,
    /// Columns that are normalised.
    pub cols: usize,
    /// Running means and variances.
    pub running: [&'a mut Row; 2],
}

impl Op for UpdateRunning<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let UpdateRunning { columns, rows, cols, running: [mean, variance] } = self;
        let unbiased = s.splat(rows as f32 / (rows - 1) as f32);
        for v in 0..cols.div_ceil(LANES).min(2) {
            let used = s.first(cols - v * LANES);
            let found = [s.load(&columns.mean[v]), s.mul(unbiased, s.load(&columns.variance[v]))];
            let now = [s.load(&mean[v]), s.load(&variance[v])];
            let mut then = now;
            for i in 0..2 {
                then[i] = s.fma(s.splat(MOMENTUM), s.sub(found[i], now[i]), now[i]);
            }
            let finite = s.less(s.max(s.abs(then[0]), then[1]), s.splat(f32::MAX));
            for (i, to) in [&mut mean[v], &mut variance[v]].into_iter().enumerate() {
                let then = s.select(finite, then[i], now[i]);
                s.store(s.select(used, then, s.zero()), to);
            }
        }
    }
}
