//! The steps of a pass of training.

use super::divergence::Divergence;
use super::train::{Batches, TrainingPass};
use crate::data::Source;
use crate::model::{EncoderInput, Epsilon, NoiseKey, Pass, Rows, SharedBuffers, Sink};
use crate::nn::objective::LossSums;
use crate::nn::optimizer::Optimizer;
use crate::random::Permutation;
use crate::threads::Worker;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// The steps of a pass, shared by all workers.
pub(super) struct Steps<'a> {
    /// The pass.
    pub pass: &'a TrainingPass<'a>,
    /// The examples, binary if the pass makes them so.
    pub x: Source<'a>,
    /// The order of the examples; none for that of `x`.
    pub order: Option<Permutation>,
    /// The buffers.
    pub buffers: SharedBuffers<'a>,
    /// The seed of the noise.
    pub seed: u64,
    /// The optimiser.
    pub optimizer: Optimizer,
    /// The first step of the pass.
    pub first: u64,
    /// The first step of the optimiser's moments.
    pub optimizer_start: u64,
    /// The batches of the pass.
    pub batches: Batches,
    /// Whether the caller can take a step back, so that its update may be cancelled.
    pub undoes: bool,
    /// The sums of the losses.
    pub sums: Mutex<&'a mut LossSums>,
    /// With skipping: the losses of the batch, until its gradients are known to be finite.
    pub pending: Mutex<LossSums>,
    /// The step is cancelled.
    pub cancelled: AtomicBool,
    /// The loss of the batch is not finite.
    pub bad_loss: AtomicBool,
    /// A gradient is too large.
    pub unsound: AtomicBool,
}

impl Steps<'_> {
    /// The encoder's input of the batch at row `start`.
    fn input(&self, start: usize, key: NoiseKey) -> EncoderInput<'_> {
        let given = self.pass.corrupted.map(|corrupted| (corrupted, start));
        EncoderInput::of(given, self.pass.corruption, key)
    }

    /// The forward pass of the batch at row `start`. One worker calls `report` with the losses.
    pub(super) fn forward(
        &self,
        worker: &Worker,
        batch: &Pass,
        start: usize,
        report: &mut dyn FnMut(LossSums),
    ) {
        let (objective, _) = self.pass.at(self.batches.before(start));
        let step = self.first + self.batches.before(start) as u64;
        let key = NoiseKey::Train(self.seed, step as u32);
        let epsilon = self.pass.eps.map_or(Epsilon::Drawn(key), |eps| Epsilon::Given(eps, start));
        let rows = match &self.order {
            Some(order) => Rows::Shuffled(order, start),
            None => Rows::From(start),
        };
        batch.load(worker, &self.x, (false, self.input(start, key)), rows, None);
        batch.run_forward(worker, objective, epsilon, report);
    }

    /// The batch at row `start`.
    fn batch(&self, start: usize, rows: usize) -> Pass<'_> {
        let batch = self.buffers.pass(0, rows).training_on(&self.x, self.pass.prior.as_ref());
        match self.pass.ranks {
            None => batch,
            Some((shares, exchange)) => {
                let part = shares.part(self.batches.before(start), exchange);
                batch.part_of(part, shares.total().1)
            }
        }
    }

    /// Sets `bad_loss` if the loss of the batch at row `start` is not finite.
    pub fn check(&self, worker: &Worker, start: usize, rows: usize) {
        let batch = self.batch(start, rows);
        let forward = || {
            self.forward(worker, &batch, start, &mut |losses| {
                self.bad_loss.store(!losses.is_finite(), Ordering::Relaxed);
            });
        };
        if batch.part.is_none() {
            return forward();
        }
        worker.uninterrupted(forward);
        batch.sum_over_ranks(worker, |sum| {
            let mut bad = [f64::from(u8::from(self.bad_loss.load(Ordering::Relaxed)))];
            sum(&mut bad);
            self.bad_loss.store(bad[0] > 0.0, Ordering::Relaxed);
        });
    }

    /// The sign of divergence in the last step, if any.
    pub fn failure(&self) -> Option<Divergence> {
        let found = |sign: &AtomicBool| sign.load(Ordering::Relaxed);
        match (found(&self.bad_loss) && !self.pass.skips_bad, found(&self.unsound)) {
            (true, _) => Some(Divergence::Loss),
            (_, true) => Some(Divergence::Gradient),
            _ => None,
        }
    }

    /// One optimiser step on the batch at row `start`; false if it was cancelled or training diverged.
    pub fn take(&self, worker: &Worker, start: usize, rows: usize) -> bool {
        let batch = self.batch(start, rows);
        if batch.part.is_some() {
            let mut sound = false;
            worker.uninterrupted(|| sound = self.take_with_others(worker, &batch, start));
            return sound;
        }
        self.forward(worker, &batch, start, &mut |losses| {
            self.cancelled.store(worker.is_cancelled(), Ordering::Relaxed);
            self.bad_loss.store(!losses.is_finite(), Ordering::Relaxed);
            if worker.is_cancelled() {
                return;
            }
            match (losses.is_finite(), self.pass.skips_bad) {
                (true, true) => {
                    *self.pending.lock().unwrap_or_else(PoisonError::into_inner) = losses
                }
                (true, false) => self.add(losses),
                (false, true) => self.skip(rows),
                (false, false) => (),
            }
        });
        // All workers read the same values: every store happens before the end of a phase.
        if self.cancelled.load(Ordering::Relaxed) {
            return false;
        }
        if self.bad_loss.load(Ordering::Relaxed) {
            return self.pass.skips_bad;
        }
        if !self.undoes {
            let mut sound = false;
            worker.uninterrupted(|| sound = self.update(worker, &batch, start));
            return sound;
        }
        let sound = self.update(worker, &batch, start);
        let last = || self.cancelled.store(worker.is_cancelled(), Ordering::Relaxed);
        worker.phase_then(0, |_| (), last);
        sound && !self.cancelled.load(Ordering::Relaxed)
    }

    /// The backward pass and the update of the batch at row `start`; false if training diverged.
    fn update(&self, worker: &Worker, batch: &Pass, start: usize) -> bool {
        let (objective, learning_rate) = self.pass.at(self.batches.before(start));
        let step = self.first + self.batches.before(start) as u64;
        let update = self.optimizer.at(step + 1 - self.optimizer_start, learning_rate);
        let (gradients, moments) = (self.buffers.gradients, self.buffers.moments);
        let sink = Sink::Update { update, moments, unsound: &self.unsound };
        // Skipping needs all gradients before the first change of a parameter.
        let limit = self.pass.clip_norm.or(self.pass.skips_bad.then_some(f64::INFINITY));
        let Some(limit) = limit else {
            batch.run_backward(worker, objective, gradients.values, sink);
            return self.finish(worker, batch);
        };
        batch.run_backward(worker, objective, gradients.values, Sink::Store(gradients.values));
        let applied = batch.apply_clipped(worker, (limit, gradients), sink);
        match (applied, self.pass.skips_bad, worker.index()) {
            (true, true, 0) => {
                self.add(*self.pending.lock().unwrap_or_else(PoisonError::into_inner))
            }
            (false, true, 0) => self.skip(batch.rows),
            (false, false, _) => self.unsound.store(true, Ordering::Relaxed),
            _ => (),
        }
        if applied { self.finish(worker, batch) } else { self.pass.skips_bad }
    }

    /// Moves running statistics after an update; false if the update found a gradient that was too large.
    pub(super) fn finish(&self, worker: &Worker, batch: &Pass) -> bool {
        let sound = !self.unsound.load(Ordering::Relaxed);
        if sound {
            batch.update_running(worker);
        }
        sound
    }

    pub(super) fn add(&self, losses: LossSums) {
        **self.sums.lock().unwrap_or_else(PoisonError::into_inner) += losses;
    }

    /// Counts a batch of `rows` examples without a step.
    pub(super) fn skip(&self, rows: usize) {
        let skipped = LossSums { examples: rows, skipped: 1, ..LossSums::default() };
        self.add(skipped);
    }
}
