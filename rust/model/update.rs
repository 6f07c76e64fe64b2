//! The phases that turn gradients into parameters: a block of 32 x 32 weights is updated where its gradient is born, or
//! the gradient is stored.
#![allow(unsafe_code)]

use super::pass::Pass;
use crate::matrix::{Grid, ProductBlock, Shared, panels_of, transposed_product, vectors_of};
use crate::nn::dense::{ColumnSums, Dense, Transpose};
use crate::nn::likelihood::ScaleGradient;
use crate::nn::optimizer::{Apply, Update};
use crate::simd::{Isa, Prefetch, Row, WIDTH, ZERO_ROW, floats_mut};
use crate::threads::Worker;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

/// What becomes of a gradient.
#[derive(Clone, Copy)]
pub enum Sink<'a> {
    /// The optimiser's step, at once; the gradient never reaches memory.
    Update {
        /// The step's.
        update: Update,
        /// The optimiser's.
        moments: [Shared<'a, Row>; 2],
        /// Set if a gradient is too large to follow.
        unsound: &'a AtomicBool,
    },
    /// A buffer with the parameters' layout.
    Store(Shared<'a, Row>),
}

impl Sink<'_> {
    /// Rows `rows` of the parameter buffer have this gradient.
    ///
    /// # Safety
    /// These rows (of parameters, moments and store) are the calling tile's own.
    pub(super) unsafe fn take(
        &self,
        isa: Isa,
        parameters: Shared<Row>,
        rows: Range<usize>,
        gradient: &[Row],
        vectors: usize,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            match self {
                Sink::Store(to) => {
                    for (to, row) in to.write(rows).iter_mut().zip(gradient) {
                        to[..vectors].copy_from_slice(&row[..vectors]); // padding stays zero
                    }
                }
                Sink::Update { update, moments, unsound } => {
                    let sound = isa.run(Apply {
                        update: *update,
                        gradient,
                        vectors,
                        weights: parameters.write(rows.clone()),
                        moments: moments.each_ref().map(|m| match m.is_empty() {
                            true => &mut [][..],
                            false => m.write(rows.clone()),
                        }),
                    });
                    if !sound {
                        unsound.store(true, Ordering::Relaxed);
                    }
                }
            }
        }
    }

    /// What the update of as many rows after `rows` will read.
    fn ahead(&self, parameters: Shared<Row>, rows: Range<usize>) -> Prefetch {
        let Sink::Update { moments, .. } = self else { return Prefetch::NOTHING };
        let [first, second] = moments.map(|m| if m.is_empty() { parameters } else { m });
        let places = [parameters, first, second].map(|buffer| buffer.address(rows.end));
        Prefetch::new(places, rows.len())
    }
}

/// Rows of the parameter buffer that one work item of [`Pass::apply`] updates.
pub(super) const APPLY_BLOCK: usize = 256;

impl Pass<'_> {
    /// All weight, bias and scale gradients of the batch into `sink`. `weight` is the factor of the stored output gradients;
    /// `gradients` is room for those that have to be stored in any case.
    pub fn absorb(&self, worker: &Worker, weight: f32, gradients: Shared<Row>, sink: Sink) {
        for (index, layer) in self.network.layers.iter().enumerate().rev() {
            if index != self.network.output() || !self.network.stores_output_gradient() {
                self.absorb_layer(worker, index, layer, sink);
                continue;
            }
            self.absorb_layer(worker, index, layer, Sink::Store(gradients));
            if self.network.mixes() {
                self.absorb_topics(worker, gradients, sink);
            } else {
                self.absorb_loadings(worker, gradients, sink);
            }
        }
        if self.network.spec.stores_scale_gradient() {
            self.absorb_stored_scale(worker, sink);
        } else if self.network.log_scale.is_some() {
            self.absorb_scale(worker, weight, sink);
        }
    }

    fn absorb_layer(&self, worker: &Worker, index: usize, layer: &Dense, sink: Sink) {
        let plan = self.memory.plan;
        // SAFETY: both are from earlier phases.
        let (input, gradient) = unsafe {
            let input = (index > 0 || !self.is_sparse()).then(|| self.matrix(self.input(index)));
            (input, self.matrix(plan.gradients[index]))
        };
        let take = |rows: Range<usize>, gradient: &[Row], vectors| {
            // SAFETY: an item is a panel of outputs and some panels of inputs: its 32x32 blocks of W are its own,
            // and the bias is the first block's.
            unsafe { sink.take(self.isa, self.parameters, rows, gradient, vectors) };
        };
        let grid = Grid::new(panels_of(layer.inputs), panels_of(layer.outputs), worker.workers());
        let mut products: ProductBlock = [ZERO_ROW; _];
        worker.phase(grid.items(), |item| {
            let (panel, blocks) = grid.item(item);
            let (dy, vectors) = (gradient.panel(panel), vectors_of(layer.outputs, panel));
            if blocks.start == 0 {
                let mut sums = [ZERO_ROW];
                match layer.shift() {
                    // SAFETY: found in the backward pass.
                    Some(norm) => sums[0] = unsafe { self.columns(norm, panel)[0].shift },
                    None => self.isa.run(ColumnSums { panel: dy, vectors, out: &mut sums[0] }),
                }
                let bias = layer.bias(panel);
                let unbiased = layer.biased.saturating_sub(panel * WIDTH).min(WIDTH);
                floats_mut(&mut sums)[..unbiased].fill(0.0);
                take(bias..bias + 1, &sums, vectors);
            }
            for block in blocks {
                let used = (layer.inputs - block * WIDTH).min(WIDTH);
                let start = layer.weights(panel).start + block * WIDTH;
                let hints = |tile, rows: Range<usize>| {
                    let rows = start + rows.start..start + rows.end;
                    (self.kept_rows(index, block, tile), sink.ahead(self.parameters, rows))
                };
                match input.map(|input| input.panel(block)) {
                    None => self.gather_gradient(block, dy, &mut products),
                    Some(x) => {
                        transposed_product(self.isa, x, used, dy, vectors, hints, &mut products)
                    }
                }
                take(start..start + used, &products[..used], vectors);
                if matches!(sink, Sink::Update { .. }) {
                    let from = self.parameters;
                    // SAFETY: the block is this item's, in W and in Wᵀ.
                    unsafe { self.transpose(layer, (from, layer.weights(panel)), panel, block) };
                }
            }
        });
    }

    /// Refreshes one block of Wᵀ from `rows` of a buffer, which hold panel `panel` of W (or of phi).
    ///
    /// # Safety
    /// The block, and the block of W that it mirrors, are the calling tile's own.
    unsafe fn transpose(
        &self,
        layer: &Dense,
        (from, rows): (Shared<Row>, Range<usize>),
        panel: usize,
        block: usize,
    ) {
        if layer.transposed.is_none() {
            return;
        }
        let part = |of: Range<usize>, n: usize| {
            of.start + n * WIDTH..(of.start + (n + 1) * WIDTH).min(of.end)
        };
        // SAFETY: the caller's promise.
        unsafe {
            self.isa.run(Transpose {
                from: from.read(part(rows, block)),
                to: self.transposed.write(part(layer.transposed(block), panel)),
            });
        }
    }

    /// Refreshes what is made of the parameters, after they were set.
    pub fn refresh(&self, worker: &Worker) {
        self.refresh_topics(worker);
        (0..self.network.layers.len()).for_each(|index| self.transpose_layer(worker, index));
    }

    /// Refreshes the transpose of one layer.
    pub(super) fn transpose_layer(&self, worker: &Worker, index: usize) {
        let layer = &self.network.layers[index];
        let blocks = panels_of(layer.inputs);
        let mixes = self.network.mixes() && index == self.network.output();
        worker.phase(panels_of(layer.outputs) * blocks, |item| {
            let (panel, block) = (item / blocks, item % blocks);
            let from = match mixes {
                true => (self.phi, self.network.phi(panel)),
                false => (self.parameters, layer.weights(panel)),
            };
            // SAFETY: an item is a block.
            unsafe { self.transpose(layer, from, panel, block) };
        });
    }

    /// The gradient of ln s, which needs all rows and, where the scale is shared, all features.
    fn absorb_scale(&self, worker: &Worker, weight: f32, sink: Sink) {
        let (network, features) = (self.network, self.network.spec.n_features);
        let Some(start) = network.log_scale else { return };
        let shared =
            network.spec.likelihood.learned_scale().is_some_and(|scale| !scale.per_feature);
        // SAFETY: a single item; the batch, the output's gradients and the draws' weights are from earlier phases.
        worker.phase(1, |_| unsafe {
            let (plan, draws) = (self.memory.plan, self.draws());
            let weights =
                self.memory.weights.read(if self.copies() == 1 { 0..0 } else { 0..draws });
            let gradients = self.matrix(plan.gradients[network.output()]);
            let holes = network.spec.missing.is_masked().then(|| self.matrix(plan.x));
            let mut total = ZERO_ROW;
            for panel in 0..panels_of(features) {
                let mut row = [ZERO_ROW];
                self.isa.run(ScaleGradient {
                    gradient: gradients.panel(panel),
                    targets: holes.as_ref().map_or(&[], |x| x.panel(panel)),
                    cols: (features - panel * WIDTH).min(WIDTH),
                    log_scale: &network.parameter_row(self.weights(), panel),
                    weight,
                    weights,
                    out: &mut row[0],
                });
                if shared {
                    for (sum, x) in total.iter_mut().zip(&row[0]) {
                        sum.0.iter_mut().zip(&x.0).for_each(|(sum, x)| *sum += x);
                    }
                } else {
                    let at = start + panel;
                    sink.take(self.isa, self.parameters, at..at + 1, &row, 2);
                }
            }
            if shared {
                let mut row = [ZERO_ROW];
                row[0][0].0[0] = total.iter().flat_map(|lanes| lanes.0).sum();
                sink.take(self.isa, self.parameters, start..start + 1, &row, 2);
            }
            if matches!(sink, Sink::Update { .. }) {
                self.keep_scale_in_range();
            }
        });
    }

    /// The gradient of a scale of each feature, where the output phase has stored its terms.
    fn absorb_stored_scale(&self, worker: &Worker, sink: Sink) {
        let (network, plan) = (self.network, self.memory.plan);
        let Some(start) = network.log_scale else { return };
        // SAFETY: the terms are from an earlier phase.
        let terms = unsafe { self.matrix(plan.scale_gradient) };
        worker.phase(panels_of(network.spec.n_features), |panel| {
            let (mut sums, vectors) = ([ZERO_ROW], vectors_of(network.spec.n_features, panel));
            self.isa.run(ColumnSums { panel: terms.panel(panel), vectors, out: &mut sums[0] });
            let at = start + panel;
            // SAFETY: the panel's features are this item's.
            unsafe { sink.take(self.isa, self.parameters, at..at + 1, &sums, vectors) };
        });
        if matches!(sink, Sink::Update { .. }) {
            // SAFETY: a single item.
            worker.phase(1, |_| unsafe { self.keep_scale_in_range() });
        }
    }

    /// Learned scales stay in their range.
    ///
    /// # Safety
    /// The rows of ln s are the calling tile's own.
    unsafe fn keep_scale_in_range(&self) {
        let Some(start) = self.network.log_scale else { return };
        // SAFETY: the caller's promise; the scale is the last thing in the buffer.
        let rows = unsafe { self.parameters.write(start..self.network.trained_rows) };
        self.network.keep_scale_in_range(rows);
    }

    /// One optimiser step with gradients from a buffer: the same function on the same numbers as in
    /// [`Pass::absorb`], so the same bits.
    pub fn apply(&self, worker: &Worker, gradients: &[Row], sink: Sink) {
        let end = self.network.trained_rows;
        worker.phase(end.div_ceil(APPLY_BLOCK), |item| {
            let rows = item * APPLY_BLOCK..((item + 1) * APPLY_BLOCK).min(end);
            // SAFETY: the rows are this item's.
            unsafe { sink.take(self.isa, self.parameters, rows.clone(), &gradients[rows], 2) };
        });
        // SAFETY: a single item.
        worker.phase(1, |_| unsafe {
            self.keep_scale_in_range();
            self.network.project(self.parameters.write(self.network.loadings()));
        });
        self.refresh(worker);
    }
}
