//! Sums of importance weights, from which log p(x) is estimated.

use super::blocks::{BlockSize, InferenceRun, block_of};
use crate::data::Source;
use crate::error::Result;
use crate::matrix::Shared;
use crate::model::{EncoderInput, Engine, InputStorage, Owners, Rows, SampleRange, WeightSums};
use std::ops::Range;

/// Passes through the decoder for a block of examples, about.
const PASSES: usize = 8;
/// The most blocks per worker between two looks at the clock.
const MOST_BLOCKS: usize = 16;
/// Multiply-adds for an example's samples at a time: hundredths of a second.
const WORK: usize = 1 << 30;
/// The most passes for an example's samples at a time.
const MOST_PASSES: usize = 1 << 12;

impl Engine {
    /// The number of importance weights per call of [`Engine::log_marginal`], of `samples` in all: a call looks at the clock
    /// after all of its weights only.
    pub fn samples_at_once(&self, samples: u32) -> u32 {
        let most = block_of(&self.network);
        let pass = most.saturating_mul(self.network.work());
        let passes = (WORK / pass).clamp(1, MOST_PASSES);
        let times = samples.div_ceil((most * passes) as u32);
        samples.div_ceil(times.max(1)) // times of about the same length
    }

    /// Adds the importance weights of draws `samples` of each example to `weights`, [n].
    pub fn log_marginal(
        &mut self,
        x: &Source,
        samples: Range<u32>,
        weights: &mut [WeightSums],
        run: &mut InferenceRun,
    ) -> Result<bool> {
        let seed = self.network.spec.seed;
        let weights = Shared::new(weights);
        // Passes of up to `most` rows: some of an example's samples, or all samples of some examples.
        let (most, count) = (block_of(&self.network), samples.len());
        let copies = count.div_ceil(count.div_ceil(most));
        let together = (most / copies).max(1);
        let block = (most * PASSES / count).clamp(together, most);
        let work = (block * count).saturating_mul(self.network.work());
        let at_once = (WORK.saturating_mul(4) / work).clamp(1, MOST_BLOCKS);
        let size = BlockSize { block, copies: 1, memory: most, passes: count, at_once };
        run.walk_in(
            self,
            x,
            InputStorage::Batch,
            size,
            &|worker, buffers, part, rows, start, check| {
                let encoded = buffers.pass(part, rows);
                encoded.load(
                    worker,
                    x,
                    (true, EncoderInput::Batch),
                    Rows::From(start),
                    Some(check),
                );
                encoded.encode(worker);
                for first in (0..rows).step_by(together) {
                    let examples = together.min(rows - first);
                    let mut laid_out = 0;
                    for done in (0..count).step_by(copies) {
                        let copies = copies.min(count - done);
                        let owners = Owners { rows, first, copies };
                        let pass = buffers.pass(part, examples * copies).of(owners);
                        if laid_out != pass.rows {
                            pass.repeat(worker, x, start + first, copies);
                            laid_out = pass.rows;
                        }
                        pass.sample_marginal(
                            worker,
                            SampleRange { first: samples.start + done as u32, seed },
                        );
                        pass.decode(worker);
                        pass.score(worker, None, &mut || ());
                        pass.accumulate(worker, copies, weights, start + first);
                    }
                }
            },
        )
    }
}
