//! Topics as distributions over words: the product theta phi with phi = softmax(c W), [topics, words].
//!
//! phi is stored beside the free matrix W and recomputed after each update; products read phi and its transpose in
//! place of W and Wᵀ. The gradient with respect to W depends on the gradients with respect to phi of all words of a
//! topic, so the latter are stored first.
#![allow(unsafe_code)]

use super::{Dense, Epilogue, Layer, Seed};
use crate::matrix::{Shared, panels_of, vectors_of};
use crate::model::memory::{BatchView, Planner, Port, Slot};
use crate::model::sink::Sink;
use crate::model::tensor::{Layout, Tensor};
use crate::nn::dense::ScaleRows;
use crate::nn::simplex::{
    GAIN, LargestWeight, SumOfProducts, TopicGradient, TopicShares, TopicSums,
};
use crate::simd::{Row, WIDTH, floats, floats_mut};
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
    /// Words that the prior gives to a topic.
    seeds: Vec<Seed>,
}

impl TopicWords {
    /// The layer with the weights of `dense` as its free matrix.
    pub fn new(layout: &mut Layout, mut dense: Dense, seeds: Vec<Seed>) -> TopicWords {
        dense.first_biased = dense.outputs;
        let start = layout.derived(panels_of(dense.outputs) * dense.inputs);
        TopicWords { dense, start, seeds }
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

impl TopicWords {
    /// Adds the gradient of the seeds' penalty, -n / phi_kw, to that of phi.
    ///
    /// # Safety
    /// No other item uses the rows of these topics in phi and in `gradients`.
    unsafe fn add_prior_gradient(
        &self,
        batch: &BatchView,
        topics: &Range<usize>,
        gradients: Shared<Row>,
    ) {
        for seed in self.seeds.iter().filter(|seed| topics.contains(&seed.topic)) {
            let (panel, column) = seed.place();
            let row = |start: usize| start + seed.topic..start + seed.topic + 1;
            // SAFETY: the caller's promise.
            let (phi, gradient) = unsafe {
                let phi = batch.derived.read(row(self.phi(panel).start));
                (phi, gradients.write(row(self.dense.weights(panel).start)))
            };
            let share = floats(&phi[0])[column].max(f32::MIN_POSITIVE);
            floats_mut(gradient)[column] -= batch.prior_weight * seed.count / share;
        }
    }

    /// The penalty of the seeds of a topic: -n ln phi_kw, from the free matrix.
    fn topic_penalty(&self, parameters: &[Row], topic: usize, seeds: &[Seed]) -> f64 {
        let words = |panel: usize| {
            let row = self.dense.weights(panel).start + topic;
            let used = (self.dense.outputs - panel * WIDTH).min(WIDTH);
            &floats(&parameters[row])[..used]
        };
        let all = || (0..panels_of(self.dense.outputs)).flat_map(words).copied();
        let (most, gain) = (all().fold(f32::NEG_INFINITY, f32::max), f64::from(GAIN));
        let exponent = |weight: f32| gain * f64::from(weight - most);
        let log_sum = all().map(|weight| exponent(weight).exp()).sum::<f64>().ln();
        let penalty = |seed: &Seed| {
            let (panel, column) = seed.place();
            f64::from(seed.count) * (log_sum - exponent(words(panel)[column]))
        };
        seeds.iter().map(penalty).sum()
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

    fn penalty(&self, parameters: &[Row]) -> f64 {
        let topics = self.seeds.chunk_by(|a, b| a.topic == b.topic);
        topics.map(|seeds| self.topic_penalty(parameters, seeds[0].topic, seeds)).sum()
    }

    fn plan(&self, planner: &mut Planner, below: Port, stored: bool) -> Slot {
        self.dense.plan(planner, below, stored)
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
            // SAFETY: the rows of these topics are this item's.
            unsafe { self.add_prior_gradient(batch, &topics, scratch) };
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
