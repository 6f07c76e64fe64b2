//! Code shared by the likelihoods of counts, Poisson and negative binomial.
//!
//! For large counts, x y - e^y - ln x! is a small difference of large numbers. Both likelihoods therefore use Loader's
//! form ("Fast and accurate computation of binomial probabilities", 2000): a deviance D >= 0, small for a mean near x,
//! and the remainder of Stirling's formula, S(a) = ln a! - (a ln a - a). At x = 0, all terms except the mean are
//! exactly zero.

use crate::simd::{Arithmetic, math};

/// The threshold of |u|, u = ln m - ln x: below it, e^u - 1 suffers from cancellation.
pub(super) const NEAR: f32 = 0.5;

/// (e^u - 1 - u) / u² for |u| <= 1/2, by its Taylor series.
#[inline(always)]
pub(super) fn second_remainder<S: Arithmetic>(s: S, u: S::F) -> S::F {
    math::polynomial(s, u, [1. / 40320., 1. / 5040., 1. / 720., 1. / 120., 1. / 24., 1. / 6., 0.5])
}
