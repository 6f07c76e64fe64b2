//! Nearest-neighbour upsampling: each pixel becomes a cell of equal ones.
#![allow(unsafe_code)]

use super::Layer;
use super::input_gradient::{self, GradientTile, ROWS};
use crate::matrix::{ProductTile, vectors_of};
use crate::model::memory::{BatchView, Planner, Port, Slot};
use crate::nn::pool::{AddScaled, Cells};
use crate::simd::ZERO_ROW;
use crate::threads::Worker;

/// Upsampling, from the coarse to the fine image. All cells are complete.
#[derive(Clone, Debug)]
pub struct Upsample(pub Cells);

impl Layer for Upsample {
    fn outputs(&self) -> usize {
        self.0.fine.cols()
    }

    fn stores_words(&self) -> bool {
        true
    }

    fn plan(&self, planner: &mut Planner, below: Port, _: bool) -> Slot {
        let above = Port::placed(planner, self.outputs(), below.value.copies);
        Slot { below, above, rows: 0 }
    }

    /// An item is a panel of a cell.
    fn forward(&self, batch: &BatchView, worker: &Worker, slot: &Slot) {
        let (cells, panels) = (&self.0, self.0.fine.pixel_panels());
        let all = 0..batch.rows * slot.below.value.copies;
        worker.phase(cells.count() * panels, |item| {
            let (cell, panel) = (item / panels, item % panels);
            // Cells are numbered as the coarse pixels.
            // SAFETY: the input is from an earlier phase.
            let from = unsafe { batch.read(slot.below.value, item, all.clone()) };
            for at in cells.fine(cell) {
                // SAFETY: the pixel is in this item's cell.
                let out =
                    unsafe { batch.write(slot.above.value, at * panels + panel, all.clone()) };
                out.copy_from_slice(from);
                // SAFETY: as above.
                unsafe { batch.round(slot.above.value, at * panels + panel, all.clone()) };
            }
        });
    }

    /// The gradient of a pixel is the sum over its cell, row by row.
    fn backward(&self, batch: &BatchView, worker: &Worker, slot: &Slot) {
        let (cells, panels) = (&self.0, self.0.fine.pixel_panels());
        let height = batch.rows * slot.below.value.copies;
        let mut scratch = input_gradient::scratch(&slot.below);
        worker.phase(cells.count() * panels, |item| {
            let (cell, panel) = (item / panels, item % panels);
            let vectors = vectors_of(cells.fine.shape.channels, panel);
            for start in (0..height).step_by(ROWS) {
                let rows = start..(start + ROWS).min(height);
                let mut products: GradientTile = [ZERO_ROW; ROWS];
                let products = &mut products[..rows.len()];
                for at in cells.fine(cell) {
                    let at = at * panels + panel;
                    // SAFETY: the gradient is from an earlier phase.
                    let from = unsafe { batch.read(slot.above.gradient, at, rows.clone()) };
                    batch.isa.run(AddScaled { from, factor: 1.0, vectors, out: products });
                }
                let tile = ProductTile { panel: item, rows, vectors, products };
                // SAFETY: the panel is this item's.
                unsafe { input_gradient::store(batch, &slot.below, tile, &mut scratch) };
            }
        });
    }
}
