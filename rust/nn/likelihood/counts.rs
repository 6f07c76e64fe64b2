//! Likelihoods of counts, feature by feature: Poisson and negative binomial.
//!
//! Counts may be large, and x y - e^y - ln x! is then a small difference of large numbers. Both are written as Loader does
//! ("Fast and accurate computation of binomial probabilities", 2000): a deviance D >= 0, small where the mean is near x,
//! and what Stirling's formula leaves of the factorials, S(a) = ln a! - (a ln a - a). At x = 0 all that is not the mean
//! vanishes exactly.

use crate::nn::likelihood::{FeatureLikelihood, LogProb};
use crate::simd::Arithmetic;
use crate::simd::math;

/// Beyond it e^y is no float32 number.
const MAX_LOG_RATE: f32 = 88.0;

/// |ln m - ln x| below which e^u - 1 cancels.
const NEAR: f32 = 0.5;

/// (e^u - 1 - u) / u² for |u| <= 1/2: the series.
#[inline(always)]
fn second_remainder<S: Arithmetic>(s: S, u: S::F) -> S::F {
    math::polynomial(s, u, [1. / 40320., 1. / 5040., 1. / 720., 1. / 120., 1. / 24., 1. / 6., 0.5])
}

/// y = ln m: log p = x y - e^y - ln x! = -D - S(x), D = e^y - x - x u, u = y - ln x.
pub(crate) struct Poisson;
impl FeatureLikelihood for Poisson {
    #[inline(always)]
    fn log_prob<S: Arithmetic>(s: S, x: S::F, y: S::F, _: S::F) -> LogProb<S::F> {
        let (rate, ln_x) = (math::exp(s, y), math::ln(s, x));
        let u = s.sub(y, ln_x); // of x = 0 some finite number, times zero
        let residual = s.sub(rate, x);
        let near = s.mul(s.mul(x, s.mul(u, u)), second_remainder(s, u));
        let far = s.sub(residual, s.mul(x, u));
        let deviance = s.select(s.less(s.abs(u), s.splat(NEAR)), near, far);
        // A rate that overflows has no probability: the loss says so, and the gradient remains a number.
        let overflows = s.less(s.splat(MAX_LOG_RATE), y);
        let deviance = s.select(overflows, s.splat(f32::INFINITY), deviance);
        let value = s.neg(s.add(deviance, math::stirling_remainder(s, x, ln_x)));
        LogProb { value, slope: residual, scale_slope: s.zero() }
    }
    #[inline(always)]
    fn mean<S: Arithmetic>(s: S, y: S::F) -> S::F {
        math::exp(s, y)
    }
}

/// y = ln m, and ln r for each feature: Gamma(r, m / r) mixed over Poisson; r -> infinity is Poisson. With n = x + r,
///
/// log p = ln Γ(n) - ln Γ(r) - ln x! + r ln(r / (r + m)) + x ln(m / (r + m))
///       = S(n) - S(r) - S(x) - ln(n / r) - D, D = r A + x B, A = ln((r + m) / n), B = ln(x (r + m) / (m n))
///
/// d(-log p)/dy = r σ(t) - x σ(-t), t = y - ln r
/// d(-log p)/d ln r = r (ln(1 + e^t) - ψ(n) + ψ(r)) - d(-log p)/dy
pub(crate) struct NegativeBinomial;
impl FeatureLikelihood for NegativeBinomial {
    const STORES_SCALE: bool = true;
    const IS_LONG: bool = true;
    #[inline(always)]
    fn log_prob<S: Arithmetic>(s: S, x: S::F, y: S::F, log_r: S::F) -> LogProb<S::F> {
        let (one, r) = (s.splat(1.0), math::exp(s, log_r));
        let n = s.add(x, r);
        let log_growth = math::ln_1p_of(s, s.div(x, r)); // ln(n / r)

        // σ(t), σ(-t), ln(1 + e^t) and ln(1 + e^-t) = ln((r + m) / m).
        let t = s.sub(y, log_r);
        let e = math::exp(s, s.neg(s.abs(t)));
        let (major, rest) = (s.div(one, s.add(one, e)), math::ln_1p(s, e));
        let (minor, below) = (s.mul(e, major), s.less(t, s.zero()));
        let [up, down] = [s.select(below, minor, major), s.select(below, major, minor)];
        let log_up = s.add(s.max(s.zero(), t), rest);
        let log_down = s.add(s.max(s.zero(), s.neg(t)), rest);

        // A is ln(1 + q), q = (m - x) / n = (e^u - 1) x / n, u = y - ln x, where q is neither huge nor near -1.
        let ln_x = math::ln(s, x);
        let u = s.sub(y, ln_x); // of x = 0 some finite number, times zero
        let series = s.fma(s.mul(u, u), second_remainder(s, u), u);
        let far = s.sub(math::exp(s, u), one);
        let growth = s.select(s.less(s.abs(u), s.splat(NEAR)), series, far);
        let middle = s.less(s.abs(s.sub(u, s.splat(9.75))), s.splat(10.25)); // -1/2 < u < 20
        let q = s.select(middle, s.mul(s.div(x, n), growth), s.zero());
        let a = s.select(middle, math::ln_1p_of(s, q), s.sub(log_up, log_growth));
        // B is A - u, off by u in float32, or ln(1 + r / m) - ln(1 + r / x), off by r / x: that which is off by less.
        let few = s.sub(log_down, math::ln_1p_of(s, s.div(r, x)));
        let b = s.select(s.less(r, s.mul(x, s.abs(u))), few, s.sub(a, u));
        let deviance = s.fma(r, a, s.mul(x, b));

        let of_n = math::stirling_remainder(s, n, math::ln(s, n));
        let of_r = math::stirling_remainder(s, r, math::ln(s, r));
        let of_x = math::stirling_remainder(s, x, ln_x);
        let value = s.sub(s.sub(s.sub(of_n, of_r), s.add(of_x, log_growth)), deviance);

        let slope = s.sub(s.mul(r, up), s.mul(x, down));
        // ψ(n) - ψ(r), the logarithms apart: they nearly cancel ln(1 + e^t) where r is large.
        let digammas = s.sub(math::digamma_remainder(s, n), math::digamma_remainder(s, r));
        let scale_slope = s.mul(r, s.sub(s.sub(log_up, log_growth), digammas));
        LogProb { value, slope, scale_slope: s.sub(scale_slope, slope) }
    }
    #[inline(always)]
    fn mean<S: Arithmetic>(s: S, y: S::F) -> S::F {
        math::exp(s, y)
    }
}
