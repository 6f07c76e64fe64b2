//! The phases of the importance-weighted bound ([`crate::nn::importance`]), where an example has several draws: behind z a
//! batch has a row for each of them, an example's being neighbours.
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
    /// eps, z and log p(z) - log q(z|x) of each draw.
    pub fn sample_draws(&self, worker: &Worker, epsilon: Epsilon) {
        let block = |draws: Range<usize>| {
            self.draw(draws.clone(), epsilon);
            // SAFETY: the head is from an earlier phase; the draws are this block's.
            let (head, ratio) = unsafe {
                let head = self.matrix(self.memory.plan.posterior.value);
                (head, self.memory.ratio.write(draws.clone()))
            };
            self.take_draws(draws.clone(), head, |r| r / self.copies(), ratio);
        };
        self.by_draws_then(worker, block, &mut || ());
    }

    /// Each row's KL and bound, and each draw's weight in the gradient of the batch mean of the loss, once the batch is
    /// scored; `last` runs when all are there.
    pub fn share(&self, worker: &Worker, last: &mut dyn FnMut()) {
        let block = |rows: Range<usize>| {
            self.analytic_kl(rows.clone());
            for r in rows {
                let draws = self.draws_of(r);
                // SAFETY: the first two are from earlier phases; the row and its draws are this block's.
                let (ratio, reconstruction, weights, bound) = unsafe {
                    (
                        self.memory.ratio.read(draws.clone()),
                        self.memory.reconstruction.read(draws.clone()),
                        self.memory.weights.write(draws),
                        self.memory.bound.write(r..r + 1),
                    )
                };
                let total = 1.0 / self.rows as f32;
                bound[0] =
                    self.isa.run(ImportanceWeights { ratio, reconstruction, total, weights });
            }
        };
        self.by_rows_then(worker, block, last);
    }

    /// The draws of an example.
    fn draws_of(&self, row: usize) -> Range<usize> {
        row * self.copies()..(row + 1) * self.copies()
    }

    /// KL of each of the calling block's rows.
    fn analytic_kl(&self, rows: Range<usize>) {
        // SAFETY: rows are the calling block's.
        let kl = unsafe { self.memory.kl.write(rows.clone()) };
        kl.fill(0.0);
        let mut block = LatentBlock::default(); // eps is zero, and z, which equals mu, is not used
        let mut clamped = 0;
        for col in (0..self.spec.latent_dim).step_by(LANES) {
            self.fetch_posterior(&mut block, rows.clone(), col);
            clamped += self.isa.run(SamplePosterior { block: &mut block, kl: &mut *kl });
        }
        if clamped > 0 {
            self.clamped.fetch_add(clamped, Ordering::Relaxed);
        }
    }

    /// The importance-weighted bound of each row, once [`BatchView::share`] is through.
    pub fn bounds(&self) -> &[f32] {
        // SAFETY: written in that phase only.
        unsafe { self.memory.bound.read(0..self.rows) }
    }

    /// Writes the mean of -log p(x|z) over the draws, KL and bound of each row to elements `first..` of three arrays.
    pub fn emit_bounds(&self, worker: &Worker, out: [Shared<f32>; 3], first: usize) {
        let ((reconstruction, kl), bounds) = (self.losses(), self.bounds());
        self.by_rows(worker, |rows| {
            for r in rows {
                let sum: f32 = reconstruction[self.draws_of(r)].iter().sum();
                let values = [sum / self.copies() as f32, kl[r], bounds[r]];
                for (out, value) in out.into_iter().zip(values) {
                    // SAFETY: the element is this block's.
                    unsafe { out.write(first + r..first + r + 1)[0] = value };
                }
            }
        });
    }

    /// Multiplies rows of a stored gradient by their draws' weights: known when all draws of an example are.
    pub(in crate::model) fn weigh_matrix(&self, worker: &Worker, gradient: Matrix) {
        let draws = self.draws();
        let grid = Grid::new(draws.div_ceil(ROW_BLOCK), panels_of(gradient.cols), worker.workers());
        worker.phase(grid.items(), |item| {
            let (panel, blocks) = grid.item(item);
            let rows = blocks.start * ROW_BLOCK..(blocks.end * ROW_BLOCK).min(draws);
            // SAFETY: weights are from an earlier phase; these rows of the panel are this item's.
            let (weights, rows) = unsafe {
                (self.memory.weights.read(rows.clone()), self.write(gradient, panel, rows))
            };
            self.isa.run(ScaleRows { rows, factors: weights });
        });
    }

    /// The gradients of mu and logvar from those of the draws.
    pub fn draws_gradient(&self, worker: &Worker, doubly: bool) {
        let (latent, plan) = (self.spec.latent_dim, self.memory.plan);
        let to = plan.posterior.gradient;
        let doubly = doubly.then_some(self.rows as f32);
        worker.phase(self.rows, |r| {
            let draws = self.draws_of(r);
            // SAFETY: all are from earlier phases. What lies beyond the head's last column takes part in the products'
            // vectors: it must be zero; row r is this item's.
            let (values, weights) = unsafe {
                self.write(to, panels_of(to.cols) - 1, r..r + 1).fill(ZERO_ROW);
                (self.matrix(plan.posterior.value), self.memory.weights.read(draws.clone()))
            };
            for col in (0..latent).step_by(LANES) {
                let mut logvar = Default::default();
                values.gather(r..r + 1, latent + col, &mut logvar);
                // SAFETY: as above.
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
                // SAFETY: row r is this item's.
                unsafe {
                    self.put(to, r, col, &mu.0[..cols]);
                    self.put(to, r, latent + col, &logvar.0[..cols]);
                }
            }
        });
    }
}
