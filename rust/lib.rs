//! fastvae: variational autoencoders on the CPU.
//!
//! A training step is a short list of *phases*; a phase is a set of independent *tiles*; a tile is one
//! matrix-product kernel call and an *epilogue* that finishes it while it is in the first-level cache. Read in
//! this order; each folder uses only the folders before it:
//!
//! | folder | contents |
//! |---|---|
//! | [`error`] | the error type |
//! | `json` | reading JSON objects |
//! | [`simd`] | instruction sets: sixteen-lane arithmetic, exp, ln, ..., and the product kernels |
//! | [`random`] | counter-based random numbers; draws from distributions |
//! | [`threads`] | a team of worker threads, its phases and its barrier |
//! | [`matrix`] | the panel storage format, and the tiles of a matrix product |
//! | [`nn`] | the formulas: layers, the latent variable, likelihoods, optimisers |
//! | [`data`] | the user's array: read in place, checked, binarized, corrupted, transformed |
//! | [`model`] | the specification, layers, batch memory, phases, and the engine |
//! | [`run`] | training, inference and sampling; the formulas on plain arrays |
//! | [`irt`] | exams by marginal maximum likelihood |
//! | [`mod@file`] | the model file |
//! | `probe` | measurements of the machine, for benches only |
//! | `python` | the only folder that knows Python |

pub mod data;
pub mod error;
pub mod file;
pub mod irt;
mod json;
pub mod matrix;
pub mod model;
pub mod nn;
#[cfg(feature = "probe")]
pub mod probe;
#[cfg(feature = "python")]
mod python;
pub mod random;
pub mod run;
pub mod simd;
pub mod threads;
