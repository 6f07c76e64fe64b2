//! Training: passes over the data, one optimiser step per batch.

use super::divergence::{Batch, Divergence};
use super::steps::Steps;
use super::team::{fastest_team, threads_for, walk};
use crate::data::Source;
use crate::data::binarize::Binary;
use crate::data::corruption::Corruption;
use crate::error::Result;
use crate::model::{
    BatchSize, CompositePrior, EncoderInput, Engine, Exchange, NoiseKey, PassKind, Shares, part_of,
};
use crate::nn::latent::KlTerm;
use crate::nn::objective::{Importance, LossSums, Objective};
use crate::random::Permutation;
use crate::simd::{Isa, LANES};
use crate::threads::{self, Worker};
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// Multiply-adds in a step from which a second thread is worth it wherever its core is. In between it depends on
/// whether the two cores share a cache, which on a virtual machine changes by the minute.
const WORTH_ANYWHERE: usize = 24_000_000;

/// Batches of a trial of a number of threads, and the fewest batches of a call that makes trials.
const TRIAL: usize = 4;
const WORTH_A_TRIAL: usize = 24 * TRIAL;

/// Multiply-adds of a step, and its examples, from which the state is copied before the step, so that an interruption can
/// cancel all of it. Of other steps it cancels the forward pass. The copy takes at most 3 % of such a step.
const LONG_STEP: usize = 4_000_000_000;
const MANY_EXAMPLES: usize = 8192;

/// The cost of updating a weight, in multiply-adds.
pub(super) const UPDATE_WORK: usize = 40;

/// Values that change from step to step: one value for all steps of a pass, or one for each.
#[derive(Clone, Copy, Debug)]
pub struct StepValues<'a> {
    /// The weight of the KL.
    pub betas: &'a [f32],
    /// The target of the KL, nats; empty for none.
    pub capacities: &'a [f32],
    /// The learning rate.
    pub learning_rates: &'a [f64],
}

/// The place of a block of rows in a pass over more data than are in memory.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a> {
    /// Batches of the pass before the block.
    pub first: usize,
    /// Batches of the whole pass.
    pub batches: usize,
    /// The number of each row in the whole data.
    pub numbers: &'a [u64],
}

/// An epoch, or a pass of `partial_fit`.
pub struct TrainingPass<'a> {
    /// The examples.
    pub x: Source<'a>,
    /// Noise in place of the reparameterisation's draws.
    pub eps: Option<Source<'a>>,
    /// The encoder's input in place of the examples.
    pub corrupted: Option<Source<'a>>,
    /// The noise on the encoder's input, unless `corrupted` is given.
    pub corruption: Option<Corruption>,
    /// How grey examples become binary, before anything else.
    pub binarize: Option<Binary>,
    /// In the epoch's random order, or in the order of `x`.
    pub shuffle: bool,
    /// Examples per step; the last batch of an epoch may have fewer.
    pub batch_size: usize,
    /// The weight of -log p(x|z) in the loss.
    pub reconstruction: f32,
    /// Free bits of each latent coordinate, nats.
    pub free_bits: f32,
    /// The draws.
    pub importance: Importance,
    /// The prior of z, if it is not N(0, I).
    pub prior: Option<CompositePrior<'a>>,
    /// The rest of the loss, and the learning rate.
    pub step_values: StepValues<'a>,
    /// The largest norm of all gradients together.
    pub clip_norm: Option<f64>,
    /// Threads, or none to choose by the work.
    pub threads: Option<usize>,
    /// Whether the pass is the last one: then the last step is undone if the weights after it make its loss infinite.
    pub checks_end: bool,
    /// Whether a batch whose loss or gradient is not finite is skipped and counted; otherwise it is an error.
    pub skips_bad: bool,
    /// The shares of several ranks and the exchange between them: `x` is this rank's share. `batch_size` does not matter then.
    pub ranks: Option<(&'a Shares, &'a dyn Exchange)>,
    /// The place of `x` in a larger pass, if it is a block of that.
    pub block: Option<Block<'a>>,
}

/// The batches of a pass over `n` examples.
#[derive(Clone, Copy)]
pub(super) struct Batches {
    n: usize,
    /// Examples of all batches but the last.
    size: usize,
    /// On several ranks the number of steps, over which a share is spread evenly.
    steps: Option<usize>,
}

impl Batches {
    fn of(pass: &TrainingPass) -> Batches {
        let n = pass.x.rows();
        match pass.ranks {
            None => Batches { n, size: pass.batch_size.min(n).max(1), steps: None },
            Some((shares, _)) => {
                let steps = shares.steps();
                Batches { n, size: n.div_ceil(steps), steps: Some(steps) }
            }
        }
    }

    /// The number of batches before position `start`, at which a batch starts or the pass ends.
    pub fn before(self, start: usize) -> usize {
        match self.steps {
            None => start.div_ceil(self.size),
            Some(steps) => (start as u128 * steps as u128).div_ceil(self.n as u128) as usize,
        }
    }

    /// The number of examples in the batch at position `start`.
    pub fn rows(self, start: usize) -> usize {
        match self.steps {
            None => self.size.min(self.n - start),
            Some(steps) => part_of(self.n, steps, self.before(start)).len(),
        }
    }

    /// The position of the last batch.
    fn last(self) -> usize {
        match self.steps {
            None => (self.n - 1) / self.size * self.size,
            Some(steps) => part_of(self.n, steps, steps - 1).start,
        }
    }

    fn number(self) -> usize {
        self.before(self.n)
    }
}

impl<'a> TrainingPass<'a> {
    /// A shuffled epoch of the plain ELBO.
    pub fn new(x: Source<'a>) -> TrainingPass<'a> {
        TrainingPass {
            x,
            eps: None,
            corrupted: None,
            corruption: None,
            binarize: None,
            shuffle: true,
            batch_size: 128,
            reconstruction: 1.0,
            free_bits: 0.0,
            importance: Importance::NONE,
            prior: None,
            step_values: StepValues { betas: &[1.0], capacities: &[], learning_rates: &[1e-3] },
            clip_norm: None,
            threads: None,
            checks_end: false,
            skips_bad: false,
            ranks: None,
            block: None,
        }
    }

    /// The loss and the learning rate of step `step` of the pass.
    pub(super) fn at(&self, step: usize) -> (Objective, f64) {
        fn value<T: Copy>(values: &[T], step: usize) -> Option<T> {
            values.get(step).or(values.last()).copied()
        }
        let kl = KlTerm {
            weight: value(self.step_values.betas, step).unwrap_or(0.0),
            free_bits: self.free_bits,
            capacity: value(self.step_values.capacities, step),
        };
        let learning_rate = value(self.step_values.learning_rates, step).unwrap_or(0.0);
        let TrainingPass { reconstruction, importance, .. } = *self;
        (Objective { reconstruction, kl, importance }, learning_rate)
    }
}

impl Engine {
    /// Takes steps until the end of the pass (then the result is true), until `budget` is over, or until an interruption.
    /// A later call goes on after `sums.examples`; the losses are added to `sums`.
    pub fn train(
        &mut self,
        pass: &TrainingPass,
        sums: &mut LossSums,
        budget: Duration,
    ) -> Result<bool> {
        self.require_training("training")?;
        self.network.check_conditions(&pass.x)?;
        if let Some(prior) = &pass.prior {
            prior.check(&self.network.spec, pass.at(0).0, &pass.x)?;
        }
        let batches = Batches::of(pass);
        let (n, batch_size) = (pass.x.rows(), batches.size);
        let size = BatchSize::with_draws(&self.network.spec, batch_size, pass.importance.samples)?;
        let work = 3 * self.network.work_of(size) + UPDATE_WORK * self.network.work();
        let threads = threads_for(pass.threads, work);
        let stores = pass.clip_norm.is_some() || pass.skips_bad || pass.ranks.is_some();
        if stores || self.network.stores_gradient() {
            self.allocate_gradients()?;
        }
        let from = sums.examples;
        let last = batches.last();
        let (checked, long) =
            (pass.checks_end && from == last, work >= LONG_STEP && batch_size >= MANY_EXAMPLES);
        let state = match checked || long {
            true => Some(self.state()?),
            false => None,
        };
        let end = match (long, pass.checks_end && from < last) {
            (true, _) => from + batches.rows(from),
            (_, true) => last,
            _ => n,
        };
        let (seed, first) = (self.network.spec.seed, self.steps - batches.before(from) as u64);
        // The first step identifies the pass.
        let before = pass.block.map_or(0, |block| block.first);
        let key = first.wrapping_sub(before as u64) as u32;
        let x = pass.x.binarized(pass.binarize.map(|binary| binary.of(seed, key)));
        let x = match pass.block {
            Some(block) => x.numbered(block.numbers)?,
            None => x,
        };
        let input = EncoderInput::of(
            pass.corrupted.map(|corrupted| (corrupted, 0)),
            pass.corruption,
            NoiseKey::Train(seed, 0),
        );
        let storage = input.storage().of(&self.network.spec, &x, batch_size);
        let order_seed = pass.ranks.map_or(seed, |(shares, _)| seed_of_rank(seed, shares.rank()));
        let order = pass.shuffle.then(|| Permutation::new(order_seed, self.epochs, n));
        let (optimizer, optimizer_start) = (self.network.spec.optimizer, self.optimizer_start);
        let rows = self.network.rows;
        let mut buffers = self.share(1, size, PassKind::Train, storage)?;
        if let Some((_, exchange)) = pass.ranks {
            buffers.gradients.values = exchange.gradient();
            assert_eq!(buffers.gradients.values.len(), rows, "the memory is for these parameters");
        }
        let steps = Steps {
            pass,
            x,
            order,
            buffers,
            seed,
            optimizer,
            first,
            optimizer_start,
            batches,
            undoes: state.is_some(),
            sums: Mutex::new(&mut *sums),
            pending: Mutex::default(),
            cancelled: AtomicBool::new(false),
            bad_loss: AtomicBool::new(false),
            unsound: AtomicBool::new(false),
        };
        let size_at = |start| batches.rows(start);
        let body = |worker: &Worker, start, rows| steps.take(worker, start, rows);
        let mut reached = from;
        let mut advance = |threads, rows| {
            let (start, end) = (Instant::now(), end.min(reached + rows));
            reached = walk(threads, (reached, end), &size_at, budget, &body);
            (reached == end).then(|| start.elapsed())
        };
        let open = pass.threads.is_none() && threads > 1 && work < WORTH_ANYWHERE;
        let threads = match open && n - from >= WORTH_A_TRIAL * batch_size {
            true => fastest_team(threads, |threads| advance(threads, TRIAL * batch_size)),
            false => Some(threads),
        };
        if let Some(threads) = threads {
            advance(threads, n);
        }
        let mut failure = steps.failure();
        let takes_back = checked && failure.is_none() && reached == n && {
            threads::run_cancellable(threads.unwrap_or(1), |worker| {
                steps.check(worker, last, n - last);
            }) && steps.failure().is_some()
        };
        if takes_back {
            failure = (!pass.skips_bad).then_some(Divergence::Update);
        }
        let (cancelled, order) = (steps.cancelled.into_inner(), steps.order);
        if let Some(state) = state.filter(|_| cancelled || takes_back) {
            self.restore(state);
        }
        let failed = takes_back && failure.is_some();
        let done = batches.before(if failed { from } else { reached }) - batches.before(from);
        self.steps += done as u64;
        if let Some(divergence) = failure {
            let start = if failed { from } else { reached };
            let (_, learning_rate) = pass.at(batches.before(start));
            let all = pass.block.map_or(batches.number(), |block| block.batches);
            let number = [before + batches.before(start) + 1, all];
            let size = batches.rows(start);
            let batch = Batch { x: &x, order: order.as_ref(), start, size, number };
            return Err(divergence.error(self, learning_rate, &batch));
        }
        sums.skipped += usize::from(takes_back);
        self.epochs += u32::from(pass.shuffle && reached == n);
        Ok(reached == n)
    }
}

/// The seed of the order of a rank's share; rank 0 has that of a single process.
fn seed_of_rank(seed: u64, rank: usize) -> u64 {
    seed.wrapping_add((rank as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// The order of `n` examples of a rank's share in an epoch, for tests of training on several ranks.
pub fn order_of_rank(isa: Isa, (seed, epoch): (u64, u32), rank: usize, n: usize) -> Vec<usize> {
    let order = Permutation::new(seed_of_rank(seed, rank), epoch, n);
    let mut rows = vec![0; n];
    for (block, rows) in rows.chunks_mut(LANES).enumerate() {
        order.fill(isa, block * LANES, rows);
    }
    rows
}
