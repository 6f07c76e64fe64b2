//! Exact skipping of zeros in dense batches: the first layer's products skip the zeros of the input, such as the many
//! black pixels of an image of a digit.
//!
//! Loading a batch stores a mask of the nonzero columns of each row of each panel. Two kinds of lists are made from the
//! masks: for the forward product, the columns in which a row of a tile is not zero; for the weight gradient, the rows
//! in which a column of a tile is not zero. Where products multiply [words](crate::simd::ToWords), lists have the indices of words (of
//! two columns, or of two rows) of which one half is not zero.
#![allow(unsafe_code)]

use super::view::BatchView;
use crate::error::{Result, filled};
use crate::matrix::{Shared, panels_of, tile_rows};
use crate::model::batch::PassKind;
use crate::simd::{Isa, NonzeroIndices, WIDTH, word_rows, words_of};
use std::ops::Range;

/// The length of a list that would contain nearly all indices: products then loop over all, which is faster.
const ALL: u32 = u32::MAX;

/// Masks and lists of a batch.
pub struct Zeros {
    masks: Vec<u32>,
    columns: Vec<u32>,
    rows: Vec<u32>,
}

impl Zeros {
    /// Memory for batches of up to `rows` rows and `inputs` columns. A list is its length followed by its entries.
    pub fn new(inputs: usize, rows: usize, kind: PassKind, isa: Isa) -> Result<Zeros> {
        let (panels, most) = (panels_of(inputs), isa.tile_rows());
        let tiles = if kind == PassKind::Train { panels * WIDTH.div_ceil(most) } else { 0 };
        Ok(Zeros {
            masks: filled(0, Some(panels * rows))?,
            columns: filled(0, Some(rows.div_ceil(most) * (inputs + 1)))?,
            rows: filled(0, Some(tiles * (rows + 1)))?,
        })
    }

    /// No memory, for sparse batches and convolutional encoders.
    pub fn none() -> Zeros {
        Zeros { masks: Vec::new(), columns: Vec::new(), rows: Vec::new() }
    }

    /// The buffers, for sharing among workers.
    pub fn share(&mut self) -> SharedZeros<'_> {
        SharedZeros {
            masks: Shared::new(&mut self.masks),
            columns: Shared::new(&mut self.columns),
            rows: Shared::new(&mut self.rows),
        }
    }
}

/// Masks and lists, shared by the workers of a team.
#[derive(Clone, Copy)]
pub struct SharedZeros<'a> {
    masks: Shared<'a, u32>,
    columns: Shared<'a, u32>,
    rows: Shared<'a, u32>,
}

/// Makes a list of `count` of the `n` indices, unless that is nearly all of them. `write` fills in the entries.
fn make_list(list: &mut [u32], n: usize, count: usize, write: impl FnOnce(&mut [u32])) {
    let (length, entries) = list.split_first_mut().expect("a list has a length");
    if 16 * count > 15 * n {
        *length = ALL;
    } else {
        *length = count as u32;
        write(entries);
    }
}

/// Makes a list of those of the `n` indices that are kept.
fn list_kept(list: &mut [u32], n: usize, keep: impl Fn(usize) -> bool) {
    let count = (0..n).filter(|&r| keep(r)).count();
    make_list(list, n, count, |entries| {
        let mut next = 0;
        for r in 0..n {
            entries[next] = r as u32; // overwritten unless the row is kept: avoids a branch
            next += usize::from(keep(r));
        }
    });
}

/// The positions of the set bits of a word, ascending.
fn set_bits(mut word: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let place = word.trailing_zeros() as usize;
        word &= word.wrapping_sub(1);
        (place < 32).then_some(place)
    })
}

impl<'a> BatchView<'a> {
    /// Stores the mask of the nonzero columns of a row of a panel, one bit for each column.
    ///
    /// # Safety
    /// The row is the calling tile's own.
    pub(in crate::model) unsafe fn mark(&self, panel: usize, row: usize, nonzero: u32) {
        let at = panel * self.rows + row;
        // SAFETY: the caller's promise.
        unsafe { self.memory.zeros.masks.write(at..at + 1)[0] = nonzero };
    }

    /// The number of groups of lists; a work item makes one group. Lists of rows are made for training only.
    pub(in crate::model) fn list_groups(&self) -> usize {
        let panels = match self.memory.plan.kind {
            PassKind::Train => panels_of(self.memory.plan.input.cols),
            PassKind::Infer => 0,
        };
        self.rows.div_ceil(self.isa.tile_rows()) + panels
    }

    /// Makes a group of lists. Every group is made once, after the batch is loaded.
    pub(in crate::model) fn make_lists(&self, group: usize) {
        match group.checked_sub(self.rows.div_ceil(self.isa.tile_rows())) {
            None => self.list_columns(group),
            Some(panel) => self.list_rows(panel),
        }
    }

    /// The masks of all rows of a panel.
    fn masks(&self, panel: usize) -> &'a [u32] {
        let start = panel * self.rows;
        // SAFETY: masks are made when the batch is loaded, in an earlier phase.
        unsafe { self.memory.zeros.masks.read(start..start + self.rows) }
    }

    /// Makes the list of columns of a tile of rows.
    fn list_columns(&self, tile: usize) {
        let (rows, n) = (tile_rows(self.rows, self.isa, tile), self.memory.plan.input.cols);
        // SAFETY: the list is the calling item's.
        let list = unsafe { self.memory.zeros.columns.write(self.column_list(tile)) };
        // A word has two columns: its mask is the even bit.
        let (n, per_word) = if self.lists_words() { (words_of(n), 2) } else { (n, 1) };
        let union = |panel| {
            let all = self.masks(panel)[rows.clone()].iter().fold(0, |a, b| a | b);
            if per_word == 2 { (all | all >> 1) & 0x5555_5555 } else { all }
        };
        let panels = 0..panels_of(self.memory.plan.input.cols);
        let count = panels.clone().map(|panel| union(panel).count_ones() as usize).sum();
        let at = |panel, j| (panel * WIDTH + j) / per_word;
        let kept = panels.flat_map(|panel| set_bits(union(panel)).map(move |j| at(panel, j)));
        make_list(list, n, count, |entries| {
            entries.iter_mut().zip(kept).for_each(|(entry, k)| *entry = k as u32);
        });
    }

    /// Makes the lists of rows of a panel's tiles of columns.
    fn list_rows(&self, panel: usize) {
        let masks = self.masks(panel);
        let used = (self.memory.plan.input.cols - panel * WIDTH).min(WIDTH);
        for tile in 0..used.div_ceil(self.isa.tile_rows()) {
            let columns = tile_rows(used, self.isa, tile);
            let tile_mask = (u32::MAX >> (WIDTH - columns.len())) << columns.start;
            // SAFETY: the list is the calling item's.
            let list = unsafe { self.memory.zeros.rows.write(self.row_list(panel, tile)) };
            match self.lists_words() {
                false => list_kept(list, self.rows, |r| masks[r] & tile_mask != 0),
                true => list_kept(list, word_rows(self.rows), |j| {
                    let odd = masks.get(2 * j + 1).unwrap_or(&0);
                    (masks[2 * j] | odd) & tile_mask != 0
                }),
            }
        }
    }

    /// Whether the indices of lists are those of words.
    fn lists_words(&self) -> bool {
        self.memory.plan.input.words.is_some()
    }

    /// The range of the list of a tile of rows.
    fn column_list(&self, tile: usize) -> Range<usize> {
        let size = self.memory.plan.input.cols + 1;
        tile * size..(tile + 1) * size
    }

    /// The range of the list of a tile of a panel's columns.
    fn row_list(&self, panel: usize, tile: usize) -> Range<usize> {
        let index = panel * WIDTH.div_ceil(self.isa.tile_rows()) + tile;
        index * (self.rows + 1)..(index + 1) * (self.rows + 1)
    }

    /// The columns of the encoder's input, or the words, that are not zero in a tile of rows; `None` for all.
    pub(in crate::model) fn nonzero_columns(&self, tile: usize) -> Option<NonzeroIndices<'a>> {
        // SAFETY: made in an earlier phase, for as many columns as the input has.
        unsafe { indices(self.memory.zeros.columns.read(self.column_list(tile))) }
    }

    /// The rows of the encoder's input, or the pairs of rows, that are not zero in a tile of the columns of panel `panel`;
    /// `None` for all.
    pub(in crate::model) fn nonzero_rows(
        &self,
        panel: usize,
        tile: usize,
    ) -> Option<NonzeroIndices<'a>> {
        // SAFETY: made in an earlier phase, for as many rows as the batch has.
        unsafe { indices(self.memory.zeros.rows.read(self.row_list(panel, tile))) }
    }
}

/// Reads a list of [`make_list`].
///
/// # Safety
/// The products that use it have at least as many k as the `n` of [`make_list`].
unsafe fn indices(list: &[u32]) -> Option<NonzeroIndices<'_>> {
    // SAFETY: entries ascend below n; the rest is the caller's promise.
    (list[0] != ALL).then(|| unsafe { NonzeroIndices::new(&list[1..1 + list[0] as usize]) })
}
