//! The losses of a batch, and the gradient of its decoder's output.
#![allow(unsafe_code)]

use super::{Head, Tiles};
use crate::matrix::ProductTile;
use crate::model::memory::BatchView;
use crate::nn::likelihood::Score;
use crate::simd::{LANES, MAX_TILE_ROWS, WIDTH, ZERO_ROW};
use crate::threads::Worker;
use std::ops::Range;

impl Head {
    /// The output layer with the likelihood: each row's -log p(x|z) and, if `weight` is given, that times the gradient of
    /// -log p with respect to the output. `last` runs when the losses are there.
    pub fn score(
        &self,
        batch: &BatchView,
        worker: &Worker,
        tiles: &Tiles,
        weight: Option<f32>,
        last: &mut dyn FnMut(),
    ) {
        if self.likelihood.is_softmax() {
            self.score_softmax(batch, worker, tiles, weight, last);
        } else {
            self.score_features(batch, tiles, weight);
            reduce(batch, worker, tiles.panels, last);
        }
    }

    /// [`Pass::score`] where a tile finishes its features: each row's partial sums of log p(x|z), and the gradient.
    fn score_features(&self, batch: &BatchView, tiles: &Tiles, weight: Option<f32>) {
        let (plan, likelihood) = (batch.memory.plan, self.likelihood);
        // SAFETY: parameters change in the update only.
        let parameters = unsafe { batch.weights() };
        let stored = self.stores_scale_gradient();
        let mut scratch = [ZERO_ROW; MAX_TILE_ROWS];
        (tiles.run)(&mut |tile, bias| {
            let ProductTile { panel, rows, products, .. } = tile;
            let (start, features) = (panel * batch.draws() + rows.start, self.features(panel));
            // SAFETY: the batch was loaded in an earlier phase; the gradient's rows of this panel and the partial
            // sums of (panel, rows) are the tile's own.
            let (targets, log_prob, [gradient, scale_gradient]) = unsafe {
                let scaled = weight.filter(|_| stored);
                let gradient = [
                    weight.map(|_| batch.write(plan.output_gradient, panel, rows.clone())),
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
                gradient,
                scale_gradient,
                weight: weight.unwrap_or(0.0),
            }
            .run(batch.isa);
        });
    }
}

/// Adds up each draw's -log p(x|z), panels ascending; `last` runs when all are there.
fn reduce(batch: &BatchView, worker: &Worker, panels: usize, last: &mut dyn FnMut()) {
    let block = |rows: Range<usize>| {
        // SAFETY: the sums of these rows are this block's; the partial ones are from the phase before.
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
