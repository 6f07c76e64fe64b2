//! Counts of N independent words: log p = sum_w x_w ln softmax(y)_w, computed for whole rows: see [`super::softmax`].

use super::start::{Column, Level, Start};
use super::{Draws, LikelihoodKind, Support, TileWork};
use crate::simd::Isa;
use serde::{Deserialize, Serialize};

/// Counts of words, given their logits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Multinomial {}

impl LikelihoodKind for Multinomial {
    fn name(&self) -> &'static str {
        "multinomial"
    }
    fn formula(&self) -> String {
        "sum_w x_w ln p_w, p the softmax of the decoder's output; the multinomial coefficient, which does not depend on the \
         model, is left out"
            .into()
    }
    fn support(&self) -> Support {
        Support::COUNTS
    }
    fn is_of_words(&self) -> bool {
        true
    }
    fn is_softmax(&self) -> bool {
        true
    }
    /// The logarithm of the word's share, by Jeffreys' prior on the words of all documents.
    fn start(&self, column: &Column, level: &Level) -> Option<Start> {
        let documents = column.count.max(1.0);
        let words = documents * level.total + 0.5 * level.columns as f64;
        let p = (documents * column.mean + 0.5) / words;
        Some(Start::new(p.ln(), level.total * p * (1.0 - p)))
    }
    /// Does nothing: a tile holds only a part of a row, and the density needs all words.
    fn tile<W: TileWork>(&self, _: Isa, _: W) {}
    /// Var[x|z] for a document of one word.
    #[inline(always)]
    fn variance(&self, p: f32, _: f32) -> f32 {
        p * (1.0 - p)
    }
    fn draw(&self, draws: Draws) -> bool {
        draws.each_document()
    }
}
