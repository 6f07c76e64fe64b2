//! MurmurHash3's finaliser, a bijection of 32 bits: every input bit changes about half of the output bits.

use crate::simd::Simd;

/// [`mix`], lane by lane.
#[inline(always)]
pub(super) fn mix_lanes<S: Simd>(s: S, x: S::U) -> S::U {
    let x = s.mul_u(s.xor_u(x, s.shr_u::<16>(x)), s.splat_u(MIX[0]));
    let x = s.mul_u(s.xor_u(x, s.shr_u::<13>(x)), s.splat_u(MIX[1]));
    s.xor_u(x, s.shr_u::<16>(x))
}

/// The factors of MurmurHash3's finaliser.
const MIX: [u32; 2] = [0x85EB_CA6B, 0xC2B2_AE35];

/// A bijection of 32 bits that spreads every input bit over all output bits (MurmurHash3's finaliser).
pub(super) fn mix(mut x: u32) -> u32 {
    x = (x ^ (x >> 16)).wrapping_mul(MIX[0]);
    x = (x ^ (x >> 13)).wrapping_mul(MIX[1]);
    x ^ (x >> 16)
}
