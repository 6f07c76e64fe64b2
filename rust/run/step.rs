//! The forward and the backward pass of one batch.

use crate::model::{Epsilon, Pass};
use crate::nn::objective::{LossSums, Objective};
use crate::threads::Worker;

/// The sum in f64, ascending.
fn sum(values: &[f32]) -> f64 {
    values.iter().map(|&x| f64::from(x)).sum()
}

impl Pass<'_> {
    /// The loss sums of this batch, one draw per example. One worker calls it after [`Pass::score`].
    fn loss_sums(&self, objective: Objective) -> LossSums {
        let (reconstruction, kl) = self.losses();
        let [reconstruction, kl] = [reconstruction, kl].map(sum);
        let means = self.mean_kl_by_coordinate();
        let loss = objective.loss(self.rows, reconstruction, kl, means);
        let prior = self.rows as f64 * self.prior_loss();
        LossSums { examples: self.rows, reconstruction, kl, loss: loss + prior }
    }

    /// The loss sums of this batch, several draws per example: -log p(x|z) is a mean over the draws, the loss the negative
    /// importance-weighted bound. One worker calls it after [`Pass::share`].
    fn importance_loss_sums(&self) -> LossSums {
        let (reconstruction, kl) = self.losses();
        LossSums {
            examples: self.rows,
            reconstruction: sum(reconstruction) * self.rows as f64 / reconstruction.len() as f64,
            kl: sum(kl),
            loss: self.rows as f64 * self.prior_loss() - sum(self.bounds()),
        }
    }

    /// [`Pass::gradients`] of the importance-weighted bound.
    fn importance_gradients(
        &self,
        worker: &Worker,
        doubly: bool,
        epsilon: Epsilon,
        report: &mut dyn FnMut(LossSums),
    ) {
        self.encode(worker);
        self.sample_draws(worker, epsilon);
        self.decode(worker);
        self.score(worker, Some(1.0), &mut || ());
        self.share(worker, &mut || report(self.importance_loss_sums()));
        self.weigh_gradients(worker);
        self.backward(worker, &mut || self.draws_gradient(worker, doubly));
    }

    /// Forward and backward pass. One worker calls `report` with the losses, before any parameter changes.
    pub(super) fn gradients(
        &self,
        worker: &Worker,
        objective: Objective,
        epsilon: Epsilon,
        report: &mut dyn FnMut(LossSums),
    ) {
        if objective.importance.samples > 1 {
            return self.importance_gradients(worker, objective.importance.doubly, epsilon, report);
        }
        let rows = self.rows as f32;
        self.encode(worker);
        self.sample(worker, epsilon);
        if !objective.kl.is_plain() {
            self.sum_kl(worker);
        }
        self.decode(worker);
        let weight = objective.reconstruction / rows;
        self.score(worker, Some(weight), &mut || report(self.loss_sums(objective)));
        self.backward(worker, &mut || self.latent_gradient(worker, objective.kl));
    }
}
