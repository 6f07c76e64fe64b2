//! Instruction sets, chosen at run time.
//!
//! All elementwise code in the crate is written once, over sixteen lanes, with the traits [`Arithmetic`] (formulas) and
//! [`Simd`] (loads, stores, operations across lanes); [`Isa::run`] compiles it for each instruction set. A value of a
//! type that implements `Simd` proves that the CPU has the set, so the trait's methods are safe. Each set also has
//! kernels of matrix products, [`Isa::product`].
//!
//! AVX-512 and AVX2 give the same bits: every element has one accumulator, fused multiply-adds in the same
//! order, and the same correctly rounded operations. On x86-64 the portable set has no fused multiply-add (the C
//! library's would be hundreds of times slower), so its results differ in the last bits.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod features;
mod int8;
pub mod math;
#[cfg(any(test, not(target_arch = "x86_64")))]
mod plain;
mod portable;
mod product;
#[cfg(test)]
mod segment_tests;
mod segments;
mod several;
#[cfg(target_arch = "x86_64")]
mod sse2;
#[cfg(test)]
mod tests;
mod words;

pub use features::features;
pub use int8::{ByteProduct, ByteTile, MAX_BYTE_PANELS, MAX_BYTE_ROWS, MAX_INPUTS};
pub use product::{LINE, Left, MAX_TILE_ROWS, NonzeroIndices, Prefetch, Product, Tile, prefetch};
pub use segments::{Segment, SegmentList, SegmentProduct, Segments};
pub use several::Several;
pub(crate) use several::in_groups;
pub use words::{
    FromPairs, PairSums, ROW_PANELS, ROW_WORDS, ToWords, WeightWords, word_rows, words_of,
};
pub(crate) use words::{halves, rounded};

use crate::error::{Error, Result};
use crate::simd::math::Formula;
use std::sync::OnceLock;

/// Floats in a vector, for every instruction set.
pub const LANES: usize = 16;
/// Columns of a panel, the unit of matrix storage: two vectors.
pub const WIDTH: usize = 2 * LANES;

/// Sixteen floats, aligned for the vector loads of every set.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C, align(64))]
pub struct Lanes(pub [f32; LANES]);

/// One row of a panel: 32 consecutive columns of a matrix.
pub type Row = [Lanes; 2];

/// The floats of a row.
#[allow(unsafe_code)]
#[inline(always)]
pub fn floats(row: &Row) -> &[f32; WIDTH] {
    // SAFETY: `Lanes` is `repr(C)` and exactly sixteen floats long, so a row is 32 floats without gaps.
    unsafe { &*std::ptr::from_ref(row).cast() }
}

/// The floats of consecutive rows.
#[allow(unsafe_code)]
pub fn floats_mut(rows: &mut [Row]) -> &mut [f32] {
    let len = rows.len() * WIDTH;
    // SAFETY: `Lanes` is `repr(C)` and exactly sixteen floats long, so rows are floats without gaps.
    unsafe { std::slice::from_raw_parts_mut(rows.as_mut_ptr().cast(), len) }
}

/// The floats of some rows, one row after the other, to read.
#[allow(unsafe_code)]
pub fn floats_of(rows: &[Row]) -> &[f32] {
    let len = rows.len() * WIDTH;
    // SAFETY: as in `floats_mut`.
    unsafe { std::slice::from_raw_parts(rows.as_ptr().cast(), len) }
}

/// The bits of the floats of consecutive rows.
#[allow(unsafe_code)]
pub fn bits_mut(rows: &mut [Row]) -> &mut [u32] {
    let len = rows.len() * WIDTH;
    // SAFETY: as in `floats_mut`; every float has 32 bits.
    unsafe { std::slice::from_raw_parts_mut(rows.as_mut_ptr().cast(), len) }
}

/// [`bits_mut`], to read.
#[allow(unsafe_code)]
pub fn bits_of(rows: &[Row]) -> &[u32] {
    let len = rows.len() * WIDTH;
    // SAFETY: as in `bits_mut`.
    unsafe { std::slice::from_raw_parts(rows.as_ptr().cast(), len) }
}

/// A row of zeros.
pub const ZERO_ROW: Row = [Lanes([0.0; LANES]); 2];

/// Arithmetic on vectors of sixteen lanes, or on several such vectors at once ([`Several`]). `min` and `max` return
/// their second operand where one is NaN; `less` is false there.
pub trait Arithmetic: Copy {
    /// A vector of `f32`.
    type F: Copy;
    /// A vector of `u32`.
    type U: Copy;
    /// A mask: a truth value for each lane.
    type M: Copy;
    /// Whether a vector takes so few registers that interleaving several ([`Several`]) and inlining formulas is faster.
    const WIDE: bool = true;

    /// Evaluates a formula: inlined, or by a call where the set is not [`Arithmetic::WIDE`].
    #[inline(always)]
    fn apply<const I: usize, const O: usize, F: Formula<I, O>>(
        self,
        x: [Self::F; I],
    ) -> [Self::F; O] {
        F::eval(self, x)
    }
    /// Whether long formulas are called: inlined several times into one function, they cost much compile time, and the call is
    /// cheap beside the formula.
    const CALLS: bool = true;
    /// Evaluates a long formula: by a call, if the set [calls](Arithmetic::CALLS) them, or inlined.
    fn call<const I: usize, const O: usize, F: Formula<I, O>>(
        self,
        x: [Self::F; I],
    ) -> [Self::F; O];
    /// All lanes the same.
    fn splat(self, x: f32) -> Self::F;
    /// `a + b`
    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a - b`
    fn sub(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b`
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a / b`, correctly rounded.
    fn div(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b + c`, rounded once.
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// The square root, correctly rounded.
    fn sqrt(self, a: Self::F) -> Self::F;
    /// The smaller of `a` and `b`, lane by lane.
    fn min(self, a: Self::F, b: Self::F) -> Self::F;
    /// The larger of `a` and `b`, lane by lane.
    fn max(self, a: Self::F, b: Self::F) -> Self::F;
    /// Rounds to the nearest integer, ties to even; for |a| < 2^22.
    fn round(self, a: Self::F) -> Self::F;
    /// `a < b`
    fn less(self, a: Self::F, b: Self::F) -> Self::M;
    /// `a` where the mask holds, else `b`.
    fn select(self, m: Self::M, a: Self::F, b: Self::F) -> Self::F;

    /// The bits of floats.
    fn to_bits(self, a: Self::F) -> Self::U;
    /// The floats with these bits.
    fn float_of(self, a: Self::U) -> Self::F;
    /// Converts floats with integral values in the range of i32 to integers (two's complement).
    fn to_int(self, a: Self::F) -> Self::U;
    /// Converts integers below 2^24 to floats, exactly.
    fn to_float(self, a: Self::U) -> Self::F;
    /// All lanes the same.
    fn splat_u(self, x: u32) -> Self::U;
    /// `a + b`, wrapping.
    fn add_u(self, a: Self::U, b: Self::U) -> Self::U;
    /// `a * b`, wrapping.
    fn mul_u(self, a: Self::U, b: Self::U) -> Self::U;
    /// The larger of `a` and `b`, lane by lane.
    fn max_u(self, a: Self::U, b: Self::U) -> Self::U;
    /// `a & b`
    fn and_u(self, a: Self::U, b: Self::U) -> Self::U;
    /// `a ^ b`
    fn xor_u(self, a: Self::U, b: Self::U) -> Self::U;
    /// `a << N`
    fn shl_u<const N: u32>(self, a: Self::U) -> Self::U;
    /// `a >> N`, filled with zeros.
    fn shr_u<const N: u32>(self, a: Self::U) -> Self::U;

    /// All lanes zero.
    #[inline(always)]
    fn zero(self) -> Self::F {
        self.splat(0.0)
    }
    /// `-a`
    #[inline(always)]
    fn neg(self, a: Self::F) -> Self::F {
        self.float_of(self.xor_u(self.to_bits(a), self.splat_u(0x8000_0000)))
    }
    /// `|a|`
    #[inline(always)]
    fn abs(self, a: Self::F) -> Self::F {
        self.float_of(self.and_u(self.to_bits(a), self.splat_u(0x7fff_ffff)))
    }
    /// True where `a` is not NaN.
    #[inline(always)]
    fn is_number(self, a: Self::F) -> Self::M {
        self.less(self.neg(self.abs(a)), self.splat(1.0))
    }
    /// 2^n for integral n in -126..=127.
    #[inline(always)]
    fn pow2(self, n: Self::F) -> Self::F {
        let biased = self.add_u(self.to_int(n), self.splat_u(127));
        self.float_of(self.shl_u::<23>(biased))
    }
}

/// A vector of sixteen lanes: arithmetic, loads and stores, operations across lanes.
pub trait Simd: Arithmetic {
    /// Reads a vector.
    fn load(self, from: &Lanes) -> Self::F;
    /// Writes a vector.
    fn store(self, x: Self::F, to: &mut Lanes);
    /// Writes integers below 256 as bytes.
    fn store_bytes(self, x: Self::U, to: &mut [u8; LANES]);
    /// Reads a vector.
    fn load_u(self, from: &[u32; LANES]) -> Self::U;
    /// A bit mask: bit i is set where lane i is neither +0 nor -0.
    fn nonzero(self, a: Self::F) -> u32;
    /// The sum of the lanes by a fixed tree: lanes i + (i + 8), then i + (i + 4), then i + (i + 2), then i + (i + 1).
    fn sum(self, a: Self::F) -> f32;
    /// The largest lane; unspecified if a lane is NaN.
    fn largest(self, a: Self::F) -> f32;
    /// The 16x16 transpose.
    fn transpose(self, rows: [Self::F; 16]) -> [Self::F; 16];
    /// The upper halves of the lanes of `a`, then those of `b`, in order: two to a lane, the first in the lower half.
    fn pack(self, a: Self::U, b: Self::U) -> Self::U;
    /// The high and low 32 bits of the 64-bit products.
    fn widening_mul(self, a: Self::U, b: u32) -> (Self::U, Self::U);

    /// True in the first `n` lanes.
    #[inline(always)]
    fn first(self, n: usize) -> Self::M {
        const INDEX: Lanes =
            Lanes([0., 1., 2., 3., 4., 5., 6., 7., 8., 9., 10., 11., 12., 13., 14., 15.]);
        self.less(self.load(&INDEX), self.splat(n as f32))
    }
}

/// Code that is compiled once for each instruction set. `run` must be `#[inline(always)]`, and so must every function
/// that it passes the `Simd` value to: only inlined code is compiled with the CPU's features. Closures cannot be forced
/// inline, so loops over vectors are written out: a closure that the compiler leaves out of line calls a function for
/// every instruction.
pub trait Op {
    /// The result.
    type Output;
    /// Runs the code with the instruction set of `simd`.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// An instruction set that this CPU has. Only the constructors below create values, after detection, so a value proves
/// that the set's kernels can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Isa(Set);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Set {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Portable,
}

impl Isa {
    /// The sets that this CPU has, the fastest first.
    pub fn available() -> Vec<Isa> {
        let mut sets = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            if avx512::detected() {
                sets.push(Isa(Set::Avx512));
            }
            if avx2::detected() {
                sets.push(Isa(Set::Avx2));
            }
        }
        sets.push(Isa(Set::Portable));
        sets
    }

    /// Looks a set up by name; an error if it does not exist or the CPU lacks it.
    pub fn named(name: &str) -> Result<Isa> {
        let sets = Isa::available();
        sets.iter().copied().find(|isa| isa.name() == name).ok_or_else(|| {
            let names: Vec<_> = sets.iter().map(|isa| isa.name()).collect();
            Error::Parameter(format!(
                "FASTVAE_ISA={name:?} is not an instruction set of this machine; use one of {}",
                names.join(", ")
            ))
        })
    }

    /// The set that the environment variable `FASTVAE_ISA` names, else the fastest that the CPU has. Read once.
    pub fn detect() -> Result<Isa> {
        static CHOSEN: OnceLock<Result<Isa>> = OnceLock::new();
        CHOSEN
            .get_or_init(|| match std::env::var("FASTVAE_ISA") {
                Ok(name) if !name.is_empty() => Isa::named(&name),
                _ => Ok(Isa::available()[0]),
            })
            .clone()
    }

    /// The set that every CPU has.
    pub fn portable() -> Isa {
        Isa(Set::Portable)
    }

    /// Whether multiply-adds are rounded once. All sets with fused multiply-adds give the same bits.
    pub fn has_fma(self) -> bool {
        self != Isa::portable() || cfg!(target_arch = "aarch64")
    }

    /// `avx512`, `avx2` or `portable`.
    pub fn name(self) -> &'static str {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => "avx512",
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => "avx2",
            Set::Portable => "portable",
        }
    }

    /// Runs `op` compiled for this set.
    #[inline]
    pub fn run<O: Op>(self, op: O) -> O::Output {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => avx512::run(self, op),
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => avx2::run(self, op),
            Set::Portable => portable::run(op),
        }
    }
}
