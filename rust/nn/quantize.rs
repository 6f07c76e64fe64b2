//! Quantisation to bytes (Jacob et al., arXiv:1712.05877, section 2).
//!
//! Weights w of an output are -127 to 127 times a scale, symmetric. Activations x of an example are 0 to 255: with the
//! smallest range [-low, high] that contains 0 and all x,
//!
//! > scale = (low + high) / 255, zero = round(low / scale), q = round(x / scale) + zero
//!
//! Zero is exact. Without negative x, zero is 0, and multiples of high / 255 (grey values, 0 and 1) are exact too. Then
//! Σ x w ≈ scale · weight_scale · (Σ q w - zero Σ w), with exact sums of integers. All roundings are to nearest, ties to
//! even, of single operations, so that results do not depend on the instruction set.

use crate::matrix::Panels;
use crate::simd::{LANES, Lanes, Op, Row, Simd, WIDTH};

/// Ranges below this are taken for zero: 255 over them would overflow, and what they hold is nothing beside float32's
/// rounding of any bias.
const SMALLEST_RANGE: f32 = 1e-35;

/// The scale and the zero of a row of bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RowScale {
    /// The difference of x between two bytes; NaN if an x is not finite.
    pub scale: f32,
    /// The byte of x = 0.
    pub zero: u8,
}

impl RowScale {
    /// The scale of values between -`low` and `high`, neither negative, and its inverse; `finite`: all of them are.
    pub fn of(low: f32, high: f32, finite: bool) -> (RowScale, f32) {
        let range = low + high;
        match (finite && range.is_finite(), range < SMALLEST_RANGE) {
            (false, _) => (RowScale { scale: f32::NAN, zero: 0 }, 0.0),
            (_, true) => (RowScale { scale: 0.0, zero: 0 }, 0.0),
            _ => {
                let inverse = 255.0 / range;
                let zero = (low * inverse).round_ties_even().min(255.0) as u8;
                (RowScale { scale: range / 255.0, zero }, inverse)
            }
        }
    }

    /// The byte of a finite number; `inverse` is that of [`RowScale::of`].
    pub fn byte(self, x: f32, inverse: f32) -> u8 {
        let zero = f32::from(self.zero);
        ((x * inverse).max(-zero).min(255.0 - zero).round_ties_even() + zero) as u8
    }
}

/// Quantises a row. Bytes behind its columns are the byte of zero.
pub struct QuantizeRow<'a> {
    /// The matrix.
    pub x: Panels<'a>,
    /// The row.
    pub row: usize,
    /// 32 bytes for each panel.
    pub out: &'a mut [u8],
}

impl Op for QuantizeRow<'_> {
    type Output = RowScale;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> RowScale {
        let QuantizeRow { x, row, out } = self;
        let cols = x.cols();
        let rows = x.data()[row..].iter().step_by(x.rows());
        let [mut low, mut high, mut unsound] = [[s.zero(); 2]; 3];
        for (p, panel) in rows.clone().enumerate() {
            for v in 0..2 {
                let x = used_lanes(s, &panel[v], cols - p * WIDTH, v);
                high[v] = s.max(x, high[v]);
                low[v] = s.min(x, low[v]);
                unsound[v] = s.add(unsound[v], s.mul(x, s.zero())); // NaN if x is not finite
            }
        }
        let finite = !s.sum(s.add(unsound[0], unsound[1])).is_nan();
        let low = s.largest(s.neg(s.min(low[0], low[1])));
        let (row_scale, inverse) = RowScale::of(low, s.largest(s.max(high[0], high[1])), finite);
        let zero = f32::from(row_scale.zero);
        let (least, most) = (s.splat(-zero), s.splat(255.0 - zero));
        let (inverse, zero) = (s.splat(inverse), s.splat(zero));
        let mut out = out.as_chunks_mut::<LANES>().0.iter_mut();
        for (p, panel) in rows.enumerate() {
            for v in 0..2 {
                let x = s.mul(used_lanes(s, &panel[v], cols - p * WIDTH, v), inverse);
                let x = s.round(s.min(s.max(x, least), most)); // a number even if x is none
                let to = out.next().expect("32 bytes for each panel");
                s.store_bytes(s.to_int(s.add(x, zero)), to);
            }
        }
        row_scale
    }
}

/// Vector `v` of a panel's row with `used` columns; zero behind them.
#[inline(always)]
fn used_lanes<S: Simd>(s: S, lanes: &Lanes, used: usize, v: usize) -> S::F {
    let x = s.load(lanes);
    match used >= LANES * (v + 1) {
        true => x,
        false => s.select(s.first(used.saturating_sub(LANES * v)), x, s.zero()),
    }
}

/// Replaces the sums Σ q w of a tile, bits of i32, by scale · weight_scale · (Σ q w - zero Σ w).
pub struct Dequantize<'a> {
    /// The sums, a row for each example.
    pub sums: &'a mut [Row],
    /// The scale and the zero of each example.
    pub rows: &'a [RowScale],
    /// The scales of the weights of each column.
    pub weight_scales: &'a Row,
    /// Σ w of each column, bits of i32.
    pub weight_sums: &'a Row,
}

impl Op for Dequantize<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (sums, &RowScale { scale, zero }) in self.sums.iter_mut().zip(self.rows) {
            let minus = s.splat_u((-i32::from(zero)).cast_unsigned());
            for v in 0..2 {
                let of_zero = s.mul_u(s.to_bits(s.load(&self.weight_sums[v])), minus);
                let sum = s.add_u(s.to_bits(s.load(&sums[v])), of_zero);
                let product = s.mul(s.to_float(sum), s.splat(scale));
                s.store(s.mul(product, s.load(&self.weight_scales[v])), &mut sums[v]);
            }
        }
    }
}

/// Quantises the weights of an output in place, to integers -127 to 127; returns their scale.
pub fn quantize_weights(weights: &mut [f32]) -> f32 {
    let largest = weights.iter().fold(0.0_f32, |largest, w| largest.max(w.abs()));
    if largest < SMALLEST_RANGE {
        weights.fill(0.0);
        return 0.0;
    }
    let inverse = 127.0 / largest;
    for w in weights {
        *w = (*w * inverse).round_ties_even().clamp(-127.0, 127.0);
    }
    largest / 127.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Isa, ZERO_ROW, floats_mut};

    fn quantized(isa: Isa, x: &[f32]) -> (RowScale, Vec<u8>) {
        let mut rows = vec![[Lanes([f32::NAN; 16]); 2]; x.len().div_ceil(WIDTH)]; // padding must not matter
        floats_mut(&mut rows)[..x.len()].copy_from_slice(x);
        let mut out = vec![77; WIDTH * rows.len()];
        let x = Panels::new(&rows, 1, x.len());
        let scale = isa.run(QuantizeRow { x, row: 0, out: &mut out });
        (scale, out)
    }

    /// The definition, value by value, in float64 where it is exact.
    fn wanted(x: &[f32]) -> (RowScale, Vec<u8>) {
        let low = x.iter().fold(0.0, |low: f32, &x| low.max(-x));
        let high = x.iter().fold(0.0, |high: f32, &x| high.max(x));
        let (scale, inverse) = (((low + high) / 255.0), 255.0 / (low + high));
        let zero = (low * inverse).round_ties_even();
        let byte = |&x: &f32| ((x * inverse).round_ties_even() + zero).clamp(0.0, 255.0) as u8;
        (RowScale { scale, zero: zero as u8 }, x.iter().map(byte).collect())
    }

    #[test]
    fn rows_have_the_bytes_of_the_definition() {
        let wave = |n: usize, shift: f32| {
            (0..n).map(|i| (i as f32 * 0.7).sin() * 3.0 + shift).collect::<Vec<_>>()
        };
        let cases = [
            wave(1, 0.5),
            wave(15, 0.0),
            wave(16, 9.0),
            wave(17, -9.0),
            wave(33, 1.0),
            wave(97, 0.0),
            vec![1e15; 40],
            vec![-1e15, 1e15, 1.0],
            vec![-2.5; 5],
            vec![1e-30, 2e-30, -1e-31],
        ];
        for (isa, x) in
            Isa::available().into_iter().flat_map(|isa| cases.iter().map(move |x| (isa, x)))
        {
            let ((scale, bytes), (want, some)) = (quantized(isa, x), wanted(x));
            assert_eq!(scale, want, "{} {x:?}", isa.name());
            assert_eq!(bytes[..x.len()], some, "{} {x:?}", isa.name());
            assert!(bytes[x.len()..].iter().all(|&byte| byte == scale.zero));
            for (&x, byte) in x.iter().zip(bytes) {
                let back = (f32::from(byte) - f32::from(scale.zero)) * scale.scale;
                assert!((back - x).abs() <= 0.5001 * scale.scale, "{x} became {back}");
            }
        }
    }

    #[test]
    fn grey_values_and_bits_are_exact() {
        for isa in Isa::available() {
            let grey: Vec<f32> = (0..=255).map(|i| i as f32 / 255.0).collect();
            let (scale, bytes) = quantized(isa, &grey);
            assert_eq!((scale.zero, bytes), (0, (0..=255).collect()));
            let (_, bytes) = quantized(isa, &[0.0, 1.0, 1.0, 0.0]);
            assert_eq!(bytes[..4], [0, 255, 255, 0]);
        }
    }

    #[test]
    fn zeros_denormals_and_numbers_that_are_not_finite() {
        for isa in Isa::available() {
            for tiny in [0.0, 1e-45, -1e-40, 1e-38] {
                let (scale, bytes) = quantized(isa, &[tiny; 20]);
                assert_eq!((scale.scale, scale.zero), (0.0, 0));
                assert!(bytes.iter().all(|&byte| byte == 0));
            }
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                for at in [0, 18, 33] {
                    let mut x = [0.25; 34];
                    x[at] = bad;
                    assert!(quantized(isa, &x).0.scale.is_nan(), "{bad} at {at}");
                }
            }
            assert!(quantized(isa, &[3e38, -3e38]).0.scale.is_nan()); // their difference overflows
        }
    }

    #[test]
    fn sums_come_back_to_units() {
        let bits = |x: i32| f32::from_bits(x.cast_unsigned());
        let value = |i: usize| (i as i32 - 7) * 123_456_789;
        for isa in Isa::available() {
            let mut sums = [ZERO_ROW; 2];
            floats_mut(&mut sums)
                .iter_mut()
                .enumerate()
                .for_each(|(i, x)| *x = bits(value(i % 16)));
            let rows = [RowScale { scale: 0.5, zero: 0 }, RowScale { scale: 0.25, zero: 3 }];
            let mut weights = [ZERO_ROW; 2];
            for (j, x) in floats_mut(&mut weights).iter_mut().enumerate() {
                *x = if j < WIDTH { 0.01 * j as f32 } else { bits(j as i32 - 40) };
            }
            let [weight_scales, weight_sums] = &weights;
            isa.run(Dequantize { sums: &mut sums, rows: &rows, weight_scales, weight_sums });
            for (i, got) in floats_mut(&mut sums).iter().enumerate() {
                let (row, j) = (rows[i / WIDTH], i % WIDTH);
                let of_zero = i32::from(row.zero) * ((j + WIDTH) as i32 - 40);
                let sum = value(i % 16).wrapping_sub(of_zero);
                assert_eq!(*got, sum as f32 * row.scale * (0.01 * j as f32), "{i}");
            }
        }
    }

    #[test]
    fn weights_keep_their_largest_and_their_zeros() {
        let mut weights = [0.5, -1.0, 0.0, 0.003, 1.0];
        let scale = quantize_weights(&mut weights);
        assert_eq!((scale, weights), (1.0 / 127.0, [64.0, -127.0, 0.0, 0.0, 127.0]));
        for zero in [0.0, -0.0, 1e-40] {
            let mut weights = [zero; 3];
            assert_eq!((quantize_weights(&mut weights), weights), (0.0, [0.0; 3]));
        }
        let mut largest = [f32::MAX, f32::MIN];
        assert_eq!((quantize_weights(&mut largest), largest), (f32::MAX / 127.0, [127.0, -127.0]));
    }
}
