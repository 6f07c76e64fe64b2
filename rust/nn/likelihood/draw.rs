//! Draws from p(x|z), given its means: an element's noise is a function of the seed and its place.

use crate::random::draws::{Uniforms, draw_words};
use crate::random::{Distribution, Noise, Stream};
use crate::simd::Isa;
use std::time::{Duration, Instant};

/// Draws that are under way.
pub struct DrawProgress {
    /// Of the noise.
    pub seed: u64,
    /// Rows that are drawn.
    pub done: usize,
    /// How long to go on before there is time for something else.
    pub budget: Duration,
}

/// What draws are made of.
pub struct Draws<'a> {
    /// Kernels.
    pub isa: Isa,
    /// Columns of the matrices.
    pub cols: usize,
    /// E[x|z], [n, n_features], which the draws replace. What is not a number remains that.
    pub means: &'a mut [f32],
    /// The scale or the trials of each feature, or empty: see [`super::Likelihood::parameters`].
    pub parameters: &'a [f32],
    /// The scale of each element, where it is the decoder's; used up.
    pub scale: &'a mut [f32],
    /// The words of each document.
    pub lengths: &'a [u32],
    /// Where they are.
    pub progress: &'a mut DrawProgress,
}

impl Draws<'_> {
    /// One number for each element.
    pub(super) fn noise(&self) -> Noise {
        Noise { seed: self.progress.seed, stream: Stream::Observation as u8, sample: 0 }
    }

    /// Draws all elements at once: `draw(mean, feature, noise)`.
    pub(super) fn each_element(
        self,
        distribution: Distribution,
        draw: impl Fn(&mut f32, usize, f32),
    ) -> bool {
        self.noise().fill(self.isa, distribution, self.cols, self.means, draw);
        true
    }

    /// Draws counts, of which each takes as many uniform numbers as it wants: `draw(mean, feature, uniforms)`.
    pub(super) fn each_count(self, draw: impl Fn(f32, usize, &mut Uniforms) -> f64) -> bool {
        let seed = self.progress.seed;
        self.each_row(|means, row| {
            for (j, mean) in means.iter_mut().enumerate() {
                *mean = draw(*mean, j, &mut Uniforms::of(seed, row, j)) as f32;
            }
        })
    }

    /// Draws the words of each document, whose means are their probabilities.
    pub(super) fn each_document(self) -> bool {
        let (isa, seed, lengths) = (self.isa, self.progress.seed, self.lengths);
        self.each_row(|p, row| {
            let length = lengths.get(row as usize).copied().unwrap_or_default();
            draw_words(isa, (seed, row), length, p);
        })
    }

    /// Goes on over the rows with `draw(means, row)` while there is time.
    fn each_row(self, draw: impl Fn(&mut [f32], u64)) -> bool {
        let (start, rows) = (Instant::now(), self.means.len() / self.cols);
        let progress = self.progress;
        for means in self.means.chunks_mut(self.cols).skip(progress.done) {
            draw(means, progress.done as u64);
            progress.done += 1;
            if start.elapsed() > progress.budget {
                return progress.done == rows;
            }
        }
        true
    }
}
