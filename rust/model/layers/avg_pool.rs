//! The mean of each channel in windows that do not overlap.
#![allow(unsafe_code)]

use super::Layer;
use super::input_gradient::{self, GradientTile, ROWS};
use crate::matrix::{ProductTile, vectors_of};
use crate::model::memory::{BatchView, Planner, Port, Slot};
use crate::nn::pool::{AddScaled, Cells};
use crate::simd::ZERO_ROW;
use crate::threads::Worker;

/// Average pooling, from the fine to the coarse image.
#[derive(Clone, Debug)]
pub struct AvgPool(pub Cells);

impl AvgPool {
    /// The weight of a pixel.
    fn factor(&self) -> f32 {
        1.0 / self.0.pixels() as f32
    }
}

impl Layer for AvgPool {
    fn outputs(&self) -> usize {
        self.0.coarse.cols()
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
        let (all, factor) = (0..batch.rows * slot.below.value.copies, self.factor());
        worker.phase(cells.count() * panels, |item| {
            let (cell, panel) = (item / panels, item % panels);
            let Some(to) = cells.coarse(cell) else { return };
            let vectors = vectors_of(cells.fine.shape.channels, panel);
            // SAFETY: the panel is this item's.
            let out = unsafe { batch.write(slot.above.value, to * panels + panel, all.clone()) };
            out.fill(ZERO_ROW);
            for at in cells.fine(cell) {
                // SAFETY: the input is from an earlier phase.
                let from =
                    unsafe { batch.read(slot.below.value, at * panels + panel, all.clone()) };
                batch.isa.run(AddScaled { from, factor, vectors, out });
            }
            // SAFETY: as above.
            unsafe { batch.round(slot.above.value, to * panels + panel, all.clone()) };
        });
    }

    fn backward(&self, batch: &BatchView, worker: &Worker, slot: &Slot) {
        let (cells, panels) = (&self.0, self.0.fine.pixel_panels());
        let (height, factor) = (batch.rows * slot.below.value.copies, self.factor());
        let mut scratch = input_gradient::scratch(&slot.below);
        worker.phase(cells.count() * panels, |item| {
            let (cell, panel) = (item / panels, item % panels);
            let vectors = vectors_of(cells.fine.shape.channels, panel);
            for start in (0..height).step_by(ROWS) {
                let rows = start..(start + ROWS).min(height);
                let mut products: GradientTile = [ZERO_ROW; ROWS];
                let products = &mut products[..rows.len()];
                if let Some(to) = cells.coarse(cell) {
                    let to = to * panels + panel;
                    // SAFETY: the gradient is from an earlier phase.
                    let from = unsafe { batch.read(slot.above.gradient, to, rows.clone()) };
                    batch.isa.run(AddScaled { from, factor, vectors, out: products });
                }
                for at in cells.fine(cell) {
                    let panel = at * panels + panel;
                    let tile = ProductTile { panel, rows: rows.clone(), vectors, products };
                    // SAFETY: the pixel is in this item's cell.
                    unsafe { input_gradient::store(batch, &slot.below, tile, &mut scratch) };
                }
            }
        });
    }
}
