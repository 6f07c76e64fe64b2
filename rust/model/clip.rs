//! Clipping by the norm of all gradients together (Pascanu, Mikolov & Bengio, "On the difficulty of training recurrent
//! neural networks", ICML 2013), as torch's `clip_grad_norm_`: gradients are stored, scaled if their norm is above the
//! limit, and applied.
#![allow(unsafe_code)]

use super::pass::{APPLY_BLOCK, Pass};
use super::sink::Sink;
use crate::matrix::Shared;
use crate::nn::optimizer::LARGEST_GRADIENT;
use crate::simd::{Op, Row, Simd};
use crate::threads::Worker;
use std::ops::Range;

/// Stored gradients.
#[derive(Clone, Copy)]
pub struct Gradients<'a> {
    /// The gradients, with the parameters' layout; padding is zero.
    pub values: Shared<'a, Row>,
    /// The sum of squares of each of the [`blocks`].
    pub squares: Shared<'a, f64>,
}

/// The number of blocks of a buffer of `rows` rows.
pub fn blocks(rows: usize) -> usize {
    rows.div_ceil(APPLY_BLOCK)
}

impl Pass<'_> {
    /// Clips the stored gradients and takes a step with them: the bits of [`Pass::backward`] if the norm is below the limit. Returns
    /// false, without an update, if the norm is not finite or, after clipping, above [`LARGEST_GRADIENT`].
    pub fn apply_clipped(
        &self,
        worker: &Worker,
        (limit, gradients): (f64, Gradients),
        sink: Sink,
    ) -> bool {
        let n = blocks(self.network.rows);
        let rows =
            |item: usize| item * APPLY_BLOCK..((item + 1) * APPLY_BLOCK).min(self.network.rows);
        worker.phase(n, |item| {
            // SAFETY: gradients are from earlier phases; only this item writes its square.
            unsafe {
                let square = self.isa.run(SumOfSquares(gradients.values.read(rows(item))));
                gradients.squares.write(item..item + 1)[0] = f64::from(square);
            }
        });
        // SAFETY: the squares are from an earlier phase. Every worker computes the same sum.
        let norm = unsafe { gradients.squares.read(0..n) }.iter().sum::<f64>().sqrt();
        let factor = limit / (norm + 1e-6);
        let clipped = norm * factor.min(1.0); // NaN for an infinite norm
        if clipped.is_nan() || clipped > f64::from(LARGEST_GRADIENT) {
            return false;
        }
        if factor < 1.0 {
            worker.phase(n, |item| {
                // SAFETY: only this item uses these rows.
                let block = unsafe { gradients.values.write(rows(item)) };
                self.isa.run(ScaleBy(block, factor as f32));
            });
        }
        let all: Range<usize> = 0..self.network.rows;
        // SAFETY: gradients are not written until the next step, after the barrier at the end of this one.
        self.apply(worker, unsafe { gradients.values.read(all) }, sink);
        true
    }
}

/// The sum of squares of rows: lane by lane, rows ascending, then a fixed tree.
struct SumOfSquares<'a>(&'a [Row]);

impl Op for SumOfSquares<'_> {
    type Output = f32;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        let mut sums = [s.zero(); 2];
        for row in self.0 {
            for (sum, lanes) in sums.iter_mut().zip(row) {
                let x = s.load(lanes);
                *sum = s.fma(x, x, *sum);
            }
        }
        s.sum(s.add(sums[0], sums[1]))
    }
}

/// Multiplies rows by a factor.
struct ScaleBy<'a>(&'a mut [Row], f32);

impl Op for ScaleBy<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let factor = s.splat(self.1);
        for lanes in self.0.as_flattened_mut() {
            s.store(s.mul(s.load(lanes), factor), lanes);
        }
    }
}
