//! RecVAE's composite prior (Shenbin et al., "RecVAE: a new variational autoencoder for top-N recommendations with implicit
//! feedback", arXiv:1912.11160): each latent coordinate of an example has the prior
//!
//! p(z) = w0 N(0, 1) + w1 N(m, s²) + w2 N(0, v),
//!
//! where N(m, s²) is the example's posterior by the parameters of an earlier epoch, and v is large. The KL has no closed
//! form; its estimate from the draw z = mu + sigma eps is ln q(z|x) - ln p(z), in nats.

use super::latent::{LatentBlock, clamp, reparameterize, unless_clamped};
use crate::error::{Error, Result};
use crate::simd::math::{exp, ln};
use crate::simd::{LANES, Lanes, Op, Simd};

/// The weights and the widest component of the mixture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mixture {
    log_weights: [f32; 3],
    wide_logvar: f32,
}

/// The logarithm of a weight of zero.
const LOG_ZERO: f32 = -1e30;

impl Mixture {
    /// The mixture with weights w0, w1, w2, which are divided by their sum, and ln v.
    pub fn new(weights: [f32; 3], wide_logvar: f32) -> Result<Mixture> {
        let total: f32 = weights.iter().sum();
        let good = weights.iter().all(|w| (0.0..=1e6).contains(w)) && total > 0.0;
        if !good || !(-20.0..=40.0).contains(&wide_logvar) {
            return Err(Error::Parameter(
                "a composite prior has weights of at least 0, not all 0, and a log variance of -20 to 40"
                    .into(),
            ));
        }
        let log_weights = weights.map(|w| if w > 0.0 { (w / total).ln() } else { LOG_ZERO });
        Ok(Mixture { log_weights, wide_logvar })
    }

    /// ln p(z) + ln(2 pi) / 2 and -d ln p(z) / dz, given m and ln s².
    #[inline(always)]
    fn density<S: Simd>(&self, s: S, z: S::F, mean: S::F, logvar: S::F) -> [S::F; 2] {
        let [standard, previous, wide] = self.log_weights.map(|w| s.splat(w));
        let half = s.splat(0.5);
        let logvar = clamp(s, logvar);
        let precision = exp(s, s.neg(s.mul(half, logvar))); // 1 / s
        let distance = s.mul(s.sub(z, mean), precision);
        let narrow = s.splat((-0.5 * self.wide_logvar).exp());
        let far = s.mul(z, narrow);
        let terms = [
            s.sub(standard, s.mul(half, s.mul(z, z))),
            s.sub(previous, s.mul(half, s.fma(distance, distance, logvar))),
            s.sub(wide, s.mul(half, s.fma(far, far, s.splat(self.wide_logvar)))),
        ];
        let max = s.max(s.max(terms[0], terms[1]), terms[2]);
        let [a, b, c] = terms.map(|term| exp(s, s.sub(term, max)));
        let sum = s.add(a, s.add(b, c));
        let pull = s.fma(b, s.mul(distance, precision), s.mul(a, z));
        let pull = s.fma(c, s.mul(far, narrow), pull);
        [s.add(max, ln(s, sum)), s.div(pull, sum)]
    }
}

/// m and ln s² of up to sixteen rows of sixteen coordinates.
#[derive(Default)]
pub struct PreviousBlock {
    /// Means.
    pub mean: [Lanes; LANES],
    /// Log variances, before clamping.
    pub logvar: [Lanes; LANES],
}

/// Computes z, adds each row's estimate of the KL to `kl`, and returns the number of clamped log variances.
pub struct SampleComposite<'a> {
    /// The prior's weights.
    pub mixture: Mixture,
    /// m and ln s².
    pub previous: &'a PreviousBlock,
    /// mu, logvar, eps in; z out.
    pub block: &'a mut LatentBlock,
    /// Nats, one per row.
    pub kl: &'a mut [f32],
}

impl Op for SampleComposite<'_> {
    type Output = usize;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> usize {
        let SampleComposite { mixture, previous, block, kl } = self;
        let used = s.first(block.cols);
        let mut clamped = 0;
        for (i, kl) in (0..block.rows).zip(kl) {
            let (mu, logvar) = (s.load(&block.mu[i]), s.load(&block.logvar[i]));
            let eps = s.load(&block.eps[i]);
            let z = reparameterize(s, mu, logvar, eps);
            let [mean, variance] = [&previous.mean[i], &previous.logvar[i]].map(|x| s.load(x));
            let [log_p, _] = mixture.density(s, z, mean, variance);
            // ln q(z|x) + ln(2 pi) / 2 = -(logvar + eps²) / 2
            let log_q = s.mul(s.splat(-0.5), s.fma(eps, eps, clamp(s, logvar)));
            *kl += s.sum(s.select(used, s.sub(log_q, log_p), s.zero()));
            s.store(s.select(used, z, s.zero()), &mut block.z[i]);
            let inside = unless_clamped(s, logvar, s.splat(1.0));
            clamped += block.cols - s.sum(s.select(used, inside, s.zero())) as usize;
        }
        clamped
    }
}

/// Computes dL/dmu = dz + w a and dL/dlogvar = (dz + w a) eps sigma / 2 - w / 2 with a = -d ln p(z) / dz, which include the
/// gradient of the estimate of the KL. dL/dlogvar is zero where logvar is clamped.
pub struct CompositeGradient<'a> {
    /// The prior's weights.
    pub mixture: Mixture,
    /// m and ln s².
    pub previous: &'a PreviousBlock,
    /// mu, logvar, eps and dz (in `z`) in; gradients in `mu` and `logvar` out.
    pub block: &'a mut LatentBlock,
    /// w of each row: the derivative of the loss with respect to its KL.
    pub weights: Lanes,
}

impl Op for CompositeGradient<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let CompositeGradient { mixture, previous, block, weights } = self;
        let half = s.splat(0.5);
        for i in 0..block.rows {
            let weight = s.splat(weights.0[i]);
            let (mu, logvar) = (s.load(&block.mu[i]), s.load(&block.logvar[i]));
            let (eps, dz) = (s.load(&block.eps[i]), s.load(&block.z[i]));
            let [mean, variance] = [&previous.mean[i], &previous.logvar[i]].map(|x| s.load(x));
            let z = reparameterize(s, mu, logvar, eps);
            let [_, pull] = mixture.density(s, z, mean, variance);
            let dz = s.fma(weight, pull, dz);
            let sigma = exp(s, s.mul(half, clamp(s, logvar)));
            let dlogvar = s.mul(half, s.sub(s.mul(s.mul(dz, eps), sigma), weight));
            s.store(dz, &mut block.mu[i]);
            s.store(unless_clamped(s, logvar, dlogvar), &mut block.logvar[i]);
        }
    }
}
