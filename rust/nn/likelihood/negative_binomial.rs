//! Negative binomial counts, y = ln m, with a learned r for each feature: a Poisson distribution with a rate from
//! Gamma(r, m / r). The limit r -> infinity is Poisson. With n = x + r and S from [`super::deviance`],
//!
//! log p = ln Γ(n) - ln Γ(r) - ln x! + r ln(r / (r + m)) + x ln(m / (r + m))
//!       = S(n) - S(r) - S(x) - ln(n / r) - D, D = r A + x B, A = ln((r + m) / n), B = ln(x (r + m) / (m n))
//!
//! d(-log p)/dy = r σ(t) - x σ(-t), t = y - ln r
//! d(-log p)/d ln r = r (ln(1 + e^t) - ψ(n) + ψ(r)) - d(-log p)/dy

use super::deviance::{NEAR, second_remainder};
use super::scale::check_range;
use super::shares::{CountDensity, SizeFactor};
use super::start::{self, Column, Level, Start};
use super::{
    Density, Draws, FeatureParameter, LearnedScale, LikelihoodKind, LogProb, Support, TileWork,
    shown,
};
use crate::error::{Error, Result};
use crate::simd::{Arithmetic, Isa, math};
use serde::{Deserialize, Serialize};

/// Independent negative binomial counts, with a learned dispersion r for each feature.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NegativeBinomial {
    /// The lower bound of r.
    pub floor: f32,
    /// The size of a row, if the means are shares of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_factor: Option<SizeFactor>,
    /// Whether the decoder outputs the logit of a zero besides those of the distribution: see [`super::inflation`].
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub zero_inflation: bool,
    /// The rows that share r.
    #[serde(skip_serializing_if = "Dispersion::is_shared")]
    pub dispersion: Dispersion,
}

/// The rows that share the dispersion r of a feature.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", expecting = "dispersion must be \"shared\" or \"batch\"")]
pub enum Dispersion {
    /// All rows.
    #[default]
    Shared,
    /// The rows of a batch: ln r = sum_b y_b t_b, one t for each condition y_b, as scVI's `gene-batch`.
    Batch,
}

impl Dispersion {
    fn is_shared(&self) -> bool {
        *self == Dispersion::Shared
    }
}

impl Default for NegativeBinomial {
    fn default() -> NegativeBinomial {
        NegativeBinomial {
            floor: 1e-3,
            size_factor: None,
            zero_inflation: false,
            dispersion: Dispersion::Shared,
        }
    }
}

/// The upper bound of r. There the likelihood is close to Poisson.
const MAX_TOTAL_COUNT: f32 = 1e6;

/// The logit of zero inflation at the start: about a tenth of the values.
const INFLATION: f64 = -2.2;

/// The largest r / (1 + m) at the start.
const NEAR_POISSON: f64 = 10.0;

impl Density for NegativeBinomial {
    const STORES_GRADIENT: bool = true;
    const IS_LONG: bool = true;
    #[inline(always)]
    fn log_prob<S: Arithmetic>(s: S, x: S::F, y: S::F, log_r: S::F) -> LogProb<S::F> {
        let (one, r) = (s.splat(1.0), math::exp(s, log_r));
        let n = s.add(x, r);
        let log_growth = math::ln_1p_of(s, s.div(x, r)); // ln(n / r)

        // σ(t), σ(-t), ln(1 + e^t) and ln(1 + e^-t) = ln((r + m) / m).
        let t = s.sub(y, log_r);
        let e = math::exp(s, s.neg(s.abs(t)));
        let (major, rest) = (s.div(one, s.add(one, e)), math::ln_1p(s, e));
        let (minor, below) = (s.mul(e, major), s.less(t, s.zero()));
        let [up, down] = [s.select(below, minor, major), s.select(below, major, minor)];
        let log_up = s.add(s.max(s.zero(), t), rest);
        let log_down = s.add(s.max(s.zero(), s.neg(t)), rest);

        // A = ln(1 + q), q = (m - x) / n = (e^u - 1) x / n, u = y - ln x, unless q is very large or near -1.
        let ln_x = math::ln(s, x);
        let u = s.sub(y, ln_x); // of x = 0 some finite number, times zero
        let series = s.fma(s.mul(u, u), second_remainder(s, u), u);
        let far = s.sub(math::exp(s, u), one);
        let growth = s.select(s.less(s.abs(u), s.splat(NEAR)), series, far);
        let middle = s.less(s.abs(s.sub(u, s.splat(9.75))), s.splat(10.25)); // -1/2 < u < 20
        let q = s.select(middle, s.mul(s.div(x, n), growth), s.zero());
        let a = s.select(middle, math::ln_1p_of(s, q), s.sub(log_up, log_growth));
        // B = A - u, with a float32 error in proportion to u, or B = ln(1 + r / m) - ln(1 + r / x), with an error in
        // proportion to r / x. The code selects the smaller error.
        let few = s.sub(log_down, math::ln_1p_of(s, s.div(r, x)));
        let b = s.select(s.less(r, s.mul(x, s.abs(u))), few, s.sub(a, u));
        let deviance = s.fma(r, a, s.mul(x, b));

        let of_n = math::stirling_remainder(s, n, math::ln(s, n));
        let of_r = math::stirling_remainder(s, r, math::ln(s, r));
        let of_x = math::stirling_remainder(s, x, ln_x);
        let value = s.sub(s.sub(s.sub(of_n, of_r), s.add(of_x, log_growth)), deviance);

        LogProb { value, slope: s.sub(s.mul(r, up), s.mul(x, down)) }
    }
    /// Repeats terms of `log_prob`. After inlining of both functions, the compiler computes these terms once.
    #[inline(always)]
    fn parameter_slope<S: Arithmetic>(s: S, x: S::F, y: S::F, log_r: S::F, slope: S::F) -> S::F {
        let r = math::exp(s, log_r);
        let n = s.add(x, r);
        let log_growth = math::ln_1p_of(s, s.div(x, r));
        let t = s.sub(y, log_r);
        let e = math::exp(s, s.neg(s.abs(t)));
        let log_up = s.add(s.max(s.zero(), t), math::ln_1p(s, e));
        // ψ(n) - ψ(r) without its logarithms, ln(n / r). For large r, ln(n / r) nearly cancels ln(1 + e^t).
        let digammas = s.sub(math::digamma_remainder(s, n), math::digamma_remainder(s, r));
        s.sub(s.mul(r, s.sub(s.sub(log_up, log_growth), digammas)), slope)
    }
    #[inline(always)]
    fn mean<S: Arithmetic>(s: S, y: S::F) -> S::F {
        math::exp(s, y)
    }
}

impl CountDensity for NegativeBinomial {
    #[inline(always)]
    fn of_zero<S: Arithmetic>(s: S, y: S::F, log_r: S::F) -> (LogProb<S::F>, S::F) {
        let r = math::exp(s, log_r);
        let t = s.sub(y, log_r);
        let [up, log_up] = math::sigmoid_softplus(s, t);
        let slope = s.mul(r, up);
        let loss = s.mul(r, log_up);
        (LogProb { value: s.neg(loss), slope }, s.sub(loss, slope))
    }
}

/// r with P(0) = (1 + m / r)^-r = `zeros`, by bisection of ln r; the largest r if none has so few zeros.
fn of_zeros(zeros: f64, mean: f64) -> f64 {
    let log_most = f64::from(MAX_TOTAL_COUNT).ln();
    let (mut low, mut high) = (-log_most, log_most);
    for _ in 0..50 {
        let middle = 0.5 * (low + high);
        let r = middle.exp();
        match r * (mean / r).ln_1p() < -zeros.ln() {
            true => low = middle,
            false => high = middle,
        }
    }
    high.exp()
}

/// A column as its share of zeros and two equally frequent counts with the logarithmic mean and variance of a log-normal
/// variable that has the moments of the other values.
struct Summary {
    mean: f64,
    zeros: f64,
    counts: [f64; 2],
}

impl Summary {
    fn of(column: &Column, mean: f64, zeros: f64) -> Summary {
        let others = column.mean / (1.0 - zeros);
        let square = (column.variance + column.mean * column.mean) / (1.0 - zeros);
        let spread = (square / (others * others)).ln().max(0.0);
        let count = |sign: f64| {
            let x = others * (sign * spread.sqrt() - 0.5 * spread).exp();
            x.min(column.most).max(f64::MIN_POSITIVE)
        };
        Summary { mean, zeros, counts: [count(-1.0), count(1.0)] }
    }

    /// The mean log-probability, without terms that do not depend on r.
    fn log_prob(&self, r: f64) -> f64 {
        let m = self.mean;
        let ratios: f64 = self.counts.iter().map(|x| ln_gamma(x + r) - x * (r + m).ln()).sum();
        let share = 1.0 - self.zeros;
        share * (0.5 * ratios - ln_gamma(r)) - r * (m / r).ln_1p()
    }

    /// The likeliest r from `low` to `high`, by golden-section search of ln r.
    fn best(&self, low: f64, high: f64) -> f64 {
        const GOLDEN: f64 = 0.618_033_988_749_894_8;
        let (mut low, mut high) = (low.ln(), high.ln());
        for _ in 0..10 {
            let step = GOLDEN * (high - low);
            match self.log_prob((high - step).exp()) > self.log_prob((low + step).exp()) {
                true => high = low + step,
                false => low = high - step,
            }
        }
        (0.5 * (low + high)).exp()
    }
}

/// ln Γ(x) by Stirling's series, from 20 on; below by Γ(x + 1) = x Γ(x).
pub(super) fn ln_gamma(x: f64) -> f64 {
    let (mut x, mut product) = (x, 1.0);
    while x < 20.0 {
        product *= x;
        x += 1.0;
    }
    let inverse = 1.0 / (x * x);
    let series = (1.0 / 12.0 - inverse * (1.0 / 360.0 - inverse / 1260.0)) / x;
    (x - 0.5) * x.ln() - x + 0.5 * std::f64::consts::TAU.ln() + series - f64::ln(product)
}

impl LikelihoodKind for NegativeBinomial {
    fn name(&self) -> &'static str {
        "negative binomial"
    }
    fn formula(&self) -> String {
        let density = "ln Γ(x_j + r_j) - ln Γ(r_j) - ln x_j! + r_j ln(r_j / (r_j + m_j)) + x_j ln(m_j / (r_j + m_j))";
        let sum = match self.zero_inflation {
            false => format!("sum_j {density}"),
            true => format!(
                "sum_j ln(p_j [x_j = 0] + (1 - p_j) f(x_j)), p = sigmoid(u), u from the decoder, ln f(x_j) = {density}"
            ),
        };
        let mean = match self.size_factor {
            None => "ln m the decoder's output".into(),
            Some(size) => size.formula(),
        };
        let features = match self.dispersion {
            Dispersion::Shared => "feature",
            Dispersion::Batch => "feature in each batch",
        };
        let (floor, most) = (shown(self.floor), shown(MAX_TOTAL_COUNT));
        format!("{sum}, {mean}, r_j learned for each {features}, {floor} to {most}")
    }
    fn check(&self) -> Result<()> {
        if self.zero_inflation && self.size_factor.is_none() {
            return Err(Error::Parameter(
                "zero_inflation=True needs size_factor=\"total\": pass both".into(),
            ));
        }
        if self.dispersion == Dispersion::Batch && self.size_factor.is_none() {
            return Err(Error::Parameter(
                "dispersion=\"batch\" needs size_factor=\"total\": pass both".into(),
            ));
        }
        check_range("floor", self.floor)
    }
    fn size_factor(&self) -> Option<SizeFactor> {
        self.size_factor
    }
    fn outputs_per_feature(&self) -> usize {
        if self.zero_inflation { 2 } else { 1 }
    }
    fn second_output(&self) -> &'static str {
        "inflation"
    }
    fn support(&self) -> Support {
        Support::COUNTS
    }
    fn parameter(&self) -> FeatureParameter {
        FeatureParameter::Learned(LearnedScale {
            name: "likelihood.log_total_count",
            per_feature: true,
            per_condition: self.dispersion == Dispersion::Batch,
            range: (self.floor, MAX_TOTAL_COUNT),
            stores_gradient: Self::STORES_GRADIENT,
        })
    }
    /// The likeliest r between those by the share of zeros and by the variance; at most [`NEAR_POISSON`] (1 + m), from which on the
    /// density is practically Poisson, so that r still has a gradient.
    fn start(&self, column: &Column, _: &Level) -> Option<Start> {
        let mean = start::rate(column);
        let zeros = (column.zeros + 0.5) / (column.count + 1.0);
        let near_poisson = NEAR_POISSON * (1.0 + mean);
        let [of_zeros, of_variance] =
            [of_zeros(zeros, mean), mean * mean / (column.variance - mean).max(0.0)].map(|r| {
                r.min(near_poisson).clamp(f64::from(self.floor), f64::from(MAX_TOTAL_COUNT))
            });
        let (low, high) = (of_zeros.min(of_variance), of_zeros.max(of_variance));
        // Without zeros, or with zeros only, there is one estimate.
        let r = match (column.zeros, column.mean) {
            (0.0, _) => of_variance,
            (_, 0.0) => of_zeros,
            _ if high < 1.2 * low => (low * high).sqrt(),
            _ => Summary::of(column, mean, zeros.min(1.0 - 0.5 / column.count)).best(low, high),
        };
        let start = Start::new(mean.ln(), mean * r / (mean + r));
        Some(Start { scale: r, second: INFLATION, ..start })
    }
    fn tile<W: TileWork>(&self, isa: Isa, work: W) {
        work.dispatch::<Self>(isa);
    }
    #[inline(always)]
    fn variance(&self, mean: f32, r: f32) -> f32 {
        mean + mean * mean / r
    }
    /// With zero inflation `mean` is (1 - p) m.
    #[inline(always)]
    fn variance_of(&self, _: usize, mean: f32, [r, p]: [f32; 2]) -> f32 {
        if !self.zero_inflation {
            return self.variance(mean, r);
        }
        let m = mean / (1.0 - p).max(f32::MIN_POSITIVE);
        mean * (1.0 + m * (p + 1.0 / r))
    }
    fn draw(&self, mut draws: Draws) -> bool {
        let (total_counts, cols) = (draws.parameters, draws.cols);
        let each = if total_counts.len() > cols { cols } else { 0 }; // r of each row, or of all
        let inflation = std::mem::take(&mut draws.scale);
        draws.each_count(|mut mean, row, j, uniforms| {
            if self.zero_inflation {
                let p = f64::from(inflation[row * cols + j]);
                if uniforms.uniform() < p {
                    return 0.0;
                }
                mean /= 1.0 - p;
            }
            // A Poisson draw with a rate from Gamma(r, m / r).
            let r = f64::from(total_counts[row * each + j]);
            let rate = uniforms.gamma(r) * mean / r;
            uniforms.poisson(rate)
        })
    }
}
