//! The maximum of each channel in windows that do not overlap.
#![allow(unsafe_code)]

use super::Layer;
use super::input_gradient::{self, GradientTile, ROWS};
use crate::matrix::{ProductTile, vectors_of};
use crate::model::memory::{BatchView, Planner, Port, Slot};
use crate::nn::pool::{Cells, Maximum, MaximumGradient};
use crate::simd::ZERO_ROW;
use crate::threads::Worker;

/// Max pooling, from the fine to the coarse image.
#[derive(Clone, Debug)]
pub struct MaxPool(pub Cells);

impl Layer for MaxPool {
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
        let all = 0..batch.rows * slot.below.value.copies;
        worker.phase(cells.count() * panels, |item| {
            let (cell, panel) = (item / panels, item % panels);
            let Some(to) = cells.coarse(cell) else { return };
            let vectors = vectors_of(cells.fine.shape.channels, panel);
            // SAFETY: the panel is this item's.
            let out = unsafe { batch.write(slot.above.value, to * panels + panel, all.clone()) };
            for (i, at) in cells.fine(cell).enumerate() {
                // SAFETY: the input is from an earlier phase.
                let from =
                    unsafe { batch.read(slot.below.value, at * panels + panel, all.clone()) };
                match i {
                    0 => out.copy_from_slice(from),
                    _ => batch.isa.run(Maximum { from, vectors, out }),
                }
            }
            // SAFETY: as above.
            unsafe { batch.round(slot.above.value, to * panels + panel, all.clone()) };
        });
    }

    fn backward(&self, batch: &BatchView, worker: &Worker, slot: &Slot) {
        let (cells, panels) = (&self.0, self.0.fine.pixel_panels());
        let height = batch.rows * slot.below.value.copies;
        let mut scratch = input_gradient::scratch(&slot.below);
        worker.phase(cells.count() * panels, |item| {
            let (cell, panel) = (item / panels, item % panels);
            let vectors = vectors_of(cells.fine.shape.channels, panel);
            for start in (0..height).step_by(ROWS) {
                let rows = start..(start + ROWS).min(height);
                let n = rows.len();
                let [mut rest, mut products]: [GradientTile; 2] = [[ZERO_ROW; ROWS]; 2];
                let above = cells.coarse(cell).map(|to| {
                    let to = to * panels + panel;
                    // SAFETY: both are from earlier phases.
                    unsafe {
                        rest[..n].copy_from_slice(batch.read(
                            slot.above.gradient,
                            to,
                            rows.clone(),
                        ));
                        batch.read(slot.above.value, to, rows.clone())
                    }
                });
                for at in cells.fine(cell) {
                    let at = at * panels + panel;
                    if let Some(maximum) = above {
                        // SAFETY: the input is from the forward pass.
                        let from = unsafe { batch.read(slot.below.value, at, rows.clone()) };
                        let (rest, out) = (&mut rest[..n], &mut products[..n]);
                        batch.isa.run(MaximumGradient { from, maximum, vectors, rest, out });
                    }
                    let (rows, products) = (rows.clone(), &mut products[..n]);
                    let tile = ProductTile { panel: at, rows, vectors, products };
                    // SAFETY: the pixel is in this item's cell.
                    unsafe { input_gradient::store(batch, &slot.below, tile, &mut scratch) };
                }
            }
        });
    }
}
