//! Runs of passes: training, inference and sampling.

pub mod best;
pub mod blocks;
mod divergence;
pub mod evaluate;
pub mod fingerprint;
pub mod functional;
mod gradients;
mod infer;
mod marginal;
pub mod moments;
mod sample;
mod score;
mod step;
mod steps;
mod team;
mod together;
pub mod train;
