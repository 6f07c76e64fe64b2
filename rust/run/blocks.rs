//! Inference in blocks of rows, whose memory does not grow with n, in slices of time.

use super::team::{WORTH_A_THREAD, threads_for, walk};
use crate::data::Source;
use crate::data::check::{CheckRows, ValueCheck};
use crate::error::Result;
use crate::model::{BatchSize, Engine, InputStorage, Network, Pass, PassKind, SharedBuffers};
use crate::simd::{Isa, LANES};
use crate::threads::Worker;
use std::time::Duration;

/// The most rows of a block: those of a usual network stay in a worker's second-level cache.
const BLOCK: usize = 128;
/// [`BLOCK`] with weights in bytes: whole tiles of six rows, and panels whose rows do not fall into the same sets of the
/// first-level cache, which matters more beside products of a quarter of the time.
const BLOCK_OF_BYTES: usize = 126;
/// The most bytes of a block, however wide the network.
const MOST_BYTES: usize = 16 << 20;
/// Blocks per worker between two looks at the clock.
pub(super) const BLOCKS_AT_ONCE: usize = 4;
/// Rows per worker below which the workers share the weights' panels instead of the rows.
const FEW: usize = 16;
/// Multiply-adds of an inference, relative to those of a step of a running team, that pay for waking a second thread.
const WAKING: usize = 16;
/// The fewest values of an array whose check wakes a second thread.
pub(super) const CHECKED_ALONE: usize = 1 << 21;

/// The progress of an inference: rows `done..` of its results are still to be filled. Every method that takes it goes on
/// from there until all rows are done (then it returns true) or `budget` is over.
pub struct InferenceRun<'a> {
    /// The name of the array in errors.
    pub name: &'a str,
    /// The check of its values.
    pub check: ValueCheck,
    /// Rows finished.
    pub done: usize,
    /// Time for this call.
    pub budget: Duration,
    /// Threads, or none to choose by the work.
    pub threads: Option<usize>,
    /// The number of the first row, for noise numbered by row: x may be a part of the user's rows.
    pub first: usize,
}

/// The name of an array of codes, the decoder's input.
pub const CODES: &str = "Z";

/// The size of the pieces of an inference.
pub(super) struct BlockSize {
    /// Rows of a block.
    pub block: usize,
    /// Draws per row.
    pub copies: usize,
    /// Rows that a pass may have beyond the block's.
    pub memory: usize,
    /// Passes of a row through the decoder.
    pub passes: usize,
    /// Blocks per worker between two looks at the clock.
    pub at_once: usize,
}

impl InferenceRun<'_> {
    /// The most threads that the inference may have.
    pub(super) fn most_threads(&self) -> usize {
        threads_for(self.threads, usize::MAX)
    }
}

/// The work on a block: the worker, all memory and the worker's part of it, the number of rows, the first row, the check.
type BlockBody<'a> = dyn Fn(&Worker, &SharedBuffers, usize, usize, usize, &ValueCheck) + Sync + 'a;

/// Rows that fit a worker's caches.
pub(super) fn block_of(network: &Network) -> usize {
    let most = if network.spec.is_int8() { BLOCK_OF_BYTES } else { BLOCK };
    most.min(MOST_BYTES / network.row_bytes()).max(FEW)
}

impl InferenceRun<'_> {
    /// Calls `body` for blocks of the rows of `x`. With few rows all workers share a block; else each worker has blocks
    /// and memory of its own, and waits for no other.
    pub(super) fn walk(
        &mut self,
        engine: &mut Engine,
        x: &Source,
        storage: InputStorage,
        body: impl Fn(&Worker, Pass, usize, &ValueCheck) + Sync,
    ) -> Result<bool> {
        self.walk_draws(engine, x, storage, 1, body)
    }

    /// [`InferenceRun::walk`] with `copies` draws per example.
    pub(super) fn walk_draws(
        &mut self,
        engine: &mut Engine,
        x: &Source,
        storage: InputStorage,
        copies: usize,
        body: impl Fn(&Worker, Pass, usize, &ValueCheck) + Sync,
    ) -> Result<bool> {
        let block = (block_of(&engine.network) / copies).max(1);
        let size = BlockSize { block, copies, memory: 0, passes: copies, at_once: BLOCKS_AT_ONCE };
        let storage = storage.of(&engine.network.spec, x, block.min(x.rows()));
        self.walk_in(engine, x, storage, size, &|worker, buffers, part, rows, start, check| {
            body(worker, buffers.pass(part, rows), start, check)
        })
    }

    /// [`InferenceRun::walk`] with blocks of a given size; `body` makes its own passes over its part of the memory.
    pub(super) fn walk_in(
        &mut self,
        engine: &mut Engine,
        x: &Source,
        storage: InputStorage,
        size: BlockSize,
        body: &BlockBody,
    ) -> Result<bool> {
        if !(self.name == CODES && engine.network.spec.decoder_conditions() == 0) {
            engine.network.check_conditions(x)?;
        }
        let total = x.rows();
        let rows = total.min(BLOCK * BLOCKS_AT_ONCE).saturating_mul(size.passes);
        let work = rows.saturating_mul(engine.network.work());
        let threads = match work / WAKING < WORTH_A_THREAD && engine.network.spec.is_int8() {
            true => 1, // its weights are in the cache of the first thread: others would only wait for one another
            false => threads_for(self.threads, work / WAKING),
        };
        let together = total < threads * FEW.min(size.block);
        let share = if together { total } else { total.div_ceil(threads) };
        let block = size.block.min(share);
        let parts = if together { 1 } else { threads };
        let batch_size = BatchSize { rows: block.max(size.memory), copies: size.copies };
        let buffers = engine.share(parts, batch_size, PassKind::Infer, storage)?;
        let round = if together { block } else { threads * block * size.at_once };
        let check = &self.check;
        self.done =
            walk(threads, (self.done, total), &|_| round, self.budget, &|worker, start, rows| {
                if together {
                    body(worker, &buffers, 0, rows, start, check);
                } else {
                    worker.phase(rows.div_ceil(block), |item| {
                        let (part, first) = (worker.index(), start + item * block);
                        let rows = block.min(start + rows - first);
                        worker.alone(|worker| body(worker, &buffers, part, rows, first, check));
                    });
                }
                true
            });
        self.verdict(x)
    }

    /// Whether all rows are done, or the error of a bad value.
    fn verdict(&self, x: &Source) -> Result<bool> {
        self.check.verdict(x, self.name)?;
        Ok(self.done == x.rows())
    }

    /// Checks the values of `x`.
    pub fn check_values(&mut self, isa: Isa, x: &Source) -> Result<bool> {
        let alone = x.rows() * x.cols() < CHECKED_ALONE;
        let threads = if alone { 1 } else { threads_for(self.threads, usize::MAX) };
        let (check, round) = (&self.check, threads * BLOCK * BLOCKS_AT_ONCE);
        self.done = walk(
            threads,
            (self.done, x.rows()),
            &|_| round,
            self.budget,
            &|worker, start, rows| {
                worker.phase(rows.div_ceil(LANES), |item| {
                    let first = start + item * LANES;
                    let rows = first..(first + LANES).min(start + rows);
                    isa.run(CheckRows { source: x, rows, check });
                });
                true
            },
        );
        self.verdict(x)
    }
}
