//! One batch on its way through the network: what all phases need.
#![allow(unsafe_code)]

use super::network::Network;
use super::workspace::{Matrix, Memory};
use crate::matrix::{Panels, Shared, panels_of, spans};
use crate::simd::{Isa, LANES, Row, floats_mut};
use crate::threads::Worker;
use std::ops::Range;
use std::sync::atomic::AtomicUsize;

/// Examples (or draws) per work item in phases that go by rows.
pub(super) const ROW_BLOCK: usize = LANES;

/// A batch of `rows` examples in a workspace, shared by the workers of a team. Its methods are the phases;
/// every worker calls the same ones in the same order.
#[derive(Clone, Copy)]
pub struct Pass<'a> {
    /// Kernels.
    pub isa: Isa,
    /// The architecture.
    pub network: &'a Network,
    /// Weights and biases.
    pub parameters: Shared<'a, Row>,
    /// The transposes of the weights.
    pub transposed: Shared<'a, Row>,
    /// The topics' distributions on words, where the decoder mixes them.
    pub phi: Shared<'a, Row>,
    /// Activations and gradients.
    pub memory: Memory<'a>,
    /// Counts log variances that were clamped.
    pub clamped: &'a AtomicUsize,
    /// Examples in the batch.
    pub rows: usize,
    /// Whether it is a step of training, whose batch normalisation is by the batch's own statistics.
    pub trains: bool,
    /// Whether the decoder reads what the head gives first (the posterior's means, or a plain autoencoder's code), and
    /// not z.
    pub decodes_means: bool,
}

impl<'a> Pass<'a> {
    /// Draws of z for each example.
    pub(super) fn copies(&self) -> usize {
        self.memory.plan.copies
    }

    /// Draws in the batch, those of an example being neighbours: rows of z and of all that comes behind it.
    pub(super) fn draws(&self) -> usize {
        self.rows * self.copies()
    }

    /// What goes into layer `index`.
    pub(super) fn input(&self, index: usize) -> Matrix {
        let (plan, head) = (self.memory.plan, self.network.head());
        match index {
            0 => plan.input,
            i if i == head + 1 && !self.decodes_means => plan.z,
            i => plan.values[i - 1], // of the head, mu (or the code) comes first
        }
    }

    /// Reads a matrix that an earlier phase has written.
    ///
    /// # Safety
    /// No tile of the running phase writes to it.
    pub(super) unsafe fn matrix(&self, matrix: Matrix) -> Panels<'a> {
        let rows = self.rows * matrix.copies;
        let start = matrix.panel(0, self.rows);
        let part = start..start + panels_of(matrix.cols) * rows;
        // SAFETY: passed on to the caller.
        Panels::new(unsafe { self.memory.arena.read(part) }, rows, matrix.cols)
    }

    /// Reads rows of one panel of a matrix.
    ///
    /// # Safety
    /// No other tile of the running phase writes to them.
    pub(super) unsafe fn read(
        &self,
        matrix: Matrix,
        panel: usize,
        rows: Range<usize>,
    ) -> &'a [Row] {
        // SAFETY: passed on to the caller.
        unsafe { self.memory.arena.read(self.place(matrix, panel, rows)) }
    }

    /// Writes rows of one panel of a matrix.
    ///
    /// # Safety
    /// They are the calling tile's own in the running phase, and it holds no other reference to them.
    pub(super) unsafe fn write(
        &self,
        matrix: Matrix,
        panel: usize,
        rows: Range<usize>,
    ) -> &'a mut [Row] {
        // SAFETY: passed on to the caller.
        unsafe { self.memory.arena.write(self.place(matrix, panel, rows)) }
    }

    /// Writes columns of a row, from column `col` on.
    ///
    /// # Safety
    /// As for [`Pass::write`].
    pub(super) unsafe fn put(&self, matrix: Matrix, row: usize, col: usize, values: &[f32]) {
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
    pub(super) unsafe fn weights(&self) -> &'a [Row] {
        // SAFETY: passed on to the caller.
        unsafe { self.parameters.read(0..self.network.rows) }
    }

    /// A phase over blocks of examples.
    pub(super) fn by_rows(&self, worker: &Worker, block: impl Fn(Range<usize>)) {
        self.by_rows_then(worker, block, || ());
    }

    /// The same; the last worker to finish runs `last`.
    pub(super) fn by_rows_then(
        &self,
        worker: &Worker,
        block: impl Fn(Range<usize>),
        last: impl FnOnce(),
    ) {
        by_blocks(worker, self.rows, block, last);
    }

    /// A phase over blocks of draws; the last worker to finish runs `last`.
    pub(super) fn by_draws_then(
        &self,
        worker: &Worker,
        block: impl Fn(Range<usize>),
        last: impl FnOnce(),
    ) {
        by_blocks(worker, self.draws(), block, last);
    }
}

fn by_blocks(worker: &Worker, n: usize, block: impl Fn(Range<usize>), last: impl FnOnce()) {
    let rows = |item: usize| item * ROW_BLOCK..((item + 1) * ROW_BLOCK).min(n);
    worker.phase_then(n.div_ceil(ROW_BLOCK), |item| block(rows(item)), last);
}
