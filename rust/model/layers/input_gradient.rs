//! The end of a backward pass without a product: from the gradient of a layer's input to the pre-activation's below.
#![allow(unsafe_code)]

use crate::matrix::ProductTile;
use crate::model::memory::{BatchView, Port};
use crate::nn::dense::InputGradient;
use crate::simd::{Row, WIDTH, ZERO_ROW};

/// Rows of a tile.
pub const ROWS: usize = WIDTH;

/// A buffer for the gradient of a tile.
pub type GradientTile = [Row; ROWS];

/// Multiplies a tile of dL/dx by the derivative of the activation below, and stores it.
///
/// # Safety
/// The rows of the panel are the calling item's in the running phase.
pub unsafe fn store(batch: &BatchView, below: &Port, tile: ProductTile) {
    let ProductTile { panel, rows, vectors, products } = tile;
    let Port { saved, activation, gradient, .. } = *below;
    // SAFETY: the caller's promise; `saved` is from the forward pass.
    let (saved, out) =
        unsafe { (batch.read(saved, panel, rows.clone()), batch.write(gradient, panel, rows)) };
    // A dense layer below reads whole panels.
    out.iter_mut().for_each(|row| row[vectors..].fill(ZERO_ROW[0]));
    batch.isa.run(InputGradient { products, vectors, activation, saved, out });
}
