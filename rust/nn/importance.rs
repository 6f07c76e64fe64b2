//! The importance-weighted bound and its gradient (Burda, Grosse & Salakhutdinov, arXiv:1509.00519, equation 8).
//!
//! For K draws z_k = mu + sigma eps_k of an example and w_k = p(x|z_k) p(z_k) / q(z_k|x),
//!
//! L_K = ln(1/K sum_k w_k) in nats, and its gradient is sum_k s_k grad ln w_k with s_k = w_k / sum_l w_l, the
//! normalised weights.
//!
//! The doubly reparameterised gradient of the encoder (Tucker, Lawson, Gu & Maddison, arXiv:1810.04152) is sum_k s_k²
//! d(ln w_k)/dz_k grad z_k, with the parameters of q held fixed in ln w_k: the same expectation, less variance.

use crate::nn::latent::{clamp, unless_clamped};
use crate::simd::math;
use crate::simd::{LANES, Lanes, Op, Row, Simd};

/// A smaller w_k / max_l w_l counts as zero: it is far below the last digit of any sum over draws, and its products
/// would be denormal, which is slow.
const NEGLIGIBLE: f32 = 1e-18;

/// Computes the weights s_k `total` of one example's draws, and returns L_K in nats.
pub struct ImportanceWeights<'a> {
    /// log p(z) - log q(z|x) of each draw, nats.
    pub ratio: &'a [f32],
    /// -log p(x|z) of each draw, nats.
    pub reconstruction: &'a [f32],
    /// The sum of the weights.
    pub total: f32,
    /// Receives the weights, one for each draw.
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
        for chunk in weights.chunks_mut(LANES) {
            let mut lanes = Lanes([f32::NEG_INFINITY; LANES]);
            lanes.0[..chunk.len()].copy_from_slice(chunk);
            let relative = math::exp(s, s.sub(s.load(&lanes), s.splat(largest)));
            let negligible = s.less(relative, s.splat(NEGLIGIBLE));
            let relative = s.select(negligible, s.zero(), relative);
            sums = s.add(sums, relative);
            s.store(relative, &mut lanes);
            chunk.copy_from_slice(&lanes.0[..chunk.len()]);
        }
        let sum = s.sum(sums);
        let factor = total / sum;
        weights.iter_mut().for_each(|weight| *weight *= factor);
        let mut mean = Lanes::default();
        s.store(math::ln(s, s.splat(sum / weights.len() as f32)), &mut mean);
        largest + mean.0[0]
    }
}

/// Computes dL/dmu and dL/dlogvar of one example from its draws' weighted gradients, for sixteen coordinates. Sums over
/// draws are in ascending order.
///
/// With the weight c_k of a draw, d_k = c_k d(-log p(x|z_k))/dz, and log p(z) - log q(z|x) =
/// sum_j (logvar + eps² - z²) / 2:
///
/// | | g_k | dmu | dlogvar, zero where logvar was clamped |
/// |---|---|---|---|
/// | plain | d_k + c_k z_k | sum_k g_k | sum_k g_k eps_k sigma / 2 - c_k / 2 |
/// | doubly reparameterised | s_k (d_k + c_k (z_k - eps_k / sigma)) | sum_k g_k | sum_k g_k eps_k sigma / 2 |
pub struct DrawsGradient<'a> {
    /// The posterior's log variance, before clamping.
    pub logvar: &'a Lanes,
    /// eps: a row for each draw, of the panel with these coordinates.
    pub eps: &'a [Row],
    /// z, as `eps`.
    pub z: &'a [Row],
    /// d_k, as `eps`.
    pub dz: &'a [Row],
    /// The vector of the rows, 0 or 1, with these coordinates.
    pub half: usize,
    /// c_k, one for each draw.
    pub weights: &'a [f32],
    /// s_k / c_k (the same for all draws) for the doubly reparameterised gradient; `None` for the plain one.
    pub doubly: Option<f32>,
}

impl Op for DrawsGradient<'_> {
    /// [dL/dmu, dL/dlogvar].
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
