//! A step that several ranks take together: the sum of their gradients, and the same update on each.
#![allow(unsafe_code)]

use super::steps::Steps;
use crate::model::{Pass, Sink};
use crate::nn::objective::LossSums;
use crate::threads::Worker;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

impl Steps<'_> {
    /// One optimiser step on all ranks' parts of a batch, of which `batch` is this rank's; false if the exchange failed, without
    /// any change of the model, or if training diverged. A loss that is not finite is found on all ranks, after the backward pass:
    /// asking for it earlier would make each step wait twice.
    pub(super) fn take_with_others(&self, worker: &Worker, batch: &Pass, start: usize) -> bool {
        let Some((_, exchange)) = self.pass.ranks else { unreachable!("there are other ranks") };
        let pending = || self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        self.forward(worker, batch, start, &mut |losses| *pending() = losses);
        let (objective, learning_rate) = self.pass.at(self.batches.before(start));
        let gradients = self.buffers.gradients;
        batch.run_backward(worker, objective, gradients.values, Sink::Store(gradients.values));
        if worker.index() == 0 {
            let mut all = pending();
            let LossSums { weight, reconstruction, kl, loss, .. } = *all;
            let mut sums = [weight, reconstruction, kl, loss];
            self.cancelled.store(!exchange.finish(&mut sums), Ordering::Relaxed);
            let [weight, reconstruction, kl, loss] = sums;
            *all = LossSums { weight, reconstruction, kl, loss, ..*all };
            self.bad_loss.store(!all.is_finite(), Ordering::Relaxed);
        }
        worker.phase(0, |_| ());
        // All workers read the same values: they are stored before the end of the phase.
        if self.cancelled.load(Ordering::Relaxed) {
            return false;
        }
        if self.bad_loss.load(Ordering::Relaxed) {
            if self.pass.skips_bad && worker.index() == 0 {
                self.skip(batch.rows);
            }
            worker.phase(0, |_| ());
            return self.pass.skips_bad;
        }
        let step = self.first + self.batches.before(start) as u64;
        let update = self.optimizer.at(step + 1 - self.optimizer_start, learning_rate);
        let sink = Sink::Update { update, moments: self.buffers.moments, unsound: &self.unsound };
        let applied = match self.pass.clip_norm.or(self.pass.skips_bad.then_some(f64::INFINITY)) {
            Some(limit) => batch.apply_clipped(worker, (limit, gradients), sink),
            None => {
                // SAFETY: gradients are not written until the next step, after the barrier at the end of this one.
                let all = unsafe { gradients.values.read(0..batch.network.rows) };
                batch.apply(worker, all, sink);
                true
            }
        };
        match (applied, self.pass.skips_bad, worker.index()) {
            (true, _, 0) => self.add(*pending()),
            (false, true, 0) => self.skip(batch.rows),
            (false, false, _) => self.unsound.store(true, Ordering::Relaxed),
            _ => (),
        }
        if applied { self.finish(worker, batch) } else { self.pass.skips_bad }
    }
}
