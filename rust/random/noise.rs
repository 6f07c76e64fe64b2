//! Noise for matrices: each element is a function of seed, purpose, row and column.

use super::Stream;
use super::philox::{WORDS, fraction, philox, unit_interval};
use crate::simd::math;
use crate::simd::{
    Arithmetic, Isa, LANES, Lanes, Op, Row, Several, Simd, WIDTH, ZERO_ROW, floats_mut,
};

/// The distribution of an element of noise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distribution {
    /// N(0, 1), by Box and Muller: words (0, 1) and (2, 3) of a block give a pair each.
    StandardNormal,
    /// Uniform on [0, 1), a multiple of 2^-24.
    Uniform,
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
    /// Draws the noise.
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
    /// Noise for a plain matrix [n, cols] whose rows are counted from `first`: `put(element, column, value)`.
    pub fn fill(
        self,
        isa: Isa,
        distribution: Distribution,
        (first, cols): (usize, usize),
        matrix: &mut [f32],
        put: impl Fn(&mut f32, usize, f32),
    ) {
        for (block, rows) in matrix.chunks_mut(LANES * cols).enumerate() {
            let Noise { seed, stream, sample } = self;
            let ids: [[u32; 3]; LANES] = std::array::from_fn(|i| {
                let [high, low] = row_words((first + block * LANES + i) as u64);
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
