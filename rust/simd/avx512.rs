//! AVX-512 (F, VL, BW, DQ): a vector is one register.
#![allow(unsafe_code)]

use super::product::{Kernel, PairKernel, Prefetch, kernel_table, walk_k};
use super::segments::{Segment, SegmentKernel, segment_table, walk_segments};
use super::words::{ROW_PANELS, WordKernel, WordRowKernel};
use super::{Arithmetic, Isa, LANES, Lanes, Op, ROW_WORDS, Row, Set, Simd, Tile, WIDTH};
use crate::simd::math::Formula;
use std::arch::x86_64::*;

pub(super) fn detected() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && super::avx2::detected()
}

/// Proof that the CPU has these features.
#[derive(Clone, Copy)]
pub(super) struct Avx512(());

#[inline]
pub(super) fn run<O: Op>(isa: Isa, op: O) -> O::Output {
    #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
    fn inner<O: Op>(op: O) -> O::Output {
        op.run(Avx512(()))
    }
    assert!(isa.0 == Set::Avx512);
    // SAFETY: an `Isa` with this set exists only where `detected()` held.
    unsafe { inner(op) }
}

/// Every method is one or a few instructions whose only requirement is the CPU feature.
macro_rules! intrinsic {
    ($e:expr) => {
        // SAFETY: `self` is an `Avx512`, which exists only inside `run`, after detection; loads and stores go
        // through references to 64 aligned bytes.
        unsafe { $e }
    };
}

impl Arithmetic for Avx512 {
    type F = __m512;
    type U = __m512i;
    type M = __mmask16;
    const CALLS: bool = false;

    #[inline(always)]
    fn call<const I: usize, const O: usize, F: Formula<I, O>>(
        self,
        x: [Self::F; I],
    ) -> [Self::F; O] {
        F::eval(self, x)
    }
    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        intrinsic!(_mm512_set1_ps(x))
    }
    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        intrinsic!(_mm512_add_ps(a, b))
    }
    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        intrinsic!(_mm512_sub_ps(a, b))
    }
    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        intrinsic!(_mm512_mul_ps(a, b))
    }
    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        intrinsic!(_mm512_div_ps(a, b))
    }
    #[inline(always)]
    fn fma(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        intrinsic!(_mm512_fmadd_ps(a, b, c))
    }
    #[inline(always)]
    fn sqrt(self, a: __m512) -> __m512 {
        intrinsic!(_mm512_sqrt_ps(a))
    }
    #[inline(always)]
    fn min(self, a: __m512, b: __m512) -> __m512 {
        intrinsic!(_mm512_min_ps(a, b))
    }
    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        intrinsic!(_mm512_max_ps(a, b))
    }
    #[inline(always)]
    fn round(self, a: __m512) -> __m512 {
        intrinsic!(_mm512_roundscale_ps::<8>(a))
    }
    #[inline(always)]
    fn less(self, a: __m512, b: __m512) -> __mmask16 {
        intrinsic!(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b))
    }
    #[inline(always)]
    fn select(self, m: __mmask16, a: __m512, b: __m512) -> __m512 {
        intrinsic!(_mm512_mask_blend_ps(m, b, a))
    }
    #[inline(always)]
    fn to_bits(self, a: __m512) -> __m512i {
        intrinsic!(_mm512_castps_si512(a))
    }
    #[inline(always)]
    fn float_of(self, a: __m512i) -> __m512 {
        intrinsic!(_mm512_castsi512_ps(a))
    }
    #[inline(always)]
    fn to_int(self, a: __m512) -> __m512i {
        intrinsic!(_mm512_cvtps_epi32(a))
    }
    #[inline(always)]
    fn to_float(self, a: __m512i) -> __m512 {
        intrinsic!(_mm512_cvtepi32_ps(a))
    }
    #[inline(always)]
    fn splat_u(self, x: u32) -> __m512i {
        intrinsic!(_mm512_set1_epi32(x as i32))
    }
    #[inline(always)]
    fn add_u(self, a: __m512i, b: __m512i) -> __m512i {
        intrinsic!(_mm512_add_epi32(a, b))
    }
    #[inline(always)]
    fn mul_u(self, a: __m512i, b: __m512i) -> __m512i {
        intrinsic!(_mm512_mullo_epi32(a, b))
    }
    #[inline(always)]
    fn max_u(self, a: __m512i, b: __m512i) -> __m512i {
        intrinsic!(_mm512_max_epu32(a, b))
    }
    #[inline(always)]
    fn and_u(self, a: __m512i, b: __m512i) -> __m512i {
        intrinsic!(_mm512_and_si512(a, b))
    }
    #[inline(always)]
    fn xor_u(self, a: __m512i, b: __m512i) -> __m512i {
        intrinsic!(_mm512_xor_si512(a, b))
    }
    #[inline(always)]
    fn shl_u<const N: u32>(self, a: __m512i) -> __m512i {
        intrinsic!(_mm512_slli_epi32::<N>(a))
    }
    #[inline(always)]
    fn shr_u<const N: u32>(self, a: __m512i) -> __m512i {
        intrinsic!(_mm512_srli_epi32::<N>(a))
    }
}

impl Simd for Avx512 {
    #[inline(always)]
    fn load(self, from: &Lanes) -> __m512 {
        intrinsic!(_mm512_load_ps(from.0.as_ptr()))
    }
    #[inline(always)]
    fn store(self, x: __m512, to: &mut Lanes) {
        intrinsic!(_mm512_store_ps(to.0.as_mut_ptr(), x))
    }
    #[inline(always)]
    fn nonzero(self, a: __m512) -> u32 {
        intrinsic!(u32::from(_mm512_cmp_ps_mask::<_CMP_NEQ_UQ>(a, _mm512_setzero_ps())))
    }
    #[inline(always)]
    fn store_bytes(self, x: Self::U, to: &mut [u8; LANES]) {
        intrinsic!(_mm_storeu_si128(to.as_mut_ptr().cast(), _mm512_cvtepi32_epi8(x)))
    }
    #[inline(always)]
    fn load_u(self, from: &[u32; LANES]) -> __m512i {
        intrinsic!(_mm512_loadu_si512(from.as_ptr().cast()))
    }
    #[inline(always)]
    fn pack(self, a: __m512i, b: __m512i) -> __m512i {
        const ODD: [u16; 32] = {
            let (mut odd, mut i) = ([0; 32], 0);
            while i < 32 {
                odd[i] = 2 * i as u16 + 1;
                i += 1;
            }
            odd
        };
        intrinsic!(_mm512_permutex2var_epi16(a, _mm512_loadu_si512(ODD.as_ptr().cast()), b))
    }
    #[inline(always)]
    fn widening_mul(self, a: __m512i, b: u32) -> (__m512i, __m512i) {
        intrinsic!({
            let b = _mm512_set1_epi32(b as i32);
            let even = _mm512_mul_epu32(a, b);
            let odd = _mm512_mul_epu32(_mm512_srli_epi64::<32>(a), b);
            let high = _mm512_mask_blend_epi32(0xaaaa, _mm512_srli_epi64::<32>(even), odd);
            let low = _mm512_mask_blend_epi32(0xaaaa, even, _mm512_slli_epi64::<32>(odd));
            (high, low)
        })
    }
    #[inline(always)]
    fn sum(self, a: __m512) -> f32 {
        intrinsic!({
            let halves = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps::<1>(a));
            super::avx2::sum(halves)
        })
    }
    #[inline(always)]
    fn largest(self, a: __m512) -> f32 {
        intrinsic!({
            let halves = _mm256_max_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps::<1>(a));
            super::avx2::largest(halves)
        })
    }
    #[inline(always)]
    fn transpose(self, r: [__m512; 16]) -> [__m512; 16] {
        intrinsic!({
            // Interleaves pairs of rows, then pairs of pairs, inside 128-bit blocks; then transposes the 4x4 blocks.
            let mut t = r;
            for i in 0..8 {
                t[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
                t[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
            }
            let mut q = t;
            for i in 0..4 {
                let [a, b, c, d] = [t[4 * i], t[4 * i + 1], t[4 * i + 2], t[4 * i + 3]]
                    .map(|x| _mm512_castps_pd(x));
                q[4 * i] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, c));
                q[4 * i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, c));
                q[4 * i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(b, d));
                q[4 * i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(b, d));
            }
            let mut s = q;
            for i in 0..4 {
                s[i] = _mm512_shuffle_f32x4::<0x88>(q[i], q[i + 4]);
                s[i + 4] = _mm512_shuffle_f32x4::<0xdd>(q[i], q[i + 4]);
                s[i + 8] = _mm512_shuffle_f32x4::<0x88>(q[i + 8], q[i + 12]);
                s[i + 12] = _mm512_shuffle_f32x4::<0xdd>(q[i + 8], q[i + 12]);
            }
            let mut out = s;
            for i in 0..4 {
                out[i] = _mm512_shuffle_f32x4::<0x88>(s[i], s[i + 8]);
                out[i + 8] = _mm512_shuffle_f32x4::<0xdd>(s[i], s[i + 8]);
                out[i + 4] = _mm512_shuffle_f32x4::<0x88>(s[i + 4], s[i + 12]);
                out[i + 12] = _mm512_shuffle_f32x4::<0xdd>(s[i + 4], s[i + 12]);
            }
            out
        })
    }
}

/// Rows of C in a tile, limited by the registers: 14 x 2 accumulators, two vectors of B, one broadcast of A.
pub(super) const TILE_ROWS: usize = 14;

pub(super) static KERNELS: [[[[Kernel; TILE_ROWS]; 2]; 2]; 2] =
    kernel_table!(kernel, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14);

/// See [`Kernel`]. The accumulators stay in registers over all of k.
///
/// # Safety
/// The contract of [`Kernel`], on a CPU for which `detected()` holds.
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
unsafe fn kernel<const ROWS: usize, const VECTORS: usize, const COLUMNS: bool, const LIST: bool>(
    count: usize,
    list: *const u32,
    mut a: *const f32,
    jump: usize,
    mut b: *const f32,
    prefetch: Prefetch,
    tile: *mut Tile,
) {
    let between_rows = if COLUMNS { 1 } else { WIDTH };
    let mut acc = [[_mm512_setzero_ps(); VECTORS]; ROWS];
    walk_k!(WIDTH, count, list, a, jump, b, prefetch, COLUMNS, LIST, {
        // SAFETY: the caller promises a row of B and the elements of A at every k.
        unsafe {
            let mut bv = [_mm512_setzero_ps(); VECTORS];
            for v in 0..VECTORS {
                bv[v] = _mm512_load_ps(b.add(v * LANES));
                _mm_prefetch::<_MM_HINT_T0>(b.wrapping_add(8 * WIDTH + v * LANES).cast());
            }
            for i in 0..ROWS {
                let x = _mm512_set1_ps(*a.add(i * between_rows));
                for v in 0..VECTORS {
                    acc[i][v] = _mm512_fmadd_ps(x, bv[v], acc[i][v]);
                }
            }
        }
    });
    // SAFETY: the caller's tile is valid for writes.
    let tile: &mut [Row; super::MAX_TILE_ROWS] = unsafe { &mut *tile };
    for i in 0..ROWS {
        for v in 0..VECTORS {
            // SAFETY: 64 aligned bytes.
            unsafe { _mm512_store_ps(tile[i][v].0.as_mut_ptr(), acc[i][v]) };
        }
    }
}

/// Whether the CPU has `vdpbf16ps`.
pub(super) fn multiplies_words() -> bool {
    is_x86_feature_detected!("avx512bf16")
}

/// `steps` of 24 independent chains of products of words, for [`crate::probe`].
///
/// # Safety
/// The CPU is one for which `detected()` and `multiplies_words()` hold.
#[cfg(feature = "probe")]
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx512bf16,avx2,fma")]
pub(super) unsafe fn word_chains(steps: usize) -> f32 {
    let mut chains = [_mm512_setzero_ps(); 24];
    let words = std::hint::black_box(_mm512_set1_ps(1e-3));
    for _ in 0..steps {
        for chain in &mut chains {
            *chain = _mm512_dpbf16_ps(*chain, self::words(words), self::words(words));
        }
    }
    chains.into_iter().map(|chain| _mm512_reduce_add_ps(chain)).sum()
}

pub(super) static WORD_KERNELS: [[[[WordKernel; TILE_ROWS]; 2]; 2]; 2] =
    kernel_table!(word_kernel, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14);

/// The same bits as words.
#[inline(always)]
fn words(x: __m512) -> __m512bh {
    // SAFETY: both are 512 bits without invalid values.
    unsafe { std::mem::transmute::<__m512, __m512bh>(x) }
}

/// See [`WordKernel`].
///
/// # Safety
/// The contract of [`WordKernel`], on a CPU for which `detected()` and `multiplies_words()` hold.
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx512bf16,avx2,fma")]
unsafe fn word_kernel<
    const ROWS: usize,
    const VECTORS: usize,
    const COLUMNS: bool,
    const LIST: bool,
>(
    count: usize,
    list: *const u32,
    mut a: *const f32,
    jump: usize,
    mut b: *const f32,
    (prefetch, fresh): (Prefetch, bool),
    tile: *mut Tile,
) {
    let between_rows = if COLUMNS { 1 } else { ROW_WORDS };
    // SAFETY: the caller's tile is valid for reads and writes.
    let tile: &mut [Row; super::MAX_TILE_ROWS] = unsafe { &mut *tile };
    let mut acc = [[_mm512_setzero_ps(); VECTORS]; ROWS];
    if !fresh {
        for i in 0..ROWS {
            for v in 0..VECTORS {
                // SAFETY: 64 aligned bytes.
                acc[i][v] = unsafe { _mm512_load_ps(tile[i][v].0.as_ptr()) };
            }
        }
    }
    walk_k!(ROW_WORDS, count, list, a, jump, b, prefetch, COLUMNS, LIST, {
        // SAFETY: the caller promises a row of B and the words of A at every k.
        unsafe {
            let mut bv = [_mm512_setzero_ps(); VECTORS];
            for v in 0..VECTORS {
                bv[v] = _mm512_load_ps(b.add(v * LANES));
                _mm_prefetch::<_MM_HINT_T0>(b.wrapping_add(8 * WIDTH + v * LANES).cast());
            }
            for i in 0..ROWS {
                let x = _mm512_set1_ps(*a.add(i * between_rows));
                for v in 0..VECTORS {
                    acc[i][v] = _mm512_dpbf16_ps(acc[i][v], words(x), words(bv[v]));
                }
            }
        }
    });
    for i in 0..ROWS {
        for v in 0..VECTORS {
            // SAFETY: 64 aligned bytes.
            unsafe { _mm512_store_ps(tile[i][v].0.as_mut_ptr(), acc[i][v]) };
        }
    }
}

pub(super) static WORD_ROW_KERNELS: [WordRowKernel; 2] = [word_row::<false>, word_row::<true>];

/// See [`WordRowKernel`].
///
/// # Safety
/// The contract of [`WordRowKernel`], on a CPU for which `detected()` and `multiplies_words()` hold.
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx512bf16,avx2,fma")]
unsafe fn word_row<const LIST: bool>(
    count: usize,
    list: *const u32,
    a: *const f32,
    b: [*const f32; ROW_PANELS],
    to: &mut [Row; ROW_PANELS],
) {
    let mut acc = [[_mm512_setzero_ps(); 2]; ROW_PANELS];
    for n in 0..count {
        // SAFETY: the caller promises the entries of the list, and A and B at each k.
        unsafe {
            let k = if LIST { *list.add(n) as usize } else { n };
            let x = words(_mm512_set1_ps(*a.add(k / ROW_WORDS * WIDTH + k % ROW_WORDS)));
            for p in 0..ROW_PANELS {
                for v in 0..2 {
                    let bv = words(_mm512_load_ps(b[p].add(k * WIDTH + v * LANES)));
                    acc[p][v] = _mm512_dpbf16_ps(acc[p][v], x, bv);
                }
            }
        }
    }
    for (lanes, sum) in to.iter_mut().flatten().zip(acc.as_flattened()) {
        // SAFETY: 64 aligned bytes.
        unsafe { _mm512_store_ps(lanes.0.as_mut_ptr(), *sum) };
    }
}

pub(super) static SEGMENTS: [[[SegmentKernel; TILE_ROWS]; 2]; 2] =
    segment_table!(segments, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14);

/// See [`SegmentKernel`].
///
/// # Safety
/// The contract of [`SegmentKernel`], on a CPU for which `detected()` holds.
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
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
    // SAFETY: the caller's tile is valid for reads and writes.
    let tile: &mut [Row; super::MAX_TILE_ROWS] = unsafe { &mut *tile };
    let mut acc = [[_mm512_setzero_ps(); VECTORS]; ROWS];
    if !fresh {
        for i in 0..ROWS {
            for v in 0..VECTORS {
                // SAFETY: 64 aligned bytes.
                acc[i][v] = unsafe { _mm512_load_ps(tile[i][v].0.as_ptr()) };
            }
        }
    }
    walk_segments!(segments, count, a, b, strides, ROWS, COLUMNS, x, y, {
        // SAFETY: the caller promises a row of B and the elements of A at every k.
        unsafe {
            let mut bv = [_mm512_setzero_ps(); VECTORS];
            for v in 0..VECTORS {
                bv[v] = _mm512_load_ps(y.add(v * LANES));
                _mm_prefetch::<_MM_HINT_T0>(y.wrapping_add(8 * WIDTH + v * LANES).cast());
            }
            for i in 0..ROWS {
                let x = _mm512_set1_ps(*x.add(i * between_rows));
                for v in 0..VECTORS {
                    acc[i][v] = _mm512_fmadd_ps(x, bv[v], acc[i][v]);
                }
            }
        }
    });
    for i in 0..ROWS {
        for v in 0..VECTORS {
            // SAFETY: 64 aligned bytes.
            unsafe { _mm512_store_ps(tile[i][v].0.as_mut_ptr(), acc[i][v]) };
        }
    }
}

pub(super) static WORD_SEGMENTS: [[[SegmentKernel; TILE_ROWS]; 2]; 2] =
    segment_table!(word_segments, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14);

/// See [`SegmentKernel`]: of words.
///
/// # Safety
/// The contract of [`SegmentKernel`], on a CPU for which `detected()` and `multiplies_words()` hold.
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx512bf16,avx2,fma")]
unsafe fn word_segments<const ROWS: usize, const VECTORS: usize, const COLUMNS: bool>(
    segments: &[Segment],
    count: usize,
    a: *const f32,
    b: *const f32,
    strides: [usize; 2],
    fresh: bool,
    tile: *mut Tile,
) {
    let between_rows = if COLUMNS { 1 } else { ROW_WORDS };
    // SAFETY: the caller's tile is valid for reads and writes.
    let tile: &mut [Row; super::MAX_TILE_ROWS] = unsafe { &mut *tile };
    let mut acc = [[_mm512_setzero_ps(); VECTORS]; ROWS];
    if !fresh {
        for i in 0..ROWS {
            for v in 0..VECTORS {
                // SAFETY: 64 aligned bytes.
                acc[i][v] = unsafe { _mm512_load_ps(tile[i][v].0.as_ptr()) };
            }
        }
    }
    walk_segments!(segments, count, a, b, strides, ROWS, COLUMNS, x, y, {
        // SAFETY: the caller promises a row of B and the words of A at every k.
        unsafe {
            let mut bv = [_mm512_setzero_ps(); VECTORS];
            for v in 0..VECTORS {
                bv[v] = _mm512_load_ps(y.add(v * LANES));
                _mm_prefetch::<_MM_HINT_T0>(y.wrapping_add(8 * WIDTH + v * LANES).cast());
            }
            for i in 0..ROWS {
                let x = _mm512_set1_ps(*x.add(i * between_rows));
                for v in 0..VECTORS {
                    acc[i][v] = _mm512_dpbf16_ps(acc[i][v], words(x), words(bv[v]));
                }
            }
        }
    });
    for i in 0..ROWS {
        for v in 0..VECTORS {
            // SAFETY: 64 aligned bytes.
            unsafe { _mm512_store_ps(tile[i][v].0.as_mut_ptr(), acc[i][v]) };
        }
    }
}

pub(super) static PAIRS: [PairKernel; 2] = [pair::<false>, pair::<true>];

/// See [`PairKernel`].
///
/// # Safety
/// The contract of [`PairKernel`], on a CPU for which `detected()` holds.
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
unsafe fn pair<const LIST: bool>(
    count: usize,
    list: *const u32,
    a: *const f32,
    b: [*const f32; 2],
    to: &mut [Row; 2],
) {
    let mut acc = [[_mm512_setzero_ps(); 2]; 2];
    for n in 0..count {
        // SAFETY: the caller promises the entries of the list, and A and B at each k.
        unsafe {
            let k = if LIST { *list.add(n) as usize } else { n };
            let x = _mm512_set1_ps(*a.add(k));
            for p in 0..2 {
                for v in 0..2 {
                    let bv = _mm512_load_ps(b[p].add(k * WIDTH + v * LANES));
                    acc[p][v] = _mm512_fmadd_ps(x, bv, acc[p][v]);
                }
            }
        }
    }
    for (lanes, sum) in to.iter_mut().flatten().zip(acc.as_flattened()) {
        // SAFETY: 64 aligned bytes.
        unsafe { _mm512_store_ps(lanes.0.as_mut_ptr(), *sum) };
    }
}
