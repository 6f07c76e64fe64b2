//! Formulas of neural networks and probability, as operations on tiles and rows.

pub mod activation;
pub mod affine_norm;
pub mod batch_norm;
pub mod composite_prior;
pub mod conv;
pub mod dense;
pub mod image;
pub mod importance;
pub mod item_prior;
pub mod latent;
pub mod likelihood;
pub mod objective;
pub mod optimizer;
pub mod pool;
pub mod quantize;
pub mod ranking;
pub mod simplex;
