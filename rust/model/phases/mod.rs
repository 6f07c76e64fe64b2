//! The phases of a batch outside the layers: loading, the latent variable, its draws, and results.

mod draws;
mod emit;
mod latent;
mod load;
mod load_sparse;
mod marginal;
mod missing;

pub use marginal::{Draws, SampleRange, WeightSums};
