//! The panel storage format, matrix products tile by tile, and memory shared by workers.

mod grid;
mod pairs;
mod panels;
mod product;
mod quads;
mod segment_table;
mod shared;

pub use grid::Grid;
pub use pairs::{from_bf16, from_pairs, to_bf16, to_pairs};
pub use panels::{ColumnMap, Panels, RowMap, from_panels, panels_of, spans, to_panels, vectors_of};
pub use product::{
    ProductBlock, ProductTile, product, tile_rows, transposed_product, transposed_word_product,
    word_product,
};
pub use quads::{from_quads, quads_of, sums_of_quads, to_quads};
pub use segment_table::SegmentTable;
pub use shared::Shared;
