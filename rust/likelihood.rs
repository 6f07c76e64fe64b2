//! Likelihoods p(x|z): log-probability, its gradient and the mean, from the decoder's output y.
//!
//! | likelihood | y | log p(x), one feature, nats | d(-log p)/dy | mean |
//! |---|---|---|---|---|
//! | Bernoulli | logit | x y - ln(1 + e^y) | sigmoid(y) - x | sigmoid(y) |
//! | Gaussian | mean | -((x - y) / s)² / 2 - ln s - ln(2 pi) / 2 | (y - x) / s² | y |

use crate::isa::{Op, Row, Simd};
use crate::math;

/// p(x|z).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Likelihood {
    /// Independent Bernoulli features, x in [0, 1] (a cross-entropy for values in between).
    Bernoulli,
    /// Independent Gaussian features.
    Gaussian(Scale),
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
            Likelihood::Gaussian(_) => (f32::MIN, f32::MAX),
        }
    }
}

/// One likelihood over sixteen features. To add one: a variant, a type that implements this, a line in
/// `with_likelihood!`.
pub(crate) trait Function {
    /// log p(x|y) in nats and the gradient of -log p with respect to y.
    fn log_prob<S: Simd>(s: S, x: S::F, y: S::F, log_scale: S::F) -> (S::F, S::F);
    /// E[x|y].
    fn mean<S: Simd>(s: S, y: S::F) -> S::F;
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
        }
    };
}

struct Bernoulli;
impl Function for Bernoulli {
    #[inline(always)]
    fn log_prob<S: Simd>(s: S, x: S::F, y: S::F, _: S::F) -> (S::F, S::F) {
        // ln(1 + e^y) = max(y, 0) + ln(1 + e^-|y|): nothing overflows or cancels for large |y|.
        let e = math::exp(s, s.neg(s.abs(y)));
        let inverse = s.div(s.splat(1.0), s.add(s.splat(1.0), e));
        let sigmoid = s.select(s.less(y, s.zero()), s.mul(e, inverse), inverse);
        let linear = s.fma(x, y, s.neg(s.max(s.zero(), y)));
        (s.sub(linear, math::ln_1p(s, e)), s.sub(sigmoid, x))
    }
    #[inline(always)]
    fn mean<S: Simd>(s: S, y: S::F) -> S::F {
        math::sigmoid(s, y)
    }
}

struct Gaussian;
impl Function for Gaussian {
    #[inline(always)]
    fn log_prob<S: Simd>(s: S, x: S::F, y: S::F, log_scale: S::F) -> (S::F, S::F) {
        const HALF_LN_2PI: f32 = 0.918_938_5;
        let inverse = math::exp(s, s.neg(log_scale));
        let residual = s.mul(s.sub(y, x), inverse);
        let constant = s.add(log_scale, s.splat(HALF_LN_2PI));
        let half = s.mul(s.splat(0.5), residual);
        (s.neg(s.fma(half, residual, constant)), s.mul(residual, inverse))
    }
    #[inline(always)]
    fn mean<S: Simd>(_: S, y: S::F) -> S::F {
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
    /// The tile's rows of the gradient, empty if it is not wanted; padding becomes zero.
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
    fn with<S: Simd, F: Function>(self, s: S) {
        let weight = s.splat(self.weight);
        let vectors = self.cols.div_ceil(16);
        let used = [s.first(self.cols), s.first(self.cols.saturating_sub(16))];
        for (i, row) in self.products.iter().enumerate() {
            let mut sum = s.zero();
            for v in 0..vectors {
                let y = s.add(s.load(&row[v]), s.load(&self.bias[v]));
                let x = s.load(&self.targets[i][v]);
                let (log_prob, slope) = F::log_prob(s, x, y, s.load(&self.log_scale[v]));
                sum = s.add(sum, s.select(used[v], log_prob, s.zero()));
                if !self.gradient.is_empty() {
                    let slope = s.select(used[v], s.mul(slope, weight), s.zero());
                    s.store(slope, &mut self.gradient[i][v]);
                }
            }
            self.log_prob[i] = s.sum(sum);
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
        with_likelihood!(self.likelihood, F => {
            for row in self.products {
                for v in 0..self.vectors {
                    let y = s.add(s.load(&row[v]), s.load(&self.bias[v]));
                    s.store(F::mean(s, y), &mut row[v]);
                }
            }
        });
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
