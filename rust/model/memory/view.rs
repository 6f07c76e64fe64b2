//! One batch in its memory: what phases and layers work on.
#![allow(unsafe_code)]

use super::plan::Matrix;
use super::workspace::Memory;
use crate::matrix::{Panels, Shared, panels_of, spans};
use crate::model::batch::PassKind;
use crate::model::spec::Specification;
use crate::simd::{Isa, LANES, Row, floats_mut};
use crate::threads::Worker;
use std::ops::Range;
use std::sync::atomic::AtomicUsize;

/// Examples (or draws) per work item in phases that go by rows.
pub const ROW_BLOCK: usize = LANES;

/// A batch of `rows` examples in a workspace, shared by the workers of a team. Methods that take a worker are phases; every
/// worker calls the same ones in the same order.
#[derive(Clone, Copy)]
pub struct BatchView<'a> {
    /// Kernels.
    pub isa: Isa,
    /// What the model is.
    pub spec: &'a Specification,
    /// Weights and biases.
    pub parameters: Shared<'a, Row>,
    /// What is made of them after each update: transposes, and topics' distributions on words.
    pub derived: Shared<'a, Row>,
    /// Activations and gradients.
    pub memory: Memory<'a>,
    /// Counts log variances that were clamped.
    pub clamped: &'a AtomicUsize,
    /// Examples in the batch.
    pub rows: usize,
    /// Whose draws the rows of z are.
    pub owners: Owners,
}

/// The examples that draws belong to: `copies` draws each, from one example on.
#[derive(Clone, Copy)]
pub struct Owners {
    /// Examples that were loaded.
    pub rows: usize,
    /// The first one that has draws here.
    pub first: usize,
    /// Draws of each.
    pub copies: usize,
}

impl Owners {
    /// The example of a draw.
    pub fn of(&self, draw: usize) -> usize {
        self.first + draw / self.copies
    }
}

impl<'a> BatchView<'a> {
    /// The same with another number of examples, each with its own draws.
    pub fn with_rows(self, rows: usize) -> BatchView<'a> {
        let owners = Owners { rows, first: 0, copies: self.copies() };
        BatchView { rows, owners, ..self }
    }

    /// Draws of z for each example.
    pub fn copies(&self) -> usize {
        self.memory.plan.size.copies
    }

    /// Draws in the batch, those of an example being neighbours: rows of z and of all that comes behind it.
    pub fn draws(&self) -> usize {
        self.rows * self.copies()
    }

    /// Whether it is a step of training.
    pub fn trains(&self) -> bool {
        self.memory.plan.kind == PassKind::Train
    }

    /// Reads a matrix that an earlier phase has written.
    ///
    /// # Safety
    /// No tile of the running phase writes to it.
    pub unsafe fn matrix(&self, matrix: Matrix) -> Panels<'a> {
        // SAFETY: passed on to the caller.
        unsafe { self.matrix_of(matrix, self.rows) }
    }

    /// The same of a batch of `examples` that was in this memory before.
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

    /// Writes columns of a row, from column `col` on.
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

    fn place(&self, matrix: Matrix, panel: usize, rows: Range<usize>) -> Range<usize> {
        let start = matrix.panel(panel, self.rows);
        start + rows.start..start + rows.end
    }

    /// All parameters.
    ///
    /// # Safety
    /// The running phase changes none.
    pub unsafe fn weights(&self) -> &'a [Row] {
        // SAFETY: passed on to the caller.
        unsafe { self.parameters.all() }
    }

    /// A phase over blocks of examples.
    pub fn by_rows(&self, worker: &Worker, mut block: impl FnMut(Range<usize>)) {
        by_blocks(worker, self.rows, &mut block, &mut || ());
    }

    /// The same; the last worker to finish runs `last`.
    pub fn by_rows_then(
        &self,
        worker: &Worker,
        mut block: impl FnMut(Range<usize>),
        last: &mut dyn FnMut(),
    ) {
        by_blocks(worker, self.rows, &mut block, last);
    }

    /// A phase over blocks of draws; the last worker to finish runs `last`.
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
