//! The squared error (x - y)², the loss of a plain autoencoder. It is not a likelihood; "log p" is the negative loss.

use super::start::{Column, Level, Start};
use super::{Density, Draws, LikelihoodKind, LogProb, TileWork};
use crate::simd::{Arithmetic, Isa};
use serde::{Deserialize, Serialize};

/// The squared error as a loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SquaredError {}

impl Density for SquaredError {
    #[inline(always)]
    fn log_prob<S: Arithmetic>(s: S, x: S::F, y: S::F, _: S::F) -> LogProb<S::F> {
        let residual = s.sub(y, x);
        let value = s.neg(s.mul(residual, residual));
        LogProb { value, slope: s.add(residual, residual) }
    }
    #[inline(always)]
    fn mean<S: Arithmetic>(_: S, y: S::F) -> S::F {
        y
    }
}

impl LikelihoodKind for SquaredError {
    fn name(&self) -> &'static str {
        "squared error"
    }
    fn formula(&self) -> String {
        "-sum_j (x_j - y_j)², y the decoder's output: a loss and no log-probability".into()
    }
    fn is_public(&self) -> bool {
        false
    }
    fn output_is_mean(&self) -> bool {
        true
    }
    /// The standard weights, at the scale of the column.
    fn start(&self, column: &Column, level: &Level) -> Option<Start> {
        // Constant columns are in units of 1: see `Standardize::of`.
        let most = if level.within > 0.0 { f64::INFINITY } else { 1.0 };
        let spread = level.own_scale(column).min(most);
        Some(Start { output: column.mean, spread, scale: 1.0, second: 0.0 })
    }
    fn tile<W: TileWork>(&self, isa: Isa, work: W) {
        work.dispatch::<Self>(isa);
    }
    /// Zero: the loss has no distribution.
    #[inline(always)]
    fn variance(&self, _: f32, _: f32) -> f32 {
        0.0
    }
    /// Leaves the means unchanged: the loss has no distribution.
    fn draw(&self, _: Draws) -> bool {
        true
    }
}
