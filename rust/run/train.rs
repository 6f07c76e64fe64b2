//! Training: runs of steps over batches, and single steps in two halves.

use crate::data::Source;
use crate::data::binarize::Binary;
use crate::data::corruption::Corruption;
use crate::error::{Error, Result};
use crate::model::{
    BatchSize, EncoderInput, Engine, Epsilon, InputStorage, NoiseKey, Pass, PassKind, Rows, Sink,
};
use crate::nn::latent::KlTerm;
use crate::nn::optimizer::LARGEST_GRADIENT;
use crate::random::Permutation;
use crate::simd::Row;
use crate::threads::{self, Worker};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Multiply-adds in a step below which a second thread costs more at the barriers than it brings.
const WORTH_A_THREAD: usize = 1_200_000;

/// Multiply-adds in a step from which a second thread is worth it wherever its core is. In between it depends on
/// whether the two cores share a cache, which on a virtual machine changes by the minute.
const WORTH_ANYWHERE: usize = 24_000_000;

/// Batches on which a number of threads is tried, and how many there must be for a trial.
const TRIAL: usize = 4;
const WORTH_A_TRIAL: usize = 24 * TRIAL;

/// What updating a weight costs, in multiply-adds.
const UPDATE: usize = 40;

/// The loss: its two terms or, where an example has several draws, the negative importance-weighted bound, in which they
/// have no weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Objective {
    /// The weight of -log p(x|z).
    pub reconstruction: f32,
    /// What becomes of the KL.
    pub kl: KlTerm,
    /// The draws.
    pub importance: Importance,
}

/// The draws of z for each example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Importance {
    /// How many.
    pub samples: usize,
    /// Whether, of several, the encoder's gradient is doubly reparameterised.
    pub doubly: bool,
}

impl Importance {
    /// One draw: the ELBO.
    pub const NONE: Importance = Importance { samples: 1, doubly: false };
}

/// What changes in the course of training: one value for all steps of a task, or one for each.
#[derive(Clone, Copy, Debug)]
pub struct StepValues<'a> {
    /// The weight of the KL.
    pub betas: &'a [f32],
    /// Its target, nats; empty for none.
    pub capacities: &'a [f32],
    /// The optimiser's.
    pub learning_rates: &'a [f64],
}

/// An epoch, or a pass of `partial_fit`.
pub struct TrainingPass<'a> {
    /// The examples.
    pub x: Source<'a>,
    /// Their noise, if the caller gives it.
    pub eps: Option<Source<'a>>,
    /// What the encoder sees in their place, if the caller gives it.
    pub corrupted: Option<Source<'a>>,
    /// Else what is done to what it sees.
    pub corruption: Option<Corruption>,
    /// What is done to the examples before anything else.
    pub binarize: Option<Binary>,
    /// In the epoch's random order, or as given.
    pub shuffle: bool,
    /// Examples a step; the last batch of an epoch may have fewer.
    pub batch_size: usize,
    /// The weight of -log p(x|z) in the loss.
    pub reconstruction: f32,
    /// Nats of each latent coordinate that cost nothing.
    pub free_bits: f32,
    /// The draws.
    pub importance: Importance,
    /// The rest of the loss, and the learning rate.
    pub course: StepValues<'a>,
    /// The largest norm of all gradients together; none for any.
    pub clip_norm: Option<f64>,
    /// Threads, or none to choose by the size of the work.
    pub threads: Option<usize>,
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
            course: StepValues { betas: &[1.0], capacities: &[], learning_rates: &[1e-3] },
            clip_norm: None,
            threads: None,
        }
    }

    /// The loss and the learning rate of its step `step`.
    fn at(&self, step: usize) -> (Objective, f64) {
        fn value<T: Copy>(values: &[T], step: usize) -> Option<T> {
            values.get(step).or(values.last()).copied()
        }
        let kl = KlTerm {
            weight: value(self.course.betas, step).unwrap_or(0.0),
            free_bits: self.free_bits,
            capacity: value(self.course.capacities, step),
        };
        let learning_rate = value(self.course.learning_rates, step).unwrap_or(0.0);
        let TrainingPass { reconstruction, importance, .. } = *self;
        (Objective { reconstruction, kl, importance }, learning_rate)
    }
}

/// How far a task is: sums over the examples seen, nats.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LossSums {
    /// Examples trained on.
    pub examples: usize,
    /// Sum of -log p(x|z).
    pub reconstruction: f64,
    /// Sum of KL.
    pub kl: f64,
    /// Sum of the loss.
    pub loss: f64,
}

/// The number of threads for batches of that much work.
pub fn threads_for(wanted: Option<usize>, multiply_adds: usize) -> usize {
    wanted.unwrap_or_else(|| match multiply_adds < WORTH_A_THREAD {
        true => 1,
        false => threads::default_threads(), // asks the system, which takes microseconds
    })
}

/// Walks `from..total` in blocks with a team until done or out of time, and says how far it came. Every worker
/// calls `body(worker, start, rows)`; all of them must get the same answer, false to stop.
pub(crate) fn walk(
    threads: usize,
    (from, total): (usize, usize),
    block: usize,
    budget: Duration,
    body: &(dyn Fn(&Worker, usize, usize) -> bool + Sync),
) -> usize {
    let (clock, reached, late) = (Instant::now(), AtomicUsize::new(from), AtomicBool::new(false));
    threads::run(threads, |worker| {
        let mut start = from;
        while start < total && !late.load(Ordering::Relaxed) {
            let rows = block.min(total - start);
            if !body(worker, start, rows) {
                break;
            }
            start += rows;
            if start == total {
                reached.store(total, Ordering::Relaxed); // as every worker does; the end of the run is the barrier
                break;
            }
            let last = || {
                reached.store(start, Ordering::Relaxed);
                late.store(clock.elapsed() >= budget, Ordering::Relaxed);
            };
            worker.phase_then(0, |_| (), last);
        }
    });
    reached.into_inner()
}

/// The faster one of a team of `threads` and one thread. `time` does some of the work with a team and says how long that
/// took; nothing if it came to an end, and then so does this. (No result depends on the number of threads.)
fn fastest_team(threads: usize, mut time: impl FnMut(usize) -> Option<Duration>) -> Option<usize> {
    time(threads)?; // wakes it
    let (team, alone) = (time(threads)?, time(1)?);
    Some(if team <= alone { threads } else { 1 })
}

/// In f64, ascending.
fn sum(values: &[f32]) -> f64 {
    values.iter().map(|&x| f64::from(x)).sum()
}

impl Pass<'_> {
    /// The sums of this batch's -log p(x|z), KL and loss, in f64, rows ascending.
    ///
    /// Called by one worker when [`Pass::score`] has them.
    fn totals(&self, objective: Objective) -> LossSums {
        let (reconstruction, kl) = self.losses();
        let [reconstruction, kl] = [reconstruction, kl].map(sum);
        let kl_loss = match objective.kl.is_plain() {
            true => f64::from(objective.kl.weight) * kl,
            false => self.rows as f64 * objective.kl.value(self.kl_by_coordinate(), self.rows),
        };
        let loss = f64::from(objective.reconstruction) * reconstruction + kl_loss;
        LossSums { examples: self.rows, reconstruction, kl, loss }
    }

    /// The same where an example has several draws, over which its -log p(x|z) is averaged: the loss is the negative
    /// importance-weighted bound. Called when [`Pass::share`] is through.
    fn importance_totals(&self) -> LossSums {
        let (reconstruction, kl) = self.losses();
        LossSums {
            examples: self.rows,
            reconstruction: sum(reconstruction) * self.rows as f64 / reconstruction.len() as f64,
            kl: sum(kl),
            loss: -sum(self.bounds()),
        }
    }

    /// [`Pass::gradients`] of the importance-weighted bound.
    fn importance_gradients(
        &self,
        worker: &Worker,
        doubly: bool,
        epsilon: Epsilon,
        last: &mut dyn FnMut(LossSums),
    ) {
        self.encode(worker);
        self.sample_draws(worker, epsilon);
        self.decode(worker);
        self.score(worker, Some(1.0), &mut || ());
        self.share(worker, &mut || last(self.importance_totals()));
        self.weigh_gradients(worker);
        self.backward(worker, &mut || self.draws_gradient(worker, doubly));
    }

    /// Forward and backward. `last` sees the losses before any parameter changes.
    fn gradients(
        &self,
        worker: &Worker,
        objective: Objective,
        epsilon: Epsilon,
        last: &mut dyn FnMut(LossSums),
    ) {
        if objective.importance.samples > 1 {
            return self.importance_gradients(worker, objective.importance.doubly, epsilon, last);
        }
        let rows = self.rows as f32;
        self.encode(worker);
        self.sample(worker, epsilon);
        if !objective.kl.is_plain() {
            self.sum_kl(worker);
        }
        self.decode(worker);
        let weight = objective.reconstruction / rows;
        self.score(worker, Some(weight), &mut || last(self.totals(objective)));
        self.backward(worker, &mut || self.latent_gradient(worker, objective.kl));
    }
}

/// What stopped training.
#[derive(Clone, Copy)]
enum Divergence {
    /// Seen before anything changed.
    Loss,
    /// Seen in the update, which leaves out the parameters with such gradients.
    Gradient,
}

impl Divergence {
    fn at(self, step: u64, learning_rate: f64) -> Error {
        let what = match self {
            Divergence::Loss => {
                "the loss is not a finite number; the weights are those before the step"
            }
            Divergence::Gradient => {
                "a gradient is too large for float32; all weights are finite, those with such gradients unchanged"
            }
        };
        Error::Diverged(format!(
            "training diverged at step {step}: {what}. Lower learning_rate (it is {learning_rate}), or scale the data"
        ))
    }
}

impl Engine {
    /// Takes steps until the task is done (then the result is true) or `budget` is over. `totals` says where to
    /// go on, and is where the losses are added up.
    pub fn train(
        &mut self,
        task: &TrainingPass,
        totals: &mut LossSums,
        budget: Duration,
    ) -> Result<bool> {
        self.network.check_conditions(&task.x)?;
        let (n, batch) = (task.x.rows(), task.batch_size.min(task.x.rows()).max(1));
        let size = BatchSize::with_draws(&self.network.spec, batch, task.importance.samples)?;
        let work = 3 * self.network.work_of(size) + UPDATE * self.network.work();
        let threads = threads_for(task.threads, work);
        let order = task.shuffle.then(|| Permutation::new(self.network.spec.seed, self.epochs, n));
        let (seed, steps, optimizer_start) =
            (self.network.spec.seed, self.steps, self.optimizer_start);
        let optimizer = self.network.spec.optimizer;
        let from = totals.examples;
        let before = (from / batch) as u64;
        let ledger = Mutex::new(totals);
        let [bad_loss, unsound] = [(); 2].map(|()| AtomicBool::new(false));
        if task.clip_norm.is_some() || self.network.stores_gradient() {
            self.make_room_for_gradients()?;
        }
        // A pass is known by its first step.
        let binarize = task.binarize.map(|binary| binary.of(seed, (steps - before) as u32));
        let x = task.x.binarized(binarize);
        let input = |start, draw| {
            EncoderInput::of(task.corrupted.map(|seen| (seen, start)), task.corruption, draw)
        };
        let storage =
            input(0, NoiseKey::Train(seed, 0)).storage().of(&self.network.spec, &x, batch);

        let buffers = self.share(1, size, PassKind::Train, storage)?;
        let body = |worker: &Worker, start: usize, rows: usize| {
            let pass = buffers.pass(0, rows);
            let (objective, learning_rate) = task.at(start / batch);
            let step = steps + (start / batch) as u64 - before;
            let draw = NoiseKey::Train(seed, step as u32);
            let epsilon = task.eps.map_or(Epsilon::Drawn(draw), |eps| Epsilon::Given(eps, start));
            let rows = match &order {
                Some(order) => Rows::Shuffled(order, start),
                None => Rows::From(start),
            };
            pass.load(worker, &x, (false, input(start, draw)), rows, None);
            pass.gradients(worker, objective, epsilon, &mut |losses| {
                if (losses.reconstruction + losses.kl + losses.loss).is_finite() {
                    let mut totals = ledger.lock().unwrap_or_else(PoisonError::into_inner);
                    totals.examples += losses.examples;
                    totals.reconstruction += losses.reconstruction;
                    totals.kl += losses.kl;
                    totals.loss += losses.loss;
                } else {
                    bad_loss.store(true, Ordering::Relaxed);
                }
            });
            if bad_loss.load(Ordering::Relaxed) {
                return false;
            }
            let update = optimizer.at(step + 1 - optimizer_start, learning_rate);
            let weight = objective.reconstruction / pass.rows as f32;
            let sink = Sink::Update { update, moments: buffers.moments, unsound: &unsound };
            if let Some(limit) = task.clip_norm {
                let clip = (limit, buffers.gradients);
                if !pass.update_clipped(worker, weight, clip, sink) {
                    unsound.store(true, Ordering::Relaxed);
                }
            } else {
                pass.update(worker, weight, buffers.gradients.values, sink);
            }
            // The same for all workers: what was found unsound was so before the last phase was over.
            let sound = !unsound.load(Ordering::Relaxed);
            if sound {
                pass.follow_batch(worker);
            }
            sound
        };
        let mut reached = from;
        let mut advance = |threads, rows| {
            let (start, end) = (Instant::now(), n.min(reached + rows));
            reached = walk(threads, (reached, end), batch, budget, &body);
            (reached == end).then(|| start.elapsed())
        };
        let open = task.threads.is_none() && threads > 1 && work < WORTH_ANYWHERE;
        let threads = match open && n - from >= WORTH_A_TRIAL * batch {
            true => fastest_team(threads, |threads| advance(threads, TRIAL * batch)),
            false => Some(threads),
        };
        if let Some(threads) = threads {
            advance(threads, n);
        }

        self.steps += (reached - from).div_ceil(batch) as u64;
        let troubles = [(bad_loss, Divergence::Loss), (unsound, Divergence::Gradient)];
        for (happened, trouble) in troubles {
            if happened.into_inner() {
                let (_, learning_rate) = task.at(reached / batch);
                return Err(trouble.at(self.steps + 1, learning_rate));
            }
        }
        self.epochs += u32::from(task.shuffle && reached == n);
        Ok(reached == n)
    }

    /// The gradients of the batch mean of the loss, in the order of `network.trained()`, with the losses' sums.
    pub fn loss_and_gradients(
        &mut self,
        x: &Source,
        (input, epsilon): (EncoderInput, Epsilon),
        objective: Objective,
        threads: Option<usize>,
    ) -> Result<(LossSums, Vec<Vec<f32>>)> {
        self.network.check_conditions(x)?;
        let rows = x.rows();
        let size = BatchSize::with_draws(&self.network.spec, rows, objective.importance.samples)?;
        let threads = threads_for(threads, 3 * self.network.work_of(size));
        self.make_room_for_gradients()?;
        let losses = Mutex::new(LossSums::default());
        let storage = input.storage().of(&self.network.spec, x, rows);
        let buffers = self.share(1, size, PassKind::Train, storage)?;
        let hash =
            matches!(epsilon, Epsilon::Drawn(_)) || matches!(input, EncoderInput::Corrupted(..));
        threads::run(threads, |worker| {
            let pass = buffers.pass(0, rows);
            pass.load(worker, x, (hash, input), Rows::From(0), None);
            pass.gradients(worker, objective, epsilon, &mut |totals| {
                *losses.lock().unwrap_or_else(PoisonError::into_inner) = totals;
            });
            let (weight, room) = (objective.reconstruction / rows as f32, buffers.gradients.values);
            pass.update(worker, weight, room, Sink::Store(room));
        });
        let losses = losses.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok((losses, self.network.trained().iter().map(|tensor| self.gradient(tensor)).collect()))
    }

    /// One optimiser step with gradients made by [`Engine::pack`].
    pub fn apply_gradients(
        &mut self,
        gradients: &[Row],
        learning_rate: f64,
        threads: Option<usize>,
    ) -> Result<()> {
        let too_large = |x: &f32| x.abs() > LARGEST_GRADIENT;
        if gradients.iter().flatten().any(|lanes| lanes.0.iter().any(too_large)) {
            return Err(Error::Value(format!("a gradient is larger than {LARGEST_GRADIENT:e}")));
        }
        let threads = threads_for(threads, UPDATE * self.network.work());
        let update =
            self.network.spec.optimizer.at(self.steps + 1 - self.optimizer_start, learning_rate);
        let unsound = AtomicBool::new(false);
        let buffers = self.share(1, BatchSize::of(1), PassKind::Infer, InputStorage::Batch)?;
        threads::run(threads, |worker| {
            let sink = Sink::Update { update, moments: buffers.moments, unsound: &unsound };
            buffers.pass(0, 1).apply(worker, gradients, sink);
        });
        if unsound.into_inner() {
            return Err(Divergence::Gradient.at(self.steps + 1, learning_rate));
        }
        self.steps += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_faster_team_is_chosen() {
        for (team, alone, want) in [(1, 2, 4), (2, 2, 4), (3, 2, 1)] {
            let mut tried = Vec::new();
            let found = fastest_team(4, |threads| {
                tried.push(threads);
                Some(Duration::from_micros(if threads == 4 { team } else { alone }))
            });
            assert_eq!((found, tried), (Some(want), vec![4, 4, 1]));
        }
    }

    #[test]
    fn a_trial_in_which_training_ends_is_the_end() {
        for last in 0..3 {
            let mut trials = 0;
            let found = fastest_team(2, |_| {
                trials += 1;
                (trials <= last).then_some(Duration::ZERO)
            });
            assert_eq!((found, trials), (None, last + 1));
        }
    }
}
