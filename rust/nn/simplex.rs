//! The formulas of topic models: a code becomes a distribution on topics, a topic is a distribution on words.
//!
//! theta = softmax(m0 + s0 z), where z' = m0 + s0 z has the prior N(m0, diag s0²). In z, the prior is N(0, I), and the KL
//! is what it is in z', since an invertible map leaves it alone: the latent layer needs to know nothing of m0 and s0.
//!
//! phi = softmax(c w) over the words of each topic, with [`GAIN`] as c: an optimiser of fixed step sizes (Adam) moves
//! ln phi c times as far as a weight of the network.

use crate::simd::math;
use crate::simd::{LANES, Lanes, Op, Row, Simd};

/// c of phi = softmax(c w).
pub const GAIN: f32 = 10.0;

/// How far below the largest exponent another one counts: the smallest share, e^-50, is nothing beside the largest, and
/// neither it nor its inverse leaves float32's normal range.
const DEEPEST: f32 = -50.0;

/// e^x of an exponent less the largest one, not too small.
#[inline(always)]
fn share<S: Simd>(s: S, x: S::F) -> S::F {
    math::exp(s, s.max(s.splat(DEEPEST), x))
}

/// From a row of codes to theta, in place.
pub struct Simplex<'a, F> {
    /// z in, theta out: sixteen topics at a time.
    pub codes: F,
    /// m0 and s0.
    pub prior: [&'a [Lanes]; 2],
    /// Topics.
    pub cols: usize,
}

impl<'a, F: Fn(usize) -> &'a mut Lanes> Op for Simplex<'_, F> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Simplex { codes, prior: [mean, scale], cols } = self;
        let vectors = cols.div_ceil(LANES);
        let mut top = s.splat(f32::NEG_INFINITY);
        for v in 0..vectors {
            let lanes = codes(v);
            let x = s.fma(s.load(&scale[v]), s.load(lanes), s.load(&mean[v]));
            s.store(x, lanes);
            let used = s.first(cols - v * LANES);
            top = s.max(top, s.select(used, x, s.splat(f32::NEG_INFINITY)));
        }
        let top = s.splat(s.largest(top));
        let mut sum = s.zero();
        for v in 0..vectors {
            let (lanes, used) = (codes(v), s.first(cols - v * LANES));
            let e = s.select(used, share(s, s.sub(s.load(lanes), top)), s.zero());
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

/// From dL/dtheta to dL/dz = s0 theta (dL/dtheta - sum_k theta_k dL/dtheta_k), in place.
pub struct SimplexGradient<'a, F, T> {
    /// dL/dtheta in, dL/dz out: sixteen topics at a time. What lies beyond the last topic is finite.
    pub gradient: F,
    /// theta of the row, zero beyond the last topic.
    pub theta: T,
    /// s0.
    pub scale: &'a [Lanes],
    /// Topics.
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

/// The two passes over a topic's words, panel by panel, ascending: what phases hold of a topic between panels.
#[derive(Clone, Copy)]
pub struct TopicSums {
    lanes: Lanes,
}

/// Takes a panel's words of some topics into each one's largest weight.
pub struct LargestWeight<'a> {
    /// Rows of the free matrix: one a topic.
    pub weights: &'a [Row],
    /// Words in the panel.
    pub cols: usize,
    /// One a topic.
    pub sums: &'a mut [TopicSums],
}

impl Op for LargestWeight<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (row, sums) in self.weights.iter().zip(self.sums) {
            let mut top = s.load(&sums.lanes);
            for (v, lanes) in row.iter().enumerate() {
                let used = s.first(self.cols.saturating_sub(v * LANES));
                top = s.max(top, s.select(used, s.load(lanes), s.splat(f32::NEG_INFINITY)));
            }
            s.store(top, &mut sums.lanes);
        }
    }
}

/// Puts e^(c (w - the topic's largest)) of a panel's words in the place of phi, and adds it up.
pub struct TopicShares<'a> {
    /// Rows of the free matrix.
    pub weights: &'a [Row],
    /// Words in the panel.
    pub cols: usize,
    /// The largest weight of each topic.
    pub tops: &'a [f32],
    /// The topics' rows of phi.
    pub phi: &'a mut [Row],
    /// One a topic.
    pub sums: &'a mut [TopicSums],
}

impl Op for TopicShares<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let gain = s.splat(GAIN);
        let topics = self.weights.iter().zip(self.phi).zip(self.tops).zip(self.sums);
        for (((row, phi), &top), sums) in topics {
            let (top, mut sum) = (s.splat(top), s.load(&sums.lanes));
            for (v, (lanes, phi)) in row.iter().zip(phi).enumerate() {
                let e = share(s, s.mul(gain, s.sub(s.load(lanes), top)));
                let used = s.first(self.cols.saturating_sub(v * LANES));
                let e = s.select(used, e, s.zero());
                s.store(e, phi);
                sum = s.add(sum, e);
            }
            s.store(sum, &mut sums.lanes);
        }
    }
}

/// Adds a panel's share of sum_w phi_kw dL/dphi_kw to each topic's sum.
pub struct SumOfProducts<'a> {
    /// The topics' rows of phi; beyond its last word a row is zero.
    pub phi: &'a [Row],
    /// Those of dL/dphi; what lies beyond the last word is finite.
    pub gradient: &'a [Row],
    /// One a topic.
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

/// From dL/dphi to dL/dw = c phi (dL/dphi - sum_w phi dL/dphi), in place.
pub struct TopicGradient<'a> {
    /// The topics' rows of phi.
    pub phi: &'a [Row],
    /// dL/dphi in, dL/dw out.
    pub gradient: &'a mut [Row],
    /// The sum of each topic.
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
    /// Of nothing yet.
    pub const ZERO: TopicSums = TopicSums { lanes: Lanes([0.0; LANES]) };
    /// The largest of nothing yet.
    pub const LOWEST: TopicSums = TopicSums { lanes: Lanes([f32::NEG_INFINITY; LANES]) };

    /// The largest lane.
    pub fn largest(&self) -> f32 {
        self.lanes.0.into_iter().fold(f32::NEG_INFINITY, f32::max)
    }

    /// The sum of the lanes by the fixed tree.
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
