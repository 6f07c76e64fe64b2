//! The description of a batch: its size, the kind of pass, its rows, the encoder's input, and the noise.

use super::spec::Specification;
use crate::data::Source;
use crate::data::corruption::Corruption;
use crate::data::standardize::Standardize;
use crate::error::{Error, Result};
use crate::nn::composite_prior::Mixture;
use crate::nn::objective::Objective;
use crate::random::{Permutation, Stream};
use crate::simd::{Isa, WIDTH};

/// The largest density at which batches stay sparse. Above, dense panels with skipped zeros are faster
/// (docs/performance.md has the figures).
const MAX_DENSITY: f64 = 0.2;
/// The most rows of a sparse batch: a 32-bit word holds a row number and a lane.
const MAX_ROWS: usize = 1 << (u32::BITS - WIDTH.ilog2());
/// The most stored values of a sparse batch.
const MAX_STORED: usize = 1 << 31;

/// The size of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchSize {
    /// Examples.
    pub rows: usize,
    /// Draws of z for each example: z and the decoder's activations have `rows * copies` rows.
    pub copies: usize,
}

impl BatchSize {
    /// One draw for each example.
    pub fn of(rows: usize) -> BatchSize {
        BatchSize { rows, copies: 1 }
    }

    /// `copies` draws of z for each example. Returns an error if the kind of model allows one only.
    pub fn with_draws(spec: &Specification, rows: usize, copies: usize) -> Result<BatchSize> {
        match copies {
            1 => {}
            0 => return Err(Error::Parameter("an example needs at least one draw of z".into())),
            _ if spec.topics.is_some() => {
                return Err(Error::Parameter(
                    "a topic model allows one draw of z for each example".into(),
                ));
            }
            _ if spec.variational => {}
            _ => return Err(Error::Parameter("a plain autoencoder has no draws of z".into())),
        }
        Ok(BatchSize { rows, copies })
    }
}

/// The kind of a pass through the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassKind {
    /// Forward only.
    Infer,
    /// Forward and backward.
    Train,
}

/// The storage of the encoder's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputStorage {
    /// The batch itself, which the decoder reconstructs.
    Batch,
    /// The stored values of the batch, at most this many. No matrix has all columns.
    Sparse(usize),
    /// A separate matrix: the batch with some values set to zero.
    Masked,
    /// A separate matrix.
    Separate,
}

impl InputStorage {
    /// The storage for batches of `rows` rows of `x`: sparse if `x` is sparse enough and the model allows it, else
    /// `self`.
    pub fn of(self, spec: &Specification, x: &Source, rows: usize) -> InputStorage {
        let sparse = x.csr().is_some_and(|csr| csr.density() <= MAX_DENSITY);
        // Conditions that are not zero are stored behind the values of their row.
        let most = x.most_stored(rows).map(|most| most.saturating_add(rows * spec.conditions));
        match most {
            Some(most)
                if sparse
                    && matches!(self, InputStorage::Batch | InputStorage::Masked)
                    && (spec.conditions == 0 || spec.topics.is_none())
                    && spec.input_standardize().is_none_or(Standardize::keeps_zeros)
                    && !spec.encoder_is_convolutional()
                    && !spec.missing.is_masked()
                    && spec.likelihood.groups().is_none()
                    && rows <= MAX_ROWS
                    && most <= MAX_STORED =>
            {
                InputStorage::Sparse(most)
            }
            _ => self,
        }
    }
}

/// The rows of an array that form a batch.
#[derive(Clone, Copy)]
pub enum Rows<'a> {
    /// Consecutive rows from this one on.
    From(usize),
    /// Consecutive positions of a permutation, from this one on.
    Shuffled(&'a Permutation, usize),
}

impl Rows<'_> {
    /// Writes the array rows of batch rows `first..first + to.len()`, at most sixteen.
    pub(super) fn fill(self, isa: Isa, first: usize, to: &mut [usize]) {
        match self {
            Rows::From(row) => to.iter_mut().zip(row + first..).for_each(|(to, r)| *to = r),
            Rows::Shuffled(order, place) => order.fill(isa, place + first, to),
        }
    }
}

/// The encoder's input.
#[derive(Clone, Copy)]
pub enum EncoderInput<'a> {
    /// The batch.
    Batch,
    /// The batch with corruption noise.
    Corrupted(Corruption, NoiseKey),
    /// An array of the caller, one row for each example, from this row on.
    Given(Source<'a>, usize),
}

impl<'a> EncoderInput<'a> {
    /// The caller's array from a row on, if given; else the batch, corrupted if `corruption` is given.
    pub fn of(
        given: Option<(Source<'a>, usize)>,
        corruption: Option<Corruption>,
        key: NoiseKey,
    ) -> EncoderInput<'a> {
        match (given, corruption) {
            (Some((source, first)), _) => EncoderInput::Given(source, first),
            (None, Some(corruption)) => EncoderInput::Corrupted(corruption, key),
            (None, None) => EncoderInput::Batch,
        }
    }

    /// Its storage.
    pub(crate) fn storage(self) -> InputStorage {
        match self {
            EncoderInput::Batch => InputStorage::Batch,
            EncoderInput::Corrupted(Corruption::Masking { .. }, _) => InputStorage::Masked,
            _ => InputStorage::Separate,
        }
    }
}

/// A composite prior of a training pass: its mixture, and for each row of the array of examples (of which some rows may be
/// selected) the earlier posterior and a factor of the KL's weight.
#[derive(Clone, Copy)]
pub struct CompositePrior<'a> {
    /// The weights of the mixture.
    pub mixture: Mixture,
    /// Means and log variances of the earlier posteriors, [rows, latent_dim] each.
    pub posteriors: [Source<'a>; 2],
    /// The factors.
    pub factors: &'a [f32],
}

impl CompositePrior<'_> {
    /// Returns an error unless the prior fits the model, the loss, and the examples `x`.
    pub fn check(&self, spec: &Specification, objective: Objective, x: &Source) -> Result<()> {
        let wrong = |why: &str| Err(Error::Parameter(format!("a composite prior {why}")));
        if !spec.variational || objective.importance.samples > 1 || !objective.kl.is_plain() {
            return wrong("is for the KL of one draw, without free bits and capacity");
        }
        let rows = (0..x.rows()).map(|row| x.place(row) + 1).max().unwrap_or(0);
        let [mean, logvar] = self.posteriors.map(|part| (part.rows() >= rows, part.cols()));
        let fits = (true, spec.latent_dim);
        if mean != fits || logvar != fits || self.factors.len() < rows {
            return wrong("needs a posterior and a factor for each row of X");
        }
        match self.factors.iter().all(|factor| (0.0..f32::INFINITY).contains(factor)) {
            true => Ok(()),
            false => wrong("needs factors of at least 0"),
        }
    }
}

/// The key of the model's noise.
#[derive(Clone, Copy)]
pub enum NoiseKey {
    /// Noise of a training step (seed, step), by position in the batch.
    Train(u64, u32),
    /// Noise for scores (seed), by a hash of the example's content.
    Score(u64),
    /// A draw from the posteriors of an array's rows, by row.
    Posterior {
        /// The seed.
        seed: u64,
        /// The row of the array that is the batch's first.
        first: usize,
        /// The number of the draw.
        sample: u32,
    },
}

impl NoiseKey {
    /// The seed of the generator.
    pub fn seed(self) -> u64 {
        let (NoiseKey::Train(seed, _) | NoiseKey::Score(seed) | NoiseKey::Posterior { seed, .. }) =
            self;
        seed
    }

    /// The generator's stream for eps.
    pub(super) fn stream(self) -> Stream {
        match self {
            NoiseKey::Train(..) => Stream::Train,
            NoiseKey::Score(_) => Stream::Score,
            NoiseKey::Posterior { .. } => Stream::Posterior,
        }
    }
}

/// The source of eps.
#[derive(Clone, Copy)]
pub enum Epsilon<'a> {
    /// An array of the caller: one row for each draw, from this example's draws on.
    Given(Source<'a>, usize),
    /// This row of an array of the caller, for all examples.
    Same(Source<'a>, usize),
    /// The model's random generator.
    Drawn(NoiseKey),
}
