//! Products of bytes: unsigned left operands times signed weights, with exact sums in i32.
//!
//! Four consecutive k form a *quad*, 32 bits. A panel of weights [k, 32] is `ceil(k / 4)` rows of 32 quads, each with four
//! k of one column; a row of the left operand is its quads, one after the other. Missing k of the last quad are zero.
//!
//! The sums are exact for k up to [`MAX_INPUTS`], so every instruction set and every order of additions gives the same
//! bits: `vpdpbusd` of AVX-512 VNNI or AVX-VNNI; on AVX2 `vpmaddwd` of 16-bit operands (`vpmaddubsw` saturates at
//! 2^15); plain loops elsewhere.
#![allow(unsafe_code)]

use super::{Isa, NonzeroIndices, Row, Set, WIDTH};

/// The most k of a product: 255 · 127 · k stays below 2^31.
pub const MAX_INPUTS: usize = i32::MAX as usize / (255 * 127);

/// The most rows of a tile, of all instruction sets.
pub const MAX_BYTE_ROWS: usize = 6;

/// The most panels of a tile; only a tile of one row has more than two.
pub const MAX_BYTE_PANELS: usize = 6;

/// The sums of a tile, panel by panel, the rows of each; the bits of i32.
pub type ByteTile = [Row; 2 * MAX_BYTE_ROWS];

/// The product of one tile.
#[derive(Clone, Copy)]
pub struct ByteProduct<'a> {
    /// Row i of the left operand begins at `left[i * stride]`.
    pub left: &'a [u32],
    /// Quads from row to row.
    pub stride: usize,
    /// The number of rows.
    pub rows: usize,
    /// The panels of weights, of equal length.
    pub right: &'a [&'a [Row]],
    /// The quads in which a row is not zero; none for all.
    pub nonzero: Option<NonzeroIndices<'a>>,
}

/// `to[p * rows + i][j] = sum over quads q of the dot product of a[i * stride + q] and b[p][q][j]`, for `count` quads: those in
/// the list, or the first ones.
///
/// These elements must be readable, the rows of `b` 128 bytes each, 64-byte aligned.
type Kernel = unsafe fn(
    count: usize,
    list: *const u32,
    a: *const u32,
    stride: usize,
    b: &[*const Row; MAX_BYTE_PANELS],
    to: &mut ByteTile,
);

/// The kernels of a set, each without and with a list.
struct Kernels {
    /// For one row and one to six panels.
    row: [[Kernel; MAX_BYTE_PANELS]; 2],
    /// For one panel and one to six rows.
    one: [[Kernel; MAX_BYTE_ROWS]; 2],
    /// For two panels and one to six rows.
    two: [[Kernel; MAX_BYTE_ROWS]; 2],
}

macro_rules! kernels {
    ($kernel:ident) => {
        Kernels {
            row: [kernels!($kernel, false), kernels!($kernel, true)],
            one: [kernels!($kernel, 1, false), kernels!($kernel, 1, true)],
            two: [kernels!($kernel, 2, false), kernels!($kernel, 2, true)],
        }
    };
    ($kernel:ident, $list:literal) => {
        [
            $kernel::<1, 1, $list>,
            $kernel::<1, 2, $list>,
            $kernel::<1, 3, $list>,
            $kernel::<1, 4, $list>,
            $kernel::<1, 5, $list>,
            $kernel::<1, 6, $list>,
        ]
    };
    ($kernel:ident, $panels:literal, $list:literal) => {
        [
            $kernel::<1, $panels, $list>,
            $kernel::<2, $panels, $list>,
            $kernel::<3, $panels, $list>,
            $kernel::<4, $panels, $list>,
            $kernel::<5, $panels, $list>,
            $kernel::<6, $panels, $list>,
        ]
    };
}

/// How the CPU multiplies bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni,
    #[cfg(target_arch = "x86_64")]
    AvxVnni,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Portable,
}

impl Isa {
    /// The units of this set, the fastest first.
    #[cfg(test)]
    fn byte_units(self) -> Vec<Unit> {
        let units: &[(Unit, bool)] = match self.0 {
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => &[
                (Unit::Avx512Vnni, is_x86_feature_detected!("avx512vnni")),
                (Unit::AvxVnni, is_x86_feature_detected!("avxvnni")),
                (Unit::Avx2, true),
            ],
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => {
                &[(Unit::AvxVnni, is_x86_feature_detected!("avxvnni")), (Unit::Avx2, true)]
            }
            Set::Portable => &[(Unit::Portable, true)],
        };
        units.iter().filter(|(_, has)| *has).map(|(unit, _)| *unit).collect()
    }

    /// The instructions for products of bytes: `avx512_vnni`, `avx_vnni`, `avx2` or `portable`.
    pub fn byte_instructions(self) -> &'static str {
        match self.byte_unit() {
            #[cfg(target_arch = "x86_64")]
            Unit::Avx512Vnni => "avx512_vnni",
            #[cfg(target_arch = "x86_64")]
            Unit::AvxVnni => "avx_vnni",
            #[cfg(target_arch = "x86_64")]
            Unit::Avx2 => "avx2",
            Unit::Portable => "portable",
        }
    }

    fn byte_unit(self) -> Unit {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 if is_x86_feature_detected!("avx512vnni") => Unit::Avx512Vnni,
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 | Set::Avx2 if is_x86_feature_detected!("avxvnni") => Unit::AvxVnni,
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 | Set::Avx2 => Unit::Avx2,
            Set::Portable => Unit::Portable,
        }
    }

    /// Computes one tile.
    #[inline]
    pub fn byte_product(self, product: ByteProduct, to: &mut ByteTile) {
        byte_product(self.byte_unit(), product, to);
    }
}

fn byte_product(unit: Unit, product: ByteProduct, to: &mut ByteTile) {
    let ByteProduct { left, stride, rows, right, nonzero } = product;
    let quads = right[0].len();
    assert!((1..=MAX_BYTE_ROWS).contains(&rows) && right.iter().all(|b| b.len() == quads));
    assert!(left.len() >= (rows - 1) * stride + quads);
    let list = nonzero.map_or(&[][..], |nonzero| nonzero.0);
    assert!(list.last().is_none_or(|&last| (last as usize) < quads)); // it ascends
    let (count, listed) = match nonzero {
        Some(_) => (list.len(), 1),
        None => (quads, 0),
    };
    let kernels = match unit {
        #[cfg(target_arch = "x86_64")]
        Unit::Avx512Vnni => &AVX512_VNNI,
        #[cfg(target_arch = "x86_64")]
        Unit::AvxVnni => &AVX_VNNI,
        #[cfg(target_arch = "x86_64")]
        Unit::Avx2 => &AVX2,
        Unit::Portable => &PORTABLE,
    };
    let kernel = match (rows, right.len()) {
        (1, panels) => kernels.row[listed][panels - 1],
        (_, 1) => kernels.one[listed][rows - 1],
        (_, panels) => {
            assert!(panels == 2, "a tile of {rows} rows and {panels} panels");
            kernels.two[listed][rows - 1]
        }
    };
    let b = std::array::from_fn(|p| right.get(p).map_or(std::ptr::null(), |b| b.as_ptr()));
    // SAFETY: the CPU has the unit's instructions (`byte_units`, `byte_unit`); the asserts bound every quad.
    unsafe { kernel(count, list.as_ptr(), left.as_ptr(), stride, &b, to) };
}

/// The quad of step `n`.
///
/// # Safety
/// A list has more than `n` entries.
#[inline(always)]
unsafe fn quad<const LIST: bool>(list: *const u32, n: usize) -> usize {
    // SAFETY: the caller's promise.
    if LIST { unsafe { *list.add(n) as usize } } else { n }
}

static PORTABLE: Kernels = kernels!(portable);

/// See [`Kernel`].
///
/// # Safety
/// The contract of [`Kernel`].
unsafe fn portable<const ROWS: usize, const PANELS: usize, const LIST: bool>(
    count: usize,
    list: *const u32,
    a: *const u32,
    stride: usize,
    b: &[*const Row; MAX_BYTE_PANELS],
    to: &mut ByteTile,
) {
    for p in 0..PANELS {
        for i in 0..ROWS {
            let mut sums = [0_i32; WIDTH];
            for n in 0..count {
                // SAFETY: the caller promises the elements of each quad; four i8 have the size of a float.
                let (x, weights) = unsafe {
                    let q = quad::<LIST>(list, n);
                    (
                        (*a.add(i * stride + q)).to_le_bytes(),
                        &*b[p].add(q).cast::<[[i8; 4]; WIDTH]>(),
                    )
                };
                for (sum, w) in sums.iter_mut().zip(weights) {
                    for t in 0..4 {
                        *sum += i32::from(x[t]) * i32::from(w[t]);
                    }
                }
            }
            for (lanes, sums) in to[p * ROWS + i].iter_mut().zip(sums.as_chunks::<16>().0) {
                lanes.0 = sums.map(|sum| f32::from_bits(sum as u32));
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
use x86::{AVX_VNNI, AVX2, AVX512_VNNI};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{ByteTile, Kernels, MAX_BYTE_PANELS, MAX_BYTE_ROWS, Row, quad};
    use std::arch::x86_64::*;

    pub(super) static AVX512_VNNI: Kernels = kernels!(avx512_vnni);

    /// See [`Kernel`](super::Kernel). The sums stay in registers over all quads. The largest tile takes 29 of 32: 6 x 4 for
    /// sums, four for weights, one for a broadcast quad.
    ///
    /// # Safety
    /// The contract of [`Kernel`](super::Kernel), on a CPU with these features.
    #[target_feature(enable = "avx512f,avx512vnni")]
    unsafe fn avx512_vnni<const ROWS: usize, const PANELS: usize, const LIST: bool>(
        count: usize,
        list: *const u32,
        a: *const u32,
        stride: usize,
        b: &[*const Row; MAX_BYTE_PANELS],
        to: &mut ByteTile,
    ) {
        let mut acc = [[[_mm512_setzero_si512(); 2]; PANELS]; ROWS];
        for n in 0..count {
            // SAFETY: the caller promises the elements of each quad.
            unsafe {
                let q = quad::<LIST>(list, n);
                let mut weights = [[_mm512_setzero_si512(); 2]; PANELS];
                for p in 0..PANELS {
                    let row = b[p].add(q).cast::<__m512i>();
                    weights[p] = [_mm512_load_si512(row), _mm512_load_si512(row.add(1))];
                }
                for i in 0..ROWS {
                    let x = _mm512_set1_epi32((*a.add(i * stride + q)).cast_signed());
                    for p in 0..PANELS {
                        for v in 0..2 {
                            acc[i][p][v] = _mm512_dpbusd_epi32(acc[i][p][v], x, weights[p][v]);
                        }
                    }
                }
            }
        }
        for i in 0..ROWS {
            for p in 0..PANELS {
                for v in 0..2 {
                    // SAFETY: 64 aligned bytes.
                    unsafe {
                        _mm512_store_si512(to[p * ROWS + i][v].0.as_mut_ptr().cast(), acc[i][p][v])
                    };
                }
            }
        }
    }

    /// Kernels over vectors of 256 bits: sixteen columns at a time. `$weights` prepares a vector of weights, `$left` a
    /// broadcast quad, and `$dot` adds their dot products to the sums.
    macro_rules! narrow_kernel {
        ($name:ident, $features:literal, $weights:path, $left:path, $dot:path) => {
            /// See [`Kernel`](super::Kernel).
            ///
            /// # Safety
            /// The contract of [`Kernel`](super::Kernel), on a CPU with these features.
            #[target_feature(enable = $features)]
            unsafe fn $name<const ROWS: usize, const PANELS: usize, const LIST: bool>(
                count: usize,
                list: *const u32,
                a: *const u32,
                stride: usize,
                b: &[*const Row; MAX_BYTE_PANELS],
                to: &mut ByteTile,
            ) {
                const { assert!(ROWS <= MAX_BYTE_ROWS) };
                for p in 0..PANELS {
                    for half in 0..2 {
                        let mut acc = [[_mm256_setzero_si256(); 2]; ROWS];
                        for n in 0..count {
                            // SAFETY: the caller promises the elements of each quad.
                            unsafe {
                                let q = quad::<LIST>(list, n);
                                let row = b[p].add(q).cast::<__m256i>().add(2 * half);
                                let weights = [
                                    $weights(_mm256_load_si256(row)),
                                    $weights(_mm256_load_si256(row.add(1))),
                                ];
                                for i in 0..ROWS {
                                    let x = *a.add(i * stride + q);
                                    let x = $left(_mm256_set1_epi32(x.cast_signed()));
                                    for v in 0..2 {
                                        acc[i][v] = $dot(acc[i][v], x, weights[v]);
                                    }
                                }
                            }
                        }
                        for i in 0..ROWS {
                            let lanes = to[p * ROWS + i][half].0.as_mut_ptr().cast::<__m256i>();
                            // SAFETY: 64 aligned bytes.
                            unsafe {
                                _mm256_store_si256(lanes, acc[i][0]);
                                _mm256_store_si256(lanes.add(1), acc[i][1]);
                            }
                        }
                    }
                }
            }
        };
    }

    narrow_kernel!(avx_vnni, "avx2,avxvnni", same, same, _mm256_dpbusd_avx_epi32);
    narrow_kernel!(avx2, "avx2", signed_pairs, unsigned_pairs, madd);

    pub(super) static AVX_VNNI: Kernels = kernels!(avx_vnni);
    pub(super) static AVX2: Kernels = kernels!(avx2);

    #[target_feature(enable = "avx2")]
    #[inline]
    fn same(x: __m256i) -> __m256i {
        x
    }

    /// Bytes 0 and 2 of each quad, and bytes 1 and 3, as 16-bit numbers.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn signed_pairs(x: __m256i) -> [__m256i; 2] {
        [_mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(x)), _mm256_srai_epi16::<8>(x)]
    }

    /// As [`signed_pairs`], for unsigned bytes.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn unsigned_pairs(x: __m256i) -> [__m256i; 2] {
        [_mm256_and_si256(x, _mm256_set1_epi16(0xff)), _mm256_srli_epi16::<8>(x)]
    }

    /// `sum + a · b`, exact: a pair of products is at most 2 · 255 · 128.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn madd(sum: __m256i, a: [__m256i; 2], b: [__m256i; 2]) -> __m256i {
        let [even, odd] = [_mm256_madd_epi16(a[0], b[0]), _mm256_madd_epi16(a[1], b[1])];
        _mm256_add_epi32(sum, _mm256_add_epi32(even, odd))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::ZERO_ROW;

    /// The kinds of numbers of a test: pseudo-random, or the extremes that give the largest sums.
    #[derive(Clone, Copy, Debug)]
    enum Numbers {
        Random,
        Largest,
        Smallest,
        Alternating,
    }

    impl Numbers {
        fn left(self, i: usize, k: usize) -> u8 {
            match self {
                Numbers::Random => ((17 * i + 1009 * k).wrapping_mul(2_654_435_761) >> 9) as u8,
                _ => 255,
            }
        }

        fn right(self, k: usize, j: usize) -> i8 {
            match self {
                Numbers::Random => {
                    (((31 * j + 7 * k + 5).wrapping_mul(2_654_435_761) >> 11) % 255) as i8
                }
                Numbers::Largest => 127,
                Numbers::Smallest => -127,
                Numbers::Alternating => {
                    if (k + j).is_multiple_of(2) {
                        127
                    } else {
                        -127
                    }
                }
            }
        }
    }

    fn panel(numbers: Numbers, inputs: usize, first: usize) -> Vec<Row> {
        let mut rows = vec![ZERO_ROW; inputs.div_ceil(4)];
        for (q, row) in rows.iter_mut().enumerate() {
            for j in 0..WIDTH {
                let quad = std::array::from_fn(|t| match 4 * q + t < inputs {
                    true => numbers.right(4 * q + t, first + j) as u8,
                    false => 0,
                });
                row[j / 16].0[j % 16] = f32::from_bits(u32::from_le_bytes(quad));
            }
        }
        rows
    }

    fn check(unit: Unit, numbers: Numbers, rows: usize, panels: usize, inputs: usize) {
        let quads = inputs.div_ceil(4);
        let stride = quads + 3;
        let mut left = vec![0x7777_7777; rows * stride];
        for i in 0..rows {
            for q in 0..quads {
                let quad = |t| if 4 * q + t < inputs { numbers.left(i, 4 * q + t) } else { 0 };
                left[i * stride + q] = u32::from_le_bytes(std::array::from_fn(quad));
            }
        }
        let weights: Vec<_> = (0..panels).map(|p| panel(numbers, inputs, p * WIDTH)).collect();
        let right: Vec<&[Row]> = weights.iter().map(Vec::as_slice).collect();
        let some: Vec<u32> = (0..quads as u32).filter(|q| q % 3 != 1).collect();
        for list in [None, Some(&some[..])] {
            // SAFETY: the list ascends and stays below the number of quads.
            let nonzero = list.map(|list| unsafe { NonzeroIndices::new(list) });
            let mut tile = [ZERO_ROW; _];
            let product = ByteProduct { left: &left, stride, rows, right: &right, nonzero };
            byte_product(unit, product, &mut tile);
            for (i, j) in (0..rows).flat_map(|i| (0..panels * WIDTH).map(move |j| (i, j))) {
                let factor = |k: &usize| list.is_none_or(|list| list.contains(&(*k as u32 / 4)));
                let term = |k| i64::from(numbers.left(i, k)) * i64::from(numbers.right(k, j));
                let want: i64 = (0..inputs).filter(factor).map(term).sum();
                let got =
                    tile[j / WIDTH * rows + i][j % WIDTH / 16].0[j % 16].to_bits().cast_signed();
                assert_eq!(
                    i64::from(got),
                    want,
                    "{unit:?} {numbers:?} {rows} x {panels}, {inputs} inputs, ({i}, {j})"
                );
            }
        }
    }

    fn units() -> Vec<Unit> {
        let mut units: Vec<_> = Isa::available().into_iter().flat_map(Isa::byte_units).collect();
        units.dedup();
        units
    }

    #[test]
    fn every_kernel_gives_the_exact_sums() {
        assert!(units().contains(&Unit::Portable));
        for unit in units() {
            let tiles = (1..=6).flat_map(|n| [(n, 1), (n, 2), (1, n)]);
            for (rows, panels) in tiles {
                for inputs in [1, 2, 3, 4, 5, 31, 33, 97] {
                    check(unit, Numbers::Random, rows, panels, inputs);
                }
                for numbers in [Numbers::Largest, Numbers::Smallest, Numbers::Alternating] {
                    check(unit, numbers, rows, panels, 129);
                }
            }
        }
    }

    #[test]
    fn the_longest_sums_of_the_largest_products_do_not_overflow() {
        assert_eq!(MAX_INPUTS, 66_311);
        for unit in units() {
            for numbers in [Numbers::Largest, Numbers::Smallest] {
                check_long(unit, numbers);
            }
        }
    }

    /// As `check`, with few comparisons.
    fn check_long(unit: Unit, numbers: Numbers) {
        let weights = panel(numbers, MAX_INPUTS, 0);
        let mut left = vec![u32::MAX; weights.len()];
        *left.last_mut().unwrap() &= u32::MAX >> (8 * (4 * weights.len() - MAX_INPUTS));
        let mut tile = [ZERO_ROW; _];
        let (stride, right) = (left.len(), [&weights[..]]);
        let product = ByteProduct { left: &left, stride, rows: 1, right: &right, nonzero: None };
        byte_product(unit, product, &mut tile);
        let want = MAX_INPUTS as i64 * 255 * i64::from(numbers.right(0, 0));
        let got = tile[0][1].0[7].to_bits().cast_signed();
        assert_eq!(i64::from(got), want, "{unit:?}");
    }

    #[test]
    fn the_unit_in_use_is_the_first_of_its_set() {
        for isa in Isa::available() {
            assert_eq!(isa.byte_unit(), isa.byte_units()[0], "{}", isa.byte_instructions());
        }
    }
}
