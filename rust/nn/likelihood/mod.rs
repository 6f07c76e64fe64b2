//! Likelihoods p(x|z): the log-probability, its gradient and the mean as functions of the decoder's output y.
//!
//! | likelihood | y | log p(x), one feature, nats | d(-log p)/dy | mean |
//! |---|---|---|---|---|
//! | Bernoulli | logit | x y - ln(1 + e^y) | sigmoid(y) - x | sigmoid(y) |
//! | binomial: x m of m, m >= 1 the feature's trials | logit | ln C(m, x m) + m (x y - ln(1 + e^y)) | m (sigmoid(y) - x) | sigmoid(y), a fraction of m |
//! | Gaussian | mean | -((x - y) / s)² / 2 - ln s - ln(2 pi) / 2 | (y - x) / s² | y |
//! | Gaussian with sigmoid means | m = sigmoid(y) | -((x - m) / s)² / 2 - ln s - ln(2 pi) / 2 | m (1 - m) (m - x) / s² | m |
//! | Gaussian with the decoder's scale | mean y, log scale u; s² = floor² + e^(2u) | as for the Gaussian | (y - x) / s²; for u: (1 - ((x - y) / s)²) e^(2u) / s² | y, or m as above |
//! | Poisson | log mean | x y - e^y - ln x!: see [`poisson`] | e^y - x | e^y |
//! | negative binomial | log mean | see [`negative_binomial`] | | e^y |
//! | these two with a size s of the row | logits of all shares | as above, of the mean s softmax(y): see [`shares`] | | softmax(y) |
//! | negative binomial with zero inflation | and a logit u | see [`inflation`] | | (1 - sigmoid(u)) softmax(y) |
//! | log-normal | mean of ln x | see [`log_normal`] | | e^(y + s² / 2) |
//! | categorical, ordinal | L numbers | see [`categorical`], [`ordinal`] | | probabilities of L levels |
//! | mixed | each group of columns its own | see [`mixed`] | | |
//! | multinomial | logits of all words | see [`softmax`] | | softmax(y) |
//! | mixture | probability p of a word | x ln p (without the multinomial coefficient) | -x / p | p |
//! | squared error | mean | -(x - y)², the negative loss of a plain autoencoder, not a log-probability | 2 (y - x) | y |
//!
//! Each likelihood has one file: a struct with the options, its [`Density`] and its [`LikelihoodKind`]. To add a
//! likelihood, write this file, declare the module below and add a line to the list. The list generates the enum, the
//! names, the JSON and the dispatch.

pub mod bernoulli;
pub mod binomial;
pub mod categorical;
pub mod deviance;
pub mod draw;
pub mod gaussian;
mod inflation;
#[cfg(test)]
mod laplace;
pub mod levels;
pub mod log_normal;
pub mod mean;
pub mod mixed;
pub mod mixed_tile;
pub mod mixture;
pub mod moments;
pub mod multinomial;
pub mod negative_binomial;
pub mod ordinal;
pub mod poisson;
pub mod scale;
pub mod score;
pub mod shares;
pub mod softmax;
pub mod squared_error;
pub mod start;

pub use binomial::MAX_TRIALS;
pub use draw::{DrawProgress, Draws};
pub use gaussian::{Link, Scale};
pub use levels::Levels;
pub use mean::Mean;
pub use mixed::{ColumnGroups, Group, PanelGroups, Variable};
pub use mixed_tile::{MixedMean, MixedScore};
pub use moments::Moments;
pub use scale::{FeatureParameter, LearnedScale, ScaleGradient};
pub use score::Score;
pub use shares::{RowSizes, SizeFactor};
pub use start::{Column, Level, Start};

use crate::error::{Error, Result};
use crate::json::{self, Object};
use crate::simd::{Arithmetic, Isa, Op, Row, Simd};
use serde::{Deserialize, Serialize};
use std::marker::PhantomData;
use std::ops::Deref;

/// Generates the enum of all likelihoods, their names and the macro `with_likelihood!`, which runs code with the struct
/// of a likelihood. (The `$` argument is the dollar sign for the inner macro.)
macro_rules! likelihoods {
    ($d:tt $($(#[cfg($when:meta)])? $Name:ident in $module:ident,)*) => {
        $($(#[cfg($when)])? pub use $module::$Name;)*

        /// p(x|z). As JSON: `{"kind": "gaussian", "scale": 0.5}`, with a default for each option.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
            /// All likelihoods, with their default options.
            pub fn all() -> Vec<Likelihood> {
                [$($(#[cfg($when)])? Likelihood::from($Name::default()),)*].into()
            }

            /// The likelihood's name in JSON.
            pub fn kind(&self) -> &'static str {
                match self {
                    $($(#[cfg($when)])? Likelihood::$Name(_) => stringify!($module),)*
                }
            }
        }

        /// Compiles code once for each likelihood: `with_likelihood!(likelihood, kind => ...)`.
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
    LogNormal in log_normal,
    Categorical in categorical,
    Ordinal in ordinal,
    Mixed in mixed,
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
    /// Reads a likelihood from JSON and checks its options.
    pub fn from_json(json: &str) -> Result<Likelihood> {
        let Object(likelihood): Object<Likelihood> =
            serde_json::from_str(json).map_err(|error| Error::Parameter(json::message(&error)))?;
        likelihood.check()?;
        Ok(likelihood)
    }

    /// The likelihood with the name `name`, with default options.
    pub fn named(name: &str) -> Option<Likelihood> {
        Likelihood::all().into_iter().find(|likelihood| likelihood.kind() == name)
    }
}

/// The interface of a likelihood to the engine.
pub trait LikelihoodKind {
    /// The name in messages and documentation.
    fn name(&self) -> &'static str;

    /// log p(x|z) in plain text: the sum over features (j) or words (w), without a full stop.
    fn formula(&self) -> String;

    /// Returns an error if an option is out of its range.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// The valid values of x.
    fn support(&self) -> Support {
        Support::REAL
    }

    /// Whether users select the likelihood by name; otherwise a specific type of model selects it.
    fn is_public(&self) -> bool {
        true
    }

    /// Whether an example is a document: counts of all words of the vocabulary, zero for an absent word.
    fn is_of_words(&self) -> bool {
        false
    }

    /// The layout of groups of columns with likelihoods of their own, if there are any: see [`mixed`].
    fn groups(&self) -> Option<&ColumnGroups> {
        None
    }

    /// Whether the density of a row needs all its features, more than one tile of the output: see [`softmax`].
    fn is_softmax(&self) -> bool {
        false
    }

    /// The size of a row, for counts whose means are shares of it: see [`shares`].
    fn size_factor(&self) -> Option<SizeFactor> {
        None
    }

    /// The parameter of each feature in the density, besides the decoder's output.
    fn parameter(&self) -> FeatureParameter {
        FeatureParameter::None
    }

    /// The number of decoder outputs for each feature: 1, or 2 with a log scale or a logit of zero inflation.
    fn outputs_per_feature(&self) -> usize {
        1
    }

    /// The name of the second output, a layer of its own.
    fn second_output(&self) -> &'static str {
        "scale"
    }

    /// Whether the decoder's output is a mean in the units of x.
    fn output_is_mean(&self) -> bool {
        false
    }

    /// The start of training for a feature with these moments, if it depends on the data.
    fn start(&self, _column: &Column, _level: &Level) -> Option<Start> {
        None
    }

    /// Runs `work` on a tile of the output with the likelihood's density.
    fn tile<W: TileWork>(&self, isa: Isa, work: W)
    where
        Self: Sized;

    /// Var[x|z] of a feature, given its mean and its parameter (s, r or the number of trials).
    fn variance(&self, mean: f32, parameter: f32) -> f32
    where
        Self: Sized;

    /// [`LikelihoodKind::variance`] of feature `_feature`, given also the decoder's second output for it, if it has one.
    #[inline(always)]
    fn variance_of(&self, _feature: usize, mean: f32, [parameter, _second]: [f32; 2]) -> f32
    where
        Self: Sized,
    {
        self.variance(mean, parameter)
    }

    /// Replaces means by draws. Returns whether all rows are finished: slow draws stop at the time limit.
    fn draw(&self, draws: Draws) -> bool;
}

impl dyn LikelihoodKind {
    /// Whether x holds counts; counts are never scaled.
    pub fn is_counts(&self) -> bool {
        self.support().counts
    }

    /// Whether an example may have missing values.
    pub fn allows_missing(&self) -> bool {
        !self.is_of_words() && self.size_factor().is_none()
    }

    /// Whether the density of a row needs all its panels.
    pub fn needs_whole_rows(&self) -> bool {
        self.is_softmax() || self.size_factor().is_some() || self.groups().is_some()
    }

    /// The learned scale, if the likelihood has one.
    pub fn learned_scale(&self) -> Option<LearnedScale> {
        match self.parameter() {
            FeatureParameter::Learned(scale) => Some(scale),
            _ => None,
        }
    }
}

/// The valid values of x.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Support {
    /// The minimum and the maximum.
    pub range: (f32, f32),
    /// The distance from the range within which a value is a rounding error: loading moves it to the end of the range.
    pub rounding: f32,
    /// Whether the values are counts: uint8 data is then not scaled to 0..1.
    pub counts: bool,
    /// A description of the valid values, with a remedy for other data.
    pub words: &'static str,
}

impl Support {
    /// Any finite number.
    pub const REAL: Support = Support {
        range: (f32::MIN, f32::MAX),
        rounding: 0.0,
        counts: false,
        words: "finite numbers",
    };
    /// Numbers in [0, 1]. `rounding`: scaling float32 data to [0, 1] overshot by at most 32 units in the last place of 1
    /// in 300 random tables.
    pub const UNIT: Support = Support {
        range: (0.0, 1.0),
        rounding: 32.0 * f32::EPSILON,
        counts: false,
        words: "values in [0, 1]: scale the data, for example with MinMaxScaler(clip=True), which limits new data \
                too, or use fastvae.likelihoods.Gaussian(\"per_feature\") (an autoencoder: loss=\"squared_error\")",
    };
    /// Counts: finite numbers >= 0, not necessarily integers.
    pub const COUNTS: Support = Support {
        range: (0.0, f32::MAX),
        rounding: 0.0,
        counts: true,
        words: "counts: numbers of at least 0 (for other numbers use likelihood=\"gaussian\")",
    };

    /// The range of values that are accepted: the support, and rounding errors.
    pub fn accepted(&self) -> (f32, f32) {
        (self.range.0 - self.rounding, self.range.1 + self.rounding)
    }

    /// Whether `x` is an invalid value.
    pub fn excludes(&self, x: f32) -> bool {
        let (low, high) = self.accepted();
        !(low..=high).contains(&x)
    }

    /// Moves rounding errors among 32 values to the end of the range. Other values and NaN do not change.
    #[inline(always)]
    pub fn round_off<S: Simd>(&self, s: S, columns: &mut Row) {
        let (low, high) = (s.splat(self.range.0), s.splat(self.range.1));
        let rounding = s.splat(self.rounding);
        for lanes in columns {
            let x = s.load(lanes);
            let inside = s.select(s.less(high, x), high, s.select(s.less(x, low), low, x));
            let far = s.less(rounding, s.abs(s.sub(x, inside)));
            s.store(s.select(far, x, inside), lanes);
        }
    }
}

/// The density of sixteen features, with one decoder output y for each feature.
pub trait Density {
    /// Whether the epilogue stores the gradient of the parameter: the gradient of the output does not determine it.
    const STORES_GRADIENT: bool = false;
    /// Whether one row at a time has enough independent operations to keep a CPU busy.
    const IS_LONG: bool = false;
    /// log p(x|y) and the gradient of -log p(x|y). `parameter` is the feature's ln s for a Gaussian, ln r for a
    /// negative binomial, and number of trials for a binomial.
    fn log_prob<S: Arithmetic>(s: S, x: S::F, y: S::F, parameter: S::F) -> LogProb<S::F>;
    /// The gradient of -log p with respect to the parameter, if stored. `_slope` is the gradient with respect to y.
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
    /// E[x|y], for a mean that depends on the parameter; [`Density::mean`] is the median then.
    #[inline(always)]
    fn mean_with<S: Arithmetic>(s: S, y: S::F, _parameter: S::F) -> S::F {
        Self::mean(s, y)
    }
}

/// The density of sixteen features, with two decoder outputs for each feature: y and a log scale u.
pub trait DensityWithScale: Copy {
    /// log p(x|y, u) and the gradients of -log p(x|y, u), first with respect to y, second with respect to u.
    fn log_prob<S: Arithmetic>(self, s: S, x: S::F, y: S::F, u: S::F) -> (LogProb<S::F>, S::F);
    /// E[x|y, u].
    fn mean<S: Arithmetic>(self, s: S, y: S::F) -> S::F;
    /// The scale s, from the log scale u.
    fn scale<S: Arithmetic>(self, s: S, u: S::F) -> S::F;
}

/// The log-probability of sixteen features and its gradient.
pub struct LogProb<F> {
    /// log p(x|y), nats.
    pub value: F,
    /// The gradient of -log p with respect to y.
    pub slope: F,
}

/// Work on a tile of the output, compiled for each density.
pub trait TileWork: Sized {
    /// Runs the work with one decoder output for each feature.
    fn run<S: Simd, D: Density>(self, s: S);
    /// Runs the work with two decoder outputs for each feature: a panel holds y of sixteen features in its first vector
    /// and their log scales u in the second.
    fn run_with_scale<S: Simd, D: DensityWithScale>(self, s: S, density: D);

    /// [`TileWork::run`] as a separate function. With all densities inlined into one function, that function took three
    /// quarters of the compile time: several compiler passes are quadratic in the length of a function.
    fn dispatch<D: Density>(self, isa: Isa) {
        isa.run(ForDensity(self, PhantomData::<D>));
    }
    /// [`TileWork::run_with_scale`] as a separate function.
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

/// Formats a number with six significant digits, as in Python's `format(x, "g")`.
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
