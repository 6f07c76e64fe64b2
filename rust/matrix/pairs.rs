//! Weights in bfloat16: two consecutive rows of a column, a *pair*, in the place of a float. See [`crate::simd::ToWords`], whose words
//! by pairs they are.

use super::ColumnMap;
use crate::simd::{LANES, Row, WIDTH};

/// `x` rounded to bfloat16, to nearest, ties to even: the upper half of a float32.
pub fn to_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
    ((if x.is_nan() { bits } else { rounded }) >> 16) as u16
}

/// The float of a bfloat16.
pub fn from_bf16(half: u16) -> f32 {
    f32::from_bits(u32::from(half) << 16)
}

/// Copies a row-major [cols, rows] matrix, rounded to bfloat16, into the panels of its transpose. `stride` is the number of rows from
/// one panel to the next. A missing last row becomes zero.
pub fn to_pairs(plain: &[f32], rows: usize, to: ColumnMap, stride: usize, panels: &mut [Row]) {
    for (j, column) in plain.chunks_exact(rows).enumerate() {
        let (panel, lane) = (to.at(j) / WIDTH, to.at(j) % WIDTH);
        for (pair, row) in column.chunks(2).zip(&mut panels[panel * stride..]) {
            let half = |t| u32::from(pair.get(t).map_or(0, |&x: &f32| to_bf16(x)));
            row[lane / LANES].0[lane % LANES] = f32::from_bits(half(0) | half(1) << 16);
        }
    }
}

/// The inverse of [`to_pairs`].
pub fn from_pairs(panels: &[Row], rows: usize, from: ColumnMap, stride: usize, plain: &mut [f32]) {
    for (j, column) in plain.chunks_exact_mut(rows).enumerate() {
        let (panel, lane) = (from.at(j) / WIDTH, from.at(j) % WIDTH);
        for (pair, row) in column.chunks_mut(2).zip(&panels[panel * stride..]) {
            let word = row[lane / LANES].0[lane % LANES].to_bits();
            let halves = [word as u16, (word >> 16) as u16];
            pair.iter_mut().zip(halves).for_each(|(x, half)| *x = from_bf16(half));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Isa, ToWords, ZERO_ROW, word_rows};

    #[test]
    fn rounding_is_to_nearest_even() {
        for (x, want) in [
            (1.0, 0x3f80),
            (-0.0, 0x8000),
            (f32::from_bits(0x3f80_8000), 0x3f80), // ties to even
            (f32::from_bits(0x3f81_8000), 0x3f82),
            (f32::from_bits(0x3f80_8001), 0x3f81),
            (f32::from_bits(0xbf80_7fff), 0xbf80),
            (f32::MAX, 0x7f80),
            (f32::from_bits(0x0001_8000), 0x0002), // subnormal
        ] {
            assert_eq!(to_bf16(x), want, "{x}");
        }
        assert!(from_bf16(to_bf16(f32::NAN)).is_nan());
    }

    #[test]
    fn pairs_are_the_words_of_products() {
        for (cols, rows) in [(1, 1), (70, 9), (32, 64), (33, 2)] {
            let value = |i: usize| (i as f32 * 0.37).sin() * 3.0;
            let plain: Vec<f32> = (0..cols * rows).map(value).collect();
            let (stride, panels) = (word_rows(rows) + 1, cols.div_ceil(WIDTH));
            let mut buffer = vec![ZERO_ROW; panels * stride];
            to_pairs(&plain, rows, ColumnMap::From(0), stride, &mut buffer);
            for panel in 0..panels {
                let mut from = vec![ZERO_ROW; rows];
                for (i, row) in from.iter_mut().enumerate() {
                    for lane in 0..WIDTH.min(cols - panel * WIDTH) {
                        let x = plain[(panel * WIDTH + lane) * rows + i];
                        row[lane / LANES].0[lane % LANES] = x;
                    }
                }
                let mut words = vec![ZERO_ROW; word_rows(rows)];
                let by_pairs = &mut words[..];
                let isa = Isa::detect().unwrap();
                isa.run(ToWords { from: &from, cols: WIDTH, by_rows: &mut [], by_pairs });
                let bits = |rows: &[Row]| -> Vec<u32> {
                    rows.iter().flatten().flat_map(|v| v.0.map(f32::to_bits)).collect()
                };
                assert_eq!(bits(&buffer[panel * stride..][..words.len()]), bits(&words));
            }
            let mut back = vec![f32::NAN; plain.len()];
            from_pairs(&buffer, rows, ColumnMap::From(0), stride, &mut back);
            let rounded: Vec<f32> = plain.iter().map(|&x| from_bf16(to_bf16(x))).collect();
            assert_eq!(back, rounded);
        }
    }
}
