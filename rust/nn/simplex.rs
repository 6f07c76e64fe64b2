//! Formulas of topic models: theta, the distribution over topics, and phi, the distribution of each topic over words.
//!
//! theta = softmax(m0 + s0 z), where z' = m0 + s0 z has the prior N(m0, diag s0²) if z has the prior N(0, I). The KL of
//! z equals that of z', because it is invariant under invertible maps, so the latent layer does not depend on m0 and
//! s0.
//!
//! phi = softmax(c w) over the words of each topic, where c is [`GAIN`]: an optimiser with fixed step sizes (Adam) then
//! moves ln phi c times as far as a weight of the network.

use crate::simd::math;
use crate::simd::{LANES, Lanes, Op, Row, Simd};

/// c of phi = softmax(c w).
pub const GAIN: f32 = 10.0;

/// The lower bound of exponents relative to the largest: e^-50 is negligible beside 1, and it and its inverse are
/// normal floats.
const MIN_EXPONENT: f32 = -50.0;

/// e^x for x = exponent - largest exponent, bounded below by e^[`MIN_EXPONENT`].
#[inline(always)]
fn bounded_exp<S: Simd>(s: S, x: S::F) -> S::F {
    math::exp(s, s.max(s.splat(MIN_EXPONENT), x))
}

/// Computes theta = softmax(m0 + s0 z) of one row, in place.
pub struct Simplex<'a, F> {
    /// Vector v of the row, sixteen topics: z in, theta out.
    pub codes: F,
    /// m0 and s0.
    pub prior: [&'a [Lanes]; 2],
    /// The number of topics.
    pub cols: usize,
}

impl<'a, F: Fn(usize) -> &'a mut Lanes> Op for Simplex<'_, F> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Simplex { codes, prior: [mean, scale], cols } = self;
        let vectors = cols.div_ceil(LANES);
        let mut max = s.splat(f32::NEG_INFINITY);
        for v in 0..vectors {
            let lanes = codes(v);
            let x = s.fma(s.load(&scale[v]), s.load(lanes), s.load(&mean[v]));
            s.store(x, lanes);
            let used = s.first(cols - v * LANES);
            max = s.max(max, s.select(used, x, s.splat(f32::NEG_INFINITY)));
        }
        let max = s.splat(s.largest(max));
        let mut sum = s.zero();
        for v in 0..vectors {
            let (lanes, used) = (codes(v), s.first(cols - v * LANES));
            let e = s.select(used, bounded_exp(s, s.sub(s.load(lanes), max)), s.zero());
            s.store(e, lanes);
            sum = s.add(sum, e);
        }
        let inverse = s.div(s.splat(1.0), s.splat(s.sum(sum)));
        for v in 0..vectors {
            let lanes = codes(v);
            s.store(s.mul(s.load(lanes), inverse), lanes);
        }
    }
}

/// Computes dL/dz = s0 theta (dL/dtheta - sum_k theta_k dL/dtheta_k) of one row, in place.
pub struct SimplexGradient<'a, F, T> {
    /// Vector v of the row, sixteen topics: dL/dtheta in, dL/dz out. Padding is finite.
    pub gradient: F,
    /// Vector v of theta; padding is zero.
    pub theta: T,
    /// s0.
    pub scale: &'a [Lanes],
    /// The number of topics.
    pub cols: usize,
}

impl<'a, F, T> Op for SimplexGradient<'_, F, T>
where
    F: Fn(usize) -> &'a mut Lanes,
    T: Fn(usize) -> &'a Lanes,
{
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let SimplexGradient { gradient, theta, scale, cols } = self;
        let mut sum = s.zero();
        for v in 0..cols.div_ceil(LANES) {
            sum = s.fma(s.load(theta(v)), s.load(gradient(v)), sum);
        }
        let mean = s.splat(s.sum(sum));
        for v in 0..cols.div_ceil(LANES) {
            let (d, slope) = (gradient(v), s.mul(s.load(&scale[v]), s.load(theta(v))));
            s.store(s.mul(slope, s.sub(s.load(d), mean)), d);
        }
    }
}

/// A reduction over a topic's words, accumulated lane by lane over panels in ascending order: a maximum or a sum.
#[derive(Clone, Copy)]
pub struct TopicSums {
    lanes: Lanes,
}

/// Updates the largest weight of each topic with the words of a panel.
pub struct LargestWeight<'a> {
    /// Rows of w, one for each topic.
    pub weights: &'a [Row],
    /// The number of words in the panel.
    pub cols: usize,
    /// One for each topic.
    pub sums: &'a mut [TopicSums],
}

impl Op for LargestWeight<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (row, sums) in self.weights.iter().zip(self.sums) {
            let mut max = s.load(&sums.lanes);
            for (v, lanes) in row.iter().enumerate() {
                let used = s.first(self.cols.saturating_sub(v * LANES));
                max = s.max(max, s.select(used, s.load(lanes), s.splat(f32::NEG_INFINITY)));
            }
            s.store(max, &mut sums.lanes);
        }
    }
}

/// Stores e^(c (w - max w)), the unnormalised phi, for the words of a panel, and adds it to each topic's sum.
pub struct TopicShares<'a> {
    /// Rows of w, one for each topic.
    pub weights: &'a [Row],
    /// The number of words in the panel.
    pub cols: usize,
    /// The largest weight of each topic.
    pub maxima: &'a [f32],
    /// Rows of phi, one for each topic.
    pub phi: &'a mut [Row],
    /// One for each topic.
    pub sums: &'a mut [TopicSums],
}

impl Op for TopicShares<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let gain = s.splat(GAIN);
        let topics = self.weights.iter().zip(self.phi).zip(self.maxima).zip(self.sums);
        for (((row, phi), &max), sums) in topics {
            let (max, mut sum) = (s.splat(max), s.load(&sums.lanes));
            for (v, (lanes, phi)) in row.iter().zip(phi).enumerate() {
                let e = bounded_exp(s, s.mul(gain, s.sub(s.load(lanes), max)));
                let used = s.first(self.cols.saturating_sub(v * LANES));
                let e = s.select(used, e, s.zero());
                s.store(e, phi);
                sum = s.add(sum, e);
            }
            s.store(sum, &mut sums.lanes);
        }
    }
}

/// Adds the terms of a panel's words to sum_w phi_kw dL/dphi_kw of each topic k.
pub struct SumOfProducts<'a> {
    /// Rows of phi, one for each topic; padding is zero.
    pub phi: &'a [Row],
    /// Rows of dL/dphi; padding is finite.
    pub gradient: &'a [Row],
    /// One for each topic.
    pub sums: &'a mut [TopicSums],
}

impl Op for SumOfProducts<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for ((phi, d), sums) in self.phi.iter().zip(self.gradient).zip(self.sums) {
            let mut sum = s.load(&sums.lanes);
            for (phi, d) in phi.iter().zip(d) {
                sum = s.fma(s.load(phi), s.load(d), sum);
            }
            s.store(sum, &mut sums.lanes);
        }
    }
}

/// Computes dL/dw = c phi (dL/dphi - sum_w phi dL/dphi), in place.
pub struct TopicGradient<'a> {
    /// Rows of phi, one for each topic.
    pub phi: &'a [Row],
    /// Rows of dL/dphi in, of dL/dw out.
    pub gradient: &'a mut [Row],
    /// sum_w phi dL/dphi of each topic.
    pub means: &'a [f32],
}

impl Op for TopicGradient<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for ((phi, d), &mean) in self.phi.iter().zip(self.gradient).zip(self.means) {
            for (phi, d) in phi.iter().zip(d) {
                let slope = s.mul(s.splat(GAIN), s.load(phi));
                s.store(s.mul(slope, s.sub(s.load(d), s.splat(mean))), d);
            }
        }
    }
}

impl TopicSums {
    /// The empty sum.
    pub const ZERO: TopicSums = TopicSums { lanes: Lanes([0.0; LANES]) };
    /// The empty maximum.
    pub const LOWEST: TopicSums = TopicSums { lanes: Lanes([f32::NEG_INFINITY; LANES]) };

    /// The largest lane.
    pub fn largest(&self) -> f32 {
        self.lanes.0.into_iter().fold(f32::NEG_INFINITY, f32::max)
    }

    /// The sum of the lanes by the tree of [`Simd::sum`].
    pub fn total(&self) -> f32 {
        let mut lanes = self.lanes.0;
        for half in [8, 4, 2, 1] {
            for i in 0..half {
                lanes[i] += lanes[i + half];
            }
        }
        lanes[0]
    }
}
