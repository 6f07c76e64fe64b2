//! Likelihoods p(x|z): log-probability, its gradient and the mean, from the decoder's output y.
//!
//! | likelihood | y | log p(x), one feature, nats | d(-log p)/dy | mean |
//! |---|---|---|---|---|
//! | Bernoulli | logit | x y - ln(1 + e^y) | sigmoid(y) - x | sigmoid(y) |
//! | binomial: x m of m, m >= 1 the feature's trials | logit | ln C(m, x m) + m (x y - ln(1 + e^y)) | m (sigmoid(y) - x) | sigmoid(y), a share of m |
//! | Gaussian | mean | -((x - y) / s)² / 2 - ln s - ln(2 pi) / 2 | (y - x) / s² | y |
//! | the same with sigmoid means | m = sigmoid(y) | -((x - m) / s)² / 2 - ln s - ln(2 pi) / 2 | m (1 - m) (m - x) / s² | m |
//! | Gaussian with the decoder's scale | mean y, log scale u; s² = floor² + e^(2u) | the same | (y - x) / s²; for u: (1 - ((x - y) / s)²) e^(2u) / s² | y, or m as above |
//! | Poisson | log mean | x y - e^y - ln x!: see [`poisson`] | e^y - x | e^y |
//! | negative binomial | log mean | see [`negative_binomial`] | | e^y |
//! | multinomial | logits of all words | see [`softmax`] | | softmax(y) |
//! | mixture | probability p of a word | x ln p (the multinomial's coefficient left out) | -x / p | p |
//! | squared error | mean | -(x - y)², which is no probability: the plain autoencoder's loss, negative | 2 (y - x) | y |
//!
//! A likelihood is a file: a struct with its options, its [`Density`] and its [`LikelihoodKind`]. To add one, write that
//! file, declare it below and name it in the list; the list makes the enum, the names, the JSON and the dispatch.

pub mod bernoulli;
pub mod binomial;
pub mod deviance;
pub mod draw;
pub mod gaussian;
#[cfg(test)]
mod laplace;
pub mod mean;
pub mod mixture;
pub mod moments;
pub mod multinomial;
pub mod negative_binomial;
pub mod poisson;
pub mod scale;
pub mod score;
pub mod softmax;
pub mod squared_error;

pub use binomial::MAX_TRIALS;
pub use draw::{DrawProgress, Draws};
pub use gaussian::{Link, Scale};
pub use mean::Mean;
pub use moments::Moments;
pub use scale::{FeatureParameter, LearnedScale, ScaleGradient};
pub use score::Score;

use crate::error::{Error, Result};
use crate::json::{self, Object};
use crate::simd::{Arithmetic, Isa, Op, Simd};
use serde::{Deserialize, Serialize};
use std::marker::PhantomData;
use std::ops::Deref;

/// Makes the enum of all likelihoods, their names and `with_likelihood!`, which calls code with the struct of one. (The `$`
/// is that macro's.)
macro_rules! likelihoods {
    ($d:tt $($(#[cfg($when:meta)])? $Name:ident in $module:ident,)*) => {
        $($(#[cfg($when)])? pub use $module::$Name;)*

        /// p(x|z). As JSON: `{"kind": "gaussian", "scale": 0.5}`, with a default for each option.
        #[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "kind", rename_all = "snake_case")]
        pub enum Likelihood {
            $($(#[cfg($when)])? #[doc = concat!("See [`", stringify!($module), "`].")] $Name($Name),)*
        }

        $($(#[cfg($when)])? impl From<$Name> for Likelihood {
            fn from(kind: $Name) -> Likelihood {
                Likelihood::$Name(kind)
            }
        })*

        impl Likelihood {
            /// All, with their default options.
            pub fn all() -> Vec<Likelihood> {
                [$($(#[cfg($when)])? Likelihood::from($Name::default()),)*].into()
            }

            /// Its name in JSON.
            pub fn kind(&self) -> &'static str {
                match self {
                    $($(#[cfg($when)])? Likelihood::$Name(_) => stringify!($module),)*
                }
            }
        }

        /// Code that is compiled for each likelihood: `with_likelihood!(likelihood, kind => ...)`.
        macro_rules! with_likelihood {
            ($d likelihood:expr, $d kind:ident => $d body:expr) => {
                match $d likelihood {
                    $($(#[cfg($when)])? $crate::nn::likelihood::Likelihood::$Name($d kind) => $d body,)*
                }
            };
        }
    };
}

likelihoods! {$
    Bernoulli in bernoulli,
    Binomial in binomial,
    Gaussian in gaussian,
    Poisson in poisson,
    NegativeBinomial in negative_binomial,
    Multinomial in multinomial,
    Mixture in mixture,
    SquaredError in squared_error,
    #[cfg(test)] Laplace in laplace,
}
pub(crate) use with_likelihood;

impl Deref for Likelihood {
    type Target = dyn LikelihoodKind;
    fn deref(&self) -> &Self::Target {
        with_likelihood!(self, kind => kind)
    }
}

impl Likelihood {
    /// A likelihood from JSON, with its options checked.
    pub fn from_json(json: &str) -> Result<Likelihood> {
        let Object(likelihood): Object<Likelihood> =
            serde_json::from_str(json).map_err(|error| Error::Parameter(json::message(&error)))?;
        likelihood.check()?;
        Ok(likelihood)
    }

    /// The likelihood of that name, with its default options.
    pub fn named(name: &str) -> Option<Likelihood> {
        Likelihood::all().into_iter().find(|likelihood| likelihood.kind() == name)
    }
}

/// What the rest of the engine asks of a likelihood.
pub trait LikelihoodKind {
    /// As users know it.
    fn name(&self) -> &'static str;

    /// log p(x|z) in plain text, from the sum over features (j) or words (w) on, without a full stop.
    fn formula(&self) -> String;

    /// An error unless the options are in their ranges.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// Values that x may take.
    fn support(&self) -> Support {
        Support::REAL
    }

    /// Whether users choose it by name; else a model of its own brings it.
    fn is_public(&self) -> bool {
        true
    }

    /// Whether an example is a document: counts of words, all of them, and a word that does not occur is a zero.
    fn is_of_words(&self) -> bool {
        false
    }

    /// Whether a row's features belong together, so that a tile of the output cannot finish them: see [`softmax`].
    fn is_softmax(&self) -> bool {
        false
    }

    /// What the density has of each feature beside the decoder's output.
    fn parameter(&self) -> FeatureParameter {
        FeatureParameter::None
    }

    /// How many numbers the decoder gives for each feature: 1, or 2 where the second is its log scale.
    fn outputs_per_feature(&self) -> usize {
        1
    }

    /// Does the work on a tile of the output with the density.
    fn tile<W: TileWork>(&self, isa: Isa, work: W)
    where
        Self: Sized;

    /// Var[x|z] of a feature with that mean and parameter (s, r or the trials).
    fn variance(&self, mean: f32, parameter: f32) -> f32
    where
        Self: Sized;

    /// Turns means into draws. Says whether all rows are drawn: of slow ones as many are as there is time for.
    fn draw(&self, draws: Draws) -> bool;
}

impl dyn LikelihoodKind {
    /// Whether x holds counts, which are never scaled.
    pub fn is_counts(&self) -> bool {
        self.support().counts
    }

    /// Whether an example may have missing values.
    pub fn allows_missing(&self) -> bool {
        !self.is_of_words()
    }

    /// The scale that is a parameter of the model, if there is one.
    pub fn learned_scale(&self) -> Option<LearnedScale> {
        match self.parameter() {
            FeatureParameter::Learned(scale) => Some(scale),
            _ => None,
        }
    }
}

/// Values that x may take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Support {
    /// The smallest and the largest.
    pub range: (f32, f32),
    /// Whether they are counts: uint8 is read as it is, not scaled to 0..1.
    pub counts: bool,
    /// What they are, and what to do with others.
    pub words: &'static str,
}

impl Support {
    /// Any finite number.
    pub const REAL: Support =
        Support { range: (f32::MIN, f32::MAX), counts: false, words: "finite numbers" };
    /// Numbers from zero to one.
    pub const UNIT: Support = Support {
        range: (0.0, 1.0),
        counts: false,
        words: "values in [0, 1]: scale the data, or use likelihood=\"gaussian\" (an autoencoder: \
                loss=\"squared_error\")",
    };
    /// Counts: any numbers of at least zero.
    pub const COUNTS: Support =
        Support { range: (0.0, f32::MAX), counts: true, words: "counts: numbers of at least 0" };

    /// Whether x may not take that value.
    pub fn excludes(&self, x: f32) -> bool {
        !(self.range.0..=self.range.1).contains(&x)
    }
}

/// The density of sixteen features, for which the decoder gives one number y each.
pub trait Density {
    /// Whether the gradient of the parameter is stored: it cannot be recovered from the output's.
    const STORES_GRADIENT: bool = false;
    /// Whether it has parts enough that do not wait for each other to keep a CPU busy with one row at a time.
    const IS_LONG: bool = false;
    /// log p(x|y) and the gradient of its negative. `parameter` is the feature's: a Gaussian's ln s, a negative binomial's
    /// ln r, a binomial's trials.
    fn log_prob<S: Arithmetic>(s: S, x: S::F, y: S::F, parameter: S::F) -> LogProb<S::F>;
    /// The gradient of -log p with respect to the parameter, where it is stored, given that with respect to y.
    fn parameter_slope<S: Arithmetic>(
        s: S,
        _x: S::F,
        _y: S::F,
        _parameter: S::F,
        _slope: S::F,
    ) -> S::F {
        s.zero()
    }
    /// E[x|y].
    fn mean<S: Arithmetic>(s: S, y: S::F) -> S::F;
}

/// The density of sixteen features, for which the decoder gives two numbers each: y and a log scale u.
pub trait DensityWithScale: Copy {
    /// log p(x|y, u) and the gradients of its negative with respect to y and, second, u.
    fn log_prob<S: Arithmetic>(self, s: S, x: S::F, y: S::F, u: S::F) -> (LogProb<S::F>, S::F);
    /// E[x|y, u].
    fn mean<S: Arithmetic>(self, s: S, y: S::F) -> S::F;
    /// The scale.
    fn scale<S: Arithmetic>(self, s: S, u: S::F) -> S::F;
}

/// The log-probability of some features and its gradient.
pub struct LogProb<F> {
    /// log p(x|y), nats.
    pub value: F,
    /// The gradient of -log p with respect to y.
    pub slope: F,
}

/// Work on a tile of the output, compiled for each density.
pub trait TileWork: Sized {
    /// One number of the decoder's for each feature.
    fn run<S: Simd, D: Density>(self, s: S);
    /// Two: a panel has the numbers y of sixteen features and, in its second vector, their log scales u.
    fn run_with_scale<S: Simd, D: DensityWithScale>(self, s: S, density: D);

    /// [`TileWork::run`] as a function of its own. All densities inlined into one function took the compiler three quarters
    /// of its time: several of its passes need the square of a function's length.
    fn dispatch<D: Density>(self, isa: Isa) {
        isa.run(ForDensity(self, PhantomData::<D>));
    }
    /// [`TileWork::run_with_scale`] as a function of its own.
    fn dispatch_with_scale<D: DensityWithScale>(self, isa: Isa, density: D) {
        isa.run(ForDensityWithScale(self, density));
    }
}

/// The work of [`TileWork::dispatch`].
struct ForDensity<W, D>(W, PhantomData<D>);

impl<W: TileWork, D: Density> Op for ForDensity<W, D> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        self.0.run::<S, D>(s);
    }
}

/// The work of [`TileWork::dispatch_with_scale`].
struct ForDensityWithScale<W, D>(W, D);

impl<W: TileWork, D: DensityWithScale> Op for ForDensityWithScale<W, D> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        self.0.run_with_scale(s, self.1);
    }
}

/// A number with six digits, as in Python's `format(x, "g")`.
fn shown(x: f32) -> String {
    let scientific = format!("{:.5e}", f64::from(x));
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trimmed = |text: &str| text.trim_end_matches('0').trim_end_matches('.').to_owned();
    if (-4..6).contains(&exponent) {
        let fixed = format!("{:.*}", (5 - exponent) as usize, f64::from(x));
        return if fixed.contains('.') { trimmed(&fixed) } else { fixed };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", trimmed(digits), exponent.abs())
}

#[cfg(test)]
mod tests;
