//! Layers: each kind in its own file, with its parameters, its place in a batch, and its phases forward, backward and update.
//!
//! To add a kind: a file with a type that implements [`Layer`], and a line where [`super::network`] builds the lists.

mod batch_norm;
mod constrained;
mod conv;
mod dense;
mod join;
mod kernel;
#[cfg(test)]
mod scaling;
mod simplex;
mod sparse_product;
mod topic_words;

pub use batch_norm::BatchNorm;
pub use constrained::Constrained;
pub use conv::{Conv, ConvParts, Direction, NamedChannels};
pub use dense::{Dense, Named};
pub use join::Join;
#[cfg(test)]
pub use scaling::Scaling;
pub use simplex::Simplex;
pub use topic_words::TopicWords;

use super::memory::{BatchView, Planner, Port, Slot};
use super::sink::Sink;
use super::tensor::{Layout, Tensor};
use crate::error::Result;
use crate::matrix::{ProductTile, Shared};
use crate::simd::Row;
use crate::threads::Worker;
use std::fmt::Debug;

/// Takes a tile of the decoder's output and the bias that is still to be added. It may overwrite the tile where nothing goes
/// backward.
pub type Epilogue<'a> = dyn FnMut(ProductTile, &Row) + 'a;

/// A layer. Its phases are called by all workers in the same order; inside a phase everything is static.
pub trait Layer: Debug + Send + Sync {
    /// Columns that it gives.
    fn outputs(&self) -> usize;

    /// Multiply-adds of one row's forward pass.
    fn work(&self) -> usize {
        0
    }

    /// Its parameters by name.
    fn tensors(&self) -> Vec<Tensor> {
        Vec::new()
    }

    /// Asks for rows of the parameter buffer that no optimiser updates; those of all layers lie behind the others.
    fn place_statistics(&mut self, _: &mut Layout) {}

    /// Sets parameters that start elsewhere than at PyTorch's random values.
    fn initialize(&self, _parameters: &mut [Row]) {}

    /// Takes parameters to the nearest ones that are allowed.
    fn constrain(&self, _parameters: &mut [Row]) {}

    /// An error unless parameters are allowed.
    fn check(&self, _parameters: &[Row]) -> Result<()> {
        Ok(())
    }

    /// Whether gradients are stored before they are followed: those of the free parameters take all of them.
    fn stores_gradient(&self) -> bool {
        false
    }

    /// Places what it makes of `below` in the arena. What the `last` layer makes is not stored.
    fn plan(&self, planner: &mut Planner, below: Port, last: bool) -> Slot;

    /// From what is below to what is above.
    fn forward(&self, batch: &BatchView, worker: &Worker, slot: &Slot);

    /// The same of a last layer: tile by tile to an epilogue.
    fn tiles(&self, batch: &BatchView, worker: &Worker, slot: &Slot, epilogue: &mut Epilogue);

    /// From the gradient above to the gradient below, for all but a first layer.
    fn backward(&self, batch: &BatchView, worker: &Worker, slot: &Slot);

    /// The gradients of the parameters, from the gradient above, into a sink; `room` is a buffer with the parameters' layout
    /// for a layer that [stores them](Layer::stores_gradient).
    fn update(&self, _: &BatchView, _: &Worker, _: &Slot, _room: Shared<Row>, _: Sink) {}

    /// Makes anew what is derived from the parameters, after they were set.
    fn refresh(&self, _: &BatchView, _: &Worker) {}

    /// Moves running statistics towards the batch's, after a step.
    fn follow_batch(&self, _: &BatchView, _: &Worker, _: &Slot) {}
}
