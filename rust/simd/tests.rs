//! Tests of every instruction set: product kernels against naive sums, operations and formulas against plain loops.

#![allow(unsafe_code)]

use super::*;
use crate::matrix::{ColumnMap, RowMap, panels_of, to_panels};

/// Deterministic values with many signs and magnitudes.
fn value(i: usize) -> f32 {
    ((i.wrapping_mul(2_654_435_761) >> 7) % 2001) as f32 / 1000.0 - 1.0
}

fn panels(rows: usize, cols: usize, at: impl Fn(usize, usize) -> f32) -> Vec<Row> {
    if rows == 0 {
        return Vec::new();
    }
    let plain: Vec<f32> =
        (0..cols).flat_map(|j| (0..rows).map(move |i| (i, j))).map(|(i, j)| at(i, j)).collect();
    let mut out = vec![ZERO_ROW; panels_of(cols) * rows];
    to_panels(&plain, (rows, RowMap::Same), ColumnMap::From(0), rows, &mut out);
    out
}

/// The sum that the kernels compute: one accumulator, k ascending, fused.
fn naive(k: usize, a: impl Fn(usize) -> f32, b: impl Fn(usize) -> f32) -> f32 {
    (0..k).fold(0.0, |sum, k| a(k).mul_add(b(k), sum))
}

fn check(isa: Isa, rows: usize, vectors: usize, k: usize, identity: bool) {
    let (height, cols) = (rows + 3, vectors * LANES);
    let left = |i: usize, k: usize| match identity {
        true => f32::from(i == k),
        false => value(17 * i + 1009 * k),
    };
    let right = |k: usize, j: usize| value(31 * j + 7 * k + 5);
    let b = panels(k, WIDTH, right);
    let mut tile = [[Lanes([f32::NAN; LANES]); 2]; MAX_TILE_ROWS];
    for columns in [false, true] {
        let first = 2;
        let a = if columns {
            panels(k, WIDTH, |k, i| if i < first { 9.0 } else { left(i - first, k) })
        } else {
            panels(height, k, |i, k| if i < first { 9.0 } else { left(i - first, k) })
        };
        let left_operand = if columns {
            Left::Columns { panel: &a, first }
        } else {
            Left::Rows { panels: &a, height, first }
        };
        let all: Vec<u32> = (0..k as u32).collect();
        let odd: Vec<u32> = (0..k as u32).filter(|k| k % 3 != 1).collect();
        for list in [None, Some(&all), Some(&odd)] {
            // SAFETY: the lists ascend and stay below k.
            let nonzero = list.map(|list| unsafe { NonzeroIndices::new(list) });
            let prefetch = Prefetch::NOTHING;
            let product =
                Product { left: left_operand, right: &b, nonzero, rows, vectors, prefetch };
            isa.product(product, &mut tile);
            for i in 0..rows {
                for j in 0..cols {
                    let got = tile[i][j / LANES].0[j % LANES];
                    let factor = |k: usize| list.is_none_or(|list| list.contains(&(k as u32)));
                    let want =
                        naive(k, |k| if factor(k) { left(i, k) } else { 0.0 }, |k| right(k, j));
                    let case = format!(
                        "{} {rows}x{cols}, k={k}, columns={columns}, ({i}, {j})",
                        isa.name()
                    );
                    if isa.has_fma() {
                        assert_eq!(got.to_bits(), want.to_bits(), "{case}: {got}, not {want}");
                    } else {
                        assert!(
                            (got - want).abs() <= 1e-6 * (1.0 + k as f32),
                            "{case}: {got}, not {want}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn every_kernel_of_every_set_multiplies() {
    let sets = Isa::available();
    if let Ok(name) = std::env::var("FASTVAE_ISA") {
        assert!(sets.iter().any(|isa| isa.name() == name), "FASTVAE_ISA={name} is not available");
    }
    for isa in sets {
        for rows in 1..=isa.tile_rows() {
            for vectors in 1..=2 {
                check(isa, rows, vectors, rows, true);
                for k in (0..=12).chain([31, 32, 33, 37, 61, 64, 97, 131]) {
                    check(isa, rows, vectors, k, false);
                }
            }
        }
    }
}

#[test]
fn a_row_times_two_panels_is_that_row_times_each() {
    for isa in Isa::available() {
        for k in [0, 1, 31, 32, 33, 97] {
            let a = panels(1, k.max(1), |i, k| value(17 * i + 1009 * k));
            let b = [5, 6].map(|seed| panels(k, WIDTH, |k, j| value(31 * j + 7 * k + seed)));
            let odd: Vec<u32> = (0..k as u32).filter(|k| k % 3 != 1).collect();
            for list in [None, Some(&odd)] {
                // SAFETY: the list ascends and stays below k.
                let nonzero = list.map(|list| unsafe { NonzeroIndices::new(list) });
                let mut both = [[Lanes([f32::NAN; LANES]); 2]; 2];
                isa.pair_product(&a, [&b[0], &b[1]], nonzero, &mut both);
                for (right, both) in b.iter().zip(both) {
                    let mut tile = [ZERO_ROW; MAX_TILE_ROWS];
                    let (left, prefetch) =
                        (Left::Rows { panels: &a, height: 1, first: 0 }, Prefetch::NOTHING);
                    isa.product(
                        Product { left, right, nonzero, rows: 1, vectors: 2, prefetch },
                        &mut tile,
                    );
                    assert_eq!(both, tile[0], "{}, k={k}", isa.name());
                }
            }
        }
    }
}

#[test]
fn several_vectors_give_what_each_gives() {
    struct Exp<'a>(&'a [Lanes; 4]);
    impl Op for Exp<'_> {
        type Output = [[Lanes; 4]; 2];
        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> [[Lanes; 4]; 2] {
            let x = self.0.map(|lanes| s.load(&lanes));
            let store = |x| {
                let mut lanes = Lanes::default();
                s.store(x, &mut lanes);
                lanes
            };
            let together = crate::simd::math::sigmoid_softplus(Several::<S, 4>(s), x)[1];
            let alone = x.map(|x| crate::simd::math::sigmoid_softplus(s, x)[1]);
            [together.map(store), alone.map(store)]
        }
    }
    let x = std::array::from_fn(|i| Lanes(std::array::from_fn(|j| 20.0 * value(100 * i + j))));
    for isa in Isa::available() {
        let [together, alone] = isa.run(Exp(&x));
        assert_eq!(together, alone, "{}", isa.name());
    }
}

#[test]
fn a_missing_set_is_an_error() {
    assert!(Isa::named("sse9").is_err());
    for isa in Isa::available() {
        assert_eq!(Isa::named(isa.name()).unwrap(), isa);
    }
}

#[test]
fn transposes_and_lane_functions_agree_between_sets() {
    struct Everything<'a>(&'a [Lanes; 16]);
    impl Op for Everything<'_> {
        type Output = Vec<Lanes>;
        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> Vec<Lanes> {
            let rows = self.0.map(|lanes| s.load(&lanes));
            let [a, b, c] = [rows[0], rows[1], rows[2]];
            let mut results = s.transpose(rows).to_vec();
            let (high, low) = s.widening_mul(s.to_bits(a), 0xD251_1F53);
            results.extend([
                s.add(a, b),
                s.sub(a, b),
                s.mul(a, b),
                s.div(a, b),
                s.sqrt(s.abs(a)),
                s.min(a, b),
                s.max(a, b),
                s.round(s.mul(a, s.splat(10.0))),
                s.select(s.less(a, b), b, c),
                s.select(s.first(5), a, b),
                s.neg(a),
                s.to_float(s.shr_u::<9>(s.add_u(high, low))),
                s.to_float(s.shr_u::<12>(s.xor_u(high, s.shl_u::<3>(low)))),
                s.to_float(s.and_u(s.to_int(s.round(s.mul(a, s.splat(-1e3)))), s.splat_u(0xffff))),
                s.pow2(s.round(s.mul(a, s.splat(100.0)))),
                s.to_float(s.shr_u::<9>(s.mul_u(s.to_bits(a), s.to_bits(b)))),
                s.float_of(s.max_u(s.to_bits(a), s.to_bits(b))),
                s.splat(s.sum(b)),
                s.splat(s.largest(s.neg(b))),
            ]);
            let store = |x| {
                let mut lanes = Lanes::default();
                s.store(x, &mut lanes);
                lanes
            };
            results.into_iter().map(store).collect()
        }
    }
    let rows = std::array::from_fn(|i| Lanes(std::array::from_fn(|j| value(100 * i + j) + 1e-3)));
    let want = Everything(&rows).run(plain::Plain);
    for i in 0..16 {
        assert!((0..16).all(|j| want[i].0[j] == rows[j].0[i]), "transpose");
    }
    for isa in Isa::available() {
        let got = isa.run(Everything(&rows));
        for (n, (got, want)) in got.iter().zip(&want).enumerate() {
            // Adds zero, because the sets may differ in the sign of a zero.
            let bits = |x: &Lanes| x.0.map(|x| (x + 0.0).to_bits());
            assert_eq!(bits(got), bits(want), "{} operation {n}", isa.name());
        }
    }
}

#[test]
fn formulas_of_the_portable_set_have_the_bits_of_plain_loops() {
    struct Formulas<'a>(&'a Lanes);
    impl Op for Formulas<'_> {
        type Output = Vec<Lanes>;
        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> Vec<Lanes> {
            let x = s.load(self.0);
            let positive = s.abs(x);
            let turns = s.sub(positive, s.round(positive));
            let [a, b] = math::sigmoid_softplus(s, x);
            let [c, d] = math::normal_cdf_pdf(s, x);
            let [e, f] = math::cos_sin_turns(s, s.abs(turns));
            let ln = math::ln(s, positive);
            let results = [
                math::exp(s, x),
                ln,
                math::ln_1p_of(s, positive),
                math::stirling_remainder(s, positive, ln),
                math::digamma_remainder(s, positive),
                math::sigmoid(s, x),
                math::tanh(s, x),
                s.fma(x, positive, ln),
                a,
                b,
                c,
                d,
                e,
                f,
            ];
            let mut lanes = vec![Lanes::default(); results.len()];
            for (to, result) in lanes.iter_mut().zip(results) {
                s.store(result, to);
            }
            lanes
        }
    }
    for scale in [1e-3, 1.0, 30.0, 1e6] {
        for block in 0..200 {
            let x = Lanes(std::array::from_fn(|i| scale * value(100 * block + i) + 1e-6));
            let (got, want) = (Isa::portable().run(Formulas(&x)), Formulas(&x).run(plain::Plain));
            let bits = |x: &Lanes| x.0.map(f32::to_bits);
            assert!(got.iter().map(bits).eq(want.iter().map(bits)), "{x:?}");
        }
    }
}
