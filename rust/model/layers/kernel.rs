//! The weights of a convolution with its products: down, up, and the gradient.
//!
//! A panel of parameters has 32 channels of the small image: rows (tap, l) of W, taps row by row, then a row of bias, which a
//! transposed convolution does not use. The derived buffer has Wᵀ: a panel of 32 channels of the large image has rows
//! (tap, s).
#![allow(unsafe_code)]

use crate::error::Result;
use crate::matrix::{
    Grid, ProductBlock, ProductTile, SegmentTable, panels_of, tile_rows, vectors_of,
};
use crate::model::memory::{BatchView, Matrix};
use crate::model::sink::Sink;
use crate::model::tensor::Layout;
use crate::nn::conv::{self, Window};
use crate::nn::dense::Transpose;
use crate::nn::image::{Image, Storage};
use crate::simd::{Row, SegmentList, SegmentProduct, Segments, WIDTH, ZERO_ROW};
use crate::threads::Worker;
use std::ops::Range;

/// Rows of both operands of a weight gradient at a time: they stay in the first-level cache for all tiles of a block.
const CACHED_ROWS: usize = 128;

/// The weights of a convolution.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// The geometry.
    pub window: Window,
    /// The image with the stride between its pixels.
    pub large: Image,
    /// The other image.
    pub small: Image,
    /// The first row of the parameters.
    pub start: usize,
    /// The first row of Wᵀ in the derived buffer, for a layer that goes up.
    transposed: Option<usize>,
    /// Columns of the encoder's input that join a large image read as a whole: their rows of W follow the image's.
    conditions: SegmentList,
    down: SegmentTable,
    up: SegmentTable,
    meetings: Vec<SegmentList>,
    patches: SegmentTable,
}

impl Kernel {
    /// Asks for its rows; `up` for a layer that goes up, be it for values or for gradients. Columns `conditions` of the encoder's
    /// input are inputs too.
    pub fn new(
        layout: &mut Layout,
        window: Window,
        (large, small): (Image, Image),
        conditions: Range<usize>,
        up: bool,
    ) -> Result<Kernel> {
        let (taps, channels) = (window.taps(), small.shape.channels);
        let inputs = taps.saturating_mul(large.shape.channels).saturating_add(conditions.len());
        layout.check(inputs, channels)?;
        let image = inputs - conditions.len();
        let start = layout.rows(panels_of(channels) * (inputs + 1));
        let derived = panels_of(large.shape.channels) * taps * channels;
        let transposed = up.then(|| layout.derived(derived));
        let by_pixel = large.storage == Storage::Panels;
        Ok(Kernel {
            window,
            large,
            small,
            start,
            transposed,
            conditions: conv::columns(conditions, image),
            down: conv::down(&window, &large, small.shape),
            up: match up {
                true => conv::up(&window, large.shape, &small),
                false => SegmentTable::default(),
            },
            meetings: if by_pixel { conv::meetings(&window, &large, &small) } else { Vec::new() },
            patches: match by_pixel {
                true => SegmentTable::default(),
                false => conv::patches(&window, &large, small.shape),
            },
        })
    }

    /// Rows of W: (tap, l), then conditions.
    pub fn inputs(&self) -> usize {
        self.image_inputs() + self.conditions.iter().map(|run| run.count as usize).sum::<usize>()
    }

    /// Rows (tap, l) of W.
    pub fn image_inputs(&self) -> usize {
        self.window.taps() * self.large.shape.channels
    }

    /// The rows of W in a panel of channels of the small image.
    pub fn weights(&self, panel: usize) -> Range<usize> {
        let start = self.start + panel * (self.inputs() + 1);
        start..start + self.inputs()
    }

    /// The row of bias of a panel of channels of the small image.
    pub fn bias(&self, panel: usize) -> usize {
        self.weights(panel).end
    }

    /// The rows of Wᵀ in a panel of channels of the large image.
    fn transposed(&self, panel: usize) -> Range<usize> {
        let start = self.transposed.expect("a layer that goes up");
        let rows = self.window.taps() * self.small.shape.channels;
        start + panel * rows..start + (panel + 1) * rows
    }

    /// Multiply-adds of an example.
    pub fn work(&self) -> usize {
        let pixels = self.small.shape.positions();
        pixels.saturating_mul(self.inputs()).saturating_mul(self.small.shape.channels)
    }

    /// The phase down. `epilogue` gets every tile, with the panel of the small image.
    pub fn down(
        &self,
        batch: &BatchView,
        worker: &Worker,
        large: Matrix,
        epilogue: &mut dyn FnMut(ProductTile),
    ) {
        // SAFETY: parameters change in the update only.
        let parameters = unsafe { batch.weights() };
        let right = |panel| &parameters[self.weights(panel)];
        let conditions = (!self.conditions.is_empty()).then(|| self.conditions.all());
        let operands = (large, conditions);
        product(batch, worker, operands, (&self.down, &self.small), &right, epilogue);
    }

    /// The phase up. `epilogue` gets every tile, with the panel of the large image.
    pub fn up(
        &self,
        batch: &BatchView,
        worker: &Worker,
        small: Matrix,
        epilogue: &mut dyn FnMut(ProductTile),
    ) {
        // SAFETY: derived rows change in the update only.
        let derived = unsafe { batch.derived.all() };
        let right = |panel| &derived[self.transposed(panel)];
        product(batch, worker, (small, None), (&self.up, &self.large), &right, epilogue);
    }

    /// The phase of the gradient of W. `large` and `small` are the images' matrices, one with values, one with gradients;
    /// `room` is where this layer has rows of its own.
    pub fn gradient(
        &self,
        batch: &BatchView,
        worker: &Worker,
        (large, small): (Matrix, Matrix),
        room: usize,
        sink: Sink,
    ) {
        match self.large.storage {
            Storage::Panels => self.gradient_by_pixels(batch, worker, (large, small), sink),
            _ => self.gradient_by_patches(batch, worker, (large, small), room, sink),
        }
        if !self.conditions.is_empty() {
            self.gradient_of_conditions(batch, worker, small, sink);
        }
    }

    /// An item is a panel of channels of the small image, which has one pixel.
    fn gradient_of_conditions(
        &self,
        batch: &BatchView,
        worker: &Worker,
        small: Matrix,
        sink: Sink,
    ) {
        let height = batch.rows;
        // SAFETY: both are from earlier phases.
        let (input, gradient) =
            unsafe { (batch.matrix(batch.memory.plan.input).data(), batch.matrix(small).data()) };
        worker.phase(self.small.pixel_panels(), |panel| {
            let vectors = vectors_of(self.small.shape.channels, panel);
            for run in self.conditions.iter() {
                let used = run.count as usize;
                let mut products: ProductBlock = [ZERO_ROW; _];
                let product = SegmentProduct {
                    segments: Segments::WHOLE_PANEL,
                    left: &input[run.panel as usize * height..][..height],
                    right: &gradient[panel * height..][..height],
                    height,
                    first: run.lane as usize,
                    rows: 0,
                    vectors,
                };
                add_columns(batch, product, used, &mut products);
                let start = self.weights(panel).start + run.to as usize;
                // SAFETY: the rows of the panel are this item's.
                unsafe {
                    let rows = start..start + used;
                    sink.accept(batch.isa, batch.parameters, rows, &products[..used], vectors);
                }
            }
        });
    }

    /// An item is a block of W: a tap, a panel of channels of the large image, one of the small image.
    fn gradient_by_pixels(
        &self,
        batch: &BatchView,
        worker: &Worker,
        (large, small): (Matrix, Matrix),
        sink: Sink,
    ) {
        let (height, channels) = (batch.rows * large.copies, self.large.shape.channels);
        let [blocks, panels] = [self.large.pixel_panels(), self.small.pixel_panels()];
        // SAFETY: both are from earlier phases.
        let (a, b) = unsafe { (batch.matrix(large).data(), batch.matrix(small).data()) };
        let chunk = (CACHED_ROWS / height).max(1);
        worker.phase(self.window.taps() * blocks * panels, |item| {
            let (panel, item) =
                (item / (self.window.taps() * blocks), item % (self.window.taps() * blocks));
            let (tap, block) = (item / blocks, item % blocks);
            let used = (channels - block * WIDTH).min(WIDTH);
            let vectors = vectors_of(self.small.shape.channels, panel);
            let mut products: ProductBlock = [ZERO_ROW; _];
            let list = &self.meetings[tap];
            let (left, right) = (&a[block * height..], &b[panel * height..]);
            for first in (0..list.len()).step_by(chunk) {
                let segments = list.part(first..(first + chunk).min(list.len()));
                let product =
                    SegmentProduct { segments, left, right, height, first: 0, rows: 0, vectors };
                add_columns(batch, product, used, &mut products);
            }
            let start = self.weights(panel).start + tap * channels + block * WIDTH;
            // SAFETY: an item is a block of W.
            unsafe {
                let rows = start..start + used;
                sink.accept(batch.isa, batch.parameters, rows, &products[..used], vectors);
            }
        });
    }

    /// Rows that [`Kernel::gradient_by_patches`] needs for each example: a panel for each item.
    pub fn patch_panels(&self) -> usize {
        match self.large.storage {
            Storage::Panels => 0,
            _ => panels_of(self.image_inputs()) * self.small.pixel_panels(),
        }
    }

    /// An item is a block of W: 32 rows, and a panel of channels of the small image. The patches of the large image are
    /// copied into a panel of their own, pixel by pixel.
    fn gradient_by_patches(
        &self,
        batch: &BatchView,
        worker: &Worker,
        (large, small): (Matrix, Matrix),
        room: usize,
        sink: Sink,
    ) {
        let (height, inputs) = (batch.rows * large.copies, self.image_inputs());
        let [blocks, panels] = [panels_of(inputs), self.small.pixel_panels()];
        let positions = self.small.shape.positions();
        // SAFETY: both are from earlier phases.
        let (a, b) = unsafe { (batch.matrix(large).data(), batch.matrix(small).data()) };
        let whole = Segments::WHOLE_PANEL;
        worker.phase(blocks * panels, |item| {
            let (panel, block) = (item / blocks, item % blocks);
            let used = (inputs - block * WIDTH).min(WIDTH);
            let vectors = vectors_of(self.small.shape.channels, panel);
            let mut products: ProductBlock = [ZERO_ROW; _];
            // SAFETY: the panel is this item's.
            let patch = unsafe {
                let start = room + item * height;
                batch.memory.arena.write(start..start + height)
            };
            let mut filled = None;
            for position in 0..positions {
                let (list, base, segments) = self.patches.get(block * positions + position);
                if filled != Some(list) {
                    patch.fill(ZERO_ROW);
                    filled = Some(list);
                }
                for segment in segments.iter() {
                    let from = &a[(base + segment.panel as usize) * height..][..height];
                    copy_columns(from, segment.lane, patch, segment.to, segment.count as usize);
                }
                let first = (position * panels + panel) * height;
                let product = SegmentProduct {
                    segments: whole,
                    left: patch,
                    right: &b[first..first + height],
                    height,
                    first: 0,
                    rows: 0,
                    vectors,
                };
                add_columns(batch, product, used, &mut products);
            }
            let start = self.weights(panel).start + block * WIDTH;
            // SAFETY: an item is a block of W.
            unsafe {
                let rows = start..start + used;
                sink.accept(batch.isa, batch.parameters, rows, &products[..used], vectors);
            }
        });
    }

    /// The phase that makes Wᵀ anew.
    pub fn transpose(&self, batch: &BatchView, worker: &Worker) {
        if self.transposed.is_none() {
            return;
        }
        let (taps, [large, small]) =
            (self.window.taps(), [self.large, self.small].map(|image| image.shape.channels));
        let [blocks, panels] = [panels_of(large), panels_of(small)];
        worker.phase(taps * blocks * panels, |item| {
            let (tap, item) = (item / (blocks * panels), item % (blocks * panels));
            let (block, panel) = (item / panels, item % panels);
            let part = |channels: usize, n: usize| {
                tap * channels + n * WIDTH..tap * channels + ((n + 1) * WIDTH).min(channels)
            };
            let (from, to) = (part(large, block), part(small, panel));
            let (source, target) = (self.weights(panel).start, self.transposed(block).start);
            // SAFETY: an item is a block of Wᵀ; parameters do not change in this phase.
            unsafe {
                batch.isa.run(Transpose {
                    from: batch.parameters.read(source + from.start..source + from.end),
                    to: batch.derived.write(target + to.start..target + to.end),
                });
            }
        });
    }
}

/// Copies `count` columns of all rows of a panel.
fn copy_columns(from: &[Row], lane: u32, to: &mut [Row], at: u32, count: usize) {
    let (lane, at) = (lane as usize, at as usize);
    let (from, to) = (crate::simd::floats_of(from), crate::simd::floats_mut(to));
    for (from, to) in from.chunks_exact(WIDTH).zip(to.chunks_exact_mut(WIDTH)) {
        let (from, to) = (&from[lane..lane + count], &mut to[at..at + count]);
        let (fours, rest) = (from.chunks_exact(4), count / 4 * 4);
        for (from, to) in fours.zip(to.chunks_exact_mut(4)) {
            to.copy_from_slice(from);
        }
        for i in rest..count {
            to[i] = from[i];
        }
    }
}

/// Adds the products of the first `used` columns of the left operand's panels to a block, tile by tile.
fn add_columns(
    batch: &BatchView,
    product: SegmentProduct,
    used: usize,
    products: &mut ProductBlock,
) {
    let isa = batch.isa;
    for index in 0..used.div_ceil(isa.tile_rows()) {
        let rows = tile_rows(used, isa, index);
        let tile = products[rows.start..].first_chunk_mut().expect("a tile's rows");
        let first = product.first + rows.start;
        isa.add_columns(SegmentProduct { first, rows: rows.len(), ..product }, tile);
    }
}

/// A phase: for each pixel of `to` the product of the columns of `from` in its segments, and of those of the encoder's input in
/// `conditions`, and of a panel of rows, `right`. The tile's panel is one of `to`.
fn product<'r>(
    batch: &BatchView,
    worker: &Worker,
    (from, conditions): (Matrix, Option<Segments>),
    (table, to): (&SegmentTable, &Image),
    right: &dyn Fn(usize) -> &'r [Row],
    epilogue: &mut dyn FnMut(ProductTile),
) {
    let (isa, height) = (batch.isa, batch.rows * from.copies);
    // SAFETY: the values are from an earlier phase.
    let (data, conditions) = unsafe {
        let input = |segments| (batch.matrix(batch.memory.plan.input).data(), segments);
        (batch.matrix(from).data(), conditions.map(input))
    };
    let (positions, panels) = (to.shape.positions(), to.pixel_panels());
    let grid = Grid::new(height.div_ceil(isa.tile_rows()), positions * panels, worker.workers());
    worker.phase(grid.items(), |item| {
        let (place, tiles) = grid.item(item);
        let (channels, position) = (place / positions, place % positions);
        let (_, base, segments) = table.get(position);
        let (left, right) = (&data[base * height..], right(channels));
        let vectors = vectors_of(to.shape.channels, channels);
        for index in tiles {
            let rows = tile_rows(height, isa, index);
            let mut tile = [ZERO_ROW; _];
            let (first, count) = (rows.start, rows.len());
            let product =
                SegmentProduct { segments, left, right, height, first, rows: count, vectors };
            isa.add_rows(product, &mut tile);
            if let Some((left, segments)) = conditions {
                isa.add_rows(SegmentProduct { segments, left, ..product }, &mut tile);
            }
            let panel = position * panels + channels;
            epilogue(ProductTile { panel, rows, vectors, products: &mut tile[..count] });
        }
    });
}
