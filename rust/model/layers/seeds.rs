//! The prior of topics by seed words: as if some occurrences of each seed word had been seen with its topic.
//!
//! In a mixture they are pseudo-counts of phi, a Dirichlet prior (Jagarlamudi, Daumé & Udupa, EACL 2012, bias a topic
//! towards its seeds in another way): the penalty of n occurrences of word w in topic k is -n ln phi_kw. In a product,
//! whose weights are no probabilities, it is -n ln softmax_k(beta_w), the softmax over the topics.
#![allow(unsafe_code)]

use super::{Dense, Epilogue, Layer};
use crate::error::{Error, Result};
use crate::matrix::{Shared, panels_of, vectors_of};
use crate::model::memory::{BatchView, Planner, Port, Slot};
use crate::model::sink::Sink;
use crate::model::tensor::Tensor;
use crate::simd::{Row, WIDTH, floats, floats_mut};
use crate::threads::Worker;
use serde::{Deserialize, Serialize};

/// A seed word of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seed {
    /// The topic.
    pub topic: usize,
    /// The word, a column of x.
    pub word: usize,
    /// The number of occurrences.
    pub count: f32,
}

impl Seed {
    /// Returns an error unless topic, word and count are in range.
    pub fn check(&self, topics: usize, words: usize) -> Result<()> {
        let good = self.topic < topics && self.word < words && (0.0..=1e9).contains(&self.count);
        match good {
            true => Ok(()),
            false => {
                Err(Error::Parameter("a seed is a word of a topic with a count up to 1e9".into()))
            }
        }
    }

    /// Its place in a panel of words: the panel and the column.
    pub fn place(&self) -> (usize, usize) {
        (self.word / WIDTH, self.word % WIDTH)
    }
}

/// The last layer of a product of topics with seed words: a dense layer whose gradients are stored, so that those of the
/// prior can be added.
#[derive(Clone, Debug)]
pub struct SeededProduct {
    dense: Dense,
    seeds: Vec<Seed>,
}

impl SeededProduct {
    /// A dense layer, whose bias belongs to a batch normalisation, with seeds.
    pub fn new(dense: Dense, seeds: Vec<Seed>) -> SeededProduct {
        SeededProduct { dense, seeds }
    }

    /// The shares softmax_j(beta_jw) of a seed word; `rows` are the weights of its panel, a row for each topic.
    fn shares(rows: &[Row], column: usize) -> impl Iterator<Item = f64> {
        let weight = move |row: &Row| f64::from(floats(row)[column]);
        let most = rows.iter().map(weight).fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = rows.iter().map(|row| (weight(row) - most).exp()).sum();
        rows.iter().map(move |row| (weight(row) - most).exp() / sum)
    }

    /// Adds the prior's gradient, times `weight`, to that of the weights of a panel.
    fn add_gradient(&self, panel: usize, weight: f32, rows: &[Row], gradients: &mut [Row]) {
        for seed in &self.seeds {
            let (place, column) = seed.place();
            if place != panel {
                continue;
            }
            let count = f64::from(seed.count) * f64::from(weight);
            for (topic, share) in SeededProduct::shares(rows, column).enumerate() {
                let own = if topic == seed.topic { 1.0 } else { 0.0 };
                let to = &mut floats_mut(&mut gradients[topic..=topic])[column];
                *to += (count * (share - own)) as f32;
            }
        }
    }
}

impl Layer for SeededProduct {
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
        let penalty = |seed: &Seed| {
            let (panel, column) = seed.place();
            let mut shares = SeededProduct::shares(&parameters[self.dense.weights(panel)], column);
            let share = shares.nth(seed.topic).unwrap_or(1.0);
            -f64::from(seed.count) * share.max(f64::MIN_POSITIVE).ln()
        };
        self.seeds.iter().map(penalty).sum()
    }

    fn plan(&self, planner: &mut Planner, below: Port, stored: bool) -> Slot {
        self.dense.plan(planner, below, stored)
    }

    fn forward(&self, batch: &BatchView, worker: &Worker, slot: &Slot) {
        self.dense.forward(batch, worker, slot);
    }

    fn tiles(&self, batch: &BatchView, worker: &Worker, slot: &Slot, epilogue: &mut Epilogue) {
        self.dense.tiles(batch, worker, slot, epilogue);
    }

    fn backward(&self, batch: &BatchView, worker: &Worker, slot: &Slot) {
        self.dense.backward(batch, worker, slot);
    }

    /// The bias is updated by the batch normalisation that it belongs to.
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
        worker.phase(panels_of(self.dense.outputs), |panel| {
            let (rows, vectors) =
                (self.dense.weights(panel), vectors_of(self.dense.outputs, panel));
            // SAFETY: the panel is this item's; its gradients are from an earlier phase.
            unsafe {
                let gradients = scratch.write(rows.clone());
                let weights = batch.parameters.read(rows.clone());
                self.add_gradient(panel, batch.prior_weight, weights, gradients);
                if updates {
                    sink.accept(batch.isa, batch.parameters, rows, gradients, vectors);
                }
            }
        });
        if updates {
            self.dense.refresh(batch, worker);
        }
    }

    fn refresh(&self, batch: &BatchView, worker: &Worker) {
        self.dense.refresh(batch, worker);
    }
}
