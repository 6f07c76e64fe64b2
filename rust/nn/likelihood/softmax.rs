//! The multinomial likelihood of counts x of words, given logits y over all words of a row:
//!
//! log p(x|z) = sum_w x_w ln softmax(y)_w, nats; d(-log p)/dy = N softmax(y) - x, N = sum_w x_w.
//!
//! log p(x|z) omits the multinomial coefficient N! / prod_w x_w!, a constant of the data. With the coefficient, p(x|z)
//! is the probability of the counts; without it, the probability of the words in their order.
//!
//! A softmax needs the whole row, and a tile holds 32 words of it. The computation has three steps:
//!
//! 1. [`SoftmaxTile`] computes partial results of each row in a tile, relative to m, the largest logit of that part.
//! 2. [`CombineTiles`] combines the partial results of each row.
//! 3. On request, e^(y - m) of a tile becomes probabilities ([`crate::nn::dense::ScaleRows`]) or gradients
//!    ([`SoftmaxGradient`]).

use crate::simd::math;
use crate::simd::{Arithmetic, LANES, Lanes, Op, Row, Several, Simd, in_groups};

/// Partial results of rows in one panel of words, one number for each row.
pub struct Partials<T> {
    /// m, the largest logit. [`CombineTiles`] replaces it by a factor.
    pub largest: T,
    /// sum e^(y - m)
    pub sum: T,
    /// sum x (y - m), nats. All terms are <= 0, so that the sum has no cancellation.
    pub log_prob: T,
    /// sum x
    pub count: T,
}

/// The epilogue of the output layer: adds the bias, computes the partial results and, on request, stores e^(y - m).
pub struct SoftmaxTile<'a> {
    /// The products of the tile.
    pub products: &'a [Row],
    /// The number of words in this panel.
    pub cols: usize,
    /// The panel's bias.
    pub bias: &'a Row,
    /// The tile's rows of x, with zeros in the padding; empty for the softmax alone.
    pub targets: &'a [Row],
    /// The partial results of the tile's rows.
    pub parts: Partials<&'a mut [f32]>,
    /// The output for e^(y - m), or empty. Padding becomes zero.
    pub kept: &'a mut [Row],
}

impl Op for SoftmaxTile<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        in_groups!(S::WIDE, self.products.len(), N, first => self.rows::<S, N>(s, first));
    }
}

impl SoftmaxTile<'_> {
    #[inline(always)]
    fn rows<S: Simd, const N: usize>(&mut self, s: S, first: usize) {
        let several = Several::<S, N>(s);
        let used = [0, LANES].map(|start| s.first(self.cols.saturating_sub(start)));
        let mut y = [several.zero(); 2];
        for v in 0..2 {
            let bias = s.load(&self.bias[v]);
            for i in 0..N {
                let logit = s.add(s.load(&self.products[first + i][v]), bias);
                y[v][i] = s.select(used[v], logit, s.splat(f32::MIN));
            }
        }
        let mut largest = several.zero();
        for i in 0..N {
            let m = s.largest(s.max(y[0][i], y[1][i]));
            self.parts.largest[first + i] = m;
            largest[i] = s.splat(m);
        }
        let [mut sum, mut log_prob, mut count] = [several.zero(); 3];
        for v in 0..2 {
            let below = several.sub(y[v], largest);
            let e = several.select([used[v]; N], math::exp(several, below), several.zero());
            sum = several.add(sum, e);
            if let Some(targets) = self.targets.get(first..first + N) {
                let mut x = several.zero();
                for i in 0..N {
                    x[i] = s.load(&targets[i][v]);
                }
                // An absent word contributes zero, even with an infinite logit.
                let occurs = several.less(several.zero(), x);
                let term = several.select(occurs, several.mul(x, below), several.zero());
                log_prob = several.add(log_prob, term);
                count = several.add(count, x);
            }
            if let Some(kept) = self.kept.get_mut(first..first + N) {
                for i in 0..N {
                    s.store(e[i], &mut kept[i][v]);
                }
            }
        }
        for i in 0..N {
            self.parts.sum[first + i] = s.sum(sum[i]);
            self.parts.log_prob[first + i] = s.sum(log_prob[i]);
            self.parts.count[first + i] = s.sum(count[i]);
        }
    }
}

/// Computes -log p(x|z) of up to sixteen rows from their partial results, and replaces m by a factor: e^(y - m) times this
/// factor is a probability or, with a weight, `weight` times N times a probability.
pub struct CombineTiles<'a, P> {
    /// The number of panels.
    pub panels: usize,
    /// The partial results of the rows in a panel.
    pub parts: P,
    /// The factor of the gradient, or none for probabilities.
    pub weight: Option<f32>,
    /// -log p(x|z) in nats, one value for each row.
    pub losses: &'a mut [f32],
}

impl<'a, P: Fn(usize) -> Partials<&'a mut [f32]>> Op for CombineTiles<'a, P> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let CombineTiles { panels, parts, weight, losses } = self;
        let Total { largest, log_sum, count } = total(s, panels, &parts);
        let scale = weight.map_or(s.splat(1.0), |weight| s.mul(count, s.splat(weight)));
        let mut loss = s.zero();
        for panel in 0..panels {
            let part = parts(panel);
            let log_share = s.sub(s.sub(load_some(s, part.largest), largest), log_sum);
            let log_prob = s.fma(load_some(s, part.count), log_share, load_some(s, part.log_prob));
            loss = s.sub(loss, log_prob);
            store_some(s, s.mul(scale, math::exp(s, log_share)), part.largest);
        }
        store_some(s, loss, losses);
    }
}

/// The partial results of sixteen rows over all panels.
pub(super) struct Total<F> {
    /// m, the largest logit.
    pub largest: F,
    /// ln sum e^(y - m)
    pub log_sum: F,
    /// sum x
    pub count: F,
}

/// Combines the partial results of up to sixteen rows, in ascending order of the panels.
#[inline(always)]
pub(super) fn total<'a, S: Simd>(
    s: S,
    panels: usize,
    parts: &impl Fn(usize) -> Partials<&'a mut [f32]>,
) -> Total<S::F> {
    let mut largest = s.splat(f32::MIN);
    for panel in 0..panels {
        largest = s.max(load_some(s, parts(panel).largest), largest);
    }
    let [mut sum, mut count] = [s.zero(); 2];
    for panel in 0..panels {
        let part = parts(panel);
        let shrink = math::exp(s, s.sub(load_some(s, part.largest), largest));
        sum = s.fma(load_some(s, part.sum), shrink, sum);
        count = s.add(count, load_some(s, part.count));
    }
    // `math::ln` does not propagate NaN; the product `sum` times zero does.
    Total { largest, log_sum: s.fma(sum, s.zero(), math::ln(s, sum)), count }
}

/// Reads up to sixteen values.
#[inline(always)]
pub(super) fn load_some<S: Simd>(s: S, from: &[f32]) -> S::F {
    let mut lanes = Lanes::default();
    lanes.0[..from.len()].copy_from_slice(from);
    s.load(&lanes)
}

/// Writes up to sixteen values.
#[inline(always)]
pub(super) fn store_some<S: Simd>(s: S, x: S::F, to: &mut [f32]) {
    let mut lanes = Lanes::default();
    s.store(x, &mut lanes);
    to.copy_from_slice(&lanes.0[..to.len()]);
}

/// Replaces e^(y - m) by `weight` (N softmax(y) - x), `weight` times the gradient of -log p.
pub struct SoftmaxGradient<'a> {
    /// The tile's rows of e^(y - m), overwritten with the gradient. Padding stays zero.
    pub rows: &'a mut [Row],
    /// The factor of each row from [`CombineTiles`], including N and the weight.
    pub factors: &'a [f32],
    /// The tile's rows of x.
    pub targets: &'a [Row],
    /// The factor of the gradient.
    pub weight: f32,
}

impl Op for SoftmaxGradient<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let weight = s.splat(-self.weight);
        for ((row, &factor), x) in self.rows.iter_mut().zip(self.factors).zip(self.targets) {
            for (lanes, x) in row.iter_mut().zip(x) {
                let expected = s.mul(s.load(lanes), s.splat(factor));
                s.store(s.fma(weight, s.load(x), expected), lanes);
            }
        }
    }
}
