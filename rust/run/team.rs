//! How many threads work, and how they walk over the rows of an array in slices of time.

use crate::threads::{self, Worker};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Multiply-adds in a step below which a second thread costs more at the barriers than it brings.
pub(super) const WORTH_A_THREAD: usize = 1_200_000;

/// The number of threads for batches of `multiply_adds`: `requested` or a choice by the work, but no more than the cores.
pub fn threads_for(requested: Option<usize>, multiply_adds: usize) -> usize {
    match requested {
        Some(threads) => threads::capped(threads),
        None if multiply_adds < WORTH_A_THREAD => 1,
        None => threads::default_threads(),
    }
}

/// Walks `from..total` in blocks, `block(start)` rows each, with a team until the end or until `budget` is over, and returns the
/// row reached. Every worker calls `body(worker, start, rows)`; all workers must get the same answer, false to stop. An
/// interruption cancels the block in work; the row reached is then of no use, except to a body that notices.
pub(crate) fn walk(
    threads: usize,
    (from, total): (usize, usize),
    block: &(dyn Fn(usize) -> usize + Sync),
    budget: Duration,
    body: &(dyn Fn(&Worker, usize, usize) -> bool + Sync),
) -> usize {
    let (clock, reached, late) = (Instant::now(), AtomicUsize::new(from), AtomicBool::new(false));
    threads::run_cancellable(threads, |worker| {
        let mut start = from;
        while start < total && !late.load(Ordering::Relaxed) {
            let rows = block(start).min(total - start);
            if !body(worker, start, rows) {
                break;
            }
            start += rows;
            if start == total {
                reached.store(total, Ordering::Relaxed); // as every worker does; the end of the run is the barrier
                break;
            }
            let last = || {
                reached.store(start, Ordering::Relaxed);
                late.store(clock.elapsed() >= budget, Ordering::Relaxed);
            };
            worker.phase_then(0, |_| (), last);
        }
    });
    reached.into_inner()
}

/// The faster of a team of `threads` and one thread; none if the work ended during the trial. `time` does some of the work
/// with a team and returns its duration, or none at the end of the work. No result depends on the number of threads.
pub(crate) fn fastest_team(
    threads: usize,
    mut time: impl FnMut(usize) -> Option<Duration>,
) -> Option<usize> {
    time(threads)?; // wakes it
    let (team, alone) = (time(threads)?, time(1)?);
    Some(if team <= alone { threads } else { 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_faster_team_is_chosen() {
        for (team, alone, want) in [(1, 2, 4), (2, 2, 4), (3, 2, 1)] {
            let mut tried = Vec::new();
            let found = fastest_team(4, |threads| {
                tried.push(threads);
                Some(Duration::from_micros(if threads == 4 { team } else { alone }))
            });
            assert_eq!((found, tried), (Some(want), vec![4, 4, 1]));
        }
    }

    #[test]
    fn a_trial_in_which_training_ends_is_the_end() {
        for last in 0..3 {
            let mut trials = 0;
            let found = fastest_team(2, |_| {
                trials += 1;
                (trials <= last).then_some(Duration::ZERO)
            });
            assert_eq!((found, trials), (None, last + 1));
        }
    }
}
