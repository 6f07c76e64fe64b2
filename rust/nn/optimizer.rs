//! Optimisers with the definitions and defaults of `torch.optim`, applied to each block of a gradient when it is
//! computed.
//!
//! A moment that decays to denormal numbers (that of a constant pixel, after some 800 steps) would make a step several
//! times slower, so tiny gradients and moments are flushed to zero: |g| < 1e-15, |m| < 1e-20, v < 1e-30. A block of
//! weights with a gradient that is not finite, or whose square would not be, is reported and not updated, so weights
//! stay finite.

use crate::error::{Error, Result};
use crate::simd::{Lanes, Op, Row, Simd};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// An optimiser with its options.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Optimizer {
    /// Adam (Kingma & Ba, arXiv:1412.6980).
    Adam {
        /// Decay of the first moment.
        #[serde(default = "default::beta1")]
        beta1: f64,
        /// Decay of the second moment.
        #[serde(default = "default::beta2")]
        beta2: f64,
        /// Added to the root of the second moment.
        #[serde(default = "default::adam_eps")]
        eps: f64,
        /// L2 penalty.
        #[serde(default)]
        weight_decay: f64,
    },
    /// AdamW (Loshchilov & Hutter, arXiv:1711.05101).
    AdamW {
        /// Decay of the first moment.
        #[serde(default = "default::beta1")]
        beta1: f64,
        /// Decay of the second moment.
        #[serde(default = "default::beta2")]
        beta2: f64,
        /// Added to the root of the second moment.
        #[serde(default = "default::adam_eps")]
        eps: f64,
        /// Decay of the weights themselves.
        #[serde(default = "default::adamw_weight_decay")]
        weight_decay: f64,
    },
    /// Stochastic gradient descent with momentum.
    Sgd {
        /// Decay of the velocity; zero for none.
        #[serde(default)]
        momentum: f64,
        /// Nesterov momentum.
        #[serde(default)]
        nesterov: bool,
        /// L2 penalty.
        #[serde(default)]
        weight_decay: f64,
    },
    /// Adagrad (Duchi, Hazan & Singer, JMLR 2011).
    Adagrad {
        /// Added to the root of the sum of squares.
        #[serde(default = "default::adagrad_eps")]
        eps: f64,
        /// Decay of the learning rate.
        #[serde(default)]
        lr_decay: f64,
        /// L2 penalty.
        #[serde(default)]
        weight_decay: f64,
    },
}

/// Defaults that are not zero, as in `torch.optim`.
mod default {
    pub fn beta1() -> f64 {
        0.9
    }

    pub fn beta2() -> f64 {
        0.999
    }

    pub fn adam_eps() -> f64 {
        1e-8
    }

    pub fn adamw_weight_decay() -> f64 {
        1e-2
    }

    pub fn adagrad_eps() -> f64 {
        1e-10
    }
}

impl Default for Optimizer {
    fn default() -> Optimizer {
        let (beta1, beta2, eps) = (default::beta1(), default::beta2(), default::adam_eps());
        Optimizer::Adam { beta1, beta2, eps, weight_decay: 0.0 }
    }
}

impl Optimizer {
    /// Returns an error unless every option is in its range.
    pub fn check(&self) -> Result<()> {
        const ANY: Range<f64> = 0.0..1e9;
        const DECAY: Range<f64> = 0.0..1.0;
        const EPS: Range<f64> = 1e-15..1e9; // smaller gradients count as zero, and the quotient must stay finite
        let within = |name: &str, options: &[(&str, f64, Range<f64>)]| {
            for (option, value, range) in options {
                if !range.contains(value) {
                    let (least, below) = (range.start, range.end);
                    return Err(Error::Parameter(format!(
                        "optimizer {name:?}: {option}={value} must be at least {least:e} and below {below:e}"
                    )));
                }
            }
            Ok(())
        };
        let adam = |name: &str, beta1: f64, beta2: f64, eps: f64, weight_decay: f64| {
            let betas = [("beta1", beta1, DECAY), ("beta2", beta2, DECAY)];
            within(name, &betas)?;
            within(name, &[("eps", eps, EPS), ("weight_decay", weight_decay, ANY)])
        };
        match *self {
            Optimizer::Adam { beta1, beta2, eps, weight_decay } => {
                adam("adam", beta1, beta2, eps, weight_decay)
            }
            Optimizer::AdamW { beta1, beta2, eps, weight_decay } => {
                adam("adamw", beta1, beta2, eps, weight_decay)
            }
            Optimizer::Sgd { momentum: 0.0, nesterov: true, .. } => {
                Err(Error::Parameter("optimizer \"sgd\": nesterov needs a momentum".into()))
            }
            Optimizer::Sgd { momentum, weight_decay, .. } => {
                within("sgd", &[("momentum", momentum, DECAY), ("weight_decay", weight_decay, ANY)])
            }
            Optimizer::Adagrad { eps, lr_decay, weight_decay } => {
                let decays = [("lr_decay", lr_decay, ANY), ("weight_decay", weight_decay, ANY)];
                within("adagrad", &[("eps", eps, EPS)])?;
                within("adagrad", &decays)
            }
        }
    }

    /// Which of the two moment buffers the optimiser uses.
    pub fn moments(&self) -> [bool; 2] {
        match *self {
            Optimizer::Adam { .. } | Optimizer::AdamW { .. } => [true, true],
            Optimizer::Sgd { momentum, .. } => [momentum != 0.0, false],
            Optimizer::Adagrad { .. } => [false, true],
        }
    }

    /// The update of step `step`, counted from 1.
    pub fn at(&self, step: u64, learning_rate: f64) -> Update {
        let t = i32::try_from(step).unwrap_or(i32::MAX);
        let (rule, penalty) = match *self {
            Optimizer::Adam { beta1, beta2, eps, weight_decay }
            | Optimizer::AdamW { beta1, beta2, eps, weight_decay } => {
                let decoupled = matches!(self, Optimizer::AdamW { .. });
                let decay = if decoupled { learning_rate * weight_decay } else { 0.0 };
                let adam = AdamStep {
                    decay: [beta1 as f32, beta2 as f32],
                    rest: [(1.0 - beta1) as f32, (1.0 - beta2) as f32],
                    root: (1.0 / (1.0 - beta2.powi(t)).sqrt()) as f32,
                    eps: eps as f32,
                    rate: (learning_rate / (1.0 - beta1.powi(t))) as f32,
                    keep: (1.0 - decay) as f32,
                };
                (Rule::Adam(adam), if decoupled { 0.0 } else { weight_decay })
            }
            Optimizer::Sgd { momentum, nesterov, weight_decay } => {
                let rate = learning_rate as f32;
                let rule = match momentum {
                    0.0 => Rule::Plain(PlainStep { rate }),
                    _ => Rule::Momentum(MomentumStep { momentum: momentum as f32, nesterov, rate }),
                };
                (rule, weight_decay)
            }
            Optimizer::Adagrad { eps, lr_decay, weight_decay } => {
                let rate = learning_rate / (1.0 + (step.max(1) - 1) as f64 * lr_decay);
                (Rule::Adagrad(AdagradStep { eps: eps as f32, rate: rate as f32 }), weight_decay)
            }
        };
        Update { rule, penalty: penalty as f32 }
    }
}

/// The update of one step: the rule, and the coefficient of the L2 penalty's gradient.
#[derive(Clone, Copy, Debug)]
pub struct Update {
    rule: Rule,
    penalty: f32,
}

#[derive(Clone, Copy, Debug)]
enum Rule {
    Adam(AdamStep),
    Plain(PlainStep),
    Momentum(MomentumStep),
    Adagrad(AdagradStep),
}

/// The update rule of an optimiser for sixteen parameters, with the constants of one step.
trait Step {
    /// Which of the two moments the rule uses.
    const MOMENTS: [bool; 2];
    /// Returns the new weights, given gradient `g` and weights `w`; updates the moments.
    fn step<S: Simd>(&self, s: S, g: S::F, w: S::F, moments: &mut [S::F; 2]) -> S::F;
}

#[derive(Clone, Copy, Debug)]
struct AdamStep {
    decay: [f32; 2],
    rest: [f32; 2],
    root: f32,
    eps: f32,
    rate: f32,
    keep: f32,
}

impl Step for AdamStep {
    const MOMENTS: [bool; 2] = [true, true];
    #[inline(always)]
    fn step<S: Simd>(&self, s: S, g: S::F, w: S::F, [m, v]: &mut [S::F; 2]) -> S::F {
        let share = [s.mul(s.splat(self.rest[0]), g), s.mul(s.splat(self.rest[1]), s.mul(g, g))];
        *m = flush(s, s.fma(s.splat(self.decay[0]), *m, share[0]), 1e-20);
        *v = flush_square(s, s.fma(s.splat(self.decay[1]), *v, share[1]));
        let denominator = s.fma(s.sqrt(*v), s.splat(self.root), s.splat(self.eps));
        let w = s.mul(w, s.splat(self.keep));
        s.fma(s.splat(-self.rate), s.div(*m, denominator), w)
    }
}

#[derive(Clone, Copy, Debug)]
struct PlainStep {
    rate: f32,
}

impl Step for PlainStep {
    const MOMENTS: [bool; 2] = [false, false];
    #[inline(always)]
    fn step<S: Simd>(&self, s: S, g: S::F, w: S::F, _: &mut [S::F; 2]) -> S::F {
        s.fma(s.splat(-self.rate), g, w)
    }
}

#[derive(Clone, Copy, Debug)]
struct MomentumStep {
    momentum: f32,
    nesterov: bool,
    rate: f32,
}

impl Step for MomentumStep {
    const MOMENTS: [bool; 2] = [true, false];
    #[inline(always)]
    fn step<S: Simd>(&self, s: S, g: S::F, w: S::F, [m, _]: &mut [S::F; 2]) -> S::F {
        let momentum = s.splat(self.momentum);
        *m = flush(s, s.fma(momentum, *m, g), 1e-20);
        let direction = if self.nesterov { s.fma(momentum, *m, g) } else { *m };
        s.fma(s.splat(-self.rate), direction, w)
    }
}

#[derive(Clone, Copy, Debug)]
struct AdagradStep {
    eps: f32,
    rate: f32,
}

impl Step for AdagradStep {
    const MOMENTS: [bool; 2] = [false, true];
    #[inline(always)]
    fn step<S: Simd>(&self, s: S, g: S::F, w: S::F, [_, sum]: &mut [S::F; 2]) -> S::F {
        *sum = flush_square(s, s.fma(g, g, *sum));
        let denominator = s.add(s.sqrt(*sum), s.splat(self.eps));
        s.fma(s.splat(-self.rate), s.div(g, denominator), w)
    }
}

/// Blocks with larger gradients are not updated: their squares are close to overflow.
pub const LARGEST_GRADIENT: f32 = f32::MAX / 1e20;

/// `x`, flushed to zero where |x| <= `threshold`.
#[inline(always)]
fn flush<S: Simd>(s: S, x: S::F, threshold: f32) -> S::F {
    s.select(s.less(s.splat(threshold), s.abs(x)), x, s.zero())
}

/// [`flush`] for means and sums of squares, with threshold 1e-30.
#[inline(always)]
fn flush_square<S: Simd>(s: S, x: S::F) -> S::F {
    s.select(s.less(s.splat(1e-30), x), x, s.zero())
}

/// Whether no gradient is NaN and none exceeds [`LARGEST_GRADIENT`].
#[inline(always)]
fn in_range<S: Simd>(s: S, gradient: &[Row], vectors: usize) -> bool {
    // The bits of |g|, as integers, are ordered as the numbers; those of NaN are larger than all others.
    let mut largest = s.splat_u(0);
    for row in gradient {
        for lanes in &row[..vectors] {
            largest = s.max_u(largest, s.to_bits(s.abs(s.load(lanes))));
        }
    }
    let mut lanes = Lanes::default();
    s.store(s.float_of(largest), &mut lanes);
    lanes.0.iter().all(|&g| g <= LARGEST_GRADIENT)
}

/// Updates rows of parameters and their moments, unless a gradient is NaN or too large.
pub struct Apply<'a> {
    /// The step's update.
    pub update: Update,
    /// The gradient, a row for each row of `weights`.
    pub gradient: &'a [Row],
    /// The number of vectors (1 or 2) of a row in use.
    pub vectors: usize,
    /// The parameters.
    pub weights: &'a mut [Row],
    /// The moments; empty if the optimiser does not use them.
    pub moments: [&'a mut [Row]; 2],
}

impl Op for Apply<'_> {
    /// Whether the rows were updated.
    type Output = bool;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> bool {
        match self.update.rule {
            Rule::Adam(rule) => self.with(s, rule),
            Rule::Plain(rule) => self.with(s, rule),
            Rule::Momentum(rule) => self.with(s, rule),
            Rule::Adagrad(rule) => self.with(s, rule),
        }
    }
}

impl Apply<'_> {
    #[inline(always)]
    fn with<S: Simd, R: Step>(self, s: S, rule: R) -> bool {
        if !in_range(s, self.gradient, self.vectors) {
            return false;
        }
        match self.vectors {
            1 => self.update::<S, R, 1>(s, rule),
            _ => self.update::<S, R, 2>(s, rule),
        }
        true
    }

    #[inline(always)]
    fn update<S: Simd, R: Step, const VECTORS: usize>(self, s: S, rule: R) {
        let Apply { update, gradient, weights, moments: [first, second], .. } = self;
        let penalty = s.splat(update.penalty);
        let rows = gradient.len();
        // Slices of known length need no bounds checks in the loop.
        let weights = &mut weights[..rows];
        let first = &mut first[..if R::MOMENTS[0] { rows } else { 0 }];
        let second = &mut second[..if R::MOMENTS[1] { rows } else { 0 }];
        for i in 0..rows {
            for v in 0..VECTORS {
                let w = s.load(&weights[i][v]);
                let g = flush(s, s.fma(penalty, w, s.load(&gradient[i][v])), 1e-15);
                let mut state = [s.zero(); 2];
                if R::MOMENTS[0] {
                    state[0] = s.load(&first[i][v]);
                }
                if R::MOMENTS[1] {
                    state[1] = s.load(&second[i][v]);
                }
                s.store(rule.step(s, g, w, &mut state), &mut weights[i][v]);
                if R::MOMENTS[0] {
                    s.store(state[0], &mut first[i][v]);
                }
                if R::MOMENTS[1] {
                    s.store(state[1], &mut second[i][v]);
                }
            }
        }
    }
}
