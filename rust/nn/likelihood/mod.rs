//! Likelihoods p(x|z): log-probability, its gradient and the mean, from the decoder's output y.
//!
//! | likelihood | y | log p(x), one feature, nats | d(-log p)/dy | mean |
//! |---|---|---|---|---|
//! | Bernoulli | logit | x y - ln(1 + e^y) | sigmoid(y) - x | sigmoid(y) |
//! | binomial: x m of m, m >= 1 the feature's trials | logit | ln C(m, x m) + m (x y - ln(1 + e^y)) | m (sigmoid(y) - x) | sigmoid(y), a share of m |
//! | Gaussian | mean | -((x - y) / s)² / 2 - ln s - ln(2 pi) / 2 | (y - x) / s² | y |
//! | the same with sigmoid means | m = sigmoid(y) | -((x - m) / s)² / 2 - ln s - ln(2 pi) / 2 | m (1 - m) (m - x) / s² | m |
//! | Gaussian with the decoder's scale | mean y, log scale u; s² = floor² + e^(2u) | the same | (y - x) / s²; for u: (1 - ((x - y) / s)²) e^(2u) / s² | y, or m as above |
//! | Poisson | log mean | x y - e^y - ln x!: see `counts` | e^y - x | e^y |
//! | negative binomial | log mean | see `counts` | | e^y |
//! | mixture | probability p of a word | x ln p (the multinomial's coefficient left out) | -x / p | p |
//! | squared error | mean | -(x - y)², which is no probability: the plain autoencoder's loss, negative | 2 (y - x) | y |

pub(crate) mod counts;
pub mod softmax;

use crate::simd::math::{self, Formula};
use crate::simd::{Arithmetic, LANES, Op, Row, Several, Simd, in_groups};
use std::marker::PhantomData;

/// p(x|z).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Likelihood {
    /// Independent Bernoulli features, x in [0, 1] (a cross-entropy for values in between).
    Bernoulli,
    /// Independent binomial features: x is the share of successes in the trials that a feature has.
    Binomial,
    /// Independent Gaussian features.
    Gaussian(Scale, Link),
    /// Independent Poisson counts.
    Poisson,
    /// Independent negative binomial counts, with a learned dispersion r for each feature.
    NegativeBinomial {
        /// The smallest r.
        floor: f32,
    },
    /// Counts of N words, drawn independently: see [`crate::nn::likelihood::softmax`].
    Multinomial,
    /// Counts of words drawn from the distribution that the decoder gives, no logits: a mixture of topics.
    Mixture,
    /// No likelihood: the squared error as a loss, for a plain autoencoder.
    SquaredError,
}

/// The standard deviation of a Gaussian likelihood. Learned ones stay above a floor: a feature that the decoder
/// predicts perfectly would otherwise have infinite likelihood.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scale {
    /// Given.
    Fixed(f32),
    /// One learned value.
    Shared {
        /// The smallest.
        floor: f32,
    },
    /// A learned value per feature.
    PerFeature {
        /// The smallest.
        floor: f32,
    },
    /// The decoder's: a value per feature and example.
    Decoder {
        /// The smallest.
        floor: f32,
    },
}

/// How a Gaussian's mean comes from the decoder's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// It is the output.
    Identity,
    /// Its sigmoid: for data in [0, 1] (Kingma & Welling, arXiv:1312.6114, appendix C.2). Not with a scale that is a parameter,
    /// whose gradient is found from that of the output ([`ScaleGradient`]).
    Sigmoid,
}

/// The most trials of a binomial feature.
pub const MAX_TRIALS: f32 = 1000.0;

/// The largest log scale that the decoder's counts as: e^(2u) is finite, and so is s². Beyond it the gradient is zero.
const MAX_LOG_SCALE: f32 = 40.0;

/// The largest dispersion r of a negative binomial, which then hardly differs from a Poisson's.
const MAX_TOTAL_COUNT: f32 = 1e6;

impl Likelihood {
    /// The logarithms of the smallest and the largest value of a learned scale that is a parameter.
    pub fn log_scale_range(self) -> Option<(f32, f32)> {
        let ln = |x: f32| f64::from(x).ln() as f32;
        match self {
            Likelihood::Gaussian(Scale::Shared { floor } | Scale::PerFeature { floor }, _) => {
                Some((ln(floor), f32::MAX))
            }
            Likelihood::NegativeBinomial { floor } => Some((ln(floor), ln(MAX_TOTAL_COUNT))),
            _ => None,
        }
    }

    /// Whether a learned scale has a value for each feature.
    pub fn has_scale_per_feature(self) -> bool {
        matches!(
            self,
            Likelihood::Gaussian(Scale::PerFeature { .. }, _) | Likelihood::NegativeBinomial { .. }
        )
    }

    /// What a learned scale is called.
    pub fn scale_name(self) -> &'static str {
        match self {
            Likelihood::NegativeBinomial { .. } => "likelihood.log_total_count",
            _ => "likelihood.log_scale",
        }
    }

    /// Whether the scale's gradient is stored, element by element: it cannot be recovered from the output's.
    pub fn stores_scale_gradient(self) -> bool {
        matches!(self, Likelihood::NegativeBinomial { .. })
    }

    /// The smallest value of a scale that comes from the decoder.
    pub fn decoder_floor(self) -> Option<f32> {
        match self {
            Likelihood::Gaussian(Scale::Decoder { floor }, _) => Some(floor),
            _ => None,
        }
    }

    /// As users know it.
    pub fn name(self) -> &'static str {
        match self {
            Likelihood::Bernoulli => "Bernoulli",
            Likelihood::Binomial => "binomial",
            Likelihood::Gaussian(..) => "Gaussian",
            Likelihood::Poisson => "Poisson",
            Likelihood::NegativeBinomial { .. } => "negative binomial",
            Likelihood::Multinomial => "multinomial",
            Likelihood::Mixture => "mixture of topics",
            Likelihood::SquaredError => "squared error",
        }
    }

    /// Whether x holds counts, which are never scaled.
    pub fn is_counts(self) -> bool {
        matches!(
            self,
            Likelihood::Poisson
                | Likelihood::NegativeBinomial { .. }
                | Likelihood::Multinomial
                | Likelihood::Mixture
        )
    }

    /// Whether an example may have holes. A likelihood of words is of all of them, and one that does not occur is a zero.
    pub fn takes_holes(self) -> bool {
        !matches!(self, Likelihood::Multinomial | Likelihood::Mixture)
    }

    /// Whether a row's features belong together, so that a tile of the output cannot finish them.
    pub fn is_softmax(self) -> bool {
        matches!(self, Likelihood::Multinomial)
    }

    /// Values that x may take.
    pub fn support(self) -> (f32, f32) {
        match self {
            Likelihood::Bernoulli | Likelihood::Binomial => (0.0, 1.0),
            likelihood if likelihood.is_counts() => (0.0, f32::MAX),
            _ => (f32::MIN, f32::MAX),
        }
    }
}

/// One likelihood over sixteen features. To add one: a variant, a type that implements this, a line in
/// `with_likelihood!`.
pub(crate) trait FeatureLikelihood {
    /// Whether the gradient of the scale is stored.
    const STORES_SCALE: bool = false;
    /// Whether it has parts enough that do not wait for each other to keep a CPU busy with one row at a time.
    const IS_LONG: bool = false;
    /// log p(x|y) and the gradients of its negative. `about` is what else there is of a feature: a Gaussian's ln s, a
    /// negative binomial's ln r, a binomial's trials.
    fn log_prob<S: Arithmetic>(s: S, x: S::F, y: S::F, about: S::F) -> LogProb<S::F>;
    /// E[x|y].
    fn mean<S: Arithmetic>(s: S, y: S::F) -> S::F;
}

/// What a likelihood says of some features.
pub(crate) struct LogProb<F> {
    /// log p(x|y), nats.
    pub value: F,
    /// The gradient of -log p with respect to y.
    pub slope: F,
    /// That with respect to the log scale, where it is stored.
    pub scale_slope: F,
}

macro_rules! with_likelihood {
    ($likelihood:expr, $F:ident => $body:expr) => {
        match $likelihood {
            Likelihood::Bernoulli => {
                type $F = Bernoulli;
                $body
            }
            Likelihood::Binomial => {
                type $F = Binomial;
                $body
            }
            Likelihood::Gaussian(_, Link::Identity) => {
                type $F = Gaussian;
                $body
            }
            Likelihood::Gaussian(_, Link::Sigmoid) => {
                type $F = SigmoidGaussian;
                $body
            }
            Likelihood::Poisson => {
                type $F = crate::nn::likelihood::counts::Poisson;
                $body
            }
            Likelihood::NegativeBinomial { .. } => {
                type $F = crate::nn::likelihood::counts::NegativeBinomial;
                $body
            }
            Likelihood::Mixture => {
                type $F = Mixture;
                $body
            }
            Likelihood::SquaredError => {
                type $F = SquaredError;
                $body
            }
            Likelihood::Multinomial => (), // not feature by feature
        }
    };
}

struct Bernoulli;
impl FeatureLikelihood for Bernoulli {
    #[inline(always)]
    fn log_prob<S: Arithmetic>(s: S, x: S::F, y: S::F, _: S::F) -> LogProb<S::F> {
        // ln(1 + e^y) = max(y, 0) + ln(1 + e^-|y|): nothing overflows or cancels for large |y|.
        let e = math::exp(s, s.neg(s.abs(y)));
        let inverse = s.div(s.splat(1.0), s.add(s.splat(1.0), e));
        let sigmoid = s.select(s.less(y, s.zero()), s.mul(e, inverse), inverse);
        let linear = s.fma(x, y, s.neg(s.max(s.zero(), y)));
        let value = s.sub(linear, math::ln_1p(s, e));
        LogProb { value, slope: s.sub(sigmoid, x), scale_slope: s.zero() }
    }
    #[inline(always)]
    fn mean<S: Arithmetic>(s: S, y: S::F) -> S::F {
        math::sigmoid(s, y)
    }
}

/// With k = x m: ln C(m, k) = S(m) - S(k) - S(m - k) - m (x ln x + (1 - x) ln(1 - x)), S what Stirling's formula leaves.
struct Binomial;
impl FeatureLikelihood for Binomial {
    const IS_LONG: bool = true;
    #[inline(always)]
    fn log_prob<S: Arithmetic>(s: S, x: S::F, y: S::F, trials: S::F) -> LogProb<S::F> {
        let of_one = Bernoulli::log_prob(s, x, y, trials);
        let rest = s.sub(s.splat(1.0), x);
        let (ln_x, ln_rest, ln_trials) = (math::ln(s, x), math::ln(s, rest), math::ln(s, trials));
        let entropy = s.neg(s.fma(x, ln_x, s.mul(rest, ln_rest))); // of x = 0 a finite number, times zero
        let [k, others] = [s.mul(x, trials), s.mul(rest, trials)];
        let ways = math::stirling_remainder(s, trials, ln_trials);
        let ways = s.sub(ways, math::stirling_remainder(s, k, s.add(ln_x, ln_trials)));
        let ways = s.sub(ways, math::stirling_remainder(s, others, s.add(ln_rest, ln_trials)));
        LogProb {
            value: s.fma(trials, s.add(of_one.value, entropy), ways),
            slope: s.mul(trials, of_one.slope),
            scale_slope: s.zero(),
        }
    }
    #[inline(always)]
    fn mean<S: Arithmetic>(s: S, y: S::F) -> S::F {
        math::sigmoid(s, y)
    }
}

const HALF_LN_2PI: f32 = 0.918_938_5;

struct Gaussian;
impl FeatureLikelihood for Gaussian {
    #[inline(always)]
    fn log_prob<S: Arithmetic>(s: S, x: S::F, y: S::F, log_scale: S::F) -> LogProb<S::F> {
        let inverse = math::exp(s, s.neg(log_scale));
        let residual = s.mul(s.sub(y, x), inverse);
        let constant = s.add(log_scale, s.splat(HALF_LN_2PI));
        let half = s.mul(s.splat(0.5), residual);
        let value = s.neg(s.fma(half, residual, constant));
        LogProb { value, slope: s.mul(residual, inverse), scale_slope: s.zero() }
    }
    #[inline(always)]
    fn mean<S: Arithmetic>(_: S, y: S::F) -> S::F {
        y
    }
}

/// Sigmoid m of y, and its derivative m (1 - m), which does not cancel where m is near 1.
#[inline(always)]
fn sigmoid_and_slope<S: Arithmetic>(s: S, y: S::F) -> (S::F, S::F) {
    let e = math::exp(s, s.neg(s.abs(y)));
    let inverse = s.div(s.splat(1.0), s.add(s.splat(1.0), e));
    let small = s.mul(e, inverse);
    (s.select(s.less(y, s.zero()), small, inverse), s.mul(small, inverse))
}

struct SigmoidGaussian;
impl FeatureLikelihood for SigmoidGaussian {
    #[inline(always)]
    fn log_prob<S: Arithmetic>(s: S, x: S::F, y: S::F, log_scale: S::F) -> LogProb<S::F> {
        let (mean, slope) = sigmoid_and_slope(s, y);
        let found = Gaussian::log_prob(s, x, mean, log_scale);
        LogProb { slope: s.mul(found.slope, slope), ..found }
    }
    #[inline(always)]
    fn mean<S: Arithmetic>(s: S, y: S::F) -> S::F {
        math::sigmoid(s, y)
    }
}

/// Below it a probability counts as this: its logarithm and its inverse stay finite. (The shares of topics and words are
/// larger; codes that a user gives need not be.)
const LEAST: f32 = 1e-30;

struct Mixture;
impl FeatureLikelihood for Mixture {
    #[inline(always)]
    fn log_prob<S: Arithmetic>(s: S, x: S::F, y: S::F, _: S::F) -> LogProb<S::F> {
        let p = s.max(s.splat(LEAST), y);
        LogProb {
            value: s.mul(x, math::ln(s, p)),
            slope: s.neg(s.div(x, p)),
            scale_slope: s.zero(),
        }
    }
    #[inline(always)]
    fn mean<S: Arithmetic>(_: S, y: S::F) -> S::F {
        y
    }
}

struct SquaredError;
impl FeatureLikelihood for SquaredError {
    #[inline(always)]
    fn log_prob<S: Arithmetic>(s: S, x: S::F, y: S::F, _: S::F) -> LogProb<S::F> {
        let residual = s.sub(y, x);
        let value = s.neg(s.mul(residual, residual));
        LogProb { value, slope: s.add(residual, residual), scale_slope: s.zero() }
    }
    #[inline(always)]
    fn mean<S: Arithmetic>(_: S, y: S::F) -> S::F {
        y
    }
}

/// `value` where x is observed, else zero.
#[inline(always)]
fn or_zero<S: Arithmetic>(s: S, observed: S::M, value: S::F) -> S::F {
    s.select(observed, value, s.zero())
}

/// log p and its gradients with each likelihood's formula standing once where the instruction set calls formulas.
struct LogProbOf<F>(PhantomData<F>);
impl<F: FeatureLikelihood> Formula<3, 3> for LogProbOf<F> {
    #[inline(always)]
    fn eval<S: Arithmetic>(s: S, [x, y, about]: [S::F; 3]) -> [S::F; 3] {
        let LogProb { value, slope, scale_slope } = F::log_prob(s, x, y, about);
        [value, slope, scale_slope]
    }
}

/// The same of data that may have holes: where x is NaN it is not observed, and log p and its gradients are exactly zero.
#[inline(always)]
fn log_prob_of<S: Arithmetic, F: FeatureLikelihood>(
    s: S,
    x: S::F,
    y: S::F,
    about: S::F,
    masked: bool,
) -> LogProb<S::F> {
    let observed = s.is_number(x);
    let known = if masked { or_zero(s, observed, x) } else { x };
    let [value, slope, scale_slope] = s.apply::<_, _, LogProbOf<F>>([known, y, about]);
    if !masked {
        return LogProb { value, slope, scale_slope };
    }
    LogProb {
        value: or_zero(s, observed, value),
        slope: or_zero(s, observed, slope),
        scale_slope: or_zero(s, observed, scale_slope),
    }
}

/// The output layer's epilogue: adds the bias, writes each row's sum of log p over this panel's features and,
/// if wanted, `weight` times the gradient of -log p.
pub struct Score<'a> {
    /// p(x|z).
    pub likelihood: Likelihood,
    /// The products of the tile.
    pub products: &'a [Row],
    /// Features in this panel.
    pub cols: usize,
    /// The panel's bias.
    pub bias: &'a Row,
    /// ln s of the panel's features (Gaussian), ln r (negative binomial) or their trials (binomial).
    pub log_scale: &'a Row,
    /// The tile's rows of x.
    pub targets: &'a [Row],
    /// Whether they may have holes, which are NaN.
    pub masked: bool,
    /// Nats, one per row.
    pub log_prob: &'a mut [f32],
    /// The tile's rows of the gradient, empty if it is not wanted; in the vectors in use, padding becomes zero.
    pub gradient: &'a mut [Row],
    /// The same of that with respect to the log scale, where the likelihood stores it.
    pub scale_gradient: &'a mut [Row],
    /// The factor of the gradient.
    pub weight: f32,
}

impl Op for Score<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        with_likelihood!(self.likelihood, F => self.with::<S, F>(s));
    }
}

impl Score<'_> {
    #[inline(always)]
    fn with<S: Simd, F: FeatureLikelihood>(mut self, s: S) {
        in_groups!(S::WIDE && !F::IS_LONG, self.products.len(), N, first => {
            // Where a formula is called, nothing is saved by leaving its gradient out.
            match S::WIDE && self.gradient.is_empty() {
                true => self.rows::<S, F, N, false>(s, first),
                false => self.rows::<S, F, N, true>(s, first),
            }
        });
    }

    #[inline(always)]
    fn rows<S: Simd, F: FeatureLikelihood, const N: usize, const GRADIENT: bool>(
        &mut self,
        s: S,
        first: usize,
    ) {
        let (several, weight) = (Several::<S, N>(s), s.splat(self.weight));
        let products = &self.products[first..first + N];
        let targets = &self.targets[first..first + N];
        let wanted = GRADIENT && !self.gradient.is_empty();
        let gradient = if wanted { &mut self.gradient[first..first + N] } else { &mut [] };
        let scale_gradient = match wanted && F::STORES_SCALE {
            true => &mut self.scale_gradient[first..first + N],
            false => &mut [],
        };
        let mut sums = several.zero();
        for v in 0..self.cols.div_ceil(LANES).min(2) {
            let used = s.first(self.cols - v * LANES);
            let (bias, log_scale) = (s.load(&self.bias[v]), s.load(&self.log_scale[v]));
            let (mut x, mut y) = (several.zero(), several.zero());
            for i in 0..N {
                x[i] = s.load(&targets[i][v]);
                y[i] = s.add(s.load(&products[i][v]), bias);
            }
            let about = [log_scale; N];
            let found = log_prob_of::<_, F>(several, x, y, about, self.masked);
            for i in 0..N {
                sums[i] = s.add(sums[i], s.select(used, found.value[i], s.zero()));
                if wanted {
                    let slope = s.select(used, s.mul(found.slope[i], weight), s.zero());
                    s.store(slope, &mut gradient[i][v]);
                }
                if wanted && F::STORES_SCALE {
                    let slope = s.select(used, s.mul(found.scale_slope[i], weight), s.zero());
                    s.store(slope, &mut scale_gradient[i][v]);
                }
            }
        }
        let log_prob = &mut self.log_prob[first..first + N];
        for i in 0..N {
            log_prob[i] = s.sum(sums[i]);
        }
    }
}

/// s² = floor² + e^(2u), u the decoder's log scale, and e^(2u): smooth, so that a scale at its floor can still be learned.
#[inline(always)]
fn variance<S: Arithmetic>(s: S, u: S::F, floor: f32) -> (S::F, S::F) {
    let u = s.min(s.splat(MAX_LOG_SCALE), u);
    let above = math::exp(s, s.add(u, u));
    (s.add(s.splat(floor * floor), above), above)
}

/// [`Score`] where the scale is the decoder's: a tile has the means of sixteen features and, in the second vector, their
/// log scales.
pub struct ScoreWithScale<'a> {
    /// The scale's smallest value.
    pub floor: f32,
    /// The mean.
    pub link: Link,
    /// The products of the tile.
    pub products: &'a [Row],
    /// Features in this panel.
    pub cols: usize,
    /// The panel's bias.
    pub bias: &'a Row,
    /// The rows of x in the panel that has these features.
    pub targets: &'a [Row],
    /// Which vector of `targets` has them.
    pub half: usize,
    /// Whether they may have holes, which are NaN.
    pub masked: bool,
    /// Nats, one per row.
    pub log_prob: &'a mut [f32],
    /// The tile's rows of the gradient, empty if it is not wanted; padding becomes zero.
    pub gradient: &'a mut [Row],
    /// The factor of the gradient.
    pub weight: f32,
}

impl Op for ScoreWithScale<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        in_groups!(S::WIDE, self.products.len(), N, first => self.rows::<S, N>(s, first));
    }
}

impl ScoreWithScale<'_> {
    #[inline(always)]
    fn rows<S: Simd, const N: usize>(&mut self, s: S, first: usize) {
        let (several, used) = (Several::<S, N>(s), s.first(self.cols));
        let [mut x, mut y, mut u] = [several.zero(); 3];
        for i in 0..N {
            x[i] = s.load(&self.targets[first + i][self.half]);
            let [mean, log_scale] = &self.products[first + i];
            y[i] = s.add(s.load(mean), s.load(&self.bias[0]));
            u[i] = s.add(s.load(log_scale), s.load(&self.bias[1]));
        }
        let (log_prob, slopes) = self.of_observed(several, x, [y, u]);
        for i in 0..N {
            self.log_prob[first + i] = s.sum(s.select(used, log_prob[i], s.zero()));
            if let Some(gradient) = self.gradient.get_mut(first + i) {
                for (slope, to) in slopes.into_iter().zip(gradient) {
                    let slope = s.mul(slope[i], s.splat(self.weight));
                    s.store(s.select(used, slope, s.zero()), to);
                }
            }
        }
    }

    /// log p and the gradient of its negative with respect to the decoder's outputs y and u.
    #[inline(always)]
    fn of_all<S: Arithmetic>(&self, s: S, x: S::F, [y, u]: [S::F; 2]) -> (S::F, [S::F; 2]) {
        match self.link {
            Link::Identity => with_scale(s, x, [y, u], self.floor),
            Link::Sigmoid => {
                let (mean, slope) = sigmoid_and_slope(s, y);
                let (log_prob, [gradient, of_u]) = with_scale(s, x, [mean, u], self.floor);
                (log_prob, [s.mul(gradient, slope), of_u])
            }
        }
    }

    /// The same of data that may have holes, as in [`log_prob_of`].
    #[inline(always)]
    fn of_observed<S: Arithmetic>(&self, s: S, x: S::F, outputs: [S::F; 2]) -> (S::F, [S::F; 2]) {
        let observed = s.is_number(x);
        let known = if self.masked { or_zero(s, observed, x) } else { x };
        let (log_prob, [of_y, of_u]) = self.of_all(s, known, outputs);
        if !self.masked {
            return (log_prob, [of_y, of_u]);
        }
        let slopes = [or_zero(s, observed, of_y), or_zero(s, observed, of_u)];
        (or_zero(s, observed, log_prob), slopes)
    }
}

/// log p(x|y, u) in nats and the gradient of its negative with respect to y and u.
#[inline(always)]
fn with_scale<S: Arithmetic>(s: S, x: S::F, [y, u]: [S::F; 2], floor: f32) -> (S::F, [S::F; 2]) {
    let (half, one) = (s.splat(0.5), s.splat(1.0));
    let (variance, above) = variance(s, u, floor);
    let precision = s.div(one, variance);
    let residual = s.sub(y, x);
    let slope = s.mul(residual, precision);
    let square = s.mul(residual, slope);
    let constant = s.fma(half, math::ln(s, variance), s.splat(HALF_LN_2PI));
    let log_prob = s.neg(s.fma(half, square, constant));
    let slope_u = s.mul(s.sub(one, square), s.mul(above, precision));
    let clamped = s.less(s.splat(MAX_LOG_SCALE), u);
    (log_prob, [slope, s.select(clamped, s.zero(), slope_u)])
}

/// Makes the decoder's scales of its log scales, which [`Mean`] has left in the second vectors.
pub struct DecoderScale<'a> {
    /// The scale's smallest value.
    pub floor: f32,
    /// The tile.
    pub rows: &'a mut [Row],
}

impl Op for DecoderScale<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for [_, lanes] in self.rows {
            let (variance, _) = variance(s, s.load(lanes), self.floor);
            s.store(s.sqrt(variance), lanes);
        }
    }
}

/// Takes draw `draw` of some features of an example into what is known of x: the mean of E[x|z] over the draws so far,
/// and the means of its squared deviation (Welford's, Technometrics 4, 1962) and of Var[x|z].
pub struct Moments<'a> {
    /// p(x|z).
    pub likelihood: Likelihood,
    /// E[x|z].
    pub mean: &'a [f32],
    /// A Gaussian's s, a negative binomial's r, a binomial's trials.
    pub scale: &'a [f32],
    /// The three means.
    pub out: [&'a mut [f32]; 3],
    /// How many draws there are already.
    pub draw: u32,
}

impl Op for Moments<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Moments { likelihood, mean, scale, out: [means, squares, variances], draw } = self;
        let share = 1.0 / (draw as f32 + 1.0);
        for ((x, mean), square) in mean.iter().zip(means).zip(squares) {
            let before = x - *mean;
            *mean += before * share;
            *square += (before * (x - *mean) - *square) * share;
        }
        match likelihood {
            // Of a multinomial and a mixture: a document of one word.
            Likelihood::Bernoulli | Likelihood::Multinomial | Likelihood::Mixture => {
                for (p, variance) in mean.iter().zip(variances) {
                    *variance += (p * (1.0 - p) - *variance) * share;
                }
            }
            Likelihood::Binomial => {
                for ((p, trials), variance) in mean.iter().zip(scale).zip(variances) {
                    *variance += (p * (1.0 - p) / trials - *variance) * share;
                }
            }
            Likelihood::Gaussian(..) => {
                for (s, variance) in scale.iter().zip(variances) {
                    *variance += (s * s - *variance) * share;
                }
            }
            Likelihood::Poisson => {
                for (m, variance) in mean.iter().zip(variances) {
                    *variance += (m - *variance) * share;
                }
            }
            Likelihood::NegativeBinomial { .. } => {
                for ((m, r), variance) in mean.iter().zip(scale).zip(variances) {
                    *variance += (m + m * m / r - *variance) * share;
                }
            }
            Likelihood::SquaredError => (), // no distribution
        }
    }
}

/// The output layer's epilogue when only E[x|z] is wanted.
pub struct Mean<'a> {
    /// p(x|z).
    pub likelihood: Likelihood,
    /// The products of the tile, overwritten with the means (and the decoder's log scales).
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
    fn with<S: Simd, F: FeatureLikelihood>(mut self, s: S) {
        in_groups!(S::WIDE, self.products.len(), N, first => self.rows::<S, F, N>(s, first));
    }

    #[inline(always)]
    fn rows<S: Simd, F: FeatureLikelihood, const N: usize>(&mut self, s: S, first: usize) {
        let several = Several::<S, N>(s);
        // With a scale from the decoder the second vector has the log scales, which stay as they are.
        let means = if self.likelihood.decoder_floor().is_some() { 1 } else { 2 };
        for v in 0..self.vectors {
            let mut y = several.zero();
            for i in 0..N {
                y[i] = s.add(s.load(&self.products[first + i][v]), s.load(&self.bias[v]));
            }
            let mean = if v < means { F::mean(several, y) } else { y };
            for i in 0..N {
                s.store(mean[i], &mut self.products[first + i][v]);
            }
        }
    }
}

/// The gradient of the mean loss with respect to ln s, per feature: weight * sum over rows of (1 - r²), where
/// r = (x - y) / s is recovered from the stored gradient weight * r / s. Rows ascending, those that observe the feature.
pub struct ScaleGradient<'a> {
    /// The panel of stored gradients.
    pub gradient: &'a [Row],
    /// The panel of x, an example for one or more rows, where it may have holes, which are NaN; else empty.
    pub targets: &'a [Row],
    /// Features in this panel.
    pub cols: usize,
    /// ln s of the panel's features.
    pub log_scale: &'a Row,
    /// The factor in the stored gradients.
    pub weight: f32,
    /// Or, unless empty, that of each row.
    pub weights: &'a [f32],
    /// Where to; padding becomes zero.
    pub out: &'a mut Row,
}

impl Op for ScaleGradient<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for v in 0..2 {
            let used = s.first(self.cols.saturating_sub(16 * v));
            let scale = math::exp(s, s.load(&self.log_scale[v]));
            let mut sum = s.zero();
            if self.weights.is_empty() {
                let scale = s.mul(scale, s.splat(inverse(self.weight)));
                for (i, row) in self.gradient.iter().enumerate() {
                    let r = s.mul(s.load(&row[v]), scale);
                    sum = s.add(sum, self.observed(s, (i, v), r));
                }
                sum = s.mul(sum, s.splat(self.weight));
            }
            for (i, (row, &weight)) in self.gradient.iter().zip(self.weights).enumerate() {
                let r = s.mul(s.mul(s.load(&row[v]), s.splat(inverse(weight))), scale);
                sum = s.fma(s.splat(weight), self.observed(s, (i, v), r), sum);
            }
            s.store(s.select(used, sum, s.zero()), &mut self.out[v]);
        }
    }
}

impl ScaleGradient<'_> {
    /// 1 - r² where vector `v` of row `i` is observed, else zero.
    #[inline(always)]
    fn observed<S: Simd>(&self, s: S, (i, v): (usize, usize), r: S::F) -> S::F {
        let term = s.sub(s.splat(1.0), s.mul(r, r));
        if self.targets.is_empty() {
            return term;
        }
        let copies = self.gradient.len() / self.targets.len();
        or_zero(s, s.is_number(s.load(&self.targets[i / copies][v])), term)
    }
}

/// 1 / weight; of zero (the KL alone is trained), which leaves nothing to recover and nothing to learn, zero.
fn inverse(weight: f32) -> f32 {
    if weight == 0.0 { 0.0 } else { 1.0 / weight }
}
