//! Layers. Each kind has a file with its parameters, its memory in a batch, and its phases: forward, backward, update.
//!
//! To add a kind: a file with a type that implements [`Layer`], and a line in [`super::network`], which builds the
//! lists of layers.

mod affine_norm;
mod avg_pool;
mod batch_norm;
mod constrained;
mod conv;
mod conv_output;
mod dense;
mod flat_output;
mod input_gradient;
mod input_pool;
mod join;
mod kernel;
mod max_pool;
mod quantized_dense;
#[cfg(test)]
mod scaling;
mod seeds;
mod simplex;
mod sparse_product;
mod topic_words;
mod upsample;

pub use affine_norm::AffineNorm;
pub use avg_pool::AvgPool;
pub use batch_norm::BatchNorm;
pub use constrained::Constrained;
pub use conv::{Conv, ConvParts, Direction, NamedChannels, WeightKind};
pub use conv_output::ConvOutput;
pub use dense::{Dense, NamedOutputs};
pub use flat_output::FlatOutput;
pub use input_pool::{Combine, InputPool};
pub use join::Join;
pub use max_pool::MaxPool;
pub use quantized_dense::QuantizedDense;
#[cfg(test)]
pub use scaling::Scaling;
pub use seeds::{Seed, SeededProduct};
pub use simplex::Simplex;
pub use topic_words::TopicWords;
pub use upsample::Upsample;

use super::memory::{BatchView, Planner, Port, Slot};
use super::sink::Sink;
use super::tensor::{Layout, Tensor};
use crate::error::Result;
use crate::matrix::{ProductTile, Shared};
use crate::simd::Row;
use crate::threads::Worker;
use std::fmt::Debug;
use std::ops::Range;

/// Receives a tile of the decoder's output and the bias row to add to it. It may overwrite the tile, except in
/// training.
pub type Epilogue<'a> = dyn FnMut(ProductTile, &Row) + 'a;

/// A layer of the network. All workers call its phases in the same order.
pub trait Layer: Debug + Send + Sync {
    /// The number of output columns.
    fn outputs(&self) -> usize;

    /// Multiply-adds of one row's forward pass.
    fn work(&self) -> usize {
        0
    }

    /// Whether its products multiply words: those of its input, and of its output's gradient.
    fn multiplies_words(&self) -> bool {
        false
    }

    /// Whether it stores the words of what it writes, its output and its input's gradient.
    fn stores_words(&self) -> bool {
        self.multiplies_words()
    }

    /// Whether its backward pass needs no more of the output than its words.
    fn words_suffice(&self) -> bool {
        false
    }

    /// Its parameters and running statistics.
    fn tensors(&self) -> Vec<Tensor> {
        Vec::new()
    }

    /// Allocates rows of the parameter buffer for running statistics. They follow the trained rows of all layers.
    fn place_statistics(&mut self, _: &mut Layout) {}

    /// Sets initial values other than PyTorch's random ones.
    fn initialize(&self, _parameters: &mut [Row]) {}

    /// Projects parameters onto the layer's constraint.
    fn constrain(&self, _parameters: &mut [Row]) {}

    /// Returns an error if parameters violate the constraint.
    fn check(&self, _parameters: &[Row]) -> Result<()> {
        Ok(())
    }

    /// Whether gradients must be stored before the update, because that of a free parameter depends on several of them.
    fn stores_gradient(&self) -> bool {
        false
    }

    /// Minus the log prior of its parameters, nats, without constants. Its gradient is in [`Layer::update`].
    fn penalty(&self, _parameters: &[Row]) -> f64 {
        0.0
    }

    /// The rows of parameters that [`Layer::apply`] updates, in at most one layer of a network.
    fn own_rows(&self) -> Option<Range<usize>> {
        None
    }

    /// Updates its [own rows](Layer::own_rows) with given gradients of all parameters.
    fn apply(&self, _: &BatchView, _: &Worker, _gradients: &[Row], _: Sink) {}

    /// Allocates the layer's memory in the arena; `below` is its input. Unless `stored`, the output has no memory as floats: it is
    /// the network's output, which the head receives tile by tile, or the next layer reads its words.
    fn plan(&self, planner: &mut Planner, below: Port, stored: bool) -> Slot;

    /// Computes the output from the input.
    fn forward(&self, batch: &BatchView, worker: &Worker, slot: &Slot);

    /// The layer, if it is dense.
    fn dense(&self) -> Option<&Dense> {
        None
    }

    /// Computes the output of the last layer, and passes it tile by tile to an epilogue. Other layers need none.
    fn tiles(&self, _: &BatchView, _: &Worker, _: &Slot, _: &mut Epilogue) {
        unreachable!("{self:?} is not a last layer");
    }

    /// Computes the input's gradient from the output's. Not called for the first layer.
    fn backward(&self, batch: &BatchView, worker: &Worker, slot: &Slot);

    /// Computes the gradients of the parameters from the output's gradient, and passes them to a sink. Runs right after
    /// [`Layer::backward`]; afterwards the memory of the output and of its gradient belongs to layers before this one. `scratch` is a
    /// buffer with the parameters' layout for layers that [store gradients](Layer::stores_gradient).
    fn update(&self, _: &BatchView, _: &Worker, _: &Slot, _scratch: Shared<Row>, _: Sink) {}

    /// Recomputes the derived buffer after parameters were set.
    fn refresh(&self, _: &BatchView, _: &Worker) {}

    /// Moves running statistics towards those of the batch, after an update.
    fn update_running(&self, _: &BatchView, _: &Worker, _: &Slot) {}
}
