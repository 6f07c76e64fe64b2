//! The products of a dense layer with a sparse batch: sums over the stored values only.
#![allow(unsafe_code)]

use crate::matrix::{Grid, ProductBlock, ProductTile, panels_of, vectors_of};
use crate::model::memory::{BatchView, StoredValue};
use crate::simd::{LINE, Op, Row, Simd, WIDTH, ZERO_ROW, halves, prefetch, rounded};
use crate::threads::{Worker, split};
use std::ops::Range;

/// Panels of W that an example gathers at once: eight independent sums.
const PANELS: usize = 4;
/// Examples in a tile.
const TILE: usize = 8;
/// The number of values by which the prefetch of rows of W is ahead.
const PREFETCH_DISTANCE: usize = 8;

impl<'a> BatchView<'a> {
    /// A phase: the product of the sparse batch and a matrix of `cols` columns, whose panels are `right(panel)`, of floats or
    /// of words by pairs. Each example gathers the rows of its stored values, in several panels at once.
    pub(in crate::model) fn gather_product<'r>(
        &self,
        worker: &Worker,
        cols: usize,
        words: bool,
        right: impl Fn(usize) -> &'r [Row],
        mut epilogue: impl FnMut(ProductTile),
    ) {
        let panels = panels_of(cols);
        let groups = panels.div_ceil(PANELS);
        let grid = Grid::new(self.rows.div_ceil(TILE), groups, worker.workers());
        let mut sums = [[ZERO_ROW; TILE]; PANELS];
        worker.phase(grid.items(), |item| {
            let (group, tiles) = grid.item(item);
            let group = split(panels, groups, group);
            for tile in tiles {
                if worker.stops() {
                    return;
                }
                let rows = tile * TILE..self.rows.min((tile + 1) * TILE);
                self.gather_rows(&right, words, group.clone(), rows.clone(), &mut sums);
                for (panel, sums) in group.clone().zip(&mut sums) {
                    let (rows, vectors) = (rows.clone(), vectors_of(cols, panel));
                    let products = &mut sums[..rows.len()];
                    epilogue(ProductTile { panel, rows, vectors, products });
                }
            }
        });
    }

    /// The products of the examples `rows` with a group of panels.
    fn gather_rows<'r>(
        &self,
        right: &impl Fn(usize) -> &'r [Row],
        words: bool,
        group: Range<usize>,
        rows: Range<usize>,
        sums: &mut [[Row; TILE]; PANELS],
    ) {
        let weights = |p| right(group.start + p);
        for (i, r) in rows.enumerate() {
            let (entries, count) = self.stored_row(r);
            macro_rules! gather {
                ($P:literal) => {{
                    let weights: [_; $P] = std::array::from_fn(weights);
                    let products = match words {
                        false => self.isa.run(GatherRow { entries, count, weights }),
                        true => self.isa.run(GatherWords { entries, count, weights }),
                    };
                    products.into_iter().zip(&mut *sums).for_each(|(row, sums)| sums[i] = row);
                }};
            }
            match group.len() {
                1 => gather!(1),
                2 => gather!(2),
                3 => gather!(3),
                _ => gather!(4),
            }
        }
    }

    /// The gradient of a 32 x 32 block of weights, from panel `block` of the batch and panel `dy` of the output's
    /// gradient, of floats or of words by pairs.
    pub(in crate::model) fn gather_gradient(
        &self,
        block: usize,
        words: bool,
        dy: &[Row],
        out: &mut ProductBlock,
    ) {
        let entries = self.stored_panel(block);
        match words {
            false => self.isa.run(ScatterGradient { entries, dy, out }),
            true => self.isa.run(ScatterWords { entries, dy, out }),
        }
    }
}

/// The product of one row and `P` panels of W: sums over its stored columns, ascending.
struct GatherRow<'a, const P: usize> {
    /// The values of the row and of the rows after it.
    entries: &'a [StoredValue],
    /// The number of values of the row.
    count: usize,
    /// The rows of each panel of W.
    weights: [&'a [Row]; P],
}

impl<const P: usize> Op for GatherRow<'_, P> {
    type Output = [Row; P];
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> [Row; P] {
        let GatherRow { entries, count, weights } = self;
        let mut sums = [[s.zero(); 2]; P];
        for (n, entry) in entries[..count].iter().enumerate() {
            if let Some(later) = entries.get(n + PREFETCH_DISTANCE) {
                for weights in weights {
                    let row = weights.as_ptr().wrapping_add(later.at as usize).cast::<u8>();
                    prefetch(row);
                    prefetch(row.wrapping_add(LINE));
                }
            }
            let x = s.splat(entry.input);
            for p in 0..P {
                let row = &weights[p][entry.at as usize];
                for v in 0..2 {
                    sums[p][v] = s.fma(x, s.load(&row[v]), sums[p][v]);
                }
            }
        }
        let mut out = [ZERO_ROW; P];
        for (out, sums) in out.iter_mut().zip(sums) {
            out.iter_mut().zip(sums).for_each(|(out, sum)| s.store(sum, out));
        }
        out
    }
}

/// The product of one row, rounded to bfloat16, and `P` panels of words by pairs. Of the two columns of a word the odd one
/// is added first: the sums have the bits of a dense batch's, unless they are subnormal.
struct GatherWords<'a, const P: usize> {
    entries: &'a [StoredValue],
    count: usize,
    weights: [&'a [Row]; P],
}

impl<const P: usize> Op for GatherWords<'_, P> {
    type Output = [Row; P];
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> [Row; P] {
        let GatherWords { entries, count, weights } = self;
        let mut sums = [[s.zero(); 2]; P];
        let mut n = 0;
        while n < count {
            let (at, mut x) = (entries[n].at as usize, [0.0; 2]);
            x[at % 2] = entries[n].input;
            n += 1;
            if n < count && at % 2 == 0 && entries[n].at as usize == at + 1 {
                x[1] = entries[n].input;
                n += 1;
            }
            if let Some(later) = entries.get(n + PREFETCH_DISTANCE) {
                for weights in weights {
                    let row = weights.as_ptr().wrapping_add(later.at as usize / 2).cast::<u8>();
                    prefetch(row);
                    prefetch(row.wrapping_add(LINE));
                }
            }
            let x = [rounded(s, s.splat(x[0])), rounded(s, s.splat(x[1]))];
            for p in 0..P {
                let row = &weights[p][at / 2];
                for v in 0..2 {
                    let [low, high] = halves(s, s.to_bits(s.load(&row[v])));
                    sums[p][v] = s.fma(x[0], low, s.fma(x[1], high, sums[p][v]));
                }
            }
        }
        let mut out = [ZERO_ROW; P];
        for (out, sums) in out.iter_mut().zip(sums) {
            out.iter_mut().zip(sums).for_each(|(out, sum)| s.store(sum, out));
        }
        out
    }
}

/// The product of a transposed panel of the batch and a panel of the output's gradient: sums over the batch, rows
/// ascending.
struct ScatterGradient<'a> {
    entries: &'a [StoredValue],
    dy: &'a [Row],
    out: &'a mut ProductBlock,
}

impl Op for ScatterGradient<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let ScatterGradient { entries, dy, out } = self;
        out[..WIDTH].fill(ZERO_ROW);
        for entry in entries {
            let (x, dy, to) = (s.splat(entry.input), &dy[entry.panel()], &mut out[entry.lane()]);
            for (to, dy) in to.iter_mut().zip(dy) {
                s.store(s.fma(x, s.load(dy), s.load(to)), to);
            }
        }
    }
}

/// [`ScatterGradient`] of rounded values, with words by pairs. Of the two rows of a word the odd one is added first.
struct ScatterWords<'a> {
    entries: &'a [StoredValue],
    dy: &'a [Row],
    out: &'a mut ProductBlock,
}

impl Op for ScatterWords<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let ScatterWords { entries: mut rest, dy, out } = self;
        out[..WIDTH].fill(ZERO_ROW);
        while let Some(first) = rest.first() {
            let word = first.panel() / 2;
            let (these, later) =
                rest.split_at(rest.iter().take_while(|e| e.panel() / 2 == word).count());
            rest = later;
            let (even, odd) =
                these.split_at(these.iter().take_while(|e| e.panel() % 2 == 0).count());
            let words = [s.to_bits(s.load(&dy[word][0])), s.to_bits(s.load(&dy[word][1]))];
            let [[low0, high0], [low1, high1]] = [halves(s, words[0]), halves(s, words[1])];
            for (entries, dy) in [(odd, [high0, high1]), (even, [low0, low1])] {
                for entry in entries {
                    let (x, to) = (rounded(s, s.splat(entry.input)), &mut out[entry.lane()]);
                    for (to, dy) in to.iter_mut().zip(dy) {
                        s.store(s.fma(x, dy, s.load(to)), to);
                    }
                }
            }
        }
    }
}
