//! The specification of a model: all options fixed before training. Its JSON form is the argument of the engine and the
//! configuration in the model file. An absent option has its default; an unknown option is an error.

use super::layer_list::{self, LayerSpecification, MAX_WIDTH, Shape};
use super::layers::Seed;
use crate::data::input_transform::Transform;
use crate::data::standardize::Standardize;
use crate::data::{Element, Source};
use crate::error::{Error, Result};
use crate::json::{self, Object};
use crate::nn::activation::Activation;
use crate::nn::image::ImageShape;
use crate::nn::item_prior::{ItemPrior, SlopePrior};
use crate::nn::likelihood::{
    Bernoulli, FeatureParameter, LearnedScale, Likelihood, MAX_TRIALS, SizeFactor,
};
use crate::nn::optimizer::Optimizer;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// The options of a model. Defaults: [`Specification::default`]. `n_features` and `latent_dim` have no valid default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Specification {
    /// Number of columns of X.
    pub n_features: usize,
    /// Number of columns of z.
    pub latent_dim: usize,
    /// Number of columns of y in a conditional model, else 0. The encoder's input is x, y; the decoder's input is z, y, or of
    /// a topic model z alone: y are embeddings of documents.
    pub conditions: usize,
    /// True: the encoder's head computes mean and log variance of q(z|x). False: it computes z (a plain autoencoder).
    pub variational: bool,
    /// Height, width and channels of x as an image; its columns are in row-major order, channels last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_shape: Option<[usize; 3]>,
    /// The encoder's hidden layers, in order from x.
    #[serde(deserialize_with = "super::layer_list::read")]
    pub encoder: Vec<LayerSpecification>,
    /// The decoder's hidden layers, in order from z.
    #[serde(deserialize_with = "super::layer_list::read")]
    pub decoder: Vec<LayerSpecification>,
    /// The meaning of NaN in x.
    pub missing: Missing,
    /// The activation of hidden layers.
    pub activation: Activation,
    /// The likelihood p(x|z).
    #[serde(deserialize_with = "json::object")]
    pub likelihood: Likelihood,
    /// The transform of the encoder's input, applied before noise.
    pub input_transform: Option<Transform>,
    /// The standardisation of columns of the training data that are far from unit size.
    #[serde(deserialize_with = "json::optional_object", skip_serializing_if = "Option::is_none")]
    pub standardize: Option<Standardize>,
    /// The standardisation of real covariates y that are far from unit size.
    #[serde(deserialize_with = "json::optional_object", skip_serializing_if = "Option::is_none")]
    pub standardize_y: Option<Standardize>,
    /// The counts in a given size of 1: the ratio of the counts and the given sizes of the training data; else 1.
    #[serde(skip_serializing_if = "is_one")]
    pub size_unit: f32,
    /// The prior of a topic model.
    #[serde(deserialize_with = "json::optional_object")]
    pub topics: Option<Topics>,
    /// Words that the prior gives to a topic.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub seeds: Vec<Seed>,
    /// The constraint on the output layer's weights.
    pub weight_constraint: WeightConstraint,
    /// The prior of the output layer's weights and biases: slopes and intercepts of an item response model.
    #[serde(deserialize_with = "json::optional_object", skip_serializing_if = "Option::is_none")]
    pub item_prior: Option<ItemPrior>,
    /// The number of trials of each feature for a binomial likelihood, else empty.
    pub trials: Vec<f32>,
    /// The optimizer and its options.
    #[serde(deserialize_with = "json::object")]
    pub optimizer: Optimizer,
    /// The operands of matrix products.
    #[serde(skip_serializing_if = "Precision::is_float32")]
    pub precision: Precision,
    /// Whether dense layers have their weights in bfloat16 only: a network for inference only. A network in int8 is for inference
    /// only without this option.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub inference_only: bool,
    /// The seed of all noise.
    pub seed: u64,
}

impl Default for Specification {
    fn default() -> Specification {
        Specification {
            n_features: 0,
            latent_dim: 0,
            conditions: 0,
            variational: true,
            image_shape: None,
            encoder: Vec::new(),
            decoder: Vec::new(),
            missing: Missing::Refused,
            activation: Activation::Relu,
            likelihood: Bernoulli {}.into(),
            input_transform: None,
            standardize: None,
            standardize_y: None,
            size_unit: 1.0,
            topics: None,
            seeds: Vec::new(),
            weight_constraint: WeightConstraint::Free,
            item_prior: None,
            trials: Vec::new(),
            optimizer: Optimizer::default(),
            precision: Precision::Float32,
            inference_only: false,
            seed: 0,
        }
    }
}

/// A topic model. The decoder is one layer, `topics`, with the input theta = softmax(m0 + s0 z). With
/// [`Likelihood::Mixture`] its weights are the word distributions of the topics, without bias. Otherwise its outputs
/// are batch-normalised before the bias. Both models batch-normalise the posterior's means.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topics {
    /// m0 of each topic.
    pub mean: Vec<f32>,
    /// s0 of each topic.
    pub scale: Vec<f32>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
fn is_one(x: &f32) -> bool {
    *x == 1.0
}

impl Specification {
    /// Reads and checks a specification.
    pub fn from_json(text: &str) -> Result<Specification> {
        let Object(specification): Object<Specification> =
            serde_json::from_str(text).map_err(|error| wrong_option(text, &error))?;
        specification.check()?;
        Ok(specification)
    }

    /// The inverse of [`Specification::from_json`]: all options, in a fixed order.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a specification is numbers and names")
    }

    /// Returns an error for invalid options. All checks across options are here.
    pub fn check(&self) -> Result<()> {
        let size = |name: &str, n: usize, least: usize| match (least..=MAX_WIDTH).contains(&n) {
            true => Ok(()),
            false => Err(Error::Parameter(format!("{name}={n} must be {least} to {MAX_WIDTH}"))),
        };
        size("n_features", self.n_features, 1)?;
        size("latent_dim", self.latent_dim, 1)?;
        size("conditions", self.conditions, 0)?;
        self.likelihood.check()?;
        self.optimizer.check()?;
        if self.conditions > 0 && !self.variational {
            return Err(Error::Parameter("a plain autoencoder has no conditions".into()));
        }
        self.check_image()?;
        self.check_groups()?;
        self.check_topics()?;
        self.standardize.as_ref().map_or(Ok(()), |by| by.check(self.n_features))?;
        self.standardize_y.as_ref().map_or(Ok(()), |by| by.check(self.conditions))?;
        self.check_exam()?;
        self.check_quantized()?;
        self.check_precision()?;
        if !(self.size_unit > 0.0 && self.size_unit.is_finite()) {
            return Err(Error::Parameter(format!(
                "size_unit={} must be a positive number",
                self.size_unit
            )));
        }
        let of_batches = |scale: LearnedScale| scale.per_condition;
        if self.conditions == 0 && self.likelihood.learned_scale().is_some_and(of_batches) {
            return Err(Error::Parameter(
                "dispersion=\"batch\" needs batches: pass conditional=True, and them as y".into(),
            ));
        }
        if self.missing.is_masked() && !self.likelihood.allows_missing() {
            return Err(Error::Parameter(
                "missing=\"mask\" wants a likelihood of single features: that of words, or of counts with a size_factor, is of \
                 all of them. A word that does not occur is a zero; for counts with holes leave out size_factor"
                    .into(),
            ));
        }
        Ok(())
    }

    /// Returns an error unless the shapes of all layers and of the image are consistent.
    fn check_image(&self) -> Result<()> {
        if let Some([height, width, channels]) = self.image_shape {
            let sides = [height, width, channels];
            let size = sides.iter().try_fold(1_usize, |size, &side| size.checked_mul(side));
            if sides.iter().any(|&side| side > MAX_WIDTH) || size != Some(self.n_features) {
                return Err(Error::Parameter(format!(
                    "image_shape=({height}, {width}, {channels}) does not fit X, which has {} features",
                    self.n_features
                )));
            }
        }
        self.encoder_shapes()?;
        self.decoder_shapes()?;
        Ok(())
    }

    /// Returns an error unless all layers can multiply bfloat16.
    fn check_precision(&self) -> Result<()> {
        let constrained =
            self.weight_constraint != WeightConstraint::Free || self.item_prior.is_some();
        match self.precision {
            Precision::Bf16 if self.topics.is_some() || constrained => Err(Error::Parameter(
                "precision=\"bf16\" is for networks of dense and convolutional layers: topic models and exams need float32"
                    .into(),
            )),
            _ => Ok(()),
        }
    }

    /// Returns an error unless groups of columns are the columns of a table that a dense network makes.
    fn check_groups(&self) -> Result<()> {
        if let Likelihood::LogNormal(_) | Likelihood::Categorical(_) | Likelihood::Ordinal(_) =
            self.likelihood
        {
            return Err(Error::Parameter(format!(
                "the {} likelihood is one of a group of columns: use it in fastvae.likelihoods.Mixed",
                self.likelihood.name()
            )));
        }
        let Some(groups) = self.likelihood.groups() else { return Ok(()) };
        let wrong = |why: String| Err(Error::Parameter(why));
        if groups.columns != self.n_features {
            return wrong(format!(
                "the groups of likelihoods.Mixed have {} columns, but X has {}: the n_columns of all groups add up to the \
                 columns of X (a categorical or ordinal variable has one column for each level)",
                groups.columns, self.n_features
            ));
        }
        if self.image_shape.is_some() {
            return wrong(
                "likelihoods.Mixed is for the columns of a table: leave out image_shape".into(),
            );
        }
        if self.input_transform.is_some() {
            return wrong(
                "likelihoods.Mixed transforms each column as its group does: leave out input_transform"
                    .into(),
            );
        }
        let free = self.weight_constraint == WeightConstraint::Free && self.item_prior.is_none();
        match free {
            true => Ok(()),
            false => {
                wrong("a constraint or a prior of weights is not for likelihoods.Mixed".into())
            }
        }
    }

    /// Whether the encoder reads x as an image.
    pub fn encoder_is_convolutional(&self) -> bool {
        self.encoder.first().is_some_and(|layer| layer.units().is_none())
    }

    /// Whether the first layer reads lists of the nonzero elements of a dense batch; one in bytes makes its own.
    pub fn reads_lists(&self) -> bool {
        !self.encoder_is_convolutional() && (self.encoder.is_empty() || !self.is_int8())
    }

    /// Whether layers have weights in bytes: a network for inference only.
    pub fn is_int8(&self) -> bool {
        self.precision == Precision::Int8
    }

    /// Whether the network has the weights that training needs; else it is for inference only.
    pub fn trains(&self) -> bool {
        !self.is_int8() && !self.inference_only
    }

    /// Which of the optimiser's two moments the model has.
    pub fn moments(&self) -> [bool; 2] {
        if self.trains() { self.optimizer.moments() } else { [false; 2] }
    }

    /// Returns an error for a network that is to be quantised, but has no form in int8, or in bfloat16 for inference only.
    fn check_quantized(&self) -> Result<()> {
        let dense = |layer: &LayerSpecification| layer.units().is_some();
        let free = self.weight_constraint == WeightConstraint::Free && self.item_prior.is_none();
        let wrong = match () {
            () if self.trains() => return Ok(()),
            () if self.inference_only && self.precision != Precision::Bf16 => {
                "inference_only is for precision \"bf16\""
            }
            () if !self.encoder.iter().chain(&self.decoder).all(dense) => {
                "a convolutional network has no quantised form: leave its weights in float32, and save it with \
                 optimizer=False to make the file smaller"
            }
            () if self.inference_only => return Ok(()), // other refusals are those of any network in bf16
            () if self.topics.is_some() => {
                "a topic model has no int8 form: its topics are its result; use float32"
            }
            () if !free => {
                "an item response model has no int8 form: its item parameters are its result; use float32"
            }
            () if self.encoder.is_empty() && self.decoder.is_empty() => {
                "a network without hidden layers has no int8 form, because the layers next to z stay float32: it is small \
                 and fast already; use float32"
            }
            () => return Ok(()),
        };
        Err(Error::Parameter(wrong.into()))
    }

    /// The shape of x as an image, if set.
    pub fn image(&self) -> Option<ImageShape> {
        let [height, width, channels] = self.image_shape?;
        Some(ImageShape { height, width, channels })
    }

    /// The image that a convolutional encoder reads: the channels of x, then those of its missing-value indicators.
    pub fn encoder_image(&self) -> Option<ImageShape> {
        let image = self.image()?;
        let parts = if self.missing == Missing::Indicated { 2 } else { 1 };
        Some(ImageShape { channels: parts * image.channels, ..image })
    }

    /// Returns an error unless each Unflatten follows a dense layer.
    fn check_unflatten(name: &str, layers: &[LayerSpecification]) -> Result<()> {
        for (i, layer) in layers.iter().enumerate() {
            let dense = i > 0 && layers[i - 1].units().is_some();
            if matches!(layer, LayerSpecification::Unflatten { .. }) && !dense {
                return Err(Error::Parameter(format!(
                    "{name}[{i}] is Unflatten; it must follow a Dense layer"
                )));
            }
        }
        Ok(())
    }

    /// The shapes of the encoder's input and hidden layers.
    pub fn encoder_shapes(&self) -> Result<Vec<Shape>> {
        let flat = Shape::Flat(self.conditions_at().saturating_add(self.conditions));
        let input = self.encoder_image().map_or(flat, Shape::Image);
        let shapes = layer_list::shapes("hidden", input, &self.encoder)?;
        Specification::check_unflatten("hidden", &self.encoder)?;
        Ok(shapes)
    }

    /// The shapes of the decoder's input and hidden layers. The last shape of a convolutional decoder is the image.
    pub fn decoder_shapes(&self) -> Result<Vec<Shape>> {
        let input = Shape::Flat(self.latent_dim.saturating_add(self.decoder_conditions()));
        let shapes = layer_list::shapes("decoder_hidden", input, &self.decoder)?;
        Specification::check_unflatten("decoder_hidden", &self.decoder)?;
        let wrong = |why: String| Err(Error::Parameter(why));
        let Some(&last @ Shape::Image(image)) = shapes.last() else { return Ok(shapes) };
        let Some(wanted) = self.image() else {
            return wrong(
                "a convolutional decoder makes images: pass image_shape=(height, width, channels)"
                    .into(),
            );
        };
        let way: Vec<String> = shapes.iter().map(Shape::to_string).collect();
        if image != wanted {
            return wrong(format!(
                "decoder_hidden ends with {last}, but image_shape is {} (sizes: {})",
                Shape::Image(wanted),
                way.join(" -> ")
            ));
        }
        match self.decoder.iter().rfind(|layer| !layer.is_pool()) {
            Some(LayerSpecification::ConvTranspose2d { end, .. } | LayerSpecification::Conv2d { end, .. })
                if !end.batch_norm && end.activation.is_none() =>
            {
                Ok(shapes)
            }
            _ => wrong(
                "the last layer of decoder_hidden with weights makes the output: it must be ConvTranspose2d or Conv2d \
                 without batch_norm and activation"
                    .into(),
            ),
        }
    }

    /// The first column of the conditions in the encoder's input: after x and its missing-value indicators, if any.
    pub fn conditions_at(&self) -> usize {
        self.n_features.saturating_mul(if self.missing == Missing::Indicated { 2 } else { 1 })
    }

    /// The number of columns of y in the decoder's input.
    pub fn decoder_conditions(&self) -> usize {
        if self.topics.is_some() { 0 } else { self.conditions }
    }

    /// Whether y may have a column of sizes behind the conditions.
    pub fn has_sizes(&self) -> bool {
        self.likelihood.size_factor() == Some(SizeFactor::Given)
    }

    /// Whether the encoder's input equals the reconstruction target, so that both share one matrix.
    pub fn encodes_as_is(&self) -> bool {
        self.conditions == 0
            && self.input_transform.is_none()
            && self.standardize.is_none()
            && !self.missing.is_masked()
            && !self.likelihood.groups().is_some_and(|groups| groups.transforms)
    }

    /// The standardisation of the encoder's input; a transform of the user replaces it.
    pub fn input_standardize(&self) -> Option<&Standardize> {
        self.standardize.as_ref().filter(|_| self.input_transform.is_none())
    }

    /// Whether loading moves rounding errors of these examples to the end of the likelihood's range.
    pub fn rounds_off(&self, examples: &Source) -> bool {
        let floats = matches!(examples.element(), Element::F32 | Element::F64);
        floats && self.likelihood.support().rounding > 0.0
    }

    /// Returns an error for wrong numbers of trials, and for a weight constraint or a prior of items on topics or on
    /// several outputs for each feature.
    fn check_exam(&self) -> Result<()> {
        let trials = match self.likelihood.parameter() {
            FeatureParameter::Trials => self.n_features,
            _ => 0,
        };
        let good = |m: &f32| (1.0..=MAX_TRIALS).contains(m);
        if self.trials.len() != trials || !self.trials.iter().all(good) {
            return Err(Error::Parameter(format!(
                "the features' trials are not {trials} numbers from 1 to {MAX_TRIALS}"
            )));
        }
        let slopes = self.topics.is_none() && self.likelihood.outputs_per_feature() == 1;
        if self.weight_constraint != WeightConstraint::Free && !slopes {
            return Err(Error::Parameter(
                "a weight constraint is not for topics and a scale from the decoder".into(),
            ));
        }
        let Some(prior) = self.item_prior else { return Ok(()) };
        prior.check()?;
        if !slopes || !self.decoder.is_empty() {
            return Err(Error::Parameter(
                "a prior of items is for a decoder of one layer with one output for each feature"
                    .into(),
            ));
        }
        let one = self.latent_dim + self.conditions == 1;
        if matches!(prior.slope, SlopePrior::LogNormal { .. }) && !one {
            return Err(Error::Parameter(
                "a log-normal prior of slopes is for one dimension".into(),
            ));
        }
        Ok(())
    }

    /// Returns an error for an invalid topic model.
    fn check_topics(&self) -> Result<()> {
        let wrong = match (&self.topics, &self.likelihood) {
            (None, Likelihood::Mixture(_)) => "a mixture of words needs topics",
            (None, _) if !self.seeds.is_empty() => "seed words need topics",
            (None, _) => return Ok(()),
            (Some(topics), Likelihood::Mixture(_) | Likelihood::Multinomial(_)) => {
                let good = |values: &[f32], least: f32| {
                    values.len() == self.latent_dim
                        && values.iter().all(|x| (least..=1e3).contains(x))
                };
                for seed in &self.seeds {
                    seed.check(self.latent_dim, self.n_features)?;
                }
                match (self.variational, self.decoder.len()) {
                    (true, 0) if good(&topics.mean, -1e3) && good(&topics.scale, 1e-3) => {
                        return Ok(());
                    }
                    (true, 0) => "the prior of topics has a mean and a scale of each",
                    _ => "a topic model is variational, without hidden layers of the decoder",
                }
            }
            (Some(_), _) => "topics are of words: counts",
        };
        Err(Error::Parameter(wrong.into()))
    }
}

/// The error for an invalid specification. Names the first unknown option or the first option with an invalid value.
fn wrong_option(text: &str, error: &serde_json::Error) -> Error {
    let first = serde_json::Deserializer::from_str(text).deserialize_map(FirstWrong);
    let Ok(Some((name, why))) = first else {
        return Error::Parameter(format!(
            "the specification is not JSON: an object with one value for each option: {error}"
        ));
    };
    let nested = !why.starts_with(&format!("unknown field `{name}`"));
    let why = why.replacen("unknown field", "unknown option", 1);
    Error::Parameter(match nested {
        true => format!("the specification's {name}: {why}"),
        false => format!("the specification has an {why}"),
    })
}

/// Finds the first invalid option and its error. Reads each option alone, since every option has a default.
struct FirstWrong;

impl<'de> Visitor<'de> for FirstWrong {
    type Value = Option<(String, String)>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(
        self,
        mut map: A,
    ) -> std::result::Result<Self::Value, A::Error> {
        let mut first = None;
        while let Some((name, value)) = map.next_entry::<Cow<str>, &RawValue>()? {
            if first.is_none() {
                let name = serde_json::Value::from(name.as_ref()).to_string();
                let alone = ["{", &name, ":", value.get(), "}"].concat();
                let read: serde_json::Result<Object<Specification>> = serde_json::from_str(&alone);
                first = read.err().map(|why| (name.trim_matches('"').into(), json::message(&why)));
            }
        }
        Ok(first)
    }
}

/// The constraint on the output layer's weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WeightConstraint {
    /// No constraint.
    Free,
    /// One weight for each input, shared by all outputs.
    Common,
    /// Nonnegative weights, no bias.
    Nonnegative,
}

/// The operands of matrix products. Sums, weights, moments, statistics and losses are float32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// float32.
    #[default]
    Float32,
    /// bfloat16: the upper half of a float32, rounded to nearest even.
    Bf16,
    /// Bytes, for inference only: weights of dense layers but those next to z, with a scale for each output, and the layers'
    /// inputs, with a scale for each example.
    Int8,
}

impl Precision {
    /// All precisions with their names.
    pub const NAMED: [(&'static str, Precision); 2] =
        [("float32", Precision::Float32), ("bf16", Precision::Bf16)];

    /// Looks a precision up by name.
    pub fn named(name: &str) -> Result<Precision> {
        let found = Self::NAMED.iter().find(|(known, _)| *known == name);
        found.map(|&(_, precision)| precision).ok_or_else(|| {
            Error::Parameter(format!(
                "precision={name:?} is not known; use \"float32\" or \"bf16\""
            ))
        })
    }

    /// Whether operands are float32.
    #[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
    pub fn is_float32(&self) -> bool {
        *self == Precision::Float32
    }
}

/// The meaning of NaN in the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Missing {
    /// An error.
    #[serde(rename = "error")]
    Refused,
    /// An unobserved value.
    #[serde(rename = "mask")]
    Masked,
    /// An unobserved value. The encoder's input has indicators after x: 1 for unobserved values, else 0.
    #[serde(rename = "indicator")]
    Indicated,
}

impl Missing {
    /// Whether the data may have missing values.
    pub fn is_masked(self) -> bool {
        self != Missing::Refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::dense;
    use crate::nn::likelihood::{
        Binomial, Gaussian, Link, Mixture, Multinomial, NegativeBinomial, Poisson, Scale,
        SquaredError,
    };

    /// A specification with valid sizes.
    fn small() -> Specification {
        Specification { n_features: 3, latent_dim: 2, ..Specification::default() }
    }

    #[track_caller]
    fn assert_round_trip(specification: &Specification) {
        let text = specification.to_json();
        assert_eq!(Specification::from_json(&text).as_ref(), Ok(specification), "{text}");
        assert_eq!(Specification::from_json(&text).unwrap().to_json(), text);
    }

    /// The error message for an invalid specification.
    #[track_caller]
    fn refusal(text: &str) -> String {
        Specification::from_json(text).expect_err(text).to_string()
    }

    /// The JSON of `small` with an additional option.
    fn with(option: &str) -> String {
        format!(r#"{{"n_features":3,"latent_dim":2,{option}}}"#)
    }

    #[test]
    fn what_is_absent_has_its_default() {
        let read = Specification::from_json(r#"{"n_features":3,"latent_dim":2}"#).unwrap();
        assert_eq!(read, small());
        assert_eq!(
            read.to_json(),
            concat!(
                r#"{"n_features":3,"latent_dim":2,"conditions":0,"variational":true,"encoder":[],"decoder":[],"#,
                r#""missing":"error","activation":"relu","likelihood":{"kind":"bernoulli"},"input_transform":null,"#,
                r#""topics":null,"weight_constraint":"free","trials":[],"optimizer":{"kind":"adam","beta1":0.9,"#,
                r#""beta2":0.999,"eps":1e-8,"weight_decay":0.0},"seed":0}"#
            )
        );
        assert!(refusal("{}").contains("n_features=0 must be 1 to"));
    }

    #[test]
    fn every_option_comes_back() {
        assert_round_trip(&small());
        assert_round_trip(&Specification {
            conditions: 5,
            encoder: dense(&[4, 70]),
            decoder: dense(&[7]),
            missing: Missing::Indicated,
            likelihood: Gaussian { scale: Scale::Decoder, floor: 0.1, mean: Link::Sigmoid }.into(),
            seed: u64::MAX,
            ..small()
        });
        for (_, activation) in Activation::NAMED {
            assert_round_trip(&Specification { activation, ..small() });
        }
        assert_round_trip(&Specification { precision: Precision::Bf16, ..small() });
        for missing in [Missing::Refused, Missing::Masked, Missing::Indicated] {
            assert_round_trip(&Specification { missing, variational: false, ..small() });
        }
        let (l1, l2) = (Transform::L1, Transform::L2);
        for transform in [Transform::Log1p, Transform::Binary, l1, l2, Transform::Frequencies] {
            assert_round_trip(&Specification { input_transform: Some(transform), ..small() });
        }
        for weight_constraint in
            [WeightConstraint::Free, WeightConstraint::Common, WeightConstraint::Nonnegative]
        {
            let (likelihood, trials) = (Binomial {}.into(), vec![1.0, 2.0, MAX_TRIALS]);
            assert_round_trip(&Specification { weight_constraint, likelihood, trials, ..small() });
        }
        for (slope, latent_dim) in [
            (SlopePrior::Flat, 2),
            (SlopePrior::Normal { sd: 1.5 }, 2),
            (SlopePrior::LogNormal { mean: 0.2, sd: 0.75 }, 1),
        ] {
            let item_prior = Some(ItemPrior { slope, intercept: Some(3.0) });
            assert_round_trip(&Specification { latent_dim, item_prior, ..small() });
            let item_prior = Some(ItemPrior { slope, intercept: None });
            assert_round_trip(&Specification { latent_dim, item_prior, ..small() });
        }
        let (mean, scale) = (vec![0.1, -1.0 / 3.0], vec![1e-3, 1e3]);
        for likelihood in [Likelihood::from(Mixture {}), Multinomial {}.into()] {
            let topics = Some(Topics { mean: mean.clone(), scale: scale.clone() });
            assert_round_trip(&Specification { likelihood, topics, ..small() });
        }
        let floor = 1e-6_f32.next_up();
        let gaussians = [Scale::Shared, Scale::PerFeature, Scale::Decoder]
            .map(|scale| Gaussian { scale, floor, mean: Link::Identity }.into());
        let fixed = Gaussian { scale: Scale::Fixed(1.0 / 3.0), floor, mean: Link::Sigmoid };
        let others: [Likelihood; 4] = [
            fixed.into(),
            Poisson::default().into(),
            NegativeBinomial { floor, ..Default::default() }.into(),
            SquaredError {}.into(),
        ];
        for likelihood in gaussians.into_iter().chain(others) {
            assert_round_trip(&Specification { likelihood, ..small() });
        }
        // Numbers with a long decimal form keep all bits.
        let (third, beta) = (1.0 / 3.0, 1.0_f64.next_down());
        let adam = [beta, 0.1 + 0.2, f64::MIN_POSITIVE.max(1e-15), third];
        let [beta1, beta2, eps, weight_decay] = adam;
        for optimizer in [
            Optimizer::Adam { beta1, beta2, eps, weight_decay },
            Optimizer::AdamW { beta1, beta2, eps, weight_decay },
            Optimizer::Sgd { momentum: beta, nesterov: true, weight_decay: third },
            Optimizer::Adagrad { eps: third, lr_decay: 1e9_f64.next_down(), weight_decay: 5e-324 },
        ] {
            assert_round_trip(&Specification { optimizer, ..small() });
        }
    }

    #[test]
    fn a_layer_is_a_number_of_units_or_an_object() {
        let read = Specification::from_json(&with(r#""encoder":[4,{"kind":"dense","units":5}]"#));
        assert_eq!(read, Ok(Specification { encoder: dense(&[4, 5]), ..small() }));
    }

    #[test]
    fn an_optimizer_has_the_defaults_of_torch() {
        let read = |text| Specification::from_json(&with(text)).unwrap().optimizer;
        assert_eq!(read(r#""optimizer":{"kind":"adam"}"#), Optimizer::default());
        let (beta1, beta2, eps, weight_decay) = (0.9, 0.999, 1e-8, 1e-2);
        let adamw = Optimizer::AdamW { beta1, beta2, eps, weight_decay };
        assert_eq!(read(r#""optimizer":{"kind":"adamw"}"#), adamw);
        let sgd = Optimizer::Sgd { momentum: 0.0, nesterov: false, weight_decay: 0.0 };
        assert_eq!(read(r#""optimizer":{"kind":"sgd"}"#), sgd);
        let adagrad = Optimizer::Adagrad { eps: 1e-10, lr_decay: 0.0, weight_decay: 0.0 };
        assert_eq!(read(r#""optimizer":{"kind":"adagrad"}"#), adagrad);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (option, why) in [
            (r#""layers":[3]"#, "has an unknown option `layers`, expected one of `n_features`"),
            (r#""seed":0,"seed":0"#, "duplicate field `seed`"),
            (r#""seed":-1"#, "specification's seed: invalid value: integer `-1`"),
            (r#""seed":1.5"#, "specification's seed: invalid type: floating point `1.5`"),
            (r#""encoder":[0]"#, "hidden[0]=0 is not possible"),
            (
                r#""decoder":["x"]"#,
                "specification's decoder: invalid type: string \"x\", expected a number of units",
            ),
            (
                r#""encoder":[{"kind":"lstm"}]"#,
                "specification's encoder: unknown variant `lstm`, expected one of `dense`",
            ),
            (
                r#""missing":"drop""#,
                "specification's missing: unknown variant `drop`, expected one of `error`",
            ),
            (r#""activation":"swish"#, "is not JSON"),
            (r#""activation":"swish""#, "\"swish\" is not known; use one of relu, tanh"),
            (
                r#""input_transform":"log2""#,
                "specification's input_transform: unknown variant `log2`",
            ),
            (
                r#""likelihood":{"kind":"beta"}"#,
                "specification's likelihood: unknown variant `beta`",
            ),
            (r#""likelihood":{"kind":"bernoulli","floor":1}"#, "unknown option `floor`"),
            (r#""likelihood":{"kind":"poisson","scale":1}"#, "unknown option `scale`"),
            (r#""likelihood":{"kind":"negative_binomial","floor":0}"#, "floor"),
            (r#""likelihood":{"kind":"gaussian","scale":1e7}"#, "scale"),
            (r#""likelihood":{"kind":"gaussian","scale":"shared","mean":"sigmoid"}"#, "sigmoid"),
            (r#""likelihood":{"kind":"mixture"}"#, "a mixture of words needs topics"),
            (r#""likelihood":{"kind":"multinomial"},"missing":"mask""#, "missing=\"mask\" wants"),
            (r#""topics":{"mean":[0,0],"scale":[1,1],"shape":1}"#, "unknown option `shape`"),
            (r#""trials":[1,2,3]"#, "trials are not 0 numbers"),
            (
                r#""item_prior":{"slope":{"kind":"normal","sd":0},"intercept":1}"#,
                "standard deviations of 0.001 to 1000",
            ),
            (
                r#""item_prior":{"slope":{"kind":"flat"},"intercept":1e9}"#,
                "standard deviations of 0.001 to 1000",
            ),
            (
                r#""item_prior":{"slope":{"kind":"lognormal","mean":0,"sd":1},"intercept":1}"#,
                "a log-normal prior of slopes is for one dimension",
            ),
            (
                r#""item_prior":{"slope":{"kind":"flat"},"intercept":1},"decoder":[3]"#,
                "a decoder of one layer",
            ),
            (r#""item_prior":{"slope":{"kind":"beta"},"intercept":1}"#, "unknown variant `beta`"),
            (
                r#""item_prior":{"slope":{"kind":"flat"},"threshold":1}"#,
                "unknown option `threshold`",
            ),
            (r#""precision":"fp16""#, "specification's precision: unknown variant `fp16`"),
            (
                r#""precision":"bf16","item_prior":{"slope":{"kind":"flat"},"intercept":1}"#,
                "precision=\"bf16\" is for networks of dense",
            ),
            (r#""variational":false,"conditions":2"#, "a plain autoencoder has no conditions"),
            (
                r#""optimizer":{"kind":"adam","beta3":0.9}"#,
                "specification's optimizer: unknown option `beta3`",
            ),
            (
                r#""optimizer":{"kind":"adam","beta1":1}"#,
                "optimizer \"adam\": beta1=1 must be at least 0e0",
            ),
            (r#""optimizer":{"kind":"adamw","eps":0}"#, "eps=0 must"),
            (r#""optimizer":{"kind":"sgd","weight_decay":1e9}"#, "weight_decay=1000000000 must"),
            (r#""optimizer":{"kind":"adagrad","lr_decay":-1}"#, "lr_decay=-1 must"),
            (r#""optimizer":{"kind":"sgd","nesterov":true}"#, "nesterov needs a momentum"),
            // Serde accepts a list of values as an object.
            (r#""optimizer":["sgd",0.9]"#, "specification's optimizer: invalid type: sequence"),
            (r#""likelihood":["gaussian"]"#, "specification's likelihood: invalid type: sequence"),
            (r#""topics":[[0,0],[1,1]]"#, "specification's topics: invalid type: sequence"),
        ] {
            let message = refusal(&with(option));
            assert!(message.contains(why), "{option}: {message}");
        }
        assert!(refusal("[3, 2]").contains("is not JSON: an object"));
        // A long text, read without a copy.
        let long = format!("\"trials\":[{}1],\"seed\":-1", "1,".repeat(1 << 20));
        assert!(refusal(&with(&long)).contains("specification's seed: invalid value"));
        let many = format!("\"encoder\":[{}1]", "1,".repeat(super::super::MAX_LAYERS));
        assert!(refusal(&with(&many)).contains("specification's encoder: more than 32768 layers"));
    }
}
