//! Runs of passes: training, inference and sampling.

pub mod functional;
pub mod infer;
pub mod sample;
pub mod train;
