//! Likelihoods p(x|z): log-probability, its gradient and the mean, from the decoder's output y.
//!
//! | likelihood | y | log p(x), one feature, nats | d(-log p)/dy | mean |
//! |---|---|---|---|---|
//! | Bernoulli | logit | x y - ln(1 + e^y) | sigmoid(y) - x | sigmoid(y) |
//! | Gaussian | mean | -((x - y) / s)² / 2 - ln s - ln(2 pi) / 2 | (y - x) / s² | y |
//! | squared error | mean | -(x - y)², which is no probability: the plain autoencoder's loss, negative | 2 (y - x) | y |

use crate::isa::{Arithmetic, LANES, Op, Row, Several, Simd, in_groups};
use crate::math;

/// p(x|z).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Likelihood {
    /// Independent Bernoulli features, x in [0, 1] (a cross-entropy for values in between).
    Bernoulli,
    /// Independent Gaussian features.
    Gaussian(Scale),
    /// No likelihood: the squared error as a loss, for a plain autoencoder.
    SquaredError,
}

/// The standard deviation of a Gaussian likelihood.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scale {
    /// Given.
    Fixed(f32),
    /// One learned value.
    Shared,
    /// A learned value per feature.
    PerFeature,
}

/// Learned scales stay above this (their logarithm above the logarithm of this): a feature that the decoder
/// predicts perfectly would otherwise have infinite likelihood.
pub const MIN_LOG_SCALE: f32 = -6.907_755_4; // ln 0.001

impl Likelihood {
    /// Values that x may take.
    pub fn support(self) -> (f32, f32) {
        match self {
            Likelihood::Bernoulli => (0.0, 1.0),
            Likelihood::Gaussian(_) | Likelihood::SquaredError => (f32::MIN, f32::MAX),
        }
    }
}

/// One likelihood over sixteen features. To add one: a variant, a type that implements this, a line in
/// `with_likelihood!`.
pub(crate) trait Function {
    /// log p(x|y) in nats and the gradient of -log p with respect to y.
    fn log_prob<S: Arithmetic>(s: S, x: S::F, y: S::F, log_scale: S::F) -> (S::F, S::F);
    /// E[x|y].
    fn mean<S: Arithmetic>(s: S, y: S::F) -> S::F;
}

macro_rules! with_likelihood {
    ($likelihood:expr, $F:ident => $body:expr) => {
        match $likelihood {
            Likelihood::Bernoulli => {
                type $F = Bernoulli;
                $body
            }
            Likelihood::Gaussian(_) => {
                type $F = Gaussian;
                $body
            }
            Likelihood::SquaredError => {
                type $F = SquaredError;
                $body
            }
        }
    };
}

struct Bernoulli;
impl Function for Bernoulli {
    #[inline(always)]
    fn log_prob<S: Arithmetic>(s: S, x: S::F, y: S::F, _: S::F) -> (S::F, S::F) {
        // ln(1 + e^y) = max(y, 0) + ln(1 + e^-|y|): nothing overflows or cancels for large |y|.
        let e = math::exp(s, s.neg(s.abs(y)));
        let inverse = s.div(s.splat(1.0), s.add(s.splat(1.0), e));
        let sigmoid = s.select(s.less(y, s.zero()), s.mul(e, inverse), inverse);
        let linear = s.fma(x, y, s.neg(s.max(s.zero(), y)));
        (s.sub(linear, math::ln_1p(s, e)), s.sub(sigmoid, x))
    }
    #[inline(always)]
    fn mean<S: Arithmetic>(s: S, y: S::F) -> S::F {
        math::sigmoid(s, y)
    }
}

struct Gaussian;
impl Function for Gaussian {
    #[inline(always)]
    fn log_prob<S: Arithmetic>(s: S, x: S::F, y: S::F, log_scale: S::F) -> (S::F, S::F) {
        const HALF_LN_2PI: f32 = 0.918_938_5;
        let inverse = math::exp(s, s.neg(log_scale));
        let residual = s.mul(s.sub(y, x), inverse);
        let constant = s.add(log_scale, s.splat(HALF_LN_2PI));
        let half = s.mul(s.splat(0.5), residual);
        (s.neg(s.fma(half, residual, constant)), s.mul(residual, inverse))
    }
    #[inline(always)]
    fn mean<S: Arithmetic>(_: S, y: S::F) -> S::F {
        y
    }
}

struct SquaredError;
impl Function for SquaredError {
    #[inline(always)]
    fn log_prob<S: Arithmetic>(s: S, x: S::F, y: S::F, _: S::F) -> (S::F, S::F) {
        let residual = s.sub(y, x);
        (s.neg(s.mul(residual, residual)), s.add(residual, residual))
    }
    #[inline(always)]
    fn mean<S: Arithmetic>(_: S, y: S::F) -> S::F {
        y
    }
}

/// The output layer's epilogue: adds the bias, writes each row's sum of log p over this panel's features and,
/// if wanted, `weight` times the gradient of -log p.
pub struct LogProb<'a> {
    /// p(x|z).
    pub likelihood: Likelihood,
    /// The products of the tile.
    pub products: &'a [Row],
    /// Features in this panel.
    pub cols: usize,
    /// The panel's bias.
    pub bias: &'a Row,
    /// ln s of the panel's features (Gaussian only).
    pub log_scale: &'a Row,
    /// The tile's rows of x.
    pub targets: &'a [Row],
    /// Nats, one per row.
    pub log_prob: &'a mut [f32],
    /// The tile's rows of the gradient, empty if it is not wanted; in the vectors in use, padding becomes zero.
    pub gradient: &'a mut [Row],
    /// The factor of the gradient.
    pub weight: f32,
}

impl Op for LogProb<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        with_likelihood!(self.likelihood, F => self.with::<S, F>(s));
    }
}

impl LogProb<'_> {
    #[inline(always)]
    fn with<S: Simd, F: Function>(mut self, s: S) {
        in_groups!(self.products.len(), N, first => {
            match self.gradient.is_empty() {
                true => self.rows::<S, F, N, false>(s, first),
                false => self.rows::<S, F, N, true>(s, first),
            }
        });
    }

    #[inline(always)]
    fn rows<S: Simd, F: Function, const N: usize, const GRADIENT: bool>(
        &mut self,
        s: S,
        first: usize,
    ) {
        let (several, weight) = (Several::<S, N>(s), s.splat(self.weight));
        let products = &self.products[first..first + N];
        let targets = &self.targets[first..first + N];
        let gradient = if GRADIENT { &mut self.gradient[first..first + N] } else { &mut [] };
        let mut sums = several.zero();
        for v in 0..self.cols.div_ceil(LANES).min(2) {
            let used = s.first(self.cols - v * LANES);
            let (bias, log_scale) = (s.load(&self.bias[v]), s.load(&self.log_scale[v]));
            let (mut x, mut y) = (several.zero(), several.zero());
            for i in 0..N {
                x[i] = s.load(&targets[i][v]);
                y[i] = s.add(s.load(&products[i][v]), bias);
            }
            let (log_prob, slope) = F::log_prob(several, x, y, [log_scale; N]);
            for i in 0..N {
                sums[i] = s.add(sums[i], s.select(used, log_prob[i], s.zero()));
                if GRADIENT {
                    let slope = s.select(used, s.mul(slope[i], weight), s.zero());
                    s.store(slope, &mut gradient[i][v]);
                }
            }
        }
        let log_prob = &mut self.log_prob[first..first + N];
        for i in 0..N {
            log_prob[i] = s.sum(sums[i]);
        }
    }
}

/// The output layer's epilogue when only E[x|z] is wanted.
pub struct Mean<'a> {
    /// p(x|z).
    pub likelihood: Likelihood,
    /// The products of the tile, overwritten with the means.
    pub products: &'a mut [Row],
    /// How many of a row's two vectors are in use.
    pub vectors: usize,
    /// The panel's bias.
    pub bias: &'a Row,
}

impl Op for Mean<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        with_likelihood!(self.likelihood, F => self.with::<S, F>(s));
    }
}

impl Mean<'_> {
    #[inline(always)]
    fn with<S: Simd, F: Function>(mut self, s: S) {
        in_groups!(self.products.len(), N, first => self.rows::<S, F, N>(s, first));
    }

    #[inline(always)]
    fn rows<S: Simd, F: Function, const N: usize>(&mut self, s: S, first: usize) {
        let several = Several::<S, N>(s);
        for v in 0..self.vectors {
            let mut y = several.zero();
            for i in 0..N {
                y[i] = s.add(s.load(&self.products[first + i][v]), s.load(&self.bias[v]));
            }
            let mean = F::mean(several, y);
            for i in 0..N {
                s.store(mean[i], &mut self.products[first + i][v]);
            }
        }
    }
}

/// The gradient of the mean loss with respect to ln s, per feature: weight * sum over rows of (1 - r²), where
/// r = (x - y) / s is recovered from the stored gradient weight * r / s. Rows ascending.
pub struct ScaleGradient<'a> {
    /// The panel of stored gradients.
    pub gradient: &'a [Row],
    /// Features in this panel.
    pub cols: usize,
    /// ln s of the panel's features.
    pub log_scale: &'a Row,
    /// The factor in the stored gradients.
    pub weight: f32,
    /// Where to; padding becomes zero.
    pub out: &'a mut Row,
}

impl Op for ScaleGradient<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for v in 0..2 {
            let used = s.first(self.cols.saturating_sub(16 * v));
            // A weight of zero (the KL alone is trained) leaves nothing to recover, and nothing to learn.
            let per_weight = if self.weight == 0.0 { 0.0 } else { 1.0 / self.weight };
            let scale = s.mul(math::exp(s, s.load(&self.log_scale[v])), s.splat(per_weight));
            let mut sum = s.zero();
            for row in self.gradient {
                let r = s.mul(s.load(&row[v]), scale);
                sum = s.add(sum, s.sub(s.splat(1.0), s.mul(r, r)));
            }
            let sum = s.mul(sum, s.splat(self.weight));
            s.store(s.select(used, sum, s.zero()), &mut self.out[v]);
        }
    }
}
