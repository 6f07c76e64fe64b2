//! Transforms of the encoder's input: counts of very different sizes are hard to learn from. The likelihood reads the
//! untransformed data.

use crate::simd::math;
use crate::simd::{Row, Simd};
use serde::{Deserialize, Serialize};

/// The transform of a row x before the encoder's first layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transform {
    /// ln(1 + x), elementwise.
    Log1p,
    /// 1 where x is not 0.
    Binary,
    /// x / sum |x|; a row of zeros stays zero.
    L1,
    /// 50 x / (10 + sum |x|): frequencies times 50, smaller in documents of few words.
    Frequencies,
    /// x / (sum x²)^1/2; a row of zeros stays zero. (Squares of values below 1e-19 underflow to zero.)
    L2,
    /// 0: the encoder reads conditions only.
    Hidden,
}

/// [`Transform::Frequencies`] of a document of any length add up to less than this.
pub const FREQUENCIES: f32 = 50.0;
/// The length at which they are half as large.
pub const SHORT: f32 = 10.0;

impl Transform {
    /// The smallest valid value.
    pub fn least(self) -> f32 {
        match self {
            Transform::Log1p => (-1.0f32).next_up(),
            _ => f32::MIN,
        }
    }

    /// Whether the transform divides by the row's norm.
    pub fn divides(self) -> bool {
        matches!(self, Transform::L1 | Transform::L2 | Transform::Frequencies)
    }

    /// The terms of 32 columns in the sum under the norm: sixteen lanes, then a fixed tree.
    #[inline(always)]
    pub fn norm_term<S: Simd>(self, s: S, columns: &Row) -> f32 {
        let [a, b] = [s.load(&columns[0]), s.load(&columns[1])];
        match self {
            Transform::Log1p | Transform::Binary | Transform::Hidden => 0.0,
            Transform::L1 | Transform::Frequencies => s.sum(s.add(s.abs(a), s.abs(b))),
            Transform::L2 => s.sum(s.fma(b, b, s.mul(a, a))),
        }
    }

    /// The norm of a row, given the sum of its panels' terms, panels ascending. 1 for a row of zeros.
    #[inline(always)]
    pub fn norm(self, sum: f32) -> f32 {
        let norm = match self {
            Transform::L2 => sum.sqrt(),
            Transform::Frequencies => (sum + SHORT) / FREQUENCIES,
            _ => sum,
        };
        if norm == 0.0 { 1.0 } else { norm }
    }

    /// Transforms 32 columns of a row that has norm `norm`. Zeros and padding stay zero.
    #[inline(always)]
    pub fn apply<S: Simd>(self, s: S, norm: f32, columns: &mut Row) {
        let norm = s.splat(norm);
        for lanes in columns {
            let x = s.load(lanes);
            let y = match self {
                Transform::Log1p => math::ln_1p_of(s, x),
                Transform::Binary => s.select(s.less(s.zero(), s.abs(x)), s.splat(1.0), s.zero()),
                Transform::L1 | Transform::L2 | Transform::Frequencies => s.div(x, norm),
                Transform::Hidden => s.zero(),
            };
            s.store(y, lanes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Isa, LANES, Lanes, Op, WIDTH, ZERO_ROW};

    struct All<'a>(Transform, &'a mut [Row]);

    impl Op for All<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            let All(transform, panels) = self;
            let norm =
                transform.norm(panels.iter().map(|panel| transform.norm_term(s, panel)).sum());
            panels.iter_mut().for_each(|panel| transform.apply(s, norm, panel));
        }
    }

    fn transformed(isa: Isa, transform: Transform, values: &[f32]) -> Vec<f32> {
        let mut panels = vec![ZERO_ROW; values.len().div_ceil(WIDTH)];
        for (i, &x) in values.iter().enumerate() {
            panels[i / WIDTH][i % WIDTH / LANES].0[i % LANES] = x;
        }
        isa.run(All(transform, &mut panels));
        let all: Vec<f32> = panels.iter().flatten().flat_map(|Lanes(x)| *x).collect();
        assert!(all[values.len()..].iter().all(|&x| x == 0.0), "padding must stay zero");
        all[..values.len()].to_vec()
    }

    #[test]
    fn transforms_are_their_formulas() {
        let tiny = (0..60).map(|i| 2f32.powi(-i));
        let values: Vec<f32> =
            tiny.chain([0.0, -0.9, -0.999_999_9, 5.0, 1e3, 2f32.powi(24), 1e30, 3e38]).collect();
        for isa in Isa::available() {
            for (x, y) in values.iter().zip(transformed(isa, Transform::Log1p, &values)) {
                let want = f64::from(*x).ln_1p();
                assert!((f64::from(y) - want).abs() <= 3e-7 * want.abs(), "ln(1 + {x}) is not {y}");
            }
            let small: Vec<f32> = (0..70).map(|i| (i % 7) as f32 - 2.0).collect();
            let norm1: f32 = small.iter().map(|x| x.abs()).sum();
            let norm2 = small.iter().map(|x| x * x).sum::<f32>().sqrt();
            for (i, x) in small.iter().enumerate() {
                assert_eq!(transformed(isa, Transform::Binary, &small)[i], f32::from(*x != 0.0));
                assert!((transformed(isa, Transform::L1, &small)[i] - x / norm1).abs() < 1e-7);
                assert!((transformed(isa, Transform::L2, &small)[i] - x / norm2).abs() < 1e-7);
                let frequency = 50.0 * x / (10.0 + norm1);
                let found = transformed(isa, Transform::Frequencies, &small)[i];
                assert!((found - frequency).abs() < 1e-6);
                assert_eq!(transformed(isa, Transform::Hidden, &small)[i], 0.0);
            }
            for transform in [Transform::L1, Transform::L2, Transform::Frequencies] {
                assert_eq!(transformed(isa, transform, &[0.0; 40]), [0.0; 40]);
            }
        }
    }
}
