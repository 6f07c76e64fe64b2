//! Optimisers with the definitions and defaults of `torch.optim`, applied where a gradient is born.
//!
//! A moment that decays into denormal numbers (a dead pixel's, after some 800 steps) would slow a step down
//! several times, so tiny gradients and moments are snapped to zero: |g| < 1e-15, |m| < 1e-20, v < 1e-30.

use crate::isa::{Op, Row, Simd};

/// How parameters follow gradients.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Optimizer {
    /// Adam (Kingma & Ba, arXiv:1412.6980). `decoupled` is AdamW (Loshchilov & Hutter, arXiv:1711.05101).
    Adam {
        /// Decay of the first moment.
        beta1: f64,
        /// Decay of the second moment.
        beta2: f64,
        /// Added to the root of the second moment.
        eps: f64,
        /// L2 penalty, or the decay of the weights themselves if `decoupled`.
        weight_decay: f64,
        /// AdamW.
        decoupled: bool,
    },
    /// Gradient descent with momentum.
    Sgd {
        /// Decay of the velocity; zero for none.
        momentum: f64,
        /// Nesterov's look-ahead.
        nesterov: bool,
        /// L2 penalty.
        weight_decay: f64,
    },
    /// Adagrad (Duchi, Hazan & Singer, JMLR 2011).
    Adagrad {
        /// Added to the root of the sum of squares.
        eps: f64,
        /// Decay of the learning rate.
        lr_decay: f64,
        /// L2 penalty.
        weight_decay: f64,
    },
}

impl Optimizer {
    /// Which of the two moment buffers it uses.
    pub fn moments(&self) -> [bool; 2] {
        match *self {
            Optimizer::Adam { .. } => [true, true],
            Optimizer::Sgd { momentum, .. } => [momentum != 0.0, false],
            Optimizer::Adagrad { .. } => [false, true],
        }
    }

    /// The update of step `step` (the first is 1), its constants worked out.
    pub fn at(&self, step: u64, learning_rate: f64) -> Update {
        let t = i32::try_from(step).unwrap_or(i32::MAX);
        match *self {
            Optimizer::Adam { beta1, beta2, eps, weight_decay, decoupled } => {
                Update::Adam(AdamUpdate {
                    beta1: beta1 as f32,
                    rest1: (1.0 - beta1) as f32,
                    beta2: beta2 as f32,
                    rest2: (1.0 - beta2) as f32,
                    root: (1.0 / (1.0 - beta2.powi(t)).sqrt()) as f32,
                    eps: eps as f32,
                    rate: (learning_rate / (1.0 - beta1.powi(t))) as f32,
                    penalty: if decoupled { 0.0 } else { weight_decay as f32 },
                    keep: if decoupled { (1.0 - learning_rate * weight_decay) as f32 } else { 1.0 },
                })
            }
            Optimizer::Sgd { momentum, nesterov, weight_decay } => Update::Sgd(SgdUpdate {
                momentum: momentum as f32,
                nesterov,
                rate: learning_rate as f32,
                penalty: weight_decay as f32,
            }),
            Optimizer::Adagrad { eps, lr_decay, weight_decay } => {
                let rate = learning_rate / (1.0 + (step.max(1) - 1) as f64 * lr_decay);
                Update::Adagrad(AdagradUpdate {
                    eps: eps as f32,
                    rate: rate as f32,
                    penalty: weight_decay as f32,
                })
            }
        }
    }
}

/// One step's update.
#[derive(Clone, Copy, Debug)]
pub enum Update {
    /// Adam and AdamW.
    Adam(AdamUpdate),
    /// Gradient descent.
    Sgd(SgdUpdate),
    /// Adagrad.
    Adagrad(AdagradUpdate),
}

/// Adam's constants for one step.
#[derive(Clone, Copy, Debug)]
pub struct AdamUpdate {
    beta1: f32,
    rest1: f32,
    beta2: f32,
    rest2: f32,
    root: f32,
    eps: f32,
    rate: f32,
    penalty: f32,
    keep: f32,
}

/// Gradient descent's constants for one step.
#[derive(Clone, Copy, Debug)]
pub struct SgdUpdate {
    momentum: f32,
    nesterov: bool,
    rate: f32,
    penalty: f32,
}

/// Adagrad's constants for one step.
#[derive(Clone, Copy, Debug)]
pub struct AdagradUpdate {
    eps: f32,
    rate: f32,
    penalty: f32,
}

/// Updates rows of parameters and their moments with a gradient.
pub struct Apply<'a> {
    /// What to do.
    pub update: Update,
    /// The gradient, a row for a row.
    pub gradient: &'a [Row],
    /// How many of a row's two vectors are in use.
    pub vectors: usize,
    /// The parameters.
    pub weights: &'a mut [Row],
    /// Their moments; one that the optimiser does not use is empty.
    pub moments: [&'a mut [Row]; 2],
}

#[inline(always)]
fn snap<S: Simd>(s: S, x: S::F, threshold: f32) -> S::F {
    s.select(s.less(s.abs(x), s.splat(threshold)), s.zero(), x)
}

impl Op for Apply<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Apply { update, gradient, vectors, weights, moments: [first, second] } = self;
        for (i, (gradient, weights)) in gradient.iter().zip(weights).enumerate() {
            for v in 0..vectors {
                let (g, w) = (snap(s, s.load(&gradient[v]), 1e-15), s.load(&weights[v]));
                let w = match update {
                    Update::Adam(u) => {
                        let g = s.fma(s.splat(u.penalty), w, g);
                        let m = s.mul(s.splat(u.rest1), g);
                        let m = s.fma(s.splat(u.beta1), s.load(&first[i][v]), m);
                        let q = s.mul(s.splat(u.rest2), s.mul(g, g));
                        let q = s.fma(s.splat(u.beta2), s.load(&second[i][v]), q);
                        let (m, q) = (snap(s, m, 1e-20), snap(s, q, 1e-30));
                        s.store(m, &mut first[i][v]);
                        s.store(q, &mut second[i][v]);
                        let denominator = s.fma(s.sqrt(q), s.splat(u.root), s.splat(u.eps));
                        let w = s.mul(w, s.splat(u.keep));
                        s.fma(s.splat(-u.rate), s.div(m, denominator), w)
                    }
                    Update::Sgd(u) => {
                        let g = s.fma(s.splat(u.penalty), w, g);
                        let direction = if u.momentum == 0.0 {
                            g
                        } else {
                            let m = s.fma(s.splat(u.momentum), s.load(&first[i][v]), g);
                            let m = snap(s, m, 1e-20);
                            s.store(m, &mut first[i][v]);
                            if u.nesterov { s.fma(s.splat(u.momentum), m, g) } else { m }
                        };
                        s.fma(s.splat(-u.rate), direction, w)
                    }
                    Update::Adagrad(u) => {
                        let g = s.fma(s.splat(u.penalty), w, g);
                        let q = snap(s, s.fma(g, g, s.load(&second[i][v])), 1e-30);
                        s.store(q, &mut second[i][v]);
                        let denominator = s.add(s.sqrt(q), s.splat(u.eps));
                        s.fma(s.splat(-u.rate), s.div(g, denominator), w)
                    }
                };
                s.store(w, &mut weights[v]);
            }
        }
    }
}
