//! The products of a dense layer with a sparse batch: sums over the stored values only.
#![allow(unsafe_code)]

use crate::matrix::{Grid, ProductBlock, ProductTile, panels_of, vectors_of};
use crate::model::memory::{BatchView, StoredValue};
use crate::simd::{LINE, Op, Row, Simd, WIDTH, ZERO_ROW, prefetch};
use crate::threads::{Worker, split};
use std::ops::Range;

/// Panels of W that an example gathers at once: eight independent sums.
const PANELS: usize = 4;
/// Examples in a tile.
const TILE: usize = 8;
/// The number of values by which the prefetch of rows of W is ahead.
const PREFETCH_DISTANCE: usize = 8;

impl<'a> BatchView<'a> {
    /// A phase: the product of the sparse batch and a matrix of `cols` columns, whose panels are `right(panel)`. Each
    /// example gathers the rows of its stored values, in several panels at once.
    pub(in crate::model) fn gather_product<'r>(
        &self,
        worker: &Worker,
        cols: usize,
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
                self.gather_rows(&right, group.clone(), rows.clone(), &mut sums);
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
                    let products = self.isa.run(GatherRow { entries, count, weights });
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
    /// gradient.
    pub(in crate::model) fn gather_gradient(
        &self,
        block: usize,
        dy: &[Row],
        out: &mut ProductBlock,
    ) {
        self.isa.run(ScatterGradient { entries: self.stored_panel(block), dy, out });
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
