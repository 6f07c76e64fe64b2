//! Counts of words from a mixture of topics. The decoder outputs probabilities p instead of logits: log p(x) = x ln p,
//! without the multinomial coefficient, a constant of the data.

use super::{Density, Draws, LikelihoodKind, LogProb, Support, TileWork};
use crate::simd::{Arithmetic, Isa, math};
use serde::{Deserialize, Serialize};

/// Counts of words, given their probabilities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mixture {}

/// The lower clamp of a probability: it keeps the logarithm and the inverse finite. (The model's own proportions of
/// topics and words are larger; codes from a user may give smaller probabilities.)
const LEAST: f32 = 1e-30;

impl Density for Mixture {
    #[inline(always)]
    fn log_prob<S: Arithmetic>(s: S, x: S::F, y: S::F, _: S::F) -> LogProb<S::F> {
        let p = s.max(s.splat(LEAST), y);
        LogProb { value: s.mul(x, math::ln(s, p)), slope: s.neg(s.div(x, p)) }
    }
    #[inline(always)]
    fn mean<S: Arithmetic>(_: S, y: S::F) -> S::F {
        y
    }
}

impl LikelihoodKind for Mixture {
    fn name(&self) -> &'static str {
        "mixture of topics"
    }
    fn formula(&self) -> String {
        "sum_w x_w ln p_w; the multinomial coefficient, on which no model depends, is left out"
            .into()
    }
    fn support(&self) -> Support {
        Support::COUNTS
    }
    fn is_public(&self) -> bool {
        false
    }
    fn is_of_words(&self) -> bool {
        true
    }
    fn tile<W: TileWork>(&self, isa: Isa, work: W) {
        work.dispatch::<Self>(isa);
    }
    /// Var[x|z] for a document of one word.
    #[inline(always)]
    fn variance(&self, p: f32, _: f32) -> f32 {
        p * (1.0 - p)
    }
    fn draw(&self, draws: Draws) -> bool {
        draws.each_document()
    }
}
