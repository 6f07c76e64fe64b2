//! The mean and the variance of x over draws of z.

use super::{Likelihood, LikelihoodKind, with_likelihood};

/// Updates the running moments of some features of an example with draw `draw`: the mean of E[x|z] over the draws, the
/// mean of its squared deviation (Welford, Technometrics 4, 1962) and the mean of Var[x|z].
pub struct Moments<'a> {
    /// p(x|z).
    pub likelihood: &'a Likelihood,
    /// E[x|z].
    pub mean: &'a [f32],
    /// A Gaussian's s, a negative binomial's r, a binomial's trials; else empty.
    pub parameter: &'a [f32],
    /// The decoder's second output besides a parameter; else empty.
    pub second: &'a [f32],
    /// The three running means, in this order.
    pub out: [&'a mut [f32]; 3],
    /// The number of earlier draws.
    pub draw: u32,
    /// The first of the features.
    pub first: usize,
}

impl Moments<'_> {
    /// Runs the update. One version serves all instruction sets, because its cost is small relative to the decoder.
    pub fn run(self) {
        let Moments { likelihood, mean, parameter, second, out, draw, first } = self;
        let [means, squares, variances] = out;
        let share = 1.0 / (draw as f32 + 1.0);
        for ((x, mean), square) in mean.iter().zip(means).zip(squares) {
            let before = x - *mean;
            *mean += before * share;
            *square += (before * (x - *mean) - *square) * share;
        }
        with_likelihood!(likelihood, kind => add_variances(kind, first, [mean, parameter, second], variances, share));
    }
}

/// Moves each running mean of Var[x|z] towards the draw's variance by the fraction `share` of the difference.
fn add_variances<K: LikelihoodKind>(
    kind: &K,
    first: usize,
    [mean, parameter, second]: [&[f32]; 3],
    variances: &mut [f32],
    share: f32,
) {
    if parameter.is_empty() {
        for ((&mean, variance), feature) in mean.iter().zip(variances).zip(first..) {
            *variance += (kind.variance_of(feature, mean, [0.0; 2]) - *variance) * share;
        }
        return;
    }
    if !second.is_empty() {
        let features = mean.iter().zip(parameter).zip(second).zip(first..);
        for ((((&mean, &parameter), &second), feature), variance) in features.zip(variances) {
            *variance += (kind.variance_of(feature, mean, [parameter, second]) - *variance) * share;
        }
        return;
    }
    let features = mean.iter().zip(parameter).zip(first..);
    for (((&mean, &parameter), feature), variance) in features.zip(variances) {
        *variance += (kind.variance_of(feature, mean, [parameter, 0.0]) - *variance) * share;
    }
}
