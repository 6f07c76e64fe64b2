//! A sparse batch: only the values that are stored, by row for the first layer's product, and by panel of 32 columns, rows
//! ascending, for its weights' gradient and for the likelihood. The same terms as with all columns in the same order, so
//! the same bits: what is left out are products with zeros (see [`crate::simd::NonzeroIndices`]).
#![allow(unsafe_code)]

use super::gather::{EncoderInput, Rows};
use super::network::Network;
use super::pass::{Pass, ROW_BLOCK};
use super::workspace::InputStorage;
use crate::data::Source;
use crate::data::check::ValueCheck;
use crate::data::corruption::Corruption;
use crate::error::{Result, filled};
use crate::matrix::{Grid, ProductBlock, ProductTile, Shared, panels_of, vectors_of};
use crate::nn::dense::Dense;
use crate::random::{ContentHash, Stream, uniform_at};
use crate::simd::{
    LANES, LINE, Op, Row, Simd, Tile, WIDTH, ZERO_ROW, floats, floats_mut, prefetch,
};
use crate::threads::{Worker, split};
use std::ops::Range;

/// The share of stored values up to which a sparse batch stays sparse; above, filling panels and skipping their zeros is
/// faster (docs/performance.md has the figures).
pub const SPARSE: f64 = 0.2;

/// The most rows of a sparse batch: a row's number and a lane share a word.
pub const MOST_ROWS: usize = 1 << (u32::BITS - WIDTH.ilog2());
/// The most values of a sparse batch.
pub const MOST_STORED: usize = 1 << 31;

/// Panels of W whose rows an example gathers at once: eight sums that do not wait for each other.
const TOGETHER: usize = 4;
/// Examples that are gathered before the epilogue finishes them.
const TILE: usize = 8;
/// How many values ahead rows of W are asked for.
const AHEAD: usize = 8;

/// A stored value.
#[derive(Clone, Copy, Default)]
struct StoredValue {
    /// By row: its column. By panel: 32 times its row, and its lane.
    at: u32,
    /// What is to be reconstructed.
    target: f32,
    /// What the encoder sees.
    seen: f32,
}

impl StoredValue {
    fn panel(&self) -> usize {
        self.at as usize / WIDTH
    }

    fn lane(&self) -> usize {
        self.at as usize % WIDTH
    }
}

/// The memory of a sparse batch.
pub struct SparseBatch {
    by_row: Vec<StoredValue>,
    by_panel: Vec<StoredValue>,
    /// Where each row starts, and the last one ends.
    rows: Vec<u32>,
    /// Where each panel starts, and the last one ends; and one more place to count with.
    panels: Vec<u32>,
    /// Each row's place in the source, and that of its first value.
    places: Vec<[usize; 2]>,
}

impl SparseBatch {
    /// Memory for batches of up to `rows` rows with `most` values.
    pub fn new(network: &Network, rows: usize, most: usize) -> Result<SparseBatch> {
        Ok(SparseBatch {
            by_row: filled(StoredValue::default(), Some(most))?,
            by_panel: filled(StoredValue::default(), Some(most))?,
            rows: filled(0, Some(rows + 1))?,
            panels: filled(0, Some(panels_of(network.spec.n_features) + 2))?,
            places: filled([0; 2], Some(rows))?,
        })
    }

    /// Of a batch that is kept with all its columns.
    pub fn none() -> SparseBatch {
        let (by_row, by_panel) = (Vec::new(), Vec::new());
        SparseBatch { by_row, by_panel, rows: Vec::new(), panels: Vec::new(), places: Vec::new() }
    }

    /// The parts, to be shared among workers.
    pub fn share(&mut self) -> SharedSparseBatch<'_> {
        SharedSparseBatch {
            most: self.by_row.len(),
            by_row: Shared::new(&mut self.by_row),
            by_panel: Shared::new(&mut self.by_panel),
            rows: Shared::new(&mut self.rows),
            panels: Shared::new(&mut self.panels),
            places: Shared::new(&mut self.places),
        }
    }
}

/// A sparse batch in use by a team.
#[derive(Clone, Copy)]
pub struct SharedSparseBatch<'a> {
    most: usize,
    by_row: Shared<'a, StoredValue>,
    by_panel: Shared<'a, StoredValue>,
    rows: Shared<'a, u32>,
    panels: Shared<'a, u32>,
    places: Shared<'a, [usize; 2]>,
}

impl<'a> Pass<'a> {
    /// Whether the batch is kept as its stored values.
    pub(super) fn is_sparse(&self) -> bool {
        matches!(self.memory.plan.sees, InputStorage::Stored(_))
    }

    /// [`Pass::load`] of a sparse batch.
    pub(super) fn load_stored(
        &self,
        worker: &Worker,
        source: &Source,
        (hash, input): (bool, EncoderInput),
        rows: Rows,
        watch: Option<&ValueCheck>,
    ) {
        // SAFETY: a single item.
        worker.phase(1, |_| unsafe { self.lay_out(source, rows) });
        self.by_rows_then(
            worker,
            |rows| self.isa.run(LoadRows { pass: self, source, hash, input, rows, watch }),
            // SAFETY: all rows are there, and the others wait.
            || unsafe { self.sort() },
        );
    }

    /// Notes where the batch's rows are in the source, and will be here.
    ///
    /// # Safety
    /// Nobody else uses the batch meanwhile.
    unsafe fn lay_out(&self, source: &Source, rows: Rows) {
        let stored = self.memory.stored;
        let csr = source.csr().expect("a sparse batch is of a sparse matrix");
        // SAFETY: the caller's promise.
        let (starts, places) =
            unsafe { (stored.rows.write(0..self.rows + 1), stored.places.write(0..self.rows)) };
        let (mut end, mut from) = (0, [0; ROW_BLOCK]);
        for (block, places) in places.chunks_mut(ROW_BLOCK).enumerate() {
            let from = &mut from[..places.len()];
            rows.fill(self.isa, block * ROW_BLOCK, from);
            for (i, (place, &row)) in places.iter_mut().zip(from.iter()).enumerate() {
                let values = csr.row(source.place(row));
                *place = [row, values.start];
                starts[block * ROW_BLOCK + i] = end as u32;
                // Rows that have grown since they were counted are cut.
                end += values.len().min(stored.most - end);
            }
        }
        starts[self.rows] = end as u32;
    }

    /// Hides some of row `r`'s values from the encoder, where it is to see others only: by the noise that a batch with all
    /// its columns has, so that the same ones are hidden.
    #[inline(always)]
    fn mask<S: Simd>(&self, s: S, input: EncoderInput, r: usize, entries: &mut [StoredValue]) {
        let EncoderInput::Corrupted(Corruption::Masking { p }, draw) = input else { return };
        let id = self.row_ids(r..r + 1, 1, draw)[0];
        for entries in entries.chunks_mut(LANES) {
            let cols = entries.iter().map(|entry| entry.at as usize);
            let noise = uniform_at(s, draw.seed(), Stream::Corruption, id, cols);
            for (entry, u) in entries.iter_mut().zip(noise.0) {
                entry.seen = if u < p { 0.0 } else { entry.seen };
            }
        }
    }

    /// Sorts what the rows hold by panel.
    ///
    /// # Safety
    /// As for [`Pass::lay_out`].
    unsafe fn sort(&self) {
        let (stored, panels) = (self.memory.stored, panels_of(self.network.spec.n_features));
        // SAFETY: the caller's promise.
        let (rows, starts) =
            unsafe { (stored.rows.read(0..self.rows + 1), stored.panels.write(0..panels + 2)) };
        let all = 0..rows[self.rows] as usize;
        // SAFETY: as above.
        let (from, to) = unsafe { (stored.by_row.read(all.clone()), stored.by_panel.write(all)) };
        starts.fill(0);
        from.iter().for_each(|entry| starts[entry.panel() + 2] += 1);
        (1..panels + 2).for_each(|i| starts[i] += starts[i - 1]);
        for (r, row) in rows.windows(2).enumerate() {
            for entry in &from[row[0] as usize..row[1] as usize] {
                let next = &mut starts[entry.panel() + 1]; // in the end, where the panel after it starts
                to[*next as usize] =
                    StoredValue { at: (r * WIDTH + entry.lane()) as u32, ..*entry };
                *next += 1;
            }
        }
    }

    /// What a row holds, and how much that is: what the rows after it hold follows.
    fn stored_row(&self, row: usize) -> (&'a [StoredValue], usize) {
        let stored = self.memory.stored;
        // SAFETY: a batch is loaded in earlier phases.
        unsafe {
            let starts = stored.rows.read(0..self.rows + 1);
            let [start, next, end] = [row, row + 1, self.rows].map(|r| starts[r] as usize);
            (stored.by_row.read(start..end), next - start)
        }
    }

    /// What a panel holds.
    fn stored_panel(&self, panel: usize) -> &'a [StoredValue] {
        let stored = self.memory.stored;
        // SAFETY: as above.
        unsafe {
            let [start, end] = [panel, panel + 1].map(|p| stored.panels.read(p..p + 1)[0] as usize);
            stored.by_panel.read(start..end)
        }
    }

    /// What some draws are to reconstruct, panel `panel` of it. Of a sparse batch rows are put together in `scratch`, and where
    /// an example has several draws they are repeated there.
    ///
    /// # Safety
    /// The batch was loaded in an earlier phase.
    pub(super) unsafe fn targets<'t>(
        &self,
        panel: usize,
        draws: Range<usize>,
        scratch: &'t mut Tile,
    ) -> &'t [Row]
    where
        'a: 't,
    {
        let copies = self.copies();
        let rows = draws.start / copies..(draws.end - 1) / copies + 1;
        let some = &mut scratch[..rows.len()];
        if self.is_sparse() {
            self.put_panel_together(panel, rows.start, some);
        } else {
            // SAFETY: the caller's promise.
            let x = unsafe { self.read(self.memory.plan.x, panel, rows.clone()) };
            if copies == 1 {
                return x;
            }
            some.copy_from_slice(x);
        }
        let scratch = &mut scratch[..draws.len()];
        if copies > 1 {
            for (i, draw) in draws.enumerate().rev() {
                scratch[i] = scratch[draw / copies - rows.start]; // which is before it, or itself
            }
        }
        scratch
    }

    /// Rows from `first` on of a panel of a sparse batch, with their zeros.
    fn put_panel_together(&self, panel: usize, first: usize, rows: &mut [Row]) {
        rows.fill(ZERO_ROW);
        let (entries, values) = (self.stored_panel(panel), floats_mut(rows));
        let start = first * WIDTH;
        let first = entries.partition_point(|entry| (entry.at as usize) < start);
        for entry in &entries[first..] {
            match values.get_mut(entry.at as usize - start) {
                Some(x) => *x = entry.target,
                None => break,
            }
        }
    }

    /// The first layer's product, as [`Pass::product`] makes the others: each example gathers the rows of W that its
    /// values are multiplied with, of several panels at once.
    pub(super) fn gather_product(
        &self,
        worker: &Worker,
        parameters: &[Row],
        mut epilogue: impl FnMut(ProductTile, &Row, &[Row]),
    ) {
        let layer = &self.network.layers[0];
        let panels = panels_of(layer.outputs);
        let groups = panels.div_ceil(TOGETHER);
        let grid = Grid::new(self.rows.div_ceil(TILE), groups, worker.workers());
        let mut sums = [[ZERO_ROW; TILE]; TOGETHER];
        worker.phase(grid.items(), |item| {
            let (group, tiles) = grid.item(item);
            let group = split(panels, groups, group);
            for tile in tiles {
                let rows = tile * TILE..self.rows.min((tile + 1) * TILE);
                self.gather_rows(layer, parameters, group.clone(), rows.clone(), &mut sums);
                for (panel, sums) in group.clone().zip(&mut sums) {
                    let (rows, vectors) = (rows.clone(), vectors_of(layer.outputs, panel));
                    let products = &mut sums[..rows.len()];
                    let finished = ProductTile { panel, rows, vectors, products };
                    epilogue(finished, &parameters[layer.bias(panel)], parameters);
                }
            }
        });
    }

    /// The products of some rows with a group of panels.
    fn gather_rows(
        &self,
        layer: &Dense,
        parameters: &[Row],
        group: Range<usize>,
        rows: Range<usize>,
        sums: &mut [[Row; TILE]; TOGETHER],
    ) {
        let weights = |p| &parameters[layer.weights(group.start + p)];
        for (i, r) in rows.enumerate() {
            let (entries, count) = self.stored_row(r);
            macro_rules! gather {
                ($P:literal) => {{
                    let weights: [_; $P] = std::array::from_fn(weights);
                    let products = self.isa.run(GatherRow { entries, count, weights });
                    products.into_iter().zip(&mut *sums).for_each(|(row, sums)| sums[i] = row);
                }};
            }
            match group.len() {
                1 => gather!(1),
                2 => gather!(2),
                3 => gather!(3),
                _ => gather!(4),
            }
        }
    }

    /// The gradient of a 32 x 32 block of the first layer's weights: that of columns of panel `block`, with the panel `dy`
    /// of the gradient above.
    pub(super) fn gather_gradient(&self, block: usize, dy: &[Row], out: &mut ProductBlock) {
        self.isa.run(ScatterGradient { entries: self.stored_panel(block), dy, out });
    }
}

/// A row's values times the rows of W in `P` panels: sums over its columns, ascending.
struct GatherRow<'a, const P: usize> {
    /// The row's, and those of the rows after it.
    entries: &'a [StoredValue],
    /// How many are the row's.
    count: usize,
    /// A panel's rows of W each.
    weights: [&'a [Row]; P],
}

impl<const P: usize> Op for GatherRow<'_, P> {
    type Output = [Row; P];
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> [Row; P] {
        let GatherRow { entries, count, weights } = self;
        let mut sums = [[s.zero(); 2]; P];
        for (n, entry) in entries[..count].iter().enumerate() {
            if let Some(later) = entries.get(n + AHEAD) {
                for weights in weights {
                    let row = weights.as_ptr().wrapping_add(later.at as usize).cast::<u8>();
                    prefetch(row);
                    prefetch(row.wrapping_add(LINE));
                }
            }
            let x = s.splat(entry.seen);
            for p in 0..P {
                let row = &weights[p][entry.at as usize];
                for v in 0..2 {
                    sums[p][v] = s.fma(x, s.load(&row[v]), sums[p][v]);
                }
            }
        }
        let mut out = [ZERO_ROW; P];
        for (out, sums) in out.iter_mut().zip(sums) {
            out.iter_mut().zip(sums).for_each(|(out, sum)| s.store(sum, out));
        }
        out
    }
}

/// A panel's values times the rows of the gradient above: sums over the batch, rows ascending.
struct ScatterGradient<'a> {
    entries: &'a [StoredValue],
    dy: &'a [Row],
    out: &'a mut ProductBlock,
}

impl Op for ScatterGradient<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let ScatterGradient { entries, dy, out } = self;
        out[..WIDTH].fill(ZERO_ROW);
        for entry in entries {
            let (x, dy, to) = (s.splat(entry.seen), &dy[entry.panel()], &mut out[entry.lane()]);
            for (to, dy) in to.iter_mut().zip(dy) {
                s.store(s.fma(x, s.load(dy), s.load(to)), to);
            }
        }
    }
}

/// Takes what some rows hold from the source, notes their hashes, and shows them to a watch.
struct LoadRows<'a> {
    pass: &'a Pass<'a>,
    source: &'a Source<'a>,
    hash: bool,
    input: EncoderInput<'a>,
    rows: Range<usize>,
    watch: Option<&'a ValueCheck>,
}

impl Op for LoadRows<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let LoadRows { pass, source, hash, input, rows, watch } = self;
        let (stored, spec) = (pass.memory.stored, &pass.network.spec);
        let csr = source.csr().expect("a sparse batch is of a sparse matrix");
        let mut seen = watch.map(|watch| watch.begin(s));
        // SAFETY: both are from the phase before.
        let (starts, places) =
            unsafe { (stored.rows.read(0..pass.rows + 1), stored.places.read(rows.clone())) };
        let part = |r: usize| starts[r] as usize..starts[r + 1] as usize;
        let ask = |r: usize, [_, first]: [usize; 2]| csr.ask(first..first + part(r).len());
        rows.clone().zip(places).for_each(|(r, &place)| ask(r, place));
        for (r, &[from, first]) in rows.zip(places) {
            // SAFETY: row r is the calling block's.
            let entries = unsafe { stored.by_row.write(part(r)) };
            for (n, entry) in (first..).zip(entries.iter_mut()) {
                let (at, x) = (csr.col(n) as u32, csr.value(n));
                *entry = StoredValue { at, target: x, seen: x };
            }
            if let Some(binarize) = source.binarize() {
                for entries in panels_mut(entries) {
                    let mut row = put_together(entries);
                    binarize.apply(pass.isa, from, entries[0].panel(), &mut row);
                    let one = |entry: &StoredValue| floats(&row)[entry.lane()];
                    entries.iter_mut().for_each(|entry| entry.target = one(entry));
                    entries.iter_mut().for_each(|entry| entry.seen = entry.target);
                }
            }
            if let Some(seen) = &mut seen {
                for entries in entries.chunks(WIDTH) {
                    seen.look(s, &side_by_side(entries));
                }
                seen.end_row(from);
            }
            if let Some(transform) = spec.input_transform {
                let mut sum = 0.0;
                if transform.divides() {
                    for entries in panels_mut(entries) {
                        sum += transform.weigh(s, &put_together(entries));
                    }
                }
                // What becomes of a value does not depend on its column: any 32 at a time.
                let norm = transform.norm(sum);
                for entries in entries.chunks_mut(WIDTH) {
                    let mut row = side_by_side(entries);
                    transform.apply(s, norm, &mut row);
                    entries.iter_mut().zip(floats(&row)).for_each(|(entry, x)| entry.seen = *x);
                }
            }
            if hash {
                let (mut content, mut next) = (ContentHash::new(s), 0);
                for entries in panels_mut(entries) {
                    for _ in next..entries[0].panel() {
                        content.update(s, &ZERO_ROW);
                    }
                    content.update(s, &put_together(entries));
                    next = entries[0].panel() + 1;
                }
                for _ in next..panels_of(spec.n_features) {
                    content.update(s, &ZERO_ROW);
                }
                // SAFETY: row r is the calling block's.
                unsafe { pass.memory.hashes.write(r..r + 1)[0] = content.finish(s) };
            }
            pass.mask(s, input, r, entries);
        }
        if let Some(seen) = seen {
            seen.end(s);
        }
    }
}

/// What a row holds in each panel in which it holds something.
#[inline(always)]
fn panels_mut(entries: &mut [StoredValue]) -> impl Iterator<Item = &mut [StoredValue]> {
    entries.chunk_by_mut(|a, b| a.panel() == b.panel())
}

/// Up to 32 targets of any columns.
#[inline(always)]
fn side_by_side(entries: &[StoredValue]) -> Row {
    let mut row = ZERO_ROW;
    let values = floats_mut(std::slice::from_mut(&mut row));
    values.iter_mut().zip(entries).for_each(|(x, entry)| *x = entry.target);
    row
}

/// The targets of one panel, each in its lane.
#[inline(always)]
fn put_together(entries: &[StoredValue]) -> Row {
    let mut row = ZERO_ROW;
    let values = floats_mut(std::slice::from_mut(&mut row));
    entries.iter().for_each(|entry| values[entry.lane()] = entry.target);
    row
}
