//! Named parameters with PyTorch's shapes, and their places in the parameter buffer.

use super::layer_list::MAX_WIDTH;
use crate::error::{Error, Result, filled};
use crate::matrix::{
    ColumnMap, RowMap, from_bf16, from_pairs, from_panels, from_quads, to_bf16, to_pairs,
    to_panels, to_quads,
};
use crate::simd::{Row, WIDTH};

/// The most parameters in a model: 16 GiB of float32 with both moments and the transposes.
const MAX_PARAMETERS: usize = 1 << 30;

/// A named parameter in PyTorch's layout: `weight` is [out, in].
#[derive(Clone, Debug)]
pub struct Tensor {
    /// For example `encoder.0.weight`.
    pub name: String,
    /// The shape, outermost dimension first.
    pub shape: Vec<usize>,
    /// Parameter or running statistic.
    pub kind: TensorKind,
    /// The number of inputs of its layer, which scales PyTorch's initial values; `None` for other initial values.
    pub fan_in: Option<usize>,
    /// Its place in the parameter buffer.
    pub(super) place: Place,
}

/// The kind of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TensorKind {
    /// A parameter with a gradient.
    Trained,
    /// A parameter rounded to bfloat16.
    Bf16,
    /// Integers, -127 to 127, times the scale of their output.
    Int8,
    /// The scales of integers, never negative.
    Scale,
    /// A running mean of batch means.
    RunningMean,
    /// A running mean of batch variances, never negative.
    RunningVariance,
}

/// The place of a tensor in a buffer with the parameters' layout.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The first row.
    pub start: usize,
    /// The number of rows.
    pub rows: usize,
    /// The order of the rows.
    pub order: RowMap,
    /// The columns.
    pub columns: ColumnMap,
    /// The number of rows from one panel to the next.
    pub stride: usize,
}

impl Tensor {
    /// The column of the buffer with the first element.
    pub(super) fn first_column(&self) -> usize {
        self.place.columns.at(0)
    }

    /// The end of its rows in the buffer, or a row behind it.
    pub(super) fn end(&self) -> usize {
        let Place { start, rows, order, columns, stride } = self.place;
        let cols = self.shape.iter().product::<usize>() / rows.max(1);
        let panel = (0..cols).map(|j| columns.at(j) / WIDTH).max().unwrap_or(0);
        let most = if matches!(order, RowMap::Same) { rows } else { stride };
        start + panel * stride + most
    }

    /// Whether the tensor is a parameter, which has a gradient unless the network is for inference only.
    pub fn is_trained(&self) -> bool {
        !matches!(self.kind, TensorKind::RunningMean | TensorKind::RunningVariance)
    }

    /// Whether `x` is a valid value: finite (in bfloat16 also after rounding); not negative for a variance or a scale; in int8 an
    /// integer from -127 to 127.
    pub fn allows(&self, x: f32) -> bool {
        match self.kind {
            TensorKind::Trained | TensorKind::RunningMean => x.is_finite(),
            TensorKind::RunningVariance | TensorKind::Scale => x.is_finite() && x >= 0.0,
            TensorKind::Bf16 => from_bf16(to_bf16(x)).is_finite(),
            TensorKind::Int8 => x.fract() == 0.0 && x.abs() <= 127.0,
        }
    }

    /// Copies the tensor (or its gradient, or a moment) out of a buffer with the parameters' layout.
    pub fn read(&self, buffer: &[Row]) -> Result<Vec<f32>> {
        let mut plain = filled(0.0, Some(self.shape.iter().product()))?;
        self.read_into(buffer, &mut plain);
        Ok(plain)
    }

    /// [`Tensor::read`] into an existing slice.
    pub fn read_into(&self, buffer: &[Row], plain: &mut [f32]) {
        let Place { start, rows, order, columns, stride } = self.place;
        let buffer = &buffer[start..];
        match self.kind {
            TensorKind::Int8 => from_quads(buffer, rows, columns, stride, plain),
            TensorKind::Bf16 => from_pairs(buffer, rows, columns, stride, plain),
            _ => from_panels(buffer, (rows, order), columns, stride, plain),
        }
    }

    /// The inverse of [`Tensor::read`], up to rounding.
    pub fn write(&self, plain: &[f32], buffer: &mut [Row]) {
        let Place { start, rows, order, columns, stride } = self.place;
        let buffer = &mut buffer[start..];
        match self.kind {
            TensorKind::Int8 => to_quads(plain, rows, columns, stride, buffer),
            TensorKind::Bf16 => to_pairs(plain, rows, columns, stride, buffer),
            _ => to_panels(plain, (rows, order), columns, stride, buffer),
        }
    }
}

/// Allocates the rows of the buffers that all layers share.
#[derive(Debug, Default)]
pub struct Layout {
    /// Rows of the parameter buffer (and of the moments and the gradient).
    pub rows: usize,
    /// Rows of the derived buffer, which is recomputed after each update: transposes and distributions over words.
    pub derived: usize,
    /// Whether layers multiply words of two bfloat16.
    pub words: bool,
    /// Whether dense layers have words only, in the place of their weights.
    pub inference_only: bool,
}

impl Layout {
    /// Allocates rows of the parameter buffer and returns the first.
    pub fn rows(&mut self, rows: usize) -> usize {
        self.rows += rows;
        self.rows - rows
    }

    /// Allocates rows of the derived buffer and returns the first.
    pub fn derived(&mut self, rows: usize) -> usize {
        self.derived += rows;
        self.derived - rows
    }

    /// Returns an error if a layer's widths are out of range or the model would have too many parameters.
    pub fn check(&self, inputs: usize, outputs: usize) -> Result<()> {
        let available = MAX_PARAMETERS - self.rows * WIDTH;
        let fits = (1..=MAX_WIDTH).contains(&inputs)
            && (1..=MAX_WIDTH).contains(&outputs)
            && (inputs + 1)
                .checked_mul(outputs.next_multiple_of(WIDTH))
                .is_some_and(|n| n <= available);
        match fits {
            true => Ok(()),
            false => Err(Error::Parameter(format!(
                "a layer of {inputs} x {outputs} is not possible: widths are 1 to {MAX_WIDTH}, and a model has at most \
                 {MAX_PARAMETERS} parameters"
            ))),
        }
    }
}
