//! Noise on the encoder's input, for denoising: the target stays clean (Vincent, Larochelle, Bengio & Manzagol,
//! "Extracting and composing robust features with denoising autoencoders", ICML 2008).

use crate::error::{Error, Result};
use crate::random::{Distribution, Noise, Stream};
use crate::simd::Isa;

/// What happens to an element x.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Corruption {
    /// x + sigma eps, not clipped.
    Gaussian {
        /// The standard deviation.
        sigma: f32,
    },
    /// Zero with probability p.
    Masking {
        /// The probability.
        p: f32,
    },
    /// Zero or one with probability p / 2 each.
    SaltAndPepper {
        /// The probability.
        p: f32,
    },
}

impl Corruption {
    /// The corruption of that name, with its sigma or p.
    pub fn named(name: &str, level: f32) -> Result<Corruption> {
        match name {
            "gaussian" => Ok(Corruption::Gaussian { sigma: level }),
            "masking" => Ok(Corruption::Masking { p: level }),
            "salt_and_pepper" => Ok(Corruption::SaltAndPepper { p: level }),
            _ => Err(Error::Parameter(format!(
                "corruption {name:?} is not known; use gaussian, masking or salt_and_pepper"
            ))),
        }
    }

    /// The noise that [`Corruption::apply`] takes.
    pub fn distribution(self) -> Distribution {
        match self {
            Corruption::Gaussian { .. } => Distribution::StandardNormal,
            Corruption::Masking { .. } | Corruption::SaltAndPepper { .. } => Distribution::Uniform,
        }
    }

    /// What becomes of some elements.
    #[inline(always)]
    pub fn apply<const N: usize>(self, x: [f32; N], noise: [f32; N]) -> [f32; N] {
        let each = |f: &dyn Fn(f32, f32) -> f32| std::array::from_fn(|i| f(x[i], noise[i]));
        match self {
            Corruption::Gaussian { sigma } => each(&|x, eps| x + sigma * eps),
            Corruption::Masking { p } => each(&|x, u| if u < p { 0.0 } else { x }),
            Corruption::SaltAndPepper { p } => each(&|x, u| {
                let extreme = if u < 0.5 * p { 0.0 } else { 1.0 };
                if u < p { extreme } else { x }
            }),
        }
    }

    /// Corrupts a plain matrix of `cols` columns, whose rows are counted from zero. A NaN remains one.
    pub fn corrupt(self, isa: Isa, seed: u64, cols: usize, matrix: &mut [f32]) {
        let noise = Noise { seed, stream: Stream::Corrupted as u8, sample: 0 };
        noise.fill(isa, self.distribution(), cols, matrix, |x, _, noise| {
            if !x.is_nan() {
                [*x] = self.apply([*x], [noise]);
            }
        });
    }
}
