//! A model: specification, layers, batch memory, the phases of a pass, and the engine that owns them.
//!
//! Each module uses only modules before it: `layer_list`, `spec`, `batch`, `tensor` (vocabulary); `memory`, `ranks`; `sink`,
//! `layers`, `head`, `phases`; `build`, `network`; `pass`, `clip`; `engine`, `flip_sign`, `quantize`, `start`.

mod batch;
mod build;
mod clip;
mod engine;
mod flip_sign;
mod head;
#[cfg(test)]
mod image_tests;
mod layer_list;
mod layers;
mod memory;
mod network;
mod pass;
mod phases;
mod quantize;
mod ranks;
mod sink;
mod spec;
mod start;
mod tensor;
#[cfg(test)]
mod tests;

pub use batch::{
    BatchSize, CompositePrior, EncoderInput, Epsilon, InputStorage, NoiseKey, PassKind, Rows,
};
pub use engine::Engine;
pub(crate) use engine::{SharedBuffers, StateBuffer};
pub(crate) use head::{BestOut, Bounds, Lists, Ranking, Search};
pub use layer_list::{
    LayerEnd, LayerSpecification, MAX_LAYERS, MAX_SIDE, MAX_WIDTH, Shape, dense,
    shapes as layer_shapes,
};
pub(crate) use layers::Dense;
pub(crate) use memory::{BatchView, Owners};
pub use network::Network;
pub(crate) use pass::Pass;
pub(crate) use phases::SampleRange;
pub use phases::{Draws, WeightSums};
pub use ranks::{Exchange, Part, Shares, part_of};
pub(crate) use sink::Sink;
pub use spec::{Missing, Precision, Specification, Topics, WeightConstraint};
pub use tensor::{Tensor, TensorKind};
