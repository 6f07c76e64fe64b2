//! The parameter of each feature in a density, besides the decoder's output: a fixed or learned scale, or a number of
//! trials. The logarithm of a learned scale is a parameter of the model; this file has its row, its range, its check
//! and its gradient.

use super::Likelihood;
use super::score::or_zero;
use crate::error::{Error, Result, collected, copied, filled};
use crate::matrix::panels_of;
use crate::simd::{LANES, Lanes, Op, Row, Simd, WIDTH, ZERO_ROW, floats_mut, floats_of, math};

/// The parameter of each feature in a density, besides the decoder's output.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FeatureParameter {
    /// No parameter.
    None,
    /// A fixed scale for all features. The density reads its logarithm.
    Fixed(f32),
    /// A learned scale. The density reads its logarithm.
    Learned(LearnedScale),
    /// The number of trials of each feature, from the model.
    Trials,
}

/// A learned scale. Its logarithm is a parameter of the model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LearnedScale {
    /// The name of the parameter.
    pub name: &'static str,
    /// Whether each feature has its own scale; otherwise all features share one.
    pub per_feature: bool,
    /// Whether each condition has its own scales, and ln s of a row is their sum, weighted by the row's conditions.
    pub per_condition: bool,
    /// The minimum and the maximum of the scale.
    pub range: (f32, f32),
    /// Whether the epilogue of the output stores the gradient; otherwise [`ScaleGradient`] recovers it.
    pub stores_gradient: bool,
}

/// The relative tolerance for the logarithm of a scale at a limit of its range: some float32 units in the last place.
const LOG_ROUNDING: f32 = 1e-6;

/// Returns an error unless the value of an option is in [1e-6, 1e6).
pub(super) fn check_range(option: &str, value: f32) -> Result<()> {
    if (1e-6..1e6).contains(&value) {
        return Ok(());
    }
    Err(Error::Parameter(format!(
        "a {option} is 1e-6 to 1e6, not {value}: give a number that is at least 1e-6 and below 1e6"
    )))
}

impl LearnedScale {
    /// The number of scales.
    pub fn count(&self, n_features: usize) -> usize {
        if self.per_feature { n_features } else { 1 }
    }

    /// The number of rows of the scales in the parameter buffer.
    pub fn rows(&self, n_features: usize) -> usize {
        panels_of(self.count(n_features))
    }

    /// The log scales of the features of panel `panel`, from the rows of all log scales.
    pub fn row(&self, log_scales: &[Row], panel: usize) -> Row {
        if self.per_feature { log_scales[panel] } else { splat(log_scales[0][0].0[0]) }
    }

    /// The logarithms of the minimum and the maximum, with one rounding to float32.
    fn log_range(&self) -> (f32, f32) {
        let ln = |x: f32| (f64::from(x).ln() as f32).min(f32::MAX);
        (ln(self.range.0), ln(self.range.1))
    }

    /// Clamps the log scales to their range.
    pub fn keep_in_range(&self, log_scales: &mut [Row], n_features: usize) {
        self.clamp(&mut floats_mut(log_scales)[..self.count(n_features)]);
    }

    /// Clamps log scales to the range.
    pub fn clamp(&self, log_scales: &mut [f32]) {
        let (least, most) = self.log_range();
        log_scales.iter_mut().for_each(|x| *x = x.max(least).min(most));
    }

    /// Returns an error if a scale is out of its range by more than the rounding of a logarithm.
    pub fn check(&self, log_scales: &[Row], n_features: usize) -> Result<()> {
        self.check_values(self.name, &floats_of(log_scales)[..self.count(n_features)])
    }

    /// [`LearnedScale::check`] of log scales, with the name of their tensor.
    pub fn check_values(&self, name: &str, log_scales: &[f32]) -> Result<()> {
        let (floor, ceiling) = self.log_range();
        let rounding = |limit: f32| LOG_ROUNDING * limit.abs().max(1.0);
        let (least, most) = (floor - rounding(floor), ceiling + rounding(ceiling));
        let wrong = |x: f32, where_to: &str, limit: f32, remedy: &str| {
            Error::Value(format!(
                "{name} holds {x}, a scale of {:e}, which is {where_to} of {:e}: {remedy}",
                x.exp(),
                limit.exp()
            ))
        };
        for &x in log_scales {
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

impl Likelihood {
    /// The parameters of the features of panel `panel` for the density, given the model's log scales and trials.
    pub fn parameter_row(&self, log_scales: &[Row], trials: &[f32], panel: usize) -> Row {
        match self.parameter() {
            FeatureParameter::None => ZERO_ROW,
            FeatureParameter::Fixed(scale) => splat(scale.ln()),
            FeatureParameter::Learned(scale) => scale.row(log_scales, panel),
            FeatureParameter::Trials => {
                let (mut row, first) = ([ZERO_ROW], panel * WIDTH);
                let trials = &trials[first..(first + WIDTH).min(trials.len())];
                floats_mut(&mut row)[..trials.len()].copy_from_slice(trials);
                row[0]
            }
        }
    }

    /// The scale or the number of trials of each feature, given the model's log scales and trials. Empty for a
    /// likelihood without either, or with a scale from the decoder.
    pub fn parameters(
        &self,
        log_scales: &[f32],
        trials: &[f32],
        n_features: usize,
    ) -> Result<Vec<f32>> {
        match self.parameter() {
            FeatureParameter::None => Ok(Vec::new()),
            FeatureParameter::Fixed(scale) => filled(scale, Some(n_features)),
            FeatureParameter::Learned(scale) if scale.per_feature => {
                collected(log_scales.iter().copied().map(f32::exp))
            }
            FeatureParameter::Learned(_) => filled(log_scales[0].exp(), Some(n_features)),
            FeatureParameter::Trials => copied(trials),
        }
    }
}

fn splat(x: f32) -> Row {
    [Lanes([x; LANES]); 2]
}

/// The gradient of the mean loss with respect to ln s of each feature: weight * sum over rows of (1 - r²). The stored
/// gradient of the output, of magnitude weight * |r| / s, gives r = (x - y) / s up to its sign. The sum runs over the
/// rows with an observed value, in ascending order.
pub struct ScaleGradient<'a> {
    /// The panel of the stored gradients of the output.
    pub gradient: &'a [Row],
    /// The panel of x, NaN for a missing value, one example for one or more rows; empty if x has no missing values.
    pub targets: &'a [Row],
    /// The number of features in this panel.
    pub cols: usize,
    /// ln s of the panel's features.
    pub log_scale: &'a Row,
    /// The factor of the stored gradients.
    pub weight: f32,
    /// The factor of each row besides `weight`; empty if all are 1.
    pub weights: &'a [f32],
    /// The output, with zeros in the padding.
    pub out: &'a mut Row,
}

impl Op for ScaleGradient<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for v in 0..2 {
            let used = s.first(self.cols.saturating_sub(16 * v));
            let scale = math::exp(s, s.load(&self.log_scale[v]));
            let mut sum = s.zero();
            if self.weights.is_empty() {
                let scale = s.mul(scale, s.splat(inverse(self.weight)));
                for (i, row) in self.gradient.iter().enumerate() {
                    let r = s.mul(s.load(&row[v]), scale);
                    sum = s.add(sum, self.observed(s, (i, v), r));
                }
                sum = s.mul(sum, s.splat(self.weight));
            }
            for (i, (row, weight)) in self.gradient.iter().zip(self.weights).enumerate() {
                let weight = weight * self.weight;
                let r = s.mul(s.mul(s.load(&row[v]), s.splat(inverse(weight))), scale);
                sum = s.fma(s.splat(weight), self.observed(s, (i, v), r), sum);
            }
            s.store(s.select(used, sum, s.zero()), &mut self.out[v]);
        }
    }
}

impl ScaleGradient<'_> {
    /// 1 - r² for the observed values in vector `v` of row `i`, zero for missing ones.
    #[inline(always)]
    fn observed<S: Simd>(&self, s: S, (i, v): (usize, usize), r: S::F) -> S::F {
        let term = s.sub(s.splat(1.0), s.mul(r, r));
        if self.targets.is_empty() {
            return term;
        }
        let copies = self.gradient.len() / self.targets.len();
        or_zero(s, s.is_number(s.load(&self.targets[i / copies][v])), term)
    }
}

/// 1 / weight, or zero for a weight of zero: with the KL divergence as the only loss, the gradient is zero.
fn inverse(weight: f32) -> f32 {
    if weight == 0.0 { 0.0 } else { 1.0 / weight }
}
