//! The phases of the backward pass: from the output's gradient to every layer's.
#![allow(unsafe_code)]

use super::pass::Pass;
use super::workspace::Matrix;
use crate::matrix::{ProductTile, panels_of, product};
use crate::nn::activation::Activation;
use crate::nn::dense::InputGradient;
use crate::nn::latent::{KlTerm, LatentBlock, LatentGradient};
use crate::simd::{LANES, Lanes, ZERO_ROW};
use crate::threads::Worker;

impl Pass<'_> {
    /// Fills every layer's gradient, given the output layer's; `latent` fills that of the head, given that of z.
    pub fn backward(&self, worker: &Worker, latent: impl Fn()) {
        let (network, plan) = (self.network, self.memory.plan);
        self.normalize_gradient(worker, network.output());
        for index in (1..=network.output()).rev() {
            if index == network.head() + 1 && network.spec.variational {
                self.input_gradient(worker, index, Activation::Identity, plan.z, plan.dz);
                self.topics_gradient(worker);
                latent();
                self.normalize_gradient(worker, index - 1);
            } else {
                let (below, activation) = (index - 1, network.activation(index - 1));
                let (kept, to) = (plan.kept(below), plan.gradients[below]);
                self.input_gradient(worker, index, activation, kept, to);
            }
        }
    }

    fn input_gradient(
        &self,
        worker: &Worker,
        index: usize,
        activation: Activation,
        kept: Matrix,
        to: Matrix,
    ) {
        let layer = &self.network.layers[index];
        // SAFETY: the gradient above was written in an earlier phase; weights change in the update only.
        let (above, transposed) = unsafe {
            let above = self.matrix(self.memory.plan.gradients[index]);
            (above, self.transposed.read(0..self.network.transposed_rows))
        };
        let weights = |panel| &transposed[layer.transposed(panel)];
        product(
            worker,
            self.isa,
            above,
            |_| None,
            layer.inputs,
            weights,
            |tile| {
                let ProductTile { panel, rows, vectors, products } = tile;
                // SAFETY: `kept` is from the forward pass; these rows of this panel of `to` are the tile's own.
                let (kept, out) =
                    unsafe { (self.read(kept, panel, rows.clone()), self.write(to, panel, rows)) };
                self.isa.run(InputGradient { products, vectors, activation, kept, out });
            },
        );
    }

    /// The gradients of mu and logvar from that of z and the KL.
    pub fn latent_gradient(&self, worker: &Worker, kl: KlTerm) {
        let slope = match kl.is_plain() {
            true => kl.weight / self.rows as f32,
            false => kl.slope(self.kl_by_coordinate(), self.rows),
        };
        let (latent, plan) = (self.network.spec.latent_dim, self.memory.plan);
        let to = plan.gradients[self.network.head()];
        self.by_rows(worker, |rows| {
            // SAFETY: dz was written in the phase before.
            let dz = unsafe { self.matrix(plan.dz) };
            // What lies beyond the last column takes part in the products' vectors: it must be zero.
            // SAFETY: rows are this block's.
            unsafe { self.write(to, panels_of(to.cols) - 1, rows.clone()) }.fill(ZERO_ROW);
            let mut block = LatentBlock::default();
            for col in (0..latent).step_by(LANES) {
                self.fetch(&mut block, rows.clone(), col);
                dz.gather(rows.clone(), col, &mut block.z);
                let slopes = match kl.is_plain() {
                    true => Lanes([slope; LANES]),
                    false => kl.slopes(slope, &self.kl_sums()[col / LANES], self.rows),
                };
                self.isa.run(LatentGradient { block: &mut block, slopes });
                for (i, r) in rows.clone().enumerate() {
                    // SAFETY: row r is this block's.
                    unsafe {
                        self.put(to, r, col, &block.mu[i].0[..block.cols]);
                        self.put(to, r, latent + col, &block.logvar[i].0[..block.cols]);
                    }
                }
            }
        });
    }
}
