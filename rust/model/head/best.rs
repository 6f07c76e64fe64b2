//! The best items of each row of a multinomial's output. Each tile of logits, or of upper bounds of logits, is compared with
//! the n-th best logit of its rows while it is in the first-level cache; no row of the output is stored. The logits of the
//! items that pass are computed again, each in an order of its own: bits do not depend on how an item was found.
#![allow(unsafe_code)]

use super::bounds::{Bounds, sum_of_squares};
use crate::data::Source;
use crate::data::check::ValueCheck;
use crate::error::{Result, filled};
use crate::matrix::{Panels, ProductTile, Shared, panels_of, product};
use crate::model::layers::Dense;
use crate::model::memory::BatchView;
use crate::nn::ranking::{BestItems, FindBest, ItemProducts, ListState, Ranked, TOGETHER, UNUSED};
use crate::simd::{Lanes, MAX_TILE_ROWS, Row, WIDTH, ZERO_ROW, floats};
use crate::threads::Worker;
use std::ops::Range;

/// More than the rounding errors of a logit, relative to |h| |w|: 600 times 2^-24, for two orders of the sum.
const ROUNDING: f32 = 1e-4;

/// What to rank.
#[derive(Clone, Copy)]
pub struct Ranking<'a> {
    /// The number of items for each row, at least one.
    pub n: usize,
    /// For each panel of items a bit for each item that may be among them.
    pub allowed: &'a [u32],
    /// Whether to leave out items whose value in the row of x is not zero.
    pub new_only: bool,
    /// How to find items: by bounds of the logits, or by all logits and the largest |w| of an item.
    pub search: Search<'a>,
}

/// How to find items.
#[derive(Clone, Copy)]
pub enum Search<'a> {
    /// By bounds of the logits.
    Bounds(&'a Bounds),
    /// By all logits.
    Logits {
        /// The largest norm of an item's weights.
        largest: f32,
        /// The transposed weights of the output layer; `None`: they are in the derived buffer.
        transposed: Option<&'a [Row]>,
    },
}

/// Items of a row whose logits are computed together.
#[derive(Clone, Copy)]
struct Waiting {
    places: [u32; TOGETHER],
    len: usize,
}

/// Bits of the items that a row has, by the item's remainder: most other items need no search in the row.
type Seen = [u64; SEEN_BITS / 64];
const SEEN_BITS: usize = 1024;

const NONE_WAITING: Waiting = Waiting { places: [0; TOGETHER], len: 0 };

/// Memory for lists of the best items: a list for each row of a block and each worker.
pub struct Lists {
    items: Vec<Ranked>,
    states: Vec<ListState>,
    waiting: Vec<Waiting>,
    seen: Vec<Seen>,
    codes: Vec<Row>,
    rows: usize,
}

impl Lists {
    /// Memory for `workers` workers and blocks of `rows` rows; `width` is that of the bounds, or 0.
    pub fn new([n, total]: [usize; 2], workers: usize, rows: usize, width: usize) -> Result<Lists> {
        let count = workers.checked_mul(rows);
        let times = |size| count.and_then(|count| count.checked_mul(size));
        Ok(Lists {
            items: filled(UNUSED, times(BestItems::room(n, total)))?,
            states: filled(ListState::EMPTY, count)?,
            waiting: filled(NONE_WAITING, count)?,
            seen: filled([0; SEEN_BITS / 64], count)?,
            codes: filled(ZERO_ROW, times(panels_of(width)))?,
            rows,
        })
    }

    /// The lists as workers share them.
    pub fn share(&mut self) -> SharedLists<'_> {
        SharedLists {
            room: self.items.len() / self.states.len().max(1),
            items: Shared::new(&mut self.items),
            states: Shared::new(&mut self.states),
            waiting: Shared::new(&mut self.waiting),
            seen: Shared::new(&mut self.seen),
            codes: Shared::new(&mut self.codes),
            rows: self.rows,
        }
    }
}

/// [`Lists`], shared by the workers.
#[derive(Clone, Copy)]
pub struct SharedLists<'a> {
    items: Shared<'a, Ranked>,
    states: Shared<'a, ListState>,
    waiting: Shared<'a, Waiting>,
    seen: Shared<'a, Seen>,
    codes: Shared<'a, Row>,
    rows: usize,
    room: usize,
}

/// The list of a worker and a row.
struct List<'a> {
    items: &'a mut [Ranked],
    state: &'a mut ListState,
    waiting: &'a mut Waiting,
}

impl<'a> SharedLists<'a> {
    /// A worker's list of a row.
    ///
    /// # Safety
    /// In the running phase the list belongs to the caller only, and it uses no other reference to it.
    unsafe fn list(&self, worker: usize, row: usize) -> List<'a> {
        let at = worker * self.rows + row;
        // SAFETY: passed on to the caller.
        unsafe {
            List {
                items: self.items.write(at * self.room..(at + 1) * self.room),
                state: &mut self.states.write(at..at + 1)[0],
                waiting: &mut self.waiting.write(at..at + 1)[0],
            }
        }
    }

    /// The states of a worker's lists of some rows.
    ///
    /// # Safety
    /// In the running phase the lists belong to the caller only, which does not change them meanwhile.
    unsafe fn states(&self, worker: usize, rows: Range<usize>) -> &'a [ListState] {
        let first = worker * self.rows;
        // SAFETY: passed on to the caller.
        unsafe { self.states.read(first + rows.start..first + rows.end) }
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

/// A batch whose best items are wanted: rows `first..` of `x`.
pub struct BestOfBatch<'a> {
    /// The batch, decoded up to the input of its output layer.
    pub batch: &'a BatchView<'a>,
    /// The output layer.
    pub layer: &'a Dense,
    /// Its input.
    pub input: Panels<'a>,
    /// What to rank.
    pub ranking: Ranking<'a>,
    /// Memory, and the number of the team's first worker in it.
    pub lists: (SharedLists<'a>, usize),
    /// The array of all rows.
    pub x: &'a Source<'a>,
    /// The batch's first row.
    pub first: usize,
    /// Takes reports of logits that are not finite.
    pub check: &'a ValueCheck,
}

impl BestOfBatch<'_> {
    /// Writes the best items of each row to its row of `out`.
    pub fn run(&self, worker: &Worker, out: BestOut) {
        let (_, part) = self.lists;
        let workers = part..part + worker.workers();
        if self.ranking.new_only {
            self.batch.by_rows(worker, |rows| rows.for_each(|r| self.note_seen(r)));
        }
        match self.ranking.search {
            Search::Bounds(bounds) => self.find_by_bounds(worker, bounds),
            Search::Logits { largest, .. } => self.find_by_logits(worker, largest),
        }
        self.batch.by_rows(worker, |rows| {
            for r in rows {
                // SAFETY: the row belongs to this block only.
                unsafe { self.write(r, workers.clone(), out) };
            }
        });
    }

    /// Sets the bits of the items of a row of a block.
    fn note_seen(&self, r: usize) {
        let (lists, part) = self.lists;
        let at = part * lists.rows + r;
        // SAFETY: the row belongs to the calling block only.
        let seen = &mut unsafe { lists.seen.write(at..at + 1) }[0];
        let Some(csr) = self.x.csr() else { return seen.fill(u64::MAX) };
        seen.fill(0);
        for place in csr.row(self.x.place(self.first + r)) {
            let bit = csr.col(place) % SEEN_BITS;
            seen[bit / 64] |= 1 << (bit % 64);
        }
    }

    /// Whether a row has an item.
    fn has(&self, r: usize, item: usize) -> bool {
        let ((lists, part), bit) = (self.lists, item % SEEN_BITS);
        let at = part * lists.rows + r;
        // SAFETY: an earlier phase wrote the bits.
        let seen = unsafe { lists.seen.read(at..at + 1) }[0][bit / 64];
        seen >> (bit % 64) & 1 == 1 && is_set(self.x, self.first + r, item)
    }

    /// Phases: computes bounds of the logits, and the logits of the items whose bounds pass.
    fn find_by_bounds(&self, worker: &Worker, bounds: &Bounds) {
        let ((lists, part), isa) = (self.lists, self.batch.isa);
        let (height, panels) = (self.input.rows(), panels_of(bounds.width()));
        let start = part * lists.rows * panels;
        let place = |panel: usize, rows: Range<usize>| {
            let panel = start + panel * height;
            panel + rows.start..panel + rows.end
        };
        let right = |panel| bounds.directions(panel, self.input.cols());
        product(
            worker,
            isa,
            self.input,
            |_| None,
            bounds.width(),
            right,
            |tile: ProductTile| {
                // SAFETY: only this tile writes these rows of this panel.
                let to = unsafe { lists.codes.write(place(tile.panel, tile.rows)) };
                to.copy_from_slice(tile.products);
            },
        );
        self.batch.by_rows(worker, |rows| {
            for r in rows {
                // SAFETY: the row belongs to this block only; one reference is in use at a time.
                let code = |panel| unsafe { &mut lists.codes.write(place(panel, r..r + 1))[0] };
                bounds.complete(self.input, r, code);
            }
        });
        // SAFETY: earlier phases wrote the codes.
        let codes = unsafe { lists.codes.read(start..start + panels * height) };
        let codes = Panels::new(codes, height, bounds.width());
        let (right, own) = (|panel| bounds.panel(panel), part + worker.index());
        product(
            worker,
            isa,
            codes,
            |_| None,
            bounds.count(),
            right,
            |tile: ProductTile| {
                let used = (bounds.count() - tile.panel * WIDTH).min(WIDTH);
                let columns = u32::MAX >> (WIDTH - used);
                self.offer(&tile, &ZERO_ROW, columns, own);
            },
        );
    }

    /// Phases: computes all logits, and again those of the items that pass.
    fn find_by_logits(&self, worker: &Worker, largest: f32) {
        let ((lists, part), workers) = (self.lists, worker.workers());
        self.batch.by_rows(worker, |rows| {
            for r in rows {
                let margin = ROUNDING * largest * sum_of_squares(self.input, r).sqrt();
                for worker in part..part + workers {
                    // SAFETY: the row belongs to this block only.
                    unsafe { lists.list(worker, r) }.state.margin = margin;
                }
            }
        });
        // SAFETY: parameters change in the update only.
        let parameters = unsafe { self.batch.weights() };
        let right = |panel| &parameters[self.layer.weights(panel)];
        let (cols, own) = (self.layer.outputs, part + worker.index());
        product(
            worker,
            self.batch.isa,
            self.input,
            |_| None,
            cols,
            right,
            |tile: ProductTile| {
                let bias = &parameters[self.layer.bias(tile.panel)];
                self.offer(&tile, bias, self.ranking.allowed[tile.panel], own);
            },
        );
    }

    /// Offers the items of a tile that pass to the lists of worker `own`. `columns` are bits of columns that are items.
    fn offer(&self, tile: &ProductTile, bias: &Row, columns: u32, own: usize) {
        if columns == 0 {
            return;
        }
        let (lists, rows) = (self.lists.0, tile.rows.clone());
        let mut found = [0; MAX_TILE_ROWS];
        let found = &mut found[..rows.len()];
        // SAFETY: a worker runs one tile at a time.
        let states = unsafe { lists.states(own, rows.clone()) };
        self.batch.isa.run(FindBest { products: tile.products, bias, states, found });
        for (found, r) in found.iter().zip(rows) {
            let mut columns = found & columns;
            if columns == 0 {
                continue;
            }
            // SAFETY: as above.
            let mut list = unsafe { lists.list(own, r) };
            while columns != 0 {
                let place = tile.panel * WIDTH + columns.trailing_zeros() as usize;
                columns &= columns - 1;
                if self.admits(r, self.item(place)) {
                    list.waiting.places[list.waiting.len] = place as u32;
                    list.waiting.len += 1;
                    if list.waiting.len == TOGETHER {
                        self.compute_waiting(&mut list, r);
                    }
                }
            }
        }
    }

    /// The item at a place of the search.
    fn item(&self, place: usize) -> usize {
        match self.ranking.search {
            Search::Bounds(bounds) => bounds.item(place),
            Search::Logits { .. } => place,
        }
    }

    /// Whether an item may be among those of a row of the batch.
    fn admits(&self, r: usize, item: usize) -> bool {
        self.ranking.allowed[item / WIDTH] >> (item % WIDTH) & 1 == 1
            && !(self.ranking.new_only && self.has(r, item))
    }

    /// Computes the logits of a row's waiting items, and adds them to its list.
    #[inline(never)]
    fn compute_waiting(&self, list: &mut List, r: usize) {
        let List { items, state, waiting } = list;
        let waited = &waiting.places[..std::mem::take(&mut waiting.len)];
        // SAFETY: parameters and what is derived from them change in the update only.
        let (derived, parameters) = unsafe { (self.batch.derived.all(), self.batch.weights()) };
        let (weights, strides) = match self.ranking.search {
            Search::Bounds(bounds) => bounds.weights(),
            Search::Logits { transposed, .. } => {
                let derived = || &derived[self.layer.all_transposed().expect("no words are read")];
                (transposed.unwrap_or_else(derived), [self.layer.outputs, 1])
            }
        };
        let mut products = Lanes::default();
        self.batch.isa.run(ItemProducts {
            input: (self.input, r),
            weights,
            strides,
            items: waited,
            out: &mut products,
        });
        let mut best = BestItems { n: self.ranking.n, items, state };
        for (&place, product) in waited.iter().zip(products.0) {
            let item = self.item(place as usize);
            let (panel, lane) = (item / WIDTH, item % WIDTH);
            let logit = product + floats(&parameters[self.layer.bias(panel)])[lane];
            if logit.is_finite() {
                best.add(Ranked { logit, item: item as u32 });
            } else {
                self.check.report_overflow(self.first + r);
            }
        }
    }

    /// Joins the lists of the team's workers for a row, writes the best items and empties the lists.
    ///
    /// # Safety
    /// In the running phase the row belongs to the caller only.
    unsafe fn write(&self, r: usize, workers: Range<usize>, out: BestOut) {
        let (n, lists) = (self.ranking.n, self.lists.0);
        for worker in workers.clone() {
            // SAFETY: passed on to the caller.
            self.compute_waiting(&mut unsafe { lists.list(worker, r) }, r);
        }
        // SAFETY: passed on to the caller; the lists of two workers are disjoint.
        let List { items, state, .. } = unsafe { lists.list(workers.start, r) };
        let mut list = BestItems { n, items, state };
        for other in workers.skip(1) {
            // SAFETY: as above.
            let List { items, state, .. } = unsafe { lists.list(other, r) };
            let others = BestItems { n, items, state };
            others.unsorted().iter().for_each(|&item| list.add(item));
            *others.state = ListState::EMPTY;
        }
        let at = (self.first + r) * n..(self.first + r + 1) * n;
        // SAFETY: only the caller writes the row.
        let (items, logits) = unsafe { (out.items.write(at.clone()), out.logits.write(at)) };
        items.fill(-1);
        logits.fill(f32::NEG_INFINITY);
        for ((item, logit), found) in items.iter_mut().zip(logits).zip(list.sorted()) {
            (*item, *logit) = (found.item as i32, found.logit);
        }
        *list.state = ListState::EMPTY;
    }
}

/// Whether an item's value in a row is not zero.
#[inline(never)]
fn is_set(x: &Source, row: usize, item: usize) -> bool {
    let mut value = [0.0];
    x.read(row, item, &mut value);
    value[0] != 0.0
}
