//! The specification of a model: everything that the user chooses before training. As JSON it is the argument of the
//! engine and the configuration in the model file. An option that is absent has its default; one that is not known is an
//! error.

use super::layer_list::LayerSpecification;
use crate::data::input_transform::Transform;
use crate::error::{Error, Result};
use crate::nn::activation::Activation;
use crate::nn::likelihood::{Likelihood, MAX_TRIALS};
use crate::nn::optimizer::Optimizer;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The most columns of a layer: a counter of noise has 24 bits for a block of four columns.
pub const MAX_WIDTH: usize = 1 << 26;

/// What the user chose. The defaults are those of [`Specification::default`]; sizes have none, so that they must be given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Specification {
    /// Columns of X.
    pub n_features: usize,
    /// Columns of z.
    pub latent_dim: usize,
    /// Columns of y, which the encoder reads behind x and the decoder behind z: those of a conditional model, else none.
    pub conditions: usize,
    /// Whether the encoder's head gives the mean and the log variance of q(z|x), or z itself: a plain autoencoder.
    pub variational: bool,
    /// The encoder's hidden layers, from x on.
    #[serde(deserialize_with = "super::layer_list::read")]
    pub encoder: Vec<LayerSpecification>,
    /// The decoder's hidden layers, from z on.
    #[serde(deserialize_with = "super::layer_list::read")]
    pub decoder: Vec<LayerSpecification>,
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
    pub weight_constraint: WeightConstraint,
    /// The trials of each feature, for a binomial likelihood; else empty.
    pub trials: Vec<f32>,
    /// How parameters follow gradients.
    pub optimizer: Optimizer,
    /// The key of all noise.
    pub seed: u64,
}

impl Default for Specification {
    fn default() -> Specification {
        Specification {
            n_features: 0,
            latent_dim: 0,
            conditions: 0,
            variational: true,
            encoder: Vec::new(),
            decoder: Vec::new(),
            missing: Missing::Refused,
            activation: Activation::Relu,
            likelihood: Likelihood::Bernoulli,
            input_transform: None,
            topics: None,
            weight_constraint: WeightConstraint::Free,
            trials: Vec::new(),
            optimizer: Optimizer::default(),
            seed: 0,
        }
    }
}

/// A topic model: the decoder reads theta = softmax(m0 + s0 z) and is one layer, `topics`. With [`Likelihood::Mixture`] it
/// has the topics' distributions on words and no bias; else its outputs are normalised over the batch, and the bias is added
/// to that. The posterior's means are normalised over the batch in both.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topics {
    /// m0 of each topic.
    pub mean: Vec<f32>,
    /// s0 of each topic.
    pub scale: Vec<f32>,
}

impl Specification {
    /// Reads a specification, which is checked.
    pub fn from_json(text: &str) -> Result<Specification> {
        let specification: Specification =
            serde_json::from_str(text).map_err(|error| wrong_option(text, &error))?;
        specification.check()?;
        Ok(specification)
    }

    /// The inverse of [`Specification::from_json`]: all options, always in the same order.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a specification is numbers and names")
    }

    /// An error unless there is such a model. The one place where the options are held against each other.
    pub fn check(&self) -> Result<()> {
        let size = |name: &str, n: usize, least: usize| match (least..=MAX_WIDTH).contains(&n) {
            true => Ok(()),
            false => Err(Error::Parameter(format!("{name}={n} must be {least} to {MAX_WIDTH}"))),
        };
        size("n_features", self.n_features, 1)?;
        size("latent_dim", self.latent_dim, 1)?;
        size("conditions", self.conditions, 0)?;
        super::layer_list::check("encoder", &self.encoder)?;
        super::layer_list::check("decoder", &self.decoder)?;
        self.likelihood.check()?;
        self.optimizer.check()?;
        if self.conditions > 0 && !self.variational {
            return Err(Error::Parameter("a plain autoencoder has no conditions".into()));
        }
        self.check_topics()?;
        self.check_exam()?;
        if self.missing.is_masked() && !self.likelihood.takes_holes() {
            return Err(Error::Parameter(
                "missing=\"mask\" wants a likelihood of single features: that of words is of all of them, and a word that \
                 does not occur is a zero"
                    .into(),
            ));
        }
        Ok(())
    }

    /// The column of what the encoder reads where the conditions begin: behind x and its indicators, where it has some.
    pub fn conditions_at(&self) -> usize {
        self.n_features.saturating_mul(if self.missing == Missing::Indicated { 2 } else { 1 })
    }

    /// Whether the encoder may read the batch from where it is kept as what is to be reconstructed.
    pub fn encodes_as_is(&self) -> bool {
        self.conditions == 0 && self.input_transform.is_none() && !self.missing.is_masked()
    }

    /// An error unless a binomial likelihood has its trials, and an output layer with constraints is one of slopes.
    fn check_exam(&self) -> Result<()> {
        let trials = if self.likelihood == Likelihood::Binomial { self.n_features } else { 0 };
        let good = |m: &f32| (1.0..=MAX_TRIALS).contains(m);
        if self.trials.len() != trials || !self.trials.iter().all(good) {
            return Err(Error::Parameter(format!(
                "the features' trials are not {trials} numbers from 1 to {MAX_TRIALS}"
            )));
        }
        let slopes = self.topics.is_none() && self.likelihood.decoder_floor().is_none();
        if self.weight_constraint != WeightConstraint::Free && !slopes {
            return Err(Error::Parameter(
                "a weight constraint is not for topics and a scale from the decoder".into(),
            ));
        }
        Ok(())
    }

    /// An error unless a topic model is one.
    fn check_topics(&self) -> Result<()> {
        let wrong = match (&self.topics, self.likelihood) {
            (None, Likelihood::Mixture) => "a mixture of words needs topics",
            (None, _) => return Ok(()),
            (Some(topics), Likelihood::Mixture | Likelihood::Multinomial) => {
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

/// Names the option that a text has wrong. Every option has a default, so each can be read alone.
fn wrong_option(text: &str, error: &serde_json::Error) -> Error {
    let options: Map<String, Value> = serde_json::from_str(text).unwrap_or_default();
    let wrong = options.into_iter().find_map(|(name, value)| {
        let alone = Value::Object(Map::from_iter([(name.clone(), value)]));
        Some((name, Specification::deserialize(alone).err()?.to_string()))
    });
    Error::Parameter(match wrong {
        Some((_, why)) if why.starts_with("unknown field") => {
            format!("the specification has an {}", why.replacen("field", "option", 1))
        }
        Some((name, why)) => {
            format!(
                "the specification's {name}: {}",
                why.replacen("unknown field", "unknown option", 1)
            )
        }
        None => format!("the specification is not JSON with one value for each option: {error}"),
    })
}

/// What the output layer's parameters may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WeightConstraint {
    /// Anything.
    Free,
    /// Each input has one weight, which all outputs share.
    Common,
    /// Weights are not negative, and there is no bias.
    Nonnegative,
}

/// What a NaN in the data is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Missing {
    /// An error.
    #[serde(rename = "error")]
    Refused,
    /// A value that was not observed.
    #[serde(rename = "mask")]
    Masked,
    /// The same, and the encoder is told: behind x it reads a one for each such value and a zero for the others.
    #[serde(rename = "indicator")]
    Indicated,
}

impl Missing {
    /// Whether the data may have holes.
    pub fn is_masked(self) -> bool {
        self != Missing::Refused
    }
}
