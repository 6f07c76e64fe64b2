//! The moments of the columns of the training data, in slices of time.

use super::blocks::CHECKED_ALONE;
use super::team::{threads_for, walk};
use crate::data::Source;
use crate::data::moments::ColumnMoments;
use crate::simd::Isa;
use std::time::Duration;

/// Rows between two looks at the clock.
const ROWS: usize = 256;

/// Adds rows `done..` of `x` to `moments` until all rows are added or `budget` is over; returns the rows done.
pub fn add_rows(
    isa: Isa,
    x: &Source,
    moments: &ColumnMoments,
    (done, budget): (usize, Duration),
    threads: Option<usize>,
) -> usize {
    let alone = x.rows().saturating_mul(x.cols()) < CHECKED_ALONE;
    let threads = if alone { 1 } else { threads_for(threads, usize::MAX) };
    walk(threads, (done, x.rows()), &|_| ROWS, budget, &|worker, start, rows| {
        worker.phase(moments.parts(x), |part| moments.add(isa, x, start..start + rows, part));
        true
    })
}
