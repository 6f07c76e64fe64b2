//! The output image: from pixels with panels of their own to the features that the likelihood reads.
#![allow(unsafe_code)]

use super::{Epilogue, Layer, input_gradient};
use crate::matrix::{Grid, ProductTile, tile_rows, vectors_of};
use crate::model::memory::{BatchView, Planner, Port, Slot};
use crate::nn::image::Image;
use crate::simd::{MAX_TILE_ROWS, WIDTH, ZERO_ROW, floats, floats_mut};
use crate::threads::Worker;

/// The columns of an image in another order.
#[derive(Clone, Debug)]
pub struct FlatOutput {
    from: Image,
    to: Image,
    /// For each column of the output the panel and the column in it that it reads, if it is no padding.
    columns: Vec<Option<(u32, u32)>>,
}

impl FlatOutput {
    /// From and to the same image.
    pub fn new(from: Image, to: Image) -> FlatOutput {
        let mut columns = vec![None; to.panels() * WIDTH];
        for position in 0..to.shape.positions() {
            for channel in 0..to.shape.channels {
                let [(panel, lane), (to_panel, to_lane)] =
                    [from, to].map(|image| image.place(position, channel));
                columns[to_panel * WIDTH + to_lane] = Some((panel as u32, lane as u32));
            }
        }
        FlatOutput { from, to, columns }
    }
}

impl Layer for FlatOutput {
    fn outputs(&self) -> usize {
        self.to.cols()
    }

    fn stores_words(&self) -> bool {
        true
    }

    fn plan(&self, planner: &mut Planner, below: Port, stored: bool) -> Slot {
        assert!(!stored, "only the head reads features");
        let copies = below.value.copies;
        let gradient = planner.gradient(self.to.cols(), copies);
        let above = Port { gradient, ..below };
        Slot { below, above, rows: 0 }
    }

    fn forward(&self, _: &BatchView, _: &Worker, _: &Slot) {
        unreachable!("only the head reads features");
    }

    fn tiles(&self, batch: &BatchView, worker: &Worker, slot: &Slot, epilogue: &mut Epilogue) {
        let (value, height) = (slot.below.value, batch.rows * slot.below.value.copies);
        // SAFETY: the values are from an earlier phase.
        let data = unsafe { batch.matrix(value).data() };
        let tiles = height.div_ceil(batch.isa.tile_rows());
        let grid = Grid::new(tiles, self.to.panels(), worker.workers());
        worker.phase(grid.items(), |item| {
            let (panel, tiles) = grid.item(item);
            let vectors = vectors_of(self.to.cols(), panel);
            for index in tiles {
                let rows = tile_rows(height, batch.isa, index);
                let mut products = [ZERO_ROW; MAX_TILE_ROWS];
                let out = floats_mut(&mut products);
                for (to, column) in self.columns[panel * WIDTH..][..WIDTH].iter().enumerate() {
                    let Some((from, lane)) = *column else { continue };
                    let from = &data[from as usize * height..][rows.clone()];
                    for (i, row) in from.iter().enumerate() {
                        out[i * WIDTH + to] = floats(row)[lane as usize];
                    }
                }
                let products = &mut products[..rows.len()];
                epilogue(ProductTile { panel, rows, vectors, products }, &ZERO_ROW);
            }
        });
    }

    fn backward(&self, batch: &BatchView, worker: &Worker, slot: &Slot) {
        let height = batch.rows * slot.below.gradient.copies;
        // SAFETY: the gradient above is from an earlier phase.
        let data = unsafe { batch.matrix(slot.above.gradient).data() };
        let panels = self.from.pixel_panels();
        let mut scratch = input_gradient::scratch(&slot.below);
        worker.phase(self.from.shape.positions() * panels, |panel| {
            let (position, first) = (panel / panels, panel % panels * WIDTH);
            let channels = first..(first + WIDTH).min(self.from.shape.channels);
            let vectors = vectors_of(self.from.shape.channels, panel % panels);
            for start in (0..height).step_by(MAX_TILE_ROWS) {
                let rows = start..(start + MAX_TILE_ROWS).min(height);
                let mut products = [ZERO_ROW; MAX_TILE_ROWS];
                let out = floats_mut(&mut products);
                for channel in channels.clone() {
                    let (from, lane) = self.to.place(position, channel);
                    let from = &data[from * height..][rows.clone()];
                    for (i, row) in from.iter().enumerate() {
                        out[i * WIDTH + channel - first] = floats(row)[lane];
                    }
                }
                let products = &mut products[..rows.len()];
                let tile = ProductTile { panel, rows, vectors, products };
                // SAFETY: the rows are this item's.
                unsafe { input_gradient::store(batch, &slot.below, tile, &mut scratch) };
            }
        });
    }
}
