//! Likelihoods in a specification. (Replaced by the likelihoods' own files.)

use super::likelihood::{Likelihood, Link, Scale};
use crate::error::{self, Error};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum Form {
    Bernoulli {},
    Binomial {},
    Gaussian {
        #[serde(default = "one")]
        scale: ScaleForm,
        #[serde(default = "floor")]
        floor: f32,
        #[serde(default = "identity")]
        mean: String,
    },
    Poisson {},
    NegativeBinomial {
        #[serde(default = "floor")]
        floor: f32,
    },
    Multinomial {},
    Mixture {},
    SquaredError {},
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum ScaleForm {
    Fixed(f32),
    Learned(String),
}

fn one() -> ScaleForm {
    ScaleForm::Fixed(1.0)
}

fn floor() -> f32 {
    1e-3
}

fn identity() -> String {
    "identity".into()
}

impl Likelihood {
    /// An error unless its options are in their ranges.
    pub fn check(&self) -> error::Result<()> {
        let (scale, floor, wrong) = match *self {
            Likelihood::Gaussian(scale, link) => match scale {
                Scale::Fixed(scale) => (scale, 1.0, false),
                Scale::Decoder { floor } => (1.0, floor, false),
                Scale::Shared { floor } | Scale::PerFeature { floor } => {
                    (1.0, floor, link == Link::Sigmoid)
                }
            },
            Likelihood::NegativeBinomial { floor } => (1.0, floor, false),
            _ => return Ok(()),
        };
        for (name, value) in [("scale", scale), ("floor", floor)] {
            if !(1e-6..=1e6).contains(&value) {
                return Err(Error::Parameter(format!("{name}={value} must be 1e-6 to 1e6")));
            }
        }
        if wrong {
            return Err(Error::Parameter(
                "mean=\"sigmoid\" wants a fixed scale or scale=\"decoder\"".into(),
            ));
        }
        Ok(())
    }
}

impl Serialize for Likelihood {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let form = match *self {
            Likelihood::Bernoulli => Form::Bernoulli {},
            Likelihood::Binomial => Form::Binomial {},
            Likelihood::Gaussian(scale, link) => {
                let learned = |which: &str, floor| (ScaleForm::Learned(which.into()), floor);
                let (scale, floor) = match scale {
                    Scale::Fixed(scale) => (ScaleForm::Fixed(scale), floor()),
                    Scale::Shared { floor } => learned("shared", floor),
                    Scale::PerFeature { floor } => learned("per_feature", floor),
                    Scale::Decoder { floor } => learned("decoder", floor),
                };
                let mean = if link == Link::Sigmoid { "sigmoid".into() } else { identity() };
                Form::Gaussian { scale, floor, mean }
            }
            Likelihood::Poisson => Form::Poisson {},
            Likelihood::NegativeBinomial { floor } => Form::NegativeBinomial { floor },
            Likelihood::Multinomial => Form::Multinomial {},
            Likelihood::Mixture => Form::Mixture {},
            Likelihood::SquaredError => Form::SquaredError {},
        };
        form.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Likelihood {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        Ok(match Form::deserialize(deserializer)? {
            Form::Bernoulli {} => Likelihood::Bernoulli,
            Form::Binomial {} => Likelihood::Binomial,
            Form::Gaussian { scale, floor, mean } => {
                let link = match mean.as_str() {
                    "identity" => Link::Identity,
                    "sigmoid" => Link::Sigmoid,
                    _ => return Err(D::Error::unknown_variant(&mean, &["identity", "sigmoid"])),
                };
                let scale = match scale {
                    ScaleForm::Fixed(scale) => Scale::Fixed(scale),
                    ScaleForm::Learned(which) => match which.as_str() {
                        "shared" => Scale::Shared { floor },
                        "per_feature" => Scale::PerFeature { floor },
                        "decoder" => Scale::Decoder { floor },
                        _ => {
                            let known = &["shared", "per_feature", "decoder"];
                            return Err(D::Error::unknown_variant(&which, known));
                        }
                    },
                };
                Likelihood::Gaussian(scale, link)
            }
            Form::Poisson {} => Likelihood::Poisson,
            Form::NegativeBinomial { floor } => Likelihood::NegativeBinomial { floor },
            Form::Multinomial {} => Likelihood::Multinomial,
            Form::Mixture {} => Likelihood::Mixture,
            Form::SquaredError {} => Likelihood::SquaredError,
        })
    }
}
