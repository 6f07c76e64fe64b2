//! The losses of a batch, and the gradient with respect to the decoder's output.
#![allow(unsafe_code)]

use super::{Head, Tiles, mixed};
use crate::data::standardize::{FromUnits, Rescale};
use crate::matrix::ProductTile;
use crate::model::memory::BatchView;
use crate::nn::likelihood::Score;
use crate::simd::{LANES, MAX_TILE_ROWS, WIDTH, ZERO_ROW};
use crate::threads::Worker;
use std::ops::Range;

impl Head {
    /// Runs the output layer with the likelihood. It computes -log p(x|z) of each row and, with a `weight`, `weight`
    /// times the gradient of -log p with respect to the output. `last` runs after all losses are complete.
    pub fn score(
        &self,
        batch: &BatchView,
        worker: &Worker,
        tiles: &Tiles,
        weight: Option<f32>,
        last: &mut dyn FnMut(),
    ) {
        if let Some(groups) = self.likelihood.groups() {
            self.score_groups(
                groups,
                batch,
                worker,
                tiles,
                mixed::Want::losses(weight, batch),
                last,
            );
        } else if self.likelihood.is_softmax() {
            self.score_softmax(batch, worker, tiles, weight, last);
        } else if self.likelihood.size_factor().is_some() {
            self.score_counts(batch, worker, tiles, weight, last);
        } else {
            self.score_features(batch, tiles, weight);
            reduce(batch, worker, tiles.panels, last);
        }
    }

    /// Whether [`Head::score`] stores the words of the output's gradient: it is final where draws have no factors.
    pub fn stores_words(&self, batch: &BatchView) -> bool {
        let features = self.likelihood.groups().is_none()
            && !self.likelihood.is_softmax()
            && self.likelihood.size_factor().is_none();
        features && batch.draw_factors().is_none()
    }

    /// [`Head::score`] for independent features: partial sums of log p(x|z) of each row, and the gradient.
    fn score_features(&self, batch: &BatchView, tiles: &Tiles, weight: Option<f32>) {
        let (plan, likelihood) = (batch.memory.plan, &self.likelihood);
        // SAFETY: only the update writes parameters.
        let parameters = unsafe { batch.weights() };
        let stored = self.stores_scale_gradient();
        let [mut scratch, mut outputs] = [[ZERO_ROW; MAX_TILE_ROWS]; 2];
        // Words are all that the backward pass reads, unless the head has a gradient of its own.
        let words_only = weight.is_some()
            && self.stores_words(batch)
            && self.learned().is_none()
            && plan.output_gradient.words.is_some();
        let mut gradients = words_only.then_some([ZERO_ROW; MAX_TILE_ROWS]);
        (tiles.run)(&mut |tile, bias| {
            let ProductTile { panel, rows, products, .. } = tile;
            let (tile_rows, units) = (rows.clone(), self.units(panel));
            let (products, bias) = match &units {
                None => (&*products, bias),
                Some(by) => {
                    let outputs = &mut outputs[..products.len()];
                    outputs.copy_from_slice(products);
                    batch.isa.run(FromUnits { by, bias, rows: outputs });
                    (&*outputs, &ZERO_ROW)
                }
            };
            let (start, features) = (panel * batch.draws() + rows.start, self.features(panel));
            // SAFETY: an earlier phase loaded the batch. The gradient's rows of this panel and the partial sums of
            // (panel, rows) belong to this tile only.
            let (targets, log_prob, [gradient, scale_gradient]) = unsafe {
                let scaled = weight.filter(|_| stored);
                let gradient = match &mut gradients {
                    Some(gradients) => &mut gradients[..rows.len()],
                    None => weight.map_or(&mut [][..], |_| {
                        batch.write(plan.output_gradient, panel, rows.clone())
                    }),
                };
                let gradient = [
                    Some(gradient),
                    scaled.map(|_| batch.write(plan.scale_gradient, panel, rows.clone())),
                ];
                let log_prob = batch.memory.partial.write(start..start + rows.len());
                let targets = batch.targets(features.start / WIDTH, rows, &mut scratch);
                (targets, log_prob, gradient.map(Option::unwrap_or_default))
            };
            Score {
                likelihood,
                products,
                cols: features.len(),
                bias,
                parameter: &self.parameter_row(parameters, panel),
                targets,
                half: features.start % WIDTH / LANES,
                masked: self.masked,
                log_prob,
                gradient: &mut *gradient,
                scale_gradient,
                weight: weight.unwrap_or(0.0),
            }
            .run(batch.isa);
            if let Some([_, scale]) = &units {
                batch.isa.run(Rescale { scale, rows: gradient });
            }
            if weight.is_some() && self.stores_words(batch) {
                // SAFETY: as above.
                unsafe { batch.store_words(plan.output_gradient, panel, tile_rows, gradient) };
            }
        });
    }
}

/// Sums -log p(x|z) of each draw over the panels, in ascending order. `last` runs after all sums are complete.
fn reduce(batch: &BatchView, worker: &Worker, panels: usize, last: &mut dyn FnMut()) {
    let block = |rows: Range<usize>| {
        // SAFETY: the sums of these rows belong to this block only. The previous phase wrote the partial sums.
        let (sums, partial) = unsafe {
            let partial = batch.memory.partial.read(0..panels * batch.draws());
            (batch.memory.reconstruction.write(rows.clone()), partial)
        };
        sums.fill(0.0);
        for panel in partial.chunks_exact(batch.draws()) {
            for (sum, x) in sums.iter_mut().zip(&panel[rows.clone()]) {
                *sum -= x;
            }
        }
    };
    batch.by_draws_then(worker, block, last);
}
