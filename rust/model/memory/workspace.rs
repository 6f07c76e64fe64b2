//! The memory of a batch: an arena, sized by the largest batch and reused by every step, and buffers of other types.

use super::plan::Plan;
use super::sparse::{SharedSparseBatch, SparseBatch};
use super::zeros::{SharedZeros, Zeros};
use crate::error::{Error, Result, filled, no_memory};
use crate::matrix::{Shared, panels_of};
use crate::model::batch::{BatchSize, InputStorage};
use crate::simd::{Isa, LANES, Lanes, Row, ZERO_ROW};
use crate::threads::interrupted;

/// Workspaces of up to four times this many draws are reused for batches of any smaller size.
const SMALL: usize = 512;
/// Rows of the arena between two looks for an interruption: 16 MB.
const ROWS_AT_ONCE: usize = 1 << 17;

/// The arena with its plan, and buffers of other types.
pub struct Workspace {
    plan: Plan,
    arena: Vec<Row>,
    softmax: [Vec<f32>; 3],
    partial: Vec<f32>,
    reconstruction: Vec<f32>,
    kl: Vec<f32>,
    kl_sums: Vec<Lanes>,
    weighting: [Vec<f32>; 3],
    example_weights: Vec<f32>,
    sizes: Vec<f32>,
    kl_factors: Vec<f32>,
    places: Vec<usize>,
    hashes: Vec<[u32; 2]>,
    zeros: Zeros,
    sparse: SparseBatch,
}

/// The sizes of a workspace's buffers outside the arena.
#[derive(Clone, Copy, Debug)]
pub struct BufferSizes {
    /// The number of panels of the decoder's output.
    pub output_panels: usize,
    /// Whether the likelihood of a row needs all its panels.
    pub whole_rows: bool,
    /// The dimension of z.
    pub latent_dim: usize,
    /// Whether the first layer reads lists of nonzero elements.
    pub lists: bool,
    /// Whether examples have given sizes.
    pub given_sizes: bool,
}

impl Workspace {
    /// Allocates memory for the batches of a plan.
    pub fn new(plan: Plan, sizes: BufferSizes, isa: Isa) -> Result<Workspace> {
        let BatchSize { rows, copies } = plan.size;
        let draws = rows.checked_mul(copies);
        let partial = draws.and_then(|draws| draws.checked_mul(sizes.output_panels));
        let part = || filled(0.0, if sizes.whole_rows { partial } else { Some(0) });
        let for_draws = |n| filled(0.0, if copies > 1 { n } else { Some(0) });
        let (zeros, sparse) = match plan.storage {
            InputStorage::Sparse(most) => {
                (Zeros::none(), SparseBatch::new(panels_of(plan.input.cols), rows, most)?)
            }
            _ if sizes.lists => {
                (Zeros::new(plan.input.cols, rows, plan.kind, isa)?, SparseBatch::none())
            }
            _ => (Zeros::none(), SparseBatch::none()),
        };
        Ok(Workspace {
            arena: zero_rows(plan.arena)?,
            partial: filled(0.0, partial)?,
            softmax: [part()?, part()?, part()?],
            reconstruction: filled(0.0, draws)?,
            kl: filled(0.0, Some(rows))?,
            kl_sums: filled(Lanes::default(), Some(sizes.latent_dim.div_ceil(LANES)))?,
            weighting: [for_draws(draws)?, for_draws(draws)?, for_draws(Some(rows))?],
            example_weights: filled(0.0, Some(rows))?,
            sizes: filled(0.0, Some(if sizes.given_sizes { rows } else { 0 }))?,
            kl_factors: filled(0.0, Some(rows))?,
            places: filled(0, Some(rows))?,
            hashes: filled([0; 2], Some(rows))?,
            zeros,
            sparse,
            plan,
        })
    }

    /// Whether batches of at most this size can use the workspace, without wasting much memory.
    pub fn fits(&self, size: BatchSize, storage: InputStorage) -> bool {
        let BatchSize { rows, copies } = size;
        let suits = |have: usize, need: usize, small| (need..=4 * need.max(small)).contains(&have);
        let same = match (self.plan.storage, storage) {
            (InputStorage::Sparse(have), InputStorage::Sparse(need)) => {
                suits(have, need, SMALL * SMALL)
            }
            (have, need) => have == need,
        };
        same && self.plan.size.copies == copies && suits(self.plan.size.rows, rows, SMALL / copies)
    }

    /// The buffers, for sharing among workers.
    pub fn share(&mut self) -> Memory<'_> {
        #[cfg(debug_assertions)] // no phase reads what no phase wrote
        self.arena.fill([Lanes([f32::NAN; LANES]); 2]);
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
            example_weights: Shared::new(&mut self.example_weights),
            sizes: Shared::new(&mut self.sizes),
            kl_factors: Shared::new(&mut self.kl_factors),
            places: Shared::new(&mut self.places),
            hashes: Shared::new(&mut self.hashes),
            zeros: self.zeros.share(),
            sparse: self.sparse.share(),
        }
    }
}

/// Rows of zeros. Gigabytes of them take seconds, so an interruption ends this with an error, which nobody sees: the binding
/// raises the interruption instead.
fn zero_rows(len: usize) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    rows.try_reserve_exact(len).map_err(|_| no_memory::<Row>(Some(len)))?;
    while rows.len() < len {
        if !rows.is_empty() && interrupted() {
            return Err(Error::Memory("interrupted".into()));
        }
        rows.resize(len.min(rows.len() + ROWS_AT_ONCE), ZERO_ROW);
    }
    Ok(rows)
}

/// The buffers of a workspace, shared by the workers of a team.
#[derive(Clone, Copy)]
pub struct Memory<'a> {
    /// The places of matrices in the arena.
    pub plan: &'a Plan,
    /// The matrices of the batch.
    pub arena: Shared<'a, Row>,
    /// The sum of log p over the features of each (panel of the output, draw), nats.
    pub partial: Shared<'a, f32>,
    /// For a softmax, the other [`Partials`](crate::nn::likelihood::softmax::Partials) of each (panel, draw): largest
    /// logit, sum, count.
    pub softmax: [Shared<'a, f32>; 3],
    /// -log p(x|z) of each draw, nats.
    pub reconstruction: Shared<'a, f32>,
    /// The KL of each example, nats.
    pub kl: Shared<'a, f32>,
    /// The KL of each latent coordinate, summed over the batch, nats.
    pub kl_sums: Shared<'a, Lanes>,
    /// log p(z) - log q(z|x) of each draw, nats. This and the next two are empty if examples have one draw.
    pub ratio: Shared<'a, f32>,
    /// The weight of each draw in the gradient of the loss.
    pub weights: Shared<'a, f32>,
    /// The importance-weighted bound of each example, nats.
    pub bound: Shared<'a, f32>,
    /// The weight of each example in the loss, if the pass has weights.
    pub example_weights: Shared<'a, f32>,
    /// The size of each example, if sizes are given.
    pub sizes: Shared<'a, f32>,
    /// The factor of each example's KL in the loss. This and the next are set with a composite prior only.
    pub kl_factors: Shared<'a, f32>,
    /// The row of each example in the array.
    pub places: Shared<'a, usize>,
    /// The content hash of each example.
    pub hashes: Shared<'a, [u32; 2]>,
    /// The nonzero elements of a dense batch.
    pub zeros: SharedZeros<'a>,
    /// The values of a sparse batch.
    pub sparse: SharedSparseBatch<'a>,
}
