//! The phases of a batch that are no layer's: loading, the latent variable, draws of it, and results.

mod draws;
mod emit;
mod latent;
mod load;
mod load_sparse;
mod marginal;
mod missing;

pub use marginal::{SampleRange, WeightSums};
