//! Binomial features: x is the fraction of successes in m trials. With k = x m,
//!
//! log p = ln C(m, k) + m (x y - ln(1 + e^y)), y the logit,
//!
//! ln C(m, k) = S(m) - S(k) - S(m - k) - m (x ln x + (1 - x) ln(1 - x)),
//!
//! where S(a) = ln a! - (a ln a - a) is the remainder of Stirling's formula.

use super::start::{self, Column, Level, Start};
use super::{
    Bernoulli, Density, Draws, FeatureParameter, LikelihoodKind, LogProb, Support, TileWork,
};
use crate::random::Distribution;
use crate::random::draws::invert_binomial;
use crate::simd::{Arithmetic, Isa, math};
use serde::{Deserialize, Serialize};

/// The maximum number of trials of a feature.
pub const MAX_TRIALS: f32 = 1000.0;

/// Independent binomial features: x is the fraction of successes in the feature's trials. The model stores the number
/// of trials of each feature, 1 to [`MAX_TRIALS`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Binomial {}

impl Density for Binomial {
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
        }
    }
    #[inline(always)]
    fn mean<S: Arithmetic>(s: S, y: S::F) -> S::F {
        math::sigmoid(s, y)
    }
}

impl LikelihoodKind for Binomial {
    fn name(&self) -> &'static str {
        "binomial"
    }
    fn formula(&self) -> String {
        "sum_j ln C(m_j, m_j x_j) + m_j (x_j ln p_j + (1 - x_j) ln(1 - p_j)), m_j the trials of feature j, p the sigmoid of \
         the decoder's output"
            .into()
    }
    fn support(&self) -> Support {
        Support::UNIT
    }
    fn is_public(&self) -> bool {
        false
    }
    fn parameter(&self) -> FeatureParameter {
        FeatureParameter::Trials
    }
    fn start(&self, column: &Column, _: &Level) -> Option<Start> {
        let p = start::share(column);
        Some(Start::new(start::logit(p), p * (1.0 - p)))
    }
    fn tile<W: TileWork>(&self, isa: Isa, work: W) {
        work.dispatch::<Self>(isa);
    }
    #[inline(always)]
    fn variance(&self, p: f32, trials: f32) -> f32 {
        p * (1.0 - p) / trials
    }
    fn draw(&self, draws: Draws) -> bool {
        let trials = draws.parameters;
        draws.each_element(Distribution::Uniform, |p, j, u| {
            *p = invert_binomial(trials[j], *p, u) / trials[j];
        })
    }
}
