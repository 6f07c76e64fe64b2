//! The output of a likelihood with a softmax. A row needs all its panels, in three phases: tiles
//! ([`Head::softmax_parts`]), rows ([`softmax_rows`]), and tiles again for the gradient or the probabilities. The first
//! phase stores e^(y - m) in the buffer of the output gradient; scores without a gradient store nothing there.
#![allow(unsafe_code)]

use super::{Head, Tiles};
use crate::matrix::{Grid, ProductTile, panels_of, tile_rows};
use crate::model::memory::BatchView;
use crate::nn::dense::ScaleRows;
use crate::nn::likelihood::softmax::{CombineTiles, Partials, SoftmaxGradient, SoftmaxTile};
use crate::simd::{MAX_TILE_ROWS, Row, ZERO_ROW};
use crate::threads::Worker;
use std::ops::Range;

/// Receives a finished tile: its panel, its rows, and their probabilities.
pub(super) type TakeTile<'a> = dyn FnMut(usize, Range<usize>, &mut [Row]) + 'a;
/// Finishes a tile, given its panel, its rows, their values and their partial results.
type FinishTile<'a> = dyn FnMut(usize, Range<usize>, &mut [Row], Partials<&mut [f32]>) + 'a;

impl Head {
    /// Computes -log p(x|z) of each row and, with a `weight`, `weight` times the gradient of -log p with respect to the
    /// logits. `last` runs after all losses are complete.
    pub(super) fn score_softmax(
        &self,
        batch: &BatchView,
        worker: &Worker,
        tiles: &Tiles,
        weight: Option<f32>,
        last: &mut dyn FnMut(),
    ) {
        self.softmax_parts(batch, tiles, true, weight.is_some());
        softmax_rows(batch, worker, tiles.panels, weight, last);
        if let Some(weight) = weight {
            softmax_gradient(batch, worker, weight);
        }
    }

    /// Computes the probabilities of the words. `take` receives one tile at a time: panel, rows and probabilities.
    pub(super) fn softmax_means(
        &self,
        batch: &BatchView,
        worker: &Worker,
        tiles: &Tiles,
        take: &mut TakeTile,
    ) {
        self.softmax_parts(batch, tiles, false, true);
        softmax_rows(batch, worker, tiles.panels, None, &mut || ());
        stored_tiles(batch, worker, &mut |panel, rows, tile, parts| {
            batch.isa.run(ScaleRows { rows: &mut *tile, factors: parts.largest });
            take(panel, rows, tile);
        });
    }

    /// Computes the partial results of the rows in each tile of the output. With `scored`, they include the terms of x.
    /// With `kept`, the tiles store e^(y - m) for a later phase.
    fn softmax_parts(&self, batch: &BatchView, tiles: &Tiles, scored: bool, kept: bool) {
        let place = batch.memory.plan.output_gradient;
        let mut scratch = [ZERO_ROW; MAX_TILE_ROWS];
        (tiles.run)(&mut |tile, bias| {
            let ProductTile { panel, rows, products, .. } = tile;
            // SAFETY: an earlier phase loaded the batch. These rows of this panel belong to this tile only.
            let (targets, kept) = unsafe {
                let targets = scored.then(|| batch.targets(panel, rows.clone(), &mut scratch));
                (targets, kept.then(|| batch.write(place, panel, rows.clone())))
            };
            batch.isa.run(SoftmaxTile {
                products,
                cols: self.features(panel).len(),
                bias,
                targets: targets.unwrap_or_default(),
                // SAFETY: as above.
                parts: unsafe { parts(batch, panel, rows) },
                kept: kept.unwrap_or_default(),
            });
        });
    }
}

/// Combines the partial results of each row. The resulting factors give gradients with a weight, else probabilities.
fn softmax_rows(
    batch: &BatchView,
    worker: &Worker,
    panels: usize,
    weight: Option<f32>,
    last: &mut dyn FnMut(),
) {
    let block = |rows: Range<usize>| {
        // SAFETY: the rows belong to this block only.
        let losses = unsafe { batch.memory.reconstruction.write(rows.clone()) };
        // SAFETY: as above; `CombineTiles` requests the partial results of one panel at a time.
        let parts = |panel| unsafe { parts(batch, panel, rows.clone()) };
        batch.isa.run(CombineTiles { panels, parts, weight, losses });
    };
    batch.by_draws_then(worker, block, last);
}

/// Replaces e^(y - m) by the gradient, in place.
fn softmax_gradient(batch: &BatchView, worker: &Worker, weight: f32) {
    let mut scratch = [ZERO_ROW; MAX_TILE_ROWS];
    stored_tiles(batch, worker, &mut |panel, rows, tile, parts| {
        // SAFETY: an earlier phase loaded the batch.
        let targets = unsafe { batch.targets(panel, rows, &mut scratch) };
        batch.isa.run(SoftmaxGradient { rows: tile, factors: parts.largest, targets, weight });
    });
}

/// Runs a phase over the tiles that an earlier phase stored in the place of the output gradient.
pub(super) fn stored_tiles(batch: &BatchView, worker: &Worker, finish: &mut FinishTile) {
    let place = batch.memory.plan.output_gradient;
    let tiles = batch.draws().div_ceil(batch.isa.tile_rows());
    let grid = Grid::new(tiles, panels_of(place.cols), worker.workers());
    worker.phase(grid.items(), |item| {
        let (panel, tiles) = grid.item(item);
        for index in tiles {
            let rows = tile_rows(batch.draws(), batch.isa, index);
            // SAFETY: these rows of this panel belong to this tile only.
            let (tile, parts) = unsafe {
                (batch.write(place, panel, rows.clone()), parts(batch, panel, rows.clone()))
            };
            finish(panel, rows, tile, parts);
        }
    });
}

/// The partial results of some rows in a panel.
///
/// # Safety
/// In the running phase, these rows belong to the caller only, and the caller holds no other reference to them.
pub(super) unsafe fn parts<'a>(
    batch: &BatchView<'a>,
    panel: usize,
    rows: Range<usize>,
) -> Partials<&'a mut [f32]> {
    let start = panel * batch.draws();
    let at = start + rows.start..start + rows.end;
    let [largest, sum, count] = batch.memory.softmax;
    // SAFETY: the caller guarantees exclusive access.
    unsafe {
        Partials {
            largest: largest.write(at.clone()),
            sum: sum.write(at.clone()),
            log_prob: batch.memory.partial.write(at.clone()),
            count: count.write(at),
        }
    }
}
