//! The numbering of a product's tiles as work items.

use crate::threads::split;
use std::ops::Range;

/// Work items of a product: panels times blocks of tiles. Items of one panel are consecutive, so a worker's range of
/// items keeps a panel's weights in its cache; with one panel the split is by rows.
#[derive(Clone, Copy)]
pub struct Grid {
    tiles: usize,
    panels: usize,
    blocks: usize,
}

/// Items per worker: enough for workers that finish early to balance the load.
const ITEMS_PER_WORKER: usize = 32;

impl Grid {
    /// The grid of `panels` panels of `tiles` tiles each, for `workers` workers.
    pub fn new(tiles: usize, panels: usize, workers: usize) -> Grid {
        let blocks = if workers == 1 { 1 } else { (workers * ITEMS_PER_WORKER).div_ceil(panels) };
        Grid { tiles, panels, blocks: blocks.clamp(1, tiles) }
    }

    /// The number of items.
    pub fn items(&self) -> usize {
        self.panels * self.blocks
    }

    /// The panel and the tiles of an item.
    pub fn item(&self, item: usize) -> (usize, Range<usize>) {
        (item / self.blocks, split(self.tiles, self.blocks, item % self.blocks))
    }
}
