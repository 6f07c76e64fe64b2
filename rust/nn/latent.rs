//! The latent layer: z ~ q(z|x) = N(mu, sigma²) by the reparameterisation trick, and the analytic KL to the
//! prior N(0, I) (Kingma & Welling, arXiv:1312.6114, section 2.4 and appendix B).
//!
//! The encoder's output is [mu, logvar] with logvar = ln sigma², which every formula clamps to [-30, 20] first.

use crate::simd::math;
use crate::simd::{LANES, Lanes, Op, Simd};

/// The range of logvar. A smaller variance is negligible in float32; a larger one means that the encoder diverges.
pub const LOGVAR_RANGE: (f32, f32) = (-30.0, 20.0);

/// `logvar` clamped to [`LOGVAR_RANGE`].
#[inline(always)]
pub(crate) fn clamp<S: Simd>(s: S, logvar: S::F) -> S::F {
    s.min(s.splat(LOGVAR_RANGE.1), s.max(s.splat(LOGVAR_RANGE.0), logvar))
}

/// z = mu + e^(logvar / 2) eps
#[inline(always)]
pub(crate) fn reparameterize<S: Simd>(s: S, mu: S::F, logvar: S::F, eps: S::F) -> S::F {
    let sigma = math::exp(s, s.mul(s.splat(0.5), clamp(s, logvar)));
    s.fma(sigma, eps, mu)
}

/// KL(N(mu, sigma²) || N(0, 1)) = (mu² + sigma² - 1 - ln sigma²) / 2 of one coordinate, in nats.
#[inline(always)]
pub(crate) fn kl_term<S: Simd>(s: S, mu: S::F, logvar: S::F) -> S::F {
    let logvar = clamp(s, logvar);
    let variance = s.sub(math::exp(s, logvar), s.splat(1.0));
    s.mul(s.splat(0.5), s.add(s.mul(mu, mu), s.sub(variance, logvar)))
}

/// The KL's term in the loss of a batch: w |sum_j max(KL_j, free_bits) - C|, where KL_j is the batch mean of coordinate
/// j's KL. Free bits are Kingma et al.'s (arXiv:1606.04934, equation 15), the capacity C is Burgess et al.'s
/// (arXiv:1804.03599, equation 8).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KlTerm {
    /// w, also called beta.
    pub weight: f32,
    /// The free bits of each coordinate, in nats.
    pub free_bits: f32,
    /// C in nats, if there is one.
    pub capacity: Option<f32>,
}

impl KlTerm {
    /// w KL, as in the ELBO.
    pub fn plain(weight: f32) -> KlTerm {
        KlTerm { weight, free_bits: 0.0, capacity: None }
    }

    /// Whether the term is w KL, which is a sum over examples.
    pub fn is_plain(&self) -> bool {
        self.free_bits == 0.0 && self.capacity.is_none()
    }

    /// sum_j max(KL_j, free_bits) - C in nats, given each KL_j.
    fn excess(&self, means: impl Iterator<Item = f64>) -> f64 {
        let free = f64::from(self.free_bits);
        let total: f64 = means.map(|mean| mean.max(free)).sum();
        total - f64::from(self.capacity.unwrap_or(0.0))
    }

    /// The term's value in nats, given each KL_j.
    pub fn value(&self, means: impl Iterator<Item = f64>) -> f64 {
        f64::from(self.weight) * self.excess(means).abs()
    }

    /// The derivative with respect to one example's KL in a coordinate with KL_j >= free_bits, given each KL_j and the
    /// number of examples.
    pub fn slope(&self, means: impl Iterator<Item = f64>, rows: usize) -> f32 {
        let direction = match self.excess(means) {
            excess if excess > 0.0 => 1.0,
            excess if excess < 0.0 => -1.0,
            _ => 0.0,
        };
        self.weight * direction / rows as f32
    }

    /// [`KlTerm::slope`] for sixteen coordinates, zero for those with KL_j < free_bits.
    pub fn slopes(&self, slope: f32, sums: &Lanes, rows: usize) -> Lanes {
        let exceeds = |sum: f32| sum / rows as f32 >= self.free_bits;
        Lanes(sums.0.map(|sum| if exceeds(sum) { slope } else { 0.0 }))
    }
}

/// Up to sixteen rows of sixteen latent coordinates, copied out of their panels. (The logvar columns of the encoder's
/// output are not aligned to vectors, so a copy is needed, and it is small.)
#[derive(Default)]
pub struct LatentBlock {
    /// Posterior means.
    pub mu: [Lanes; LANES],
    /// Posterior log variances, before clamping.
    pub logvar: [Lanes; LANES],
    /// Noise eps.
    pub eps: [Lanes; LANES],
    /// z; for [`LatentGradient`], dL/dz.
    pub z: [Lanes; LANES],
    /// Rows in use.
    pub rows: usize,
    /// Coordinates in use.
    pub cols: usize,
}

/// Computes z, adds each row's KL to `kl`, and returns the number of clamped log variances.
pub struct SamplePosterior<'a> {
    /// mu, logvar, eps in; z out.
    pub block: &'a mut LatentBlock,
    /// Nats, one per row.
    pub kl: &'a mut [f32],
}

impl Op for SamplePosterior<'_> {
    type Output = usize;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> usize {
        let block = self.block;
        let used = s.first(block.cols);
        let mut clamped = 0;
        for (i, kl) in (0..block.rows).zip(self.kl) {
            let (mu, logvar) = (s.load(&block.mu[i]), s.load(&block.logvar[i]));
            let z = reparameterize(s, mu, logvar, s.load(&block.eps[i]));
            s.store(s.select(used, z, s.zero()), &mut block.z[i]);
            *kl += s.sum(s.select(used, kl_term(s, mu, logvar), s.zero()));
            let inside = unless_clamped(s, logvar, s.splat(1.0));
            clamped += block.cols - s.sum(s.select(used, inside, s.zero())) as usize;
        }
        clamped
    }
}

/// Overwrites z with each coordinate's KL, and adds its rows, ascending, times their factors to `sums`.
pub struct KlByCoordinate<'a> {
    /// mu and logvar in; KL in `z` out, nats.
    pub block: &'a mut LatentBlock,
    /// The factor of each row.
    pub factors: Lanes,
    /// Nats, one per coordinate.
    pub sums: &'a mut Lanes,
}

impl Op for KlByCoordinate<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let KlByCoordinate { block, factors, sums } = self;
        let mut total = s.load(sums);
        for i in 0..block.rows {
            let term = kl_term(s, s.load(&block.mu[i]), s.load(&block.logvar[i]));
            s.store(term, &mut block.z[i]);
            total = s.fma(s.splat(factors.0[i]), term, total);
        }
        s.store(s.select(s.first(block.cols), total, s.zero()), sums);
    }
}

/// Computes z, and adds each row's log p(z) - log q(z|x) = sum_j (logvar + eps² - z²) / 2 to `ratio`.
pub struct SampleWithRatio<'a> {
    /// mu, logvar, eps in; z out.
    pub block: &'a mut LatentBlock,
    /// Nats, one per row.
    pub ratio: &'a mut [f32],
}

impl Op for SampleWithRatio<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let block = self.block;
        let used = s.first(block.cols);
        for (i, ratio) in (0..block.rows).zip(self.ratio) {
            let (logvar, eps) = (s.load(&block.logvar[i]), s.load(&block.eps[i]));
            let z = reparameterize(s, s.load(&block.mu[i]), logvar, eps);
            let squares = s.fma(eps, eps, s.neg(s.mul(z, z)));
            let term = s.mul(s.splat(0.5), s.add(clamp(s, logvar), squares));
            *ratio += s.sum(s.select(used, term, s.zero()));
            s.store(s.select(used, z, s.zero()), &mut block.z[i]);
        }
    }
}

/// `x` where logvar is in [`LOGVAR_RANGE`], ends included; zero where it is clamped.
#[inline(always)]
pub(crate) fn unless_clamped<S: Simd>(s: S, logvar: S::F, x: S::F) -> S::F {
    let x = s.select(s.less(logvar, s.splat(LOGVAR_RANGE.0)), s.zero(), x);
    s.select(s.less(s.splat(LOGVAR_RANGE.1), logvar), s.zero(), x)
}

/// Computes dL/dmu = dz + w mu and dL/dlogvar = dz eps sigma / 2 + w (sigma² - 1) / 2, which include the gradient of
/// the KL. dL/dlogvar is zero where logvar is clamped.
pub struct LatentGradient<'a> {
    /// mu, logvar, eps and dz (in `z`) in; gradients in `mu` and `logvar` out.
    pub block: &'a mut LatentBlock,
    /// For each coordinate, the derivative of the loss with respect to the KL of an example of weight 1.
    pub slopes: Lanes,
    /// The weight of each row's example; w is slope times weight.
    pub factors: Lanes,
}

impl Op for LatentGradient<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let block = self.block;
        let slopes = s.load(&self.slopes);
        let half = s.splat(0.5);
        for i in 0..block.rows {
            let weight = s.mul(slopes, s.splat(self.factors.0[i]));
            let (mu, logvar) = (s.load(&block.mu[i]), s.load(&block.logvar[i]));
            let (eps, dz) = (s.load(&block.eps[i]), s.load(&block.z[i]));
            let sigma = math::exp(s, s.mul(half, clamp(s, logvar)));
            let kl_slope = s.mul(half, s.sub(s.mul(sigma, sigma), s.splat(1.0)));
            let dlogvar = s.fma(weight, kl_slope, s.mul(s.mul(dz, eps), s.mul(half, sigma)));
            s.store(s.fma(weight, mu, dz), &mut block.mu[i]);
            s.store(unless_clamped(s, logvar, dlogvar), &mut block.logvar[i]);
        }
    }
}
