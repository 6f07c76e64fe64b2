//! Bernoulli features: log p = x y - ln(1 + e^y), y the logit. For 0 < x < 1, -log p is a cross-entropy.

use super::start::{self, Column, Level, Start};
use super::{Density, Draws, LikelihoodKind, LogProb, Support, TileWork};
use crate::random::Distribution;
use crate::simd::{Arithmetic, Isa, math};
use serde::{Deserialize, Serialize};

/// Independent Bernoulli features, x in [0, 1] (for 0 < x < 1, -log p is a cross-entropy).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bernoulli {}

impl Density for Bernoulli {
    #[inline(always)]
    fn log_prob<S: Arithmetic>(s: S, x: S::F, y: S::F, _: S::F) -> LogProb<S::F> {
        // ln(1 + e^y) = max(y, 0) + ln(1 + e^-|y|) avoids overflow and cancellation for large |y|.
        let e = math::exp(s, s.neg(s.abs(y)));
        let inverse = s.div(s.splat(1.0), s.add(s.splat(1.0), e));
        let sigmoid = s.select(s.less(y, s.zero()), s.mul(e, inverse), inverse);
        let linear = s.fma(x, y, s.neg(s.max(s.zero(), y)));
        let value = s.sub(linear, math::ln_1p(s, e));
        LogProb { value, slope: s.sub(sigmoid, x) }
    }
    #[inline(always)]
    fn mean<S: Arithmetic>(s: S, y: S::F) -> S::F {
        math::sigmoid(s, y)
    }
}

impl LikelihoodKind for Bernoulli {
    fn name(&self) -> &'static str {
        "Bernoulli"
    }
    fn formula(&self) -> String {
        "sum_j x_j ln p_j + (1 - x_j) ln(1 - p_j), p the sigmoid of the decoder's output".into()
    }
    fn support(&self) -> Support {
        Support::UNIT
    }
    fn start(&self, column: &Column, _: &Level) -> Option<Start> {
        let p = start::share(column);
        Some(Start::new(start::logit(p), p * (1.0 - p)))
    }
    fn tile<W: TileWork>(&self, isa: Isa, work: W) {
        work.dispatch::<Self>(isa);
    }
    #[inline(always)]
    fn variance(&self, p: f32, _: f32) -> f32 {
        p * (1.0 - p)
    }
    fn draw(&self, draws: Draws) -> bool {
        draws.each_element(Distribution::Uniform, |p, _, u| *p = f32::from(u < *p))
    }
}
