//! Loading a batch: copies rows of the caller's array into panels.
#![allow(unsafe_code)]

use super::missing::{ZeroMissing, holes_alike};
use crate::data::Source;
use crate::data::check::ValueCheck;
use crate::data::corruption::Corruption;
use crate::data::input_transform::Transform;
use crate::data::standardize::ToUnits;
use crate::matrix::panels_of;
use crate::model::batch::{EncoderInput, NoiseKey, Rows};
use crate::model::memory::{BatchView, Matrix, ROW_BLOCK};
use crate::model::spec::Missing;
use crate::nn::likelihood::ColumnGroups;
use crate::random::{ContentHash, Fill, Stream};
use crate::simd::{Op, Row, Simd, WIDTH, ZERO_ROW, floats_mut};
use crate::threads::Worker;
use std::ops::Range;

/// The contents of the caller's array.
#[derive(Clone, Copy)]
enum Load<'a> {
    /// Examples. `hash`: compute a hash of each example for the scoring noise. `input`: the source of the encoder's
    /// input.
    Data { hash: bool, input: EncoderInput<'a> },
    /// Codes for the decoder.
    Codes,
}

impl BatchView<'_> {
    /// Loads the batch. `watch` checks its values.
    pub fn load(
        &self,
        worker: &Worker,
        source: &Source,
        (hash, input): (bool, EncoderInput),
        rows: Rows,
        watch: Option<&ValueCheck>,
    ) {
        if self.is_sparse() {
            return self.load_stored(worker, source, (hash, input), rows, watch);
        }
        let what = Load::Data { hash, input };
        if !self.spec.reads_lists() {
            return self.gather(worker, source, what, rows, watch, &mut || ());
        }
        if self.rows <= ROW_BLOCK {
            // A small batch is one work item with few lists. Building them at its end saves a second barrier.
            self.gather(worker, source, what, rows, watch, &mut || {
                (0..self.list_groups()).for_each(|n| self.make_lists(n))
            });
        } else {
            self.gather(worker, source, what, rows, watch, &mut || ());
            worker.phase(self.list_groups(), |n| self.make_lists(n));
        }
    }

    /// Sets the reconstruction target: `copies` rows of each example, from example `first` on.
    pub fn repeat(&self, worker: &Worker, source: &Source, first: usize, copies: usize) {
        self.by_rows(worker, |rows| {
            for r in rows {
                for panel in 0..panels_of(self.memory.plan.x.cols) {
                    // SAFETY: only this block uses row r.
                    let row = &mut unsafe { self.write(self.memory.plan.x, panel, r..r + 1) }[0];
                    source.read_panel(first + r / copies, panel, row);
                }
                if self.spec.rounds_off(source) {
                    self.isa.run(RoundOff { pass: self, row: r });
                }
            }
        });
    }

    /// Loads codes from an array, from row `first` on.
    pub fn load_codes(&self, worker: &Worker, source: &Source, first: usize, watch: &ValueCheck) {
        self.gather(worker, source, Load::Codes, Rows::From(first), Some(watch), &mut || ());
    }

    fn gather(
        &self,
        worker: &Worker,
        source: &Source,
        what: Load,
        rows: Rows,
        watch: Option<&ValueCheck>,
        last: &mut dyn FnMut(),
    ) {
        let to = match what {
            Load::Codes => self.memory.plan.code.value,
            Load::Data { .. } => self.memory.plan.x,
        };
        let block = |block: Range<usize>| {
            let mut from = [0; ROW_BLOCK];
            let from = &mut from[..block.len()];
            rows.fill(self.isa, block.start, from);
            self.load_weights(source, from.iter().copied(), block.clone());
            self.isa.run(Gather { pass: self, source, what, from, rows: block.clone(), to, watch });
            match what {
                Load::Data { input, .. } => {
                    self.see(input, block.clone(), (source, from));
                    let input = self.memory.plan.input;
                    for panel in 0..panels_of(input.cols) {
                        // SAFETY: only this block uses these rows.
                        unsafe { self.round(input, panel, block.clone()) };
                    }
                }
                Load::Codes => self.condition(source, from, block, to, self.spec.latent_dim),
            }
        };
        self.by_rows_then(worker, block, last);
    }
}

impl<'a> BatchView<'a> {
    /// Stores the weights and sizes of rows `from` of an array as those of the calling block's examples, if the pass has some,
    /// and their places and factors of the KL, if it has a composite prior.
    pub(in crate::model) fn load_weights(
        &self,
        source: &Source,
        from: impl Iterator<Item = usize> + Clone,
        rows: Range<usize>,
    ) {
        if self.spec.has_sizes() {
            // SAFETY: only the calling block uses these rows.
            let to = unsafe { self.memory.sizes.write(rows.clone()) };
            to.iter_mut().zip(from.clone()).for_each(|(to, row)| *to = self.size(source, row));
        }
        if self.weighted {
            // SAFETY: as above.
            let to = unsafe { self.memory.example_weights.write(rows.clone()) };
            to.iter_mut().zip(from.clone()).for_each(|(to, row)| *to = source.weight(row));
        }
        if let Some(prior) = self.prior {
            // SAFETY: as above.
            let (places, factors) = unsafe {
                (self.memory.places.write(rows.clone()), self.memory.kl_factors.write(rows))
            };
            for ((place, factor), row) in places.iter_mut().zip(factors).zip(from) {
                *place = source.place(row);
                *factor = prior.factors[*place];
            }
        }
    }

    /// The size of a row in counts; 1 if it has none.
    fn size(&self, source: &Source, row: usize) -> f32 {
        let (y, place) = (source.conditions(), self.spec.conditions);
        let Some(y) = y.filter(|y| y.cols() > place) else { return 1.0 };
        let mut size = [0.0];
        y.read(row, place, &mut size);
        size[0] * self.spec.size_unit
    }

    /// Computes the encoder's input of a block's loaded rows, if it differs from the batch.
    fn see(&self, input: EncoderInput, rows: Range<usize>, (source, from): (&Source, &[usize])) {
        let spec = self.spec;
        match input {
            EncoderInput::Batch if spec.encodes_as_is() => return,
            EncoderInput::Given(source, first) => {
                self.fill_input(rows.clone(), |panel, r, to| {
                    source.read_panel(first + r, panel, to)
                });
            }
            EncoderInput::Batch | EncoderInput::Corrupted(..) => {
                self.fill_input(rows.clone(), |panel, r, to| {
                    // SAFETY: the calling block has loaded the row.
                    *to = unsafe { self.read(self.memory.plan.x, panel, r..r + 1) }[0];
                });
            }
        }
        let given = match input {
            EncoderInput::Given(source, first) => Some((source, first)),
            _ => None,
        };
        let hide = |indicate| {
            if spec.missing.is_masked() {
                self.isa.run(ZeroMissing { pass: self, rows: rows.clone(), given, indicate });
            }
        };
        if let Some(transform) = spec.input_transform {
            hide(false); // the norm covers observed values only
            self.isa.run(TransformRows { pass: self, transform, rows: rows.clone() });
        }
        if let Some(groups) = spec.likelihood.groups().filter(|groups| groups.transforms) {
            self.isa.run(EncodeColumns { pass: self, groups, rows: rows.clone() });
        }
        // Noise is in the units of x, but a masked value becomes the mean, as a missing value does.
        let masks = matches!(input, EncoderInput::Corrupted(Corruption::Masking { .. }, _));
        if masks {
            self.standardize(rows.clone());
        }
        if let EncoderInput::Corrupted(corruption, draw) = input {
            self.corrupt(corruption, draw, rows.clone());
        }
        if !masks {
            self.standardize(rows.clone());
        }
        hide(spec.missing == Missing::Indicated); // again: transform and noise change zeros
        self.condition(source, from, rows.clone(), self.memory.plan.input, spec.conditions_at());
        if spec.reads_lists() {
            self.isa.run(MarkNonzero { pass: self, rows });
        }
    }

    /// Writes the conditions of rows `from` of `source` to a block's rows of a matrix, from column `col` on.
    pub(in crate::model) fn condition(
        &self,
        source: &Source,
        from: &[usize],
        rows: Range<usize>,
        to: Matrix,
        col: usize,
    ) {
        for (r, &from) in rows.zip(from) {
            self.each_condition(source, from, &mut |first, values| {
                // SAFETY: only the calling block uses row r.
                unsafe { self.put(to, r, col + first, values) };
            });
        }
    }

    /// Passes the conditions of row `from` of `source`, standardised, to `take` in parts: the first column of a part, and
    /// its values.
    pub(in crate::model) fn each_condition(
        &self,
        source: &Source,
        from: usize,
        take: &mut dyn FnMut(usize, &[f32]),
    ) {
        let Some(y) = source.conditions() else { return };
        let conditions = self.spec.conditions;
        let mut values = [0.0; WIDTH];
        for first in (0..conditions).step_by(WIDTH) {
            let part = &mut values[..(conditions - first).min(WIDTH)];
            y.read(from, first, part);
            if let Some(by) = &self.spec.standardize_y {
                for (value, col) in part.iter_mut().zip(first..) {
                    *value = (*value - by.shift(col)) / by.scale(col);
                }
            }
            take(first, part);
        }
    }

    /// Row `r` of panel `panel` of the encoder's input.
    ///
    /// # Safety
    /// As for [`BatchView::write`].
    pub(in crate::model) unsafe fn input_row(&self, panel: usize, r: usize) -> &'a mut Row {
        // SAFETY: the caller meets the same condition.
        let rows = unsafe { self.write(self.memory.plan.input, panel, r..r + 1) };
        &mut rows[0]
    }

    fn fill_input(&self, rows: Range<usize>, fill: impl Fn(usize, usize, &mut Row)) {
        let panels = panels_of(self.memory.plan.x.cols);
        for panel in 0..panels {
            // SAFETY: only the calling block uses these rows.
            rows.clone().for_each(|r| fill(panel, r, unsafe { self.input_row(panel, r) }));
        }
        for panel in panels..panels_of(self.memory.plan.input.cols) {
            // SAFETY: as above. These panels hold indicators and conditions only; their padding must be zero.
            rows.clone().for_each(|r| *unsafe { self.input_row(panel, r) } = ZERO_ROW);
        }
    }

    /// Standardises a block's rows of the encoder's input.
    fn standardize(&self, rows: Range<usize>) {
        let (Some(by), cols) = (self.spec.input_standardize(), self.memory.plan.x.cols) else {
            return;
        };
        for panel in 0..panels_of(cols) {
            let by = by.rows(panel * WIDTH..((panel + 1) * WIDTH).min(cols));
            for r in rows.clone() {
                // SAFETY: only the calling block uses the row.
                let row = unsafe { self.input_row(panel, r) };
                self.isa.run(ToUnits { by: &by, rows: std::slice::from_mut(row) });
            }
        }
    }

    /// Adds noise to a block's rows of the encoder's input.
    fn corrupt(&self, corruption: Corruption, draw: NoiseKey, rows: Range<usize>) {
        let cols = self.memory.plan.x.cols; // without the conditions
        Fill {
            seed: draw.seed(),
            stream: Stream::Corruption as u8,
            distribution: corruption.distribution(),
            rows: &self.row_ids(rows.clone(), 1, draw)[..rows.len()],
            cols,
            put: |i: usize, j: usize, noise: [f32; 4]| {
                // SAFETY: only the calling block uses the row.
                let row = unsafe { self.input_row(j / WIDTH, rows.start + i) };
                let (columns, _) = floats_mut(std::slice::from_mut(row)).as_chunks_mut::<4>();
                let four = &mut columns[j % WIDTH / 4];
                *four = corruption.apply(*four, noise);
                four[(cols - j).min(4)..].fill(0.0); // padding stays zero
            },
        }
        .run(self.isa);
    }
}

/// Moves rounding errors of a row of the target to the end of the likelihood's range.
struct RoundOff<'a> {
    pass: &'a BatchView<'a>,
    row: usize,
}

impl Op for RoundOff<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let RoundOff { pass, row } = self;
        let (x, support) = (pass.memory.plan.x, pass.spec.likelihood.support());
        for panel in 0..panels_of(x.cols) {
            // SAFETY: only the calling block uses the row.
            support.round_off(s, &mut unsafe { pass.write(x, panel, row..row + 1) }[0]);
        }
    }
}

/// Transforms rows of the encoder's input.
struct TransformRows<'a> {
    pass: &'a BatchView<'a>,
    transform: Transform,
    rows: Range<usize>,
}

impl Op for TransformRows<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let TransformRows { pass, transform, rows } = self;
        let panels = panels_of(pass.memory.plan.x.cols); // without the conditions
        for r in rows {
            // SAFETY: only the calling block uses row r.
            let columns = |panel| unsafe { pass.input_row(panel, r) };
            let mut sum = 0.0;
            for panel in 0..panels {
                sum += transform.norm_term(s, columns(panel));
            }
            let norm = transform.norm(sum);
            for panel in 0..panels {
                transform.apply(s, norm, columns(panel));
            }
        }
    }
}

/// Transforms the columns of rows of the encoder's input, each as its group does.
struct EncodeColumns<'a> {
    pass: &'a BatchView<'a>,
    groups: &'a ColumnGroups,
    rows: Range<usize>,
}

impl Op for EncodeColumns<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (panel, groups) in self.groups.panels.iter().enumerate() {
            if !groups.transforms {
                continue;
            }
            for r in self.rows.clone() {
                // SAFETY: only the calling block uses row r.
                groups.encode(s, unsafe { self.pass.input_row(panel, r) });
            }
        }
    }
}

/// Records the nonzero columns of rows of the encoder's input.
struct MarkNonzero<'a> {
    pass: &'a BatchView<'a>,
    rows: Range<usize>,
}

impl Op for MarkNonzero<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for panel in 0..panels_of(self.pass.memory.plan.input.cols) {
            for r in self.rows.clone() {
                // SAFETY: only the calling block uses row r.
                unsafe { self.pass.mark(panel, r, nonzero(s, self.pass.input_row(panel, r))) };
            }
        }
    }
}

/// Adds the conditions of a row to the hash of its content.
#[inline(always)]
pub(in crate::model) fn hash_conditions<S: Simd>(
    s: S,
    source: &Source,
    from: usize,
    content: &mut ContentHash<S>,
) {
    let Some(y) = source.conditions() else { return };
    let mut row = ZERO_ROW;
    for panel in 0..panels_of(y.cols()) {
        y.read_panel(from, panel, &mut row);
        content.update(s, &row);
    }
}

/// The nonzero columns of a panel's row, one bit each.
#[inline(always)]
fn nonzero<S: Simd>(s: S, row: &Row) -> u32 {
    s.nonzero(s.load(&row[0])) | s.nonzero(s.load(&row[1])) << 16
}

/// Copies rows `from` of an array to rows `rows` of a matrix in panels, and records their nonzero columns and hashes.
struct Gather<'a> {
    pass: &'a BatchView<'a>,
    source: &'a Source<'a>,
    what: Load<'a>,
    from: &'a [usize],
    rows: Range<usize>,
    to: Matrix,
    watch: Option<&'a ValueCheck>,
}

impl Op for Gather<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Gather { pass, source, what, from, rows, to, watch } = self;
        let mut seen = watch.map(|watch| watch.begin(s));
        let spec = &pass.spec;
        let (cols, hash, marks) = match what {
            Load::Codes => (spec.latent_dim, false, false),
            Load::Data { hash, input } => (
                spec.n_features,
                hash,
                matches!(input, EncoderInput::Batch) && spec.encodes_as_is() && spec.reads_lists(),
            ),
        };
        let (panels, masked) = (panels_of(cols), spec.missing.is_masked());
        let support = spec.likelihood.support();
        let rounds = matches!(what, Load::Data { .. }) && spec.rounds_off(source);
        // The rows of a shuffled batch are scattered in memory. Prefetch the start of every row first, and the rest of
        // each row during the copy of the previous one.
        let ask = |row: usize, col: usize| source.prefetch(row, col..(col + WIDTH).min(cols));
        from.iter().for_each(|&row| ask(row, 0));
        for (i, r) in rows.enumerate() {
            let (mut content, mut place) = (ContentHash::new(s), 0);
            let next = from.get(i + 1);
            for panel in 0..panels {
                // SAFETY: only the calling block uses row r.
                let row = &mut unsafe { pass.write(to, panel, r..r + 1) }[0];
                source.read_next_panel(from[i], panel, row, &mut place);
                if let Some(binarize) = source.binarize() {
                    binarize.apply(pass.isa, source.number(from[i]), panel, row);
                }
                if let Some(&next) = next
                    && panel > 0
                {
                    ask(next, panel * WIDTH);
                }
                if let Some(seen) = &mut seen {
                    seen.look(s, panel, row);
                }
                if rounds {
                    support.round_off(s, row);
                }
                if hash && masked {
                    content.update(s, &holes_alike(s, row));
                } else if hash {
                    content.update(s, row);
                }
                if marks {
                    // SAFETY: only the calling block uses row r.
                    unsafe { pass.mark(panel, r, nonzero(s, row)) };
                }
            }
            if let Some(seen) = &mut seen {
                seen.end_row(from[i]);
            }
            if hash {
                hash_conditions(s, source, from[i], &mut content);
                // SAFETY: only the calling block uses row r.
                unsafe { pass.memory.hashes.write(r..r + 1)[0] = content.finish(s) };
            }
        }
    }
}
