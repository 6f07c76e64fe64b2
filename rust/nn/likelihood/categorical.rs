//! A categorical variable of L levels, one-hot in L columns: log p = ln softmax(y)_k for level k, y the L outputs.
//!
//! d(-log p)/dy = softmax(y) - x
//!
//! The likelihood is one of the variables of [`super::mixed`]: its density needs all columns of the variable.

use super::levels::Levels;
use super::start::{Column, Level, Start};
use super::{Draws, LikelihoodKind, Support, TileWork};
use crate::simd::math;
use crate::simd::{Isa, LANES, Lanes, Several, Simd, in_groups};
use serde::{Deserialize, Serialize};

/// One categorical variable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Categorical {}

/// log p of up to sixteen examples and, with a weight, the weight times the gradient of -log p in place of y; with
/// `means`, the probabilities of the levels in place of y and no log p.
#[inline(always)]
pub fn score<S: Simd>(s: S, levels: &mut Levels) {
    let mut sums = Lanes([1.0; LANES]);
    let mut dots = Lanes::default();
    in_groups!(S::WIDE, levels.rows, N, first => exponentials::<S, N>(s, levels, first, &mut sums, &mut dots));
    let [sum, dot] = [s.load(&sums), s.load(&dots)];
    // `math::ln` does not propagate NaN; the product `sum` times zero does.
    let log_sum = s.fma(sum, s.zero(), math::ln(s, sum));
    let count = s.load(&levels.count);
    s.store(s.sub(dot, s.mul(count, log_sum)), &mut levels.log_prob);
    let factor = match levels.weight {
        None => return,
        Some(_) if levels.means => s.div(s.splat(1.0), sum),
        Some(weight) => s.div(s.mul(count, s.splat(weight)), sum),
    };
    let mut factors = Lanes::default();
    s.store(factor, &mut factors);
    let weight = s.splat(if levels.means { 0.0 } else { -levels.weight.unwrap_or(0.0) });
    for (i, factor) in factors.0.iter().enumerate().take(levels.rows) {
        for v in i * levels.vectors..(i + 1) * levels.vectors {
            let share = s.mul(s.load(&levels.y[v]), s.splat(*factor));
            let slope = s.fma(weight, s.load(&levels.x[v]), share);
            s.store(slope, &mut levels.y[v]);
        }
    }
}

/// For examples `first..first + N`: e^(y - m) in place of y, m the largest y; the sums of these over the levels; and the
/// sums of x (y - m).
#[inline(always)]
fn exponentials<S: Simd, const N: usize>(
    s: S,
    levels: &mut Levels,
    first: usize,
    sums: &mut Lanes,
    dots: &mut Lanes,
) {
    let (several, vectors) = (Several::<S, N>(s), levels.vectors);
    let last = s.first(levels.count_of_levels - (vectors - 1) * LANES);
    let mut largest = [s.splat(f32::MIN); N];
    for v in 0..vectors {
        for i in 0..N {
            let place = &mut levels.y[(first + i) * vectors + v];
            let mut y = s.load(place);
            if v + 1 == vectors {
                y = s.select(last, y, s.splat(f32::MIN));
                s.store(y, place);
            }
            largest[i] = s.max(y, largest[i]);
        }
    }
    for i in 0..N {
        largest[i] = s.splat(s.largest(largest[i]));
    }
    let [mut sum, mut dot] = [[s.zero(); N]; 2];
    for v in 0..vectors {
        let mut below = [s.zero(); N];
        for i in 0..N {
            below[i] = s.sub(s.load(&levels.y[(first + i) * vectors + v]), largest[i]);
        }
        let e = math::exp(several, below);
        for i in 0..N {
            let e = if v + 1 == vectors { s.select(last, e[i], s.zero()) } else { e[i] };
            sum[i] = s.add(sum[i], e);
            let x = s.load(&levels.x[(first + i) * vectors + v]);
            let term = s.select(s.less(s.zero(), x), s.mul(x, below[i]), s.zero());
            dot[i] = s.add(dot[i], term);
            s.store(e, &mut levels.y[(first + i) * vectors + v]);
        }
    }
    for i in 0..N {
        sums.0[first + i] = s.sum(sum[i]);
        dots.0[first + i] = s.sum(dot[i]);
    }
}

impl LikelihoodKind for Categorical {
    fn name(&self) -> &'static str {
        "categorical"
    }
    fn formula(&self) -> String {
        "sum_l x_l ln p_l, p the softmax of the decoder's output over the levels".into()
    }
    fn support(&self) -> Support {
        Support {
            range: (0.0, 1.0),
            rounding: 0.0,
            counts: false,
            words: "1 in the column of the level and 0 in the others",
        }
    }
    fn is_public(&self) -> bool {
        false
    }
    /// The logarithm of the level's share, by Jeffreys' prior.
    fn start(&self, column: &Column, level: &Level) -> Option<Start> {
        let p = (column.mean * column.count + 0.5) / (column.count + 0.5 * level.columns as f64);
        Some(Start::new(p.ln(), p * (1.0 - p)))
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
