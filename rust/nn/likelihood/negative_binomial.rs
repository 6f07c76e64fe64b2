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
use super::start::{self, Column, Level, Start};
use super::{
    Density, Draws, FeatureParameter, LearnedScale, LikelihoodKind, LogProb, Support, TileWork,
    shown,
};
use crate::error::Result;
use crate::simd::{Arithmetic, Isa, math};
use serde::{Deserialize, Serialize};

/// Independent negative binomial counts, with a learned dispersion r for each feature.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NegativeBinomial {
    /// The lower bound of r.
    pub floor: f32,
}

impl Default for NegativeBinomial {
    fn default() -> NegativeBinomial {
        NegativeBinomial { floor: 1e-3 }
    }
}

/// The upper bound of r. There the likelihood is close to Poisson.
const MAX_TOTAL_COUNT: f32 = 1e6;

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

impl LikelihoodKind for NegativeBinomial {
    fn name(&self) -> &'static str {
        "negative binomial"
    }
    fn formula(&self) -> String {
        format!(
            "sum_j ln Γ(x_j + r_j) - ln Γ(r_j) - ln x_j! + r_j ln(r_j / (r_j + m_j)) + x_j ln(m_j / (r_j + m_j)), ln m the \
             decoder's output, r_j learned for each feature, {} to {}",
            shown(self.floor),
            shown(MAX_TOTAL_COUNT)
        )
    }
    fn check(&self) -> Result<()> {
        check_range("floor", self.floor)
    }
    fn support(&self) -> Support {
        Support::COUNTS
    }
    fn parameter(&self) -> FeatureParameter {
        FeatureParameter::Learned(LearnedScale {
            name: "likelihood.log_total_count",
            per_feature: true,
            range: (self.floor, MAX_TOTAL_COUNT),
            stores_gradient: Self::STORES_GRADIENT,
        })
    }
    /// r by the share of zeros if they are many, else by the variance; at most [`NEAR_POISSON`] (1 + m), from which on the
    /// density is practically Poisson, so that r still has a gradient.
    fn start(&self, column: &Column, _: &Level) -> Option<Start> {
        let mean = start::rate(column);
        let zeros = (column.zeros + 0.5) / (column.count + 1.0);
        let r = match zeros > 0.5 {
            true => of_zeros(zeros, mean),
            false => mean * mean / (column.variance - mean).max(0.0),
        };
        let r = r.min(NEAR_POISSON * (1.0 + mean));
        let r = r.clamp(f64::from(self.floor), f64::from(MAX_TOTAL_COUNT));
        let start = Start::new(mean.ln(), mean * r / (mean + r));
        Some(Start { scale: r, ..start })
    }
    fn tile<W: TileWork>(&self, isa: Isa, work: W) {
        work.dispatch::<Self>(isa);
    }
    #[inline(always)]
    fn variance(&self, mean: f32, r: f32) -> f32 {
        mean + mean * mean / r
    }
    fn draw(&self, draws: Draws) -> bool {
        let total_counts = draws.parameters;
        draws.each_count(|mean, j, uniforms| {
            // A Poisson draw with a rate from Gamma(r, m / r).
            let r = f64::from(total_counts[j]);
            let rate = uniforms.gamma(r) * f64::from(mean) / r;
            uniforms.poisson(rate)
        })
    }
}
