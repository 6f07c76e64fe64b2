//! Matrix products as phases: the tiles, and their epilogues.

use super::{Grid, Panels, panels_of, vectors_of};
use crate::simd::{
    Isa, Left, MAX_TILE_ROWS, NonzeroIndices, Prefetch, Product, ROW_PANELS, Row, Tile, WIDTH,
    ZERO_ROW, word_rows,
};
use crate::threads::{Worker, split};
use std::ops::Range;

/// One tile of a product, as its epilogue receives it.
pub struct ProductTile<'a> {
    /// The panel of the product.
    pub panel: usize,
    /// The rows of the product.
    pub rows: Range<usize>,
    /// The number of vectors (1 or 2) of a row that hold columns.
    pub vectors: usize,
    /// The products, one `Row` for each of `rows`.
    pub products: &'a mut [Row],
}

/// A phase: the product of `left` [rows, k] and a matrix [k, cols]; `right(panel)` returns the k rows of a panel of the
/// right matrix. `nonzero(tile)` may list the k for which `left` is not zero in a tile of rows. `epilogue` receives
/// every tile while it is in the first-level cache.
pub fn product<'r>(
    worker: &Worker,
    isa: Isa,
    left: Panels<'_>,
    nonzero: impl Fn(usize) -> Option<NonzeroIndices<'r>>,
    cols: usize,
    right: impl Fn(usize) -> &'r [Row],
    mut epilogue: impl FnMut(ProductTile),
) {
    if left.rows() == 1 {
        let (data, nonzero) = (left.data(), nonzero(0));
        let product =
            |right: [&[Row]; 2], sums: &mut _| isa.pair_product(data, right, nonzero, sums);
        return row_product(worker, cols, &right, &product, &mut epilogue);
    }
    let left = (Operands::Floats, left.data(), left.rows());
    product_dyn(worker, isa, left, &nonzero, cols, &right, &mut epilogue);
}

/// [`product`] of words: `left` are the panels by rows of a matrix with `rows` rows, `right(panel)` the words by pairs of a panel.
pub fn word_product<'r>(
    worker: &Worker,
    isa: Isa,
    (left, rows): (&[Row], usize),
    nonzero: impl Fn(usize) -> Option<NonzeroIndices<'r>>,
    cols: usize,
    right: impl Fn(usize) -> &'r [Row],
    mut epilogue: impl FnMut(ProductTile),
) {
    if rows == 1 {
        let nonzero = nonzero(0);
        let product = |right: [&[Row]; ROW_PANELS], sums: &mut _| {
            isa.word_row_product(left, right, nonzero, sums)
        };
        return row_product(worker, cols, &right, &product, &mut epilogue);
    }
    let left = (Operands::Words, left, rows);
    product_dyn(worker, isa, left, &nonzero, cols, &right, &mut epilogue);
}

/// What a product multiplies.
#[derive(Clone, Copy)]
enum Operands {
    /// float32.
    Floats,
    /// Words of two bfloat16.
    Words,
}

impl Operands {
    /// Computes one tile.
    fn multiply(self, isa: Isa, product: Product, tile: &mut Tile) {
        match self {
            Operands::Floats => isa.product(product, tile),
            Operands::Words => isa.word_product(product, true, tile),
        }
    }

    /// What to prefetch for the next panel of a tile of `rows` rows.
    fn next_panel(self, rows: usize) -> Prefetch {
        match self {
            Operands::Floats => Prefetch::next_panel(rows),
            Operands::Words => Prefetch::next_panel(word_rows(rows)),
        }
    }
}

/// A product without generic parameters, so that it is compiled once; an indirect call is cheap beside a tile.
fn product_dyn<'r>(
    worker: &Worker,
    isa: Isa,
    (operands, left, height): (Operands, &[Row], usize),
    nonzero: &dyn Fn(usize) -> Option<NonzeroIndices<'r>>,
    cols: usize,
    right: &dyn Fn(usize) -> &'r [Row],
    epilogue: &mut dyn FnMut(ProductTile),
) {
    let tiles = height.div_ceil(isa.tile_rows());
    let bytes = [size_of_val(left) / tiles, size_of_val(left) * WIDTH / height];
    let grid = Grid::cached(tiles, panels_of(cols), worker.workers(), bytes);
    let mut tile = [ZERO_ROW; MAX_TILE_ROWS];
    worker.phase(grid.items(), |item| {
        let (panel, block) = grid.item(item);
        let (right, vectors) = (right(panel), vectors_of(cols, panel));
        for index in block {
            if worker.stops() {
                return;
            }
            let rows = tile_rows(height, isa, index);
            let left = Left::Rows { panels: left, height, first: rows.start };
            let (nonzero, prefetch) = (nonzero(index), operands.next_panel(rows.len()));
            let product = Product { left, right, nonzero, rows: rows.len(), vectors, prefetch };
            operands.multiply(isa, product, &mut tile);
            let products = &mut tile[..rows.len()];
            epilogue(ProductTile { panel, rows, vectors, products });
        }
    });
}

/// The product of a row and some panels.
type RowProduct<'a, const N: usize> = dyn Fn([&[Row]; N], &mut [Row; N]) + 'a;

/// A product of a single row: several panels at a time, because one panel is a chain of dependent multiply-adds.
fn row_product<'r, const N: usize>(
    worker: &Worker,
    cols: usize,
    right: &dyn Fn(usize) -> &'r [Row],
    product: &RowProduct<N>,
    epilogue: &mut dyn FnMut(ProductTile),
) {
    let panels = panels_of(cols);
    worker.phase(panels.div_ceil(N), |item| {
        let first = item * N;
        let mut sums = [ZERO_ROW; N];
        product(std::array::from_fn(|n| right((first + n).min(panels - 1))), &mut sums);
        for (panel, sums) in (first..panels).zip(&mut sums) {
            let vectors = vectors_of(cols, panel);
            let products = std::slice::from_mut(sums);
            epilogue(ProductTile { panel, rows: 0..1, vectors, products });
        }
    });
}

/// The product leftᵀ right of a panel `left` [n, 32] and a panel `right` [n, 32]: 32 x 32 sums over n, for the first
/// `used` columns of `left`, in tiles of these columns. `hints(tile, columns)` may list the n for which `left` is not
/// zero in a tile, and the memory to prefetch.
pub fn transposed_product<'r>(
    isa: Isa,
    left: &[Row],
    used: usize,
    right: &[Row],
    vectors: usize,
    hints: impl Fn(usize, Range<usize>) -> (Option<NonzeroIndices<'r>>, Prefetch),
    out: &mut ProductBlock,
) {
    for index in 0..used.div_ceil(isa.tile_rows()) {
        let rows = tile_rows(used, isa, index);
        let left = Left::Columns { panel: left, first: rows.start };
        let (nonzero, prefetch) = hints(index, rows.clone());
        let tile = (&mut out[rows.start..][..MAX_TILE_ROWS]).try_into().expect("a tile's rows");
        isa.product(Product { left, right, nonzero, rows: rows.len(), vectors, prefetch }, tile);
    }
}

/// Pairs of rows at a time in [`transposed_word_product`]: both operands stay in the first-level cache for all tiles.
const CACHED_PAIRS: usize = 96;

/// [`transposed_product`] of words by pairs: n counts pairs of rows.
pub fn transposed_word_product<'r>(
    isa: Isa,
    left: &[Row],
    used: usize,
    right: &[Row],
    vectors: usize,
    hints: impl Fn(usize, Range<usize>) -> (Option<NonzeroIndices<'r>>, Prefetch),
    out: &mut ProductBlock,
) {
    let chunks = right.len().div_ceil(CACHED_PAIRS);
    for chunk in 0..chunks {
        let part = split(right.len(), chunks, chunk);
        for index in 0..used.div_ceil(isa.tile_rows()) {
            let rows = tile_rows(used, isa, index);
            let (nonzero, prefetch) = hints(index, rows.clone());
            // The indices of a list count from the panel's start.
            let (first, nonzero) = match nonzero {
                None => (part.start, None),
                Some(list) => (0, Some(list.within(part.clone()))),
            };
            let left = Left::Columns { panel: &left[first..part.end], first: rows.start };
            let right = &right[first..part.end];
            let prefetch = if chunk + 1 == chunks { prefetch } else { Prefetch::NOTHING };
            let tile = (&mut out[rows.start..][..MAX_TILE_ROWS]).try_into().expect("a tile's rows");
            let product = Product { left, right, nonzero, rows: rows.len(), vectors, prefetch };
            isa.word_product(product, chunk == 0, tile);
        }
    }
}

/// 32 rows of products; the last tile may extend beyond them.
pub type ProductBlock = [Row; WIDTH + MAX_TILE_ROWS];

/// The rows of tile `index`. Tiles have nearly equal heights: 64 rows are 14, 12, 14, 12, 12 rather than four times 14
/// and 8. They start at even rows: words have pairs of rows.
pub fn tile_rows(rows: usize, isa: Isa, index: usize) -> Range<usize> {
    let Range { start, end } = split(rows.div_ceil(2), rows.div_ceil(isa.tile_rows()), index);
    2 * start..rows.min(2 * end)
}
