//! The output of a likelihood with a softmax, whose rows are finished when all their panels are there: a phase of tiles
//! ([`Head::softmax_parts`]), one of rows ([`softmax_rows`]), and again one of tiles for the gradient or the
//! probabilities. The logits are written once, as e^(y - m), in the output layer's gradient; scores write none.
#![allow(unsafe_code)]

use super::{Head, Tiles};
use crate::matrix::{Grid, ProductTile, panels_of, tile_rows};
use crate::model::memory::BatchView;
use crate::nn::dense::ScaleRows;
use crate::nn::likelihood::softmax::{CombineTiles, Partials, SoftmaxGradient, SoftmaxTile};
use crate::simd::{MAX_TILE_ROWS, Row, ZERO_ROW};
use crate::threads::Worker;
use std::ops::Range;

/// Takes a finished tile: its panel, its rows, and their probabilities.
type TakeTile<'a> = dyn FnMut(usize, Range<usize>, &mut [Row]) + 'a;
/// Finishes a tile with a factor for each row.
type FinishTile<'a> = dyn FnMut(usize, Range<usize>, &mut [Row], &[f32]) + 'a;

impl Head {
    /// Each row's -log p(x|z) and, if `weight` is given, that times the gradient of -log p with respect to the logits.
    /// `last` runs when the losses are there.
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

    /// The probabilities of a row's words, which `take` gets a tile at a time: the panel, the rows, and what they are.
    pub(super) fn softmax_means(
        &self,
        batch: &BatchView,
        worker: &Worker,
        tiles: &Tiles,
        take: &mut TakeTile,
    ) {
        self.softmax_parts(batch, tiles, false, true);
        softmax_rows(batch, worker, tiles.panels, None, &mut || ());
        softmax_tiles(batch, worker, &mut |panel, rows, tile, factors| {
            batch.isa.run(ScaleRows { rows: &mut *tile, factors });
            take(panel, rows, tile);
        });
    }

    /// What the tiles of the output say of their rows: of x too if it is `scored`, and with e^(y - m) `kept` for a phase
    /// that finishes them.
    fn softmax_parts(&self, batch: &BatchView, tiles: &Tiles, scored: bool, kept: bool) {
        let place = batch.memory.plan.output_gradient;
        let mut scratch = [ZERO_ROW; MAX_TILE_ROWS];
        (tiles.run)(&mut |tile, bias| {
            let ProductTile { panel, rows, products, .. } = tile;
            // SAFETY: the batch was loaded in an earlier phase; these rows of this panel are the tile's own.
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

/// Puts each row's parts together. With a weight, what is left in their place makes gradients, else probabilities.
fn softmax_rows(
    batch: &BatchView,
    worker: &Worker,
    panels: usize,
    weight: Option<f32>,
    last: &mut dyn FnMut(),
) {
    let block = |rows: Range<usize>| {
        // SAFETY: the rows are this block's.
        let losses = unsafe { batch.memory.reconstruction.write(rows.clone()) };
        // SAFETY: as above; `CombineTiles` takes one panel's parts at a time.
        let parts = |panel| unsafe { parts(batch, panel, rows.clone()) };
        batch.isa.run(CombineTiles { panels, parts, weight, losses });
    };
    batch.by_draws_then(worker, block, last);
}

/// e^(y - m) to the gradient, in place.
fn softmax_gradient(batch: &BatchView, worker: &Worker, weight: f32) {
    let mut scratch = [ZERO_ROW; MAX_TILE_ROWS];
    softmax_tiles(batch, worker, &mut |panel, rows, tile, factors| {
        // SAFETY: the batch was loaded in an earlier phase.
        let targets = unsafe { batch.targets(panel, rows, &mut scratch) };
        batch.isa.run(SoftmaxGradient { rows: tile, factors, targets, weight });
    });
}

/// A phase over tiles of what [`Head::softmax_parts`] has kept, each with its rows' factors.
fn softmax_tiles(batch: &BatchView, worker: &Worker, finish: &mut FinishTile) {
    let place = batch.memory.plan.output_gradient;
    let tiles = batch.draws().div_ceil(batch.isa.tile_rows());
    let grid = Grid::new(tiles, panels_of(place.cols), worker.workers());
    worker.phase(grid.items(), |item| {
        let (panel, tiles) = grid.item(item);
        for index in tiles {
            let rows = tile_rows(batch.draws(), batch.isa, index);
            // SAFETY: these rows of this panel are the tile's own.
            let (tile, parts) = unsafe {
                (batch.write(place, panel, rows.clone()), parts(batch, panel, rows.clone()))
            };
            finish(panel, rows, tile, parts.largest);
        }
    });
}

/// What is known of some rows in a panel.
///
/// # Safety
/// They are the calling tile's own in the running phase, and it holds no other reference to them.
unsafe fn parts<'a>(
    batch: &BatchView<'a>,
    panel: usize,
    rows: Range<usize>,
) -> Partials<&'a mut [f32]> {
    let start = panel * batch.draws();
    let at = start + rows.start..start + rows.end;
    let [largest, sum, count] = batch.memory.softmax;
    // SAFETY: passed on to the caller.
    unsafe {
        Partials {
            largest: largest.write(at.clone()),
            sum: sum.write(at.clone()),
            log_prob: batch.memory.partial.write(at.clone()),
            count: count.write(at),
        }
    }
}
