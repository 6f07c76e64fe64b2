//! The portable set on x86-64: SSE2, which every such CPU has; a vector is four registers. The operations are those of
//! the plain loops in `super::plain`, written with intrinsics because vectorising the loops takes ten times as much
//! code to compile.
#![allow(unsafe_code)]

use super::portable::call;
use super::{Arithmetic, LANES, Lanes, Simd};
use crate::simd::math::Formula;
use std::arch::x86_64::*;

/// SSE2, which needs no detection on x86-64.
#[derive(Clone, Copy)]
pub(super) struct Sse2;

/// Every method is a few instructions that every x86-64 CPU has.
macro_rules! intrinsic {
    ($e:expr) => {
        // SAFETY: SSE2 is part of x86-64; loads and stores go through references to 64 bytes, aligned where the
        // instruction requires it.
        unsafe { $e }
    };
}

/// Applies an instruction to the four registers of a vector.
macro_rules! quarters {
    ($f:path, $($x:expr),*) => {
        intrinsic!([$f($($x[0]),*), $f($($x[1]),*), $f($($x[2]),*), $f($($x[3]),*)])
    };
}

impl Arithmetic for Sse2 {
    type F = [__m128; 4];
    type U = [__m128i; 4];
    type M = [__m128; 4];
    const WIDE: bool = false;

    #[inline(always)]
    fn apply<const I: usize, const O: usize, F: Formula<I, O>>(
        self,
        x: [Self::F; I],
    ) -> [Self::F; O] {
        call::<Sse2, I, O, F>(self, x)
    }
    #[inline(always)]
    fn call<const I: usize, const O: usize, F: Formula<I, O>>(
        self,
        x: [Self::F; I],
    ) -> [Self::F; O] {
        call::<Sse2, I, O, F>(self, x)
    }
    #[inline(always)]
    fn splat(self, x: f32) -> Self::F {
        intrinsic!([_mm_set1_ps(x); 4])
    }
    #[inline(always)]
    fn add(self, a: Self::F, b: Self::F) -> Self::F {
        quarters!(_mm_add_ps, a, b)
    }
    #[inline(always)]
    fn sub(self, a: Self::F, b: Self::F) -> Self::F {
        quarters!(_mm_sub_ps, a, b)
    }
    #[inline(always)]
    fn mul(self, a: Self::F, b: Self::F) -> Self::F {
        quarters!(_mm_mul_ps, a, b)
    }
    #[inline(always)]
    fn div(self, a: Self::F, b: Self::F) -> Self::F {
        quarters!(_mm_div_ps, a, b)
    }
    #[inline(always)]
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        if cfg!(target_feature = "fma") {
            return quarters!(_mm_fmadd_ps, a, b, c);
        }
        self.add(self.mul(a, b), c)
    }
    #[inline(always)]
    fn sqrt(self, a: Self::F) -> Self::F {
        quarters!(_mm_sqrt_ps, a)
    }
    #[inline(always)]
    fn min(self, a: Self::F, b: Self::F) -> Self::F {
        quarters!(_mm_min_ps, a, b)
    }
    #[inline(always)]
    fn max(self, a: Self::F, b: Self::F) -> Self::F {
        quarters!(_mm_max_ps, a, b)
    }
    #[inline(always)]
    fn round(self, a: Self::F) -> Self::F {
        // Adding 1.5 * 2^23 pushes the fraction out of the mantissa, rounding to even.
        let shift = self.splat(12_582_912.0);
        self.sub(self.add(a, shift), shift)
    }
    #[inline(always)]
    fn less(self, a: Self::F, b: Self::F) -> Self::M {
        quarters!(_mm_cmplt_ps, a, b)
    }
    #[inline(always)]
    fn select(self, m: Self::M, a: Self::F, b: Self::F) -> Self::F {
        let (a, b) = (quarters!(_mm_and_ps, m, a), quarters!(_mm_andnot_ps, m, b));
        quarters!(_mm_or_ps, a, b)
    }
    #[inline(always)]
    fn to_bits(self, a: Self::F) -> Self::U {
        quarters!(_mm_castps_si128, a)
    }
    #[inline(always)]
    fn float_of(self, a: Self::U) -> Self::F {
        quarters!(_mm_castsi128_ps, a)
    }
    #[inline(always)]
    fn to_int(self, a: Self::F) -> Self::U {
        quarters!(_mm_cvttps_epi32, a)
    }
    #[inline(always)]
    fn to_float(self, a: Self::U) -> Self::F {
        quarters!(_mm_cvtepi32_ps, a)
    }
    #[inline(always)]
    fn splat_u(self, x: u32) -> Self::U {
        intrinsic!([_mm_set1_epi32(x as i32); 4])
    }
    #[inline(always)]
    fn add_u(self, a: Self::U, b: Self::U) -> Self::U {
        quarters!(_mm_add_epi32, a, b)
    }
    #[inline(always)]
    fn mul_u(self, a: Self::U, b: Self::U) -> Self::U {
        [mul_u(a[0], b[0]), mul_u(a[1], b[1]), mul_u(a[2], b[2]), mul_u(a[3], b[3])]
    }
    #[inline(always)]
    fn max_u(self, a: Self::U, b: Self::U) -> Self::U {
        [max_u(a[0], b[0]), max_u(a[1], b[1]), max_u(a[2], b[2]), max_u(a[3], b[3])]
    }
    #[inline(always)]
    fn and_u(self, a: Self::U, b: Self::U) -> Self::U {
        quarters!(_mm_and_si128, a, b)
    }
    #[inline(always)]
    fn xor_u(self, a: Self::U, b: Self::U) -> Self::U {
        quarters!(_mm_xor_si128, a, b)
    }
    #[inline(always)]
    fn shl_u<const N: u32>(self, a: Self::U) -> Self::U {
        let n = intrinsic!([_mm_cvtsi32_si128(N as i32); 4]);
        quarters!(_mm_sll_epi32, a, n)
    }
    #[inline(always)]
    fn shr_u<const N: u32>(self, a: Self::U) -> Self::U {
        let n = intrinsic!([_mm_cvtsi32_si128(N as i32); 4]);
        quarters!(_mm_srl_epi32, a, n)
    }
}

impl Simd for Sse2 {
    #[inline(always)]
    fn load(self, from: &Lanes) -> Self::F {
        let p = from.0.as_ptr();
        intrinsic!([
            _mm_load_ps(p),
            _mm_load_ps(p.add(4)),
            _mm_load_ps(p.add(8)),
            _mm_load_ps(p.add(12))
        ])
    }
    #[inline(always)]
    fn store(self, x: Self::F, to: &mut Lanes) {
        let p = to.0.as_mut_ptr();
        intrinsic!({
            _mm_store_ps(p, x[0]);
            _mm_store_ps(p.add(4), x[1]);
            _mm_store_ps(p.add(8), x[2]);
            _mm_store_ps(p.add(12), x[3]);
        })
    }
    #[inline(always)]
    fn store_bytes(self, x: Self::U, to: &mut [u8; LANES]) {
        intrinsic!({
            let (a, b) = (_mm_packs_epi32(x[0], x[1]), _mm_packs_epi32(x[2], x[3]));
            _mm_storeu_si128(to.as_mut_ptr().cast(), _mm_packus_epi16(a, b));
        })
    }
    #[inline(always)]
    fn load_u(self, from: &[u32; LANES]) -> Self::U {
        let p: *const __m128i = from.as_ptr().cast();
        intrinsic!([
            _mm_loadu_si128(p),
            _mm_loadu_si128(p.add(1)),
            _mm_loadu_si128(p.add(2)),
            _mm_loadu_si128(p.add(3))
        ])
    }
    #[inline(always)]
    fn nonzero(self, a: Self::F) -> u32 {
        let off = quarters!(_mm_cmpneq_ps, a, self.zero());
        let [a, b, c, d] = quarters!(_mm_movemask_ps, off);
        (a | b << 4 | c << 8 | d << 12) as u32
    }
    #[inline(always)]
    fn sum(self, [a, b, c, d]: Self::F) -> f32 {
        intrinsic!({
            let a = _mm_add_ps(_mm_add_ps(a, c), _mm_add_ps(b, d));
            let a = _mm_add_ps(a, _mm_movehl_ps(a, a));
            _mm_cvtss_f32(_mm_add_ss(a, _mm_shuffle_ps::<1>(a, a)))
        })
    }
    #[inline(always)]
    fn largest(self, [a, b, c, d]: Self::F) -> f32 {
        intrinsic!({
            let a = _mm_max_ps(_mm_max_ps(a, c), _mm_max_ps(b, d));
            let a = _mm_max_ps(a, _mm_movehl_ps(a, a));
            _mm_cvtss_f32(_mm_max_ss(a, _mm_shuffle_ps::<1>(a, a)))
        })
    }
    #[inline(always)]
    fn transpose(self, r: [Self::F; 16]) -> [Self::F; 16] {
        // Sixteen 4x4 blocks: each is transposed, and blocks off the diagonal are exchanged.
        let mut out = r;
        for to in 0..4 {
            for from in 0..4 {
                let [mut a, mut b, mut c, mut d] = [0, 1, 2, 3].map(|i| r[4 * from + i][to]);
                intrinsic!(_MM_TRANSPOSE4_PS(&mut a, &mut b, &mut c, &mut d));
                for (i, row) in [a, b, c, d].into_iter().enumerate() {
                    out[4 * to + i][from] = row;
                }
            }
        }
        out
    }
    #[inline(always)]
    fn pack(self, a: Self::U, b: Self::U) -> Self::U {
        // An arithmetic shift leaves numbers of 16 bits, which do not saturate.
        let pair =
            |a, b| intrinsic!(_mm_packs_epi32(_mm_srai_epi32::<16>(a), _mm_srai_epi32::<16>(b)));
        [pair(a[0], a[1]), pair(a[2], a[3]), pair(b[0], b[1]), pair(b[2], b[3])]
    }
    #[inline(always)]
    fn widening_mul(self, a: Self::U, b: u32) -> (Self::U, Self::U) {
        let (mut high, mut low) = (a, a);
        for i in 0..4 {
            (high[i], low[i]) = intrinsic!(widening_mul(a[i], _mm_set1_epi32(b as i32)));
        }
        (high, low)
    }
}

/// The low 32 bits of the products.
#[inline(always)]
fn mul_u(a: __m128i, b: __m128i) -> __m128i {
    widening_mul(a, b).1
}

/// The high and low 32 bits of the products.
#[inline(always)]
fn widening_mul(a: __m128i, b: __m128i) -> (__m128i, __m128i) {
    intrinsic!({
        let even = _mm_mul_epu32(a, b);
        let odd = _mm_mul_epu32(_mm_srli_epi64::<32>(a), _mm_srli_epi64::<32>(b));
        // The odd products go to the upper 32 bits of each 64.
        let upper = _mm_set1_epi64x(0xffff_ffff_0000_0000_u64 as i64);
        let high = _mm_or_si128(_mm_srli_epi64::<32>(even), _mm_and_si128(odd, upper));
        let low = _mm_or_si128(_mm_andnot_si128(upper, even), _mm_slli_epi64::<32>(odd));
        (high, low)
    })
}

/// The larger of unsigned integers. SSE2 compares signed integers only, so the sign bits are flipped.
#[inline(always)]
fn max_u(a: __m128i, b: __m128i) -> __m128i {
    intrinsic!({
        let sign = _mm_set1_epi32(i32::MIN);
        let larger = _mm_cmpgt_epi32(_mm_xor_si128(a, sign), _mm_xor_si128(b, sign));
        _mm_or_si128(_mm_and_si128(larger, a), _mm_andnot_si128(larger, b))
    })
}
