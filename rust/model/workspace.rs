//! The memory of a batch: one arena, sized by the largest batch, reused by every step.

use super::network::Network;
use super::stored::{MOST_ROWS, MOST_STORED, SPARSE, SharedSparseBatch, SparseBatch};
use super::zeros::{SharedZeros, Zeros};
use crate::data::Source;
use crate::error::{Result, filled};
use crate::matrix::{Shared, panels_of};
use crate::nn::batch_norm::ColumnStatistics;
use crate::simd::{Isa, LANES, Lanes, Row, ZERO_ROW};

/// A matrix's place in the arena, for a batch of at most the arena's examples.
#[derive(Clone, Copy, Debug)]
pub struct Matrix {
    start: usize,
    /// Its columns.
    pub cols: usize,
    /// Its rows for each example: neighbours, one for each draw of the code.
    pub copies: usize,
}

impl Matrix {
    /// Where panel `panel` starts in the arena when the batch has so many examples.
    pub fn panel(&self, panel: usize, examples: usize) -> usize {
        self.start + panel * examples * self.copies
    }
}

/// What a pass through the network is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassKind {
    /// Forward only.
    Infer,
    /// Forward and backward.
    Train,
}

/// What the encoder of a pass is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputStorage {
    /// What it is to reconstruct.
    Batch,
    /// The same as stored values, at most so many: nothing has all columns.
    Stored(usize),
    /// The same without some of its values.
    Masked,
    /// Something else: a corrupted batch.
    Other,
}

impl InputStorage {
    /// The same, or, where a batch of `rows` rows of `x` need not have all columns, its stored values.
    pub fn of(self, network: &Network, x: &Source, rows: usize) -> InputStorage {
        let sparse = x.csr().is_some_and(|csr| csr.density() <= SPARSE);
        match x.most_stored(rows) {
            Some(most)
                if sparse
                    && matches!(self, InputStorage::Batch | InputStorage::Masked)
                    && network.spec.conditions == 0
                    && !network.spec.missing.is_masked()
                    && rows <= MOST_ROWS
                    && most <= MOST_STORED =>
            {
                InputStorage::Stored(most)
            }
            _ => self,
        }
    }
}

/// Where everything lies. Gradients have places only for training; that of a softmax is where its rows wait for each other.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The batch: what is to be reconstructed.
    pub x: Matrix,
    /// What the encoder sees: the batch, or, corrupted, without its holes or with conditions behind it, in a place of its own.
    pub input: Matrix,
    /// Noise.
    pub eps: Matrix,
    /// Codes, and behind them the conditions.
    pub z: Matrix,
    /// SoftmaxGradient of the loss with respect to both; that of the conditions is nobody's.
    pub dz: Matrix,
    /// Each layer's output; the output layer's is not stored. From z on there is a row for each draw.
    pub values: Vec<Matrix>,
    /// Each layer's derivative of the activation, where the activation keeps it for the backward pass.
    pub slopes: Vec<Option<Matrix>>,
    /// Each layer's gradient of the loss with respect to what goes into its activation.
    pub gradients: Vec<Matrix>,
    /// SoftmaxGradient of the loss with respect to the log scale of each feature of each example, where it is stored.
    pub scale_gradient: Matrix,
    /// What the workspace is for.
    pub purpose: PassKind,
    /// What the encoder sees.
    pub sees: InputStorage,
    /// Draws of z for each example.
    pub copies: usize,
    rows: usize,
}

/// How large the batches are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchSize {
    /// Examples, at most.
    pub rows: usize,
    /// Draws of z for each, and so rows of all that comes behind it.
    pub copies: usize,
}

impl BatchSize {
    /// One draw for each example.
    pub fn of(rows: usize) -> BatchSize {
        BatchSize { rows, copies: 1 }
    }
}

impl Plan {
    fn new(
        network: &Network,
        extent: BatchSize,
        purpose: PassKind,
        sees: InputStorage,
    ) -> (Plan, usize) {
        let BatchSize { rows, copies } = extent;
        let mut size = 0_usize;
        let mut place = |cols: usize, copies, wanted: bool| {
            let matrix = Matrix { start: size, cols, copies };
            let needed = panels_of(cols).saturating_mul(rows).saturating_mul(copies);
            size = size.saturating_add(if wanted { needed } else { 0 });
            matrix
        };
        let (spec, train) = (&network.spec, purpose == PassKind::Train);
        let x = place(spec.n_features, 1, !matches!(sees, InputStorage::Stored(_)));
        let input = match sees {
            InputStorage::Batch if spec.encodes_as_is() => x,
            InputStorage::Stored(_) => x,
            _ => place(spec.conditions_at() + spec.conditions, 1, true),
        };
        let eps = place(spec.latent_dim, copies, true);
        let z = place(spec.latent_dim + spec.conditions, copies, true);
        let dz = place(spec.latent_dim + spec.conditions, copies, train);
        let (mut values, mut slopes, mut gradients) = (Vec::new(), Vec::new(), Vec::new());
        for (index, layer) in network.layers.iter().enumerate() {
            let mut place = |wanted| {
                place(layer.outputs, if index <= network.head() { 1 } else { copies }, wanted)
            };
            values.push(place(index != network.output() || layer.norm.is_some()));
            let keeps_slope = train && network.activation(index).keeps_slope();
            slopes.push(keeps_slope.then(|| place(true)));
            let waits = index == network.output() && spec.likelihood.is_softmax();
            gradients.push(place(train || waits));
        }
        let scale_gradient = place(spec.n_features, copies, train && spec.stores_scale_gradient());
        let plan = Plan {
            x,
            input,
            eps,
            z,
            dz,
            values,
            slopes,
            gradients,
            scale_gradient,
            purpose,
            sees,
            copies,
            rows,
        };
        (plan, size)
    }

    /// What the activation of layer `index` left for the backward pass: its derivative, or else its value.
    pub fn kept(&self, index: usize) -> Matrix {
        self.slopes[index].unwrap_or(self.values[index])
    }
}

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
    columns: Vec<ColumnStatistics>,
    zeros: Zeros,
    stored: SparseBatch,
}

impl Workspace {
    /// Memory for batches of up to that size.
    pub fn new(
        network: &Network,
        extent: BatchSize,
        purpose: PassKind,
        sees: InputStorage,
        isa: Isa,
    ) -> Result<Workspace> {
        let (plan, size) = Plan::new(network, extent, purpose, sees);
        let BatchSize { rows, copies } = extent;
        let draws = rows.checked_mul(copies);
        let panels = panels_of(network.layers[network.output()].outputs);
        let partial = draws.and_then(|draws| draws.checked_mul(panels));
        let softmax = network.spec.likelihood.is_softmax();
        let part = || filled(0.0, if softmax { partial } else { Some(0) });
        let weighed = |n| filled(0.0, if copies > 1 { n } else { Some(0) });
        Ok(Workspace {
            plan,
            arena: filled(ZERO_ROW, Some(size))?,
            partial: filled(0.0, partial)?,
            softmax: [part()?, part()?, part()?],
            reconstruction: filled(0.0, draws)?,
            kl: filled(0.0, Some(rows))?,
            kl_sums: filled(Lanes::default(), Some(network.spec.latent_dim.div_ceil(LANES)))?,
            weighting: [weighed(draws)?, weighed(draws)?, weighed(Some(rows))?],
            hashes: filled([0; 2], Some(rows))?,
            columns: filled(ColumnStatistics::NONE, Some(network.normalized_panels))?,
            zeros: match sees {
                InputStorage::Stored(_) => Zeros::none(),
                _ => Zeros::new(network, rows, purpose, isa)?,
            },
            stored: match sees {
                InputStorage::Stored(most) => SparseBatch::new(network, rows, most)?,
                _ => SparseBatch::none(),
            },
        })
    }

    /// Whether it is made and large enough for such batches, and not so large that its memory would be wasted.
    pub fn serves(&self, extent: BatchSize, sees: InputStorage) -> bool {
        let BatchSize { rows, copies } = extent;
        let room = |have: usize, want: usize, modest| (want..=4 * want.max(modest)).contains(&have);
        let same = match (self.plan.sees, sees) {
            (InputStorage::Stored(have), InputStorage::Stored(want)) => {
                room(have, want, MODEST * MODEST)
            }
            (have, want) => have == want,
        };
        same && self.plan.copies == copies && room(self.plan.rows, rows, MODEST / copies)
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
            columns: Shared::new(&mut self.columns),
            zeros: self.zeros.share(),
            stored: self.stored.share(),
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
    /// What is known of the columns of the batch that are normalised, for each panel.
    pub columns: Shared<'a, ColumnStatistics>,
    /// Where the batch is zero.
    pub zeros: SharedZeros<'a>,
    /// What a sparse batch holds.
    pub stored: SharedSparseBatch<'a>,
}
