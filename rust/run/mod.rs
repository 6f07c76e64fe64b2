//! Runs of passes: training, inference and sampling.

pub mod blocks;
mod divergence;
pub mod evaluate;
pub mod functional;
mod gradients;
mod infer;
mod marginal;
pub mod moments;
mod sample;
mod score;
mod step;
mod team;
pub mod train;
