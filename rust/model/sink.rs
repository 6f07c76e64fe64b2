//! What becomes of a gradient: a block of weights is updated where its gradient is born, or the gradient is stored.
#![allow(unsafe_code)]

use crate::matrix::Shared;
use crate::nn::optimizer::{Apply, Update};
use crate::simd::{Isa, Prefetch, Row};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

/// What becomes of a gradient.
#[derive(Clone, Copy)]
pub enum Sink<'a> {
    /// The optimiser's step, at once; the gradient never reaches memory.
    Update {
        /// The step's.
        update: Update,
        /// The optimiser's.
        moments: [Shared<'a, Row>; 2],
        /// Set if a gradient is too large to follow.
        unsound: &'a AtomicBool,
    },
    /// A buffer with the parameters' layout.
    Store(Shared<'a, Row>),
}

impl Sink<'_> {
    /// Rows `rows` of the parameter buffer have this gradient.
    ///
    /// # Safety
    /// These rows (of parameters, moments and store) are the calling tile's own.
    pub(super) unsafe fn take(
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
                Sink::Update { update, moments, unsound } => {
                    let sound = isa.run(Apply {
                        update: *update,
                        gradient,
                        vectors,
                        weights: parameters.write(rows.clone()),
                        moments: moments.each_ref().map(|m| match m.is_empty() {
                            true => &mut [][..],
                            false => m.write(rows.clone()),
                        }),
                    });
                    if !sound {
                        unsound.store(true, Ordering::Relaxed);
                    }
                }
            }
        }
    }

    /// What the update of as many rows after `rows` will read.
    pub(super) fn ahead(&self, parameters: Shared<Row>, rows: Range<usize>) -> Prefetch {
        let Sink::Update { moments, .. } = self else { return Prefetch::NOTHING };
        let [first, second] = moments.map(|m| if m.is_empty() { parameters } else { m });
        let places = [parameters, first, second].map(|buffer| buffer.address(rows.end));
        Prefetch::new(places, rows.len())
    }
}
