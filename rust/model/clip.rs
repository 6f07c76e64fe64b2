//! Clipping by the norm of all gradients together (Pascanu, Mikolov & Bengio, "On the difficulty of training recurrent
//! neural networks", ICML 2013), as torch's `clip_grad_norm_` does: gradients are stored, measured, scaled and applied.
#![allow(unsafe_code)]

use super::pass::{APPLY_BLOCK, Pass};
use super::sink::Sink;
use crate::matrix::Shared;
use crate::simd::{Op, Row, Simd};
use crate::threads::Worker;
use std::ops::Range;

/// Stored gradients.
#[derive(Clone, Copy)]
pub struct Gradients<'a> {
    /// A buffer with the parameters' layout, padding zero.
    pub values: Shared<'a, Row>,
    /// The sum of squares of each of its [`blocks`].
    pub squares: Shared<'a, f64>,
}

/// The blocks of a buffer of `rows` rows.
pub fn blocks(rows: usize) -> usize {
    rows.div_ceil(APPLY_BLOCK)
}

impl Pass<'_> {
    /// The same as [`Pass::update`] where the gradients' norm is below the limit, bit for bit. Says whether the norm is
    /// finite; if it is not, nothing was updated.
    pub fn update_clipped(
        &self,
        worker: &Worker,
        weight: f32,
        (limit, gradients): (f64, Gradients),
        sink: Sink,
    ) -> bool {
        let n = blocks(self.network.rows);
        let rows =
            |item: usize| item * APPLY_BLOCK..((item + 1) * APPLY_BLOCK).min(self.network.rows);
        self.update(worker, weight, gradients.values, Sink::Store(gradients.values));
        worker.phase(n, |item| {
            // SAFETY: gradients are from the phases before; the square is this item's.
            unsafe {
                let square = self.isa.run(SumOfSquares(gradients.values.read(rows(item))));
                gradients.squares.write(item..item + 1)[0] = f64::from(square);
            }
        });
        // SAFETY: both are written in other phases. Every worker adds up for itself, and finds the same.
        let norm = unsafe { gradients.squares.read(0..n) }.iter().sum::<f64>().sqrt();
        if !norm.is_finite() {
            return false;
        }
        let factor = limit / (norm + 1e-6);
        if factor < 1.0 {
            worker.phase(n, |item| {
                // SAFETY: the rows are this item's.
                let block = unsafe { gradients.values.write(rows(item)) };
                self.isa.run(ScaleBy(block, factor as f32));
            });
        }
        let all: Range<usize> = 0..self.network.rows;
        // SAFETY: nobody writes gradients until the next step, which begins beyond the barrier at the end of this one.
        self.apply(worker, unsafe { gradients.values.read(all) }, sink);
        true
    }
}

/// The sum of squares of some rows: sixteen lanes, rows ascending, then a fixed tree.
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

/// Some rows times a factor.
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
