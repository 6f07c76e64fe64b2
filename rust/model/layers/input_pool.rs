//! Pools and upsampling of x, before the first layer with weights. x has few channels and lies as the caller has it, so the
//! output has no panels for each pixel either, and values move one by one. No layer computes the gradient of x.
#![allow(unsafe_code)]

use super::Layer;
use crate::model::memory::{BatchView, Planner, Port, Slot};
use crate::nn::image::Image;
use crate::nn::pool::Cells;
use crate::simd::{WIDTH, ZERO_ROW, floats, floats_mut};
use crate::threads::Worker;

/// What becomes of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Combine {
    /// One pixel: the maximum of each channel.
    Maximum,
    /// One pixel: the mean of each channel.
    Mean,
    /// A cell of equal pixels, from one.
    Repeat,
}

/// A pool of x.
#[derive(Clone, Debug)]
pub struct InputPool {
    combine: Combine,
    to: Image,
    /// The place in the input, panel and column, of each value of a column of the output, column by column.
    places: Vec<(u32, u32)>,
    /// For each column of the output the end of its places.
    ends: Vec<u32>,
}

impl InputPool {
    /// From the fine to the coarse image, or for [`Combine::Repeat`] back.
    pub fn new(combine: Combine, cells: &Cells) -> InputPool {
        let (from, to) = match combine {
            Combine::Repeat => (cells.coarse, cells.fine),
            _ => (cells.fine, cells.coarse),
        };
        let mut pixels = vec![Vec::new(); to.shape.positions()];
        for cell in 0..cells.count() {
            let Some(coarse) = cells.coarse(cell) else { continue };
            for fine in cells.fine(cell) {
                match combine {
                    Combine::Repeat => pixels[fine].push(coarse),
                    _ => pixels[coarse].push(fine),
                }
            }
        }
        let mut sources = vec![None; to.panels() * WIDTH];
        for position in 0..to.shape.positions() {
            for channel in 0..to.shape.channels {
                let (panel, lane) = to.place(position, channel);
                sources[panel * WIDTH + lane] = Some((position, channel));
            }
        }
        let (mut places, mut ends) = (Vec::new(), Vec::new());
        for source in sources {
            if let Some((position, channel)) = source {
                let place = |&pixel: &usize| {
                    let (panel, lane) = from.place(pixel, channel);
                    (panel as u32, lane as u32)
                };
                places.extend(pixels[position].iter().map(place));
            }
            ends.push(places.len() as u32);
        }
        InputPool { combine, to, places, ends }
    }

    /// The places of a column's values in the input; none for padding.
    fn places(&self, column: usize) -> &[(u32, u32)] {
        let start = column.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.places[start as usize..self.ends[column] as usize]
    }
}

impl Layer for InputPool {
    fn outputs(&self) -> usize {
        self.to.cols()
    }

    fn plan(&self, planner: &mut Planner, below: Port, _: bool) -> Slot {
        let value = planner.place(self.outputs(), below.value.copies, true);
        let above = Port::plain(value, planner.place(value.cols, value.copies, false));
        Slot { below, above, rows: 0 }
    }

    fn forward(&self, batch: &BatchView, worker: &Worker, slot: &Slot) {
        let height = batch.rows * slot.below.value.copies;
        // SAFETY: the input is from an earlier phase.
        let data = unsafe { batch.matrix(slot.below.value).data() };
        worker.phase(self.to.panels(), |panel| {
            // SAFETY: the panel is this item's.
            let out = unsafe { batch.write(slot.above.value, panel, 0..height) };
            out.fill(ZERO_ROW);
            let out = floats_mut(out);
            for lane in 0..WIDTH {
                let places = self.places(panel * WIDTH + lane);
                for (n, &(from, column)) in places.iter().enumerate() {
                    let rows = &data[from as usize * height..][..height];
                    for (row, out) in rows.iter().zip(out.chunks_exact_mut(WIDTH)) {
                        let (x, out) = (floats(row)[column as usize], &mut out[lane]);
                        *out = match self.combine {
                            Combine::Maximum if n > 0 => out.max(x),
                            Combine::Mean => *out + x / places.len() as f32,
                            _ => x,
                        };
                    }
                }
            }
        });
    }

    fn backward(&self, _: &BatchView, _: &Worker, _: &Slot) {
        unreachable!("the gradient of x is not computed");
    }
}
