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
use crate::data::Source;
use crate::data::standardize::Standardize;
use crate::error::{Result, filled};
use crate::matrix::{ColumnMap, RowMap, panels_of};
use crate::model::memory::BatchView;
use crate::nn::likelihood::{LearnedScale, Likelihood};
use crate::simd::{Row, WIDTH, ZERO_ROW, floats, floats_mut};
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
    /// The number of sets of scales, one for each condition; none if all rows share their scales.
    sets: Option<usize>,
    /// The shifts and the scales of the outputs of each panel, for groups of columns; else empty.
    group_units: Vec<[Row; 2]>,
}

impl Head {
    /// Creates the head and reserves the rows of its parameters in the layout.
    pub fn new(spec: &Specification, layout: &mut Layout) -> Head {
        let learned = spec.likelihood.learned_scale();
        let groups = spec.likelihood.groups();
        let sets = learned.filter(|scale| scale.per_condition).map(|_| spec.conditions);
        let log_scale = match groups.filter(|groups| groups.panels.iter().any(|p| p.learned)) {
            Some(_) => Some(layout.rows(panels_of(spec.n_features))),
            None => {
                learned.map(|scale| layout.rows(sets.unwrap_or(1) * scale.rows(spec.n_features)))
            }
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
            sets,
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
            // [n_features, conditions] with scales for each condition, as scVI's px_r.
            shape: scale
                .per_feature
                .then_some(self.n_features)
                .into_iter()
                .chain(self.sets)
                .collect(),
            kind: TensorKind::Trained,
            fan_in: None,
            place: Place {
                start,
                rows: 1,
                order: RowMap::Same,
                columns: match self.sets {
                    Some(positions) => {
                        let width = WIDTH * scale.rows(self.n_features);
                        ColumnMap::Pixels { positions, width }
                    }
                    None => ColumnMap::From(0),
                },
                stride: 1,
            },
        };
        self.learned().map(tensor).into_iter().collect()
    }

    /// The parameter of each feature: the fixed or learned standard deviation of a Gaussian, r of a negative binomial,
    /// or the number of trials of a binomial; else empty, as with scales of each condition.
    pub fn scales(&self, parameters: &[Row]) -> Result<Vec<f32>> {
        if let Some(groups) = self.likelihood.groups() {
            return self.group_scales(groups, parameters);
        }
        if self.sets.is_some() {
            return Ok(Vec::new());
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

    /// [`Head::parameter_row`] of each of some draws, at most as many as `out` has, or one row for all of them.
    pub fn parameter_rows<'o>(
        &self,
        batch: &BatchView,
        parameters: &[Row],
        panel: usize,
        draws: Range<usize>,
        out: &'o mut [Row],
    ) -> &'o mut [Row] {
        if self.sets.is_none() {
            out[0] = self.parameter_row(parameters, panel);
            return &mut out[..1];
        }
        let (y, first) = batch.conditions();
        let out = &mut out[..draws.len()];
        for (row, draw) in out.iter_mut().zip(draws) {
            let mut values = |set, value: &mut [f32]| {
                y.copy_row(batch.owners.of(draw), first + set, value);
            };
            *row = self.sum_of_sets(parameters, panel, &mut values);
        }
        out
    }

    /// The sum of the log scales of all sets for the features of panel `panel`, weighted by the conditions of a row, which
    /// `read` reads from a column on.
    fn sum_of_sets(
        &self,
        parameters: &[Row],
        panel: usize,
        read: &mut dyn FnMut(usize, &mut [f32]),
    ) -> Row {
        let (start, panels) = (self.log_scale.unwrap_or(0), panels_of(self.n_features));
        let (sets, mut sum, mut y) = (self.sets.unwrap_or(0), [ZERO_ROW], [0.0; WIDTH]);
        for first in (0..sets).step_by(WIDTH) {
            let y = &mut y[..(sets - first).min(WIDTH)];
            read(first, y);
            for (set, &y) in (first..).zip(&*y).filter(|(_, y)| **y != 0.0) {
                let row = floats(&parameters[start + set * panels + panel]);
                floats_mut(&mut sum).iter_mut().zip(row).for_each(|(sum, x)| *sum += y * x);
            }
        }
        sum[0]
    }

    /// The scales of each row of an array [n, n_features], given the conditions of its rows in `y`; empty if all rows share
    /// their scales.
    pub fn scales_by_row(&self, parameters: &[Row], y: Option<&Source>) -> Result<Vec<f32>> {
        let (Some(_), Some(y)) = (self.sets, y) else { return Ok(Vec::new()) };
        let mut scales = filled(0.0, y.rows().checked_mul(self.n_features))?;
        for (row, scales) in scales.chunks_mut(self.n_features).enumerate() {
            for (panel, scales) in scales.chunks_mut(WIDTH).enumerate() {
                let logs =
                    self.sum_of_sets(parameters, panel, &mut |set, y_of| y.read(row, set, y_of));
                scales.iter_mut().zip(floats(&logs)).for_each(|(scale, log)| *scale = log.exp());
            }
        }
        Ok(scales)
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
            let rows = scale.rows(self.n_features);
            for set in parameters[start..].chunks_mut(rows).take(self.sets.unwrap_or(1)) {
                scale.keep_in_range(set, self.n_features);
            }
        }
    }

    /// Returns an error if a learned scale is out of its range by more than the rounding of a logarithm.
    pub fn check(&self, parameters: &[Row]) -> Result<()> {
        if let (Some(groups), Some(start)) = (self.likelihood.groups(), self.log_scale) {
            return mixed::check(groups, &parameters[start..]);
        }
        match self.learned() {
            Some((scale, start)) => parameters[start..]
                .chunks(scale.rows(self.n_features))
                .take(self.sets.unwrap_or(1))
                .try_for_each(|set| scale.check(set, self.n_features)),
            None => Ok(()),
        }
    }
}
