//! Formulas of neural networks and probability, as operations on tiles and rows.

pub mod activation;
pub mod batch_norm;
pub mod conv;
pub mod dense;
pub mod image;
pub mod importance;
pub mod latent;
pub mod likelihood;
pub mod objective;
pub mod optimizer;
pub mod simplex;
