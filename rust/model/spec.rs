//! What a model is: everything that the user chooses before training.

use crate::data::input_transform::Transform;
use crate::error::{Error, Result};
use crate::nn::activation::Activation;
use crate::nn::likelihood::{Likelihood, MAX_TRIALS};

/// What the user chose.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// ColumnMap of X.
    pub n_features: usize,
    /// ColumnMap of z.
    pub latent_dim: usize,
    /// ColumnMap of y, which the encoder reads behind x and the decoder behind z: those of a conditional model, else none.
    pub conditions: usize,
    /// Whether the encoder's head gives the mean and the log variance of q(z|x), or z itself: a plain autoencoder.
    pub variational: bool,
    /// Widths of the encoder's hidden layers, from x on.
    pub encoder: Vec<usize>,
    /// Widths of the decoder's hidden layers, from z on.
    pub decoder: Vec<usize>,
    /// What a NaN in x is.
    pub missing: Missing,
    /// Between the layers.
    pub activation: Activation,
    /// p(x|z).
    pub likelihood: Likelihood,
    /// What is done to what the encoder sees, before noise.
    pub input_transform: Option<Transform>,
    /// Where the code is a document's topics.
    pub topics: Option<Topics>,
    /// What the output layer's parameters may be.
    pub loadings: WeightConstraint,
    /// The trials of each feature, for a binomial likelihood; else empty.
    pub trials: Vec<f32>,
}

/// A topic model: the decoder reads theta = softmax(m0 + s0 z) and is one layer, `topics`. With [`Likelihood::Mixture`] it
/// has the topics' distributions on words and no bias; else its outputs are normalised over the batch, and the bias is added
/// to that. The posterior's means are normalised over the batch in both.
#[derive(Clone, Debug, PartialEq)]
pub struct Topics {
    /// m0 of each topic.
    pub mean: Vec<f32>,
    /// s0 of each topic.
    pub scale: Vec<f32>,
}

impl Spec {
    /// The column of what the encoder reads where the conditions begin: behind x and its indicators, where it has some.
    pub fn conditions_at(&self) -> usize {
        self.n_features.saturating_mul(if self.missing == Missing::Indicated { 2 } else { 1 })
    }

    /// Whether the encoder may read the batch from where it is kept as what is to be reconstructed.
    pub fn encodes_as_is(&self) -> bool {
        self.conditions == 0 && self.input_transform.is_none() && !self.missing.is_masked()
    }

    /// Whether the gradient of a learned scale is stored by the output's epilogue.
    pub fn stores_scale_gradient(&self) -> bool {
        self.likelihood.learned_scale().is_some_and(|scale| scale.stores_gradient)
    }

    /// An error unless a binomial likelihood has its trials, and an output layer with constraints is one of slopes.
    pub(super) fn check_exam(&self) -> Result<()> {
        let trials = match self.likelihood {
            Likelihood::Binomial(_) => self.n_features,
            _ => 0,
        };
        let good = |m: &f32| (1.0..=MAX_TRIALS).contains(m);
        if self.trials.len() != trials || !self.trials.iter().all(good) {
            return Err(Error::Parameter(format!(
                "the features' trials are not {trials} numbers from 1 to {MAX_TRIALS}"
            )));
        }
        let slopes = self.topics.is_none() && self.likelihood.outputs_per_feature() == 1;
        if self.loadings != WeightConstraint::Free && !slopes {
            return Err(Error::Parameter(
                "constrained loadings are not for topics and a scale from the decoder".into(),
            ));
        }
        Ok(())
    }

    /// An error unless a topic model is one.
    pub(super) fn check_topics(&self) -> Result<()> {
        let wrong = match (&self.topics, self.likelihood) {
            (None, Likelihood::Mixture(_)) => "a mixture of words needs topics",
            (None, _) => return Ok(()),
            (Some(topics), Likelihood::Mixture(_) | Likelihood::Multinomial(_)) => {
                let good = |values: &[f32], least: f32| {
                    values.len() == self.latent_dim
                        && values.iter().all(|x| (least..=1e3).contains(x))
                };
                match (self.variational, self.conditions, self.decoder.len()) {
                    (true, 0, 0) if good(&topics.mean, -1e3) && good(&topics.scale, 1e-3) => {
                        return Ok(());
                    }
                    (true, 0, 0) => "the prior of topics has a mean and a scale of each",
                    _ => {
                        "a topic model is variational, without conditions and hidden layers of the decoder"
                    }
                }
            }
            (Some(_), _) => "topics are of words: counts",
        };
        Err(Error::Parameter(wrong.into()))
    }
}

/// What the output layer's parameters may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightConstraint {
    /// Anything.
    Free,
    /// Each input has one weight, which all outputs share.
    Common,
    /// Weights are not negative, and there is no bias.
    Nonnegative,
}

/// What a NaN in the data is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// An error.
    Refused,
    /// A value that was not observed.
    Masked,
    /// The same, and the encoder is told: behind x it reads a one for each such value and a zero for the others.
    Indicated,
}

impl Missing {
    /// Whether the data may have holes.
    pub fn is_masked(self) -> bool {
        self != Missing::Refused
    }
}
