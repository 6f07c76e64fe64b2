//! The batch: from the caller's array into panels.
#![allow(unsafe_code)]

use super::pass::{Pass, ROW_BLOCK};
use super::workspace::Matrix;
use crate::data::Source;
use crate::isa::{Op, Simd, WIDTH};
use crate::matmul::panels_of;
use crate::rng::{ContentHash, Permutation};
use crate::team::Worker;
use crate::watch::Watch;
use std::ops::Range;

/// Which rows of an array make a batch.
#[derive(Clone, Copy)]
pub enum Rows<'a> {
    /// Neighbours, from this row on.
    From(usize),
    /// The places from this one on of a random order.
    Shuffled(&'a Permutation, usize),
}

/// What is taken from the caller's array.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Load {
    /// The batch.
    Data,
    /// The batch, and a hash of each example for the scoring noise.
    DataAndHash,
    /// Codes for the decoder.
    Codes,
}

impl Pass<'_> {
    /// Gathers the batch. `watch`, if given, sees it.
    pub fn load(
        &self,
        worker: &Worker,
        source: &Source,
        hash: bool,
        rows: Rows,
        watch: Option<&Watch>,
    ) {
        let what = if hash { Load::DataAndHash } else { Load::Data };
        if self.rows <= ROW_BLOCK {
            // Few rows are one work item and few lists: they are made at its end, in one meeting instead of two.
            self.gather(worker, source, what, rows, watch, || {
                (0..self.lists()).for_each(|n| self.list(n))
            });
        } else {
            self.gather(worker, source, what, rows, watch, || ());
            worker.phase(self.lists(), |n| self.list(n));
        }
    }

    /// Takes codes from an array, from row `first` on.
    pub fn load_codes(&self, worker: &Worker, source: &Source, first: usize, watch: &Watch) {
        self.gather(worker, source, Load::Codes, Rows::From(first), Some(watch), || ());
    }

    fn gather(
        &self,
        worker: &Worker,
        source: &Source,
        what: Load,
        rows: Rows,
        watch: Option<&Watch>,
        last: impl FnOnce(),
    ) {
        let to = if what == Load::Codes { self.memory.plan.z } else { self.memory.plan.x };
        let block = |block: Range<usize>| {
            let mut from = [0; ROW_BLOCK];
            let from = &mut from[..block.len()];
            match rows {
                Rows::From(first) => {
                    from.iter_mut().zip(first + block.start..).for_each(|(to, r)| *to = r)
                }
                Rows::Shuffled(order, first) => order.fill(self.isa, first + block.start, from),
            }
            self.isa.run(Gather { pass: self, source, what, from, rows: block, to, watch });
        };
        self.by_rows_then(worker, block, last);
    }
}

/// Copies rows `from` of an array to rows `rows` of a matrix in panels, and notes their zeros and hashes.
struct Gather<'a> {
    pass: &'a Pass<'a>,
    source: &'a Source<'a>,
    what: Load,
    from: &'a [usize],
    rows: Range<usize>,
    to: Matrix,
    watch: Option<&'a Watch>,
}

impl Op for Gather<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Gather { pass, source, what, from, rows, to, watch } = self;
        let mut seen = watch.map(|watch| watch.begin(s));
        let panels = panels_of(to.cols);
        // The rows of a shuffled batch come from anywhere in memory: the beginnings of all are asked for first, the
        // rest of each while the row before it is read.
        let ask = |row: usize, col: usize| source.ask(row, col..(col + WIDTH).min(to.cols));
        from.iter().for_each(|&row| ask(row, 0));
        for (i, r) in rows.enumerate() {
            let mut content = ContentHash::new(s);
            let next = from.get(i + 1);
            for panel in 0..panels {
                // SAFETY: row r is the calling block's.
                let row = &mut unsafe { pass.write(to, panel, r..r + 1) }[0];
                source.read_panel(from[i], panel, row);
                if let Some(&next) = next
                    && panel > 0
                {
                    ask(next, panel * WIDTH);
                }
                if let Some(seen) = &mut seen {
                    seen.look(s, row);
                }
                if what == Load::DataAndHash {
                    row.iter().for_each(|lanes| content.update(s, lanes));
                }
                if what != Load::Codes {
                    let mask = s.nonzero(s.load(&row[0])) | s.nonzero(s.load(&row[1])) << 16;
                    // SAFETY: row r is the calling block's.
                    unsafe { pass.mark(panel, r, mask) };
                }
            }
            if let Some(seen) = &mut seen {
                seen.end_row(from[i]);
            }
            if what == Load::DataAndHash {
                // SAFETY: row r is the calling block's.
                unsafe { pass.memory.hashes.write(r..r + 1)[0] = content.finish(s) };
            }
        }
        if let Some(seen) = seen {
            seen.end(s);
        }
    }
}
