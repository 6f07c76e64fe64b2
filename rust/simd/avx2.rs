//! AVX2 with FMA: a vector is two registers.
#![allow(unsafe_code)]

use super::product::{Kernel, PairKernel, Prefetch, kernel_table, walk_k};
use super::segments::{Segment, SegmentKernel, segment_table, walk_segments};
use super::{Arithmetic, Isa, LANES, Lanes, Op, Row, Set, Simd, Tile, WIDTH};
use crate::simd::math::Formula;
use std::arch::x86_64::*;

pub(super) fn detected() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
}

/// Proof that the CPU has these features.
#[derive(Clone, Copy)]
pub(super) struct Avx2(());

#[inline]
pub(super) fn run<O: Op>(isa: Isa, op: O) -> O::Output {
    #[target_feature(enable = "avx2,fma")]
    fn inner<O: Op>(op: O) -> O::Output {
        op.run(Avx2(()))
    }
    assert!(isa.0 == Set::Avx2);
    // SAFETY: an `Isa` with this set exists only where `detected()` held.
    unsafe { inner(op) }
}

/// Every method is a few instructions whose only requirement is the CPU feature.
macro_rules! intrinsic {
    ($e:expr) => {
        // SAFETY: `self` is an `Avx2`, which exists only inside `run`, after detection; loads and stores go
        // through references to 64 bytes, aligned where the instruction requires it.
        unsafe { $e }
    };
}

/// Applies an instruction to both registers of a vector.
macro_rules! halves {
    ($f:path, $($x:expr),*) => { intrinsic!([$f($($x[0]),*), $f($($x[1]),*)]) };
}

impl Arithmetic for Avx2 {
    type F = [__m256; 2];
    type U = [__m256i; 2];
    type M = [__m256; 2];

    #[inline(always)]
    fn call<const I: usize, const O: usize, F: Formula<I, O>>(
        self,
        x: [Self::F; I],
    ) -> [Self::F; O] {
        #[inline(never)]
        #[target_feature(enable = "avx2,fma")]
        fn inner<const I: usize, const O: usize, F: Formula<I, O>>(
            x: [[__m256; 2]; I],
        ) -> [[__m256; 2]; O] {
            F::eval(Avx2(()), x)
        }
        intrinsic!(inner::<I, O, F>(x))
    }
    #[inline(always)]
    fn splat(self, x: f32) -> Self::F {
        intrinsic!([_mm256_set1_ps(x); 2])
    }
    #[inline(always)]
    fn add(self, a: Self::F, b: Self::F) -> Self::F {
        halves!(_mm256_add_ps, a, b)
    }
    #[inline(always)]
    fn sub(self, a: Self::F, b: Self::F) -> Self::F {
        halves!(_mm256_sub_ps, a, b)
    }
    #[inline(always)]
    fn mul(self, a: Self::F, b: Self::F) -> Self::F {
        halves!(_mm256_mul_ps, a, b)
    }
    #[inline(always)]
    fn div(self, a: Self::F, b: Self::F) -> Self::F {
        halves!(_mm256_div_ps, a, b)
    }
    #[inline(always)]
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        halves!(_mm256_fmadd_ps, a, b, c)
    }
    #[inline(always)]
    fn sqrt(self, a: Self::F) -> Self::F {
        halves!(_mm256_sqrt_ps, a)
    }
    #[inline(always)]
    fn min(self, a: Self::F, b: Self::F) -> Self::F {
        halves!(_mm256_min_ps, a, b)
    }
    #[inline(always)]
    fn max(self, a: Self::F, b: Self::F) -> Self::F {
        halves!(_mm256_max_ps, a, b)
    }
    #[inline(always)]
    fn round(self, a: Self::F) -> Self::F {
        halves!(_mm256_round_ps::<8>, a)
    }
    #[inline(always)]
    fn less(self, a: Self::F, b: Self::F) -> Self::M {
        halves!(_mm256_cmp_ps::<_CMP_LT_OQ>, a, b)
    }
    #[inline(always)]
    fn select(self, m: Self::M, a: Self::F, b: Self::F) -> Self::F {
        halves!(_mm256_blendv_ps, b, a, m)
    }
    #[inline(always)]
    fn to_bits(self, a: Self::F) -> Self::U {
        halves!(_mm256_castps_si256, a)
    }
    #[inline(always)]
    fn float_of(self, a: Self::U) -> Self::F {
        halves!(_mm256_castsi256_ps, a)
    }
    #[inline(always)]
    fn to_int(self, a: Self::F) -> Self::U {
        halves!(_mm256_cvtps_epi32, a)
    }
    #[inline(always)]
    fn to_float(self, a: Self::U) -> Self::F {
        halves!(_mm256_cvtepi32_ps, a)
    }
    #[inline(always)]
    fn splat_u(self, x: u32) -> Self::U {
        intrinsic!([_mm256_set1_epi32(x as i32); 2])
    }
    #[inline(always)]
    fn add_u(self, a: Self::U, b: Self::U) -> Self::U {
        halves!(_mm256_add_epi32, a, b)
    }
    #[inline(always)]
    fn mul_u(self, a: Self::U, b: Self::U) -> Self::U {
        halves!(_mm256_mullo_epi32, a, b)
    }
    #[inline(always)]
    fn max_u(self, a: Self::U, b: Self::U) -> Self::U {
        halves!(_mm256_max_epu32, a, b)
    }
    #[inline(always)]
    fn and_u(self, a: Self::U, b: Self::U) -> Self::U {
        halves!(_mm256_and_si256, a, b)
    }
    #[inline(always)]
    fn xor_u(self, a: Self::U, b: Self::U) -> Self::U {
        halves!(_mm256_xor_si256, a, b)
    }
    #[inline(always)]
    fn shl_u<const N: u32>(self, a: Self::U) -> Self::U {
        intrinsic!({
            let n = _mm_cvtsi32_si128(N as i32);
            [_mm256_sll_epi32(a[0], n), _mm256_sll_epi32(a[1], n)]
        })
    }
    #[inline(always)]
    fn shr_u<const N: u32>(self, a: Self::U) -> Self::U {
        intrinsic!({
            let n = _mm_cvtsi32_si128(N as i32);
            [_mm256_srl_epi32(a[0], n), _mm256_srl_epi32(a[1], n)]
        })
    }
}

impl Simd for Avx2 {
    #[inline(always)]
    fn load(self, from: &Lanes) -> Self::F {
        let p = from.0.as_ptr();
        intrinsic!([_mm256_load_ps(p), _mm256_load_ps(p.add(8))])
    }
    #[inline(always)]
    fn store(self, x: Self::F, to: &mut Lanes) {
        let p = to.0.as_mut_ptr();
        intrinsic!({
            _mm256_store_ps(p, x[0]);
            _mm256_store_ps(p.add(8), x[1]);
        })
    }
    #[inline(always)]
    fn nonzero(self, a: Self::F) -> u32 {
        intrinsic!({
            let half = |a| {
                let mask = _mm256_cmp_ps::<_CMP_NEQ_UQ>(a, _mm256_setzero_ps());
                _mm256_movemask_ps(mask) as u32
            };
            half(a[0]) | half(a[1]) << 8
        })
    }
    #[inline(always)]
    fn store_bytes(self, x: Self::U, to: &mut [u8; LANES]) {
        intrinsic!({
            let [a, b] = x.map(|x| {
                _mm_packus_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256::<1>(x))
            });
            _mm_storeu_si128(to.as_mut_ptr().cast(), _mm_packus_epi16(a, b));
        })
    }
    #[inline(always)]
    fn load_u(self, from: &[u32; LANES]) -> Self::U {
        let p: *const __m256i = from.as_ptr().cast();
        intrinsic!([_mm256_loadu_si256(p), _mm256_loadu_si256(p.add(1))])
    }
    #[inline(always)]
    fn pack(self, a: Self::U, b: Self::U) -> Self::U {
        intrinsic!([a, b].map(|[low, high]| {
            let halves =
                _mm256_packus_epi32(_mm256_srli_epi32::<16>(low), _mm256_srli_epi32::<16>(high));
            _mm256_permute4x64_epi64::<0xd8>(halves)
        }))
    }
    #[inline(always)]
    fn widening_mul(self, a: Self::U, b: u32) -> (Self::U, Self::U) {
        intrinsic!({
            let b = _mm256_set1_epi32(b as i32);
            let half = |a: __m256i| {
                let even = _mm256_mul_epu32(a, b);
                let odd = _mm256_mul_epu32(_mm256_srli_epi64::<32>(a), b);
                (
                    _mm256_blend_epi32::<0xaa>(_mm256_srli_epi64::<32>(even), odd),
                    _mm256_blend_epi32::<0xaa>(even, _mm256_slli_epi64::<32>(odd)),
                )
            };
            let (first, second) = (half(a[0]), half(a[1]));
            ([first.0, second.0], [first.1, second.1])
        })
    }
    #[inline(always)]
    fn sum(self, a: Self::F) -> f32 {
        intrinsic!(sum(_mm256_add_ps(a[0], a[1])))
    }
    #[inline(always)]
    fn largest(self, a: Self::F) -> f32 {
        intrinsic!(largest(_mm256_max_ps(a[0], a[1])))
    }
    #[inline(always)]
    fn transpose(self, r: [Self::F; 16]) -> [Self::F; 16] {
        // Four 8x8 blocks: each is transposed, and the two off the diagonal are exchanged.
        let mut out = r;
        for (to, from) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let block = std::array::from_fn(|i| r[8 * from + i][to]);
            let block = intrinsic!(transpose8(block));
            for i in 0..8 {
                out[8 * to + i][from] = block[i];
            }
        }
        out
    }
}

/// The sum of eight lanes by the tree of [`Simd::sum`].
///
/// # Safety
/// On a CPU for which `detected()` holds.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn sum(a: __m256) -> f32 {
    let a = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
    let a = _mm_add_ps(a, _mm_movehl_ps(a, a));
    _mm_cvtss_f32(_mm_add_ss(a, _mm_movehdup_ps(a)))
}

/// The largest of eight lanes.
///
/// # Safety
/// On a CPU for which `detected()` holds.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn largest(a: __m256) -> f32 {
    let a = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
    let a = _mm_max_ps(a, _mm_movehl_ps(a, a));
    _mm_cvtss_f32(_mm_max_ss(a, _mm_movehdup_ps(a)))
}

/// # Safety
/// On a CPU for which `detected()` holds.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn transpose8(r: [__m256; 8]) -> [__m256; 8] {
    let mut t = r;
    for i in 0..4 {
        t[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
    let mut q = t;
    for i in 0..2 {
        q[4 * i] = _mm256_shuffle_ps::<0x44>(t[4 * i], t[4 * i + 2]);
        q[4 * i + 1] = _mm256_shuffle_ps::<0xee>(t[4 * i], t[4 * i + 2]);
        q[4 * i + 2] = _mm256_shuffle_ps::<0x44>(t[4 * i + 1], t[4 * i + 3]);
        q[4 * i + 3] = _mm256_shuffle_ps::<0xee>(t[4 * i + 1], t[4 * i + 3]);
    }
    let mut out = q;
    for i in 0..4 {
        out[i] = _mm256_permute2f128_ps::<0x20>(q[i], q[i + 4]);
        out[i + 4] = _mm256_permute2f128_ps::<0x31>(q[i], q[i + 4]);
    }
    out
}

/// Rows of C in a tile: two blocks of six rows; a block of six rows and 16 columns fills the registers.
pub(super) const TILE_ROWS: usize = 12;
const BLOCK_ROWS: usize = 6;

pub(super) static KERNELS: [[[[Kernel; TILE_ROWS]; 2]; 2]; 2] =
    kernel_table!(kernel, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12);

/// See [`Kernel`]. Computes the tile's blocks one after the other.
///
/// # Safety
/// The contract of [`Kernel`], on a CPU for which `detected()` holds.
unsafe fn kernel<const ROWS: usize, const VECTORS: usize, const COLUMNS: bool, const LIST: bool>(
    count: usize,
    list: *const u32,
    a: *const f32,
    jump: usize,
    b: *const f32,
    prefetch: Prefetch,
    tile: *mut Tile,
) {
    let between_rows = if COLUMNS { 1 } else { WIDTH };
    let blocks = ROWS.div_ceil(BLOCK_ROWS);
    for v in 0..VECTORS {
        for n in 0..blocks {
            let (first, end) = (ROWS * n / blocks, ROWS * (n + 1) / blocks);
            let prefetch = if (v, n) == (0, 0) { prefetch } else { Prefetch::NOTHING };
            // SAFETY: rows `first..end` and columns `16 v..16 v + 16` of the caller's tile.
            unsafe {
                let a = a.add(first * between_rows);
                let b = b.add(v * LANES);
                let to = tile.cast::<Lanes>().add(2 * first + v);
                match end - first {
                    1 => block::<1, COLUMNS, LIST>(count, list, a, jump, b, prefetch, to),
                    2 => block::<2, COLUMNS, LIST>(count, list, a, jump, b, prefetch, to),
                    3 => block::<3, COLUMNS, LIST>(count, list, a, jump, b, prefetch, to),
                    4 => block::<4, COLUMNS, LIST>(count, list, a, jump, b, prefetch, to),
                    5 => block::<5, COLUMNS, LIST>(count, list, a, jump, b, prefetch, to),
                    _ => block::<6, COLUMNS, LIST>(count, list, a, jump, b, prefetch, to),
                }
            }
        }
    }
}

/// Accumulates `ROWS` x 16 products in registers over all k, and stores row i at `to` + 2 i vectors.
///
/// # Safety
/// As [`kernel`]; `to` points to a vector of a row of the tile, which has `ROWS` rows from there on.
#[target_feature(enable = "avx2,fma")]
unsafe fn block<const ROWS: usize, const COLUMNS: bool, const LIST: bool>(
    count: usize,
    list: *const u32,
    mut a: *const f32,
    jump: usize,
    mut b: *const f32,
    prefetch: Prefetch,
    to: *mut Lanes,
) {
    let between_rows = if COLUMNS { 1 } else { WIDTH };
    let mut acc = [[_mm256_setzero_ps(); 2]; ROWS];
    walk_k!(WIDTH, count, list, a, jump, b, prefetch, COLUMNS, LIST, {
        // SAFETY: the caller promises a row of B and the elements of A at every k.
        unsafe {
            let bv = [_mm256_load_ps(b), _mm256_load_ps(b.add(8))];
            for i in 0..ROWS {
                let x = _mm256_set1_ps(*a.add(i * between_rows));
                for h in 0..2 {
                    acc[i][h] = _mm256_fmadd_ps(x, bv[h], acc[i][h]);
                }
            }
        }
    });
    for i in 0..ROWS {
        // SAFETY: the caller promises `ROWS` rows at `to`.
        unsafe {
            let lanes = (*to.add(2 * i)).0.as_mut_ptr();
            _mm256_store_ps(lanes, acc[i][0]);
            _mm256_store_ps(lanes.add(8), acc[i][1]);
        }
    }
}

pub(super) static SEGMENTS: [[[SegmentKernel; TILE_ROWS]; 2]; 2] =
    segment_table!(segments, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12);

/// See [`SegmentKernel`]: the tile's blocks, one after the other.
///
/// # Safety
/// The contract of [`SegmentKernel`], on a CPU for which `detected()` holds.
unsafe fn segments<const ROWS: usize, const VECTORS: usize, const COLUMNS: bool>(
    segments: &[Segment],
    count: usize,
    a: *const f32,
    b: *const f32,
    strides: [usize; 2],
    fresh: bool,
    tile: *mut Tile,
) {
    let between_rows = if COLUMNS { 1 } else { WIDTH };
    let blocks = ROWS.div_ceil(BLOCK_ROWS);
    for v in 0..VECTORS {
        for n in 0..blocks {
            let (first, end) = (ROWS * n / blocks, ROWS * (n + 1) / blocks);
            // SAFETY: rows `first..end` and columns `16 v..16 v + 16` of the caller's tile.
            unsafe {
                let (a, b) = (a.wrapping_add(first * between_rows), b.wrapping_add(v * LANES));
                let to = tile.cast::<Lanes>().add(2 * first + v);
                match end - first {
                    1 => segment_block::<1, COLUMNS>(segments, count, a, b, strides, fresh, to),
                    2 => segment_block::<2, COLUMNS>(segments, count, a, b, strides, fresh, to),
                    3 => segment_block::<3, COLUMNS>(segments, count, a, b, strides, fresh, to),
                    4 => segment_block::<4, COLUMNS>(segments, count, a, b, strides, fresh, to),
                    5 => segment_block::<5, COLUMNS>(segments, count, a, b, strides, fresh, to),
                    _ => segment_block::<6, COLUMNS>(segments, count, a, b, strides, fresh, to),
                }
            }
        }
    }
}

/// `ROWS` x 16 accumulators, loaded from and stored at `to` and every second vector after it.
///
/// # Safety
/// As [`segments`]; `to` is a vector of a row, and there are `ROWS` rows.
#[target_feature(enable = "avx2,fma")]
unsafe fn segment_block<const ROWS: usize, const COLUMNS: bool>(
    segments: &[Segment],
    count: usize,
    a: *const f32,
    b: *const f32,
    strides: [usize; 2],
    fresh: bool,
    to: *mut Lanes,
) {
    let between_rows = if COLUMNS { 1 } else { WIDTH };
    let mut acc = [[_mm256_setzero_ps(); 2]; ROWS];
    if !fresh {
        for i in 0..ROWS {
            // SAFETY: the caller promises `ROWS` rows at `to`.
            unsafe {
                let lanes = (*to.add(2 * i)).0.as_ptr();
                acc[i] = [_mm256_load_ps(lanes), _mm256_load_ps(lanes.add(8))];
            }
        }
    }
    walk_segments!(segments, count, a, b, strides, ROWS, COLUMNS, x, y, {
        // SAFETY: the caller promises a row of B and the elements of A at every k.
        unsafe {
            let bv = [_mm256_load_ps(y), _mm256_load_ps(y.add(8))];
            for i in 0..ROWS {
                let x = _mm256_set1_ps(*x.add(i * between_rows));
                for h in 0..2 {
                    acc[i][h] = _mm256_fmadd_ps(x, bv[h], acc[i][h]);
                }
            }
        }
    });
    for i in 0..ROWS {
        // SAFETY: the caller promises `ROWS` rows at `to`.
        unsafe {
            let lanes = (*to.add(2 * i)).0.as_mut_ptr();
            _mm256_store_ps(lanes, acc[i][0]);
            _mm256_store_ps(lanes.add(8), acc[i][1]);
        }
    }
}

pub(super) static PAIRS: [PairKernel; 2] = [pair::<false>, pair::<true>];

/// See [`PairKernel`].
///
/// # Safety
/// The contract of [`PairKernel`], on a CPU for which `detected()` holds.
#[target_feature(enable = "avx2,fma")]
unsafe fn pair<const LIST: bool>(
    count: usize,
    list: *const u32,
    a: *const f32,
    b: [*const f32; 2],
    to: &mut [Row; 2],
) {
    let mut acc = [[_mm256_setzero_ps(); 4]; 2];
    for n in 0..count {
        // SAFETY: the caller promises the entries of the list, and A and B at each k.
        unsafe {
            let k = if LIST { *list.add(n) as usize } else { n };
            let x = _mm256_set1_ps(*a.add(k));
            for p in 0..2 {
                for h in 0..4 {
                    let bv = _mm256_load_ps(b[p].add(k * WIDTH + h * 8));
                    acc[p][h] = _mm256_fmadd_ps(x, bv, acc[p][h]);
                }
            }
        }
    }
    for (lanes, sums) in to.iter_mut().flatten().zip(acc.as_flattened().chunks(2)) {
        // SAFETY: 64 aligned bytes.
        unsafe {
            _mm256_store_ps(lanes.0.as_mut_ptr(), sums[0]);
            _mm256_store_ps(lanes.0.as_mut_ptr().add(8), sums[1]);
        }
    }
}
