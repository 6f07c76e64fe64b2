//! The specification in a model file of format version 1: a dictionary of exactly 18 keys.

use super::refused;
use crate::error::Result;
use crate::model::{Specification, dense};
use serde::Deserialize;
use serde_json::{Value, json};

/// The dictionary. The scale is a number, or which scale is learned; of `options` an optimiser uses the first few.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Dictionary {
    n_features: usize,
    latent_dim: usize,
    conditions: usize,
    variational: bool,
    encoder: Vec<usize>,
    decoder: Vec<usize>,
    missing: Value,
    activation: Value,
    likelihood: String,
    scale: Value,
    floor: Value,
    input_transform: Value,
    #[serde(deserialize_with = "Deserialize::deserialize")] // null, but not absent
    topics: Option<[Vec<f32>; 2]>,
    loadings: Value,
    trials: Vec<f32>,
    optimizer: String,
    options: [f64; 4],
    seed: u64,
}

impl Specification {
    /// Reads the specification of a file, or the dictionary in its place.
    pub fn from_file(text: &str) -> Result<Specification> {
        match serde_json::from_str::<Value>(text) {
            Ok(dictionary) if dictionary.get("options").is_some() => {
                Specification::from_version_1(&dictionary)
            }
            _ => Specification::from_json(text).map_err(refused),
        }
    }

    /// The specification that the dictionary `config["engine"]` of such a file stands for.
    pub fn from_version_1(dictionary: &Value) -> Result<Specification> {
        let old = Dictionary::deserialize(dictionary).map_err(refused)?;
        let [a, b, c, d] = old.options;
        let optimizer = match old.optimizer.as_str() {
            kind @ ("adam" | "adamw") => {
                json!({"kind": kind, "beta1": a, "beta2": b, "eps": c, "weight_decay": d})
            }
            "sgd" => {
                json!({"kind": "sgd", "momentum": a, "nesterov": b != 0.0, "weight_decay": c})
            }
            "adagrad" => json!({"kind": "adagrad", "eps": a, "lr_decay": b, "weight_decay": c}),
            other => return Err(refused(format!("optimizer {other:?} is not known"))),
        };
        let gaussian = |mean| json!({"kind": "gaussian", "scale": old.scale, "floor": old.floor, "mean": mean});
        let likelihood = match old.likelihood.as_str() {
            "gaussian" => gaussian("identity"),
            "gaussian_sigmoid" => gaussian("sigmoid"),
            kind @ "negative_binomial" => json!({"kind": kind, "floor": old.floor}),
            kind => json!({"kind": kind}),
        };
        let named = json!({
            "missing": old.missing,
            "activation": old.activation,
            "likelihood": likelihood,
            "input_transform": old.input_transform,
            "topics": old.topics.map(|[mean, scale]| json!({"mean": mean, "scale": scale})),
            "weight_constraint": old.loadings,
            "optimizer": optimizer,
        });
        let specification = Specification {
            n_features: old.n_features,
            latent_dim: old.latent_dim,
            conditions: old.conditions,
            variational: old.variational,
            encoder: dense(&old.encoder),
            decoder: dense(&old.decoder),
            trials: old.trials,
            seed: old.seed,
            ..Specification::deserialize(named).map_err(refused)?
        };
        specification.check().map_err(refused)?;
        Ok(specification)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::input_transform::Transform;
    use crate::model::{Missing, Topics, WeightConstraint};
    use crate::nn::activation::Activation;
    use crate::nn::likelihood::{
        Binomial, Gaussian, Link, Mixture, NegativeBinomial, Scale, SquaredError,
    };
    use crate::nn::optimizer::Optimizer;

    /// As Python wrote it for `VAE(latent_dim=2, hidden=(5,))` and 3 features, with other values of some keys.
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
                    likelihood: NegativeBinomial { floor: 0.5 }.into(),
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
            assert_eq!(Specification::from_version_1(&dictionary(changes)), Ok(wanted));
        }
    }

    #[test]
    fn it_has_exactly_its_keys() {
        let whole = dictionary(json!({}));
        for key in whole.as_object().unwrap().keys() {
            let mut less = whole.clone();
            less.as_object_mut().unwrap().remove(key);
            let error = Specification::from_version_1(&less).expect_err(key).to_string();
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
            assert!(Specification::from_version_1(&dictionary(bad.clone())).is_err(), "{bad}");
        }
    }
}
