//! Corruption of the encoder's input for denoising; the target is the clean value (Vincent, Larochelle, Bengio &
//! Manzagol, "Extracting and composing robust features with denoising autoencoders", ICML 2008).

use crate::error::{Error, Result};
use crate::random::{Distribution, Noise, Stream};
use crate::simd::Isa;

/// The noise applied to each element x.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Corruption {
    /// x + sigma eps, not clipped.
    Gaussian {
        /// The standard deviation.
        sigma: f32,
    },
    /// Zero with probability p, else x times `scale`.
    Masking {
        /// The probability.
        p: f32,
        /// 1, or 1 / (1 - p), with which the mean stays x (inverted dropout; Srivastava et al., JMLR 2014, section 10).
        scale: f32,
    },
    /// Zero with probability p / 2, one with probability p / 2.
    SaltAndPepper {
        /// The probability.
        p: f32,
    },
}

impl Corruption {
    /// Looks a corruption up by name; `level` is its sigma or p.
    pub fn named(name: &str, level: f32) -> Result<Corruption> {
        match name {
            "gaussian" => Ok(Corruption::Gaussian { sigma: level }),
            "masking" => Ok(Corruption::Masking { p: level, scale: 1.0 }),
            "rescaled_masking" => Ok(Corruption::Masking { p: level, scale: 1.0 / (1.0 - level) }),
            "salt_and_pepper" => Ok(Corruption::SaltAndPepper { p: level }),
            _ => Err(Error::Parameter(format!(
                "corruption={name:?} is not known; use gaussian, masking, rescaled_masking or \
                 salt_and_pepper"
            ))),
        }
    }

    /// The distribution of the noise that [`Corruption::apply`] reads.
    pub fn distribution(self) -> Distribution {
        match self {
            Corruption::Gaussian { .. } => Distribution::StandardNormal,
            Corruption::Masking { .. } | Corruption::SaltAndPepper { .. } => Distribution::Uniform,
        }
    }

    /// Corrupts elements, each with its own noise.
    #[inline(always)]
    pub fn apply<const N: usize>(self, x: [f32; N], noise: [f32; N]) -> [f32; N] {
        let each = |f: &dyn Fn(f32, f32) -> f32| std::array::from_fn(|i| f(x[i], noise[i]));
        match self {
            Corruption::Gaussian { sigma } => each(&|x, eps| x + sigma * eps),
            Corruption::Masking { p, scale } => each(&|x, u| if u < p { 0.0 } else { scale * x }),
            Corruption::SaltAndPepper { p } => each(&|x, u| {
                let extreme = if u < 0.5 * p { 0.0 } else { 1.0 };
                if u < p { extreme } else { x }
            }),
        }
    }

    /// Corrupts a row-major matrix [rows, cols] in place. The noise depends on row, counted from `first`, and column. NaN
    /// stays NaN.
    pub fn corrupt(self, isa: Isa, seed: u64, (first, cols): (usize, usize), matrix: &mut [f32]) {
        let noise = Noise { seed, stream: Stream::Corrupted as u8, sample: 0 };
        noise.fill(isa, self.distribution(), (first, cols), matrix, |x, _, noise| {
            if !x.is_nan() {
                [*x] = self.apply([*x], [noise]);
            }
        });
    }
}
