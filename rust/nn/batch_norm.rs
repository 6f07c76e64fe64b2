//! Batch normalisation of a layer's columns without a learned scale (Ioffe & Szegedy, arXiv:1502.03167), with the
//! constants of `torch.nn.BatchNorm1d`: y = (x - mean) / sqrt(variance + eps). A learned shift is added by the epilogue
//! that reads y.
//!
//! Training uses the batch's mean and population variance, inference the running statistics. These move towards the
//! batch's mean and unbiased variance.

use crate::simd::{LANES, Op, Row, Simd};

/// eps, added to the variance.
const EPS: f32 = 1e-5;
/// The weight of a batch in the running statistics.
const MOMENTUM: f32 = 0.1;

/// The statistics of a panel's columns in a batch, each a row of 32 columns.
pub struct ColumnStatistics<'a> {
    /// The means of x.
    pub mean: &'a mut Row,
    /// The population variances of x.
    pub variance: &'a mut Row,
    /// 1 / sqrt(variance + eps), the factor of the forward pass.
    pub inverse: &'a mut Row,
    /// The sums of dL/dy over the batch: the gradient of the shift.
    pub shift: &'a mut Row,
}

impl<'a> ColumnStatistics<'a> {
    /// The number of rows.
    pub const ROWS: usize = 4;

    /// The statistics stored in [`ColumnStatistics::ROWS`] rows.
    pub fn of(rows: &'a mut [Row]) -> ColumnStatistics<'a> {
        let [mean, variance, inverse, shift] = rows else { panic!("statistics take four rows") };
        ColumnStatistics { mean, variance, inverse, shift }
    }
}

/// Normalises columns of a panel in place, with `running` statistics or else those of the batch.
pub struct Normalize<'a> {
    /// The panel [batch, 32]: x in, y out.
    pub rows: &'a mut [Row],
    /// The number of columns to normalise, from the first on. The others are unchanged.
    pub cols: usize,
    /// Running means and variances, to use in place of the batch's.
    pub running: Option<[&'a Row; 2]>,
    /// Receives mean, variance and factor.
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

/// Computes dL/dx from dL/dy, in place: (dy - mean(dy) - y mean(dy y)) / sqrt(variance + eps), means over the batch, if
/// the forward pass used the batch's statistics; dy / sqrt(variance + eps) if it used the running statistics.
pub struct NormalizeGradient<'a> {
    /// The panel [batch, 32]: dL/dy in, dL/dx out.
    pub gradient: &'a mut [Row],
    /// The panel of y, [batch, 32].
    pub values: &'a [Row],
    /// The number of normalised columns. The others are unchanged.
    pub cols: usize,
    /// The forward pass's statistics; receives the gradient of the shift.
    pub columns: ColumnStatistics<'a>,
    /// Whether the forward pass used the batch's statistics.
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

/// Moves running statistics towards those of a batch, except in columns where a result would not be finite.
pub struct UpdateRunning<'a> {
    /// The batch's statistics.
    pub columns: ColumnStatistics<'a>,
    /// The number of rows of the batch, at least two.
    pub rows: usize,
    /// The number of normalised columns.
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
