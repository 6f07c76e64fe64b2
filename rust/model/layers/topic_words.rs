//! Topics as distributions over words: the product theta phi with phi = softmax(c W), [topics, words].
//!
//! phi is stored beside the free matrix W and recomputed after each update; products read phi and its transpose in
//! place of W and Wᵀ. The gradient with respect to W depends on the gradients with respect to phi of all words of a
//! topic, so the latter are stored first.
#![allow(unsafe_code)]

use super::{Dense, Epilogue, Layer};
use crate::matrix::{Shared, panels_of, vectors_of};
use crate::model::memory::{BatchView, Planner, Port, Slot};
use crate::model::sink::Sink;
use crate::model::tensor::{Layout, Tensor};
use crate::nn::dense::ScaleRows;
use crate::nn::simplex::{LargestWeight, SumOfProducts, TopicGradient, TopicShares, TopicSums};
use crate::simd::{Row, WIDTH};
use crate::threads::Worker;
use std::ops::Range;

/// Topics of a work item, which loops over all panels of words; the topics' rows are adjacent.
const GROUP: usize = 4;

/// The topics' distributions over words.
#[derive(Clone, Debug)]
pub struct TopicWords {
    /// The free matrix W, without a bias.
    dense: Dense,
    /// The first row of phi, [topics, words], in the derived buffer.
    start: usize,
}

impl TopicWords {
    /// The layer with the weights of `dense` as its free matrix.
    pub fn new(layout: &mut Layout, mut dense: Dense) -> TopicWords {
        dense.first_biased = dense.outputs;
        let start = layout.derived(panels_of(dense.outputs) * dense.inputs);
        TopicWords { dense, start }
    }

    /// The rows of phi in panel `panel`.
    fn phi(&self, panel: usize) -> Range<usize> {
        let start = self.start + panel * self.dense.inputs;
        start..start + self.dense.inputs
    }

    /// Recomputes the transpose of phi.
    fn transpose(&self, batch: &BatchView, worker: &Worker) {
        self.dense.transpose(batch, worker, batch.derived, &|panel| self.phi(panel));
    }

    /// Computes phi of some topics in three passes over the panels, ascending: maximum, exponentials and their sum,
    /// division.
    ///
    /// # Safety
    /// No other item uses the rows of these topics in the free matrix and in phi.
    unsafe fn normalize_topics(&self, batch: &BatchView, topics: Range<usize>) {
        let n = topics.len();
        let panels = || {
            (0..panels_of(self.dense.outputs)).map(|panel| {
                // SAFETY: the caller's promise.
                let (weights, phi) = unsafe {
                    let weights =
                        batch.parameters.read(part(self.dense.weights(panel).start, &topics));
                    let at = part(self.phi(panel).start, &topics);
                    (weights, batch.derived.write(at))
                };
                (weights, phi, (self.dense.outputs - panel * WIDTH).min(WIDTH))
            })
        };
        let mut sums = [TopicSums::LOWEST; GROUP];
        for (weights, _, cols) in panels() {
            batch.isa.run(LargestWeight { weights, cols, sums: &mut sums[..n] });
        }
        let maxima = sums.map(|sum| sum.largest());
        let mut sums = [TopicSums::ZERO; GROUP];
        for (weights, phi, cols) in panels() {
            let sums = &mut sums[..n];
            batch.isa.run(TopicShares { weights, cols, maxima: &maxima[..n], phi, sums });
        }
        let factors = sums.map(|sum| 1.0 / sum.total());
        for (_, rows, _) in panels() {
            batch.isa.run(ScaleRows { rows, factors: &factors[..n] });
        }
    }
}

impl Layer for TopicWords {
    fn outputs(&self) -> usize {
        self.dense.outputs
    }

    fn work(&self) -> usize {
        self.dense.work()
    }

    fn tensors(&self) -> Vec<Tensor> {
        self.dense.tensors()
    }

    fn stores_gradient(&self) -> bool {
        true
    }

    fn plan(&self, planner: &mut Planner, below: Port, last: bool) -> Slot {
        self.dense.plan(planner, below, last)
    }

    fn forward(&self, _: &BatchView, _: &Worker, _: &Slot) {
        unreachable!("topic words are a last layer");
    }

    fn tiles(&self, batch: &BatchView, worker: &Worker, slot: &Slot, epilogue: &mut Epilogue) {
        // SAFETY: phi changes in the update only.
        let derived = unsafe { batch.derived.all() };
        self.dense.product(batch, worker, slot, |panel| &derived[self.phi(panel)], epilogue);
    }

    fn backward(&self, batch: &BatchView, worker: &Worker, slot: &Slot) {
        self.dense.backward(batch, worker, slot);
    }

    /// Stores the gradient with respect to phi, computes that with respect to W from it, and updates W if `sink`
    /// updates.
    fn update(
        &self,
        batch: &BatchView,
        worker: &Worker,
        slot: &Slot,
        scratch: Shared<Row>,
        sink: Sink,
    ) {
        self.dense.update(batch, worker, slot, scratch, Sink::Store(scratch));
        let updates = matches!(sink, Sink::Update { .. });
        worker.phase(self.dense.inputs.div_ceil(GROUP), |item| {
            let topics = group(&self.dense, item);
            let n = topics.len();
            let places = || {
                (0..panels_of(self.dense.outputs)).map(|panel| {
                    let words = part(self.phi(panel).start, &topics);
                    (panel, words, part(self.dense.weights(panel).start, &topics))
                })
            };
            let mut sums = [TopicSums::ZERO; GROUP];
            for (_, words, rows) in places() {
                // SAFETY: the rows of these topics are this item's.
                let (phi, gradient) = unsafe { (batch.derived.read(words), scratch.read(rows)) };
                batch.isa.run(SumOfProducts { phi, gradient, sums: &mut sums[..n] });
            }
            let means = sums.map(|sum| sum.total());
            for (panel, words, rows) in places() {
                // SAFETY: as above; the sink uses rows of parameters and moments, `gradient` is a part of scratch.
                unsafe {
                    let (phi, gradient) = (batch.derived.read(words), scratch.write(rows.clone()));
                    batch.isa.run(TopicGradient { phi, gradient, means: &means[..n] });
                    if updates {
                        let vectors = vectors_of(self.dense.outputs, panel);
                        sink.accept(batch.isa, batch.parameters, rows, gradient, vectors);
                    }
                }
            }
            if updates {
                // SAFETY: as above.
                unsafe { self.normalize_topics(batch, topics) };
            }
        });
        if updates {
            self.transpose(batch, worker);
        }
    }

    /// Recomputes phi and its transpose from the free matrix.
    fn refresh(&self, batch: &BatchView, worker: &Worker) {
        worker.phase(self.dense.inputs.div_ceil(GROUP), |item| {
            // SAFETY: the topics are this item's.
            unsafe { self.normalize_topics(batch, group(&self.dense, item)) };
        });
        self.transpose(batch, worker);
    }
}

/// The topics of a work item.
fn group(layer: &Dense, item: usize) -> Range<usize> {
    item * GROUP..((item + 1) * GROUP).min(layer.inputs)
}

/// The rows of some topics in a panel that starts at `start`.
fn part(start: usize, topics: &Range<usize>) -> Range<usize> {
    start + topics.start..start + topics.end
}
