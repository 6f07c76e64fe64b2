//! The forward and the backward pass of one batch.

use crate::matrix::Shared;
use crate::model::{Epsilon, Pass, Sink};
use crate::nn::objective::{LossSums, Objective};
use crate::simd::Row;
use crate::threads::Worker;

/// The sum in f64, ascending, of values times their weights (none: all 1).
fn sum(values: &[f32], weights: Option<&[f32]>) -> f64 {
    match weights {
        None => values.iter().map(|&x| f64::from(x)).sum(),
        Some(weights) => {
            values.iter().zip(weights).map(|(&x, &weight)| f64::from(x) * f64::from(weight)).sum()
        }
    }
}

impl Pass<'_> {
    /// The loss sums of this batch, one draw per example. One worker calls it after [`Pass::score`].
    fn loss_sums(&self, objective: Objective) -> LossSums {
        let (reconstruction, kl) = self.losses();
        let weights = self.example_weights();
        let scaled = self.kl_factors().map(|factors| {
            let kl = kl.iter().zip(factors).map(|(&kl, &factor)| f64::from(kl) * f64::from(factor));
            match weights {
                None => kl.sum(),
                Some(weights) => kl.zip(weights).map(|(kl, &weight)| kl * f64::from(weight)).sum(),
            }
        });
        let [reconstruction, kl] = [reconstruction, kl].map(|losses| sum(losses, weights));
        let means = self.mean_kl_by_coordinate();
        let loss = objective.loss(self.rows, reconstruction, scaled.unwrap_or(kl), means);
        let prior = self.all_rows() as f64 * self.prior_loss();
        LossSums { reconstruction, kl, loss: loss + prior, ..self.counted() }
    }

    /// The loss sums of this batch, several draws per example: -log p(x|z) is a mean over the draws, the loss the negative
    /// importance-weighted bound. One worker calls it after [`Pass::share`].
    fn importance_loss_sums(&self) -> LossSums {
        let ((reconstruction, kl), weights) = (self.losses(), self.example_weights());
        let copies = self.copies();
        let reconstruction = match weights {
            None => sum(reconstruction, None),
            Some(weights) => {
                let draws = reconstruction.chunks_exact(copies).zip(weights);
                draws.map(|(draws, &weight)| sum(draws, None) * f64::from(weight)).sum()
            }
        };
        LossSums {
            reconstruction: reconstruction / copies as f64,
            kl: sum(kl, weights),
            loss: self.all_rows() as f64 * self.prior_loss() - sum(self.bounds(), weights),
            ..self.counted()
        }
    }

    /// The number of examples and their weight, without losses.
    fn counted(&self) -> LossSums {
        let weight = self.example_weights().map_or(self.rows as f64, |weights| sum(weights, None));
        LossSums { examples: self.rows, weight, ..LossSums::default() }
    }

    /// The forward pass. One worker calls `report` with the losses, before any other phase.
    pub(super) fn run_forward(
        &self,
        worker: &Worker,
        objective: Objective,
        epsilon: Epsilon,
        report: &mut dyn FnMut(LossSums),
    ) {
        self.encode(worker);
        if objective.importance.samples > 1 {
            self.sample_draws(worker, epsilon);
            self.decode(worker);
            self.score(worker, Some(1.0), &mut || ());
            self.share(worker, &mut || report(self.importance_loss_sums()));
            return;
        }
        self.sample(worker, epsilon);
        if !objective.kl.is_plain() {
            self.sum_kl(worker);
        }
        self.decode(worker);
        let weight = self.weight(objective);
        self.score(worker, Some(weight), &mut || report(self.loss_sums(objective)));
    }

    /// The backward pass after [`Pass::run_forward`]. Gradients of parameters go to `sink`; `scratch` is as in [`Pass::backward`].
    pub(super) fn run_backward(
        &self,
        worker: &Worker,
        objective: Objective,
        scratch: Shared<Row>,
        sink: Sink,
    ) {
        let Objective { importance, kl, .. } = objective;
        let mut latent = || match importance.samples > 1 {
            true => self.draws_gradient(worker, importance.doubly),
            false => self.latent_gradient(worker, kl),
        };
        self.weigh_gradients(worker);
        self.backward(worker, &mut latent, self.weight(objective), (scratch, sink));
    }

    /// The weight of an example's -log p(x|z) in the loss.
    fn weight(&self, objective: Objective) -> f32 {
        objective.reconstruction / self.all_rows() as f32
    }
}
