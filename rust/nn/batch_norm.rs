//! Batch normalisation of a layer's columns without a learned scale (Ioffe & Szegedy, arXiv:1502.03167), with the
//! constants of `torch.nn.BatchNorm1d`: y = (x - mean) / sqrt(variance + eps). A learned shift is added by the epilogue
//! that reads y.
//!
//! Training uses the batch's mean and population variance, inference the running statistics. These move towards the
//! batch's mean and unbiased variance.

use crate::simd::{LANES, Op, Row, Simd, WIDTH, ZERO_ROW, floats, floats_mut};

/// eps, added to the variance.
pub(super) const EPS: f32 = 1e-5;
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
    /// The [`ShiftSums`], two rows: the first is the gradient of the shift.
    pub sums: &'a mut [Row],
}

impl<'a> ColumnStatistics<'a> {
    /// The number of rows.
    pub const ROWS: usize = 5;

    /// The statistics stored in [`ColumnStatistics::ROWS`] rows.
    pub fn of(rows: &'a mut [Row]) -> ColumnStatistics<'a> {
        let [mean, variance, inverse, sums @ ..] = rows else {
            panic!("statistics take five rows")
        };
        ColumnStatistics { mean, variance, inverse, sums }
    }
}

/// Replaces rows by their sums over all ranks of a training; `sum` adds up values.
pub fn sum_rows<'a>(rows: impl Iterator<Item = &'a mut Row>, sum: &mut dyn FnMut(&mut [f64])) {
    let rows: Vec<&mut Row> = rows.collect();
    let each = |row: &&mut Row| floats(row).to_vec();
    let mut values: Vec<f64> = rows.iter().flat_map(each).map(f64::from).collect();
    sum(&mut values);
    for (row, values) in rows.into_iter().zip(values.chunks_exact(WIDTH)) {
        let to = floats_mut(std::slice::from_mut(row)).iter_mut();
        to.zip(values).for_each(|(to, &value)| *to = value as f32);
    }
}

/// Replaces the statistics `of` each panel of a part of a batch, the share `share` of all its values, by those of the batch: the
/// mean of the means, and the mean of the variances and the squared distances of the means (Chan, Golub & LeVeque 1983). `sum`
/// adds up values over all parts.
pub fn merge_over_ranks<'a>(
    of: &dyn Fn(usize) -> ColumnStatistics<'a>,
    panels: usize,
    share: f64,
    sum: &mut dyn FnMut(&mut [f64]),
) {
    let mut own = Vec::with_capacity(panels * WIDTH);
    for panel in 0..panels {
        let ColumnStatistics { mean, variance, .. } = of(panel);
        let [mean, variance] = [mean, variance].map(|row| floats(row));
        let pairs = mean.iter().zip(variance);
        own.extend(pairs.map(|(&mean, &variance)| (f64::from(mean), f64::from(variance))));
    }
    let mut means: Vec<f64> = own.iter().map(|(mean, _)| share * mean).collect();
    sum(&mut means);
    let distances = own.iter().zip(&means);
    let mut variances: Vec<f64> = distances
        .map(|((mean, variance), all)| share * (variance + (mean - all) * (mean - all)))
        .collect();
    sum(&mut variances);
    for panel in 0..panels {
        let ColumnStatistics { mean, variance, inverse, .. } = of(panel);
        let [mean, variance, inverse] =
            [mean, variance, inverse].map(|row| floats_mut(std::slice::from_mut(row)));
        for j in 0..WIDTH {
            let found = variances[panel * WIDTH + j];
            mean[j] = means[panel * WIDTH + j] as f32;
            variance[j] = found as f32;
            inverse[j] = (1.0 / (found + f64::from(EPS)).sqrt()) as f32;
        }
    }
}

/// Normalises columns of a panel in place, with `given` statistics or else those of the rows.
pub struct Normalize<'a> {
    /// The panel [batch, 32]: x in, y out.
    pub rows: &'a mut [Row],
    /// The number of columns to normalise, from the first on. The others are unchanged.
    pub cols: usize,
    /// Means and variances to use in place of those of the rows.
    pub given: Option<[&'a Row; 2]>,
    /// Receives mean, variance and factor.
    pub columns: ColumnStatistics<'a>,
}

impl Op for Normalize<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Normalize { rows, cols, given, columns } = self;
        let share = s.div(s.splat(1.0), s.splat(rows.len() as f32));
        for v in 0..cols.div_ceil(LANES).min(2) {
            let (mean, variance) = match given {
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

/// The sums over a panel's rows of dL/dy, for the gradient of the shift, and of dL/dy y.
pub struct ShiftSums<'a> {
    /// The panel of dL/dy, [batch, 32].
    pub gradient: &'a [Row],
    /// The panel of y, [batch, 32].
    pub values: &'a [Row],
    /// The number of normalised columns.
    pub cols: usize,
}

impl Op for ShiftSums<'_> {
    type Output = [Row; 2];
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> [Row; 2] {
        let ShiftSums { gradient, values, cols } = self;
        let mut found = [ZERO_ROW; 2];
        for v in 0..cols.div_ceil(LANES).min(2) {
            let mut sums = [s.zero(); 2];
            for (d, y) in gradient.iter().zip(values) {
                let d = s.load(&d[v]);
                sums = [s.add(sums[0], d), s.fma(d, s.load(&y[v]), sums[1])];
            }
            s.store(sums[0], &mut found[0][v]);
            s.store(sums[1], &mut found[1][v]);
        }
        found
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
    /// The forward pass's statistics.
    pub columns: ColumnStatistics<'a>,
    /// The [`ShiftSums`] of the batch.
    pub sums: &'a [Row],
    /// One over the number of rows of the batch; zero if the forward pass used the running statistics.
    pub share: f32,
}

impl Op for NormalizeGradient<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let NormalizeGradient { gradient, values, cols, columns, sums, share } = self;
        let share = s.splat(share);
        for v in 0..cols.div_ceil(LANES).min(2) {
            let [mean, slope] = [0, 1].map(|i| s.mul(s.load(&sums[i][v]), share));
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
