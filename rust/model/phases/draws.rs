//! The phases of the importance-weighted bound ([`crate::nn::importance`]). Each example has several draws of z. From z
//! on, a batch has one row for each draw; the draws of an example are adjacent.
#![allow(unsafe_code)]

use crate::matrix::{Grid, Shared, panels_of};
use crate::model::batch::Epsilon;
use crate::model::memory::{BatchView, Matrix, ROW_BLOCK};
use crate::nn::dense::ScaleRows;
use crate::nn::importance::{DrawsGradient, ImportanceWeights};
use crate::nn::latent::{LatentBlock, SamplePosterior};
use crate::simd::{LANES, WIDTH, ZERO_ROW};
use crate::threads::Worker;
use std::ops::Range;
use std::sync::atomic::Ordering;

impl BatchView<'_> {
    /// Computes eps, z and log p(z) - log q(z|x) of each draw.
    pub fn sample_draws(&self, worker: &Worker, epsilon: Epsilon) {
        let block = |draws: Range<usize>| {
            self.draw(draws.clone(), epsilon);
            // SAFETY: an earlier phase wrote the head; only this block uses these draws.
            let (head, ratio) = unsafe {
                let head = self.matrix(self.memory.plan.posterior.value);
                (head, self.memory.ratio.write(draws.clone()))
            };
            self.take_draws(draws.clone(), head, |r| r / self.copies(), ratio);
        };
        self.by_draws_then(worker, block, &mut || ());
    }

    /// Computes KL and bound of each row, and the weight of each draw in the gradient of the batch mean of the loss.
    /// Requires a scored batch. `last` runs after all rows.
    pub fn share(&self, worker: &Worker, last: &mut dyn FnMut()) {
        let block = |rows: Range<usize>| {
            self.analytic_kl(rows.clone());
            for r in rows {
                let draws = self.draws_of(r);
                // SAFETY: earlier phases wrote the first two; only this block uses the row and its draws.
                let (ratio, reconstruction, weights, bound) = unsafe {
                    (
                        self.memory.ratio.read(draws.clone()),
                        self.memory.reconstruction.read(draws.clone()),
                        self.memory.weights.write(draws),
                        self.memory.bound.write(r..r + 1),
                    )
                };
                let total = self.example_weight(r) / self.all_rows() as f32;
                bound[0] =
                    self.isa.run(ImportanceWeights { ratio, reconstruction, total, weights });
            }
        };
        self.by_rows_then(worker, block, last);
    }

    /// The rows of an example's draws.
    fn draws_of(&self, row: usize) -> Range<usize> {
        row * self.copies()..(row + 1) * self.copies()
    }

    /// Computes the analytic KL of the calling block's rows.
    fn analytic_kl(&self, rows: Range<usize>) {
        // SAFETY: only the calling block uses these rows.
        let kl = unsafe { self.memory.kl.write(rows.clone()) };
        kl.fill(0.0);
        let mut block = LatentBlock::default(); // eps is zero, so z equals mu; z is unused
        let mut clamped = 0;
        for col in (0..self.spec.latent_dim).step_by(LANES) {
            self.fetch_posterior(&mut block, rows.clone(), col);
            clamped += self.isa.run(SamplePosterior { block: &mut block, kl: &mut *kl });
        }
        if clamped > 0 {
            self.clamped.fetch_add(clamped, Ordering::Relaxed);
        }
    }

    /// The importance-weighted bound of each row, nats. Valid after [`BatchView::share`].
    pub fn bounds(&self) -> &[f32] {
        // SAFETY: only that phase writes the bounds.
        unsafe { self.memory.bound.read(0..self.rows) }
    }

    /// Writes the mean of -log p(x|z) over the draws, the KL and the bound of each row to elements `first..` of three
    /// arrays.
    pub fn emit_bounds(&self, worker: &Worker, out: [Shared<f32>; 3], first: usize) {
        let ((reconstruction, kl), bounds) = (self.losses(), self.bounds());
        self.by_rows(worker, |rows| {
            for r in rows {
                let sum: f32 = reconstruction[self.draws_of(r)].iter().sum();
                let values = [sum / self.copies() as f32, kl[r], bounds[r]];
                for (out, value) in out.into_iter().zip(values) {
                    // SAFETY: only this block writes the element.
                    unsafe { out.write(first + r..first + r + 1)[0] = value };
                }
            }
        });
    }

    /// Multiplies each row of a stored gradient by the factor of its draw. The weights of several draws are known only after
    /// all draws of an example are scored.
    pub(in crate::model) fn weigh_matrix(
        &self,
        worker: &Worker,
        factors: &[f32],
        gradient: Matrix,
    ) {
        let draws = self.draws();
        let grid = Grid::new(draws.div_ceil(ROW_BLOCK), panels_of(gradient.cols), worker.workers());
        worker.phase(grid.items(), |item| {
            let (panel, blocks) = grid.item(item);
            let rows = blocks.start * ROW_BLOCK..(blocks.end * ROW_BLOCK).min(draws);
            let factors = &factors[rows.clone()];
            // SAFETY: only this item uses these rows of the panel.
            let rows = unsafe { self.write(gradient, panel, rows) };
            self.isa.run(ScaleRows { rows, factors });
        });
    }

    /// Computes the gradients of mu and logvar from the gradients of the draws.
    pub fn draws_gradient(&self, worker: &Worker, doubly: bool) {
        let (latent, plan) = (self.spec.latent_dim, self.memory.plan);
        let to = plan.posterior.gradient;
        worker.phase(self.rows, |r| {
            let weight = self.example_weight(r);
            let rows = self.all_rows() as f32;
            let doubly = doubly.then(|| if weight > 0.0 { rows / weight } else { 0.0 });
            let draws = self.draws_of(r);
            // SAFETY: earlier phases wrote all inputs; only this item writes row r. The padding after the last column
            // of the head enters the vectorised products, so it must be zero.
            let (values, weights) = unsafe {
                self.write(to, panels_of(to.cols) - 1, r..r + 1).fill(ZERO_ROW);
                (self.matrix(plan.posterior.value), self.memory.weights.read(draws.clone()))
            };
            for col in (0..latent).step_by(LANES) {
                let mut logvar = Default::default();
                values.gather(r..r + 1, latent + col, &mut logvar);
                // SAFETY: earlier phases wrote all three.
                let [eps, z, dz] = [plan.eps, plan.z.value, plan.z.gradient]
                    .map(|matrix| unsafe { self.read(matrix, col / WIDTH, draws.clone()) });
                let half = col % WIDTH / LANES;
                let [mu, logvar] = self.isa.run(DrawsGradient {
                    logvar: &logvar[0],
                    eps,
                    z,
                    dz,
                    half,
                    weights,
                    doubly,
                });
                let cols = (latent - col).min(LANES);
                // SAFETY: only this item writes row r.
                unsafe {
                    self.put(to, r, col, &mu.0[..cols]);
                    self.put(to, r, latent + col, &logvar.0[..cols]);
                }
            }
        });
    }
}
