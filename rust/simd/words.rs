//! Products of bfloat16 operands with float32 sums, and the two forms of such operands.
//!
//! A bfloat16 is the upper half of a float32. A *word* is 32 bits with the operands of two k, the even one in its lower half:
//! what `vdpbf16ps` multiplies at once. From a panel of float32, 32 columns wide, come
//! - [by rows](ToWords::by_rows): a row is 32 bfloat16 in order, sixteen words. Two rows make a [`Row`]. The left operand of
//!   a product along rows; its k are columns.
//! - [by pairs](ToWords::by_pairs): word c of row j has rows 2j and 2j + 1 of column c. The right operand of every product, and the
//!   left operand of a product down columns; its k are rows.
//!
//! Rounding is to nearest even. `vdpbf16ps` adds to a sum s the products of the two halves: `s = fma(low, low', fma(high, high', s))`,
//! each fused multiply-add rounded once to nearest even; subnormal operands count as zero, and subnormal results become zero of their
//! sign. [`Emulated`] computes the same where the instruction is missing: every set with fused multiply-adds gives the same bits.
//! A product of two bfloat16 is exact in float32, so those without give the same sums too, unless one overflows or underflows.

#[cfg(test)]
mod tests;

use super::product::{Left, MAX_TILE_ROWS, NonzeroIndices, Prefetch, Product, Tile};
use super::segments::SegmentProduct;
use super::{Isa, LANES, Op, Row, Set, Simd, WIDTH, ZERO_ROW};

/// Words of a row of a panel by rows.
pub const ROW_WORDS: usize = WIDTH / 2;

/// The words of `cols` columns by rows: the number of k of a product along rows.
pub const fn words_of(cols: usize) -> usize {
    cols.div_ceil(2)
}

/// The rows of a panel of words of a matrix with `rows` rows, in either form.
pub const fn word_rows(rows: usize) -> usize {
    rows.div_ceil(2)
}

/// The bits of floats, rounded to bfloat16: the upper half counts.
#[inline(always)]
fn round<S: Simd>(s: S, x: S::F) -> S::U {
    let bits = s.to_bits(x);
    let odd = s.and_u(s.shr_u::<16>(bits), s.splat_u(1));
    let rounded = s.float_of(s.add_u(bits, s.add_u(odd, s.splat_u(0x7fff))));
    // Rounding could carry a NaN's bits into the sign.
    s.to_bits(s.select(s.is_number(x), rounded, x))
}

/// Rounds rows of a panel to bfloat16 and stores them as words, in one form or both.
pub struct ToWords<'a> {
    /// Rows of a panel, from an even row on.
    pub from: &'a [Row],
    /// The columns in use; others count as zero.
    pub cols: usize,
    /// Receives the rows, two to a `Row`; empty to skip them.
    pub by_rows: &'a mut [Row],
    /// Receives the pairs of rows; empty to skip them. A missing last row counts as zero.
    pub by_pairs: &'a mut [Row],
}

impl Op for ToWords<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let ToWords { from, cols, by_rows, by_pairs } = self;
        let used = [s.first(cols), s.first(cols.saturating_sub(LANES))];
        for (j, pair) in from.chunks(2).enumerate() {
            let mut bits = [[s.splat_u(0); 2]; 2];
            for (row, bits) in pair.iter().zip(&mut bits) {
                for v in 0..2 {
                    bits[v] = round(s, s.select(used[v], s.load(&row[v]), s.zero()));
                }
            }
            if let Some(to) = by_rows.get_mut(j) {
                for h in 0..2 {
                    s.store(s.float_of(s.pack(bits[h][0], bits[h][1])), &mut to[h]);
                }
            }
            if let Some(to) = by_pairs.get_mut(j) {
                for v in 0..2 {
                    s.store(s.float_of(pair_of(s, bits[0][v], bits[1][v])), &mut to[v]);
                }
            }
        }
    }
}

/// Rows of a panel from words by pairs, from an even row on.
pub struct FromPairs<'a> {
    /// The pairs.
    pub pairs: &'a [Row],
    /// Receives the rows.
    pub to: &'a mut [Row],
}

impl Op for FromPairs<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (pair, to) in self.pairs.iter().zip(self.to.chunks_mut(2)) {
            for v in 0..2 {
                let words = s.to_bits(s.load(&pair[v]));
                for (row, half) in to.iter_mut().zip(halves(s, words)) {
                    s.store(half, &mut row[v]);
                }
            }
        }
    }
}

/// The column sums of a panel of words by pairs, rows ascending.
pub struct PairSums<'a> {
    /// The pairs.
    pub pairs: &'a [Row],
    /// Receives the sums.
    pub out: &'a mut Row,
}

impl Op for PairSums<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let mut sums = [s.zero(); 2];
        for pair in self.pairs {
            for v in 0..2 {
                for half in halves(s, s.to_bits(s.load(&pair[v]))) {
                    sums[v] = s.add(sums[v], half);
                }
            }
        }
        for v in 0..2 {
            s.store(sums[v], &mut self.out[v]);
        }
    }
}

/// Floats rounded to bfloat16.
#[inline(always)]
pub(crate) fn rounded<S: Simd>(s: S, x: S::F) -> S::F {
    s.float_of(s.and_u(round(s, x), s.splat_u(0xffff_0000)))
}

/// The lower and the upper halves of words as floats.
#[inline(always)]
pub(crate) fn halves<S: Simd>(s: S, words: S::U) -> [S::F; 2] {
    let high = s.and_u(words, s.splat_u(0xffff_0000));
    [s.float_of(s.shl_u::<16>(words)), s.float_of(high)]
}

/// The words whose lower halves are the upper halves of `low`, and whose upper halves are those of `high`.
#[inline(always)]
fn pair_of<S: Simd>(s: S, low: S::U, high: S::U) -> S::U {
    s.xor_u(s.shr_u::<16>(low), s.and_u(high, s.splat_u(0xffff_0000)))
}

/// Rounds a block of up to 32 rows of W to bfloat16: the words by pairs of the block, and those of its transpose.
pub struct WeightWords<'a> {
    /// Rows of a panel of W, from a multiple of 32 on.
    pub from: &'a [Row],
    /// The rows of W's words: one for two of `from`.
    pub words: &'a mut [Row],
    /// The rows of the words of Wᵀ: one for two columns; empty to skip them.
    pub transposed: &'a mut [Row],
}

impl Op for WeightWords<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let WeightWords { from, words, transposed } = self;
        let mut by_rows = [ZERO_ROW; WIDTH / 2];
        ToWords { from, cols: WIDTH, by_rows: &mut by_rows, by_pairs: words }.run(s);
        if transposed.is_empty() {
            return;
        }
        for half in 0..2 {
            let rows = std::array::from_fn(|i| s.load(&by_rows[8 * half + i / 2][i % 2]));
            for (to, row) in transposed.iter_mut().zip(s.transpose(rows)) {
                s.store(row, &mut to[half]);
            }
        }
    }
}

/// [`Kernel`](super::product::Kernel) of words, with panels of A of sixteen words. `control`: what to prefetch, and whether
/// the tile is fresh; else the kernel adds to its sums.
#[cfg(target_arch = "x86_64")]
pub(super) type WordKernel = unsafe fn(
    count: usize,
    list: *const u32,
    a: *const f32,
    jump: usize,
    b: *const f32,
    control: (Prefetch, bool),
    tile: *mut Tile,
);

/// Panels of the right operand that a single row multiplies at once: one is a chain of dependent instructions.
pub const ROW_PANELS: usize = 4;

/// A row `a` of words times panels of B: `count` words, the first ones or those of `list`. The words of A are at `a + k % 16 + k / 16 *
/// 32`, the rows of B at `b[p] + k * 32`.
#[cfg(target_arch = "x86_64")]
pub(super) type WordRowKernel = unsafe fn(
    count: usize,
    list: *const u32,
    a: *const f32,
    b: [*const f32; ROW_PANELS],
    to: &mut [Row; ROW_PANELS],
);

impl Isa {
    /// Whether the set has an instruction for products of words. Elsewhere they take several times as long as float32's.
    pub fn multiplies_words(self) -> bool {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => super::avx512::multiplies_words(),
            _ => false,
        }
    }

    /// `steps` of 24 independent chains of products of words; `None` without an instruction.
    #[cfg(feature = "probe")]
    #[allow(unsafe_code)]
    pub fn word_chains(self, steps: usize) -> Option<f32> {
        // SAFETY: the CPU has the instruction.
        #[cfg(target_arch = "x86_64")]
        return self.multiplies_words().then(|| unsafe { super::avx512::word_chains(steps) });
        #[cfg(not(target_arch = "x86_64"))]
        return None;
    }

    /// Multiplies the words of a matrix of one row, panels by rows, by panels of B, which have the same number of rows.
    #[allow(unsafe_code)]
    pub fn word_row_product(
        self,
        left: &[Row],
        right: [&[Row]; ROW_PANELS],
        nonzero: Option<NonzeroIndices<'_>>,
        to: &mut [Row; ROW_PANELS],
    ) {
        let k = right[0].len();
        let list = nonzero.map_or(&[][..], NonzeroIndices::list);
        assert!(right.iter().all(|panel| panel.len() == k) && k.div_ceil(ROW_WORDS) <= left.len());
        assert!(list.last().is_none_or(|&last| (last as usize) < k));
        #[cfg(target_arch = "x86_64")]
        if self.multiplies_words() {
            let count = nonzero.map_or(k, |_| list.len());
            let kernel = super::avx512::WORD_ROW_KERNELS[usize::from(nonzero.is_some())];
            let b = right.map(|panel| panel.as_ptr().cast::<f32>());
            // SAFETY: the CPU has the instruction; the asserts bound every k.
            return unsafe { kernel(count, list.as_ptr(), left.as_ptr().cast(), b, to) };
        }
        for (right, to) in right.into_iter().zip(to) {
            let left = Left::Rows { panels: left, height: 1, first: 0 };
            let prefetch = Prefetch::NOTHING;
            let product = Product { left, right, nonzero, rows: 1, vectors: 2, prefetch };
            let mut tile = [ZERO_ROW; MAX_TILE_ROWS];
            self.word_product(product, true, &mut tile);
            *to = tile[0];
        }
    }

    /// Computes one tile of a product of words, or adds it to the tile unless `fresh`. [`Left::Rows`] are panels by rows,
    /// [`Left::Columns`] is a panel by pairs, the right operand is by pairs; k counts words.
    #[allow(unsafe_code)]
    #[inline(always)] // else the operands pass through memory, and each tile waits for its stores
    pub fn word_product(self, product: Product<'_>, fresh: bool, tile: &mut Tile) {
        let Product { left, right, nonzero, rows, vectors, prefetch } = product;
        let k = right.len();
        assert!((1..=tile.len()).contains(&rows) && (1..=2).contains(&vectors));
        let (columns, a, jump) = match left {
            Left::Rows { panels, height, first } => {
                assert!(first + rows <= height);
                assert!(word_rows(height) * k.div_ceil(ROW_WORDS) <= panels.len());
                let start = panels.as_ptr().cast::<f32>().wrapping_add(first * ROW_WORDS);
                (false, start, (2 * word_rows(height) - 1) * ROW_WORDS)
            }
            Left::Columns { panel, first } => {
                assert!(first + rows <= WIDTH && k <= panel.len());
                (true, panel.as_ptr().cast::<f32>().wrapping_add(first), 0)
            }
        };
        let list = nonzero.map_or(&[][..], NonzeroIndices::list);
        assert!(list.last().is_none_or(|&last| (last as usize) < k));
        if !self.multiplies_words() {
            return self.run(Emulated { product, fresh, tile });
        }
        #[cfg(target_arch = "x86_64")]
        {
            let count = nonzero.map_or(k, |_| list.len());
            let (nonzero, columns) = (usize::from(nonzero.is_some()), usize::from(columns));
            let kernel = super::avx512::WORD_KERNELS[nonzero][columns][vectors - 1][rows - 1];
            let b = right.as_ptr().cast::<f32>();
            // SAFETY: the CPU has the instruction; the asserts bound every read of A for k below `right.len()`, and the
            // last entry of an ascending list is below it; B is the slice.
            unsafe { kernel(count, list.as_ptr(), a, jump, b, (prefetch, fresh), tile) };
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (columns, a, jump, prefetch);
    }
}

/// A product of words by float32 multiply-adds.
struct Emulated<'a> {
    product: Product<'a>,
    fresh: bool,
    tile: &'a mut Tile,
}

impl Op for Emulated<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Emulated { product, fresh, tile } = self;
        let Product { left, right, nonzero, rows, vectors, .. } = product;
        let list = nonzero.map(NonzeroIndices::list);
        for i in 0..rows {
            let mut sums = [s.zero(); 2];
            for v in (0..vectors).filter(|_| !fresh) {
                sums[v] = flush(s, s.load(&tile[i][v]));
            }
            for n in 0..list.map_or(right.len(), <[u32]>::len) {
                let k = list.map_or(n, |list| list[n] as usize);
                let x = s.splat_u(word(left, i, k));
                for v in 0..vectors {
                    sums[v] = add_word(s, x, s.to_bits(s.load(&right[k][v])), sums[v]);
                }
            }
            for v in 0..vectors {
                s.store(sums[v], &mut tile[i][v]);
            }
        }
    }
}

/// A tile of a product of words by segments, by float32 multiply-adds.
pub(super) struct EmulatedSegments<'a> {
    pub product: SegmentProduct<'a>,
    /// Whether the left operand is read down its columns.
    pub columns: bool,
    pub tile: &'a mut Tile,
}

impl Op for EmulatedSegments<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let EmulatedSegments { product, columns, tile } = self;
        let SegmentProduct { segments, left, right, height, first, rows, vectors, fresh, .. } =
            product;
        for i in 0..rows {
            let mut sums = [s.zero(); 2];
            for v in (0..vectors).filter(|_| !fresh) {
                sums[v] = flush(s, s.load(&tile[i][v]));
            }
            for segment in segments.iter() {
                let [lane, to] = [segment.lane, segment.to].map(|n| n as usize);
                let panel = &left[segment.panel as usize * height..][..height];
                let count = if columns { height } else { segment.count as usize };
                let right = &right[to * if columns { height } else { 1 }..][..count];
                for (k, right) in right.iter().enumerate() {
                    let (row, column) = match columns {
                        true => (k, lane + first + i),
                        false => {
                            let at = (first + i) * ROW_WORDS + lane + k;
                            (at / WIDTH, at % WIDTH)
                        }
                    };
                    let x = s.splat_u(panel[row][column / LANES].0[column % LANES].to_bits());
                    for v in 0..vectors {
                        sums[v] = add_word(s, x, s.to_bits(s.load(&right[v])), sums[v]);
                    }
                }
            }
            for v in 0..vectors {
                s.store(sums[v], &mut tile[i][v]);
            }
        }
    }
}

/// Word `k` of row `i` of a tile.
#[inline(always)]
fn word(left: Left, i: usize, k: usize) -> u32 {
    let (row, lane) = match left {
        Left::Rows { panels, height, first } => {
            let (panel, row) = (k / ROW_WORDS, first + i);
            (&panels[panel * word_rows(height) + row / 2], row % 2 * ROW_WORDS + k % ROW_WORDS)
        }
        Left::Columns { panel, first } => (&panel[k], first + i),
    };
    row[lane / LANES].0[lane % LANES].to_bits()
}

/// What `vdpbf16ps` computes.
#[inline(always)]
fn add_word<S: Simd>(s: S, x: S::U, y: S::U, sum: S::F) -> S::F {
    let [low, high] = [0, 1].map(|half| [x, y].map(|words| flush(s, halves(s, words)[half])));
    let sum = flush(s, s.fma(high[0], high[1], sum));
    flush(s, s.fma(low[0], low[1], sum))
}

/// `x`, or zero of its sign where it is subnormal.
#[inline(always)]
fn flush<S: Simd>(s: S, x: S::F) -> S::F {
    let zero = s.float_of(s.and_u(s.to_bits(x), s.splat_u(0x8000_0000)));
    s.select(s.less(s.abs(x), s.splat(f32::MIN_POSITIVE)), zero, x)
}
