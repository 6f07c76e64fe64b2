//! The forward pass, backward pass and update of one batch, layer by layer.
#![allow(unsafe_code)]

use super::batch::{CompositePrior, Epsilon};
use super::head::{BestOfBatch, BestOut, Ranking, SharedLists, Tiles};
use super::layers::{Epilogue, Layer};
use super::memory::{BatchView, Owners, Slot};
use super::network::{Layers, Network};
use super::phases::SampleRange;
use super::ranks::Part;
use super::sink::Sink;
use crate::data::Source;
use crate::data::check::ValueCheck;
use crate::matrix::{Shared, panels_of};
use crate::simd::Row;
use crate::threads::Worker;
use std::ops::{Deref, Range};

/// Rows of the parameter buffer that one work item of [`Pass::apply`] updates.
pub(super) const APPLY_BLOCK: usize = 256;

/// A batch and the network. Its methods are phases, like those of [`BatchView`], to which it dereferences.
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
    /// The pass with other owners of its draws: examples of a batch that was encoded in the same memory.
    pub fn of(self, owners: Owners) -> Pass<'a> {
        Pass { batch: BatchView { owners, ..self.batch }, ..self }
    }

    /// The pass as a step of a pass over the examples `x`, with a composite prior of z, if given.
    pub fn training_on(self, x: &Source, prior: Option<&'a CompositePrior<'a>>) -> Pass<'a> {
        let (prior_weight, weighted) = (1.0 / x.total_weight() as f32, x.is_weighted());
        Pass { batch: BatchView { prior_weight, weighted, prior, ..self.batch }, ..self }
    }

    /// The pass as a part of a batch on several ranks, in a pass over examples whose weights add up to `total`.
    pub fn part_of(self, part: Part<'a>, total: f64) -> Pass<'a> {
        let prior_weight = (self.rows as f64 / part.rows as f64 / total) as f32;
        Pass { batch: BatchView { prior_weight, part: Some(part), ..self.batch }, ..self }
    }

    /// The pass with the weights of groups of columns in log p, if `balanced`.
    pub fn balanced(self, balanced: bool) -> Pass<'a> {
        Pass { batch: BatchView { balanced, ..self.batch }, ..self }
    }

    /// Minus the log prior of the parameters in the loss of an example, nats. Not in the update. On several ranks it is this
    /// part's share in that.
    pub fn prior_loss(&self) -> f64 {
        match self.prior_weight {
            0.0 => 0.0,
            // SAFETY: parameters change in the update only.
            weight => f64::from(weight) * self.network.penalty(unsafe { self.batch.weights() }),
        }
    }

    /// Runs the encoder: from x to [mu, logvar], or to the code.
    pub fn encode(&self, worker: &Worker) {
        self.forward(worker, &self.network.encoder, &self.memory.plan.encoder);
    }

    /// Draws z, stores each row's KL, and computes the decoder's input.
    pub fn sample(&self, worker: &Worker, epsilon: Epsilon) {
        self.batch.sample(worker, epsilon);
        self.finish_code(worker);
    }

    /// Draws several z for each example, stores log p(z) - log q(z|x) of each draw, and computes the decoder's input.
    pub fn sample_draws(&self, worker: &Worker, epsilon: Epsilon) {
        self.batch.sample_draws(worker, epsilon);
        self.finish_code(worker);
    }

    /// Draws the samples of a marginal likelihood, and computes the decoder's input.
    pub fn sample_marginal(&self, worker: &Worker, samples: SampleRange) {
        self.batch.sample_marginal(worker, samples);
        self.finish_code(worker);
    }

    /// Sets z to the posterior means, and computes the decoder's input.
    pub fn take_means(&self, worker: &Worker) {
        self.batch.take_means(worker);
        self.finish_code(worker);
    }

    /// Computes the decoder's input from z.
    fn finish_code(&self, worker: &Worker) {
        self.forward(worker, &self.network.latent, &self.memory.plan.latent);
    }

    /// Runs the decoder up to the input of its last layer.
    pub fn decode(&self, worker: &Worker) {
        let hidden = self.network.decoder.len() - 1;
        self.round_all(worker, self.memory.plan.decoder[0].below.value);
        self.forward(worker, &self.network.decoder[..hidden], &self.memory.plan.decoder);
    }

    fn forward(&self, worker: &Worker, layers: &[Box<dyn Layer>], slots: &[Slot]) {
        for (layer, slot) in layers.iter().zip(slots) {
            layer.forward(&self.batch, worker, slot);
            if !layer.stores_words() {
                self.round_all(worker, slot.above.value);
            }
        }
    }

    /// Runs `work`, which runs the phase of the last layer with an epilogue.
    fn with_output(&self, worker: &Worker, work: impl FnOnce(&Tiles)) {
        let slot = self.memory.plan.decoder.last().expect("a decoder has an output");
        let output = self.network.output();
        let run = |epilogue: &mut Epilogue| output.tiles(&self.batch, worker, slot, epilogue);
        work(&Tiles { run: &run, panels: panels_of(output.outputs()) });
    }

    /// The last layer with the likelihood: computes each row's -log p(x|z) in nats and, if `weight` is given, its
    /// gradient with respect to the output times `weight`. `last` runs when all losses are stored.
    pub fn score(&self, worker: &Worker, weight: Option<f32>, last: &mut dyn FnMut()) {
        self.with_output(worker, |tiles| {
            self.network.head.score(&self.batch, worker, tiles, weight, last);
        });
    }

    /// Adds `share` times log p of each variable of groups of columns to rows `first..` of `out`, [n, n_variables].
    pub fn add_terms(&self, worker: &Worker, out: Shared<f32>, first: usize, share: f32) {
        self.with_output(worker, |tiles| {
            self.network.head.add_terms(&self.batch, worker, tiles, (out, first, share));
        });
    }

    /// Writes E[x|z] to rows `first..` of `out`, [n, n_features]; counts with a size have the size of the loaded x if
    /// `sized`, else 1.
    pub fn mean(&self, worker: &Worker, out: Shared<f32>, (first, sized): (usize, bool)) {
        self.with_output(worker, |tiles| {
            self.network.head.mean(&self.batch, worker, tiles, out, (first, sized));
        });
    }

    /// Writes E[x|z] and the decoder's scale to rows `first..` of two arrays, [n, n_features].
    pub fn mean_and_scale(&self, worker: &Worker, out: [Shared<f32>; 2], first: usize) {
        self.with_output(worker, |tiles| {
            self.network.head.mean_and_scale(&self.batch, worker, tiles, out, first);
        });
    }

    /// Writes the best items of each row to rows `first..` of two arrays, [n, ranking.n]. The output layer is dense.
    pub fn best(
        &self,
        worker: &Worker,
        ranking: Ranking,
        lists: (SharedLists, usize),
        (x, first, check): (&Source, usize, &ValueCheck),
        out: BestOut,
    ) {
        let slot = self.memory.plan.decoder.last().expect("a decoder has an output");
        let layer = self.network.output().dense().expect("the output layer is dense");
        // SAFETY: an earlier phase wrote the input.
        let input = unsafe { self.matrix(slot.below.value) };
        let batch = &self.batch;
        BestOfBatch { batch, layer, input, ranking, lists, x, first, check }.run(worker, out);
    }

    /// Adds a draw's output to the moments in three arrays, [n, n_features]; `place` is the first row and the number of
    /// the draw. `scales` are the likelihood's scales, unless the decoder outputs them.
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

    /// Computes all gradients, from the output's, layer by layer: the gradient of a layer's input, then those of its parameters,
    /// which go to `sink`. `latent` computes the gradient with respect to [mu, logvar] from that of z; a plain autoencoder skips
    /// it. `weight` is the factor of the stored output gradients; `scratch`, a buffer with the parameters' layout, holds gradients
    /// that layers must store before their update.
    pub fn backward(
        &self,
        worker: &Worker,
        latent: &mut dyn FnMut(),
        weight: f32,
        (scratch, sink): (Shared<Row>, Sink),
    ) {
        let (network, plan) = (self.network, self.memory.plan);
        let (mut end, mut below) = (network.trained_rows, network.final_rows.iter().rev());
        let mut back = |layers: &Layers, slots: &[Slot], from: usize| {
            for (i, (layer, slot)) in layers.iter().zip(slots).enumerate().rev() {
                if i >= from {
                    layer.backward(&self.batch, worker, slot);
                    if !layer.stores_words() {
                        self.round_all(worker, slot.below.gradient);
                    }
                }
                // From here on, the memory of the output's gradient is the next layers'.
                layer.update(&self.batch, worker, slot, scratch, sink);
                let start = *below.next().expect("one for each layer");
                self.exchange(worker, start..end);
                end = end.min(start);
            }
        };
        network.head.update(&self.batch, worker, weight, sink);
        if !network.head.stores_words(&self.batch) {
            self.round_all(worker, plan.output_gradient);
        }
        back(&network.decoder, &plan.decoder, 0);
        back(&network.latent, &plan.latent, 0);
        if network.spec.variational {
            latent();
            self.round_all(worker, plan.posterior.gradient);
        }
        back(&network.encoder, &plan.encoder, network.without_input_gradient);
    }

    /// Starts to add up rows of the stored gradient over all ranks, if there are several. Earlier phases wrote them, and no later
    /// one of the backward pass uses them. Other workers go on.
    fn exchange(&self, worker: &Worker, rows: Range<usize>) {
        if let Some(part) = self.batch.part
            && worker.index() == 0
            && !rows.is_empty()
        {
            part.exchange.start(rows);
        }
    }

    /// Multiplies the gradients that [`Pass::score`] has stored by the factors of their draws, if there are any.
    pub fn weigh_gradients(&self, worker: &Worker) {
        let Some(factors) = self.draw_factors() else { return };
        self.weigh_matrix(worker, factors, self.memory.plan.output_gradient);
        if self.network.head.stores_scale_gradient() {
            self.weigh_matrix(worker, factors, self.memory.plan.scale_gradient);
        }
    }

    /// Moves running statistics towards those of the batch.
    pub fn update_running(&self, worker: &Worker) {
        let (network, plan) = (self.network, self.memory.plan);
        let lists = [
            (&network.decoder, &plan.decoder),
            (&network.latent, &plan.latent),
            (&network.encoder, &plan.encoder),
        ];
        for (layers, slots) in lists {
            for (layer, slot) in layers.iter().zip(slots) {
                layer.update_running(&self.batch, worker, slot);
            }
        }
    }

    /// Recomputes the derived buffer after parameters were set.
    pub fn refresh(&self, worker: &Worker) {
        self.network.layers().for_each(|layer| layer.refresh(&self.batch, worker));
    }

    /// One optimiser step with gradients from a buffer. It gives the bits of [`Pass::backward`]: the same function of the
    /// same numbers.
    pub fn apply(&self, worker: &Worker, gradients: &[Row], sink: Sink) {
        let end = self.network.trained_rows;
        let own = self.network.own_rows();
        worker.phase(end.div_ceil(APPLY_BLOCK), |item| {
            let rows: Range<usize> = item * APPLY_BLOCK..((item + 1) * APPLY_BLOCK).min(end);
            let parts = [rows.start..rows.end.min(own.start), rows.start.max(own.end)..rows.end];
            for rows in parts.into_iter().filter(|rows| !rows.is_empty()) {
                let gradient = &gradients[rows.clone()];
                // SAFETY: the rows are this item's.
                unsafe { sink.accept(self.isa, self.parameters, rows, gradient, 2) };
            }
        });
        self.network.layers().for_each(|layer| layer.apply(&self.batch, worker, gradients, sink));
        // SAFETY: the phase has a single item.
        worker.phase(1, |_| self.network.constrain(unsafe { self.parameters.all_mut() }));
        self.refresh(worker);
    }
}
