//! The importance-weighted bound and its gradient (Burda, Grosse & Salakhutdinov, arXiv:1509.00519, equation 8).
//!
//! With K draws z_k = mu + sigma eps_k for each example and w_k = p(x|z_k) p(z_k) / q(z_k|x),
//!
//! L_K = ln(1/K sum_k w_k) and its gradient is sum_k s_k grad ln w_k, where s_k = w_k / sum_l w_l is a draw's share.
//!
//! Doubly reparameterised (Tucker, Lawson, Gu & Maddison, arXiv:1810.04152), the encoder's gradient is
//! sum_k s_k² d(ln w_k)/dz_k grad z_k, q's own parameters held fixed in ln w_k: the same in expectation, with less noise.

use crate::nn::latent::{clamp, unless_clamped};
use crate::simd::math;
use crate::simd::{LANES, Lanes, Op, Row, Simd};

/// A smaller share counts as none: it is far below the last digit of any sum over draws, and what is multiplied with it
/// would be denormal, which is slow.
const NEGLIGIBLE: f32 = 1e-18;

/// Fills in the weights of one example's draws, which are their shares times `total`, and returns L_K in nats.
pub struct ImportanceWeights<'a> {
    /// log p(z) - log q(z|x) of each draw, nats.
    pub ratio: &'a [f32],
    /// -log p(x|z) of each, nats.
    pub reconstruction: &'a [f32],
    /// The sum of the weights.
    pub total: f32,
    /// Where to.
    pub weights: &'a mut [f32],
}

impl Op for ImportanceWeights<'_> {
    type Output = f32;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        let ImportanceWeights { ratio, reconstruction, total, weights } = self;
        let mut largest = f32::NEG_INFINITY;
        for ((weight, ratio), reconstruction) in weights.iter_mut().zip(ratio).zip(reconstruction) {
            *weight = ratio - reconstruction; // ln w
            largest = largest.max(*weight);
        }
        let mut sums = s.zero();
        for some in weights.chunks_mut(LANES) {
            let mut lanes = Lanes([f32::NEG_INFINITY; LANES]);
            lanes.0[..some.len()].copy_from_slice(some);
            let relative = math::exp(s, s.sub(s.load(&lanes), s.splat(largest)));
            let negligible = s.less(relative, s.splat(NEGLIGIBLE));
            let relative = s.select(negligible, s.zero(), relative);
            sums = s.add(sums, relative);
            s.store(relative, &mut lanes);
            some.copy_from_slice(&lanes.0[..some.len()]);
        }
        let sum = s.sum(sums);
        let factor = total / sum;
        weights.iter_mut().for_each(|weight| *weight *= factor);
        let mut mean = Lanes::default();
        s.store(math::ln(s, s.splat(sum / weights.len() as f32)), &mut mean);
        largest + mean.0[0]
    }
}

/// From the draws' weighted gradients to dL/dmu and dL/dlogvar of one example, sixteen coordinates; draws ascending.
///
/// With c_k a draw's weight and d_k = c_k d(-log p(x|z_k))/dz, and since log p(z) - log q(z|x) is
/// sum_j (logvar + eps² - z²) / 2:
///
/// | | g_k | dmu | dlogvar, zero where logvar was clamped |
/// |---|---|---|---|
/// | plain | d_k + c_k z_k | sum_k g_k | sum_k g_k eps_k sigma / 2 - c_k / 2 |
/// | doubly reparameterised | s_k (d_k + c_k (z_k - eps_k / sigma)) | sum_k g_k | sum_k g_k eps_k sigma / 2 |
pub struct DrawsGradient<'a> {
    /// The posterior's log variance, not clamped.
    pub logvar: &'a Lanes,
    /// The draws' rows of the panel with these coordinates.
    pub eps: &'a [Row],
    /// The same.
    pub z: &'a [Row],
    /// d_k
    pub dz: &'a [Row],
    /// Which vector of the rows has the coordinates.
    pub half: usize,
    /// c_k
    pub weights: &'a [f32],
    /// s_k / c_k, for the doubly reparameterised gradient.
    pub doubly: Option<f32>,
}

impl Op for DrawsGradient<'_> {
    /// Those of mu and logvar.
    type Output = [Lanes; 2];
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> [Lanes; 2] {
        let DrawsGradient { logvar, eps, z, dz, half, weights, doubly } = self;
        let [mut dmu, mut dsigma, mut total] = [s.zero(); 3];
        let logvar = s.load(logvar);
        let sigma = math::exp(s, s.mul(s.splat(0.5), clamp(s, logvar)));
        let per_sigma = s.div(s.splat(1.0), sigma);
        for (((eps, z), dz), &weight) in eps.iter().zip(z).zip(dz).zip(weights) {
            let (eps, z, dz) = (s.load(&eps[half]), s.load(&z[half]), s.load(&dz[half]));
            let weight = s.splat(weight);
            let g = match doubly {
                None => {
                    total = s.add(total, weight);
                    s.fma(weight, z, dz)
                }
                Some(per_weight) => {
                    let share = s.mul(weight, s.splat(per_weight));
                    s.mul(share, s.fma(weight, s.sub(z, s.mul(eps, per_sigma)), dz))
                }
            };
            dmu = s.add(dmu, g);
            dsigma = s.fma(g, eps, dsigma);
        }
        let dlogvar = s.mul(s.splat(0.5), s.sub(s.mul(dsigma, sigma), total));
        let mut out = [Lanes::default(); 2];
        s.store(dmu, &mut out[0]);
        s.store(unless_clamped(s, logvar, dlogvar), &mut out[1]);
        out
    }
}
