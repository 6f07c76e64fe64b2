//! fastvae: variational autoencoders on the CPU.
//!
//! A training step is a short list of *phases*; a phase is a set of independent *tiles*; a tile is one
//! matrix-product kernel call and an *epilogue* that finishes it while it is in the first-level cache. Read in
//! this order, each file using only those before it:
//!
//! | file | what it knows |
//! |---|---|
//! | [`error`] | what can go wrong |
//! | [`isa`] | instruction sets: sixteen-lane arithmetic and the product kernels |
//! | [`math`] | exp, log, tanh, ... on sixteen lanes |
//! | [`rng`] | noise as a function of a counter |
//! | [`team`] (and `affinity`) | threads, tiles and the barrier |
//! | [`matmul`] | matrices in panels, the walk over a product's tiles |
//! | [`activation`], [`layer`], [`latent`], [`likelihood`] (and `counts`), [`multinomial`], [`optimizer`] | the epilogues |
//! | [`importance`] | the bound of several draws |
//! | [`topics`], [`normalize`] | topic models: simplexes; batch normalisation |
//! | [`corruption`] | noise on the encoder's input |
//! | [`transform`] | what the encoder sees of counts |
//! | [`binarize`], [`csr`], [`data`], [`watch`] | the user's array, read in place; what is wrong with it |
//! | [`model`] | parameters, memory, and the phases forward, backward, update |
//! | [`train`], [`infer`] (and `observe`) | runs of steps; codes, scores and samples; draws from p(x\|z) |
//! | [`persist`] | the model file |
//! | [`functional`], [`peak`] | the formulas on plain arrays; the machine's limit |
//! | `python` | the only file that knows Python |

pub mod data;
pub mod error;
pub mod file;
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
