//! The order in which a phase walks the tiles of a product.

use super::{Grid, Panels, panels_of, vectors_of};
use crate::simd::{
    Isa, Left, MAX_TILE_ROWS, NonzeroIndices, Prefetch, Product, Row, WIDTH, ZERO_ROW,
};
use crate::threads::{Worker, split};
use std::ops::Range;

/// One tile of a product on its way to its epilogue.
pub struct ProductTile<'a> {
    /// Which panel of the product.
    pub panel: usize,
    /// Which of its rows.
    pub rows: Range<usize>,
    /// How many of a row's two vectors hold columns.
    pub vectors: usize,
    /// The products, one `Row` for each of `rows`.
    pub products: &'a mut [Row],
}

/// A phase: the product of `left` [rows, k] and a matrix [k, cols] of which `right(panel)` is a panel's k
/// rows. `kept(tile)` may say which k matter to a tile of rows. Every tile goes to `epilogue` while it is in
/// the first-level cache.
pub fn product<'r>(
    worker: &Worker,
    isa: Isa,
    left: Panels<'_>,
    kept: impl Fn(usize) -> Option<NonzeroIndices<'r>>,
    cols: usize,
    right: impl Fn(usize) -> &'r [Row],
    mut epilogue: impl FnMut(ProductTile),
) {
    product_dyn(worker, isa, left, &kept, cols, &right, &mut epilogue);
}

/// [`product`], compiled once: calls cost nothing beside a tile.
fn product_dyn<'r>(
    worker: &Worker,
    isa: Isa,
    left: Panels<'_>,
    kept: &dyn Fn(usize) -> Option<NonzeroIndices<'r>>,
    cols: usize,
    right: &dyn Fn(usize) -> &'r [Row],
    epilogue: &mut dyn FnMut(ProductTile),
) {
    if left.rows() == 1 {
        return row_product(worker, isa, left, kept(0), cols, right, epilogue);
    }
    let tiles = left.rows().div_ceil(isa.tile_rows());
    let grid = Grid::new(tiles, panels_of(cols), worker.workers());
    let mut tile = [ZERO_ROW; MAX_TILE_ROWS];
    worker.phase(grid.items(), |item| {
        let (panel, block) = grid.item(item);
        let (right, vectors) = (right(panel), vectors_of(cols, panel));
        for index in block {
            let rows = tile_rows(left.rows(), isa, index);
            let left = Left::Rows { panels: left.data(), height: left.rows(), first: rows.start };
            let (kept, ahead) = (kept(index), Prefetch::next_panel(rows.len()));
            let product = Product { left, right, kept, rows: rows.len(), vectors, ahead };
            isa.product(product, &mut tile);
            let products = &mut tile[..rows.len()];
            epilogue(ProductTile { panel, rows, vectors, products });
        }
    });
}

/// The same for a single row: two panels at a time, since one is a chain of multiply-adds that wait for each other.
fn row_product<'r>(
    worker: &Worker,
    isa: Isa,
    left: Panels<'_>,
    kept: Option<NonzeroIndices<'r>>,
    cols: usize,
    right: &dyn Fn(usize) -> &'r [Row],
    epilogue: &mut dyn FnMut(ProductTile),
) {
    let panels = panels_of(cols);
    worker.phase(panels.div_ceil(2), |item| {
        let pair = [2 * item, (2 * item + 1).min(panels - 1)];
        let mut sums = [ZERO_ROW; 2];
        isa.pair_product(left.data(), pair.map(right), kept, &mut sums);
        for (panel, sums) in (2 * item..panels).zip(&mut sums) {
            let vectors = vectors_of(cols, panel);
            let products = std::slice::from_mut(sums);
            epilogue(ProductTile { panel, rows: 0..1, vectors, products });
        }
    });
}

/// The transposed product of one panel of `left` [n, 32] and one of `right` [n, cols]: 32 x 32 sums over n, for
/// the `used` columns of `left`, cut into tiles as rows are. `hints(tile, rows)` may say which n matter to a tile,
/// and what to bring near meanwhile.
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
        let (kept, ahead) = hints(index, rows.clone());
        let tile = (&mut out[rows.start..][..MAX_TILE_ROWS]).try_into().expect("a tile's rows");
        isa.product(Product { left, right, kept, rows: rows.len(), vectors, ahead }, tile);
    }
}

/// Room for 32 rows of products, and for what a tile at their end may leave unused.
pub type ProductBlock = [Row; WIDTH + MAX_TILE_ROWS];

/// The rows of tile `index`: tiles have nearly equal height (64 rows are 13, 13, 13, 13, 12, not four times 14
/// and 8).
pub fn tile_rows(rows: usize, isa: Isa, index: usize) -> Range<usize> {
    split(rows, rows.div_ceil(isa.tile_rows()), index)
}
