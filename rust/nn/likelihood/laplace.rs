//! Laplace features with scale 1, a likelihood for tests only. It shows the steps to add a likelihood: this file, its
//! declaration and its line in the list.
//!
//! log p = -|x - y| - ln 2, y the median and the mean; d(-log p)/dy = sign(y - x); Var[x] = 2

use super::start::{Column, Level, Start};
use super::{Density, Draws, LikelihoodKind, LogProb, TileWork};
use crate::random::Distribution;
use crate::simd::{Arithmetic, Isa};
use serde::{Deserialize, Serialize};

/// Independent Laplace features.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Laplace {}

impl Density for Laplace {
    #[inline(always)]
    fn log_prob<S: Arithmetic>(s: S, x: S::F, y: S::F, _: S::F) -> LogProb<S::F> {
        let residual = s.sub(y, x);
        let value = s.neg(s.add(s.abs(residual), s.splat(std::f32::consts::LN_2)));
        let sign = s.select(s.less(residual, s.zero()), s.splat(-1.0), s.splat(1.0));
        LogProb { value, slope: sign }
    }
    #[inline(always)]
    fn mean<S: Arithmetic>(_: S, y: S::F) -> S::F {
        y
    }
}

impl LikelihoodKind for Laplace {
    fn name(&self) -> &'static str {
        "Laplace"
    }
    fn formula(&self) -> String {
        "sum_j -|x_j - y_j| - ln 2, y the decoder's output".into()
    }
    fn is_public(&self) -> bool {
        false
    }
    fn start(&self, column: &Column, level: &Level) -> Option<Start> {
        Some(Start {
            output: column.mean,
            spread: level.own_scale(column),
            scale: 1.0,
            second: 0.0,
        })
    }
    fn tile<W: TileWork>(&self, isa: Isa, work: W) {
        work.dispatch::<Self>(isa);
    }
    #[inline(always)]
    fn variance(&self, _: f32, _: f32) -> f32 {
        2.0
    }
    fn draw(&self, draws: Draws) -> bool {
        draws.each_element(Distribution::Uniform, |mean, _, u| {
            // Inversion of the distribution function, v in (-1/2, 1/2).
            let v = u + f32::EPSILON / 2.0 - 0.5;
            *mean -= v.signum() * (1.0 - 2.0 * v.abs()).ln();
        })
    }
}
