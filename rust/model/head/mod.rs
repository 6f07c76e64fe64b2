//! The head: the likelihood of the decoder's output, with the parameters that it has beside the layers.
#![allow(unsafe_code)]

mod outputs;
mod scale;
mod score;
mod softmax;

use super::layers::Epilogue;
use super::spec::Specification;
use super::tensor::{Layout, Place, Tensor, TensorKind};
use crate::error::{Error, Result};
use crate::matrix::{ColumnMap, panels_of};
use crate::nn::likelihood::{Likelihood, Scale};
use crate::simd::{LANES, Lanes, Row, WIDTH, ZERO_ROW, floats_mut};
use std::ops::Range;

/// How far the logarithm of a scale at its floor may lie below ours, relatively: some units of float32's last place.
const LOG_ROUNDING: f32 = 1e-6;

/// The last layer's phase, and how many panels it gives.
pub struct Tiles<'a> {
    /// Hands every tile of the output to an epilogue.
    pub run: &'a dyn Fn(&mut Epilogue),
    /// Panels of the output.
    pub panels: usize,
}

/// p(x|z).
#[derive(Clone, Debug)]
pub struct Head {
    /// Which.
    pub likelihood: Likelihood,
    n_features: usize,
    /// The trials of each feature, for a binomial likelihood; else empty.
    trials: Vec<f32>,
    /// Whether x may have holes, which are NaN.
    masked: bool,
    /// The row where ln s starts, for a Gaussian that learns it, or a negative binomial's ln r.
    log_scale: Option<usize>,
}

impl Head {
    /// Asks for the rows of its parameters.
    pub fn new(spec: &Specification, layout: &mut Layout) -> Head {
        let log_scale = match spec.likelihood {
            Likelihood::Gaussian(Scale::Shared { .. }, _) => Some(layout.rows(1)),
            likelihood if likelihood.has_scale_per_feature() => {
                Some(layout.rows(panels_of(spec.n_features)))
            }
            _ => None,
        };
        Head {
            likelihood: spec.likelihood,
            n_features: spec.n_features,
            trials: spec.trials.clone(),
            masked: spec.missing.is_masked(),
            log_scale,
        }
    }

    /// Its parameter by name.
    pub fn tensors(&self) -> Vec<Tensor> {
        let per_feature = self.likelihood.has_scale_per_feature().then_some(self.n_features);
        let tensor = |start| Tensor {
            name: self.likelihood.scale_name().into(),
            shape: per_feature.into_iter().collect(),
            kind: TensorKind::Trained,
            fan_in: None,
            place: Place { start, rows: 1, columns: ColumnMap::From(0), stride: 1 },
        };
        self.log_scale.map(tensor).into_iter().collect()
    }

    /// The standard deviation of each feature of a Gaussian, where it is not the decoder's, the negative binomial's r, or the
    /// binomial's trials.
    pub fn scales(&self, parameters: &[Row]) -> Vec<f32> {
        let cols = self.n_features;
        let learned = || {
            let tensor = &self.tensors()[0];
            tensor.read(parameters).into_iter().map(f32::exp).collect::<Vec<_>>()
        };
        match self.likelihood {
            Likelihood::Gaussian(Scale::Decoder { .. }, _) => Vec::new(),
            Likelihood::Gaussian(Scale::Fixed(scale), _) => vec![scale; cols],
            Likelihood::Gaussian(Scale::Shared { .. }, _) => vec![learned()[0]; cols],
            Likelihood::Binomial => self.trials.clone(),
            likelihood if likelihood.has_scale_per_feature() => learned(),
            _ => Vec::new(),
        }
    }

    /// The features in panel `panel` of the output.
    pub fn features(&self, panel: usize) -> Range<usize> {
        let width = if self.likelihood.decoder_floor().is_some() { LANES } else { WIDTH };
        panel * width..((panel + 1) * width).min(self.n_features)
    }

    /// ln s (or ln r) of panel `panel`'s features, learned or given; of a binomial likelihood their trials.
    pub fn log_scale_row(&self, parameters: &[Row], panel: usize) -> Row {
        match (self.likelihood, self.log_scale) {
            (likelihood, Some(start)) if likelihood.has_scale_per_feature() => {
                parameters[start + panel]
            }
            (Likelihood::Gaussian(Scale::Shared { .. }, _), Some(start)) => {
                splat(parameters[start][0].0[0])
            }
            (Likelihood::Gaussian(Scale::Fixed(scale), _), _) => splat(scale.ln()),
            (Likelihood::Binomial, _) => {
                let (mut row, features) = ([ZERO_ROW], self.features(panel));
                floats_mut(&mut row)[..features.len()].copy_from_slice(&self.trials[features]);
                row[0]
            }
            _ => ZERO_ROW,
        }
    }

    /// How many scales are learned: one, or one for each feature.
    fn learned(&self) -> usize {
        if self.likelihood.has_scale_per_feature() { self.n_features } else { 1 }
    }

    /// Brings the learned scales that are outside their range back to its ends.
    pub fn constrain(&self, parameters: &mut [Row]) {
        let (Some((least, most)), Some(start)) =
            (self.likelihood.log_scale_range(), self.log_scale)
        else {
            return;
        };
        let scales = &mut floats_mut(&mut parameters[start..])[..self.learned()];
        scales.iter_mut().for_each(|x| *x = x.max(least).min(most));
    }

    /// An error if a learned scale is out of its range by more than the rounding of a logarithm.
    pub fn check(&self, parameters: &[Row]) -> Result<()> {
        let likelihood = self.likelihood;
        let (Some((floor, ceiling)), Some(start)) = (likelihood.log_scale_range(), self.log_scale)
        else {
            return Ok(());
        };
        let rounding = |limit: f32| LOG_ROUNDING * limit.abs().max(1.0);
        let (least, most) = (floor - rounding(floor), ceiling + rounding(ceiling));
        let name = likelihood.scale_name();
        let wrong = |x: f32, where_to: &str, limit: f32, remedy: &str| {
            Error::Value(format!(
                "{name} holds {x}, a scale of {:e}, which is {where_to} of {:e}: {remedy}",
                x.exp(),
                limit.exp()
            ))
        };
        let scales = parameters[start..].iter().flatten().flat_map(|lanes| lanes.0);
        for x in scales.take(self.learned()) {
            if x < least {
                let remedy = format!(
                    "raise it to {floor}, the floor's logarithm, or give the likelihood a lower floor"
                );
                return Err(wrong(x, "below the floor", floor, &remedy));
            }
            if x > most {
                let remedy = format!("lower it to {ceiling}, the limit's logarithm");
                return Err(wrong(x, "above the limit", ceiling, &remedy));
            }
        }
        Ok(())
    }
}

fn splat(x: f32) -> Row {
    [Lanes([x; 16]); 2]
}
