//! Hashes of examples, which key the noise of scores.

use super::mix::mix;
use super::philox::{MULTIPLIERS, WEYL, lanes_of};
use crate::simd::{Row, Simd};

/// A hash of an example's content, 64 bits as two counter words: equal examples have equal noise, whatever
/// their place and company.
pub struct ContentHash<S: Simd>(S::U);

impl<S: Simd> ContentHash<S> {
    /// Before the first column.
    #[inline(always)]
    pub fn new(s: S) -> ContentHash<S> {
        ContentHash(s.load_u(&std::array::from_fn(|i| WEYL[0].wrapping_mul(i as u32 + 1))))
    }

    /// Takes in the next columns (padding included).
    #[inline(always)]
    pub fn update(&mut self, s: S, columns: &Row) {
        for lanes in columns {
            // Adding zero makes -0 the same as 0.
            let word = s.to_bits(s.add(s.load(lanes), s.zero()));
            let rotated = s.xor_u(s.shl_u::<13>(self.0), s.shr_u::<19>(self.0));
            let hash = s.mul_u(s.xor_u(rotated, word), s.splat_u(MULTIPLIERS[1]));
            self.0 = s.xor_u(hash, s.shr_u::<15>(hash));
        }
    }

    /// The hash of all that was taken in.
    #[inline(always)]
    pub fn finish(&self, s: S) -> [u32; 2] {
        let mut out = WEYL;
        for (i, lane) in lanes_of(s, self.0).into_iter().enumerate() {
            out[0] = mix(out[0] ^ lane.wrapping_add(i as u32));
            out[1] = mix(out[1].wrapping_add(lane) ^ out[0].rotate_left(7));
        }
        out
    }
}
