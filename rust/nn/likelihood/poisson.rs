//! Poisson counts, y = ln m: log p = x y - e^y - ln x! = -D - S(x), D = e^y - x - x u, u = y - ln x. See
//! [`super::deviance`].

use super::deviance::{NEAR, second_remainder};
use super::shares::{CountDensity, SizeFactor};
use super::start::{self, Column, Level, Start};
use super::{Density, Draws, LikelihoodKind, LogProb, Support, TileWork};
use crate::simd::{Arithmetic, Isa, math};
use serde::{Deserialize, Serialize};

/// Independent Poisson counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Poisson {
    /// The size of a row, if the means are shares of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_factor: Option<SizeFactor>,
}

/// The limit of y: above it, e^y overflows in float32.
const MAX_LOG_RATE: f32 = 88.0;

impl Density for Poisson {
    #[inline(always)]
    fn log_prob<S: Arithmetic>(s: S, x: S::F, y: S::F, _: S::F) -> LogProb<S::F> {
        let (rate, ln_x) = (math::exp(s, y), math::ln(s, x));
        let u = s.sub(y, ln_x); // of x = 0 some finite number, times zero
        let residual = s.sub(rate, x);
        let near = s.mul(s.mul(x, s.mul(u, u)), second_remainder(s, u));
        let far = s.sub(residual, s.mul(x, u));
        let deviance = s.select(s.less(s.abs(u), s.splat(NEAR)), near, far);
        // An overflow of the rate gives an infinite loss, but no NaN in the gradient.
        let overflows = s.less(s.splat(MAX_LOG_RATE), y);
        let deviance = s.select(overflows, s.splat(f32::INFINITY), deviance);
        let value = s.neg(s.add(deviance, math::stirling_remainder(s, x, ln_x)));
        LogProb { value, slope: residual }
    }
    #[inline(always)]
    fn mean<S: Arithmetic>(s: S, y: S::F) -> S::F {
        math::exp(s, y)
    }
}

impl CountDensity for Poisson {
    #[inline(always)]
    fn of_zero<S: Arithmetic>(s: S, y: S::F, _: S::F) -> (LogProb<S::F>, S::F) {
        let rate = math::exp(s, y);
        (LogProb { value: s.neg(rate), slope: rate }, s.zero())
    }
}

impl LikelihoodKind for Poisson {
    fn name(&self) -> &'static str {
        "Poisson"
    }
    fn formula(&self) -> String {
        match self.size_factor {
            None => "sum_j x_j y_j - exp(y_j) - ln x_j!, y the decoder's output".into(),
            Some(size) => format!("sum_j x_j ln m_j - m_j - ln x_j!, {}", size.formula()),
        }
    }
    fn size_factor(&self) -> Option<SizeFactor> {
        self.size_factor
    }
    fn support(&self) -> Support {
        Support::COUNTS
    }
    fn start(&self, column: &Column, _: &Level) -> Option<Start> {
        let rate = start::rate(column);
        Some(Start::new(rate.ln(), rate))
    }
    fn tile<W: TileWork>(&self, isa: Isa, work: W) {
        work.dispatch::<Self>(isa);
    }
    #[inline(always)]
    fn variance(&self, mean: f32, _: f32) -> f32 {
        mean
    }
    fn draw(&self, draws: Draws) -> bool {
        draws.each_count(|rate, _, _, uniforms| uniforms.poisson(rate))
    }
}
