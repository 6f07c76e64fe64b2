//! Files of format version 1 (read only).
//!
//! They have no checksums. The metadata have `counters`, with `forgotten` for `optimizer_start`, and `config`: a JSON
//! text of the Python layer with `fastvae` (the version of the library), `engine` (a dictionary of exactly 18 keys,
//! today's specification) and, in files but not in pickles, `estimator`.

use super::counters::{Counters, OPTIMIZER_START};
use super::header::{Texts, object, taken};
use super::refused;
use crate::data::input_transform::Transform;
use crate::error::Result;
use crate::json::{self, Object};
use crate::model::{Missing, Precision, Specification, Topics, WeightConstraint, dense};
use crate::nn::activation::Activation;
use crate::nn::likelihood::{Gaussian, Likelihood, Link, NegativeBinomial, Scale};
use crate::nn::optimizer::Optimizer;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

/// The version of the format.
pub const FORMAT_VERSION: &str = "1";

/// Removes the specification, the counters and the estimator's text from the metadata of a version 1 file.
pub fn read(metadata: &mut Texts) -> Result<(Specification, Counters, String)> {
    metadata.remove("format_version");
    let config = taken(metadata, "config")?;
    let counters = taken(metadata, "counters")?;
    let mut counters = object("counters", &counters)?;
    let optimizer_start =
        counters.remove("forgotten").ok_or_else(|| refused("its counters have no forgotten"))?;
    if counters.insert(OPTIMIZER_START.into(), optimizer_start).is_some() {
        return Err(refused("its counters have optimizer_start, which is not known"));
    }

    let Object(config): Object<Config> = serde_json::from_str(&config)
        .map_err(|error| refused(format!("its config: {}", json::message(&error))))?;
    let specification = Specification::from_version_1(config.engine.get())?;
    let estimator = config.estimator.map_or("null", RawValue::get).into();
    Ok((specification, Counters::from_named(&counters)?, estimator))
}

/// The text `config` of the metadata.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config<'a> {
    #[serde(rename = "fastvae")]
    _version: Option<IgnoredAny>,
    #[serde(borrow)]
    engine: &'a RawValue,
    #[serde(borrow)]
    estimator: Option<&'a RawValue>,
}

/// The dictionary `engine`. `options` are the optimizer's options; unused ones come last.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Dictionary {
    n_features: usize,
    latent_dim: usize,
    conditions: usize,
    variational: bool,
    encoder: Vec<usize>,
    decoder: Vec<usize>,
    missing: Missing,
    activation: Activation,
    likelihood: String,
    scale: Scale,
    floor: f64,
    #[serde(deserialize_with = "Deserialize::deserialize")] // required; may be null
    input_transform: Option<Transform>,
    #[serde(deserialize_with = "Deserialize::deserialize")]
    topics: Option<[Vec<f64>; 2]>,
    loadings: WeightConstraint,
    trials: Vec<f64>,
    optimizer: String,
    options: [f64; 4],
    seed: u64,
}

impl Specification {
    /// Converts the dictionary `engine` of a version 1 file to a specification.
    fn from_version_1(dictionary: &str) -> Result<Specification> {
        let Object(old): Object<Dictionary> = serde_json::from_str(dictionary)
            .map_err(|error| refused(format!("its config's engine: {}", json::message(&error))))?;
        let [a, b, c, d] = old.options;
        let optimizer = match old.optimizer.as_str() {
            "adam" => Optimizer::Adam { beta1: a, beta2: b, eps: c, weight_decay: d },
            "adamw" => Optimizer::AdamW { beta1: a, beta2: b, eps: c, weight_decay: d },
            "sgd" => Optimizer::Sgd { momentum: a, nesterov: b != 0.0, weight_decay: c },
            "adagrad" => Optimizer::Adagrad { eps: a, lr_decay: b, weight_decay: c },
            other => return Err(refused(format!("optimizer {other:?} is not known"))),
        };
        let floor = old.floor as f32;
        let gaussian = |mean| Likelihood::from(Gaussian { scale: old.scale, floor, mean });
        let likelihood = match old.likelihood.as_str() {
            "gaussian" => gaussian(Link::Identity),
            "gaussian_sigmoid" => gaussian(Link::Sigmoid),
            "negative_binomial" => NegativeBinomial { floor, ..Default::default() }.into(),
            kind => Likelihood::named(kind)
                .ok_or_else(|| refused(format!("likelihood {kind:?} is not known")))?,
        };
        let topics = old
            .topics
            .map(|[mean, scale]| Topics { mean: to_single(&mean), scale: to_single(&scale) });
        let specification = Specification {
            n_features: old.n_features,
            latent_dim: old.latent_dim,
            conditions: old.conditions,
            variational: old.variational,
            image_shape: None,
            encoder: dense(&old.encoder),
            decoder: dense(&old.decoder),
            missing: old.missing,
            activation: old.activation,
            likelihood,
            input_transform: old.input_transform,
            standardize: None,
            standardize_y: None,
            size_unit: 1.0,
            topics,
            weight_constraint: old.loadings,
            item_prior: None,
            seeds: Vec::new(),
            trials: to_single(&old.trials),
            optimizer,
            precision: Precision::Float32,
            inference_only: false,
            seed: old.seed,
        };
        specification.check().map_err(refused)?;
        Ok(specification)
    }
}

/// Rounds float64 values of the file to float32.
fn to_single(values: &[f64]) -> Vec<f32> {
    values.iter().map(|&x| x as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::likelihood::{Binomial, Mixture, SquaredError};
    use serde_json::{Value, json};

    /// The dictionary of `VAE(latent_dim=2, hidden=(5,))` with 3 features as written by Python, with `changes`.
    fn dictionary(changes: Value) -> Value {
        let text = r#"{"n_features": 3, "variational": true, "latent_dim": 2, "conditions": 0, "encoder": [5],
            "decoder": [5], "missing": "error", "activation": "relu", "topics": null, "loadings": "free", "trials": [],
            "likelihood": "bernoulli", "scale": 1.0, "floor": 0.001, "input_transform": null, "optimizer": "adam",
            "options": [0.9, 0.999, 1e-08, 0.0], "seed": 18446744073709551615}"#;
        let mut whole: Value = serde_json::from_str(text).unwrap();
        for (key, value) in changes.as_object().unwrap() {
            whole[key] = value.clone();
        }
        whole
    }

    fn wanted() -> Specification {
        Specification {
            n_features: 3,
            latent_dim: 2,
            encoder: dense(&[5]),
            decoder: dense(&[5]),
            seed: u64::MAX,
            ..Specification::default()
        }
    }

    #[test]
    fn the_dictionary_becomes_a_specification() {
        let third = Scale::Fixed(1.0 / 3.0);
        let (beta1, beta2, eps, weight_decay) = (0.8, 0.99, 1e-7, 0.5);
        let topics = Some(Topics { mean: vec![0.1, -0.1], scale: vec![1.2, 0.7] });
        let cases = [
            (json!({}), wanted()),
            (
                json!({"missing": "indicator", "activation": "gelu", "conditions": 4, "likelihood": "gaussian",
                    "scale": "decoder", "floor": 0.25}),
                Specification {
                    missing: Missing::Indicated,
                    activation: Activation::Gelu,
                    conditions: 4,
                    likelihood: Gaussian {
                        scale: Scale::Decoder,
                        floor: 0.25,
                        mean: Link::Identity,
                    }
                    .into(),
                    ..wanted()
                },
            ),
            (
                json!({"likelihood": "gaussian_sigmoid", "scale": 1.0 / 3.0, "input_transform": "l2"}),
                Specification {
                    likelihood: Gaussian { scale: third, floor: 1e-3, mean: Link::Sigmoid }.into(),
                    input_transform: Some(Transform::L2),
                    ..wanted()
                },
            ),
            (
                json!({"likelihood": "negative_binomial", "floor": 0.5, "optimizer": "adamw",
                    "options": [0.8, 0.99, 1e-7, 0.5]}),
                Specification {
                    likelihood: NegativeBinomial { floor: 0.5, ..Default::default() }.into(),
                    optimizer: Optimizer::AdamW { beta1, beta2, eps, weight_decay },
                    ..wanted()
                },
            ),
            (
                json!({"likelihood": "squared_error", "variational": false, "optimizer": "sgd",
                    "options": [0.9, 1.0, 0.1, 0.0]}),
                Specification {
                    likelihood: SquaredError {}.into(),
                    variational: false,
                    optimizer: Optimizer::Sgd { momentum: 0.9, nesterov: true, weight_decay: 0.1 },
                    ..wanted()
                },
            ),
            (
                json!({"likelihood": "mixture", "decoder": [], "topics": [[0.1, -0.1], [1.2, 0.7]],
                    "optimizer": "adagrad", "options": [1e-10, 0.1, 0.2, 0.0]}),
                Specification {
                    likelihood: Mixture {}.into(),
                    decoder: vec![],
                    topics,
                    optimizer: Optimizer::Adagrad { eps: 1e-10, lr_decay: 0.1, weight_decay: 0.2 },
                    ..wanted()
                },
            ),
            (
                json!({"likelihood": "binomial", "missing": "indicator", "loadings": "common", "trials": [1, 2, 30],
                    "decoder": []}),
                Specification {
                    likelihood: Binomial {}.into(),
                    missing: Missing::Indicated,
                    weight_constraint: WeightConstraint::Common,
                    trials: vec![1.0, 2.0, 30.0],
                    decoder: vec![],
                    ..wanted()
                },
            ),
        ];
        for (changes, wanted) in cases {
            assert_eq!(Specification::from_version_1(&dictionary(changes).to_string()), Ok(wanted));
        }
    }

    #[test]
    fn it_has_exactly_its_keys() {
        let whole = dictionary(json!({}));
        for key in whole.as_object().unwrap().keys() {
            let mut less = whole.clone();
            less.as_object_mut().unwrap().remove(key);
            let error =
                Specification::from_version_1(&less.to_string()).expect_err(key).to_string();
            assert!(error.contains(key.as_str()) || key == "topics", "{key}: {error}");
        }
        for bad in [
            json!({"more": 1}),
            json!({"likelihood": "beta"}),
            json!({"likelihood": "gaussian", "scale": "other"}),
            json!({"optimizer": "rprop"}),
            json!({"options": [1.0, 0.999, 1e-8, 0.0]}),
            json!({"options": [0.9]}),
            json!({"topics": [[0.0, 0.0]]}),
            json!({"n_features": 0}),
        ] {
            assert!(
                Specification::from_version_1(&dictionary(bad.clone()).to_string()).is_err(),
                "{bad}"
            );
        }
    }
}
