//! The topic proportions theta = softmax(m0 + s0 z), in place.
#![allow(unsafe_code)]

use super::Layer;
use crate::matrix::{Panels, panels_of};
use crate::model::memory::{BatchView, Planner, Port, Slot};
use crate::model::spec::Topics;
use crate::nn::simplex::{self, SimplexGradient};
use crate::simd::{LANES, Lanes, Row, WIDTH, ZERO_ROW, floats_mut};
use crate::threads::Worker;
use std::ops::Range;

/// The softmax of topics.
#[derive(Clone, Debug)]
pub struct Simplex {
    topics: usize,
    /// m0 and s0, in panels of one row.
    prior: [Vec<Row>; 2],
}

impl Simplex {
    /// The layer with the prior of a topic model.
    pub fn new(topics: &Topics) -> Simplex {
        let prior = [&topics.mean, &topics.scale].map(|values| {
            let mut panels = vec![ZERO_ROW; panels_of(values.len())];
            floats_mut(&mut panels)[..values.len()].copy_from_slice(values);
            panels
        });
        Simplex { topics: topics.mean.len(), prior }
    }
}

impl Layer for Simplex {
    fn outputs(&self) -> usize {
        self.topics
    }

    fn plan(&self, _: &mut Planner, below: Port, _: bool) -> Slot {
        Slot { below, above: below, rows: 0 }
    }

    fn forward(&self, batch: &BatchView, worker: &Worker, slot: &Slot) {
        let prior = self.prior.each_ref().map(|row| row.as_flattened());
        let block = |rows: Range<usize>| {
            for r in rows {
                let codes = |v: usize| {
                    // SAFETY: row r is the calling block's, and only one vector is borrowed at a time.
                    let rows =
                        unsafe { batch.write(slot.below.value, v * LANES / WIDTH, r..r + 1) };
                    &mut rows[0][v % 2]
                };
                batch.isa.run(simplex::Simplex { codes, prior, cols: self.topics });
            }
        };
        batch.by_draws_then(worker, block, &mut || ());
    }

    /// Computes dL/dz from dL/dtheta, in place.
    fn backward(&self, batch: &BatchView, worker: &Worker, slot: &Slot) {
        let scale = self.prior[1].as_flattened();
        // SAFETY: theta is from the forward pass.
        let theta: Panels = unsafe { batch.matrix(slot.below.value) };
        batch.by_rows(worker, |rows| {
            for r in rows {
                let gradient = |v: usize| {
                    // SAFETY: row r is this block's, and only one vector is borrowed at a time.
                    let rows =
                        unsafe { batch.write(slot.below.gradient, v * LANES / WIDTH, r..r + 1) };
                    &mut rows[0][v % 2]
                };
                let theta = |v: usize| -> &Lanes { &theta.panel(v * LANES / WIDTH)[r][v % 2] };
                batch.isa.run(SimplexGradient { gradient, theta, scale, cols: self.topics });
            }
        });
    }
}
