//! Missing values: NaN marks an unobserved value.
//!
//! The batch keeps the NaNs, so that the likelihood covers observed values only ([`crate::nn::likelihood::Score`]). The
//! encoder reads a copy with zeros in place of NaNs (Nazábal et al., "Handling incomplete heterogeneous data using
//! VAEs", arXiv:1807.03653) and, with [`crate::model::Missing::Indicated`], one indicator column for each feature
//! (Collier et al., "VAEs in the presence of missing data", arXiv:2006.05301).
#![allow(unsafe_code)]

use crate::data::Source;
use crate::matrix::panels_of;
use crate::model::memory::BatchView;
use crate::simd::{Op, Row, Simd, WIDTH, ZERO_ROW, floats};
use std::ops::Range;

/// Zeros the encoder's input where the batch, or the caller's array of encoder inputs, has a missing value.
pub struct ZeroMissing<'a> {
    /// The batch.
    pub pass: &'a BatchView<'a>,
    /// The calling block's rows.
    pub rows: Range<usize>,
    /// The caller's array of encoder inputs, if any, and its row for the first row of the batch.
    pub given: Option<(Source<'a>, usize)>,
    /// Whether to write the indicators too. Later steps must not change them.
    pub indicate: bool,
}

impl Op for ZeroMissing<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let ZeroMissing { pass, rows, given, indicate } = self;
        let (spec, plan) = (pass.spec, pass.memory.plan);
        for panel in 0..panels_of(spec.n_features) {
            let first = panel * WIDTH;
            for r in rows.clone() {
                let (mut there, mut hidden) = (ZERO_ROW, ZERO_ROW);
                if let Some((source, start)) = given {
                    source.read_panel(start + r, panel, &mut there);
                }
                // SAFETY: the calling block loaded row r; no other block uses it.
                let (x, seen) =
                    unsafe { (&pass.read(plan.x, panel, r..r + 1)[0], pass.input_row(panel, r)) };
                for v in 0..2 {
                    let both = [s.is_number(s.load(&x[v])), s.is_number(s.load(&there[v]))];
                    let or =
                        |observed, not| s.select(both[0], s.select(both[1], observed, not), not);
                    s.store(or(s.load(&seen[v]), s.zero()), &mut seen[v]);
                    s.store(or(s.zero(), s.splat(1.0)), &mut hidden[v]);
                }
                if indicate {
                    let hidden = &floats(&hidden)[..(spec.n_features - first).min(WIDTH)];
                    // SAFETY: only the calling block uses row r.
                    unsafe { pass.put(plan.input, r, spec.n_features + first, hidden) };
                }
            }
        }
    }
}

/// Replaces each NaN in 32 columns by infinity, for a hash: NaNs have different bit patterns, and data has no
/// infinities.
#[inline(always)]
pub fn holes_alike<S: Simd>(s: S, row: &Row) -> Row {
    let mut alike = ZERO_ROW;
    for (lanes, to) in row.iter().zip(&mut alike) {
        let x = s.load(lanes);
        s.store(s.select(s.is_number(x), x, s.splat(f32::INFINITY)), to);
    }
    alike
}
