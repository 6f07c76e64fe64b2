//! The words for a batch: its size, what a pass is for, where rows and noise come from, what the encoder reads.

use super::spec::Specification;
use crate::data::Source;
use crate::data::corruption::Corruption;
use crate::error::{Error, Result};
use crate::random::{Permutation, Stream};
use crate::simd::{Isa, WIDTH};

/// The share of stored values up to which a sparse batch stays sparse; above, filling panels and skipping their zeros is
/// faster (docs/performance.md has the figures).
const SPARSE: f64 = 0.2;
/// The most rows of a sparse batch: a row's number and a lane share a word.
const MOST_ROWS: usize = 1 << (u32::BITS - WIDTH.ilog2());
/// The most values of a sparse batch.
const MOST_STORED: usize = 1 << 31;

/// How large a batch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchSize {
    /// Examples.
    pub rows: usize,
    /// Draws of z for each, and so rows of all that comes behind it.
    pub copies: usize,
}

impl BatchSize {
    /// One draw for each example.
    pub fn of(rows: usize) -> BatchSize {
        BatchSize { rows, copies: 1 }
    }

    /// So many draws of z for each, or an error if a model of that kind has one only.
    pub fn with_draws(spec: &Specification, rows: usize, copies: usize) -> Result<BatchSize> {
        match copies {
            1 => {}
            0 => return Err(Error::Parameter("an example has at least one draw of z".into())),
            _ if spec.topics.is_some() => {
                return Err(Error::Parameter("a topic model has one draw of z".into()));
            }
            _ if spec.variational => {}
            _ => return Err(Error::Parameter("a plain autoencoder has no draws of z".into())),
        }
        Ok(BatchSize { rows, copies })
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

/// How the encoder's input is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputStorage {
    /// In the place of the batch, which is what the decoder reconstructs.
    Batch,
    /// As the batch's stored values, at most so many: nothing has all columns.
    Sparse(usize),
    /// In a matrix of its own: the batch with some values set to zero.
    Masked,
    /// In a matrix of its own.
    Separate,
}

impl InputStorage {
    /// The same, or sparse where a batch of `rows` rows of `x` need not have all columns.
    pub fn of(self, spec: &Specification, x: &Source, rows: usize) -> InputStorage {
        let sparse = x.csr().is_some_and(|csr| csr.density() <= SPARSE);
        match x.most_stored(rows) {
            Some(most)
                if sparse
                    && matches!(self, InputStorage::Batch | InputStorage::Masked)
                    && spec.conditions == 0
                    && !spec.missing.is_masked()
                    && rows <= MOST_ROWS
                    && most <= MOST_STORED =>
            {
                InputStorage::Sparse(most)
            }
            _ => self,
        }
    }
}

/// Which rows of an array make a batch.
#[derive(Clone, Copy)]
pub enum Rows<'a> {
    /// Neighbours, from this row on.
    From(usize),
    /// The places from this one on of a random order.
    Shuffled(&'a Permutation, usize),
}

impl Rows<'_> {
    /// The rows at places `first..first + to.len()` of the batch, at most sixteen.
    pub(super) fn fill(self, isa: Isa, first: usize, to: &mut [usize]) {
        match self {
            Rows::From(row) => to.iter_mut().zip(row + first..).for_each(|(to, r)| *to = r),
            Rows::Shuffled(order, place) => order.fill(isa, place + first, to),
        }
    }
}

/// What the encoder reads.
#[derive(Clone, Copy)]
pub enum EncoderInput<'a> {
    /// The batch.
    Batch,
    /// The batch with noise.
    Corrupted(Corruption, NoiseKey),
    /// The caller's array: one row an example, from that row on.
    Given(Source<'a>, usize),
}

impl<'a> EncoderInput<'a> {
    /// The caller's array from a row on, if there is one; else the batch, with noise if it is to have any.
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

    /// How it is kept.
    pub(crate) fn storage(self) -> InputStorage {
        match self {
            EncoderInput::Batch => InputStorage::Batch,
            EncoderInput::Corrupted(Corruption::Masking { .. }, _) => InputStorage::Masked,
            _ => InputStorage::Separate,
        }
    }
}

/// What the model's own noise depends on, beside its seed.
#[derive(Clone, Copy)]
pub enum NoiseKey {
    /// The training noise of a step; the row is the place in the batch.
    Train(u64, u32),
    /// The scoring noise; the row is the example's content.
    Score(u64),
    /// A draw from the posteriors of an array's rows, of which the batch is those from a first one on.
    Posterior {
        /// The seed.
        seed: u64,
        /// The batch's first row.
        first: usize,
        /// Which draw.
        sample: u32,
    },
}

impl NoiseKey {
    /// The key of the generator.
    pub fn seed(self) -> u64 {
        let (NoiseKey::Train(seed, _) | NoiseKey::Score(seed) | NoiseKey::Posterior { seed, .. }) =
            self;
        seed
    }

    /// The stream of eps.
    pub(super) fn stream(self) -> Stream {
        match self {
            NoiseKey::Train(..) => Stream::Train,
            NoiseKey::Score(_) => Stream::Score,
            NoiseKey::Posterior { .. } => Stream::Posterior,
        }
    }
}

/// Where eps comes from.
#[derive(Clone, Copy)]
pub enum Epsilon<'a> {
    /// The caller: one row for each draw of an example, from that example on.
    Given(Source<'a>, usize),
    /// The caller: that row for all examples.
    Same(Source<'a>, usize),
    /// The model.
    Drawn(NoiseKey),
}
