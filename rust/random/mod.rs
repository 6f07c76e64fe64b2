//! Counter-based noise. Nothing is stored between draws: an element of noise is a function of its coordinates, so it is the
//! same for any number of threads, any batch split and any vector width.

mod content_hash;
pub mod draws;
mod mix;
mod noise;
mod permutation;
mod philox;

pub use content_hash::ContentHash;
pub use noise::{Distribution, Fill, Noise, row_words, uniform_at, uniform_panel};
pub use permutation::Permutation;

/// Purposes that must not share noise; the top byte of the counter's first word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Stream {
    /// Initial weights.
    Init = 0,
    /// Order of the examples in an epoch.
    Shuffle = 1,
    /// eps of the reparameterisation in training.
    Train = 2,
    /// eps of scores, keyed by the example's content.
    Score = 3,
    /// Codes drawn from the prior.
    Prior = 4,
    /// Observations drawn from p(x|z).
    Observation = 5,
    /// Noise on the encoder's input in training.
    Corruption = 6,
    /// Noise on arrays of `fastvae.corruption`.
    Corrupted = 7,
    /// eps of marginal likelihoods, keyed by the example's content; many samples each.
    Marginal = 8,
    /// Binary values drawn from grey ones.
    Binary = 9,
    /// eps of posterior samples.
    Posterior = 10,
    /// Choices among weighted samples.
    Resampling = 11,
}
