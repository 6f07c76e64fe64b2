//! Zero inflation: a feature is zero with probability p = sigmoid(u), else it has the count's distribution. u is the
//! decoder's second output for a feature (Lopez et al., Nature Methods 15, 2018). With L = log p(0) of the count,
//!
//! log p(0) = ln(p + (1 - p) e^L) = ln(1 + e^(L - u)) - ln(1 + e^-u), log p(x) = -ln(1 + e^u) + log p of the count, x > 0

use crate::simd::{Arithmetic, math};

/// The terms of sixteen features.
pub(super) struct Inflated<F> {
    /// log p(0).
    pub value: F,
    /// The probability that a zero is one of the count's distribution: the factor of its gradients.
    pub share: F,
    /// The gradient of -log p(0) with respect to u.
    pub slope: F,
    /// ln(1 - p), the term of another count.
    pub log_rest: F,
    /// The gradient of -log p of another count with respect to u: p.
    pub slope_of_others: F,
}

/// The terms, given `count`, log p(0) of the count's distribution, and the logit u of inflation.
#[inline(always)]
pub(super) fn of_zero<S: Arithmetic>(s: S, count: S::F, u: S::F) -> Inflated<S::F> {
    let [p, of_u] = math::sigmoid_softplus(s, u);
    let [share, of_t] = math::sigmoid_softplus(s, s.sub(count, u));
    Inflated {
        value: s.sub(of_t, s.sub(of_u, u)), // ln(1 + e^-u) = ln(1 + e^u) - u
        share,
        slope: s.sub(share, math::sigmoid(s, s.neg(u))),
        log_rest: s.neg(of_u),
        slope_of_others: p,
    }
}
