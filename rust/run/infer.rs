//! Asking a model: codes, means, scores and samples, in blocks of rows whose memory does not grow with n.

use crate::data::Source;
use crate::data::check::{CheckRows, ValueCheck};
use crate::data::corruption::Corruption;
use crate::error::Result;
use crate::matrix::Shared;
use crate::model::{
    BatchSize, BatchView, EncoderInput, Engine, Epsilon, InputStorage, Network, NoiseKey, Owners,
    Pass, PassKind, Rows, SampleRange, SharedBuffers, StateBuffer, WeightSums,
};
use crate::run::train::{threads_for, walk};
use crate::simd::{Isa, LANES};
use crate::threads::{self, Worker};
use std::ops::Range;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

/// Rows that a worker takes through the whole network by itself: those of a usual network stay in its second-level cache.
const BLOCK: usize = 128;
/// Bytes that they may take, however wide the network.
const MOST_BYTES: usize = 16 << 20;
/// Blocks per worker between two looks at the clock.
const BLOCKS_AT_ONCE: usize = 4;
/// Passes of samples of a block of examples, about, whose marginal likelihoods are estimated.
const MARGINAL_PASSES: usize = 8;
/// The most blocks per worker between two looks at the clock, there.
const MARGINAL_BLOCKS: usize = 16;
/// Multiply-adds of an example's samples at a time: hundredths of a second.
const MARGINAL_WORK: usize = 1 << 30;
/// The most passes of them.
const MOST_PASSES: usize = 1 << 12;
/// Rows per worker below which the workers share the weights' panels instead of the rows.
const FEW: usize = 16;
/// How much more work than a step of a running team a question must be to be worth waking a second thread.
const WAKING: usize = 16;
/// Values in an array that one thread looks through before a second one is awake.
const SOON_CHECKED: usize = 1 << 21;

/// A question's progress: rows `done..` of its arrays are still to be filled. Every function here goes on from
/// there until all is done (then it returns true) or `budget` is over.
pub struct InferenceRun<'a> {
    /// What the array asked about is called in errors.
    pub name: &'a str,
    /// What was seen of it.
    pub watch: ValueCheck,
    /// Rows finished.
    pub done: usize,
    /// Time for this call.
    pub budget: Duration,
    /// Threads, or none to choose by the size of the work.
    pub threads: Option<usize>,
}

/// How much of a question is done at a time.
struct Size {
    /// Rows of a block.
    block: usize,
    /// Draws for each.
    copies: usize,
    /// Rows that passes may have beyond that.
    memory: usize,
    /// Passes through the decoder for each.
    passes: usize,
    /// Blocks per worker between two looks at the clock.
    at_once: usize,
}

/// What is done to a block: the worker, all memory and the worker's part of it, the block's rows and the first of them.
type BlockBody<'a> = dyn Fn(&Worker, &SharedBuffers, usize, usize, usize, &ValueCheck) + Sync + 'a;

/// Rows that fit a worker's caches.
fn block_of(network: &Network) -> usize {
    BLOCK.min(MOST_BYTES / network.row_bytes()).max(FEW)
}

impl InferenceRun<'_> {
    /// Takes the rows of `x` through `body` in blocks. Where there are few rows, all workers do a block together;
    /// else each does its own, with its own memory, and meets nobody.
    fn walk(
        &mut self,
        engine: &mut Engine,
        x: &Source,
        storage: InputStorage,
        body: impl Fn(&Worker, Pass, usize, &ValueCheck) + Sync,
    ) -> Result<bool> {
        self.walk_draws(engine, x, storage, 1, body)
    }

    /// The same where an example has so many draws.
    fn walk_draws(
        &mut self,
        engine: &mut Engine,
        x: &Source,
        storage: InputStorage,
        copies: usize,
        body: impl Fn(&Worker, Pass, usize, &ValueCheck) + Sync,
    ) -> Result<bool> {
        let block = (block_of(&engine.network) / copies).max(1);
        let size = Size { block, copies, memory: 0, passes: copies, at_once: BLOCKS_AT_ONCE };
        let storage = storage.of(&engine.network.spec, x, block.min(x.rows()));
        self.walk_in(engine, x, storage, size, &|worker, buffers, part, rows, start, watch| {
            body(worker, buffers.pass(part, rows), start, watch)
        })
    }

    /// The same with blocks of that size; `body` makes its own passes of one part of the memory.
    fn walk_in(
        &mut self,
        engine: &mut Engine,
        x: &Source,
        storage: InputStorage,
        size: Size,
        body: &BlockBody,
    ) -> Result<bool> {
        engine.network.check_conditions(x)?;
        let total = x.rows();
        let rows = total.min(BLOCK * BLOCKS_AT_ONCE).saturating_mul(size.passes);
        let work = rows.saturating_mul(engine.network.work());
        let threads = threads_for(self.threads, work / WAKING);
        let together = total < threads * FEW.min(size.block);
        let share = if together { total } else { total.div_ceil(threads) };
        let block = size.block.min(share);
        let parts = if together { 1 } else { threads };
        let batch_size = BatchSize { rows: block.max(size.memory), copies: size.copies };
        let buffers = engine.share(parts, batch_size, PassKind::Infer, storage)?;
        let round = if together { block } else { threads * block * size.at_once };
        let watch = &self.watch;
        self.done =
            walk(threads, (self.done, total), round, self.budget, &|worker, start, rows| {
                if together {
                    body(worker, &buffers, 0, rows, start, watch);
                } else {
                    worker.phase(rows.div_ceil(block), |item| {
                        let (part, first) = (worker.index(), start + item * block);
                        let rows = block.min(start + rows - first);
                        threads::alone(|worker| body(worker, &buffers, part, rows, first, watch));
                    });
                }
                true
            });
        self.verdict(x)
    }

    /// Whether all is done, or an error.
    fn verdict(&self, x: &Source) -> Result<bool> {
        let finished = self.done == x.rows();
        self.watch.verdict(x, self.name, finished)?;
        Ok(finished)
    }

    /// Only looks at the data.
    pub fn check(&mut self, isa: Isa, x: &Source) -> Result<bool> {
        let soon = x.rows() * x.cols() < SOON_CHECKED;
        let threads = if soon { 1 } else { threads_for(self.threads, usize::MAX) };
        let (watch, round) = (&self.watch, threads * BLOCK * BLOCKS_AT_ONCE);
        self.done =
            walk(threads, (self.done, x.rows()), round, self.budget, &|worker, start, rows| {
                worker.phase(rows.div_ceil(LANES), |item| {
                    let first = start + item * LANES;
                    let rows = first..(first + LANES).min(start + rows);
                    isa.run(CheckRows { source: x, rows, check: watch });
                });
                true
            });
        self.verdict(x)
    }
}

impl Engine {
    /// The posterior's mu and logvar, each [n, latent_dim]; an empty `logvar` is not filled.
    pub fn encode(
        &mut self,
        x: &Source,
        mu: &mut [f32],
        logvar: &mut [f32],
        question: &mut InferenceRun,
    ) -> Result<bool> {
        let (latent, wants_logvar) = (self.network.spec.latent_dim, !logvar.is_empty());
        let (mu, logvar) = (Shared::new(mu), Shared::new(logvar));
        question.walk(self, x, InputStorage::Batch, |worker, pass, start, watch| {
            pass.load(worker, x, (false, EncoderInput::Batch), Rows::From(start), Some(watch));
            pass.encode(worker);
            pass.emit(worker, 0, mu, start);
            if wants_logvar {
                pass.emit(worker, latent, logvar, start);
            }
        })
    }

    /// E[x|z] for given codes, [n, n_features], and, unless `scale` is empty, the scale that the decoder gives.
    pub fn decode(
        &mut self,
        z: &Source,
        out: &mut [f32],
        scale: &mut [f32],
        question: &mut InferenceRun,
    ) -> Result<bool> {
        let (out, scale) = (Shared::new(out), Shared::new(scale));
        question.walk(self, z, InputStorage::Batch, |worker, pass, start, watch| {
            pass.load_codes(worker, z, start, watch);
            pass.decode(worker);
            match scale.is_empty() {
                true => pass.mean(worker, out, start),
                false => pass.mean_and_scale(worker, [out, scale], start),
            }
        })
    }

    /// Draws from q(z|x), [samples, n, latent_dim].
    pub fn posterior_sample(
        &mut self,
        x: &Source,
        (samples, seed): (u32, u64),
        out: &mut [f32],
        question: &mut InferenceRun,
    ) -> Result<bool> {
        let (out, ignored, n) = (Shared::new(out), AtomicUsize::new(0), x.rows());
        question.walk(self, x, InputStorage::Batch, |worker, pass, start, watch| {
            let pass = ignoring_clamps(pass, &ignored);
            pass.load(worker, x, (false, EncoderInput::Batch), Rows::From(start), Some(watch));
            pass.encode(worker);
            for sample in 0..samples {
                pass.sample(
                    worker,
                    Epsilon::Drawn(NoiseKey::Posterior { seed, first: start, sample }),
                );
                pass.emit_codes(worker, out, sample as usize * n + start);
            }
        })
    }

    /// The mean over some rows of noise, the same for all examples, of what the decoder reads, [n, latent_dim]: of a topic
    /// model, E[theta] under q(z|x).
    pub fn mean_code(
        &mut self,
        x: &Source,
        points: &Source,
        out: &mut [f32],
        question: &mut InferenceRun,
    ) -> Result<bool> {
        let (shared, ignored) = (Shared::new(out), AtomicUsize::new(0));
        let done = question.walk(self, x, InputStorage::Batch, |worker, pass, start, watch| {
            let pass = ignoring_clamps(pass, &ignored);
            pass.load(worker, x, (false, EncoderInput::Batch), Rows::From(start), Some(watch));
            pass.encode(worker);
            for point in 0..points.rows() {
                pass.sample(worker, Epsilon::Same(*points, point));
                pass.add_codes(worker, shared, start);
            }
        })?;
        if done {
            let share = 1.0 / points.rows() as f32;
            out.iter_mut().for_each(|x| *x *= share);
        }
        Ok(done)
    }

    /// Takes the draws `samples` of [`Engine::posterior_sample`] into what is known of x given each example, [n, n_features]:
    /// the means over the draws of E[x|z], of its squared deviation and of the variance of p(x|z).
    pub fn predict(
        &mut self,
        x: &Source,
        (samples, seed): (Range<u32>, u64),
        moments: [&mut [f32]; 3],
        question: &mut InferenceRun,
    ) -> Result<bool> {
        let (moments, ignored) = (moments.map(Shared::new), AtomicUsize::new(0));
        let scales = self.scales();
        question.walk(self, x, InputStorage::Batch, |worker, pass, start, watch| {
            let pass = ignoring_clamps(pass, &ignored);
            pass.load(worker, x, (false, EncoderInput::Batch), Rows::From(start), Some(watch));
            pass.encode(worker);
            for sample in samples.clone() {
                pass.sample(
                    worker,
                    Epsilon::Drawn(NoiseKey::Posterior { seed, first: start, sample }),
                );
                pass.decode(worker);
                pass.moments(worker, &scales, moments, (start, sample));
            }
        })
    }

    /// E[x|z = mu(x)], [n, n_features].
    pub fn reconstruct(
        &mut self,
        x: &Source,
        out: &mut [f32],
        question: &mut InferenceRun,
    ) -> Result<bool> {
        let out = Shared::new(out);
        question.walk(self, x, InputStorage::Batch, |worker, pass, start, watch| {
            pass.load(worker, x, (false, EncoderInput::Batch), Rows::From(start), Some(watch));
            pass.encode(worker);
            pass.take_means(worker);
            pass.decode(worker);
            pass.mean(worker, out, start);
        })
    }

    /// -log p(x|z) and KL of each example, nats, with one draw of z: `eps`, or the content's own noise. With `corruption`
    /// the encoder sees the examples with noise, which is their content's own too.
    pub fn score(
        &mut self,
        x: &Source,
        eps: Option<Source>,
        corruption: Option<Corruption>,
        losses: [&mut [f32]; 2],
        question: &mut InferenceRun,
    ) -> Result<bool> {
        let (own, input) = (NoiseKey::Score(self.network.spec.seed), self.own_input(corruption));
        let hash = eps.is_none() || corruption.is_some();
        let losses = losses.map(Shared::new);
        question.walk(self, x, input.storage(), |worker, pass, start, watch| {
            pass.load(worker, x, (hash, input), Rows::From(start), Some(watch));
            pass.encode(worker);
            let given = |eps| Epsilon::Given(eps, start);
            pass.sample(worker, eps.map_or(Epsilon::Drawn(own), given));
            pass.decode(worker);
            pass.score(worker, None, &mut || ());
            pass.emit_losses(worker, losses, start);
        })
    }

    /// -log p(x|z), as a mean over `copies` draws, KL and importance-weighted bound of each example, nats; else as
    /// [`Engine::score`].
    pub fn bound(
        &mut self,
        x: &Source,
        (eps, copies): (Option<Source>, usize),
        corruption: Option<Corruption>,
        losses: [&mut [f32]; 3],
        question: &mut InferenceRun,
    ) -> Result<bool> {
        let BatchSize { copies, .. } = BatchSize::with_draws(&self.network.spec, x.rows(), copies)?;
        let (own, input) = (NoiseKey::Score(self.network.spec.seed), self.own_input(corruption));
        let hash = eps.is_none() || corruption.is_some();
        let losses = losses.map(Shared::new);
        question.walk_draws(self, x, input.storage(), copies, |worker, pass, start, watch| {
            pass.load(worker, x, (hash, input), Rows::From(start), Some(watch));
            pass.encode(worker);
            let given = |eps| Epsilon::Given(eps, start);
            pass.sample_draws(worker, eps.map_or(Epsilon::Drawn(own), given));
            pass.decode(worker);
            pass.score(worker, None, &mut || ());
            pass.share(worker, &mut || ());
            pass.emit_bounds(worker, losses, start);
        })
    }

    /// How many of `samples` importance weights [`Engine::log_marginal`] is to add at a time: the next look at the clock comes
    /// after all of them.
    pub fn samples_at_once(&self, samples: u32) -> u32 {
        let most = block_of(&self.network);
        let pass = most.saturating_mul(self.network.work());
        let passes = (MARGINAL_WORK / pass).clamp(1, MOST_PASSES);
        let times = samples.div_ceil((most * passes) as u32);
        samples.div_ceil(times.max(1)) // times of about the same length
    }

    /// Adds the importance weights of the samples `samples` of each example to `weights`, one for each example.
    pub fn log_marginal(
        &mut self,
        x: &Source,
        samples: Range<u32>,
        weights: &mut [WeightSums],
        question: &mut InferenceRun,
    ) -> Result<bool> {
        let seed = self.network.spec.seed;
        let weights = Shared::new(weights);
        // Passes of up to `most` rows: some of an example's samples, or all samples of some examples.
        let (most, count) = (block_of(&self.network), samples.len());
        let copies = count.div_ceil(count.div_ceil(most));
        let together = (most / copies).max(1);
        let block = (most * MARGINAL_PASSES / count).clamp(together, most);
        let work = (block * count).saturating_mul(self.network.work());
        let at_once = (MARGINAL_WORK.saturating_mul(4) / work).clamp(1, MARGINAL_BLOCKS);
        let size = Size { block, copies: 1, memory: most, passes: count, at_once };
        question.walk_in(
            self,
            x,
            InputStorage::Batch,
            size,
            &|worker, buffers, part, rows, start, watch| {
                let encoded = buffers.pass(part, rows);
                encoded.load(
                    worker,
                    x,
                    (true, EncoderInput::Batch),
                    Rows::From(start),
                    Some(watch),
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

    /// KL of each latent coordinate of each example, nats, [n, latent_dim], of what [`Engine::score`] scores.
    pub fn kl(
        &mut self,
        x: &Source,
        corruption: Option<Corruption>,
        out: &mut [f32],
        question: &mut InferenceRun,
    ) -> Result<bool> {
        let input = self.own_input(corruption);
        let out = Shared::new(out);
        question.walk(self, x, input.storage(), |worker, pass, start, watch| {
            let hash = corruption.is_some();
            pass.load(worker, x, (hash, input), Rows::From(start), Some(watch));
            pass.encode(worker);
            pass.emit_kl(worker, out, start);
        })
    }

    /// What the encoder sees of examples that are scored.
    fn own_input(&self, corruption: Option<Corruption>) -> EncoderInput<'static> {
        EncoderInput::of(None, corruption, NoiseKey::Score(self.network.spec.seed))
    }

    /// The standard deviation of each feature of a Gaussian, where it is not the decoder's, the negative binomial's r, or the
    /// binomial's trials.
    pub(crate) fn scales(&self) -> Vec<f32> {
        self.network.head.scales(self.buffer(StateBuffer::Value))
    }
}

/// The same pass that counts no clamped log variances.
fn ignoring_clamps<'a>(pass: Pass<'a>, ignored: &'a AtomicUsize) -> Pass<'a> {
    Pass { batch: BatchView { clamped: ignored, ..pass.batch }, ..pass }
}
