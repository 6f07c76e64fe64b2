//! One batch on its way through the network: the passes forward and backward, layer by layer.
#![allow(unsafe_code)]

use super::batch::Epsilon;
use super::head::Tiles;
use super::layers::{Epilogue, Layer};
use super::memory::{BatchView, Owners, Slot};
use super::network::{Layers, Network};
use super::phases::SampleRange;
use super::sink::Sink;
use crate::matrix::{Shared, panels_of};
use crate::simd::Row;
use crate::threads::Worker;
use std::ops::{Deref, Range};

/// Rows of the parameter buffer that one work item of [`Pass::apply`] updates.
pub(super) const APPLY_BLOCK: usize = 256;

/// A batch and the network. Its methods are phases, as those of [`BatchView`], which it derefs to.
#[derive(Clone, Copy)]
pub struct Pass<'a> {
    /// The layers.
    pub network: &'a Network,
    /// The batch.
    pub batch: BatchView<'a>,
}

impl<'a> Deref for Pass<'a> {
    type Target = BatchView<'a>;

    fn deref(&self) -> &BatchView<'a> {
        &self.batch
    }
}

impl<'a> Pass<'a> {
    /// The same with draws that belong to examples of a batch that was encoded in the same memory.
    pub fn of(self, owners: Owners) -> Pass<'a> {
        Pass { batch: BatchView { owners, ..self.batch }, ..self }
    }

    /// From x to [mu, logvar], or to the code.
    pub fn encode(&self, worker: &Worker) {
        self.forward(worker, &self.network.encoder, &self.memory.plan.encoder);
    }

    /// Draws z, notes each row's KL, and makes of z what the decoder reads.
    pub fn sample(&self, worker: &Worker, epsilon: Epsilon) {
        self.batch.sample(worker, epsilon);
        self.finish_code(worker);
    }

    /// The same of several draws for each example, with log p(z) - log q(z|x) of each draw.
    pub fn sample_draws(&self, worker: &Worker, epsilon: Epsilon) {
        self.batch.sample_draws(worker, epsilon);
        self.finish_code(worker);
    }

    /// The same of samples for a marginal likelihood.
    pub fn sample_marginal(&self, worker: &Worker, samples: SampleRange) {
        self.batch.sample_marginal(worker, samples);
        self.finish_code(worker);
    }

    /// Takes the posterior's means in the place of z, and makes of them what the decoder reads.
    pub fn take_means(&self, worker: &Worker) {
        self.batch.take_means(worker);
        self.finish_code(worker);
    }

    /// From z to what the decoder reads.
    fn finish_code(&self, worker: &Worker) {
        self.forward(worker, &self.network.latent, &self.memory.plan.latent);
    }

    /// From what it reads to what its last layer reads.
    pub fn decode(&self, worker: &Worker) {
        let hidden = self.network.decoder.len() - 1;
        self.forward(worker, &self.network.decoder[..hidden], &self.memory.plan.decoder);
    }

    fn forward(&self, worker: &Worker, layers: &[Box<dyn Layer>], slots: &[Slot]) {
        for (layer, slot) in layers.iter().zip(slots) {
            layer.forward(&self.batch, worker, slot);
        }
    }

    /// Runs `work` with the phase of the last layer.
    fn with_output(&self, worker: &Worker, work: impl FnOnce(&Tiles)) {
        let slot = self.memory.plan.decoder.last().expect("a decoder has an output");
        let output = self.network.output();
        let run = |epilogue: &mut Epilogue| output.tiles(&self.batch, worker, slot, epilogue);
        work(&Tiles { run: &run, panels: panels_of(output.outputs()) });
    }

    /// The last layer with the likelihood: each row's -log p(x|z) and, if `weight` is given, that times the gradient of
    /// -log p with respect to the output. `last` runs when the losses are there.
    pub fn score(&self, worker: &Worker, weight: Option<f32>, last: &mut dyn FnMut()) {
        self.with_output(worker, |tiles| {
            self.network.head.score(&self.batch, worker, tiles, weight, last);
        });
    }

    /// E[x|z], written to rows `first..` of `out`, [n, n_features].
    pub fn mean(&self, worker: &Worker, out: Shared<f32>, first: usize) {
        self.with_output(worker, |tiles| {
            self.network.head.mean(&self.batch, worker, tiles, out, first);
        });
    }

    /// The same, and the decoder's scale.
    pub fn mean_and_scale(&self, worker: &Worker, out: [Shared<f32>; 2], first: usize) {
        self.with_output(worker, |tiles| {
            self.network.head.mean_and_scale(&self.batch, worker, tiles, out, first);
        });
    }

    /// Takes a draw of the output into the moments in rows `first..` of three arrays, [n, n_features]. `scales` are those
    /// that are not the decoder's.
    pub fn moments(
        &self,
        worker: &Worker,
        scales: &[f32],
        out: [Shared<f32>; 3],
        place: (usize, u32),
    ) {
        self.with_output(worker, |tiles| {
            self.network.head.moments(&self.batch, worker, tiles, scales, out, place);
        });
    }

    /// Fills every layer's gradient, given that of the output. `latent` makes the gradient of [mu, logvar] from that of z; a
    /// plain autoencoder has nothing to do there.
    pub fn backward(&self, worker: &Worker, latent: &mut dyn FnMut()) {
        let (network, plan) = (self.network, self.memory.plan);
        let back = |layers: &Layers, slots: &[Slot], from: usize| {
            for (layer, slot) in layers.iter().zip(slots).skip(from).rev() {
                layer.backward(&self.batch, worker, slot);
            }
        };
        back(&network.decoder, &plan.decoder, 0);
        back(&network.latent, &plan.latent, 0);
        if network.spec.variational {
            latent();
        }
        back(&network.encoder, &plan.encoder, 1); // nobody asks for the gradient of the input
    }

    /// Weighs the gradients that [`Pass::score`] has stored by their draws' weights.
    pub fn weigh_gradients(&self, worker: &Worker) {
        self.weigh_matrix(worker, self.memory.plan.output_gradient);
        if self.network.head.stores_scale_gradient() {
            self.weigh_matrix(worker, self.memory.plan.scale_gradient);
        }
    }

    /// All gradients of parameters into `sink`. `weight` is the factor of the stored output gradients; `room` is a buffer
    /// for gradients that have to be stored in any case.
    pub fn update(&self, worker: &Worker, weight: f32, room: Shared<Row>, sink: Sink) {
        self.each(|layer, slot| layer.update(&self.batch, worker, slot, room, sink));
        self.network.head.update(&self.batch, worker, weight, sink);
    }

    /// Running statistics follow the batch.
    pub fn follow_batch(&self, worker: &Worker) {
        self.each(|layer, slot| layer.follow_batch(&self.batch, worker, slot));
    }

    /// All layers with their slots, the last one first.
    fn each(&self, mut layer: impl FnMut(&dyn Layer, &Slot)) {
        let (network, plan) = (self.network, self.memory.plan);
        let lists = [
            (&network.decoder, &plan.decoder),
            (&network.latent, &plan.latent),
            (&network.encoder, &plan.encoder),
        ];
        for (layers, slots) in lists {
            layers.iter().zip(slots).rev().for_each(|(each, slot)| layer(&**each, slot));
        }
    }

    /// Refreshes what is made of the parameters, after they were set.
    pub fn refresh(&self, worker: &Worker) {
        self.network.layers().for_each(|layer| layer.refresh(&self.batch, worker));
    }

    /// One optimiser step with gradients from a buffer: the same function on the same numbers as in [`Pass::update`], so the
    /// same bits.
    pub fn apply(&self, worker: &Worker, gradients: &[Row], sink: Sink) {
        let end = self.network.trained_rows;
        worker.phase(end.div_ceil(APPLY_BLOCK), |item| {
            let rows: Range<usize> = item * APPLY_BLOCK..((item + 1) * APPLY_BLOCK).min(end);
            // SAFETY: the rows are this item's.
            unsafe { sink.take(self.isa, self.parameters, rows.clone(), &gradients[rows], 2) };
        });
        // SAFETY: a single item.
        worker.phase(1, |_| self.network.constrain(unsafe { self.parameters.all_mut() }));
        self.refresh(worker);
    }
}
