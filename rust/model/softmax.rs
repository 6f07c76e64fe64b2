//! The output of a likelihood with a softmax, whose rows are finished when all their panels are there: a phase of tiles
//! ([`Pass::softmax_parts`]), one of rows ([`Pass::softmax_rows`]), and again one of tiles for the gradient or the
//! probabilities. The logits are written once, as e^(y - m), in the output layer's gradient; scores write none.
#![allow(unsafe_code)]

use super::pass::Pass;
use crate::matrix::{Grid, ProductTile, panels_of, tile_rows};
use crate::nn::dense::{Norm, ScaleRows};
use crate::nn::likelihood::softmax::{CombineTiles, Partials, SoftmaxGradient, SoftmaxTile};
use crate::simd::{MAX_TILE_ROWS, Row, Tile, ZERO_ROW};
use crate::threads::Worker;
use std::ops::Range;

impl<'a> Pass<'a> {
    /// Each row's -log p(x|z) and, if `weight` is given, that times the gradient of -log p with respect to the logits.
    /// `last` runs when the losses are there.
    pub(super) fn score_softmax(&self, worker: &Worker, weight: Option<f32>, last: impl FnOnce()) {
        self.softmax_parts(worker, true, weight.is_some());
        self.softmax_rows(worker, weight, last);
        if let Some(weight) = weight {
            self.softmax_gradient(worker, weight);
        }
    }

    /// The probabilities of a row's words, which `take` gets a tile at a time: the panel, the rows, and what they are.
    pub(super) fn softmax_means(
        &self,
        worker: &Worker,
        mut take: impl FnMut(usize, Range<usize>, &mut [Row]),
    ) {
        self.softmax_parts(worker, false, true);
        self.softmax_rows(worker, None, || ());
        self.softmax_tiles(worker, |panel, rows, tile, factors| {
            self.isa.run(ScaleRows { rows: &mut *tile, factors });
            take(panel, rows, tile);
        });
    }

    /// The output layer's product, and what its tiles say of their rows: of x too if it is `scored`, and with e^(y - m)
    /// `kept` for a phase that finishes them.
    fn softmax_parts(&self, worker: &Worker, scored: bool, kept: bool) {
        if let Some(norm) = self.network.layers[self.network.output()].norm {
            return self.normalized_parts(worker, norm, scored, kept);
        }
        let mut scratch = [ZERO_ROW; MAX_TILE_ROWS];
        self.product(worker, self.network.output(), |tile, bias, _| {
            let ProductTile { panel, rows, products, .. } = tile;
            let scratch = scored.then_some(&mut scratch);
            self.softmax_part(panel, rows, (products, bias), scratch, kept);
        });
    }

    /// The same where logits are normalised over the batch: they are written before that, and an item is a panel with all
    /// its rows.
    fn normalized_parts(&self, worker: &Worker, norm: Norm, scored: bool, kept: bool) {
        let (network, index) = (self.network, self.network.output());
        self.layer(worker, index);
        let mut scratch = [ZERO_ROW; MAX_TILE_ROWS];
        worker.phase(norm.panels(), |panel| {
            self.normalize_panel(index, norm, panel);
            // SAFETY: parameters change in the update only; the panel is this item's.
            let (bias, logits) = unsafe {
                let bias = &self.weights()[network.layers[index].bias(panel)];
                (bias, self.read(self.memory.plan.values[index], panel, 0..self.rows))
            };
            for tile in 0..self.rows.div_ceil(self.isa.tile_rows()) {
                let rows = tile_rows(self.rows, self.isa, tile);
                let scratch = scored.then_some(&mut scratch);
                self.softmax_part(panel, rows.clone(), (&logits[rows], bias), scratch, kept);
            }
        });
    }

    /// One tile of it, scored if there is a `scratch` for its targets.
    fn softmax_part(
        &self,
        panel: usize,
        rows: Range<usize>,
        (products, bias): (&[Row], &Row),
        scratch: Option<&mut Tile>,
        kept: bool,
    ) {
        let place = self.memory.plan.gradients[self.network.output()];
        // SAFETY: the batch was loaded in an earlier phase; these rows of this panel are the tile's own.
        let (targets, kept) = unsafe {
            let targets = scratch.map(|scratch| self.targets(panel, rows.clone(), scratch));
            (targets, kept.then(|| self.write(place, panel, rows.clone())))
        };
        self.isa.run(SoftmaxTile {
            products,
            cols: self.network.features(panel).len(),
            bias,
            targets: targets.unwrap_or_default(),
            // SAFETY: as above.
            parts: unsafe { self.parts(panel, rows) },
            kept: kept.unwrap_or_default(),
        });
    }

    /// Puts each row's parts together. With a weight, what is left in their place makes gradients, else probabilities.
    fn softmax_rows(&self, worker: &Worker, weight: Option<f32>, last: impl FnOnce()) {
        let panels = panels_of(self.network.layers[self.network.output()].outputs);
        let block = |rows: Range<usize>| {
            // SAFETY: the rows are this block's.
            let losses = unsafe { self.memory.reconstruction.write(rows.clone()) };
            // SAFETY: as above; `CombineTiles` takes one panel's parts at a time.
            let parts = |panel| unsafe { self.parts(panel, rows.clone()) };
            self.isa.run(CombineTiles { panels, parts, weight, losses });
        };
        self.by_draws_then(worker, block, last);
    }

    /// e^(y - m) to the gradient, in place.
    fn softmax_gradient(&self, worker: &Worker, weight: f32) {
        let mut scratch = [ZERO_ROW; MAX_TILE_ROWS];
        self.softmax_tiles(worker, |panel, rows, tile, factors| {
            // SAFETY: the batch was loaded in an earlier phase.
            let targets = unsafe { self.targets(panel, rows, &mut scratch) };
            self.isa.run(SoftmaxGradient { rows: tile, factors, targets, weight });
        });
    }

    /// A phase over tiles of what [`Pass::softmax_parts`] has kept, each with its rows' factors.
    fn softmax_tiles(
        &self,
        worker: &Worker,
        mut finish: impl FnMut(usize, Range<usize>, &mut [Row], &[f32]),
    ) {
        let place = self.memory.plan.gradients[self.network.output()];
        let tiles = self.draws().div_ceil(self.isa.tile_rows());
        let grid = Grid::new(tiles, panels_of(place.cols), worker.workers());
        worker.phase(grid.items(), |item| {
            let (panel, tiles) = grid.item(item);
            for index in tiles {
                let rows = tile_rows(self.draws(), self.isa, index);
                // SAFETY: these rows of this panel are the tile's own.
                let (tile, parts) = unsafe {
                    (self.write(place, panel, rows.clone()), self.parts(panel, rows.clone()))
                };
                finish(panel, rows, tile, parts.largest);
            }
        });
    }

    /// What is known of some rows in a panel.
    ///
    /// # Safety
    /// They are the calling tile's own in the running phase, and it holds no other reference to them.
    unsafe fn parts(&self, panel: usize, rows: Range<usize>) -> Partials<&'a mut [f32]> {
        let start = panel * self.draws();
        let at = start + rows.start..start + rows.end;
        let [largest, sum, count] = self.memory.softmax;
        // SAFETY: passed on to the caller.
        unsafe {
            Partials {
                largest: largest.write(at.clone()),
                sum: sum.write(at.clone()),
                log_prob: self.memory.partial.write(at.clone()),
                count: count.write(at),
            }
        }
    }
}
