//! Tests of words on every instruction set, against a scalar model.

#![allow(unsafe_code)]

use super::*;
use crate::simd::{Lanes, MAX_TILE_ROWS};

/// The scalar model: the upper half of a float32, rounded to nearest even; NaN stays NaN.
fn bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    let (kept, cut) = (bits >> 16, bits & 0xffff);
    let up = !x.is_nan() && (cut > 0x8000 || cut == 0x8000 && kept & 1 == 1);
    (kept + u32::from(up)) as u16
}

fn float(half: u16) -> f32 {
    f32::from_bits(u32::from(half) << 16)
}

/// Zero of its sign where `x` is subnormal.
fn flushed(x: f32) -> f32 {
    if x.is_subnormal() { 0.0_f32.copysign(x) } else { x }
}

/// `sum` plus the products of two words, the odd one first.
fn add(sum: f32, a: [u16; 2], b: [u16; 2]) -> f32 {
    [1, 0].into_iter().fold(sum, |sum, half| {
        flushed(flushed(float(a[half])).mul_add(flushed(float(b[half])), sum))
    })
}

/// Numbers of all magnitudes and signs, some subnormal or too large for bfloat16.
fn number(i: usize) -> f32 {
    let mixed = (i as u32).wrapping_mul(2_654_435_761) ^ (i as u32) << 13;
    match mixed % 23 {
        0 => 0.0,
        1 => f32::from_bits(mixed & 0x807f_ffff),
        2 => f32::from_bits(0x0080_0000 | mixed & 0x8000_0001),
        3 => f32::MAX.copysign(mixed as i32 as f32),
        4 => 1.0 + f32::from_bits(0x3b80_0000), // halfway between two bfloat16
        5 => f32::from_bits(mixed & 0x87ff_ffff),
        _ => ((mixed >> 7) % 2001) as f32 / 1000.0 - 1.0,
    }
}

fn panel(rows: usize, at: impl Fn(usize, usize) -> f32) -> Vec<Row> {
    (0..rows)
        .map(|r| [0, 1].map(|v| Lanes(std::array::from_fn(|lane| at(r, LANES * v + lane)))))
        .collect()
}

fn halves_of(row: &Row, column: usize) -> [u16; 2] {
    let word = row[column / LANES].0[column % LANES].to_bits();
    [word as u16, (word >> 16) as u16]
}

#[test]
fn both_forms_are_rounded_rows() {
    for isa in Isa::available() {
        for (rows, cols) in [(1, 32), (7, 32), (14, 5), (3, 17), (2, 1)] {
            let from = panel(rows, |r, c| number(101 * r + 7 * c + rows));
            let mut by_rows = vec![[Lanes([f32::NAN; LANES]); 2]; word_rows(rows)];
            let mut by_pairs = by_rows.clone();
            isa.run(ToWords { from: &from, cols, by_rows: &mut by_rows, by_pairs: &mut by_pairs });
            let want = |r: usize, c: usize| match r < rows && c < cols {
                true => bf16(from[r][c / LANES].0[c % LANES]),
                false => 0,
            };
            for r in 0..rows.next_multiple_of(2) {
                for c in 0..WIDTH {
                    let case = format!("{} {rows}x{cols} ({r}, {c})", isa.name());
                    let row = &by_rows[r / 2];
                    let word = halves_of(row, r % 2 * ROW_WORDS + c / 2);
                    assert_eq!(word[c % 2], want(r, c), "by rows: {case}");
                    assert_eq!(halves_of(&by_pairs[r / 2], c)[r % 2], want(r, c), "pairs: {case}");
                }
            }
            let mut back = vec![ZERO_ROW; rows];
            isa.run(FromPairs { pairs: &by_pairs, to: &mut back });
            let mut sums = ZERO_ROW;
            isa.run(PairSums { pairs: &by_pairs, out: &mut sums });
            for c in 0..WIDTH {
                let column = back.iter().map(|row| row[c / LANES].0[c % LANES]);
                for (r, x) in column.clone().enumerate() {
                    assert_eq!(x.to_bits(), float(want(r, c)).to_bits());
                }
                let sum = column.chain((rows % 2 == 1).then_some(0.0)).fold(0.0, |a, b| a + b);
                assert_eq!(sums[c / LANES].0[c % LANES].to_bits(), f32::to_bits(sum));
            }
        }
    }
}

#[test]
fn rounding_keeps_infinity_and_nan() {
    let special = [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::from_bits(0x7fff_ffff), -0.0];
    for isa in Isa::available() {
        let from = panel(1, |_, c| special[c % special.len()]);
        let mut to = [ZERO_ROW];
        isa.run(ToWords { from: &from, cols: WIDTH, by_rows: &mut to, by_pairs: &mut [] });
        for c in 0..WIDTH {
            let (got, want) = (float(halves_of(&to[0], c / 2)[c % 2]), special[c % special.len()]);
            assert!(
                got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan(),
                "{want}: {got}"
            );
        }
    }
}

#[test]
fn weights_have_words_of_both_matrices() {
    for isa in Isa::available() {
        for rows in [1, 6, 31, 32] {
            let from = panel(rows, |r, c| number(31 * r + c));
            let (mut words, mut transposed) = (vec![ZERO_ROW; word_rows(rows)], [ZERO_ROW; 16]);
            isa.run(WeightWords { from: &from, words: &mut words, transposed: &mut transposed });
            for r in 0..rows {
                for c in 0..WIDTH {
                    let want = bf16(from[r][c / LANES].0[c % LANES]);
                    assert_eq!(halves_of(&words[r / 2], c)[r % 2], want);
                    assert_eq!(halves_of(&transposed[c / 2], r)[c % 2], want, "{rows} ({r}, {c})");
                }
            }
        }
    }
}

#[test]
fn every_set_computes_the_sums_of_the_instruction() {
    for (rows, vectors, k) in [(14, 2, 40), (1, 1, 1), (5, 2, 17), (12, 1, 33), (2, 2, 400)] {
        let height = rows + 3;
        let words = |seed: usize| {
            move |r: usize, c: usize| {
                let pair = [0, 1].map(|h| u32::from(bf16(number(seed + 977 * r + 31 * c + h))));
                f32::from_bits(pair[0] | pair[1] << 16)
            }
        };
        let right = panel(k, words(5));
        let down = panel(k, words(11));
        let along: Vec<Row> = (0..k.div_ceil(ROW_WORDS))
            .flat_map(|p| panel(word_rows(height), words(23 + 7919 * p)))
            .collect();
        let odd: Vec<u32> = (0..k as u32).filter(|k| k % 3 != 1).collect();
        for list in [None, Some(&odd)] {
            // SAFETY: the list ascends and stays below k.
            let nonzero = list.map(|list| unsafe { NonzeroIndices::new(list) });
            let first = 2;
            let lefts = [
                Left::Rows { panels: &along, height, first },
                Left::Columns { panel: &down, first },
            ];
            for left in lefts {
                for fresh in [true, false] {
                    for isa in Isa::available() {
                        let mut tile = [[Lanes([0.25; LANES]); 2]; MAX_TILE_ROWS];
                        let prefetch = Prefetch::NOTHING;
                        let product =
                            Product { left, right: &right, nonzero, rows, vectors, prefetch };
                        isa.word_product(product, fresh, &mut tile);
                        for i in 0..rows {
                            for j in 0..vectors * LANES {
                                let start = if fresh { 0.0 } else { 0.25 };
                                let want = (0..k)
                                    .filter(|&k| list.is_none_or(|list| list.contains(&(k as u32))))
                                    .fold(start, |sum, k| {
                                        let a = word(left, i, k);
                                        let a = [a as u16, (a >> 16) as u16];
                                        add(sum, a, halves_of(&right[k], j))
                                    });
                                let got = tile[i][j / LANES].0[j % LANES];
                                let same = got.to_bits() == want.to_bits();
                                assert!(
                                    same || got.is_nan() && want.is_nan(),
                                    "{} {rows}x{vectors}, k={k}, ({i}, {j}): {got:e}, not {want:e}",
                                    isa.name()
                                );
                            }
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn a_single_row_has_the_sums_of_a_tile() {
    let half = |seed: usize| bf16(number(seed));
    for k in [1_usize, 16, 53] {
        let along: Vec<Row> = (0..k.div_ceil(ROW_WORDS))
            .flat_map(|p| panel(1, |_, c| f32::from_bits(u32::from(half(c + 91 * p)) << 9)))
            .collect();
        let panels: [Vec<Row>; ROW_PANELS] =
            std::array::from_fn(|p| panel(k, |r, c| number(1009 * p + 37 * r + c)));
        let even: Vec<u32> = (0..k as u32).step_by(2).collect();
        for isa in Isa::available() {
            for list in [None, Some(&even)] {
                // SAFETY: the list ascends and stays below k.
                let nonzero = list.map(|list| unsafe { NonzeroIndices::new(list) });
                let mut got = [ZERO_ROW; ROW_PANELS];
                let right = std::array::from_fn(|p| panels[p].as_slice());
                isa.word_row_product(&along, right, nonzero, &mut got);
                for (right, got) in panels.iter().zip(&got) {
                    let left = Left::Rows { panels: &along, height: 1, first: 0 };
                    let (prefetch, mut tile) = (Prefetch::NOTHING, [ZERO_ROW; MAX_TILE_ROWS]);
                    let product = Product { left, right, nonzero, rows: 1, vectors: 2, prefetch };
                    isa.word_product(product, true, &mut tile);
                    let bits = |row: &Row| row.map(|lanes| lanes.0.map(f32::to_bits));
                    assert_eq!(bits(got), bits(&tile[0]), "{} k={k}", isa.name());
                }
            }
        }
    }
}

/// The instruction against the scalar model, for bits of every kind.
#[test]
fn random_bits_give_the_sums_of_the_instruction() {
    let mut state = 1_u64;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 32) as u32
    };
    for _ in 0..2000 {
        // A sum is never subnormal.
        let (x, start) = (next(), flushed(f32::from_bits(next())));
        let right = [[0, 1].map(|_| Lanes(std::array::from_fn(|_| f32::from_bits(next()))))];
        let left = [[Lanes([f32::from_bits(x); LANES]); 2]];
        for isa in Isa::available().into_iter().filter(|isa| isa.has_fma()) {
            let mut tile = [[Lanes([start; LANES]); 2]; MAX_TILE_ROWS];
            isa.word_product(
                Product {
                    left: Left::Columns { panel: &left, first: 0 },
                    right: &right,
                    nonzero: None,
                    rows: 1,
                    vectors: 2,
                    prefetch: Prefetch::NOTHING,
                },
                false,
                &mut tile,
            );
            for j in 0..WIDTH {
                let want = add(start, [x as u16, (x >> 16) as u16], halves_of(&right[0], j));
                let got = tile[0][j / LANES].0[j % LANES];
                assert!(
                    got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan(),
                    "{}: {start:e} + {x:x} {:x}: {got:e}, not {want:e}",
                    isa.name(),
                    right[0][j / LANES].0[j % LANES].to_bits()
                );
            }
        }
    }
}
