//! The numbering of a product's tiles as work items.

use crate::threads::split;
use std::ops::Range;

/// Work items of a product: panels times blocks of tiles, in an order that reads memory seldom. Workers get ranges of items: a
/// worker has some panels. It takes as many tiles as stay in its cache, with all of its panels, then the next tiles: so the panels'
/// weights come from memory once for many tiles, and the left operand's rows once for all panels. With one panel the split is by rows.
#[derive(Clone, Copy)]
pub struct Grid {
    tiles: usize,
    panels: usize,
    /// Groups of panels, one for each worker.
    groups: usize,
    /// Parts of the tiles that stay in the cache.
    chunks: usize,
    /// Blocks of tiles in a chunk.
    blocks: usize,
}

/// Items per worker: enough for workers that finish early to balance the load.
const ITEMS_PER_WORKER: usize = 32;

/// Bytes of the left operand at a time: a part of the second-level cache.
const CHUNK: usize = 256 << 10;

impl Grid {
    /// The grid of `panels` panels of `tiles` tiles each, for `workers` workers.
    pub fn new(tiles: usize, panels: usize, workers: usize) -> Grid {
        Grid::cached(tiles, panels, workers, [0; 2])
    }

    /// [`Grid::new`] for tiles of which each reads `left` bytes of the left operand, and panels of the right one of `right` bytes.
    pub fn cached(tiles: usize, panels: usize, workers: usize, [left, right]: [usize; 2]) -> Grid {
        // Every chunk reads all panels: that pays if a panel is smaller.
        let chunks = if 2 * right <= CHUNK { (tiles * left).div_ceil(CHUNK) } else { 1 };
        let chunks = chunks.clamp(1, tiles);
        let wanted = if workers == 1 { 1 } else { (workers * ITEMS_PER_WORKER).div_ceil(panels) };
        let blocks = wanted.clamp(1, tiles).div_ceil(chunks);
        let chunks = chunks.min(tiles / blocks);
        Grid { tiles, panels, groups: workers.min(panels), chunks, blocks }
    }

    /// The number of items.
    pub fn items(&self) -> usize {
        self.panels * self.chunks * self.blocks
    }

    /// The panel and the tiles of an item.
    pub fn item(&self, item: usize) -> (usize, Range<usize>) {
        if self.chunks == 1 {
            return (item / self.blocks, split(self.tiles, self.blocks, item % self.blocks));
        }
        let of_panel = self.chunks * self.blocks;
        let groups = (0..self.groups).map(|group| split(self.panels, self.groups, group));
        let group = groups.into_iter().find(|group| item < group.end * of_panel);
        let group = group.expect("an item of the grid");
        let item = item - group.start * of_panel;
        let of_chunk = group.len() * self.blocks;
        let (chunk, item) = (item / of_chunk, item % of_chunk);
        let (panel, block) = (group.start + item / self.blocks, item % self.blocks);
        (panel, split(self.tiles, of_panel, chunk * self.blocks + block))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tile_of_every_panel_is_in_one_item() {
        for (tiles, panels, workers, left) in [
            (1, 1, 1, 0),
            (37, 13, 2, 22_000),
            (147, 25, 3, 22_000),
            (5, 7, 8, 1 << 30),
            (3, 1, 2, 1 << 20),
            (64, 2, 5, 4096),
        ] {
            let grid = Grid::cached(tiles, panels, workers, [left, 0]);
            let mut seen = vec![0; tiles * panels];
            for item in 0..grid.items() {
                let (panel, part) = grid.item(item);
                assert!(!part.is_empty());
                part.for_each(|tile| seen[panel * tiles + tile] += 1);
            }
            assert!(seen.iter().all(|&n| n == 1), "{tiles} {panels} {workers} {left}");
        }
    }
}
