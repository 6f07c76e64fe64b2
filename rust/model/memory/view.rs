//! The view of one batch and its memory, on which phases and layers work.
#![allow(unsafe_code)]

use super::plan::{Matrix, Words};
use super::workspace::Memory;
use crate::matrix::{Panels, Shared, panels_of, spans};
use crate::model::batch::{CompositePrior, PassKind};
use crate::model::ranks::Part;
use crate::model::spec::Specification;
use crate::simd::{
    FromPairs, Isa, LANES, LINE, Row, ToWords, WIDTH, floats_mut, prefetch, word_rows,
};
use crate::threads::Worker;
use std::ops::Range;
use std::sync::atomic::AtomicUsize;

/// Examples (or draws) per work item in phases over rows.
pub const ROW_BLOCK: usize = LANES;
/// Rows of a panel per work item when words are made; even.
const WORD_BLOCK: usize = 64;

/// A batch of `rows` examples in a workspace, shared by the workers of a team. Methods that take a worker are phases:
/// all workers call the same phases in the same order.
#[derive(Clone, Copy)]
pub struct BatchView<'a> {
    /// The instruction set.
    pub isa: Isa,
    /// The model's specification.
    pub spec: &'a Specification,
    /// The parameter buffer.
    pub parameters: Shared<'a, Row>,
    /// The derived buffer, recomputed after each update: transposes, and distributions of topics over words.
    pub derived: Shared<'a, Row>,
    /// The workspace: activations and gradients.
    pub memory: Memory<'a>,
    /// Counts clamped log variances.
    pub clamped: &'a AtomicUsize,
    /// The number of examples in the batch.
    pub rows: usize,
    /// The examples that the draws of z belong to.
    pub owners: Owners,
    /// The weight of the parameters' log prior in the mean loss of an example: one over the total weight of the examples of the
    /// pass, so that the sum over the pass has the log prior once. Zero outside of training. On several ranks times this part's
    /// share in the batch.
    pub prior_weight: f32,
    /// Whether examples have weights in the loss; their mean over the pass is 1.
    pub weighted: bool,
    /// Whether log p has the weights of groups of columns without a gradient too: losses of validation data.
    pub balanced: bool,
    /// The prior of z in training, if it is not N(0, I).
    pub prior: Option<&'a CompositePrior<'a>>,
    /// The place in a batch on several ranks; none for a batch of this process alone.
    pub part: Option<Part<'a>>,
}

/// The map from draws to examples: `copies` consecutive draws for each example, from example `first` on.
#[derive(Clone, Copy)]
pub struct Owners {
    /// The number of loaded examples.
    pub rows: usize,
    /// The example of the first draw.
    pub first: usize,
    /// Draws for each example.
    pub copies: usize,
}

impl Owners {
    /// The example of a draw.
    pub fn of(&self, draw: usize) -> usize {
        self.first + draw / self.copies
    }
}

impl<'a> BatchView<'a> {
    /// The view with `rows` examples, each with its own draws.
    pub fn with_rows(self, rows: usize) -> BatchView<'a> {
        let owners = Owners { rows, first: 0, copies: self.copies() };
        BatchView { rows, owners, ..self }
    }

    /// Draws of z for each example.
    pub fn copies(&self) -> usize {
        self.memory.plan.size.copies
    }

    /// Draws in the batch: the rows of z and of the decoder's activations. Draws of an example are consecutive.
    pub fn draws(&self) -> usize {
        self.rows * self.copies()
    }

    /// The weights of the loaded examples in the loss; none if all are 1.
    pub fn example_weights(&self) -> Option<&'a [f32]> {
        // SAFETY: only the phase of loading writes them.
        self.weighted.then(|| unsafe { self.memory.example_weights.read(0..self.rows) })
    }

    /// The factors of the loaded examples' KL in the loss; none without a composite prior.
    pub fn kl_factors(&self) -> Option<&'a [f32]> {
        // SAFETY: only the phase of loading writes them.
        self.prior.map(|_| unsafe { self.memory.kl_factors.read(0..self.rows) })
    }

    /// The weight of example `r` in the loss.
    pub fn example_weight(&self, r: usize) -> f32 {
        self.example_weights().map_or(1.0, |weights| weights[r])
    }

    /// The given size of the example of a draw.
    pub fn size_of(&self, draw: usize) -> f32 {
        let example = self.owners.of(draw);
        // SAFETY: only the phase of loading writes them.
        unsafe { self.memory.sizes.read(example..example + 1)[0] }
    }

    /// The matrix with the conditions of the loaded examples, and their first column.
    pub fn conditions(&self) -> (Panels<'a>, usize) {
        let plan = self.memory.plan;
        let (matrix, first) = match self.is_sparse() {
            true => (plan.conditions, 0),
            false => (plan.input, self.spec.conditions_at()),
        };
        // SAFETY: only the phase of loading writes them.
        (unsafe { self.matrix_of(matrix, self.owners.rows) }, first)
    }

    /// The factor of each draw in the stored gradients of the output, besides the factor of all; none if all are 1.
    pub fn draw_factors(&self) -> Option<&'a [f32]> {
        match self.copies() {
            1 => self.example_weights(),
            // SAFETY: only the phase that computes them writes them.
            _ => Some(unsafe { self.memory.weights.read(0..self.draws()) }),
        }
    }

    /// Whether the pass is a training step.
    pub fn trains(&self) -> bool {
        self.memory.plan.kind == PassKind::Train
    }

    /// A matrix that an earlier phase has written.
    ///
    /// # Safety
    /// No tile of the running phase writes to it.
    pub unsafe fn matrix(&self, matrix: Matrix) -> Panels<'a> {
        // SAFETY: passed on to the caller.
        unsafe { self.matrix_of(matrix, self.rows) }
    }

    /// [`BatchView::matrix`] for a batch of `examples` examples that was loaded in this memory before.
    ///
    /// # Safety
    /// As for [`BatchView::matrix`].
    pub unsafe fn matrix_of(&self, matrix: Matrix, examples: usize) -> Panels<'a> {
        let rows = examples * matrix.copies;
        let start = matrix.panel(0, examples);
        let part = start..start + panels_of(matrix.cols) * rows;
        // SAFETY: passed on to the caller.
        Panels::new(unsafe { self.memory.arena.read(part) }, rows, matrix.cols)
    }

    /// Reads rows of one panel of a matrix.
    ///
    /// # Safety
    /// No other tile of the running phase writes to them.
    pub unsafe fn read(&self, matrix: Matrix, panel: usize, rows: Range<usize>) -> &'a [Row] {
        // SAFETY: passed on to the caller.
        unsafe { self.memory.arena.read(self.place(matrix, panel, rows)) }
    }

    /// Writes rows of one panel of a matrix.
    ///
    /// # Safety
    /// They are the calling tile's own in the running phase, and it holds no other reference to them.
    pub unsafe fn write(&self, matrix: Matrix, panel: usize, rows: Range<usize>) -> &'a mut [Row] {
        // SAFETY: passed on to the caller.
        unsafe { self.memory.arena.write(self.place(matrix, panel, rows)) }
    }

    /// Brings rows of one panel of a matrix near, or their words.
    pub fn prefetch(&self, matrix: Matrix, panel: usize, rows: Range<usize>) {
        match matrix.words {
            Some(Words { by_rows, by_pairs }) if !matrix.stored => {
                let height = word_rows(self.rows * matrix.copies);
                for start in [Some(by_rows), by_pairs].into_iter().flatten() {
                    let start = start + panel * height;
                    self.prefetch_rows(start + rows.start / 2..start + word_rows(rows.end));
                }
            }
            _ => self.prefetch_rows(self.place(matrix, panel, rows)),
        }
    }

    fn prefetch_rows(&self, rows: Range<usize>) {
        for row in rows {
            let address = self.memory.arena.address(row).cast::<u8>();
            prefetch(address);
            prefetch(address.wrapping_add(LINE));
        }
    }

    /// Writes columns `col..col + values.len()` of a row.
    ///
    /// # Safety
    /// As for [`BatchView::write`].
    pub unsafe fn put(&self, matrix: Matrix, row: usize, col: usize, values: &[f32]) {
        for (panel, lanes, part) in spans(col, values.len()) {
            // SAFETY: passed on to the caller.
            let columns = floats_mut(unsafe { self.write(matrix, panel, row..row + 1) });
            columns[lanes].copy_from_slice(&values[part]);
        }
    }

    /// The words of a matrix by rows, as a product's left operand reads them, and the matrix's rows. An earlier phase has written
    /// them.
    ///
    /// # Safety
    /// No tile of the running phase writes to them.
    pub unsafe fn words_by_rows(&self, matrix: Matrix) -> (&'a [Row], usize) {
        let (start, rows) = (self.words(matrix).by_rows, self.rows * matrix.copies);
        let len = panels_of(matrix.cols) * word_rows(rows);
        // SAFETY: passed on to the caller.
        (unsafe { self.memory.arena.read(start..start + len) }, rows)
    }

    /// The words of a panel of a matrix by pairs of rows. An earlier phase has written them.
    ///
    /// # Safety
    /// No tile of the running phase writes to them.
    pub unsafe fn words_by_pairs(&self, matrix: Matrix, panel: usize) -> &'a [Row] {
        // SAFETY: passed on to the caller.
        unsafe { self.panels_by_pairs(matrix, panel..panel + 1) }
    }

    /// [`BatchView::words_by_pairs`] of all panels.
    ///
    /// # Safety
    /// As there.
    pub unsafe fn all_words_by_pairs(&self, matrix: Matrix) -> &'a [Row] {
        // SAFETY: passed on to the caller.
        unsafe { self.panels_by_pairs(matrix, 0..panels_of(matrix.cols)) }
    }

    /// # Safety
    /// As for [`BatchView::words_by_pairs`].
    unsafe fn panels_by_pairs(&self, matrix: Matrix, panels: Range<usize>) -> &'a [Row] {
        let start = self.words(matrix).by_pairs.expect("words by pairs are for training");
        let rows = word_rows(self.rows * matrix.copies);
        // SAFETY: passed on to the caller.
        unsafe { self.memory.arena.read(start + panels.start * rows..start + panels.end * rows) }
    }

    fn words(&self, matrix: Matrix) -> Words {
        matrix.words.expect("words were planned")
    }

    /// Rows of one panel of a matrix that an earlier phase has written, as floats or as words: in `scratch` if it has words only.
    ///
    /// # Safety
    /// No tile of the running phase writes to them.
    pub unsafe fn floats<'s>(
        &self,
        matrix: Matrix,
        panel: usize,
        rows: Range<usize>,
        scratch: &'s mut [Row],
    ) -> &'s [Row]
    where
        'a: 's,
    {
        // SAFETY: passed on to the caller.
        unsafe {
            if matrix.stored {
                return self.read(matrix, panel, rows);
            }
            let pairs = &self.words_by_pairs(matrix, panel)[rows.start / 2..];
            let to = &mut scratch[..rows.len()];
            self.isa.run(FromPairs { pairs, to });
            to
        }
    }

    /// The memory for rows of one panel of a matrix: `scratch` if it has words only.
    ///
    /// # Safety
    /// As for [`BatchView::write`].
    pub unsafe fn floats_or<'s>(
        &self,
        matrix: Matrix,
        panel: usize,
        rows: Range<usize>,
        scratch: &'s mut [Row],
    ) -> &'s mut [Row]
    where
        'a: 's,
    {
        match matrix.stored {
            // SAFETY: passed on to the caller.
            true => unsafe { self.write(matrix, panel, rows) },
            false => &mut scratch[..rows.len()],
        }
    }

    /// Stores the words of rows `from` of one panel of a matrix, if they were planned; `rows` starts at an even row and ends at one,
    /// or at the matrix's end.
    ///
    /// # Safety
    /// As for [`BatchView::write`].
    pub unsafe fn store_words(
        &self,
        matrix: Matrix,
        panel: usize,
        rows: Range<usize>,
        from: &[Row],
    ) {
        let Some(Words { by_rows, by_pairs }) = matrix.words else { return };
        let height = word_rows(self.rows * matrix.copies);
        let place = |start: usize| {
            let start = start + panel * height;
            start + rows.start / 2..start + word_rows(rows.end)
        };
        // SAFETY: the caller's promise.
        unsafe {
            self.isa.run(ToWords {
                from,
                cols: (matrix.cols - panel * WIDTH).min(WIDTH),
                by_rows: self.memory.arena.write(place(by_rows)),
                by_pairs: by_pairs.map_or(&mut [], |start| self.memory.arena.write(place(start))),
            });
        }
    }

    /// [`BatchView::store_words`] of rows that the calling tile has written as floats.
    ///
    /// # Safety
    /// As for [`BatchView::write`].
    pub unsafe fn round(&self, matrix: Matrix, panel: usize, rows: Range<usize>) {
        if matrix.words.is_some() {
            // SAFETY: passed on to the caller.
            unsafe {
                let from = self.read(matrix, panel, rows.clone());
                self.store_words(matrix, panel, rows, from);
            }
        }
    }

    /// A phase: stores the words of a matrix, if they were planned.
    pub fn round_all(&self, worker: &Worker, matrix: Matrix) {
        if matrix.words.is_none() {
            return;
        }
        let rows = self.rows * matrix.copies;
        let (blocks, panels) = (rows.div_ceil(WORD_BLOCK), panels_of(matrix.cols));
        worker.phase(blocks * panels, |item| {
            let (panel, block) = (item / blocks, item % blocks);
            let rows = block * WORD_BLOCK..((block + 1) * WORD_BLOCK).min(rows);
            // SAFETY: an item has its own rows of a panel, which an earlier phase has written.
            unsafe { self.round(matrix, panel, rows) };
        });
    }

    fn place(&self, matrix: Matrix, panel: usize, rows: Range<usize>) -> Range<usize> {
        let start = matrix.panel(panel, self.rows);
        start + rows.start..start + rows.end
    }

    /// The parameter buffer.
    ///
    /// # Safety
    /// The running phase does not change it.
    pub unsafe fn weights(&self) -> &'a [Row] {
        // SAFETY: passed on to the caller.
        unsafe { self.parameters.all() }
    }

    /// Runs a phase over blocks of [`ROW_BLOCK`] examples.
    pub fn by_rows(&self, worker: &Worker, mut block: impl FnMut(Range<usize>)) {
        by_blocks(worker, self.rows, &mut block, &mut || ());
    }

    /// [`BatchView::by_rows`]; the last worker to finish runs `last`.
    pub fn by_rows_then(
        &self,
        worker: &Worker,
        mut block: impl FnMut(Range<usize>),
        last: &mut dyn FnMut(),
    ) {
        by_blocks(worker, self.rows, &mut block, last);
    }

    /// Runs a phase over blocks of [`ROW_BLOCK`] draws; the last worker to finish runs `last`.
    pub fn by_draws_then(
        &self,
        worker: &Worker,
        mut block: impl FnMut(Range<usize>),
        last: &mut dyn FnMut(),
    ) {
        by_blocks(worker, self.draws(), &mut block, last);
    }
}

fn by_blocks(
    worker: &Worker,
    n: usize,
    block: &mut dyn FnMut(Range<usize>),
    last: &mut dyn FnMut(),
) {
    let rows = |item: usize| item * ROW_BLOCK..((item + 1) * ROW_BLOCK).min(n);
    worker.phase_then(n.div_ceil(ROW_BLOCK), |item| block(rows(item)), last);
}
