//! Counter-based noise: Philox4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2,
//! 3", SC 2011). Nothing is stored between draws: an element of noise is a function of its coordinates, so it
//! is the same for any number of threads, any batch split and any vector width.

pub mod draws;

use crate::simd::math;
use crate::simd::{
    Arithmetic, Isa, LANES, Lanes, Op, Row, Several, Simd, WIDTH, ZERO_ROW, floats_mut,
};

/// Purposes that must not share noise; the top byte of the counter's first word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Stream {
    /// Initial weights.
    Init = 0,
    /// Order of the examples in an epoch.
    Shuffle = 1,
    /// eps of the reparameterisation in training.
    Train = 2,
    /// eps of scores, keyed by the example's content.
    Score = 3,
    /// Codes drawn from the prior.
    Prior = 4,
    /// Observations drawn from p(x|z).
    Observation = 5,
    /// What is done to the encoder's input in training.
    Corruption = 6,
    /// What is done to data that the user wants corrupted.
    Corrupted = 7,
    /// eps of marginal likelihoods, keyed by the example's content; many samples each.
    Marginal = 8,
    /// Binary values drawn from grey ones.
    Binary = 9,
    /// eps of draws from q(z|x) that the user asks for.
    Posterior = 10,
}

/// Where noise comes from: a seed (Philox's key) and three words of its counter; the fourth is the row.
#[derive(Clone, Copy, Debug)]
pub struct Noise {
    /// The key.
    pub seed: u64,
    /// The top byte of the first counter word; the rest of the word is the block (column / 4). Any byte is
    /// allowed: the values of [`Stream`] are those that the models use.
    pub stream: u8,
    /// Which of several samples per example.
    pub sample: u32,
}

const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
const ROUNDS: usize = 10;
/// Words that one counter gives.
const WORDS: usize = 4;

fn key_of(seed: u64) -> [u32; 2] {
    [seed as u32, (seed >> 32) as u32]
}

/// The four words of sixteen counters.
#[inline(always)]
fn philox<S: Simd>(s: S, seed: u64, mut c: [S::U; WORDS]) -> [S::U; WORDS] {
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
fn unit_interval<S: Arithmetic>(s: S, x: S::U) -> S::F {
    let high = s.to_float(s.shr_u::<16>(x));
    let low = s.to_float(s.and_u(x, s.splat_u(0xffff)));
    let whole = s.fma(high, s.splat(65536.0), low);
    s.fma(whole, s.splat(2.0f32.powi(-32)), s.splat(2.0f32.powi(-33)))
}

/// Words to floats in [0, 1): the top 24 bits.
#[inline(always)]
fn fraction<S: Arithmetic>(s: S, x: S::U) -> S::F {
    s.mul(s.to_float(s.shr_u::<8>(x)), s.splat(2.0f32.powi(-24)))
}

/// The distribution of an element of noise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distribution {
    /// N(0, 1), by Box and Muller: words (0, 1) and (2, 3) of a block give a pair each.
    StandardNormal,
    /// Uniform on [0, 1), a multiple of 2^-24.
    Uniform,
}

/// Noise for a matrix [rows, cols], handed to `put(i, j, values)` four columns at a time: those from j on, of which
/// the last four may go beyond `cols`. Row i has the counter words `rows[i]` = (sample, step, row).
pub struct Fill<'a, P> {
    /// The key.
    pub seed: u64,
    /// The top byte of the first counter word.
    pub stream: u8,
    /// What to draw.
    pub distribution: Distribution,
    /// The last three counter words of each row.
    pub rows: &'a [[u32; 3]],
    /// Elements per row.
    pub cols: usize,
    /// Takes the values.
    pub put: P,
}

impl<P: FnMut(usize, usize, [f32; WORDS])> Fill<'_, P> {
    /// NoiseBlock it.
    pub fn run(mut self, isa: Isa) {
        // Sixteen (row, block) pairs at a time, in row-major order.
        let blocks = self.cols.div_ceil(WORDS);
        let pairs = self.rows.len() * blocks;
        let after =
            |(row, block)| if block + 1 == blocks { (row + 1, 0) } else { (row, block + 1) };
        let mut place = (0, 0);
        for start in (0..pairs).step_by(LANES) {
            let here = (pairs - start).min(LANES);
            let first = place;
            let mut counters = [[0u32; LANES]; WORDS];
            for lane in 0..here {
                counters[0][lane] = u32::from(self.stream) << 24 | place.1 as u32;
                [counters[1][lane], counters[2][lane], counters[3][lane]] = self.rows[place.0];
                place = after(place);
            }
            let Fill { seed, distribution, .. } = self;
            let words = isa.run(NoiseBlock { seed, distribution, counters: &counters });
            let mut place = first;
            for lane in 0..here {
                (self.put)(place.0, place.1 * WORDS, words.map(|word| word.0[lane]));
                place = after(place);
            }
        }
    }
}

/// The noise of sixteen counters.
struct NoiseBlock<'a> {
    seed: u64,
    distribution: Distribution,
    counters: &'a [[u32; LANES]; WORDS],
}

impl Op for NoiseBlock<'_> {
    type Output = [Lanes; WORDS];
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> [Lanes; WORDS] {
        let words = philox(s, self.seed, self.counters.each_ref().map(|c| s.load_u(c)));
        let values = match self.distribution {
            Distribution::StandardNormal => {
                let (x, y) = ([words[0], words[2]], [words[1], words[3]]);
                let (a, b) = box_muller(Several(s), x, y);
                [a[0], b[0], a[1], b[1]]
            }
            Distribution::Uniform => words.map(|w| fraction(s, w)),
        };
        let mut lanes = [Lanes::default(); WORDS];
        for (to, value) in lanes.iter_mut().zip(values) {
            s.store(value, to);
        }
        lanes
    }
}

/// The uniform noise of [`Fill`] in up to sixteen columns of the row with the counter words `id`.
#[inline(always)]
pub fn uniform_at<S: Simd>(
    s: S,
    seed: u64,
    stream: Stream,
    id: [u32; 3],
    cols: impl Iterator<Item = usize> + Clone,
) -> Lanes {
    let (mut blocks, mut found) = ([0; LANES], Lanes::default());
    for (block, col) in blocks.iter_mut().zip(cols.clone()) {
        *block = u32::from(stream as u8) << 24 | (col / WORDS) as u32;
    }
    let [a, b, c] = id.map(|word| s.splat_u(word));
    let words = philox(s, seed, [s.load_u(&blocks), a, b, c]);
    let mut lanes = [Lanes::default(); WORDS];
    for (to, word) in lanes.iter_mut().zip(words) {
        s.store(fraction(s, word), to);
    }
    for (lane, col) in cols.enumerate().take(LANES) {
        found.0[lane] = lanes[col % WORDS].0[lane];
    }
    found
}

/// The uniform noise of [`Fill`] for the 32 columns of panel `panel` of the row with the counter words `id`.
#[inline(always)]
pub fn uniform_panel<S: Simd>(s: S, seed: u64, stream: Stream, id: [u32; 3], panel: usize) -> Row {
    const BLOCKS: usize = WIDTH / WORDS;
    let first = (stream as u32) << 24 | (panel * BLOCKS) as u32;
    let blocks = std::array::from_fn(|lane| first + (lane % BLOCKS) as u32);
    let [a, b, c] = id.map(|word| s.splat_u(word));
    let words = philox(s, seed, [s.load_u(&blocks), a, b, c]);
    let mut row = [ZERO_ROW];
    let columns = floats_mut(&mut row);
    for (word, values) in words.into_iter().enumerate() {
        let mut lanes = Lanes::default();
        s.store(fraction(s, values), &mut lanes);
        for block in 0..BLOCKS {
            columns[WORDS * block + word] = lanes.0[block];
        }
    }
    row[0]
}

impl Noise {
    /// Noise for a plain matrix [n, cols] whose rows are counted from zero: `put(element, column, value)`.
    pub fn fill(
        self,
        isa: Isa,
        distribution: Distribution,
        cols: usize,
        matrix: &mut [f32],
        put: impl Fn(&mut f32, usize, f32),
    ) {
        for (block, rows) in matrix.chunks_mut(LANES * cols).enumerate() {
            let Noise { seed, stream, sample } = self;
            let ids: [[u32; 3]; LANES] = std::array::from_fn(|i| {
                let [high, low] = row_words((block * LANES + i) as u64);
                [sample, high, low]
            });
            let used = &ids[..rows.len() / cols];
            let put = |i: usize, j: usize, values: [f32; WORDS]| {
                for ((to, j), value) in rows[i * cols..][j..cols].iter_mut().zip(j..).zip(values) {
                    put(to, j, value);
                }
            };
            Fill { seed, stream, distribution, rows: used, cols, put }.run(isa);
        }
    }
}

/// A row's number as the last two words of a counter.
pub fn row_words(row: u64) -> [u32; 2] {
    [(row >> 32) as u32, row as u32]
}

/// Two independent standard normals from two words (Box and Muller, 1958).
#[inline(always)]
fn box_muller<S: Arithmetic>(s: S, x: S::U, y: S::U) -> (S::F, S::F) {
    let radius = s.sqrt(s.mul(s.splat(-2.0), math::ln(s, unit_interval(s, x))));
    let [cos, sin] = math::cos_sin_turns(s, fraction(s, y));
    (s.mul(radius, cos), s.mul(radius, sin))
}

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
        let bits = (n.max(2) as u64 - 1).ilog2() + 1;
        let stream = (Stream::Shuffle as u32) << 24;
        let words = [0, 1].map(|block| philox_words(seed, [stream | block, 0, epoch, 0]));
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

/// The lanes of a vector of integers.
#[inline(always)]
fn lanes_of<S: Simd>(s: S, x: S::U) -> [u32; LANES] {
    let mut lanes = Lanes::default();
    s.store(s.float_of(x), &mut lanes);
    lanes.0.map(f32::to_bits)
}

/// [`mix`], lane by lane.
#[inline(always)]
fn mix_lanes<S: Simd>(s: S, x: S::U) -> S::U {
    let x = s.mul_u(s.xor_u(x, s.shr_u::<16>(x)), s.splat_u(MIX[0]));
    let x = s.mul_u(s.xor_u(x, s.shr_u::<13>(x)), s.splat_u(MIX[1]));
    s.xor_u(x, s.shr_u::<16>(x))
}

/// The factors of MurmurHash3's finaliser.
const MIX: [u32; 2] = [0x85EB_CA6B, 0xC2B2_AE35];

/// A bijection of 32 bits that spreads every input bit over all output bits (MurmurHash3's finaliser).
fn mix(mut x: u32) -> u32 {
    x = (x ^ (x >> 16)).wrapping_mul(MIX[0]);
    x = (x ^ (x >> 13)).wrapping_mul(MIX[1]);
    x ^ (x >> 16)
}

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

    #[test]
    fn noise_is_the_same_for_every_split_and_set() {
        let (seed, stream) = (7, 2);
        let rows: Vec<[u32; 3]> = (0..37).map(|row| [row % 3, 5, row]).collect();
        let cols = 13;
        let fill = |isa: Isa, rows: &[[u32; 3]]| {
            let mut out = vec![0.0; rows.len() * cols];
            let distribution = Distribution::StandardNormal;
            let put = |i: usize, j: usize, values: [f32; WORDS]| {
                let to = &mut out[i * cols..][j..cols];
                to.iter_mut().zip(values).for_each(|(to, value)| *to = value);
            };
            Fill { seed, stream, distribution, rows, cols, put }.run(isa);
            out
        };
        let sets = Isa::available();
        let whole = fill(sets[0], &rows);
        let mut parts = fill(sets[0], &rows[..9]);
        parts.extend(fill(sets[0], &rows[9..]));
        assert_eq!(whole, parts);
        for isa in sets {
            let other = fill(isa, &rows);
            if isa.has_fma() {
                assert_eq!(whole, other, "{}", isa.name());
            } else {
                let far = whole.iter().zip(&other).any(|(a, b)| (a - b).abs() > 1e-5);
                assert!(!far, "{}", isa.name());
            }
        }
    }

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
                for other in [Permutation::new(4, 0, n), Permutation::new(3, 1, n)] {
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
