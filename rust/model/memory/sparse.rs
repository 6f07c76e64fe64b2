//! The memory of a sparse batch: only the values that are stored, by row for the first layer's product, and by panel of 32
//! columns, rows ascending, for its weights' gradient and for the likelihood. The same terms as with all columns in the
//! same order, so the same bits: what is left out are products with zeros (see [`crate::simd::NonzeroIndices`]).
#![allow(unsafe_code)]

use super::view::BatchView;
use crate::error::{Result, filled};
use crate::matrix::Shared;
use crate::model::batch::InputStorage;
use crate::simd::{Row, Tile, WIDTH, ZERO_ROW, floats_mut};
use std::ops::Range;

/// A stored value.
#[derive(Clone, Copy, Default)]
pub struct StoredValue {
    /// By row: its column. By panel: 32 times its row, and its lane.
    pub at: u32,
    /// What is to be reconstructed.
    pub target: f32,
    /// What the encoder reads.
    pub seen: f32,
}

impl StoredValue {
    /// Its panel, of one by row.
    pub fn panel(&self) -> usize {
        self.at as usize / WIDTH
    }

    /// Its lane in the panel.
    pub fn lane(&self) -> usize {
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
    pub fn new(x_panels: usize, rows: usize, most: usize) -> Result<SparseBatch> {
        Ok(SparseBatch {
            by_row: filled(StoredValue::default(), Some(most))?,
            by_panel: filled(StoredValue::default(), Some(most))?,
            rows: filled(0, Some(rows + 1))?,
            panels: filled(0, Some(x_panels + 2))?,
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
    /// The most values.
    pub most: usize,
    /// The values, row after row.
    pub by_row: Shared<'a, StoredValue>,
    /// The values, panel after panel.
    pub by_panel: Shared<'a, StoredValue>,
    /// Where each row starts, and the last one ends.
    pub rows: Shared<'a, u32>,
    /// Where each panel starts, and the last one ends; and one more place to count with.
    pub panels: Shared<'a, u32>,
    /// Each row's place in the source, and that of its first value.
    pub places: Shared<'a, [usize; 2]>,
}

impl<'a> BatchView<'a> {
    /// Whether the batch is kept as its stored values.
    pub(in crate::model) fn is_sparse(&self) -> bool {
        matches!(self.memory.plan.storage, InputStorage::Sparse(_))
    }

    /// What a row holds, and how much that is: what the rows after it hold follows.
    pub(in crate::model) fn stored_row(&self, row: usize) -> (&'a [StoredValue], usize) {
        let stored = self.memory.sparse;
        // SAFETY: a batch is loaded in earlier phases.
        unsafe {
            let starts = stored.rows.read(0..self.rows + 1);
            let [start, next, end] = [row, row + 1, self.rows].map(|r| starts[r] as usize);
            (stored.by_row.read(start..end), next - start)
        }
    }

    /// What a panel holds.
    pub(in crate::model) fn stored_panel(&self, panel: usize) -> &'a [StoredValue] {
        let stored = self.memory.sparse;
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
    pub(in crate::model) unsafe fn targets<'t>(
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
}
