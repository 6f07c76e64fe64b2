//! An ordinal variable of L ordered levels, one-hot in L columns: the ordered logit of Nazábal et al. (HI-VAE,
//! arXiv:1807.03653, section 3.1) with thresholds that depend on z. Of the variable's L outputs the first is the location h;
//! output i = 1..L-1 is the increment of threshold i:
//!
//! P(level <= k) = σ(θ_(k+1) - h), k = 0..L-2, θ_i = sum_(j <= i) ln(1 + e^(y_j))
//!
//! Between two thresholds σ(a) - σ(b) = σ(a) σ(-b) (1 - e^(b - a)), and 1 - e^(-ln(1 + e^y)) = σ(y), so that without
//! cancellation
//!
//! -log p = [k < L-1] ln(1 + e^-a) + [k > 0] ln(1 + e^b) + [both] ln(1 + e^(-y_(k+1))), a = θ_(k+1) - h, b = θ_k - h.

use super::levels::Levels;
use super::start::{Column, Start};
use super::{Draws, LikelihoodKind, Support, TileWork};
use crate::simd::math;
use crate::simd::{Isa, LANES, Lanes, Simd};
use serde::{Deserialize, Serialize};

/// One ordinal variable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ordinal {}

/// The number of the lanes of vector `v`, from `v * 16` on.
#[inline(always)]
fn numbers<S: Simd>(s: S, v: usize) -> S::F {
    const INDEX: Lanes =
        Lanes([0., 1., 2., 3., 4., 5., 6., 7., 8., 9., 10., 11., 12., 13., 14., 15.]);
    s.add(s.load(&INDEX), s.splat((v * LANES) as f32))
}

/// `x` where both masks hold, else zero.
#[inline(always)]
fn only<S: Simd>(s: S, [first, second]: [S::M; 2], x: S::F) -> S::F {
    s.select(first, s.select(second, x, s.zero()), s.zero())
}

/// log p of up to sixteen examples and, with a weight, the weight times the gradient of -log p in place of y.
#[inline(always)]
pub fn score<S: Simd>(s: S, levels: &mut Levels) {
    let vectors = levels.vectors;
    let [mut level, mut below, mut upper, mut rest, mut location] = [Lanes::default(); 5];
    for i in 0..levels.rows {
        location.0[i] = levels.y[i * vectors].0[0];
        let mut k = s.zero();
        for v in 0..vectors {
            k = s.fma(s.load(&levels.x[i * vectors + v]), numbers(s, v), k);
        }
        level.0[i] = s.sum(k);
        let (k, next) = (s.splat(level.0[i] + 0.5), s.splat(level.0[i] + 1.5));
        let [mut of_below, mut of_next, mut of_rest] = [s.zero(); 3];
        for v in 0..vectors {
            let (place, number) = (&mut levels.y[i * vectors + v], numbers(s, v));
            let y = s.load(place);
            let [sigmoid, softplus] = math::sigmoid_softplus(s, y);
            let increment = s.select(s.less(number, s.splat(0.5)), s.zero(), softplus);
            of_below = s.add(of_below, s.select(s.less(number, k), increment, s.zero()));
            // The increment of the threshold above the level, and ln(1 + e^-y) of it.
            let is_next = s.select(s.less(number, k), s.zero(), increment);
            of_next = s.add(of_next, s.select(s.less(number, next), is_next, s.zero()));
            let other = s.select(s.less(number, k), s.zero(), s.sub(softplus, y));
            of_rest = s.add(of_rest, s.select(s.less(number, next), other, s.zero()));
            s.store(sigmoid, place);
        }
        below.0[i] = s.sum(of_below);
        upper.0[i] = s.sum(of_next);
        rest.0[i] = s.sum(of_rest);
    }
    let [k, h, below, next, rest] =
        [&level, &location, &below, &upper, &rest].map(|lanes| s.load(lanes));
    let (one, zero) = (s.splat(1.0), s.zero());
    let last = s.splat(levels.count_of_levels as f32 - 1.5);
    let observed = s.less(zero, s.load(&levels.count));
    let has_upper = s.less(k, last);
    let has_lower = s.less(s.splat(0.5), k);
    let b = s.sub(below, h);
    let [of_a, loss_a] = math::sigmoid_softplus(s, s.sub(s.sub(h, below), next));
    let [of_b, loss_b] = math::sigmoid_softplus(s, b);
    let both = only(s, [observed, has_upper], s.select(has_lower, one, zero));
    let between = s.select(s.less(zero, both), rest, zero);
    let loss = s.add(
        s.add(only(s, [observed, has_upper], loss_a), only(s, [observed, has_lower], loss_b)),
        between,
    );
    s.store(s.neg(loss), &mut levels.log_prob);
    let Some(weight) = levels.weight else { return };
    // The gradients of -log p with respect to a and to b.
    let weight = s.splat(weight);
    let slope_a = s.neg(s.mul(weight, only(s, [observed, has_upper], of_a)));
    let slope_b = s.mul(weight, only(s, [observed, has_lower], of_b));
    let [mut sums, mut slopes, mut between] = [Lanes::default(); 3];
    s.store(s.add(slope_a, slope_b), &mut sums);
    s.store(slope_a, &mut slopes);
    s.store(s.mul(weight, both), &mut between);
    for i in 0..levels.rows {
        let (k, next) = (s.splat(level.0[i] + 0.5), s.splat(level.0[i] + 1.5));
        let (sum, slope, both) = (s.splat(sums.0[i]), s.splat(slopes.0[i]), s.splat(between.0[i]));
        for v in 0..vectors {
            let (place, number) = (&mut levels.y[i * vectors + v], numbers(s, v));
            let sigmoid = s.load(place);
            // Of the increments up to the level, of the next one, and of the location.
            let next_slope = s.sub(s.mul(sigmoid, slope), s.mul(both, s.sub(one, sigmoid)));
            let beyond = s.select(s.less(number, next), next_slope, zero);
            let inner = s.select(s.less(number, k), s.mul(sigmoid, sum), beyond);
            let all = s.select(s.less(number, s.splat(0.5)), s.neg(sum), inner);
            s.store(all, place);
        }
    }
}

/// The probabilities of the levels of up to sixteen examples, in place of y.
#[inline(always)]
pub fn means<S: Simd>(s: S, levels: &mut Levels) {
    let (vectors, last) = (levels.vectors, levels.count_of_levels - 1);
    for i in 0..levels.rows {
        let part = i * vectors..(i + 1) * vectors;
        let location = levels.y[part.start].0[0];
        // x has no use here: its memory takes σ(y).
        let mut threshold = -location;
        for v in part.clone() {
            let [sigmoid, softplus] = math::sigmoid_softplus(s, s.load(&levels.y[v]));
            s.store(sigmoid, &mut levels.x[v]);
            s.store(softplus, &mut levels.y[v]);
            let first = (v - part.start) * LANES;
            for (lane, t) in levels.y[v].0.iter_mut().enumerate() {
                if first + lane > 0 {
                    threshold += *t;
                }
                *t = threshold; // θ - h of the threshold with the lane's number
            }
        }
        let mut above = 1.0; // σ(-(θ - h)) of the threshold below the level
        for level in 0..=last {
            let (v, lane) = (part.start + (level + 1) / LANES, (level + 1) % LANES);
            let (mut p, mut next) = (above, 0.0);
            if level < last {
                let t = levels.y[v].0[lane];
                let mut both = Lanes([-t; LANES]);
                both.0[0] = t;
                s.store(math::sigmoid(s, s.load(&both)), &mut both);
                next = both.0[1];
                let increment = if level > 0 { levels.x[v].0[lane] } else { 1.0 };
                p *= both.0[0] * increment;
            }
            above = next;
            levels.y[part.start + level / LANES].0[level % LANES] = p;
        }
    }
}

/// The starts of the outputs, given the columns of the levels: the shares of the levels by Jeffreys' prior. The first
/// increment starts at y = 0, since the location and the first increment have the same effect.
pub fn starts(columns: &[Column]) -> Vec<Start> {
    let count = columns.iter().map(|column| column.count).fold(0.0, f64::max);
    let share =
        |column: &Column| (column.mean * column.count + 0.5) / (count + 0.5 * columns.len() as f64);
    let logit = |p: f64| p.ln() - (-p).ln_1p();
    let mut below = columns.first().map_or(0.5, share);
    let mut threshold = logit(below);
    let spread = |information: f64| 1.0 / information.max(1e-2).sqrt();
    let location = Start {
        output: std::f64::consts::LN_2 - threshold,
        spread: spread(below * (1.0 - below)).min(1.0),
        scale: 1.0,
        second: 0.0,
    };
    let mut starts = vec![location];
    for (i, column) in columns.iter().enumerate().skip(1) {
        let output = match i {
            1 => 0.0,
            _ => {
                let last = std::mem::replace(&mut threshold, logit(below));
                (threshold - last).exp_m1().ln() // the inverse of softplus
            }
        };
        below = (below + share(column)).min(1.0 - 1e-12);
        starts.push(Start { output, spread: 1.0, scale: 1.0, second: 0.0 });
    }
    starts
}

impl LikelihoodKind for Ordinal {
    fn name(&self) -> &'static str {
        "ordinal"
    }
    fn formula(&self) -> String {
        "ln P(level k), P(level <= k) = sigmoid(t_k - h), t_k increasing; location h and thresholds t from the decoder's \
         output"
            .into()
    }
    fn support(&self) -> Support {
        super::Categorical {}.support()
    }
    fn is_public(&self) -> bool {
        false
    }
    /// Does nothing: a tile holds only a part of the variable.
    fn tile<W: TileWork>(&self, _: Isa, _: W) {}
    #[inline(always)]
    fn variance(&self, p: f32, _: f32) -> f32 {
        p * (1.0 - p)
    }
    /// Leaves the probabilities: see [`super::Mixed`].
    fn draw(&self, _: Draws) -> bool {
        true
    }
}
