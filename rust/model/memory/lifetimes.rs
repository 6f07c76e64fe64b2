//! Memory of the backward pass: it lies where values and gradients were that no later phase reads.
//!
//! Time runs backwards through the network: 0 is the phase of the last layer, which scores; then each layer computes its input's
//! gradient and updates its parameters, one after the other, and all that only this layer's [`Slot`] mentioned is free.

use super::plan::{Matrix, Plan, Port, Slot};
use std::ops::Range;

/// The first number of memory without a place. Arenas are smaller.
const LATE: usize = 1 << (usize::BITS - 2);

/// Some rows of the arena.
#[derive(Clone, Copy, Debug)]
struct Block {
    /// The first row, once it is known.
    start: usize,
    rows: usize,
    /// The first and the last time at which it is used.
    first: usize,
    last: usize,
}

/// What a plan allocates.
#[derive(Default)]
pub struct Lifetimes {
    /// Memory of the forward pass, and of all times.
    early: Vec<Block>,
    /// Memory that is first used at time 0 or later.
    late: Vec<Block>,
}

impl Lifetimes {
    /// Allocates `rows` rows from the forward pass on, and returns the first.
    pub fn early(&mut self, rows: usize) -> usize {
        let start = self.end_of_early().min(LATE - 1); // more rows than memory has
        self.early.push(Block { start, rows, first: 0, last: 0 });
        start
    }

    fn end_of_early(&self) -> usize {
        self.early.last().map_or(0, |block| block.start.saturating_add(block.rows))
    }

    /// Allocates `rows` rows from time 0 on, and returns a number that stands for the first.
    pub fn late(&mut self, rows: usize) -> usize {
        self.late.push(Block { start: 0, rows, first: usize::MAX, last: 0 });
        LATE + self.late.len() - 1
    }

    /// Takes back an allocation of [`Lifetimes::late`].
    pub fn drop(&mut self, number: usize) {
        self.late[number - LATE].rows = 0;
    }

    /// Finds the places, and puts them and the number of rows of the arena into the plan.
    pub fn finish(mut self, plan: &mut Plan) {
        self.find_times(plan);
        let mut arena = self.end_of_early();
        let mut order: Vec<usize> = (0..self.late.len()).collect();
        order.sort_by_key(|&i| self.late[i].first);
        for (done, &i) in order.iter().enumerate() {
            let placed = order[..done].iter().map(|&i| &self.late[i]);
            let start = first_fit(&self.late[i], self.early.iter().chain(placed));
            self.late[i].start = start;
            arena = arena.max(start.saturating_add(self.late[i].rows));
        }
        plan.arena = arena;
        let place = |start: &mut usize| {
            if let Some(i) = start.checked_sub(LATE) {
                *start = self.late[i].start;
            }
        };
        let Plan { posterior, z, code, encoder, latent, decoder, .. } = plan;
        let slots = encoder.iter_mut().chain(latent).chain(decoder);
        let ports = slots.flat_map(|Slot { below, above, rows }| {
            place(rows);
            [below, above]
        });
        for port in ports.chain([posterior, z, code]) {
            port.gradient.map_blocks(place);
        }
        plan.output_gradient.map_blocks(place);
    }

    /// The blocks that start at a row or number; none for a matrix without memory.
    fn blocks(&mut self, start: usize) -> impl Iterator<Item = &mut Block> {
        let late = start.checked_sub(LATE).map(|i| &mut self.late[i]);
        let early = self.early.iter_mut().filter(move |block| block.start == start);
        late.into_iter().chain(early)
    }

    /// Finds the times of all blocks.
    fn find_times(&mut self, plan: &Plan) {
        let mut mention = |start: usize, time: usize| {
            for block in self.blocks(start) {
                block.first = block.first.min(time);
                block.last = block.last.max(time);
            }
        };
        let mut ports = |[a, b]: [&Port; 2], time: usize| {
            for Port { value, gradient, saved, .. } in [a, b] {
                for start in [value, gradient, saved].into_iter().flat_map(Matrix::blocks) {
                    mention(start, time);
                }
            }
        };
        let mut time = 0;
        let mut slots = |slots: &[Slot]| {
            for slot in slots.iter().rev() {
                time += 1;
                ports([&slot.below, &slot.above], time);
            }
            time += 1; // the gradient of [mu, logvar]
            ports([&plan.posterior, &plan.z], time);
            ports([&plan.code, &plan.z], time);
        };
        [&plan.decoder, &plan.latent, &plan.encoder].into_iter().for_each(|list| slots(list));
        for slot in &plan.decoder {
            mention(slot.rows, 0);
        }
        plan.output_gradient.blocks().for_each(|start| mention(start, 0));
        let end = time + 1;
        for start in [plan.x, plan.input, plan.eps].iter().flat_map(Matrix::blocks) {
            mention(start, end);
        }
        // Statistics and the like: no matrix.
        self.early.iter_mut().filter(|block| block.last == 0).for_each(|block| block.last = end);
    }
}

/// The first row with as much space as a block needs while it is used.
fn first_fit<'a>(block: &Block, others: impl Iterator<Item = &'a Block>) -> usize {
    let mut used: Vec<Range<usize>> = others
        .filter(|other| other.first <= block.last && block.first <= other.last)
        .map(|other| other.start..other.start.saturating_add(other.rows))
        .collect();
    used.sort_by_key(|rows| rows.start);
    let mut start = 0;
    for rows in used {
        if rows.start.saturating_sub(start) >= block.rows {
            break;
        }
        start = start.max(rows.end);
    }
    start
}
