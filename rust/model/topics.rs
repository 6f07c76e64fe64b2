//! The phases of topic models: codes to topics and back, and the update of the topics' distributions on words.
//!
//! phi = softmax(c W) is kept beside the free matrix W and made anew after each update; products read phi, and its transpose
//! where other layers have that of W. A gradient's way from phi to W needs all words of a topic, so it is stored first.
#![allow(unsafe_code)]

use super::network::Network;
use super::pass::Pass;
use super::update::Sink;
use crate::matrix::{Panels, Shared, panels_of, vectors_of};
use crate::nn::dense::{Dense, ScaleRows};
use crate::nn::simplex::{
    LargestWeight, Simplex, SimplexGradient, SumOfProducts, TopicGradient, TopicShares, TopicSums,
};
use crate::simd::{LANES, Lanes, Row, WIDTH};
use crate::threads::Worker;
use std::ops::Range;

/// Topics that a work item takes through all panels of words: their rows are neighbours.
const GROUP: usize = 4;

impl Network {
    /// Rows of phi: its panels, one after the other. None where the decoder does not mix topics.
    pub fn phi_rows(&self) -> usize {
        let layer = &self.layers[self.output()];
        if self.mixes() { panels_of(layer.outputs) * layer.inputs } else { 0 }
    }

    /// The rows of phi in panel `panel`.
    pub fn phi(&self, panel: usize) -> Range<usize> {
        let topics = self.layers[self.output()].inputs;
        panel * topics..(panel + 1) * topics
    }
}

impl<'a> Pass<'a> {
    /// All of phi.
    ///
    /// # Safety
    /// The running phase does not change it.
    pub(super) unsafe fn topic_words(&self) -> &'a [Row] {
        // SAFETY: passed on to the caller.
        unsafe { self.phi.read(0..self.network.phi_rows()) }
    }

    /// Turns the codes of the calling block's rows into theta.
    pub(super) fn codes_to_topics(&self, rows: Range<usize>) {
        if self.network.spec.topics.is_none() {
            return;
        }
        let prior = self.network.prior.each_ref().map(|row| row.as_flattened());
        for r in rows {
            let codes = |v: usize| {
                // SAFETY: row r is the calling block's, and the vectors are taken one after the other.
                let rows = unsafe { self.write(self.memory.plan.z, v * LANES / WIDTH, r..r + 1) };
                &mut rows[0][v % 2]
            };
            self.isa.run(Simplex { codes, prior, cols: self.network.spec.latent_dim });
        }
    }

    /// The gradient with respect to theta becomes that with respect to the code.
    pub(super) fn topics_gradient(&self, worker: &Worker) {
        if self.network.spec.topics.is_none() {
            return;
        }
        let (plan, scale) = (self.memory.plan, self.network.prior[1].as_flattened());
        // SAFETY: theta is from the forward pass.
        let theta: Panels = unsafe { self.matrix(plan.z) };
        self.by_rows(worker, |rows| {
            for r in rows {
                let gradient = |v: usize| {
                    // SAFETY: row r is this block's, and the vectors are taken one after the other.
                    let rows = unsafe { self.write(plan.dz, v * LANES / WIDTH, r..r + 1) };
                    &mut rows[0][v % 2]
                };
                let theta = |v: usize| -> &Lanes { &theta.panel(v * LANES / WIDTH)[r][v % 2] };
                let cols = self.network.spec.latent_dim;
                self.isa.run(SimplexGradient { gradient, theta, scale, cols });
            }
        });
    }

    /// Makes phi of the free matrix.
    pub fn refresh_topics(&self, worker: &Worker) {
        if self.network.mixes() {
            let layer = &self.network.layers[self.network.output()];
            worker.phase(layer.inputs.div_ceil(GROUP), |item| {
                // SAFETY: the topics are this item's.
                unsafe { self.normalize_topics(layer, group(layer, item)) };
            });
        }
    }

    /// phi of some topics: the largest weight, the shares and their sum, the shares by the sum; panels ascending.
    ///
    /// # Safety
    /// The rows of these topics in the free matrix and in phi are the calling item's own.
    unsafe fn normalize_topics(&self, layer: &Dense, topics: Range<usize>) {
        let n = topics.len();
        let panels = || {
            (0..panels_of(layer.outputs)).map(|panel| {
                // SAFETY: the caller's promise.
                let (weights, phi) = unsafe {
                    let weights = self.parameters.read(part(layer.weights(panel).start, &topics));
                    let at = part(self.network.phi(panel).start, &topics);
                    (weights, self.phi.write(at))
                };
                (weights, phi, (layer.outputs - panel * WIDTH).min(WIDTH))
            })
        };
        let mut sums = [TopicSums::LOWEST; GROUP];
        for (weights, _, cols) in panels() {
            self.isa.run(LargestWeight { weights, cols, sums: &mut sums[..n] });
        }
        let tops = sums.map(|sum| sum.largest());
        let mut sums = [TopicSums::ZERO; GROUP];
        for (weights, phi, cols) in panels() {
            let sums = &mut sums[..n];
            self.isa.run(TopicShares { weights, cols, tops: &tops[..n], phi, sums });
        }
        let factors = sums.map(|sum| 1.0 / sum.total());
        for (_, rows, _) in panels() {
            self.isa.run(ScaleRows { rows, factors: &factors[..n] });
        }
    }

    /// Turns the stored gradient with respect to phi into that with respect to the free matrix and, where that is to be
    /// followed, follows it.
    pub(super) fn absorb_topics(&self, worker: &Worker, gradients: Shared<Row>, sink: Sink) {
        let layer = &self.network.layers[self.network.output()];
        let follows = matches!(sink, Sink::Update { .. });
        worker.phase(layer.inputs.div_ceil(GROUP), |item| {
            let topics = group(layer, item);
            let n = topics.len();
            let places = || {
                (0..panels_of(layer.outputs)).map(|panel| {
                    let words = part(self.network.phi(panel).start, &topics);
                    (panel, words, part(layer.weights(panel).start, &topics))
                })
            };
            let mut sums = [TopicSums::ZERO; GROUP];
            for (_, words, rows) in places() {
                // SAFETY: the rows of these topics are this item's.
                let (phi, gradient) = unsafe { (self.phi.read(words), gradients.read(rows)) };
                self.isa.run(SumOfProducts { phi, gradient, sums: &mut sums[..n] });
            }
            let means = sums.map(|sum| sum.total());
            for (panel, words, rows) in places() {
                // SAFETY: as above; `take` gets the rows of parameters and moments, `gradient` those of gradients.
                unsafe {
                    let (phi, gradient) = (self.phi.read(words), gradients.write(rows.clone()));
                    self.isa.run(TopicGradient { phi, gradient, means: &means[..n] });
                    if follows {
                        let vectors = vectors_of(layer.outputs, panel);
                        sink.take(self.isa, self.parameters, rows, gradient, vectors);
                    }
                }
            }
            if follows {
                // SAFETY: as above.
                unsafe { self.normalize_topics(layer, topics) };
            }
        });
        if follows {
            self.transpose_layer(worker, self.network.output());
        }
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
