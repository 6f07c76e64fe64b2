//! Loading a sparse batch: stored values in order of rows, then sorted by panel.
#![allow(unsafe_code)]

use super::load::hash_conditions;
use crate::data::Source;
use crate::data::check::ValueCheck;
use crate::data::corruption::Corruption;
use crate::matrix::panels_of;
use crate::model::batch::{EncoderInput, Rows};
use crate::model::memory::{BatchView, ROW_BLOCK, StoredValue};
use crate::random::{ContentHash, Stream, uniform_at};
use crate::simd::{LANES, Op, Row, Simd, WIDTH, ZERO_ROW, floats, floats_mut};
use crate::threads::Worker;
use std::ops::Range;

impl<'a> BatchView<'a> {
    /// [`BatchView::load`] of a sparse batch.
    pub(in crate::model) fn load_stored(
        &self,
        worker: &Worker,
        source: &Source,
        (hash, input): (bool, EncoderInput),
        rows: Rows,
        watch: Option<&ValueCheck>,
    ) {
        // SAFETY: the phase has a single item.
        worker.phase(1, |_| unsafe { self.lay_out(source, rows) });
        self.by_rows_then(
            worker,
            |rows| {
                // SAFETY: the previous phase wrote the places.
                let places = unsafe { self.memory.sparse.places.read(rows.clone()) };
                self.load_weights(source, places.iter().map(|&[row, _]| row), rows.clone());
                self.isa.run(LoadRows { pass: self, source, hash, input, rows, watch });
            },
            // SAFETY: all rows are loaded, and the other workers wait.
            &mut || unsafe { self.sort() },
        );
    }

    /// Records the position of each row in the source and in the batch.
    ///
    /// # Safety
    /// No other thread uses the batch during the call.
    unsafe fn lay_out(&self, source: &Source, rows: Rows) {
        let stored = self.memory.sparse;
        let csr = source.csr().expect("a sparse batch is of a sparse matrix");
        // SAFETY: the caller guarantees exclusive use.
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
                // Truncate rows that grew after the count.
                let conditions = self.nonzero_conditions(source, row, &mut |_, _| ());
                end += (values.len() + conditions).min(stored.most - end);
            }
        }
        starts[self.rows] = end as u32;
    }

    /// The number of conditions of row `from` that are not zero; `take` receives their columns in y and their values.
    fn nonzero_conditions(
        &self,
        source: &Source,
        from: usize,
        take: &mut dyn FnMut(usize, f32),
    ) -> usize {
        let mut count = 0;
        self.each_condition(source, from, &mut |first, values| {
            for (col, &value) in (first..).zip(values).filter(|(_, value)| **value != 0.0) {
                take(col, value);
                count += 1;
            }
        });
        count
    }

    /// Stores the conditions of row `from` in the last values of its row in the batch, behind those of x, and returns the
    /// values of x.
    fn store_conditions<'e>(
        &self,
        source: &Source,
        from: usize,
        row: &'e mut [StoredValue],
    ) -> &'e mut [StoredValue] {
        if self.spec.conditions == 0 {
            return row;
        }
        let count = self.nonzero_conditions(source, from, &mut |_, _| ()).min(row.len());
        let (values, conditions) = row.split_at_mut(row.len() - count);
        let (first, mut places) = (self.spec.conditions_at(), conditions.iter_mut());
        self.nonzero_conditions(source, from, &mut |col, value| {
            // An array that another thread changes may have more of them now.
            if let Some(place) = places.next() {
                *place = StoredValue { at: (first + col) as u32, target: 0.0, input: value };
            }
        });
        values
    }

    /// Applies masking noise to the encoder's input of row `r`. Uses the noise of a dense batch, so that sparse and
    /// dense data have the same masked values.
    #[inline(always)]
    fn mask<S: Simd>(&self, s: S, input: EncoderInput, r: usize, entries: &mut [StoredValue]) {
        let EncoderInput::Corrupted(Corruption::Masking { p, scale }, draw) = input else { return };
        let id = self.row_ids(r..r + 1, 1, draw)[0];
        for entries in entries.chunks_mut(LANES) {
            let cols = entries.iter().map(|entry| entry.at as usize);
            let noise = uniform_at(s, draw.seed(), Stream::Corruption, id, cols);
            for (entry, u) in entries.iter_mut().zip(noise.0) {
                entry.input = if u < p { 0.0 } else { scale * entry.input };
            }
        }
    }

    /// Sorts the stored values by panel.
    ///
    /// # Safety
    /// As for [`BatchView::lay_out`].
    unsafe fn sort(&self) {
        let (stored, panels) = (self.memory.sparse, panels_of(self.memory.plan.input.cols));
        // SAFETY: the caller guarantees exclusive use.
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
                let next = &mut starts[entry.panel() + 1]; // after the loop: the start of the next panel
                to[*next as usize] =
                    StoredValue { at: (r * WIDTH + entry.lane()) as u32, ..*entry };
                *next += 1;
            }
        }
    }
}

/// Copies stored values of rows from the source, computes the hashes of the rows, and checks the values.
struct LoadRows<'a> {
    pass: &'a BatchView<'a>,
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
        let (stored, spec) = (pass.memory.sparse, &pass.spec);
        let csr = source.csr().expect("a sparse batch is of a sparse matrix");
        let mut seen = watch.map(|watch| watch.begin(s));
        let (support, rounds) = (spec.likelihood.support(), spec.rounds_off(source));
        // SAFETY: the previous phase wrote both.
        let (starts, places) =
            unsafe { (stored.rows.read(0..pass.rows + 1), stored.places.read(rows.clone())) };
        let part = |r: usize| starts[r] as usize..starts[r + 1] as usize;
        let ask = |r: usize, [_, first]: [usize; 2]| csr.prefetch(first..first + part(r).len());
        rows.clone().zip(places).for_each(|(r, &place)| ask(r, place));
        for (r, &[from, first]) in rows.zip(places) {
            // SAFETY: only the calling block uses row r.
            let entries = unsafe { stored.by_row.write(part(r)) };
            let entries = pass.store_conditions(source, from, entries);
            pass.condition(source, &[from], r..r + 1, pass.memory.plan.conditions, 0);
            for (n, entry) in (first..).zip(entries.iter_mut()) {
                let (at, x) = (csr.col(n) as u32, csr.value(n));
                *entry = StoredValue { at, target: x, input: x };
            }
            if let Some(binarize) = source.binarize() {
                for entries in panels_mut(entries) {
                    let mut row = put_together(entries);
                    let number = source.number(from);
                    binarize.apply(pass.isa, number, entries[0].panel(), &mut row);
                    let one = |entry: &StoredValue| floats(&row)[entry.lane()];
                    entries.iter_mut().for_each(|entry| entry.target = one(entry));
                    entries.iter_mut().for_each(|entry| entry.input = entry.target);
                }
            }
            if let Some(seen) = &mut seen {
                for entries in entries.chunks(WIDTH) {
                    seen.look(s, 0, &side_by_side(entries));
                }
                seen.end_row(from);
            }
            if rounds {
                for entries in entries.chunks_mut(WIDTH) {
                    let mut row = side_by_side(entries);
                    support.round_off(s, &mut row);
                    for (entry, x) in entries.iter_mut().zip(floats(&row)) {
                        entry.target = *x;
                        entry.input = *x;
                    }
                }
            }
            if let Some(transform) = spec.input_transform {
                let mut sum = 0.0;
                if transform.divides() {
                    for entries in panels_mut(entries) {
                        sum += transform.norm_term(s, &put_together(entries));
                    }
                }
                // The transform of a value does not depend on its column, so any 32 values form a row.
                let norm = transform.norm(sum);
                for entries in entries.chunks_mut(WIDTH) {
                    let mut row = side_by_side(entries);
                    transform.apply(s, norm, &mut row);
                    entries.iter_mut().zip(floats(&row)).for_each(|(entry, x)| entry.input = *x);
                }
            }
            if let Some(by) = spec.input_standardize() {
                for entry in &mut *entries {
                    entry.input *= 1.0 / by.scale(entry.at as usize);
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
                hash_conditions(s, source, from, &mut content);
                // SAFETY: only the calling block uses row r.
                unsafe { pass.memory.hashes.write(r..r + 1)[0] = content.finish(s) };
            }
            pass.mask(s, input, r, entries);
        }
    }
}

/// Splits the stored values of a row by panel; omits empty panels.
#[inline(always)]
fn panels_mut(entries: &mut [StoredValue]) -> impl Iterator<Item = &mut [StoredValue]> {
    entries.chunk_by_mut(|a, b| a.panel() == b.panel())
}

/// The targets of up to 32 stored values, packed regardless of column.
#[inline(always)]
fn side_by_side(entries: &[StoredValue]) -> Row {
    let mut row = ZERO_ROW;
    let values = floats_mut(std::slice::from_mut(&mut row));
    values.iter_mut().zip(entries).for_each(|(x, entry)| *x = entry.target);
    row
}

/// The targets of one panel, each in the lane of its column.
#[inline(always)]
fn put_together(entries: &[StoredValue]) -> Row {
    let mut row = ZERO_ROW;
    let values = floats_mut(std::slice::from_mut(&mut row));
    entries.iter().for_each(|entry| values[entry.lane()] = entry.target);
    row
}
