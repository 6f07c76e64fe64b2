//! The memory of a batch: one arena, sized by the largest batch, reused by every step.

use super::network::Network;
use super::stored::{MOST_ROWS, MOST_STORED, SPARSE, SharedStored, Stored};
use super::zeros::{SharedZeros, Zeros};
use crate::data::Source;
use crate::error::{Result, filled};
use crate::isa::{Isa, LANES, Lanes, Row, ZERO_ROW};
use crate::matmul::{Shared, panels_of};
use crate::normalize::Columns;

/// A matrix's place in the arena, for a batch of at most the arena's rows.
#[derive(Clone, Copy, Debug)]
pub struct Matrix {
    start: usize,
    /// Its columns.
    pub cols: usize,
}

impl Matrix {
    /// Where panel `panel` starts in the arena when the batch has `rows` rows.
    pub fn panel(&self, panel: usize, rows: usize) -> usize {
        self.start + panel * rows
    }
}

/// What a pass through the network is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Forward only.
    Infer,
    /// Forward and backward.
    Train,
}

/// What the encoder of a pass is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sees {
    /// What it is to reconstruct.
    Batch,
    /// The same as stored values, at most so many: nothing has all columns.
    Stored(usize),
    /// The same without some of its values.
    Masked,
    /// Something else: a corrupted batch.
    Other,
}

impl Sees {
    /// The same, or, where a batch of `rows` rows of `x` need not have all columns, its stored values.
    pub fn of(self, network: &Network, x: &Source, rows: usize) -> Sees {
        let sparse = x.csr().is_some_and(|csr| csr.density() <= SPARSE);
        match x.most_stored(rows) {
            Some(most)
                if sparse
                    && matches!(self, Sees::Batch | Sees::Masked)
                    && network.spec.conditions == 0
                    && rows <= MOST_ROWS
                    && most <= MOST_STORED =>
            {
                Sees::Stored(most)
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
    /// What the encoder sees: the batch, or, corrupted or with conditions behind it, in a place of its own.
    pub input: Matrix,
    /// Noise.
    pub eps: Matrix,
    /// Codes, and behind them the conditions.
    pub z: Matrix,
    /// Gradient of the loss with respect to both; that of the conditions is nobody's.
    pub dz: Matrix,
    /// Each layer's output; the output layer's is not stored.
    pub values: Vec<Matrix>,
    /// Each layer's derivative of the activation, where the activation keeps it for the backward pass.
    pub slopes: Vec<Option<Matrix>>,
    /// Each layer's gradient of the loss with respect to what goes into its activation.
    pub gradients: Vec<Matrix>,
    /// Gradient of the loss with respect to the log scale of each feature of each example, where it is stored.
    pub scale_gradient: Matrix,
    /// What the workspace is for.
    pub purpose: Purpose,
    /// What the encoder sees.
    pub sees: Sees,
    rows: usize,
}

impl Plan {
    fn new(network: &Network, rows: usize, purpose: Purpose, sees: Sees) -> (Plan, usize) {
        let mut size = 0;
        let mut place = |cols: usize, wanted: bool| {
            let matrix = Matrix { start: size, cols };
            size += if wanted { panels_of(cols) * rows } else { 0 };
            matrix
        };
        let (spec, train) = (&network.spec, purpose == Purpose::Train);
        let x = place(spec.n_features, !matches!(sees, Sees::Stored(_)));
        let input = match sees {
            Sees::Batch if spec.encodes_as_is() => x,
            Sees::Stored(_) => x,
            _ => place(spec.n_features + spec.conditions, true),
        };
        let eps = place(spec.latent_dim, true);
        let z = place(spec.latent_dim + spec.conditions, true);
        let dz = place(spec.latent_dim + spec.conditions, train);
        let (mut values, mut slopes, mut gradients) = (Vec::new(), Vec::new(), Vec::new());
        for (index, layer) in network.layers.iter().enumerate() {
            values.push(place(layer.outputs, index != network.output() || layer.norm.is_some()));
            let keeps_slope = train && network.activation(index).keeps_slope();
            slopes.push(keeps_slope.then(|| place(layer.outputs, true)));
            let waits = index == network.output() && spec.likelihood.is_softmax();
            gradients.push(place(layer.outputs, train || waits));
        }
        let scale_gradient =
            place(spec.n_features, train && spec.likelihood.stores_scale_gradient());
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
            rows,
        };
        (plan, size)
    }

    /// What the activation of layer `index` left for the backward pass: its derivative, or else its value.
    pub fn kept(&self, index: usize) -> Matrix {
        self.slopes[index].unwrap_or(self.values[index])
    }
}

/// Rows of a workspace that may wait for a larger batch.
const MODEST: usize = 512;

/// The arena and its plan.
pub struct Workspace {
    plan: Plan,
    arena: Vec<Row>,
    sums: Vec<f32>,
    softmax: [Vec<f32>; 3],
    kl_sums: Vec<Lanes>,
    hashes: Vec<[u32; 2]>,
    columns: Vec<Columns>,
    zeros: Zeros,
    stored: Stored,
}

impl Workspace {
    /// Memory for batches of up to `rows` rows.
    pub fn new(
        network: &Network,
        rows: usize,
        purpose: Purpose,
        sees: Sees,
        isa: Isa,
    ) -> Result<Workspace> {
        let (plan, size) = Plan::new(network, rows, purpose, sees);
        // Per row: a partial log p for each panel of the output, its sum, the KL.
        let partial = panels_of(network.layers[network.output()].outputs) * rows;
        let part =
            || filled(0.0, Some(if network.spec.likelihood.is_softmax() { partial } else { 0 }));
        Ok(Workspace {
            plan,
            arena: filled(ZERO_ROW, Some(size))?,
            sums: filled(0.0, Some(partial + 2 * rows))?,
            softmax: [part()?, part()?, part()?],
            kl_sums: filled(Lanes::default(), Some(network.spec.latent_dim.div_ceil(LANES)))?,
            hashes: filled([0; 2], Some(rows))?,
            columns: filled(Columns::NONE, Some(network.normalized_panels))?,
            zeros: match sees {
                Sees::Stored(_) => Zeros::none(),
                _ => Zeros::new(network, rows, purpose, isa)?,
            },
            stored: match sees {
                Sees::Stored(most) => Stored::new(network, rows, most)?,
                _ => Stored::none(),
            },
        })
    }

    /// Whether it is made and large enough for such batches, and not so large that its memory would be wasted.
    pub fn serves(&self, rows: usize, sees: Sees) -> bool {
        let room = |have: usize, want: usize, modest| (want..=4 * want.max(modest)).contains(&have);
        let same = match (self.plan.sees, sees) {
            (Sees::Stored(have), Sees::Stored(want)) => room(have, want, MODEST * MODEST),
            (have, want) => have == want,
        };
        same && room(self.plan.rows, rows, MODEST)
    }

    /// The parts, to be shared among workers.
    pub fn share(&mut self) -> Memory<'_> {
        let partial = self.sums.len() - 2 * self.plan.rows;
        let (partial, rest) = self.sums.split_at_mut(partial);
        let (reconstruction, kl) = rest.split_at_mut(self.plan.rows);
        Memory {
            plan: &self.plan,
            arena: Shared::new(&mut self.arena),
            partial: Shared::new(partial),
            softmax: self.softmax.each_mut().map(|part| Shared::new(part)),
            reconstruction: Shared::new(reconstruction),
            kl: Shared::new(kl),
            kl_sums: Shared::new(&mut self.kl_sums),
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
    /// log p of each (panel of the output, row), nats.
    pub partial: Shared<'a, f32>,
    /// Of a softmax, the other [`Parts`](crate::multinomial::Parts) of each: the largest logit, the sum, the count.
    pub softmax: [Shared<'a, f32>; 3],
    /// -log p(x|z) of each row, nats.
    pub reconstruction: Shared<'a, f32>,
    /// KL of each row, nats.
    pub kl: Shared<'a, f32>,
    /// KL of each latent coordinate, summed over the batch, nats.
    pub kl_sums: Shared<'a, Lanes>,
    /// The content hash of each row.
    pub hashes: Shared<'a, [u32; 2]>,
    /// What is known of the columns of the batch that are normalised, for each panel.
    pub columns: Shared<'a, Columns>,
    /// Where the batch is zero.
    pub zeros: SharedZeros<'a>,
    /// What a sparse batch holds.
    pub stored: SharedStored<'a>,
}
