//! The user's data: read in place, checked, and what is done to it on its way to the encoder.

pub mod binarize;
pub mod check;
pub mod corruption;
pub mod csr;
pub mod input_transform;
mod source;

pub use source::{Element, Source};
