//! Draws from p(x|z), given the means. The noise of an element depends on the seed and the element's position only.

use crate::random::draws::{Uniforms, draw_words};
use crate::random::{Distribution, Noise, Stream};
use crate::simd::Isa;
use std::ops::Range;
use std::time::{Duration, Instant};

/// Elements that are drawn between two looks at the clock.
const VALUES_AT_ONCE: usize = 1 << 22;

/// The progress of an interruptible series of draws.
pub struct DrawProgress {
    /// The seed of the noise.
    pub seed: u64,
    /// The number of finished rows.
    pub done: usize,
    /// The number of the first row, for the noise.
    pub first: usize,
    /// The time limit of one call.
    pub budget: Duration,
}

/// The inputs and the output of a draw.
pub struct Draws<'a> {
    /// The instruction set of the kernels.
    pub isa: Isa,
    /// The number of columns of the matrices.
    pub cols: usize,
    /// E[x|z], [n, n_features]; the draws overwrite it. NaN stays NaN.
    pub means: &'a mut [f32],
    /// The scale or the number of trials of each feature, or empty: see [`super::Likelihood::parameters`]; of counts also
    /// of each element.
    pub parameters: &'a [f32],
    /// The scale of each element, if the decoder outputs it, else empty. The draw overwrites it.
    pub scale: &'a mut [f32],
    /// The number of words of each document, or the size of each row of counts.
    pub lengths: &'a [u32],
    /// The progress of the draws.
    pub progress: &'a mut DrawProgress,
}

impl Draws<'_> {
    /// The noise, one number for each element.
    pub(super) fn noise(&self) -> Noise {
        Noise { seed: self.progress.seed, stream: Stream::Observation as u8, sample: 0 }
    }

    /// Draws the elements of some rows, each with `draw(mean, feature, noise)`. Returns whether all rows are finished.
    pub(super) fn each_element(
        mut self,
        distribution: Distribution,
        draw: impl Fn(&mut f32, usize, f32),
    ) -> bool {
        let rows = self.next_rows();
        let (noise, place) = (self.noise(), (self.progress.first + rows.start, self.cols));
        let means = &mut self.means[rows.start * self.cols..rows.end * self.cols];
        noise.fill(self.isa, distribution, place, means, draw);
        self.is_done()
    }

    /// Takes the rows of about [`VALUES_AT_ONCE`] elements from the remaining ones.
    pub(super) fn next_rows(&mut self) -> Range<usize> {
        let (rows, start) = (self.means.len() / self.cols, self.progress.done);
        self.progress.done = rows.min(start + (VALUES_AT_ONCE / self.cols).max(1));
        start..self.progress.done
    }

    /// Whether all rows are finished.
    pub(super) fn is_done(&self) -> bool {
        self.progress.done * self.cols == self.means.len()
    }

    /// Draws counts with `draw(mean, row, feature, uniforms)`. A count consumes a variable number of uniform numbers.
    pub(super) fn each_count(self, draw: impl Fn(f64, usize, usize, &mut Uniforms) -> f64) -> bool {
        let (seed, sizes) = (self.progress.seed, self.lengths);
        self.each_row(|means, row, number| {
            let size = sizes.get(row).map_or(1.0, |&size| f64::from(size));
            for (j, mean) in means.iter_mut().enumerate() {
                let uniforms = &mut Uniforms::of(seed, number, j);
                *mean = draw(f64::from(*mean) * size, row, j, uniforms) as f32;
            }
        })
    }

    /// Draws the words of each document; the means are the probabilities of the words.
    pub(super) fn each_document(self) -> bool {
        let (isa, seed, lengths) = (self.isa, self.progress.seed, self.lengths);
        self.each_row(|p, row, number| {
            let length = lengths.get(row).copied().unwrap_or_default();
            draw_words(isa, (seed, number), length, p);
        })
    }

    /// Draws the remaining rows with `draw(means, row, number)` until the time limit; the number is that of the noise.
    /// Returns whether all rows are finished.
    pub(super) fn each_row(self, draw: impl Fn(&mut [f32], usize, u64)) -> bool {
        let (start, rows) = (Instant::now(), self.means.len() / self.cols);
        let progress = self.progress;
        for means in self.means.chunks_mut(self.cols).skip(progress.done) {
            draw(means, progress.done, (progress.first + progress.done) as u64);
            progress.done += 1;
            if start.elapsed() > progress.budget {
                return progress.done == rows;
            }
        }
        true
    }
}
