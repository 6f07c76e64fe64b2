//! Concatenation [z, y]: copies the conditions y of the batch to the columns after z.
#![allow(unsafe_code)]

use super::Layer;
use crate::model::memory::{BatchView, Planner, Port, Slot};
use crate::simd::WIDTH;
use crate::threads::Worker;
use std::ops::Range;

/// Appends the conditions y to z.
#[derive(Clone, Debug)]
pub struct Join {
    /// Columns of y.
    pub conditions: usize,
    /// The first column of y in the decoder's input.
    pub to: usize,
}

impl Layer for Join {
    fn outputs(&self) -> usize {
        self.to + self.conditions
    }

    fn plan(&self, _: &mut Planner, below: Port, _: bool) -> Slot {
        Slot { below, above: below, rows: 0 }
    }

    fn forward(&self, batch: &BatchView, worker: &Worker, slot: &Slot) {
        let (input, from) = batch.conditions();
        let block = |draws: Range<usize>| {
            let mut values = [0.0; WIDTH];
            for r in draws {
                for first in (0..self.conditions).step_by(WIDTH) {
                    let part = &mut values[..(self.conditions - first).min(WIDTH)];
                    input.copy_row(batch.owners.of(r), from + first, part);
                    // SAFETY: row r is the calling block's.
                    unsafe { batch.put(slot.below.value, r, self.to + first, part) };
                }
            }
        };
        batch.by_draws_then(worker, block, &mut || ());
    }

    /// Conditions have no gradient.
    fn backward(&self, _: &BatchView, _: &Worker, _: &Slot) {}
}
