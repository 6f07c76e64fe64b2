//! A step in two halves: the gradients of a batch, and the optimiser's update with given gradients.

use super::team::threads_for;
use super::train::UPDATE_WORK;
use crate::data::Source;
use crate::error::{Error, Result};
use crate::model::{
    BatchSize, CompositePrior, EncoderInput, Engine, Epsilon, InputStorage, PassKind, Rows, Sink,
};
use crate::nn::objective::{LossSums, Objective};
use crate::nn::optimizer::LARGEST_GRADIENT;
use crate::simd::Row;
use crate::threads;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};

impl Engine {
    /// The loss sums of a batch, and the gradients of its mean loss in the order of `network.trained()`.
    pub fn loss_and_gradients(
        &mut self,
        x: &Source,
        (input, epsilon): (EncoderInput, Epsilon),
        (objective, prior): (Objective, Option<CompositePrior>),
        threads: Option<usize>,
    ) -> Result<(LossSums, Vec<Vec<f32>>)> {
        self.require_training("a gradient")?;
        self.network.check_conditions(x)?;
        if let Some(prior) = &prior {
            prior.check(&self.network.spec, objective, x)?;
        }
        let rows = x.rows();
        let size = BatchSize::with_draws(&self.network.spec, rows, objective.importance.samples)?;
        let threads = threads_for(threads, 3 * self.network.work_of(size));
        self.allocate_gradients()?;
        let losses = Mutex::new(LossSums::default());
        let storage = input.storage().of(&self.network.spec, x, rows);
        let buffers = self.share(1, size, PassKind::Train, storage)?;
        let hash =
            matches!(epsilon, Epsilon::Drawn(_)) || matches!(input, EncoderInput::Corrupted(..));
        let finished = threads::run_cancellable(threads, |worker| {
            let pass = buffers.pass(0, rows).training_on(x, prior.as_ref());
            pass.load(worker, x, (hash, input), Rows::From(0), None);
            pass.run_forward(worker, objective, epsilon, &mut |totals| {
                *losses.lock().unwrap_or_else(PoisonError::into_inner) = totals;
            });
            let gradients = buffers.gradients.values;
            pass.run_backward(worker, objective, gradients, Sink::Store(gradients));
        });
        let losses = losses.into_inner().unwrap_or_else(PoisonError::into_inner);
        if !finished {
            return Ok((losses, Vec::new())); // the caller discards both
        }
        let gradients = self.network.trained().iter().map(|tensor| self.gradient(tensor));
        Ok((losses, gradients.collect::<Result<_>>()?))
    }

    /// Takes one optimiser step with gradients packed by [`Engine::pack`].
    pub fn apply_gradients(
        &mut self,
        gradients: &[Row],
        learning_rate: f64,
        threads: Option<usize>,
    ) -> Result<()> {
        self.require_training("a step of the optimiser")?;
        let too_large = |x: &f32| x.abs() > LARGEST_GRADIENT;
        if gradients.iter().flatten().any(|lanes| lanes.0.iter().any(too_large)) {
            return Err(Error::Value(format!("a gradient is larger than {LARGEST_GRADIENT:e}")));
        }
        let threads = threads_for(threads, UPDATE_WORK * self.network.work());
        let update =
            self.network.spec.optimizer.at(self.steps + 1 - self.optimizer_start, learning_rate);
        let unsound = AtomicBool::new(false);
        let buffers = self.share(1, BatchSize::of(1), PassKind::Infer, InputStorage::Batch)?;
        threads::run(threads, |worker| {
            let sink = Sink::Update { update, moments: buffers.moments, unsound: &unsound };
            buffers.pass(0, 1).apply(worker, gradients, sink);
        });
        if unsound.into_inner() {
            return Err(Error::Value(format!(
                "the step with learning_rate={learning_rate} overflows float32: lower it, or scale the gradients"
            )));
        }
        self.steps += 1;
        Ok(())
    }
}
