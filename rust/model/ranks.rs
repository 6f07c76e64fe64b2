//! Data-parallel training on several processes, called ranks as in MPI. Each holds a share of the examples and the whole model.
//! A batch is the concatenation of its parts on the ranks, in their order: noise, means over the batch and statistics are those
//! of the whole batch, so that all ranks take the step that one process with all examples would take.
#![allow(unsafe_code)]

use super::memory::BatchView;
use crate::error::{Error, Result};
use crate::matrix::Shared;
use crate::simd::Row;
use crate::threads::Worker;
use std::ops::Range;

/// What a step exchanges with the other ranks. Worker 0, the calling thread, makes all calls. If an exchange fails, all later
/// calls return at once, and [`Exchange::finish`] returns false.
pub trait Exchange: Sync {
    /// The memory of the gradient, with the parameters' layout. The exchange uses rows of it from [`Exchange::start`] until
    /// [`Exchange::finish`], or for ever if it fails.
    fn gradient(&self) -> Shared<'_, Row>;

    /// Starts to add up rows of the gradient over all ranks. They are final here.
    fn start(&self, rows: Range<usize>);

    /// Replaces values by their sums over all ranks, in their order.
    fn sum(&self, values: &mut [f64]);

    /// Waits until all rows are sums, and replaces `losses` by their sums over all ranks; false if an exchange has failed.
    fn finish(&self, losses: &mut [f64]) -> bool;
}

/// The shares of all ranks in the examples of a pass.
#[derive(Clone, Debug)]
pub struct Shares {
    rows: Vec<usize>,
    rank: usize,
    /// Steps of the pass. In each step a rank has a part of at least one example, and its parts differ by at most one.
    steps: usize,
    /// The sum of the weights of all examples.
    weight: f64,
}

impl Shares {
    /// The shares with the numbers of examples `rows` in a pass of `steps` steps, seen by rank `rank`.
    pub fn new(rows: Vec<usize>, rank: usize, steps: usize, weight: f64) -> Result<Shares> {
        let enough = steps > 0 && rows.iter().all(|&rows| rows >= steps);
        match enough && rank < rows.len() && weight > 0.0 && weight.is_finite() {
            true => Ok(Shares { rows, rank, steps, weight }),
            false => Err(Error::Parameter(
                "each rank needs at least one example for each step, and a weight above 0".into(),
            )),
        }
    }

    /// This rank's number of examples.
    pub fn own(&self) -> usize {
        self.rows[self.rank]
    }

    /// Steps of the pass.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// This rank's index.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// The number of examples on all ranks, and the sum of their weights.
    pub fn total(&self) -> (usize, f64) {
        (self.rows.iter().sum(), self.weight)
    }

    /// The index, in the concatenation of all shares, of this rank's first example.
    pub fn first(&self) -> usize {
        self.rows[..self.rank].iter().sum()
    }

    /// This rank's part of the batch of a step.
    pub fn part<'a>(&self, step: usize, exchange: &'a dyn Exchange) -> Part<'a> {
        let size = |&rows: &usize| {
            let part = part_of(rows, self.steps, step);
            part.end - part.start
        };
        let first = self.rows[..self.rank].iter().map(size).sum();
        let rows = self.rows.iter().map(size).sum();
        Part { rank: self.rank, first, rows, exchange }
    }
}

/// The positions of step `step` among `rows` examples in `steps` steps.
pub fn part_of(rows: usize, steps: usize, step: usize) -> Range<usize> {
    let start = |step: usize| (rows as u128 * step as u128 / steps as u128) as usize;
    start(step)..start(step + 1)
}

/// A rank's part of a batch.
#[derive(Clone, Copy)]
pub struct Part<'a> {
    /// The rank.
    pub rank: usize,
    /// The place of the part's first example in the batch.
    pub first: usize,
    /// The number of examples of the batch, on all ranks.
    pub rows: usize,
    /// The exchange with the other ranks.
    pub exchange: &'a dyn Exchange,
}

impl BatchView<'_> {
    /// The number of examples in the batch, on all ranks.
    pub fn all_rows(&self) -> usize {
        self.part.map_or(self.rows, |part| part.rows)
    }

    /// The place of the first example of this process in the batch.
    pub fn first_row(&self) -> usize {
        self.part.map_or(0, |part| part.first)
    }

    /// Whether this process passes on gradients that all ranks have computed alike, of which only one enters the sum over the
    /// ranks.
    pub fn is_first_rank(&self) -> bool {
        self.part.is_none_or(|part| part.rank == 0)
    }

    /// A phase: adds up values over all ranks. `values` writes them before it reads their sums; in a single process it does not
    /// run.
    pub fn sum_over_ranks(&self, worker: &Worker, values: impl FnOnce(&mut dyn FnMut(&mut [f64]))) {
        let Some(part) = self.part else { return };
        if worker.index() == 0 {
            values(&mut |values| part.exchange.sum(values));
        }
        worker.phase(0, |_| ());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Alone;

    impl Exchange for Alone {
        fn gradient(&self) -> Shared<'_, Row> {
            Shared::new(&mut [])
        }
        fn start(&self, _: Range<usize>) {}
        fn sum(&self, _: &mut [f64]) {}
        fn finish(&self, _: &mut [f64]) -> bool {
            true
        }
    }

    #[test]
    fn the_parts_of_all_ranks_are_a_batch_and_all_batches_are_the_examples() {
        for (rows, steps) in [(vec![10, 7, 12], 7), (vec![4, 4], 2), (vec![5], 5)] {
            let total: usize = rows.iter().sum();
            let mut seen = 0;
            for step in 0..steps {
                let mut place = 0;
                for rank in 0..rows.len() {
                    let shares = Shares::new(rows.clone(), rank, steps, 1.0).unwrap();
                    let own = part_of(shares.own(), steps, step);
                    let part = shares.part(step, &Alone);
                    assert_eq!(part.first, place);
                    assert!(!own.is_empty());
                    place += own.len();
                    if rank + 1 == rows.len() {
                        assert_eq!(part.rows, place);
                    }
                }
                seen += place;
            }
            assert_eq!(seen, total);
        }
    }

    #[test]
    fn a_rank_without_an_example_in_a_step_is_refused() {
        assert!(Shares::new(vec![4, 3], 0, 3, 7.0).is_ok());
        for (rows, rank, steps, weight) in [
            (vec![4, 2], 0, 3, 6.0),
            (vec![4, 4], 2, 2, 8.0),
            (vec![4], 0, 0, 4.0),
            (vec![4], 0, 2, 0.0),
        ] {
            assert!(Shares::new(rows, rank, steps, weight).is_err());
        }
    }
}
