//! The head: the likelihood of the decoder's output, with the parameters that it has beside the layers.
#![allow(unsafe_code)]

mod outputs;
mod scale;
mod score;
mod softmax;

use super::layers::Epilogue;
use super::spec::Specification;
use super::tensor::{Layout, Place, Tensor, TensorKind};
use crate::error::Result;
use crate::matrix::{ColumnMap, RowMap};
use crate::nn::likelihood::{LearnedScale, Likelihood};
use crate::simd::{Row, WIDTH};
use std::ops::Range;

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
        let learned = spec.likelihood.learned_scale();
        let log_scale = learned.map(|scale| layout.rows(scale.rows(spec.n_features)));
        Head {
            likelihood: spec.likelihood,
            n_features: spec.n_features,
            trials: spec.trials.clone(),
            masked: spec.missing.is_masked(),
            log_scale,
        }
    }

    /// The learned scale, and the row where its logarithm starts.
    fn learned(&self) -> Option<(LearnedScale, usize)> {
        self.likelihood.learned_scale().zip(self.log_scale)
    }

    /// Whether the gradient of a learned scale is stored by the output's epilogue.
    pub fn stores_scale_gradient(&self) -> bool {
        self.likelihood.learned_scale().is_some_and(|scale| scale.stores_gradient)
    }

    /// Its parameter by name.
    pub fn tensors(&self) -> Vec<Tensor> {
        let tensor = |(scale, start): (LearnedScale, usize)| Tensor {
            name: scale.name.into(),
            shape: scale.per_feature.then_some(self.n_features).into_iter().collect(),
            kind: TensorKind::Trained,
            fan_in: None,
            place: Place {
                start,
                rows: 1,
                order: RowMap::Same,
                columns: ColumnMap::From(0),
                stride: 1,
            },
        };
        self.learned().map(tensor).into_iter().collect()
    }

    /// The standard deviation of each feature of a Gaussian, where it is not the decoder's, the negative binomial's r, or the
    /// binomial's trials.
    pub fn scales(&self, parameters: &[Row]) -> Vec<f32> {
        let log_scales =
            self.tensors().first().map_or(Vec::new(), |tensor| tensor.read(parameters));
        self.likelihood.parameters(&log_scales, &self.trials, self.n_features)
    }

    /// The features in panel `panel` of the output.
    pub fn features(&self, panel: usize) -> Range<usize> {
        let width = WIDTH / self.likelihood.outputs_per_feature();
        panel * width..((panel + 1) * width).min(self.n_features)
    }

    /// What a density reads of the features of panel `panel`: see [`Likelihood::parameter_row`].
    pub fn parameter_row(&self, parameters: &[Row], panel: usize) -> Row {
        let log_scales = &parameters[self.log_scale.unwrap_or(0)..];
        self.likelihood.parameter_row(log_scales, &self.trials, panel)
    }

    /// Brings the learned scales that are outside their range back to its ends.
    pub fn constrain(&self, parameters: &mut [Row]) {
        if let Some((scale, start)) = self.learned() {
            scale.keep_in_range(&mut parameters[start..], self.n_features);
        }
    }

    /// An error if a learned scale is out of its range by more than the rounding of a logarithm.
    pub fn check(&self, parameters: &[Row]) -> Result<()> {
        match self.learned() {
            Some((scale, start)) => scale.check(&parameters[start..], self.n_features),
            None => Ok(()),
        }
    }
}
