//! The output of counts with the size of their row, in the steps of [`shares`](crate::nn::likelihood::shares). The
//! place of the output gradient holds the outputs first.
#![allow(unsafe_code)]

use super::softmax::{TakeTile, parts, stored_tiles};
use super::{Head, Tiles};
use crate::matrix::{ProductTile, vectors_of};
use crate::model::memory::{BatchView, ROW_BLOCK};
use crate::nn::likelihood::SizeFactor;
use crate::nn::likelihood::shares::{
    CombineLogits, CombineSlopes, LogitsTile, MeansTile, RowSizes, ScoreCounts, SharesGradient,
};
use crate::simd::{LANES, MAX_TILE_ROWS, WIDTH, ZERO_ROW};
use crate::threads::Worker;
use std::ops::Range;

impl Head {
    /// Computes -log p(x|z) of each row and, with a `weight`, `weight` times the gradient of -log p with respect to the
    /// outputs. `last` runs after all losses are complete.
    pub(super) fn score_counts(
        &self,
        batch: &BatchView,
        worker: &Worker,
        tiles: &Tiles,
        weight: Option<f32>,
        last: &mut dyn FnMut(),
    ) {
        self.outputs_of_counts(batch, worker, tiles, true);
        self.score_tiles(batch, worker, weight);
        let block = |rows: Range<usize>| {
            // SAFETY: the rows belong to this block only.
            let losses = unsafe { batch.memory.reconstruction.write(rows.clone()) };
            // SAFETY: as above; `CombineSlopes` requests the partial results of one panel at a time.
            let parts = |panel| unsafe { parts(batch, panel, rows.clone()) };
            let given = self.given_sizes(batch, rows.clone());
            let sizes = self.sizes(true, &given[..rows.len()]);
            batch.isa.run(CombineSlopes { panels: tiles.panels, parts, losses, sizes });
        };
        batch.by_draws_then(worker, block, last);
        let Some(weight) = weight else { return };
        let plan = batch.memory.plan;
        stored_tiles(batch, worker, &mut |panel, rows, tile, parts| {
            batch.isa.run(SharesGradient {
                rows: tile,
                // SAFETY: an earlier phase wrote the means.
                means: unsafe { batch.read(plan.means, panel, rows) },
                factors: parts.largest,
                inflated: self.inflated(),
                vectors: vectors_of(plan.output_gradient.cols, panel),
                weight,
            });
        });
    }

    /// Computes the means of a row's features: its shares, times the size of x if `sized`. `take` receives one tile at a
    /// time.
    pub(super) fn count_means(
        &self,
        batch: &BatchView,
        worker: &Worker,
        tiles: &Tiles,
        sized: bool,
        take: &mut TakeTile,
    ) {
        self.outputs_of_counts(batch, worker, tiles, sized);
        stored_tiles(batch, worker, &mut |panel, rows, tile, parts| {
            let inflated = self.inflated();
            batch.isa.run(MeansTile { rows: &mut *tile, offsets: parts.largest, inflated });
            take(panel, rows, tile);
        });
    }

    fn inflated(&self) -> bool {
        self.likelihood.outputs_per_feature() == 2
    }

    /// The given sizes of some draws, at most sixteen; zeros if the size is the number of counts.
    fn given_sizes(&self, batch: &BatchView, draws: Range<usize>) -> [f32; ROW_BLOCK] {
        let mut sizes = [0.0; ROW_BLOCK];
        if self.likelihood.size_factor() == Some(SizeFactor::Given) {
            sizes.iter_mut().zip(draws).for_each(|(size, draw)| *size = batch.size_of(draw));
        }
        sizes
    }

    /// The sizes of some rows, whose given ones are `given`; 1 unless `sized`.
    fn sizes<'s>(&self, sized: bool, given: &'s [f32]) -> RowSizes<'s> {
        match self.likelihood.size_factor() {
            _ if !sized => RowSizes::One,
            Some(SizeFactor::Given) => RowSizes::Given(given),
            _ => RowSizes::Counts,
        }
    }

    /// Stores the outputs, and ln m - y of each row; m are the shares or, if `sized`, their products with the size of x.
    fn outputs_of_counts(&self, batch: &BatchView, worker: &Worker, tiles: &Tiles, sized: bool) {
        let plan = batch.memory.plan;
        let mut scratch = [ZERO_ROW; MAX_TILE_ROWS];
        (tiles.run)(&mut |tile, bias| {
            let ProductTile { panel, rows, products, .. } = tile;
            let features = self.features(panel);
            // SAFETY: an earlier phase loaded the batch. These rows of this panel belong to this tile only.
            let (targets, outputs, parts) = unsafe {
                let x = features.start / WIDTH;
                (
                    sized.then(|| batch.targets(x, rows.clone(), &mut scratch)),
                    batch.write(plan.output_gradient, panel, rows.clone()),
                    parts(batch, panel, rows),
                )
            };
            batch.isa.run(LogitsTile {
                products,
                cols: features.len(),
                bias,
                targets: targets.unwrap_or_default(),
                half: features.start % WIDTH / LANES,
                inflated: self.inflated(),
                parts,
                outputs,
            });
        });
        let block = |rows: Range<usize>| {
            // SAFETY: the rows belong to this block only; `CombineLogits` requests the partial results of one panel at a
            // time.
            let parts = |panel| unsafe { parts(batch, panel, rows.clone()) };
            let given = self.given_sizes(batch, rows.clone());
            let sizes = self.sizes(sized, &given[..rows.len()]);
            batch.isa.run(CombineLogits { panels: tiles.panels, parts, sizes });
        };
        batch.by_draws_then(worker, block, &mut || ());
    }

    /// Computes log p of each tile and, with a `weight`, the gradients with respect to ln m and to the parameter.
    fn score_tiles(&self, batch: &BatchView, worker: &Worker, weight: Option<f32>) {
        let plan = batch.memory.plan;
        // SAFETY: only the update writes parameters.
        let parameters = unsafe { batch.weights() };
        let scaled = weight.is_some() && self.stores_scale_gradient();
        let mut scratch = [ZERO_ROW; MAX_TILE_ROWS];
        stored_tiles(batch, worker, &mut |panel, rows, outputs, parts| {
            let features = self.features(panel);
            let half = features.start % WIDTH / LANES;
            let mut of_rows = [ZERO_ROW; MAX_TILE_ROWS];
            let of_rows = self.parameter_rows(
                batch,
                parameters,
                features.start / WIDTH,
                rows.clone(),
                &mut of_rows,
            );
            of_rows.iter_mut().for_each(|row| row.rotate_left(half));
            // SAFETY: an earlier phase loaded the batch. The rows of this panel belong to this tile only.
            let (targets, means, slopes) = unsafe {
                let targets = batch.targets(features.start / WIDTH, rows.clone(), &mut scratch);
                let means = weight.map(|_| batch.write(plan.means, panel, rows.clone()));
                (targets, means, scaled.then(|| batch.write(plan.scale_gradient, panel, rows)))
            };
            ScoreCounts {
                outputs,
                offsets: parts.largest,
                cols: features.len(),
                parameters: of_rows,
                targets,
                half,
                inflated: self.inflated(),
                log_prob: parts.log_prob,
                slopes: parts.sum,
                means: means.unwrap_or_default(),
                parameter_gradient: slopes.unwrap_or_default(),
                weight: weight.unwrap_or(0.0),
            }
            .run(batch.isa, &self.likelihood);
        });
    }
}
