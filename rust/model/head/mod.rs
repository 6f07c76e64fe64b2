//! The head of the decoder: the likelihood and its own parameters, besides the parameters of the layers.
#![allow(unsafe_code)]

mod best;
mod bounds;
mod counts;
mod mixed;
mod outputs;
mod scale;
mod score;
mod softmax;

pub use best::{BestOfBatch, BestOut, Lists, Ranking, Search, SharedLists};
pub use bounds::Bounds;

use super::layers::Epilogue;
use super::spec::Specification;
use super::tensor::{Layout, Place, Tensor, TensorKind};
use crate::data::standardize::Standardize;
use crate::error::Result;
use crate::matrix::{ColumnMap, RowMap, panels_of};
use crate::nn::likelihood::{LearnedScale, Likelihood};
use crate::simd::{Row, WIDTH};
use std::ops::Range;

/// The phase of the last layer, and its number of panels.
pub struct Tiles<'a> {
    /// Passes each tile of the output to an epilogue.
    pub run: &'a dyn Fn(&mut Epilogue),
    /// The number of panels of the output.
    pub panels: usize,
}

/// The likelihood p(x|z) with its parameters.
#[derive(Clone, Debug)]
pub struct Head {
    /// The likelihood.
    pub likelihood: Likelihood,
    n_features: usize,
    /// The number of trials of each feature for a binomial likelihood; else empty.
    trials: Vec<f32>,
    /// Whether x may have missing values (NaN).
    masked: bool,
    /// The map from the decoder's output to the units of x, for an output that is a mean.
    standardize: Option<Standardize>,
    /// The first row of the learned ln s of a Gaussian, or of ln r of a negative binomial.
    log_scale: Option<usize>,
    /// The shifts and the scales of the outputs of each panel, for groups of columns; else empty.
    group_units: Vec<[Row; 2]>,
}

impl Head {
    /// Creates the head and reserves the rows of its parameters in the layout.
    pub fn new(spec: &Specification, layout: &mut Layout) -> Head {
        let learned = spec.likelihood.learned_scale();
        let groups = spec.likelihood.groups();
        let log_scale = match groups.filter(|groups| groups.panels.iter().any(|p| p.learned)) {
            Some(_) => Some(layout.rows(panels_of(spec.n_features))),
            None => learned.map(|scale| layout.rows(scale.rows(spec.n_features))),
        };
        let group_units =
            groups.map_or(Vec::new(), |groups| mixed::units(groups, spec.standardize.as_ref()));
        Head {
            likelihood: spec.likelihood.clone(),
            n_features: spec.n_features,
            trials: spec.trials.clone(),
            masked: spec.missing.is_masked(),
            standardize: spec.standardize.clone().filter(|_| spec.likelihood.output_is_mean()),
            log_scale,
            group_units,
        }
    }

    /// The learned scale, and the first row of its logarithm.
    fn learned(&self) -> Option<(LearnedScale, usize)> {
        self.likelihood.learned_scale().zip(self.log_scale)
    }

    /// Whether the epilogue of the output stores the gradient of a learned scale.
    pub fn stores_scale_gradient(&self) -> bool {
        match self.likelihood.groups() {
            Some(_) => self.log_scale.is_some(),
            None => self.likelihood.learned_scale().is_some_and(|scale| scale.stores_gradient),
        }
    }

    /// The named parameters of the head, if any: for groups of columns one for each group with a learned scale.
    pub fn tensors(&self) -> Vec<Tensor> {
        if let (Some(groups), Some(start)) = (self.likelihood.groups(), self.log_scale) {
            return mixed::tensors(groups, start);
        }
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

    /// The parameter of each feature: the fixed or learned standard deviation of a Gaussian, r of a negative binomial,
    /// or the number of trials of a binomial; else empty.
    pub fn scales(&self, parameters: &[Row]) -> Result<Vec<f32>> {
        if let Some(groups) = self.likelihood.groups() {
            return self.group_scales(groups, parameters);
        }
        let log_scales =
            self.tensors().first().map_or(Ok(Vec::new()), |tensor| tensor.read(parameters))?;
        self.likelihood.parameters(&log_scales, &self.trials, self.n_features)
    }

    /// The range of the features in panel `panel` of the output.
    pub fn features(&self, panel: usize) -> Range<usize> {
        let width = WIDTH / self.likelihood.outputs_per_feature();
        panel * width..((panel + 1) * width).min(self.n_features)
    }

    /// The density's parameters for the features of panel `panel`: see [`Likelihood::parameter_row`].
    pub fn parameter_row(&self, parameters: &[Row], panel: usize) -> Row {
        let log_scales = &parameters[self.log_scale.unwrap_or(0)..];
        self.likelihood.parameter_row(log_scales, &self.trials, panel)
    }

    /// The shifts and the scales of the output of panel `panel`; a log scale from the decoder has 0 and 1.
    fn units(&self, panel: usize) -> Option<[Row; 2]> {
        self.standardize.as_ref().map(|by| by.rows(self.features(panel)))
    }

    /// Clamps the learned scales to their range.
    pub fn constrain(&self, parameters: &mut [Row]) {
        if let (Some(groups), Some(start)) = (self.likelihood.groups(), self.log_scale) {
            return mixed::constrain(groups, &mut parameters[start..]);
        }
        if let Some((scale, start)) = self.learned() {
            scale.keep_in_range(&mut parameters[start..], self.n_features);
        }
    }

    /// Returns an error if a learned scale is out of its range by more than the rounding of a logarithm.
    pub fn check(&self, parameters: &[Row]) -> Result<()> {
        if let (Some(groups), Some(start)) = (self.likelihood.groups(), self.log_scale) {
            return mixed::check(groups, &parameters[start..]);
        }
        match self.learned() {
            Some((scale, start)) => scale.check(&parameters[start..], self.n_features),
            None => Ok(()),
        }
    }
}
