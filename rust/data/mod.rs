//! The user's data: read in place, checked, binarized, corrupted and transformed.

pub mod binarize;
pub mod check;
pub mod corruption;
pub mod csr;
pub mod input_transform;
pub mod moments;
mod source;
pub mod standardize;
mod weights;

pub use source::{Element, Source};
