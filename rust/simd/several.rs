//! Operations on several vectors at once, to hide latency.
//!
//! A likelihood is a chain of some forty dependent instructions. A CPU's out-of-order window is only about a hundred
//! instructions, so chains one after another leave it idle most of the time. Interleaved, instruction by instruction,
//! they keep it busy.

use super::Arithmetic;
use crate::simd::math::Formula;

/// `N` vectors of `S`, 1 to 4; every operation applies to each of them.
#[derive(Clone, Copy)]
pub struct Several<S, const N: usize>(pub S);

/// Runs `$body` for groups of `0..$n`: group `$first..$first + $N`, where the constant `$N` is four while at least four
/// remain and `$wide` is true, else one.
macro_rules! in_groups {
    ($wide:expr, $n:expr, $N:ident, $first:ident => $body:expr) => {{
        let (n, mut $first) = ($n, 0);
        while $wide && $first + 4 <= n {
            const $N: usize = 4;
            $body;
            $first += 4;
        }
        while $first < n {
            const $N: usize = 1;
            $body;
            $first += 1;
        }
    }};
}
pub(crate) use in_groups;

/// The array `[f(0), ..., f(N - 1)]` without a loop: a formula is a hundred operations, and the time of LLVM's loop
/// passes grows with the square of the number of loops.
macro_rules! array {
    ($N:ident, $i:ident => $value:expr) => {{
        const { assert!($N >= 1 && $N <= 4) };
        let mut out = {
            const $i: usize = 0;
            [$value; $N]
        };
        if $N > 1 {
            const $i: usize = 1;
            out[$i] = $value;
        }
        if $N > 2 {
            const $i: usize = 2;
            out[$i] = $value;
        }
        if $N > 3 {
            const $i: usize = 3;
            out[$i] = $value;
        }
        out
    }};
}

macro_rules! each {
    ($(fn $name:ident($($x:ident: $from:ident),*) -> $to:ident;)*) => {
        $(
            #[inline(always)]
            fn $name(self, $($x: Self::$from),*) -> Self::$to {
                array!(N, I => self.0.$name($($x[I]),*))
            }
        )*
    };
}

impl<S: Arithmetic, const N: usize> Arithmetic for Several<S, N> {
    type F = [S::F; N];
    type U = [S::U; N];
    type M = [S::M; N];
    const WIDE: bool = S::WIDE;
    const CALLS: bool = S::CALLS;

    #[inline(always)]
    fn apply<const I: usize, const O: usize, F: Formula<I, O>>(
        self,
        x: [Self::F; I],
    ) -> [Self::F; O] {
        if S::WIDE {
            return F::eval(self, x);
        }
        let each: [[S::F; O]; N] =
            std::array::from_fn(|i| self.0.apply::<I, O, F>(x.map(|x| x[i])));
        std::array::from_fn(|o| each.map(|y| y[o]))
    }
    #[inline(always)]
    fn call<const I: usize, const O: usize, F: Formula<I, O>>(
        self,
        x: [Self::F; I],
    ) -> [Self::F; O] {
        if !S::CALLS {
            return F::eval(self, x);
        }
        let mut out = [self.zero(); O];
        for n in 0..N {
            let mut one = [self.0.zero(); I];
            for i in 0..I {
                one[i] = x[i][n];
            }
            let one = self.0.call::<I, O, F>(one);
            for o in 0..O {
                out[o][n] = one[o];
            }
        }
        out
    }
    #[inline(always)]
    fn splat(self, x: f32) -> Self::F {
        [self.0.splat(x); N]
    }
    #[inline(always)]
    fn splat_u(self, x: u32) -> Self::U {
        [self.0.splat_u(x); N]
    }
    #[inline(always)]
    fn shl_u<const BITS: u32>(self, a: Self::U) -> Self::U {
        array!(N, I => self.0.shl_u::<BITS>(a[I]))
    }
    #[inline(always)]
    fn shr_u<const BITS: u32>(self, a: Self::U) -> Self::U {
        array!(N, I => self.0.shr_u::<BITS>(a[I]))
    }
    each! {
        fn add(a: F, b: F) -> F;
        fn sub(a: F, b: F) -> F;
        fn mul(a: F, b: F) -> F;
        fn div(a: F, b: F) -> F;
        fn fma(a: F, b: F, c: F) -> F;
        fn sqrt(a: F) -> F;
        fn min(a: F, b: F) -> F;
        fn max(a: F, b: F) -> F;
        fn round(a: F) -> F;
        fn less(a: F, b: F) -> M;
        fn select(m: M, a: F, b: F) -> F;
        fn to_bits(a: F) -> U;
        fn float_of(a: U) -> F;
        fn to_int(a: F) -> U;
        fn to_float(a: U) -> F;
        fn add_u(a: U, b: U) -> U;
        fn mul_u(a: U, b: U) -> U;
        fn max_u(a: U, b: U) -> U;
        fn and_u(a: U, b: U) -> U;
        fn xor_u(a: U, b: U) -> U;
    }
}
