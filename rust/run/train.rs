//! Training: passes over the data, one optimiser step per batch.

use super::divergence::Divergence;
use super::team::{fastest_team, threads_for, walk};
use crate::data::Source;
use crate::data::binarize::Binary;
use crate::data::corruption::Corruption;
use crate::error::Result;
use crate::model::{
    BatchSize, EncoderInput, Engine, Epsilon, NoiseKey, Pass, PassKind, Rows, SharedBuffers, Sink,
};
use crate::nn::latent::KlTerm;
use crate::nn::objective::{Importance, LossSums, Objective};
use crate::nn::optimizer::Optimizer;
use crate::random::Permutation;
use crate::threads::{self, Worker};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Multiply-adds in a step from which a second thread is worth it wherever its core is. In between it depends on
/// whether the two cores share a cache, which on a virtual machine changes by the minute.
const WORTH_ANYWHERE: usize = 24_000_000;

/// Batches of a trial of a number of threads, and the fewest batches of a call that makes trials.
const TRIAL: usize = 4;
const WORTH_A_TRIAL: usize = 24 * TRIAL;

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
    /// The rest of the loss, and the learning rate.
    pub step_values: StepValues<'a>,
    /// The largest norm of all gradients together.
    pub clip_norm: Option<f64>,
    /// Threads, or none to choose by the work.
    pub threads: Option<usize>,
    /// Whether the pass is the last one: then the last step is undone if the weights after it make its loss infinite.
    pub checks_end: bool,
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
            step_values: StepValues { betas: &[1.0], capacities: &[], learning_rates: &[1e-3] },
            clip_norm: None,
            threads: None,
            checks_end: false,
        }
    }

    /// The loss and the learning rate of step `step` of the pass.
    fn at(&self, step: usize) -> (Objective, f64) {
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

/// The steps of a pass, shared by all workers.
struct Steps<'a> {
    pass: &'a TrainingPass<'a>,
    /// The examples, binary if the pass makes them so.
    x: Source<'a>,
    order: Option<Permutation>,
    buffers: SharedBuffers<'a>,
    seed: u64,
    optimizer: Optimizer,
    /// The first step of the pass, and the first step of the optimiser's moments.
    first: u64,
    optimizer_start: u64,
    batch_size: usize,
    sums: Mutex<&'a mut LossSums>,
    /// A loss is not finite.
    bad_loss: AtomicBool,
    /// A gradient is too large.
    unsound: AtomicBool,
}

impl Steps<'_> {
    /// The encoder's input of the batch at row `start`.
    fn input(&self, start: usize, key: NoiseKey) -> EncoderInput<'_> {
        let given = self.pass.corrupted.map(|corrupted| (corrupted, start));
        EncoderInput::of(given, self.pass.corruption, key)
    }

    /// The forward pass of the batch at row `start`. One worker calls `report` with the losses.
    fn forward(
        &self,
        worker: &Worker,
        batch: &Pass,
        start: usize,
        report: &mut dyn FnMut(LossSums),
    ) {
        let (objective, _) = self.pass.at(start / self.batch_size);
        let step = self.first + (start / self.batch_size) as u64;
        let key = NoiseKey::Train(self.seed, step as u32);
        let epsilon = self.pass.eps.map_or(Epsilon::Drawn(key), |eps| Epsilon::Given(eps, start));
        let rows = match &self.order {
            Some(order) => Rows::Shuffled(order, start),
            None => Rows::From(start),
        };
        batch.load(worker, &self.x, (false, self.input(start, key)), rows, None);
        batch.run_forward(worker, objective, epsilon, report);
    }

    /// Sets `bad_loss` if the loss of the batch at row `start` is not finite.
    fn check(&self, worker: &Worker, start: usize, rows: usize) {
        let batch = self.buffers.pass(0, rows).training_on(self.x.rows());
        self.forward(worker, &batch, start, &mut |losses| {
            self.bad_loss.store(!losses.is_finite(), Ordering::Relaxed);
        });
    }

    /// One optimiser step on the batch at row `start`; false if training diverged.
    fn take(&self, worker: &Worker, start: usize, rows: usize) -> bool {
        let batch = self.buffers.pass(0, rows).training_on(self.x.rows());
        let (objective, learning_rate) = self.pass.at(start / self.batch_size);
        let step = self.first + (start / self.batch_size) as u64;
        self.forward(worker, &batch, start, &mut |losses| match losses.is_finite() {
            true => **self.sums.lock().unwrap_or_else(PoisonError::into_inner) += losses,
            false => self.bad_loss.store(true, Ordering::Relaxed),
        });
        if self.bad_loss.load(Ordering::Relaxed) {
            return false;
        }
        let update = self.optimizer.at(step + 1 - self.optimizer_start, learning_rate);
        let moments = self.buffers.moments;
        let sink = Sink::Update { update, moments, unsound: &self.unsound };
        let gradients = self.buffers.gradients;
        match self.pass.clip_norm {
            None => batch.run_backward(worker, objective, gradients.values, sink),
            Some(limit) => {
                batch.run_backward(
                    worker,
                    objective,
                    gradients.values,
                    Sink::Store(gradients.values),
                );
                if !batch.apply_clipped(worker, (limit, gradients), sink) {
                    self.unsound.store(true, Ordering::Relaxed);
                }
            }
        }
        // All workers read the same value: every store happens before the end of the last phase.
        let sound = !self.unsound.load(Ordering::Relaxed);
        if sound {
            batch.update_running(worker);
        }
        sound
    }
}

impl Engine {
    /// Takes steps until the end of the pass (then the result is true) or until `budget` is over. A later call goes on
    /// after `sums.examples`; the losses are added to `sums`.
    pub fn train(
        &mut self,
        pass: &TrainingPass,
        sums: &mut LossSums,
        budget: Duration,
    ) -> Result<bool> {
        self.network.check_conditions(&pass.x)?;
        let (n, batch_size) = (pass.x.rows(), pass.batch_size.min(pass.x.rows()).max(1));
        let size = BatchSize::with_draws(&self.network.spec, batch_size, pass.importance.samples)?;
        let work = 3 * self.network.work_of(size) + UPDATE_WORK * self.network.work();
        let threads = threads_for(pass.threads, work);
        if pass.clip_norm.is_some() || self.network.stores_gradient() {
            self.allocate_gradients()?;
        }
        let from = sums.examples;
        let last = (n - 1) / batch_size * batch_size;
        let undo = match pass.checks_end && from == last {
            true => Some(self.state()?),
            false => None,
        };
        let end = if pass.checks_end && from < last { last } else { n };
        let (seed, first) = (self.network.spec.seed, self.steps - (from / batch_size) as u64);
        // The first step identifies the pass.
        let x = pass.x.binarized(pass.binarize.map(|binary| binary.of(seed, first as u32)));
        let input = EncoderInput::of(
            pass.corrupted.map(|corrupted| (corrupted, 0)),
            pass.corruption,
            NoiseKey::Train(seed, 0),
        );
        let storage = input.storage().of(&self.network.spec, &x, batch_size);
        let order = pass.shuffle.then(|| Permutation::new(seed, self.epochs, n));
        let (optimizer, optimizer_start) = (self.network.spec.optimizer, self.optimizer_start);
        let steps = Steps {
            pass,
            x,
            order,
            buffers: self.share(1, size, PassKind::Train, storage)?,
            seed,
            optimizer,
            first,
            optimizer_start,
            batch_size,
            sums: Mutex::new(sums),
            bad_loss: AtomicBool::new(false),
            unsound: AtomicBool::new(false),
        };
        let body = |worker: &Worker, start, rows| steps.take(worker, start, rows);
        let mut reached = from;
        let mut advance = |threads, rows| {
            let (start, end) = (Instant::now(), end.min(reached + rows));
            reached = walk(threads, (reached, end), batch_size, budget, &body);
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
        let failed = || {
            let [bad_loss, unsound] = [&steps.bad_loss, &steps.unsound];
            bad_loss.load(Ordering::Relaxed) || unsound.load(Ordering::Relaxed)
        };
        let undo = undo.filter(|_| !failed());
        if undo.is_some() {
            threads::run(threads.unwrap_or(1), |worker| steps.check(worker, last, n - last));
        }
        if let Some(state) = undo.filter(|_| failed()) {
            let (_, learning_rate) = pass.at(last / batch_size);
            self.restore(state);
            let support = self.network.spec.likelihood.support();
            return Err(Divergence::Update.at(self.steps + 1, learning_rate, &support));
        }

        let (bad_loss, unsound) = (steps.bad_loss.into_inner(), steps.unsound.into_inner());
        self.steps += (reached - from).div_ceil(batch_size) as u64;
        for (found, divergence) in [(bad_loss, Divergence::Loss), (unsound, Divergence::Gradient)] {
            if found {
                let (_, learning_rate) = pass.at(reached / batch_size);
                let support = self.network.spec.likelihood.support();
                return Err(divergence.at(self.steps + 1, learning_rate, &support));
            }
        }
        self.epochs += u32::from(pass.shuffle && reached == n);
        Ok(reached == n)
    }
}
