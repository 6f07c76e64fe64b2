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

/// Memory for a tile of the gradient and for one of the values below, if they have words only.
pub type Scratch = [Option<GradientTile>; 2];

/// What [`store`] needs.
pub fn scratch(below: &Port) -> Scratch {
    [below.gradient, below.saved].map(|matrix| (!matrix.stored).then_some([ZERO_ROW; ROWS]))
}

/// Multiplies a tile of dL/dx by the derivative of the activation below, and stores it: as floats, as words, or as both.
///
/// # Safety
/// The rows of the panel are the calling item's in the running phase.
pub unsafe fn store(batch: &BatchView, below: &Port, tile: ProductTile, scratch: &mut Scratch) {
    let ProductTile { panel, rows, vectors, products } = tile;
    let Port { saved, activation, gradient, .. } = *below;
    let [scratch, values] = scratch.each_mut().map(|tile| tile.as_mut_slice().as_flattened_mut());
    // SAFETY: the caller's promise; `saved` is from the forward pass.
    unsafe {
        let saved = batch.floats(saved, panel, rows.clone(), values);
        let out = batch.floats_or(gradient, panel, rows.clone(), scratch);
        // A dense layer below reads whole panels.
        out.iter_mut().for_each(|row| row[vectors..].fill(ZERO_ROW[0]));
        let to = &mut *out;
        batch.isa.run(InputGradient { products, vectors, activation, saved, out: to });
        batch.store_words(gradient, panel, rows, out);
    }
}
