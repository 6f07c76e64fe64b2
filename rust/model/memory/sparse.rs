//! The memory of a sparse batch: the stored values, sorted by row for the first layer's product, and by panel of 32
//! columns (rows ascending) for the gradient of its weights and for the likelihood. Sums have the terms and the order
//! of a dense batch without the products with zero, so they have the same bits (see [`crate::simd::NonzeroIndices`]).
#![allow(unsafe_code)]

use super::view::BatchView;
use crate::error::{Result, filled};
use crate::matrix::Shared;
use crate::model::batch::InputStorage;
use crate::simd::{Row, Tile, WIDTH, ZERO_ROW, floats_mut};
use std::ops::Range;

/// A stored value of a sparse batch.
#[derive(Clone, Copy, Default)]
pub struct StoredValue {
    /// Sorted by row: the column. Sorted by panel: 32 row + lane.
    pub at: u32,
    /// The target of the reconstruction.
    pub target: f32,
    /// The encoder's input: the target after transform and corruption.
    pub input: f32,
}

impl StoredValue {
    /// The panel of its column if values are sorted by row; the row if they are sorted by panel.
    pub fn panel(&self) -> usize {
        self.at as usize / WIDTH
    }

    /// Its lane.
    pub fn lane(&self) -> usize {
        self.at as usize % WIDTH
    }
}

/// The memory of a sparse batch.
pub struct SparseBatch {
    by_row: Vec<StoredValue>,
    by_panel: Vec<StoredValue>,
    /// The start of each row in `by_row`, and the end of the last row.
    rows: Vec<u32>,
    /// The start of each panel in `by_panel`, and the end of the last panel; one more entry is used while sorting.
    panels: Vec<u32>,
    /// For each row, its row in the source and the position of its first value there.
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

    /// No memory, for dense batches.
    pub fn none() -> SparseBatch {
        let (by_row, by_panel) = (Vec::new(), Vec::new());
        SparseBatch { by_row, by_panel, rows: Vec::new(), panels: Vec::new(), places: Vec::new() }
    }

    /// The buffers, for sharing among workers.
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

/// The buffers of a sparse batch, shared by the workers of a team.
#[derive(Clone, Copy)]
pub struct SharedSparseBatch<'a> {
    /// The capacity: the most values of a batch.
    pub most: usize,
    /// The values, sorted by row.
    pub by_row: Shared<'a, StoredValue>,
    /// The values, sorted by panel.
    pub by_panel: Shared<'a, StoredValue>,
    /// The start of each row in `by_row`, and the end of the last row.
    pub rows: Shared<'a, u32>,
    /// The start of each panel in `by_panel`, and the end of the last panel; one more entry is used while sorting.
    pub panels: Shared<'a, u32>,
    /// For each row, its row in the source and the position of its first value there.
    pub places: Shared<'a, [usize; 2]>,
}

impl<'a> BatchView<'a> {
    /// Whether the batch is sparse.
    pub(in crate::model) fn is_sparse(&self) -> bool {
        matches!(self.memory.plan.storage, InputStorage::Sparse(_))
    }

    /// The values of a row and of all rows after it, and the number of the row's own values.
    pub(in crate::model) fn stored_row(&self, row: usize) -> (&'a [StoredValue], usize) {
        let stored = self.memory.sparse;
        // SAFETY: a batch is loaded in earlier phases.
        unsafe {
            let starts = stored.rows.read(0..self.rows + 1);
            let [start, next, end] = [row, row + 1, self.rows].map(|r| starts[r] as usize);
            (stored.by_row.read(start..end), next - start)
        }
    }

    /// The values of a panel.
    pub(in crate::model) fn stored_panel(&self, panel: usize) -> &'a [StoredValue] {
        let stored = self.memory.sparse;
        // SAFETY: as above.
        unsafe {
            let [start, end] = [panel, panel + 1].map(|p| stored.panels.read(p..p + 1)[0] as usize);
            stored.by_panel.read(start..end)
        }
    }

    /// Panel `panel` of the targets of `draws`, a row for each draw. Rows of a sparse batch are expanded in `scratch`,
    /// and rows of an example with several draws are repeated there.
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
        let distinct = &mut scratch[..rows.len()];
        if self.is_sparse() {
            self.expand_panel(panel, rows.start, distinct);
        } else {
            // SAFETY: the caller's promise.
            let x = unsafe { self.read(self.memory.plan.x, panel, rows.clone()) };
            if copies == 1 {
                return x;
            }
            distinct.copy_from_slice(x);
        }
        let scratch = &mut scratch[..draws.len()];
        if copies > 1 {
            for (i, draw) in draws.enumerate().rev() {
                scratch[i] = scratch[draw / copies - rows.start]; // descending: the source index is never larger
            }
        }
        scratch
    }

    /// Expands rows from `first` on of a panel of a sparse batch to dense rows.
    fn expand_panel(&self, panel: usize, first: usize, rows: &mut [Row]) {
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
