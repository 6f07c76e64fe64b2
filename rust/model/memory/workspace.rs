//! The memory of a batch: one arena, sized by the largest batch, reused by every step.

use super::plan::Plan;
use super::sparse::{SharedSparseBatch, SparseBatch};
use super::zeros::{SharedZeros, Zeros};
use crate::error::{Result, filled};
use crate::matrix::{Shared, panels_of};
use crate::model::batch::{BatchSize, InputStorage};
use crate::simd::{Isa, LANES, Lanes, Row, ZERO_ROW};

/// Rows of a workspace, draws among them, that may wait for a larger batch.
const MODEST: usize = 512;

/// The arena and its plan.
pub struct Workspace {
    plan: Plan,
    arena: Vec<Row>,
    softmax: [Vec<f32>; 3],
    partial: Vec<f32>,
    reconstruction: Vec<f32>,
    kl: Vec<f32>,
    kl_sums: Vec<Lanes>,
    weighting: [Vec<f32>; 3],
    hashes: Vec<[u32; 2]>,
    zeros: Zeros,
    sparse: SparseBatch,
}

/// What a workspace has beside the arena.
#[derive(Clone, Copy, Debug)]
pub struct Rooms {
    /// Panels of the decoder's output.
    pub output_panels: usize,
    /// Whether rows of the output are finished together.
    pub softmax: bool,
    /// Columns of z.
    pub latent_dim: usize,
}

impl Workspace {
    /// Memory for the batches of a plan.
    pub fn new(plan: Plan, rooms: Rooms, isa: Isa) -> Result<Workspace> {
        let BatchSize { rows, copies } = plan.size;
        let draws = rows.checked_mul(copies);
        let partial = draws.and_then(|draws| draws.checked_mul(rooms.output_panels));
        let part = || filled(0.0, if rooms.softmax { partial } else { Some(0) });
        let weighed = |n| filled(0.0, if copies > 1 { n } else { Some(0) });
        let (zeros, sparse) = match plan.storage {
            InputStorage::Sparse(most) => {
                (Zeros::none(), SparseBatch::new(panels_of(plan.x.cols), rows, most)?)
            }
            _ => (Zeros::new(plan.input.cols, rows, plan.kind, isa)?, SparseBatch::none()),
        };
        Ok(Workspace {
            arena: filled(ZERO_ROW, Some(plan.arena))?,
            partial: filled(0.0, partial)?,
            softmax: [part()?, part()?, part()?],
            reconstruction: filled(0.0, draws)?,
            kl: filled(0.0, Some(rows))?,
            kl_sums: filled(Lanes::default(), Some(rooms.latent_dim.div_ceil(LANES)))?,
            weighting: [weighed(draws)?, weighed(draws)?, weighed(Some(rows))?],
            hashes: filled([0; 2], Some(rows))?,
            zeros,
            sparse,
            plan,
        })
    }

    /// Whether it is made and large enough for such batches, and not so large that its memory would be wasted.
    pub fn serves(&self, size: BatchSize, storage: InputStorage) -> bool {
        let BatchSize { rows, copies } = size;
        let room = |have: usize, want: usize, modest| (want..=4 * want.max(modest)).contains(&have);
        let same = match (self.plan.storage, storage) {
            (InputStorage::Sparse(have), InputStorage::Sparse(want)) => {
                room(have, want, MODEST * MODEST)
            }
            (have, want) => have == want,
        };
        same && self.plan.size.copies == copies && room(self.plan.size.rows, rows, MODEST / copies)
    }

    /// The parts, to be shared among workers.
    pub fn share(&mut self) -> Memory<'_> {
        let [ratio, weights, bound] = self.weighting.each_mut().map(|part| Shared::new(part));
        Memory {
            plan: &self.plan,
            arena: Shared::new(&mut self.arena),
            partial: Shared::new(&mut self.partial),
            softmax: self.softmax.each_mut().map(|part| Shared::new(part)),
            reconstruction: Shared::new(&mut self.reconstruction),
            kl: Shared::new(&mut self.kl),
            kl_sums: Shared::new(&mut self.kl_sums),
            ratio,
            weights,
            bound,
            hashes: Shared::new(&mut self.hashes),
            zeros: self.zeros.share(),
            sparse: self.sparse.share(),
        }
    }
}

/// A workspace in use by a team.
#[derive(Clone, Copy)]
pub struct Memory<'a> {
    /// Where the matrices are.
    pub plan: &'a Plan,
    /// The matrices.
    pub arena: Shared<'a, Row>,
    /// log p of each (panel of the output, draw), nats.
    pub partial: Shared<'a, f32>,
    /// Of a softmax, the other [`Partials`](crate::nn::likelihood::softmax::Partials) of each: the largest logit, the sum, the count.
    pub softmax: [Shared<'a, f32>; 3],
    /// -log p(x|z) of each draw, nats.
    pub reconstruction: Shared<'a, f32>,
    /// KL of each row, nats.
    pub kl: Shared<'a, f32>,
    /// KL of each latent coordinate, summed over the batch, nats.
    pub kl_sums: Shared<'a, Lanes>,
    /// log p(z) - log q(z|x) of each draw, nats; of several draws only, as the next two.
    pub ratio: Shared<'a, f32>,
    /// Each draw's weight in the gradient of the loss.
    pub weights: Shared<'a, f32>,
    /// The importance-weighted bound of each row, nats.
    pub bound: Shared<'a, f32>,
    /// The content hash of each row.
    pub hashes: Shared<'a, [u32; 2]>,
    /// Where the batch is zero.
    pub zeros: SharedZeros<'a>,
    /// What a sparse batch holds.
    pub sparse: SharedSparseBatch<'a>,
}
