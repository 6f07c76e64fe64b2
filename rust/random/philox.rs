//! Philox4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011): four random words
//! as a function of a key and a counter.

use crate::simd::{Arithmetic, Isa, LANES, Lanes, Op, Simd};

pub(super) const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
pub(super) const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
const ROUNDS: usize = 10;
/// Words that one counter gives.
pub(super) const WORDS: usize = 4;

fn key_of(seed: u64) -> [u32; 2] {
    [seed as u32, (seed >> 32) as u32]
}

/// The four words of sixteen counters.
#[inline(always)]
pub(super) fn philox<S: Simd>(s: S, seed: u64, mut c: [S::U; WORDS]) -> [S::U; WORDS] {
    let mut key = key_of(seed);
    for _ in 0..ROUNDS {
        let (high0, low0) = s.widening_mul(c[0], MULTIPLIERS[0]);
        let (high1, low1) = s.widening_mul(c[2], MULTIPLIERS[1]);
        c = [
            s.xor_u(s.xor_u(high1, c[1]), s.splat_u(key[0])),
            low1,
            s.xor_u(s.xor_u(high0, c[3]), s.splat_u(key[1])),
            low0,
        ];
        key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
    }
    c
}

/// The four words of one counter.
pub fn philox_words(seed: u64, counter: [u32; WORDS]) -> [u32; WORDS] {
    struct One(u64, [u32; WORDS]);
    impl Op for One {
        type Output = [u32; WORDS];
        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> [u32; WORDS] {
            let words = philox(s, self.0, self.1.map(|c| s.splat_u(c)));
            words.map(|w| lanes_of(s, w)[0])
        }
    }
    Isa::portable().run(One(seed, counter))
}

/// Words to floats in (0, 1]: (x + 1/2) / 2^32, rounded.
#[inline(always)]
pub(super) fn unit_interval<S: Arithmetic>(s: S, x: S::U) -> S::F {
    let high = s.to_float(s.shr_u::<16>(x));
    let low = s.to_float(s.and_u(x, s.splat_u(0xffff)));
    let whole = s.fma(high, s.splat(65536.0), low);
    s.fma(whole, s.splat(2.0f32.powi(-32)), s.splat(2.0f32.powi(-33)))
}

/// Words to floats in [0, 1): the top 24 bits.
#[inline(always)]
pub(super) fn fraction<S: Arithmetic>(s: S, x: S::U) -> S::F {
    s.mul(s.to_float(s.shr_u::<8>(x)), s.splat(2.0f32.powi(-24)))
}

/// The lanes of a vector of integers.
#[inline(always)]
pub(super) fn lanes_of<S: Simd>(s: S, x: S::U) -> [u32; LANES] {
    let mut lanes = Lanes::default();
    s.store(s.float_of(x), &mut lanes);
    lanes.0.map(f32::to_bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn philox_gives_the_published_known_answers() {
        // The kat_vectors file of Random123, philox4x32-10: counter, key, result.
        let cases: [([u32; 4], [u32; 2], [u32; 4]); 3] = [
            ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
            ([!0; 4], [!0; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
            (
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0],
                [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
            ),
        ];
        for (counter, key, want) in cases {
            let seed = u64::from(key[1]) << 32 | u64::from(key[0]);
            assert_eq!(philox_words(seed, counter), want);
        }
    }
}
