//! The order of the examples in an epoch.

use super::Stream;
use super::mix::mix_lanes;
use super::philox::{WORDS, lanes_of, philox_words};
use crate::simd::{Isa, LANES, Op, Simd};

/// A pseudo-random permutation of 0..n that is computed, not stored: a Feistel network on the smallest even
/// number of bits that holds n, walked until it lands below n (Black & Rogaway, "Ciphers with arbitrary
/// finite domains", CT-RSA 2002).
#[derive(Clone, Copy, Debug)]
pub struct Permutation {
    n: u64,
    half_bits: u32,
    keys: [u32; Permutation::ROUNDS],
}

impl Permutation {
    const ROUNDS: usize = 8;

    /// The order of epoch `epoch`.
    pub fn new(seed: u64, epoch: u32, n: usize) -> Permutation {
        Permutation::of_block(seed, epoch, 0, n)
    }

    /// The order within block `block` of epoch `epoch`, of data that are read in blocks. A single block, number 0, has the
    /// order of an epoch.
    pub fn of_block(seed: u64, epoch: u32, block: u32, n: usize) -> Permutation {
        let bits = (n.max(2) as u64 - 1).ilog2() + 1;
        let stream = (Stream::Shuffle as u32) << 24;
        let words = [0, 1].map(|part| philox_words(seed, [stream | part, block, epoch, 0]));
        let keys = std::array::from_fn(|i| words[i / WORDS][i % WORDS]);
        Permutation { n: n as u64, half_bits: bits.div_ceil(2), keys }
    }

    /// The elements at places `first..first + out.len()` < n, at most sixteen.
    pub fn fill(&self, isa: Isa, first: usize, out: &mut [usize]) {
        isa.run(Places { order: self, first, out });
    }
}

/// The work of [`Permutation::fill`].
struct Places<'a> {
    order: &'a Permutation,
    first: usize,
    out: &'a mut [usize],
}

impl Op for Places<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Places { order, first, out } = self;
        let mask = (1u64 << order.half_bits) - 1;
        debug_assert!(out.len() <= LANES && (first + out.len()) as u64 <= order.n);
        // Sixteen walks at once: each goes on until it is below n, and then stays.
        let mut walks: [u64; LANES] = std::array::from_fn(|i| (first + i) as u64);
        let mut walking = (1u32 << out.len()) - 1;
        while walking != 0 {
            let halves =
                [order.half_bits, 0].map(|shift| walks.map(|x| (x >> shift & mask) as u32));
            let [mut left, mut right] = halves.map(|half| s.load_u(&half));
            for key in order.keys {
                let mixed = mix_lanes(s, s.xor_u(right, s.splat_u(key)));
                (left, right) = (right, s.xor_u(left, s.and_u(mixed, s.splat_u(mask as u32))));
            }
            let [left, right] = [left, right].map(|half| lanes_of(s, half));
            for i in 0..out.len() {
                if walking >> i & 1 == 1 {
                    walks[i] = u64::from(left[i]) << order.half_bits | u64::from(right[i]);
                    walking &= !(u32::from(walks[i] < order.n) << i);
                }
            }
        }
        out.iter_mut().zip(walks).for_each(|(to, x)| *to = x as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::mix::mix;

    impl Permutation {
        /// One place, as the papers write it.
        fn get(&self, i: usize) -> usize {
            let mask = (1u64 << self.half_bits) - 1;
            let mut x = i as u64;
            loop {
                let (mut left, mut right) = (x >> self.half_bits, x & mask);
                for key in self.keys {
                    (left, right) = (right, left ^ (u64::from(mix(right as u32 ^ key)) & mask));
                }
                x = left << self.half_bits | right;
                if x < self.n {
                    return x as usize;
                }
            }
        }
    }

    #[test]
    fn sixteen_places_at_a_time_are_those_of_one_at_a_time() {
        for n in [1, 2, 5, 16, 17, 1000, 4097, 1 << 33] {
            let order = Permutation::new(5, 2, n);
            for isa in Isa::available() {
                for (first, count) in [(0, n.min(16)), (n / 2, (n - n / 2).min(7)), (n - 1, 1)] {
                    let mut places = vec![0; count];
                    order.fill(isa, first, &mut places);
                    let want: Vec<usize> = (first..first + count).map(|i| order.get(i)).collect();
                    assert_eq!(places, want, "{n} {first} {}", isa.name());
                }
            }
        }
    }

    #[test]
    fn a_permutation_visits_everything_once_and_depends_on_seed_and_epoch() {
        for n in [1, 2, 3, 5, 16, 17, 1000, 4097] {
            let order: Vec<usize> = (0..n).map(|i| Permutation::new(3, 0, n).get(i)).collect();
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert!(sorted.into_iter().eq(0..n), "{n}");
            if n >= 16 {
                let others = [
                    Permutation::new(4, 0, n),
                    Permutation::new(3, 1, n),
                    Permutation::of_block(3, 0, 1, n),
                ];
                for other in others {
                    assert!((0..n).any(|i| other.get(i) != order[i]), "{n}");
                }
            }
        }
    }

    #[test]
    fn a_permutation_spreads_each_place_evenly() {
        // How often element i comes first, over many epochs: chi-squared with 15 degrees of freedom.
        let (n, epochs) = (16, 32_000);
        let mut first = vec![0u32; n];
        for epoch in 0..epochs {
            first[Permutation::new(11, epoch, n).get(0)] += 1;
        }
        let expected = f64::from(epochs) / n as f64;
        let chi2: f64 = first.iter().map(|&o| (f64::from(o) - expected).powi(2) / expected).sum();
        assert!(chi2 < 44.3, "chi-squared {chi2}, p < 1e-4");
    }
}
