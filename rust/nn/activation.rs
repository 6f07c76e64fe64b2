//! Activations and their derivatives, as in `torch.nn`.

use crate::error::{Error, Result};
use crate::simd::Arithmetic;
use crate::simd::math;
use serde::{Deserialize, Serialize};

/// The activation function of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "&'static str")]
pub enum Activation {
    /// max(0, x)
    Relu,
    /// tanh x
    Tanh,
    /// 1 / (1 + e^-x)
    Sigmoid,
    /// ln(1 + e^x)
    Softplus,
    /// x for x > 0, else e^x - 1
    Elu,
    /// x Φ(x), exact (Hendrycks & Gimpel, arXiv:1606.08415)
    Gelu,
    /// x / (1 + e^-x)
    Silu,
    /// x
    Identity,
}

impl Activation {
    /// All activations with their names in Python.
    pub const NAMED: [(&'static str, Activation); 8] = [
        ("relu", Activation::Relu),
        ("tanh", Activation::Tanh),
        ("sigmoid", Activation::Sigmoid),
        ("softplus", Activation::Softplus),
        ("elu", Activation::Elu),
        ("gelu", Activation::Gelu),
        ("silu", Activation::Silu),
        ("identity", Activation::Identity),
    ];

    /// Looks an activation up by name.
    pub fn named(name: &str) -> Result<Activation> {
        Self::NAMED.iter().find(|(n, _)| *n == name).map(|&(_, a)| a).ok_or_else(|| {
            let names: Vec<_> = Self::NAMED.iter().map(|(n, _)| *n).collect();
            Error::Parameter(format!(
                "activation={name:?} is not known; use one of {}",
                names.join(", ")
            ))
        })
    }

    /// Whether the forward pass saves the derivative, because it cannot be computed accurately from the value.
    pub fn keeps_slope(self) -> bool {
        with_activation!(self, A => A::KEEPS_SLOPE)
    }

    /// Whether the derivative of the value rounded to bfloat16 is that of the value.
    pub fn slope_survives_rounding(self) -> bool {
        matches!(self, Activation::Relu | Activation::Identity)
    }
}

impl TryFrom<String> for Activation {
    type Error = Error;

    fn try_from(name: String) -> Result<Activation> {
        Activation::named(&name)
    }
}

impl From<Activation> for &'static str {
    fn from(activation: Activation) -> &'static str {
        let entry = Activation::NAMED.into_iter().find(|&(_, a)| a == activation);
        entry.expect("every activation has a name").0
    }
}

/// An activation function. To add one: a variant of [`Activation`], its name in `NAMED`, a type that implements this
/// trait, a line in `with_activation!`.
pub(crate) trait ActivationFunction {
    /// Whether [`ActivationFunction::slope`] takes the derivative that `forward` returned, rather than the value.
    const KEEPS_SLOPE: bool = false;
    /// (f(x), f'(x)); the second is unused unless `KEEPS_SLOPE`.
    fn forward<S: Arithmetic>(s: S, x: S::F) -> (S::F, S::F);
    /// f'(x), given f(x), or f'(x) itself if `KEEPS_SLOPE`.
    fn slope<S: Arithmetic>(s: S, saved: S::F) -> S::F;
}

/// Evaluates an expression with `$F` bound to the activation's type, so that the branch is taken once per tile.
macro_rules! with_activation {
    ($activation:expr, $F:ident => $body:expr) => {{
        use $crate::nn::activation::*;
        match $activation {
            Activation::Relu => {
                type $F = Relu;
                $body
            }
            Activation::Tanh => {
                type $F = Tanh;
                $body
            }
            Activation::Sigmoid => {
                type $F = Sigmoid;
                $body
            }
            Activation::Softplus => {
                type $F = Softplus;
                $body
            }
            Activation::Elu => {
                type $F = Elu;
                $body
            }
            Activation::Gelu => {
                type $F = Gelu;
                $body
            }
            Activation::Silu => {
                type $F = Silu;
                $body
            }
            Activation::Identity => {
                type $F = Identity;
                $body
            }
        }
    }};
}
pub(crate) use with_activation;

pub(crate) struct Relu;
impl ActivationFunction for Relu {
    #[inline(always)]
    fn forward<S: Arithmetic>(s: S, x: S::F) -> (S::F, S::F) {
        let y = s.max(s.zero(), x);
        (y, y)
    }
    #[inline(always)]
    fn slope<S: Arithmetic>(s: S, y: S::F) -> S::F {
        s.select(s.less(s.zero(), y), s.splat(1.0), s.zero())
    }
}

pub(crate) struct Tanh;
impl ActivationFunction for Tanh {
    #[inline(always)]
    fn forward<S: Arithmetic>(s: S, x: S::F) -> (S::F, S::F) {
        let y = math::tanh(s, x);
        (y, y)
    }
    #[inline(always)]
    fn slope<S: Arithmetic>(s: S, y: S::F) -> S::F {
        s.sub(s.splat(1.0), s.mul(y, y))
    }
}

pub(crate) struct Sigmoid;
impl ActivationFunction for Sigmoid {
    #[inline(always)]
    fn forward<S: Arithmetic>(s: S, x: S::F) -> (S::F, S::F) {
        let y = math::sigmoid(s, x);
        (y, y)
    }
    #[inline(always)]
    fn slope<S: Arithmetic>(s: S, y: S::F) -> S::F {
        s.mul(y, s.sub(s.splat(1.0), y))
    }
}

pub(crate) struct Softplus;
impl ActivationFunction for Softplus {
    const KEEPS_SLOPE: bool = true;
    #[inline(always)]
    fn forward<S: Arithmetic>(s: S, x: S::F) -> (S::F, S::F) {
        let [sigmoid, softplus] = math::sigmoid_softplus(s, x);
        (softplus, sigmoid)
    }
    #[inline(always)]
    fn slope<S: Arithmetic>(_: S, slope: S::F) -> S::F {
        slope
    }
}

pub(crate) struct Elu;
impl ActivationFunction for Elu {
    #[inline(always)]
    fn forward<S: Arithmetic>(s: S, x: S::F) -> (S::F, S::F) {
        let negative = s.less(x, s.zero());
        let e = math::exp(s, s.select(negative, x, s.zero()));
        let y = s.select(negative, s.sub(e, s.splat(1.0)), x);
        (y, y)
    }
    #[inline(always)]
    fn slope<S: Arithmetic>(s: S, y: S::F) -> S::F {
        s.select(s.less(s.zero(), y), s.splat(1.0), s.add(y, s.splat(1.0)))
    }
}

pub(crate) struct Gelu;
impl ActivationFunction for Gelu {
    const KEEPS_SLOPE: bool = true;
    #[inline(always)]
    fn forward<S: Arithmetic>(s: S, x: S::F) -> (S::F, S::F) {
        let [cdf, pdf] = math::normal_cdf_pdf(s, x);
        (s.mul(x, cdf), s.fma(x, pdf, cdf))
    }
    #[inline(always)]
    fn slope<S: Arithmetic>(_: S, slope: S::F) -> S::F {
        slope
    }
}

pub(crate) struct Silu;
impl ActivationFunction for Silu {
    const KEEPS_SLOPE: bool = true;
    #[inline(always)]
    fn forward<S: Arithmetic>(s: S, x: S::F) -> (S::F, S::F) {
        let p = math::sigmoid(s, x);
        let y = s.mul(x, p);
        (y, s.fma(y, s.sub(s.splat(1.0), p), p))
    }
    #[inline(always)]
    fn slope<S: Arithmetic>(_: S, slope: S::F) -> S::F {
        slope
    }
}

pub(crate) struct Identity;
impl ActivationFunction for Identity {
    #[inline(always)]
    fn forward<S: Arithmetic>(_: S, x: S::F) -> (S::F, S::F) {
        (x, x)
    }
    #[inline(always)]
    fn slope<S: Arithmetic>(s: S, _: S::F) -> S::F {
        s.splat(1.0)
    }
}
