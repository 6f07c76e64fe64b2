//! One batch on its way through the network: what all phases need.
#![allow(unsafe_code)]

use super::network::Network;
use super::workspace::{Matrix, Memory};
use crate::isa::{Isa, Row};
use crate::matmul::{Panels, Shared, panels_of};
use std::ops::Range;
use std::sync::atomic::AtomicUsize;

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
    /// Activations and gradients.
    pub memory: Memory<'a>,
    /// Counts log variances that were clamped.
    pub clamped: &'a AtomicUsize,
    /// Examples in the batch.
    pub rows: usize,
}

impl<'a> Pass<'a> {
    /// Reads a matrix that an earlier phase has written.
    ///
    /// # Safety
    /// No tile of the running phase writes to it.
    pub(super) unsafe fn matrix(&self, matrix: Matrix) -> Panels<'a> {
        let start = matrix.panel(0, self.rows);
        let part = start..start + panels_of(matrix.cols) * self.rows;
        // SAFETY: passed on to the caller.
        Panels::new(unsafe { self.memory.arena.read(part) }, self.rows, matrix.cols)
    }

    /// Rows of one panel of a matrix.
    pub(super) fn place(&self, matrix: Matrix, panel: usize, rows: Range<usize>) -> Range<usize> {
        let start = matrix.panel(panel, self.rows);
        start + rows.start..start + rows.end
    }

    /// Parameter rows, between updates.
    ///
    /// # Safety
    /// No tile of the running phase writes to them.
    pub(super) unsafe fn weights(&self, rows: Range<usize>) -> &'a [Row] {
        // SAFETY: passed on to the caller.
        unsafe { self.parameters.read(rows) }
    }
}
