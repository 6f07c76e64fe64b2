//! What the likelihoods of counts share, Poisson and negative binomial.
//!
//! Counts may be large, and x y - e^y - ln x! is then a small difference of large numbers. Both are written as Loader does
//! ("Fast and accurate computation of binomial probabilities", 2000): a deviance D >= 0, small where the mean is near x,
//! and what Stirling's formula leaves of the factorials, S(a) = ln a! - (a ln a - a). At x = 0 all that is not the mean
//! vanishes exactly.

use crate::simd::{Arithmetic, math};

/// |ln m - ln x| below which e^u - 1 cancels.
pub(super) const NEAR: f32 = 0.5;

/// (e^u - 1 - u) / u² for |u| <= 1/2: the series.
#[inline(always)]
pub(super) fn second_remainder<S: Arithmetic>(s: S, u: S::F) -> S::F {
    math::polynomial(s, u, [1. / 40320., 1. / 5040., 1. / 720., 1. / 120., 1. / 24., 1. / 6., 0.5])
}
