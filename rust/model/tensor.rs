//! Named parameters with PyTorch's shapes, and where they lie in the parameter buffer.

use super::layer_list::MAX_WIDTH;
use crate::error::{Error, Result};
use crate::matrix::{ColumnMap, RowMap, from_panels, to_panels};
use crate::simd::{Row, WIDTH};

/// The most parameters in a model: 16 GiB of float32 with both moments and the transposes.
const MAX_PARAMETERS: usize = 1 << 30;

/// A named parameter as PyTorch shows it: `weight` is [out, in].
#[derive(Clone, Debug)]
pub struct Tensor {
    /// For example `encoder.0.weight`.
    pub name: String,
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
    /// What it is.
    pub kind: TensorKind,
    /// The inputs of its layer, by which PyTorch's initial values are scaled; none for one that starts elsewhere.
    pub fan_in: Option<usize>,
    /// Where it lies.
    pub(super) place: Place,
}

/// What a tensor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TensorKind {
    /// It has a gradient.
    Trained,
    /// A running mean: it follows the batches.
    RunningMean,
    /// A running variance: the same, and never below zero.
    RunningVariance,
}

/// Where a tensor lies in a buffer with the parameters' layout.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The first row.
    pub start: usize,
    /// Rows of each column.
    pub rows: usize,
    /// Which rows.
    pub order: RowMap,
    /// Which columns.
    pub columns: ColumnMap,
    /// Rows from panel to panel.
    pub stride: usize,
}

impl Tensor {
    /// Whether it has a gradient.
    pub fn is_trained(&self) -> bool {
        self.kind == TensorKind::Trained
    }

    /// Whether it can have such a value: a finite one, of a variance not below zero.
    pub fn allows(&self, x: f32) -> bool {
        x.is_finite() && (x >= 0.0 || self.kind != TensorKind::RunningVariance)
    }

    /// Copies it (or its gradient, or a moment) out of a buffer with the parameters' layout.
    pub fn read(&self, buffer: &[Row]) -> Vec<f32> {
        let mut plain = vec![0.0; self.shape.iter().product()];
        self.read_into(buffer, &mut plain);
        plain
    }

    /// [`Tensor::read`] into memory that there is.
    pub fn read_into(&self, buffer: &[Row], plain: &mut [f32]) {
        let Place { start, rows, order, columns, stride } = self.place;
        from_panels(&buffer[start..], (rows, order), columns, stride, plain);
    }

    /// The inverse of [`Tensor::read`].
    pub fn write(&self, plain: &[f32], buffer: &mut [Row]) {
        let Place { start, rows, order, columns, stride } = self.place;
        to_panels(plain, (rows, order), columns, stride, &mut buffer[start..]);
    }
}

/// Hands out the rows of the buffers that all layers share.
#[derive(Debug, Default)]
pub struct Layout {
    /// Rows of the parameters (and of each moment's and the gradient's).
    pub rows: usize,
    /// Rows of what is made of the parameters after each update: transposes and distributions.
    pub derived: usize,
}

impl Layout {
    /// Rows of the parameter buffer.
    pub fn rows(&mut self, rows: usize) -> usize {
        self.rows += rows;
        self.rows - rows
    }

    /// Rows of the derived buffer.
    pub fn derived(&mut self, rows: usize) -> usize {
        self.derived += rows;
        self.derived - rows
    }

    /// An error unless a layer of that size is possible and there is room for it.
    pub fn check(&self, inputs: usize, outputs: usize) -> Result<()> {
        let room = MAX_PARAMETERS - self.rows * WIDTH;
        let possible = (1..=MAX_WIDTH).contains(&inputs)
            && (1..=MAX_WIDTH).contains(&outputs)
            && (inputs + 1).checked_mul(outputs.next_multiple_of(WIDTH)).is_some_and(|n| n <= room);
        match possible {
            true => Ok(()),
            false => Err(Error::Parameter(format!(
                "a layer of {inputs} x {outputs} is not possible: widths are 1 to {MAX_WIDTH}, and a model has at most \
                 {MAX_PARAMETERS} parameters"
            ))),
        }
    }
}
