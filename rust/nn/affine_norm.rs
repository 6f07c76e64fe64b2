//! Batch normalisation with a learned scale and shift over the rows and the pixels of an image (Ioffe & Szegedy,
//! arXiv:1502.03167), with the constants of `torch.nn.BatchNorm2d`: y = scale (x - mean) / sqrt(variance + eps) + shift, for
//! each channel. A dense layer's output is an image of one pixel, as `torch.nn.BatchNorm1d` has it.
//!
//! Statistics are computed from parts, one for each pixel, whose rows stay in the cache for both passes over them; the parts
//! are added up pixels ascending, so that no bit depends on the threads.

use super::batch_norm::{ColumnStatistics, EPS};
use crate::simd::{Op, Row, Simd, ZERO_ROW};

/// Adds `x` to a sum, and the sum's rounding error, which is exact, to another (Knuth, TAOCP 2, 4.2.2, theorem B): dL/dx of many
/// values is a small difference from their mean.
#[inline(always)]
fn add_exactly<S: Simd>(s: S, sum: &mut S::F, error: &mut S::F, x: S::F) {
    let old = *sum;
    *sum = s.add(old, x);
    let added = s.sub(*sum, old);
    let lost = s.add(s.sub(old, s.sub(*sum, added)), s.sub(x, added));
    *error = s.add(*error, lost);
}

/// Rows of the part of one pixel: two sums.
pub const PART: usize = 2;

/// The mean of a pixel's rows and the sum of squared deviations from it.
pub struct Moments<'a> {
    /// A panel of x, [batch, 32].
    pub values: &'a [Row],
    /// The number of vectors (1 or 2) of a row in use.
    pub vectors: usize,
    /// Receives both, [`PART`] rows.
    pub out: &'a mut [Row],
}

impl Op for Moments<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Moments { values, vectors, out } = self;
        let share = s.splat(1.0 / values.len() as f32);
        for v in 0..vectors {
            let [mut sum, mut squares] = [s.zero(); 2];
            for row in values {
                sum = s.add(sum, s.load(&row[v]));
            }
            let mean = s.mul(sum, share);
            for row in values {
                let x = s.sub(s.load(&row[v]), mean);
                squares = s.fma(x, x, squares);
            }
            s.store(mean, &mut out[0][v]);
            s.store(squares, &mut out[1][v]);
        }
    }
}

/// Computes the statistics of a panel of channels from the [`Moments`] of all pixels (Chan, Golub & LeVeque 1983), or takes
/// the running ones.
pub struct Statistics<'a> {
    /// [`PART`] rows for each pixel.
    pub parts: &'a [Row],
    /// Rows of each pixel.
    pub rows: usize,
    /// The number of vectors (1 or 2) of a row in use.
    pub vectors: usize,
    /// Running means and variances, to use in place of the batch's.
    pub running: Option<[&'a Row; 2]>,
    /// Receives mean, variance and factor.
    pub columns: ColumnStatistics<'a>,
}

impl Op for Statistics<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Statistics { parts, rows, vectors, running, columns } = self;
        let (rows, pixels) = (rows as f32, (parts.len() / PART) as f32);
        for v in 0..vectors {
            let (mean, variance) = match running {
                Some([mean, variance]) => (s.load(&mean[v]), s.load(&variance[v])),
                None => {
                    let [mut means, mut within, mut between] = [s.zero(); 3];
                    let mut error = s.zero();
                    for part in parts.chunks_exact(PART) {
                        add_exactly(s, &mut means, &mut error, s.load(&part[0][v]));
                        within = s.add(within, s.load(&part[1][v]));
                    }
                    let mean = s.div(s.add(means, error), s.splat(pixels));
                    for part in parts.chunks_exact(PART) {
                        let x = s.sub(s.load(&part[0][v]), mean);
                        between = s.fma(x, x, between);
                    }
                    let squares = s.fma(between, s.splat(rows), within);
                    (mean, s.div(squares, s.splat(rows * pixels)))
                }
            };
            let inverse = s.div(s.splat(1.0), s.sqrt(s.add(variance, s.splat(EPS))));
            s.store(mean, &mut columns.mean[v]);
            s.store(variance, &mut columns.variance[v]);
            s.store(inverse, &mut columns.inverse[v]);
        }
    }
}

/// `out = scale (x - mean) / sqrt(variance + eps)`.
pub struct Standardize<'a> {
    /// Rows of a panel of x.
    pub values: &'a [Row],
    /// The number of vectors (1 or 2) of a row in use.
    pub vectors: usize,
    /// The panel's means.
    pub mean: &'a Row,
    /// 1 / sqrt(variance + eps).
    pub inverse: &'a Row,
    /// The learned scale.
    pub scale: &'a Row,
    /// Receives as many rows.
    pub out: &'a mut [Row],
}

impl Op for Standardize<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for v in 0..self.vectors {
            let mean = s.load(&self.mean[v]);
            let factor = s.mul(s.load(&self.scale[v]), s.load(&self.inverse[v]));
            for (x, out) in self.values.iter().zip(&mut *self.out) {
                s.store(s.mul(s.sub(s.load(&x[v]), mean), factor), &mut out[v]);
            }
        }
    }
}

/// The sums over a pixel's rows that are its part of the gradient of scale and shift: of dy (x - mean) / sqrt(variance + eps)
/// and of dy.
pub struct GradientSums<'a> {
    /// A panel of dL/dy, [batch, 32].
    pub gradient: &'a [Row],
    /// A panel of x, [batch, 32].
    pub values: &'a [Row],
    /// The number of vectors (1 or 2) of a row in use.
    pub vectors: usize,
    /// The panel's means.
    pub mean: &'a Row,
    /// 1 / sqrt(variance + eps).
    pub inverse: &'a Row,
    /// Receives both, [`PART`] rows.
    pub out: &'a mut [Row],
}

impl Op for GradientSums<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let GradientSums { gradient, values, vectors, mean, inverse, out } = self;
        for v in 0..vectors {
            let (mean, mut sums) = (s.load(&mean[v]), [s.zero(); 2]);
            for (d, x) in gradient.iter().zip(values) {
                let (d, x) = (s.load(&d[v]), s.sub(s.load(&x[v]), mean));
                sums = [s.fma(d, x, sums[0]), s.add(sums[1], d)];
            }
            s.store(s.mul(sums[0], s.load(&inverse[v])), &mut out[0][v]);
            s.store(sums[1], &mut out[1][v]);
        }
    }
}

/// Adds up the parts of all pixels.
pub struct AddParts<'a> {
    /// [`PART`] rows for each pixel.
    pub parts: &'a [Row],
    /// The number of vectors (1 or 2) of a row in use.
    pub vectors: usize,
    /// Receives the sums, [`PART`] rows.
    pub out: &'a mut [Row],
}

impl Op for AddParts<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for v in 0..self.vectors {
            for (i, out) in self.out.iter_mut().enumerate() {
                let [mut sum, mut error] = [s.zero(); 2];
                for part in self.parts.chunks_exact(PART) {
                    add_exactly(s, &mut sum, &mut error, s.load(&part[i][v]));
                }
                s.store(s.add(sum, error), &mut out[v]);
            }
        }
    }
}

/// Computes dL/dx from dL/dy, in place: scale (dy - mean(dy) - x̂ mean(dy x̂)) / sqrt(variance + eps) with
/// x̂ = (x - mean) / sqrt(variance + eps) and means over the batch and all pixels, if the forward pass used the batch's
/// statistics; scale dy / sqrt(variance + eps) if it used the running statistics.
pub struct NormGradient<'a> {
    /// A panel, [batch, 32]: dL/dy in, dL/dx out.
    pub gradient: &'a mut [Row],
    /// A panel of x, [batch, 32].
    pub values: &'a [Row],
    /// The number of vectors (1 or 2) of a row in use. The others become zero.
    pub vectors: usize,
    /// The panel's means.
    pub mean: &'a Row,
    /// 1 / sqrt(variance + eps).
    pub inverse: &'a Row,
    /// The learned scale.
    pub scale: &'a Row,
    /// The gradients of scale and shift.
    pub sums: &'a [Row],
    /// One over the number of rows of all pixels; zero if the forward pass used the running statistics.
    pub share: f32,
}

impl Op for NormGradient<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let NormGradient { gradient, values, vectors, mean, inverse, scale, sums, share } = self;
        for v in 0..vectors {
            let (mean, inverse) = (s.load(&mean[v]), s.load(&inverse[v]));
            let factor = s.mul(s.load(&scale[v]), inverse);
            let share = s.splat(share);
            let slope = s.mul(s.mul(s.load(&sums[0][v]), share), inverse);
            let centre = s.mul(s.load(&sums[1][v]), share);
            for (d, x) in gradient.iter_mut().zip(values) {
                let x = s.sub(s.load(&x[v]), mean);
                let dy = s.sub(s.load(&d[v]), s.fma(x, slope, centre));
                s.store(s.mul(dy, factor), &mut d[v]);
            }
        }
        for row in gradient {
            row[vectors..].fill(ZERO_ROW[0]);
        }
    }
}
