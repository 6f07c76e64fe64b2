//! The portable set as plain loops over sixteen lanes; on x86-64 only a reference for tests of `super::sse2`.

use super::portable::{call, fma};
use super::{Arithmetic, LANES, Lanes, Simd};
use crate::simd::math::Formula;

/// The portable set, which needs no CPU feature.
#[derive(Clone, Copy)]
pub(super) struct Plain;

#[inline(always)]
fn each<T: Copy, R>(f: impl Fn(T) -> R, a: [T; LANES]) -> [R; LANES] {
    std::array::from_fn(|i| f(a[i]))
}

#[inline(always)]
fn both<T: Copy, R>(f: impl Fn(T, T) -> R, a: [T; LANES], b: [T; LANES]) -> [R; LANES] {
    std::array::from_fn(|i| f(a[i], b[i]))
}

impl Arithmetic for Plain {
    type F = [f32; LANES];
    type U = [u32; LANES];
    type M = [bool; LANES];
    const WIDE: bool = false;

    #[inline(always)]
    fn apply<const I: usize, const O: usize, F: Formula<I, O>>(
        self,
        x: [Self::F; I],
    ) -> [Self::F; O] {
        call::<Plain, I, O, F>(self, x)
    }
    #[inline(always)]
    fn call<const I: usize, const O: usize, F: Formula<I, O>>(
        self,
        x: [Self::F; I],
    ) -> [Self::F; O] {
        call::<Plain, I, O, F>(self, x)
    }
    #[inline(always)]
    fn splat(self, x: f32) -> Self::F {
        [x; LANES]
    }
    #[inline(always)]
    fn add(self, a: Self::F, b: Self::F) -> Self::F {
        both(|a, b| a + b, a, b)
    }
    #[inline(always)]
    fn sub(self, a: Self::F, b: Self::F) -> Self::F {
        both(|a, b| a - b, a, b)
    }
    #[inline(always)]
    fn mul(self, a: Self::F, b: Self::F) -> Self::F {
        both(|a, b| a * b, a, b)
    }
    #[inline(always)]
    fn div(self, a: Self::F, b: Self::F) -> Self::F {
        both(|a, b| a / b, a, b)
    }
    #[inline(always)]
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        std::array::from_fn(|i| fma(a[i], b[i], c[i]))
    }
    #[inline(always)]
    fn sqrt(self, a: Self::F) -> Self::F {
        each(f32::sqrt, a)
    }
    #[inline(always)]
    fn min(self, a: Self::F, b: Self::F) -> Self::F {
        both(|a, b| if a < b { a } else { b }, a, b)
    }
    #[inline(always)]
    fn max(self, a: Self::F, b: Self::F) -> Self::F {
        both(|a, b| if a > b { a } else { b }, a, b)
    }
    #[inline(always)]
    fn round(self, a: Self::F) -> Self::F {
        // Adding 1.5 * 2^23 pushes the fraction out of the mantissa, rounding to even.
        each(|a| (a + 12_582_912.0) - 12_582_912.0, a)
    }
    #[inline(always)]
    fn less(self, a: Self::F, b: Self::F) -> Self::M {
        both(|a, b| a < b, a, b)
    }
    #[inline(always)]
    fn select(self, m: Self::M, a: Self::F, b: Self::F) -> Self::F {
        std::array::from_fn(|i| if m[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    fn to_bits(self, a: Self::F) -> Self::U {
        each(f32::to_bits, a)
    }
    #[inline(always)]
    fn float_of(self, a: Self::U) -> Self::F {
        each(f32::from_bits, a)
    }
    #[inline(always)]
    fn to_int(self, a: Self::F) -> Self::U {
        each(|a| a as i32 as u32, a)
    }
    #[inline(always)]
    fn to_float(self, a: Self::U) -> Self::F {
        each(|a| a as i32 as f32, a)
    }
    #[inline(always)]
    fn splat_u(self, x: u32) -> Self::U {
        [x; LANES]
    }
    #[inline(always)]
    fn add_u(self, a: Self::U, b: Self::U) -> Self::U {
        both(u32::wrapping_add, a, b)
    }
    #[inline(always)]
    fn mul_u(self, a: Self::U, b: Self::U) -> Self::U {
        both(|a, b| a.wrapping_mul(b), a, b)
    }
    #[inline(always)]
    fn max_u(self, a: Self::U, b: Self::U) -> Self::U {
        both(|a, b| a.max(b), a, b)
    }
    #[inline(always)]
    fn and_u(self, a: Self::U, b: Self::U) -> Self::U {
        both(|a, b| a & b, a, b)
    }
    #[inline(always)]
    fn xor_u(self, a: Self::U, b: Self::U) -> Self::U {
        both(|a, b| a ^ b, a, b)
    }
    #[inline(always)]
    fn shl_u<const N: u32>(self, a: Self::U) -> Self::U {
        each(|a| a << N, a)
    }
    #[inline(always)]
    fn shr_u<const N: u32>(self, a: Self::U) -> Self::U {
        each(|a| a >> N, a)
    }
}

impl Simd for Plain {
    #[inline(always)]
    fn load(self, from: &Lanes) -> Self::F {
        from.0
    }
    #[inline(always)]
    fn store(self, x: Self::F, to: &mut Lanes) {
        to.0 = x;
    }
    #[inline(always)]
    fn nonzero(self, a: Self::F) -> u32 {
        (0..LANES).fold(0, |mask, i| mask | u32::from(a[i] != 0.0) << i)
    }
    #[inline(always)]
    fn sum(self, a: Self::F) -> f32 {
        let a: [f32; 8] = std::array::from_fn(|i| a[i] + a[i + 8]);
        let a: [f32; 4] = std::array::from_fn(|i| a[i] + a[i + 4]);
        (a[0] + a[2]) + (a[1] + a[3])
    }
    #[inline(always)]
    fn largest(self, a: Self::F) -> f32 {
        let larger = |a: f32, b: f32| if a > b { a } else { b };
        let a: [f32; 8] = std::array::from_fn(|i| larger(a[i], a[i + 8]));
        let a: [f32; 4] = std::array::from_fn(|i| larger(a[i], a[i + 4]));
        larger(larger(a[0], a[2]), larger(a[1], a[3]))
    }
    #[inline(always)]
    fn transpose(self, rows: [Self::F; 16]) -> [Self::F; 16] {
        std::array::from_fn(|i| std::array::from_fn(|j| rows[j][i]))
    }
    #[inline(always)]
    fn store_bytes(self, x: Self::U, to: &mut [u8; LANES]) {
        *to = x.map(|x| x as u8);
    }
    #[inline(always)]
    fn load_u(self, from: &[u32; LANES]) -> Self::U {
        *from
    }
    #[inline(always)]
    fn pack(self, a: Self::U, b: Self::U) -> Self::U {
        let all: [u32; 2 * LANES] =
            std::array::from_fn(|i| if i < LANES { a[i] } else { b[i - LANES] });
        std::array::from_fn(|i| all[2 * i] >> 16 | all[2 * i + 1] & 0xffff_0000)
    }
    #[inline(always)]
    fn widening_mul(self, a: Self::U, b: u32) -> (Self::U, Self::U) {
        let wide = each(|a| u64::from(a) * u64::from(b), a);
        (each(|w| (w >> 32) as u32, wide), each(|w| w as u32, wide))
    }
}
