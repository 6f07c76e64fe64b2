//! The multinomial likelihood of counts x of words, given logits y over all words of a row:
//!
//! log p(x|z) = sum_w x_w ln softmax(y)_w, nats; d(-log p)/dy = N softmax(y) - x, N = sum_w x_w.
//!
//! The multinomial coefficient N! / prod_w x_w! is left out: it does not depend on the model. With it p(x|z) would be the
//! probability of the counts; without it, it is that of the words in their order.
//!
//! A softmax needs the whole row, and a tile has 32 words of it. So a tile says of each row what [`SoftmaxTile`]s hold, relative to
//! its own largest logit; then each row's parts are put together ([`CombineTiles`]); then, where they are wanted, the tile's
//! e^(y - m) become probabilities ([`crate::nn::dense::ScaleRows`]) or gradients ([`SoftmaxGradient`]).

use crate::simd::math;
use crate::simd::{Arithmetic, LANES, Lanes, Op, Row, Several, Simd, in_groups};

/// What is known of rows in one panel of words, a number a row: m, the largest logit; sum e^(y - m);
/// sum x (y - m); sum x.
pub struct Partials<T> {
    /// m. Once the rows are known whole, [`CombineTiles`] leaves a factor here.
    pub largest: T,
    /// sum e^(y - m)
    pub sum: T,
    /// sum x (y - m), nats: no term is above zero, so nothing cancels.
    pub log_prob: T,
    /// sum x
    pub count: T,
}

/// The output layer's epilogue: adds the bias, fills the parts and, if wanted, keeps e^(y - m).
pub struct SoftmaxTile<'a> {
    /// The products of the tile.
    pub products: &'a [Row],
    /// Words in this panel.
    pub cols: usize,
    /// The panel's bias.
    pub bias: &'a Row,
    /// The tile's rows of x, zero in the padding; empty where only the softmax is wanted.
    pub targets: &'a [Row],
    /// The tile's rows.
    pub parts: Partials<&'a mut [f32]>,
    /// Where e^(y - m) is kept; empty if it is not wanted. Padding becomes zero.
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
                // A word that does not occur counts for nothing, whatever its logit.
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

/// Puts the parts of up to sixteen rows together, panels ascending: each row's -log p(x|z), and in the place of m the
/// factor that makes e^(y - m) a probability or, with a weight, `weight` times N times one.
pub struct CombineTiles<'a, P> {
    /// How many panels there are.
    pub panels: usize,
    /// The parts of the rows in a panel.
    pub parts: P,
    /// The factor of the gradient.
    pub weight: Option<f32>,
    /// -log p(x|z), nats, one per row.
    pub losses: &'a mut [f32],
}

impl<'a, P: Fn(usize) -> Partials<&'a mut [f32]>> Op for CombineTiles<'a, P> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let CombineTiles { panels, parts, weight, losses } = self;
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
        // ln sum e^(y - largest); where there is a NaN in it, the logarithm would hide it.
        let log_sum = s.fma(sum, s.zero(), math::ln(s, sum));
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

/// Reads up to sixteen values.
#[inline(always)]
fn load_some<S: Simd>(s: S, from: &[f32]) -> S::F {
    let mut lanes = Lanes::default();
    lanes.0[..from.len()].copy_from_slice(from);
    s.load(&lanes)
}

/// Writes up to sixteen values.
#[inline(always)]
fn store_some<S: Simd>(s: S, x: S::F, to: &mut [f32]) {
    let mut lanes = Lanes::default();
    s.store(x, &mut lanes);
    to.copy_from_slice(&lanes.0[..to.len()]);
}

/// e^(y - m) to `weight` (N softmax(y) - x), the gradient of -log p.
pub struct SoftmaxGradient<'a> {
    /// The tile's rows; padding stays zero.
    pub rows: &'a mut [Row],
    /// Each row's factor, which has N and the weight in it.
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
