//! Importance weights of draws from the posterior: estimates of log p(x), means and draws given the observed values.

use super::blocks::{BlockSize, InferenceRun, block_of};
use super::team::threads_for;
use crate::data::Source;
use crate::error::{Result, filled};
use crate::matrix::Shared;
use crate::model::{
    Draws, EncoderInput, Engine, InputStorage, Owners, Pass, Rows, SampleRange, WeightSums,
};
use crate::threads::Worker;
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
        self.weigh([x, x], (samples, seed, false), run, &|worker, pass, group| {
            pass.accumulate(worker, group.copies, weights, group.at);
        })
    }

    /// Adds the importance weights of draws `samples` of each example to `weights`, [n], and moves `out` [n, n_features] to
    /// the weighted mean of E[x|z]. The draws are from q(z|given): `given` is x, or x with values in place of missing ones.
    pub fn conditional_mean(
        &mut self,
        [x, given]: [&Source; 2],
        samples: Range<u32>,
        (weights, out): (&mut [WeightSums], &mut [f32]),
        run: &mut InferenceRun,
    ) -> Result<bool> {
        let (seed, cols) = (self.network.spec.seed, self.network.spec.n_features);
        let rows = block_of(&self.network);
        let mut means =
            filled(0.0, (rows * cols).checked_mul(threads_for(run.threads, usize::MAX)))?;
        let [means, out] = [&mut means[..], out].map(Shared::new);
        let weights = Shared::new(weights);
        self.weigh([x, given], (samples, seed, false), run, &|worker, pass, group| {
            let first = group.part * rows;
            pass.mean(worker, means, (first, false));
            let means = (means, first);
            pass.accumulate_means(worker, group.copies, (weights, out), means, group.at);
        })
    }

    /// Adds the importance weights of draws `samples` of each example to the sums of `draws`, and draws codes from them.
    pub fn conditional_sample(
        &mut self,
        [x, given]: [&Source; 2],
        (samples, seed): (Range<u32>, u64),
        draws: &Draws,
        run: &mut InferenceRun,
    ) -> Result<bool> {
        let n = x.rows();
        self.weigh([x, given], (samples, seed, true), run, &|worker, pass, group| {
            pass.resample(worker, group.copies, group.samples, draws, (n, group.at));
        })
    }

    /// Draws samples `samples` of each example from q(z|given), computes the terms of their weights, log p(x|z) and
    /// log p(z) - log q(z|given), and calls `take` for each group of them. `by_row`: noise depends on the row, else on the
    /// content of `given`.
    fn weigh(
        &mut self,
        [x, given]: [&Source; 2],
        (samples, seed, by_row): (Range<u32>, u64, bool),
        run: &mut InferenceRun,
        take: &(dyn Fn(&Worker, Pass, Group) + Sync),
    ) -> Result<bool> {
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
            given,
            InputStorage::Batch,
            size,
            &|worker, buffers, part, rows, start, check| {
                let encoded = buffers.pass(part, rows);
                encoded.load(
                    worker,
                    given,
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
                        let first_sample = samples.start + done as u32;
                        let samples =
                            SampleRange { first: first_sample, seed, row: by_row.then_some(start) };
                        pass.sample_marginal(worker, samples);
                        pass.decode(worker);
                        pass.score(worker, None, &mut || ());
                        take(worker, pass, Group { part, copies, samples, at: start + first });
                    }
                }
            },
        )
    }
}

/// Samples in one pass: `copies` of each example from row `at` on, in the memory of part `part`.
struct Group {
    part: usize,
    copies: usize,
    samples: SampleRange,
    at: usize,
}
