//! Matrices in panels and the order in which a phase walks the tiles of a product.

mod grid;
mod panels;
mod shared;

pub use grid::Grid;
pub use panels::{Panels, from_panels, panels_of, to_panels, vectors_of};
pub use shared::Shared;

use crate::isa::{Isa, Left, MAX_TILE_ROWS, Row, ZERO_ROW};
use crate::team::{Worker, split};
use std::ops::Range;

/// One tile of a product on its way to its epilogue.
pub struct Finished<'a> {
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
/// rows. Every tile goes to `epilogue` while it is in the first-level cache.
pub fn product<'r>(
    worker: &Worker,
    isa: Isa,
    left: Panels<'_>,
    cols: usize,
    right: impl Fn(usize) -> &'r [Row],
    mut epilogue: impl FnMut(Finished),
) {
    let grid = Grid::new(left.rows(), panels_of(cols), isa.tile_rows(), worker.workers());
    let mut tile = [ZERO_ROW; MAX_TILE_ROWS];
    worker.phase(grid.items(), |item| {
        let (panel, block) = grid.item(item);
        let (right, vectors) = (right(panel), vectors_of(cols, panel));
        for rows in tiles(block, isa.tile_rows()) {
            let left = Left::Rows { panels: left.data(), height: left.rows(), first: rows.start };
            isa.product(left, right, rows.len(), vectors, &mut tile);
            let products = &mut tile[..rows.len()];
            epilogue(Finished { panel, rows, vectors, products });
        }
    });
}

/// The transposed product of one panel of `left` [n, 32] and one of `right` [n, cols]: 32 x 32 sums over n, for
/// the `used` columns of `left`.
pub fn transposed_product(
    isa: Isa,
    left: &[Row],
    used: usize,
    right: &[Row],
    vectors: usize,
    mut epilogue: impl FnMut(Range<usize>, &[Row]),
) {
    let mut tile = [ZERO_ROW; MAX_TILE_ROWS];
    for rows in tiles(0..used, isa.tile_rows()) {
        let left = Left::Columns { panel: left, first: rows.start };
        isa.product(left, right, rows.len(), vectors, &mut tile);
        epilogue(rows.clone(), &tile[..rows.len()]);
    }
}

/// Cuts rows into tiles of nearly equal height (64 rows are 13, 13, 13, 13, 12, not four times 14 and 8).
fn tiles(rows: Range<usize>, most: usize) -> impl Iterator<Item = Range<usize>> {
    let count = rows.len().div_ceil(most);
    (0..count).map(move |i| {
        let part = split(rows.len(), count, i);
        rows.start + part.start..rows.start + part.end
    })
}
