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
    #[serde(deserialize_with = "Deserialize::deserialize")] // null, but not absent
    input_transform: Value,
    #[serde(deserialize_with = "Deserialize::deserialize")]
    topics: Option<[Vec<f32>; 2]>,
    loadings: Value,
    trials: Vec<f32>,
    optimizer: String,
    options: [f64; 4],
    seed: u64,
}

impl Specification {
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
