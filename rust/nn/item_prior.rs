//! The prior of an item response model's parameters, for Bayes modal estimates (Mislevy, Psychometrika 51, 1986): slopes
//! ln |a| ~ N(mean, sd²) or a ~ N(0, sd²), intercepts d ~ N(0, sd²). A penalty is minus the log of the density without its
//! constant, in nats. For the first kind it is the density of ln |a|, whose mode does not depend on the unit of a.

use crate::error::{Error, Result};
use crate::simd::math::{exp, ln};
use crate::simd::{Op, Row, Simd};
use serde::{Deserialize, Serialize};

/// The prior of all items.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ItemPrior {
    /// The prior of each slope.
    pub slope: SlopePrior,
    /// The standard deviation of each intercept; `None` for no prior.
    pub intercept: Option<f32>,
}

/// The prior of a slope a.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum SlopePrior {
    /// None.
    Flat,
    /// a ~ N(0, sd²): does not depend on the rotation of several dimensions.
    Normal {
        /// The standard deviation of a.
        sd: f32,
    },
    /// ln |a| ~ N(mean, sd²), for one dimension. The sign of a stays.
    LogNormal {
        /// The mean of ln |a|.
        mean: f32,
        /// The standard deviation of ln |a|.
        sd: f32,
    },
}

/// The range of |a| with a log-normal prior. A step that would leave it is not taken.
pub const SLOPES: [f32; 2] = [1e-6, 1e6];

impl ItemPrior {
    /// Returns an error for numbers out of range.
    pub fn check(&self) -> Result<()> {
        let (mean, sd) = match self.slope {
            SlopePrior::Flat => (0.0, None),
            SlopePrior::Normal { sd } => (0.0, Some(sd)),
            SlopePrior::LogNormal { mean, sd } => (mean, Some(sd)),
        };
        let sds = [sd, self.intercept];
        let good = sds.iter().flatten().all(|sd| (1e-3..=1e3).contains(sd));
        match good && (-10.0..=10.0).contains(&mean) {
            true => Ok(()),
            false => Err(Error::Parameter(
                "the prior of items has means of -10 to 10 and standard deviations of 0.001 to 1000"
                    .into(),
            )),
        }
    }

    /// The penalty of a slope, nats.
    pub fn slope_penalty(&self, a: f32) -> f64 {
        match self.slope {
            SlopePrior::Flat => 0.0,
            SlopePrior::Normal { sd } => square(f64::from(a) / f64::from(sd)) / 2.0,
            SlopePrior::LogNormal { mean, sd } => {
                square((f64::from(a.abs()).ln() - f64::from(mean)) / f64::from(sd)) / 2.0
            }
        }
    }

    /// The penalty of an intercept, nats.
    pub fn intercept_penalty(&self, d: f32) -> f64 {
        self.intercept.map_or(0.0, |sd| square(f64::from(d) / f64::from(sd)) / 2.0)
    }
}

fn square(x: f64) -> f64 {
    x * x
}

/// Adds the gradient of the penalties, times a weight, to the gradient of parameters. Padding, which is zero, gets zero.
pub struct AddPenaltyGradient<'a> {
    /// The prior of the parameters.
    pub prior: SlopePrior,
    /// The weight.
    pub weight: f32,
    /// The parameters.
    pub parameters: &'a Row,
    /// Their gradient.
    pub gradient: &'a mut Row,
}

impl Op for AddPenaltyGradient<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let AddPenaltyGradient { prior, weight, parameters, gradient } = self;
        for (lanes, to) in parameters.iter().zip(gradient) {
            let x = s.load(lanes);
            let slope = match prior {
                SlopePrior::Flat => return,
                SlopePrior::Normal { sd } => s.div(x, s.splat(sd * sd)),
                SlopePrior::LogNormal { mean, sd } => {
                    let size = s.max(s.abs(x), s.splat(SLOPES[0]));
                    let distance = s.sub(ln(s, size), s.splat(mean));
                    let slope = s.div(distance, s.mul(s.splat(sd * sd), x));
                    s.select(s.less(s.zero(), s.abs(x)), slope, s.zero())
                }
            };
            s.store(s.fma(s.splat(weight), slope, s.load(to)), to);
        }
    }
}

/// The gradient with respect to ln |a|: a dL/da.
pub struct LogGradient<'a> {
    /// The slopes a.
    pub slopes: &'a Row,
    /// dL/da.
    pub gradient: &'a Row,
    /// The result.
    pub out: &'a mut Row,
}

impl Op for LogGradient<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for v in 0..2 {
            let product = s.mul(s.load(&self.slopes[v]), s.load(&self.gradient[v]));
            s.store(product, &mut self.out[v]);
        }
    }
}

/// Adds steps to ln |a|: a becomes a e^step. A step is at most 1, and is not taken if it leaves [`SLOPES`].
pub struct LogStep<'a> {
    /// The slopes a; padding is zero and stays zero.
    pub slopes: &'a mut Row,
    /// The steps.
    pub steps: &'a Row,
}

impl Op for LogStep<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (lanes, step) in self.slopes.iter_mut().zip(self.steps) {
            let (a, one) = (s.load(lanes), s.splat(1.0));
            let step = s.min(one, s.max(s.neg(one), s.load(step)));
            let next = s.mul(a, exp(s, step));
            let size = s.abs(next);
            let next = s.select(s.less(s.splat(SLOPES[0]), size), next, a);
            s.store(s.select(s.less(size, s.splat(SLOPES[1])), next, a), lanes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Isa, ZERO_ROW, floats, floats_mut};

    fn row(values: &[f32]) -> Row {
        let mut rows = [ZERO_ROW];
        floats_mut(&mut rows)[..values.len()].copy_from_slice(values);
        rows[0]
    }

    #[test]
    fn the_gradient_is_the_penalty_s() {
        let values = [-3.0, -1.0, -1e-3, 1e-3, 0.2, 1.0, 1.7, 40.0_f32];
        let priors = [
            SlopePrior::Normal { sd: 1.5 },
            SlopePrior::LogNormal { mean: 0.0, sd: 0.75 },
            SlopePrior::LogNormal { mean: 0.3, sd: 0.5 },
            SlopePrior::Flat,
        ];
        for isa in Isa::available() {
            for slope in priors {
                let prior = ItemPrior { slope, intercept: None };
                let mut gradient = row(&[1.0; 8]);
                let parameters = &row(&values);
                let add = AddPenaltyGradient {
                    prior: slope,
                    weight: 0.5,
                    parameters,
                    gradient: &mut gradient,
                };
                isa.run(add);
                for (i, &x) in values.iter().enumerate() {
                    let h = f64::from(x.abs()) * 1e-3;
                    let [up, down] = [1.0, -1.0].map(|sign| (f64::from(x) + sign * h) as f32);
                    let width = f64::from(up) - f64::from(down);
                    let expected =
                        (prior.slope_penalty(up) - prior.slope_penalty(down)) / width * 0.5;
                    let found = f64::from(floats(&gradient)[i] - 1.0);
                    assert!(
                        (found - expected).abs() < 1e-3 * (1.0 + expected.abs()),
                        "{slope:?} at {x}: {found}, not {expected}"
                    );
                }
                assert!(floats(&gradient)[8..].iter().all(|&x| x == 0.0), "padding");
            }
        }
    }

    #[test]
    fn steps_keep_sign_and_range() {
        for isa in Isa::available() {
            let mut slopes = row(&[1.0, -2.0, 1.5e-6, -9e5, 3.0, 0.5]);
            let steps = &row(&[0.1, 0.1, -1.0, 1.0, 1e30, f32::NAN]);
            isa.run(LogStep { slopes: &mut slopes, steps });
            let found = floats(&slopes);
            let expected = [0.1_f32.exp(), -2.0 * 0.1_f32.exp(), 1.5e-6, -9e5, 3.0 * 1_f32.exp()];
            for (a, b) in found.iter().zip(expected) {
                assert!((a / b - 1.0).abs() < 1e-6, "{a}, not {b}");
            }
            assert!(found[5].is_finite());
            assert!(found[6..].iter().all(|&x| x == 0.0), "padding");
        }
    }
}
