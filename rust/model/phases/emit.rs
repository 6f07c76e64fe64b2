//! Copies the results of a batch to the caller's arrays.
#![allow(unsafe_code)]

use crate::data::check::ValueCheck;
use crate::matrix::Shared;
use crate::model::memory::{BatchView, Matrix};
use crate::nn::latent::{KlByCoordinate, LatentBlock};
use crate::simd::{LANES, Lanes, WIDTH};
use crate::threads::Worker;
use std::ops::Range;

impl BatchView<'_> {
    /// Writes -log p(x|z) and KL of each row to elements `first..` of two arrays.
    pub fn emit_losses(&self, worker: &Worker, out: [Shared<f32>; 2], first: usize) {
        let (reconstruction, kl) = self.losses();
        self.by_rows(worker, |rows| {
            for (from, to) in [reconstruction, kl].into_iter().zip(out) {
                // SAFETY: only this block writes these elements.
                let to = unsafe { to.write(first + rows.start..first + rows.end) };
                to.copy_from_slice(&from[rows.clone()]);
            }
        });
    }

    /// Writes the KL of each row and coordinate to rows `first..` of `out`, [n, latent_dim].
    pub fn emit_kl(&self, worker: &Worker, out: Shared<f32>, first: usize) {
        let latent = self.spec.latent_dim;
        self.by_rows(worker, |rows| {
            let mut block = LatentBlock::default();
            for col in (0..latent).step_by(LANES) {
                self.fetch(&mut block, rows.clone(), col);
                let factors = Lanes([1.0; LANES]);
                self.isa.run(KlByCoordinate {
                    block: &mut block,
                    factors,
                    sums: &mut Lanes::default(),
                });
                for (lanes, r) in block.z.iter().zip(rows.clone()) {
                    let start = (first + r) * latent + col;
                    // SAFETY: only this block writes the row.
                    let to = unsafe { out.write(start..start + block.cols) };
                    to.copy_from_slice(&lanes.0[..block.cols]);
                }
            }
        });
    }

    /// Writes columns `from..` of the head to rows `first..` of `out`, [n, latent_dim], and reports numbers that are not
    /// finite.
    pub fn emit(
        &self,
        worker: &Worker,
        from: usize,
        out: Shared<f32>,
        first: usize,
        check: &ValueCheck,
    ) {
        let cols = self.spec.latent_dim;
        self.emit_from(
            worker,
            self.memory.plan.posterior.value,
            from..from + cols,
            out,
            (first, check),
        );
    }

    /// Reports to `check` if a number in this batch's rows `first..` of `out`, [n, cols], is not finite. An earlier phase has
    /// written them.
    pub fn check_finite(
        &self,
        worker: &Worker,
        (out, cols): (Shared<f32>, usize),
        first: usize,
        check: &ValueCheck,
    ) {
        self.by_rows(worker, |rows| {
            // SAFETY: nobody writes the rows in this phase.
            let part = unsafe { out.read((first + rows.start) * cols..(first + rows.end) * cols) };
            report_overflow(part, first + rows.start, check);
        });
    }

    /// Adds the decoder's input to rows `first..` of `out`, [n, latent_dim].
    pub fn add_codes(&self, worker: &Worker, out: Shared<f32>, first: usize) {
        let latent = self.spec.latent_dim;
        self.by_rows(worker, |rows| {
            // SAFETY: an earlier phase wrote the code; only this block writes these rows of `out`.
            let (z, out) = unsafe {
                let part = (first + rows.start) * latent..(first + rows.end) * latent;
                (self.matrix(self.memory.plan.code.value), out.write(part))
            };
            let mut code = [0.0; WIDTH];
            for (r, out) in rows.zip(out.chunks_exact_mut(latent)) {
                for (n, out) in out.chunks_mut(WIDTH).enumerate() {
                    let code = &mut code[..out.len()];
                    z.copy_row(r, n * WIDTH, code);
                    out.iter_mut().zip(code).for_each(|(sum, x)| *sum += *x);
                }
            }
        });
    }

    /// Writes the decoder's input to rows `first..` of `out`, [n, latent_dim], and reports numbers that are not finite.
    pub fn emit_codes(&self, worker: &Worker, out: Shared<f32>, first: usize, check: &ValueCheck) {
        let cols = 0..self.spec.latent_dim;
        self.emit_from(worker, self.memory.plan.code.value, cols, out, (first, check));
    }

    /// Writes the input of the output layer to rows `first..` of `out`, and reports numbers that are not finite.
    pub fn emit_hidden(&self, worker: &Worker, out: Shared<f32>, first: usize, check: &ValueCheck) {
        let slot = self.memory.plan.decoder.last().expect("a decoder has an output");
        let cols = 0..slot.below.value.cols;
        self.emit_from(worker, slot.below.value, cols, out, (first, check));
    }

    fn emit_from(
        &self,
        worker: &Worker,
        matrix: Matrix,
        cols: Range<usize>,
        out: Shared<f32>,
        (first, check): (usize, &ValueCheck),
    ) {
        let width = cols.len();
        self.by_rows(worker, |rows| {
            // SAFETY: this phase does not write the matrix; only this block writes these rows of `out`.
            let (matrix, out) = unsafe {
                let part = (first + rows.start) * width..(first + rows.end) * width;
                (self.matrix(matrix), out.write(part))
            };
            for (r, out) in rows.clone().zip(out.chunks_exact_mut(width)) {
                matrix.copy_row(r, cols.start, out);
            }
            report_overflow(out, first + rows.start, check);
        });
    }
}

/// Reports row `row` to `check` if a number is not finite.
fn report_overflow(values: &[f32], row: usize, check: &ValueCheck) {
    // Infinity and NaN have all bits of the exponent set: adding its lowest carries into the sign's place.
    let carries = values.iter().fold(0, |all, x| {
        all | ((x.to_bits() & f32::INFINITY.to_bits()) + f32::MIN_POSITIVE.to_bits())
    });
    if carries >> 31 == 1 {
        check.report_overflow(row);
    }
}
