//! The best items of each row of a multinomial's output. A tile's logits go to the lists of their rows while they are in the
//! first-level cache; no row of the output is stored.
#![allow(unsafe_code)]

use super::{Head, Tiles};
use crate::data::Source;
use crate::data::check::ValueCheck;
use crate::error::{Result, filled};
use crate::matrix::{ProductTile, Shared};
use crate::model::memory::BatchView;
use crate::nn::ranking::{BestItems, FindBest, ListState, Ranked, UNUSED};
use crate::simd::{MAX_TILE_ROWS, WIDTH, floats};
use crate::threads::Worker;
use std::ops::Range;

/// What to rank.
#[derive(Clone, Copy)]
pub struct Ranking<'a> {
    /// The number of items for each row, at least one.
    pub n: usize,
    /// For each panel of items a bit for each item that may be among them.
    pub allowed: &'a [u32],
    /// Whether to leave out items whose value in the row of x is not zero.
    pub new_only: bool,
}

/// Memory for lists of the best items: a list for each row of a block and each worker.
pub struct Lists {
    items: Vec<Ranked>,
    states: Vec<ListState>,
    rows: usize,
}

impl Lists {
    /// Memory for `workers` workers and blocks of `rows` rows.
    pub fn new(n: usize, total: usize, workers: usize, rows: usize) -> Result<Lists> {
        let count = workers.checked_mul(rows);
        let room = count.and_then(|count| count.checked_mul(BestItems::room(n, total)));
        let states = filled(ListState::EMPTY, count)?;
        Ok(Lists { items: filled(UNUSED, room)?, states, rows })
    }

    /// The lists as workers share them.
    pub fn share(&mut self) -> SharedLists<'_> {
        let room = self.items.len() / self.states.len().max(1);
        let (items, states) = (Shared::new(&mut self.items), Shared::new(&mut self.states));
        SharedLists { items, states, rows: self.rows, room }
    }
}

/// [`Lists`], shared by the workers.
#[derive(Clone, Copy)]
pub struct SharedLists<'a> {
    items: Shared<'a, Ranked>,
    states: Shared<'a, ListState>,
    rows: usize,
    room: usize,
}

impl<'a> SharedLists<'a> {
    /// The memory of the items and the states of a worker's lists of some rows.
    ///
    /// # Safety
    /// In the running phase these lists belong to the caller only, and it holds no other reference to them.
    unsafe fn lists(
        &self,
        worker: usize,
        rows: Range<usize>,
    ) -> (&'a mut [Ranked], &'a mut [ListState]) {
        let at = worker * self.rows + rows.start..worker * self.rows + rows.end;
        // SAFETY: passed on to the caller.
        unsafe {
            let items = self.items.write(at.start * self.room..at.end * self.room);
            (items, self.states.write(at))
        }
    }
}

/// The results: items (-1: none) and their logits, each [rows of x, n].
#[derive(Clone, Copy)]
pub struct BestOut<'a> {
    /// The items.
    pub items: Shared<'a, i32>,
    /// The logits.
    pub logits: Shared<'a, f32>,
}

impl Head {
    /// Finds the best items of each row of the batch, and writes them to rows `first..` of `out`. `lists` has room for this
    /// team's workers from number `part` on.
    #[allow(clippy::too_many_arguments)]
    pub fn best(
        &self,
        batch: &BatchView,
        worker: &Worker,
        tiles: &Tiles,
        ranking: Ranking,
        (lists, part): (SharedLists, usize),
        (x, first, check): (&Source, usize, &ValueCheck),
        out: BestOut,
    ) {
        self.find_best(batch, tiles, ranking, (lists, part + worker.index()), (x, first, check));
        write_best(batch, worker, ranking.n, (lists, part), first, out);
    }

    /// A phase: offers the logits of each row to the lists of `worker`.
    fn find_best(
        &self,
        batch: &BatchView,
        tiles: &Tiles,
        ranking: Ranking,
        (lists, worker): (SharedLists, usize),
        (x, first, check): (&Source, usize, &ValueCheck),
    ) {
        let mut found = [0; MAX_TILE_ROWS];
        (tiles.run)(&mut |tile, bias| {
            let ProductTile { panel, rows, products, .. } = tile;
            let allowed = ranking.allowed[panel];
            if allowed == 0 {
                return;
            }
            // SAFETY: a worker runs one tile at a time.
            let (items, states) = unsafe { lists.lists(worker, rows.clone()) };
            let found = &mut found[..rows.len()];
            batch.isa.run(FindBest { products, bias, states, found });
            let room = items.chunks_exact_mut(lists.room);
            for (i, (items, state)) in room.zip(states).enumerate() {
                let mut list = BestItems { n: ranking.n, items, state };
                let (mut columns, row) = (found[i] & allowed, first + rows.start + i);
                while columns != 0 {
                    let lane = columns.trailing_zeros() as usize;
                    columns &= columns - 1;
                    let logit = floats(&products[i])[lane] + floats(bias)[lane];
                    let item = panel * WIDTH + lane;
                    if !logit.is_finite() {
                        check.report_overflow(row);
                    } else if !(ranking.new_only && is_set(x, row, item)) {
                        list.add(Ranked { logit, item: item as u32 });
                    }
                }
            }
        });
    }
}

/// Whether an item's value in a row is not zero.
#[inline(never)]
fn is_set(x: &Source, row: usize, item: usize) -> bool {
    let mut value = [0.0];
    x.read(row, item, &mut value);
    value[0] != 0.0
}

/// A phase: joins the lists of the team's workers for each row, and writes and empties them.
fn write_best(
    batch: &BatchView,
    worker: &Worker,
    n: usize,
    (lists, part): (SharedLists, usize),
    first: usize,
    out: BestOut,
) {
    let workers = part..part + worker.workers();
    batch.by_rows(worker, |rows| {
        for r in rows {
            // SAFETY: the row's lists belong to this block only; those of two workers are disjoint.
            let (items, states) = unsafe { lists.lists(workers.start, r..r + 1) };
            let mut list = BestItems { n, items, state: &mut states[0] };
            for other in workers.clone().skip(1) {
                // SAFETY: as above.
                let (items, states) = unsafe { lists.lists(other, r..r + 1) };
                let others = BestItems { n, items, state: &mut states[0] };
                others.unsorted().iter().for_each(|&item| list.add(item));
                states[0] = ListState::EMPTY;
            }
            let at = (first + r) * n..(first + r + 1) * n;
            // SAFETY: only this block writes the row.
            let (items, logits) = unsafe { (out.items.write(at.clone()), out.logits.write(at)) };
            items.fill(-1);
            logits.fill(f32::NEG_INFINITY);
            for ((item, logit), found) in items.iter_mut().zip(logits).zip(list.sorted()) {
                (*item, *logit) = (found.item as i32, found.logit);
            }
            states[0] = ListState::EMPTY;
        }
    });
}
