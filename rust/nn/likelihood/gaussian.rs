//! Gaussian features: log p = -((x - m) / s)² / 2 - ln s - ln(2 pi) / 2, m = y or sigmoid(y) the mean.
//!
//! The standard deviation s is fixed, learned (shared or per feature), or an output of the decoder:
//! s² = floor² + e^(2u), u the decoder's second output for a feature. The floor bounds s from below unless s is fixed:
//! without it, a feature with a perfect prediction has infinite likelihood.

use super::scale::check_range;
use super::start::{self, Column, Level, Start};
use super::{
    Density, DensityWithScale, Draws, FeatureParameter, LearnedScale, LikelihoodKind, LogProb,
    TileWork, shown,
};
use crate::error::{Error, Result};
use crate::random::Distribution;
use crate::simd::{Arithmetic, Isa, math};
use serde::{Deserialize, Serialize};

/// Independent Gaussian features.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Gaussian {
    /// The standard deviation.
    pub scale: Scale,
    /// The lower bound of a standard deviation, learned or from the decoder.
    pub floor: f32,
    /// The link from the decoder's output to the mean.
    pub mean: Link,
}

impl Default for Gaussian {
    fn default() -> Gaussian {
        Gaussian { scale: Scale::Fixed(1.0), floor: 1e-3, mean: Link::Identity }
    }
}

/// The standard deviation of a Gaussian likelihood.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    rename_all = "snake_case",
    expecting = "scale must be a number, \"shared\", \"per_feature\" or \"decoder\""
)]
pub enum Scale {
    /// One learned value.
    Shared,
    /// One learned value for each feature.
    PerFeature,
    /// An output of the decoder: one value for each feature and example.
    Decoder,
    /// A fixed value.
    #[serde(untagged)]
    Fixed(f32),
}

/// The function from the decoder's output to the mean of a Gaussian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Link {
    /// The mean is the output.
    Identity,
    /// The mean is the sigmoid of the output, for data in [0, 1] (Kingma & Welling, arXiv:1312.6114, appendix C.2).
    /// A learned scale excludes it, because [`super::ScaleGradient`] computes the gradient of a learned scale from the
    /// gradient of an identity output.
    Sigmoid,
}

/// The upper clamp of the decoder's log scale u: it keeps e^(2u) and s² finite. Above it, the gradient of u is zero.
const MAX_LOG_SCALE: f32 = 40.0;

/// The largest shift of a sigmoid mean at the start, in units of the scale: it costs 1/32 nats.
const MAX_SHIFT: f64 = 0.25;

const HALF_LN_2PI: f32 = 0.918_938_5;

/// The density with a fixed or learned scale. The mean is the output or, with `SIGMOID`, the sigmoid of the output.
struct WithScale<const SIGMOID: bool>;

impl Density for WithScale<false> {
    #[inline(always)]
    fn log_prob<S: Arithmetic>(s: S, x: S::F, y: S::F, log_scale: S::F) -> LogProb<S::F> {
        let inverse = math::exp(s, s.neg(log_scale));
        let residual = s.mul(s.sub(y, x), inverse);
        let constant = s.add(log_scale, s.splat(HALF_LN_2PI));
        let half = s.mul(s.splat(0.5), residual);
        let value = s.neg(s.fma(half, residual, constant));
        LogProb { value, slope: s.mul(residual, inverse) }
    }
    #[inline(always)]
    fn parameter_slope<S: Arithmetic>(s: S, x: S::F, y: S::F, _: S::F, slope: S::F) -> S::F {
        s.sub(s.splat(1.0), s.mul(s.sub(y, x), slope))
    }
    #[inline(always)]
    fn mean<S: Arithmetic>(_: S, y: S::F) -> S::F {
        y
    }
}

impl Density for WithScale<true> {
    #[inline(always)]
    fn log_prob<S: Arithmetic>(s: S, x: S::F, y: S::F, log_scale: S::F) -> LogProb<S::F> {
        let (mean, slope) = sigmoid_and_slope(s, y);
        let found = WithScale::<false>::log_prob(s, x, mean, log_scale);
        LogProb { slope: s.mul(found.slope, slope), ..found }
    }
    #[inline(always)]
    fn mean<S: Arithmetic>(s: S, y: S::F) -> S::F {
        math::sigmoid(s, y)
    }
}

/// The sigmoid m of y and its derivative m (1 - m), without cancellation for m near 1.
#[inline(always)]
fn sigmoid_and_slope<S: Arithmetic>(s: S, y: S::F) -> (S::F, S::F) {
    let e = math::exp(s, s.neg(s.abs(y)));
    let inverse = s.div(s.splat(1.0), s.add(s.splat(1.0), e));
    let small = s.mul(e, inverse);
    (s.select(s.less(y, s.zero()), small, inverse), s.mul(small, inverse))
}

/// The density with a scale from the decoder.
#[derive(Clone, Copy)]
struct WithDecodersScale<const SIGMOID: bool> {
    floor: f32,
}

impl<const SIGMOID: bool> DensityWithScale for WithDecodersScale<SIGMOID> {
    #[inline(always)]
    fn log_prob<S: Arithmetic>(self, s: S, x: S::F, y: S::F, u: S::F) -> (LogProb<S::F>, S::F) {
        if !SIGMOID {
            return with_scale(s, x, [y, u], self.floor);
        }
        let (mean, slope) = sigmoid_and_slope(s, y);
        let (found, scale_slope) = with_scale(s, x, [mean, u], self.floor);
        (LogProb { slope: s.mul(found.slope, slope), ..found }, scale_slope)
    }
    #[inline(always)]
    fn mean<S: Arithmetic>(self, s: S, y: S::F) -> S::F {
        if SIGMOID { math::sigmoid(s, y) } else { y }
    }
    #[inline(always)]
    fn scale<S: Arithmetic>(self, s: S, u: S::F) -> S::F {
        let (variance, _) = variance(s, u, self.floor);
        s.sqrt(variance)
    }
}

/// s² = floor² + e^(2u) and e^(2u), u the decoder's log scale. The smooth floor keeps a gradient for scales near it.
#[inline(always)]
fn variance<S: Arithmetic>(s: S, u: S::F, floor: f32) -> (S::F, S::F) {
    let u = s.min(s.splat(MAX_LOG_SCALE), u);
    let above = math::exp(s, s.add(u, u));
    (s.add(s.splat(floor * floor), above), above)
}

/// log p(x|y, u) in nats and the gradients of its negative with respect to y and u.
#[inline(always)]
fn with_scale<S: Arithmetic>(
    s: S,
    x: S::F,
    [y, u]: [S::F; 2],
    floor: f32,
) -> (LogProb<S::F>, S::F) {
    let (half, one) = (s.splat(0.5), s.splat(1.0));
    let (variance, above) = variance(s, u, floor);
    let precision = s.div(one, variance);
    let residual = s.sub(y, x);
    let slope = s.mul(residual, precision);
    let square = s.mul(residual, slope);
    let constant = s.fma(half, math::ln(s, variance), s.splat(HALF_LN_2PI));
    let value = s.neg(s.fma(half, square, constant));
    let slope_u = s.mul(s.sub(one, square), s.mul(above, precision));
    let clamped = s.less(s.splat(MAX_LOG_SCALE), u);
    (LogProb { value, slope }, s.select(clamped, s.zero(), slope_u))
}

impl LikelihoodKind for Gaussian {
    fn name(&self) -> &'static str {
        "Gaussian"
    }
    fn formula(&self) -> String {
        let floor = shown(self.floor);
        let (s_j, s) = match self.scale {
            Scale::Fixed(scale) => ("s", format!("s = {}", shown(scale))),
            Scale::Shared => ("s", format!("s learned, one for all features, at least {floor}")),
            Scale::PerFeature => ("s_j", format!("s_j learned for each feature, at least {floor}")),
            Scale::Decoder => (
                "s_j",
                format!(
                    "s_j² = {floor}² + exp(2 u_j), u from the decoder, for each example and feature"
                ),
            ),
        };
        let mean = match self.mean {
            Link::Identity => "m the decoder's output",
            Link::Sigmoid => "m the sigmoid of the decoder's output",
        };
        format!("sum_j -((x_j - m_j) / {s_j})² / 2 - ln {s_j} - ln(2 pi) / 2, {mean}, {s}")
    }
    fn check(&self) -> Result<()> {
        check_range("floor", self.floor)?;
        match (self.scale, self.mean) {
            (Scale::Fixed(scale), _) => check_range("scale", scale),
            (Scale::Shared | Scale::PerFeature, Link::Sigmoid) => Err(Error::Parameter(
                "sigmoid means go with a fixed scale or scale=\"decoder\", not with one that is a parameter: choose one of \
                 these, or mean=\"identity\""
                    .into(),
            )),
            _ => Ok(()),
        }
    }
    fn parameter(&self) -> FeatureParameter {
        let per_feature = match self.scale {
            Scale::Fixed(scale) => return FeatureParameter::Fixed(scale),
            Scale::Decoder => return FeatureParameter::None,
            Scale::PerFeature => true,
            Scale::Shared => false,
        };
        FeatureParameter::Learned(LearnedScale {
            name: "likelihood.log_scale",
            per_feature,
            per_condition: false,
            range: (self.floor, f32::INFINITY),
            stores_gradient: false,
        })
    }
    fn outputs_per_feature(&self) -> usize {
        if self.scale == Scale::Decoder { 2 } else { 1 }
    }
    fn output_is_mean(&self) -> bool {
        self.mean == Link::Identity
    }
    /// s is the scale of the column or, if shared, the root mean square of all columns' deviations.
    fn start(&self, column: &Column, level: &Level) -> Option<Start> {
        let own = level.own_scale(column);
        let scale = match self.scale {
            Scale::Fixed(scale) => f64::from(scale),
            Scale::Shared => level.shared_scale().max(f64::from(self.floor)),
            Scale::PerFeature | Scale::Decoder => own.max(f64::from(self.floor)),
        };
        if self.mean == Link::Identity {
            let spread = scale.min(own);
            return Some(Start { output: column.mean, spread, scale, second: scale.ln() });
        }
        // Not 0 or 1, but no more than a fraction of the scale away from the data.
        let near = MAX_SHIFT * scale;
        let mean = match column.mean {
            0.0..=1.0 => column.mean + (start::share(column) - column.mean).clamp(-near, near),
            mean => mean.clamp(1e-3, 1.0 - 1e-3),
        };
        let information = (mean * (1.0 - mean) / scale).powi(2);
        Some(Start { scale, second: scale.ln(), ..Start::new(start::logit(mean), information) })
    }
    fn tile<W: TileWork>(&self, isa: Isa, work: W) {
        let floor = self.floor;
        match (self.scale, self.mean) {
            (Scale::Decoder, Link::Identity) => {
                work.dispatch_with_scale(isa, WithDecodersScale::<false> { floor });
            }
            (Scale::Decoder, Link::Sigmoid) => {
                work.dispatch_with_scale(isa, WithDecodersScale::<true> { floor });
            }
            (_, Link::Identity) => work.dispatch::<WithScale<false>>(isa),
            (_, Link::Sigmoid) => work.dispatch::<WithScale<true>>(isa),
        }
    }
    #[inline(always)]
    fn variance(&self, _: f32, s: f32) -> f32 {
        s * s
    }
    fn draw(&self, mut draws: Draws) -> bool {
        let (normal, scales) = (Distribution::StandardNormal, draws.parameters);
        if draws.scale.is_empty() {
            return draws.each_element(normal, |mean, j, eps| *mean += scales[j] * eps);
        }
        let rows = draws.next_rows();
        let at = rows.start * draws.cols..rows.end * draws.cols;
        let place = (draws.progress.first + rows.start, draws.cols);
        let (noise, scale) = (draws.noise(), &mut draws.scale[at.clone()]);
        noise.fill(draws.isa, normal, place, scale, |s, _, eps| *s *= eps);
        draws.means[at].iter_mut().zip(scale).for_each(|(mean, noise)| *mean += *noise);
        draws.is_done()
    }
}
