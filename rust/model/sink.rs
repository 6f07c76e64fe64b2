//! The destination of gradients: the optimiser's update, block by block, or a buffer.
#![allow(unsafe_code)]

use crate::matrix::Shared;
use crate::nn::optimizer::{Apply, Update};
use crate::simd::{Isa, Prefetch, Row};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

/// The destination of a gradient.
#[derive(Clone, Copy)]
pub enum Sink<'a> {
    /// The optimiser's update, at once. The gradient is not stored.
    Update {
        /// The update of the step.
        update: Update,
        /// The optimiser's moments.
        moments: [Shared<'a, Row>; 2],
        /// Set if a gradient is NaN or too large for an update.
        unsound: &'a AtomicBool,
    },
    /// A buffer with the parameters' layout.
    Store(Shared<'a, Row>),
}

impl Sink<'_> {
    /// Updates rows `rows` of the parameter buffer with their gradient, or stores the gradient.
    ///
    /// # Safety
    /// No other tile uses these rows (of parameters, moments and gradient buffer) in the running phase.
    pub(super) unsafe fn accept(
        &self,
        isa: Isa,
        parameters: Shared<Row>,
        rows: Range<usize>,
        gradient: &[Row],
        vectors: usize,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            match self {
                Sink::Store(to) => {
                    for (to, row) in to.write(rows).iter_mut().zip(gradient) {
                        to[..vectors].copy_from_slice(&row[..vectors]); // padding stays zero
                    }
                }
                Sink::Update { .. } => {
                    self.step(isa, parameters.write(rows.clone()), rows, gradient, vectors);
                }
            }
        }
    }

    /// Updates `weights` with the moments of rows `rows`; a sink that stores does nothing.
    ///
    /// # Safety
    /// No other tile uses these rows of the moments in the running phase.
    pub(super) unsafe fn step(
        &self,
        isa: Isa,
        weights: &mut [Row],
        rows: Range<usize>,
        gradient: &[Row],
        vectors: usize,
    ) {
        let Sink::Update { update, moments, unsound } = self else { return };
        // SAFETY: the caller's promise.
        let moments = unsafe {
            moments.each_ref().map(|m| match m.is_empty() {
                true => &mut [][..],
                false => m.write(rows.clone()),
            })
        };
        if !isa.run(Apply { update: *update, gradient, vectors, weights, moments }) {
            unsound.store(true, Ordering::Relaxed);
        }
    }

    /// The memory that the update of the rows after `rows`, as many, will read.
    pub(super) fn prefetch(&self, parameters: Shared<Row>, rows: Range<usize>) -> Prefetch {
        let Sink::Update { moments, .. } = self else { return Prefetch::NOTHING };
        let [first, second] = moments.map(|m| if m.is_empty() { parameters } else { m });
        let places = [parameters, first, second].map(|buffer| buffer.address(rows.end));
        Prefetch::new(places, rows.len())
    }
}
