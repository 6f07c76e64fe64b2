//! Mean and variance of x over draws of z.

use super::{Likelihood, LikelihoodKind, with_likelihood};
use crate::simd::{Op, Simd};

/// Takes draw `draw` of some features of an example into what is known of x: the mean of E[x|z] over the draws so far,
/// and the means of its squared deviation (Welford's, Technometrics 4, 1962) and of Var[x|z].
pub struct Moments<'a> {
    /// p(x|z).
    pub likelihood: Likelihood,
    /// E[x|z].
    pub mean: &'a [f32],
    /// A Gaussian's s, a negative binomial's r, a binomial's trials; else empty.
    pub parameter: &'a [f32],
    /// The three means.
    pub out: [&'a mut [f32]; 3],
    /// How many draws there are already.
    pub draw: u32,
}

impl Op for Moments<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let likelihood = self.likelihood;
        with_likelihood!(&likelihood, kind => self.of(kind));
    }
}

impl Moments<'_> {
    #[inline(always)]
    fn of<K: LikelihoodKind>(self, kind: &K) {
        let Moments { mean, parameter, out: [means, squares, variances], draw, .. } = self;
        let share = 1.0 / (draw as f32 + 1.0);
        for ((x, mean), square) in mean.iter().zip(means).zip(squares) {
            let before = x - *mean;
            *mean += before * share;
            *square += (before * (x - *mean) - *square) * share;
        }
        if parameter.is_empty() {
            for (mean, variance) in mean.iter().zip(variances) {
                *variance += (kind.variance(*mean, 0.0) - *variance) * share;
            }
            return;
        }
        for ((mean, parameter), variance) in mean.iter().zip(parameter).zip(variances) {
            *variance += (kind.variance(*mean, *parameter) - *variance) * share;
        }
    }
}
