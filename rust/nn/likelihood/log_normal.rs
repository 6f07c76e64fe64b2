//! Log-normal features, x > 0: ln x is Gaussian with mean y and a learned standard deviation s for each feature.
//!
//! log p = -((ln x - y) / s)² / 2 - ln s - ln(2 pi) / 2 - ln x, nats of x; E[x] = e^(y + s² / 2)
//!
//! The likelihood is one of the columns of [`super::mixed`]: the encoder reads ln x there, and the start is that of ln x.

use super::scale::check_range;
use super::start::{Column, Level, Start};
use super::{
    Density, Draws, FeatureParameter, LearnedScale, LikelihoodKind, LogProb, Support, TileWork,
    shown,
};
use crate::error::Result;
use crate::random::draws::Uniforms;
use crate::simd::{Arithmetic, Isa, math};
use serde::{Deserialize, Serialize};

/// Independent log-normal features, with a learned scale of ln x for each feature.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogNormal {
    /// The lower bound of s.
    pub floor: f32,
}

impl Default for LogNormal {
    fn default() -> LogNormal {
        LogNormal { floor: 1e-3 }
    }
}

const HALF_LN_2PI: f32 = 0.918_938_5;

impl Density for LogNormal {
    #[inline(always)]
    fn log_prob<S: Arithmetic>(s: S, x: S::F, y: S::F, log_scale: S::F) -> LogProb<S::F> {
        let ln_x = math::ln(s, x); // of a missing x, zero, some finite number
        let inverse = math::exp(s, s.neg(log_scale));
        let residual = s.mul(s.sub(y, ln_x), inverse);
        let constant = s.add(s.add(log_scale, s.splat(HALF_LN_2PI)), ln_x);
        let half = s.mul(s.splat(0.5), residual);
        LogProb { value: s.neg(s.fma(half, residual, constant)), slope: s.mul(residual, inverse) }
    }
    #[inline(always)]
    fn parameter_slope<S: Arithmetic>(s: S, x: S::F, y: S::F, _: S::F, slope: S::F) -> S::F {
        let residual = s.sub(y, math::ln(s, x));
        s.sub(s.splat(1.0), s.mul(residual, slope))
    }
    /// The median; the mean needs the scale.
    #[inline(always)]
    fn mean<S: Arithmetic>(s: S, y: S::F) -> S::F {
        math::exp(s, y)
    }
    #[inline(always)]
    fn mean_with<S: Arithmetic>(s: S, y: S::F, log_scale: S::F) -> S::F {
        let variance = math::exp(s, s.add(log_scale, log_scale));
        math::exp(s, s.fma(s.splat(0.5), variance, y))
    }
}

impl LogNormal {
    /// A draw, given the mean and the scale.
    pub(super) fn draw_one(mean: f32, scale: f32, uniforms: &mut Uniforms) -> f64 {
        let s = f64::from(scale);
        f64::from(mean) * (s * uniforms.normal() - 0.5 * s * s).exp()
    }
}

impl LikelihoodKind for LogNormal {
    fn name(&self) -> &'static str {
        "log-normal"
    }
    fn formula(&self) -> String {
        format!(
            "sum_j -((ln x_j - m_j) / s_j)² / 2 - ln s_j - ln(2 pi) / 2 - ln x_j, m the decoder's output, s_j learned for \
             each feature, at least {}",
            shown(self.floor)
        )
    }
    fn check(&self) -> Result<()> {
        check_range("floor", self.floor)
    }
    fn support(&self) -> Support {
        Support {
            range: (f32::MIN_POSITIVE, f32::MAX),
            rounding: 0.0,
            counts: false,
            words: "numbers above 0: use Gaussian(\"per_feature\") for a column with zeros or negative numbers",
        }
    }
    fn is_public(&self) -> bool {
        false
    }
    fn parameter(&self) -> FeatureParameter {
        FeatureParameter::Learned(LearnedScale {
            name: "likelihood.log_scale",
            per_feature: true,
            per_condition: false,
            range: (self.floor, f32::INFINITY),
            stores_gradient: false,
        })
    }
    /// The start of a Gaussian, given the moments of ln x.
    fn start(&self, column: &Column, level: &Level) -> Option<Start> {
        let own = level.own_scale(column);
        // Of one value the size of ln x says nothing: it depends on the unit of x.
        let own = if column.deviation() > 0.0 { own } else { own.min(1.0) };
        let scale = own.max(f64::from(self.floor));
        Some(Start { output: column.mean, spread: scale, scale, second: 0.0 })
    }
    /// Does nothing outside of the tests: only a group of columns has this density ([`super::Group::tile`]).
    fn tile<W: TileWork>(&self, _isa: Isa, _work: W) {
        #[cfg(test)]
        _work.dispatch::<Self>(_isa);
    }
    #[inline(always)]
    fn variance(&self, mean: f32, s: f32) -> f32 {
        (s * s).exp_m1() * mean * mean
    }
    fn draw(&self, draws: Draws) -> bool {
        let scales = draws.parameters;
        draws.each_count(|mean, _, j, uniforms| {
            LogNormal::draw_one(mean as f32, scales[j], uniforms)
        })
    }
}
