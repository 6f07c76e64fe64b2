//! The weights of a convolution with its products: down, up, and the gradient.
//!
//! A panel of parameters has 32 channels of the small image: rows (tap, l) of W, taps row by row, then a row of bias, which a
//! transposed convolution does not use. The derived buffer has Wᵀ: a panel of 32 channels of the large image has rows
//! (tap, s).
//!
//! Where products multiply [words](crate::simd::ToWords), the derived buffer has the words of W too, in the [runs](conv::WordRun)
//! that the segments multiply, and those of Wᵀ: for two channels of a tap one row, the last one padded with zero. Sums run as those of
//! floats do, tap by tap, word by word (the weight gradient: pixel by pixel, pair of examples by pair), in one accumulator each: they
//! depend neither on the threads nor, but for the gradient, on the batch.
#![allow(unsafe_code)]

use super::dense::{transpose_block, weight_words};
use crate::error::{Error, Result};
use crate::matrix::{
    Grid, ProductBlock, ProductTile, SegmentTable, panels_of, tile_rows, vectors_of,
};
use crate::model::memory::{BatchView, Matrix};
use crate::model::sink::Sink;
use crate::model::tensor::Layout;
use crate::nn::conv::{self, Window, WordRun, WordRuns};
use crate::nn::image::{Image, Storage};
use crate::simd::{
    MAX_TILE_ROWS, ROW_WORDS, Row, Segment, SegmentList, SegmentProduct, Segments, ToWords, WIDTH,
    ZERO_ROW, floats, floats_mut, floats_of, word_rows,
};
use crate::threads::{Worker, split};
use std::ops::Range;

/// Rows of both operands of a weight gradient at a time: they stay in the first-level cache for all tiles of a block.
const CACHED_ROWS: usize = 128;

/// Items of the phase of a weight gradient for each worker, if it has enough blocks.
const ITEMS_PER_WORKER: usize = 4;

/// The most blocks of an item of a weight gradient.
const MOST_BLOCKS: usize = 8;

/// The most rows of W of an item where the large image has no panels for each pixel.
const RUN_ROWS: usize = 64;

/// Segments of the left operand that are copied at a time for a product of few rows.
const COPIED_SEGMENTS: usize = 32;

/// The most pixels at a time, however few rows each has.
const MOST_PIXELS: usize = 32;

/// The most pairs of a pixel and a tap, which are looked at when a layer is made.
const MOST_PAIRS: usize = 1 << 25;

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
    /// The words of W, if products multiply words.
    words: Option<WeightRuns>,
    /// Columns of the encoder's input that join a large image read as a whole: their rows of W follow the image's.
    conditions: SegmentList,
    /// These segments, or those of words.
    read_conditions: SegmentList,
    down: SegmentTable,
    up: SegmentTable,
    /// For each small pixel the columns of a large image without panels for each pixel, and their rows of W.
    runs: SegmentTable,
}

/// The words of W in the derived buffer.
#[derive(Clone, Debug)]
struct WeightRuns {
    /// The first row.
    start: usize,
    /// What a panel of channels of the small image has, one after the other.
    runs: Vec<WordRun>,
}

impl WeightRuns {
    /// The rows of run `n` of a panel.
    fn run(&self, panel: usize, n: usize) -> Range<usize> {
        let (start, words) = (self.panel(panel).start, &self.runs[n].words);
        start + words.start..start + words.end
    }

    /// The rows of a panel.
    fn panel(&self, panel: usize) -> Range<usize> {
        let rows = self.runs.last().map_or(0, |run| run.words.end);
        self.start + panel * rows..self.start + (panel + 1) * rows
    }
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
        if small.shape.positions().saturating_mul(taps) > MOST_PAIRS {
            let [height, width] = window.kernel;
            return Err(Error::Parameter(format!(
                "a kernel of {height} x {width} on an image of {} pixels is too large: use at most {MOST_PAIRS} pairs of \
                 pixel and tap",
                large.shape.positions()
            )));
        }
        let image = inputs - conditions.len();
        let start = layout.rows(panels_of(channels) * (inputs + 1));
        let conditions = conv::columns(conditions, image);
        let runs = conv::down(&window, &large, small.shape);
        let (mut down, mut word_conditions, mut words) = (runs.clone(), None, None);
        if layout.words {
            let mut word_runs = WordRuns::default();
            down = word_runs.table(&runs);
            let list = conditions.iter().map(|s| word_runs.segment(s)).collect();
            word_conditions = Some(SegmentList::new(list));
            let runs = word_runs.runs;
            let rows = panels_of(channels) * runs.last().map_or(0, |run| run.words.end);
            words = Some(WeightRuns { start: layout.derived(rows), runs });
        }
        let per = if words.is_some() { 2 } else { 1 };
        let derived = panels_of(large.shape.channels) * taps * channels.div_ceil(per);
        let transposed = up.then(|| layout.derived(derived));
        Ok(Kernel {
            window,
            large,
            small,
            start,
            transposed,
            words,
            read_conditions: word_conditions.unwrap_or_else(|| conditions.clone()),
            conditions,
            down,
            up: match up {
                true => conv::up(&window, large.shape, &small, per),
                false => SegmentTable::default(),
            },
            runs: match large.storage {
                Storage::Panels => SegmentTable::default(),
                _ => runs,
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
        let rows = self.window.taps() * self.rows_of_tap(self.small.shape.channels);
        start + panel * rows..start + (panel + 1) * rows
    }

    /// The rows of `channels` channels of a tap.
    pub fn rows_of_tap(&self, channels: usize) -> usize {
        if self.multiplies_words() { word_rows(channels) } else { channels }
    }

    /// Whether its products are of words.
    pub fn multiplies_words(&self) -> bool {
        self.words.is_some()
    }

    /// An image as the left operand of a product along rows.
    ///
    /// # Safety
    /// No tile of the running phase writes to it.
    pub unsafe fn by_rows<'a>(&self, batch: &BatchView<'a>, image: Matrix) -> Operand<'a> {
        let (words, rows) = (self.multiplies_words(), batch.rows * image.copies);
        // SAFETY: passed on to the caller.
        unsafe {
            match words {
                false => Operand { data: batch.matrix(image).data(), rows, height: rows, words },
                true => {
                    let (data, rows) = batch.words_by_rows(image);
                    Operand { data, rows, height: word_rows(rows), words }
                }
            }
        }
    }

    /// An image as an operand of a product down columns: its panels, and the rows of each.
    ///
    /// # Safety
    /// No tile of the running phase writes to it.
    unsafe fn down_columns<'a>(&self, batch: &BatchView<'a>, image: Matrix) -> (&'a [Row], usize) {
        let rows = batch.rows * image.copies;
        // SAFETY: passed on to the caller.
        unsafe {
            match self.multiplies_words() {
                false => (batch.matrix(image).data(), rows),
                true => (batch.all_words_by_pairs(image), word_rows(rows)),
            }
        }
    }

    /// Multiply-adds of an example.
    pub fn work(&self) -> usize {
        let pixels = self.small.shape.positions();
        pixels.saturating_mul(self.inputs()).saturating_mul(self.small.shape.channels)
    }

    /// The phase down. `epilogue` gets every tile, with the panel of the small image, and finds its rows of matrices `near`
    /// prefetched.
    pub fn down(
        &self,
        batch: &BatchView,
        worker: &Worker,
        large: Matrix,
        near: &[Matrix],
        epilogue: &mut dyn FnMut(ProductTile),
    ) {
        // SAFETY: parameters and derived rows change in the update only, and the image is from an earlier phase.
        let (parameters, derived, large) =
            unsafe { (batch.weights(), batch.derived.all(), self.by_rows(batch, large)) };
        let right = |panel| match &self.words {
            None => &parameters[self.weights(panel)],
            Some(words) => &derived[words.panel(panel)],
        };
        let conditions = (!self.conditions.is_empty()).then(|| {
            // SAFETY: the input is from an earlier phase.
            let input = unsafe { self.by_rows(batch, batch.memory.plan.input) };
            (input.data, self.read_conditions.all())
        });
        let operands = (large, conditions);
        product(batch, worker, operands, (&self.down, &self.small), &right, near, epilogue);
    }

    /// The phase up. `epilogue` gets every tile, with the panel of the large image, and finds its rows of matrices `near`
    /// prefetched.
    pub fn up(
        &self,
        batch: &BatchView,
        worker: &Worker,
        small: Matrix,
        near: &[Matrix],
        epilogue: &mut dyn FnMut(ProductTile),
    ) {
        // SAFETY: derived rows change in the update only, and the image is from an earlier phase.
        let (derived, small) = unsafe { (batch.derived.all(), self.by_rows(batch, small)) };
        let right = |panel| &derived[self.transposed(panel)];
        product(batch, worker, (small, None), (&self.up, &self.large), &right, near, epilogue);
    }

    /// The phase of the gradient of W. `large` and `small` are the images' matrices, one with values, one with gradients. Items
    /// of `other`, as many as its number says, run in the same phase.
    pub fn gradient(
        &self,
        batch: &BatchView,
        worker: &Worker,
        (large, small): (Matrix, Matrix),
        other: (usize, &mut dyn FnMut(usize)),
        sink: Sink,
    ) {
        match self.large.storage {
            Storage::Panels => self.gradient_by_pixels(batch, worker, (large, small), other, sink),
            _ => self.gradient_by_runs(batch, worker, (large, small), other, sink),
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
        // SAFETY: both are from earlier phases.
        let [(input, height), (gradient, _)] =
            [batch.memory.plan.input, small].map(|m| unsafe { self.down_columns(batch, m) });
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
                    fresh: false,
                    words: self.multiplies_words(),
                };
                add_columns(batch, product, used, &mut products);
                let start = self.weights(panel).start + run.to as usize;
                // SAFETY: the rows of the panel are this item's.
                unsafe {
                    let rows = start..start + used;
                    self.deliver(batch, sink, (panel, rows), &mut products[..used]);
                }
            }
        });
    }

    /// A block of W is a tap, a panel of channels of the large image, and one of the small image. An item is some blocks, which
    /// read the same pixels soon after one another.
    fn gradient_by_pixels(
        &self,
        batch: &BatchView,
        worker: &Worker,
        (large, small): (Matrix, Matrix),
        (others, other): (usize, &mut dyn FnMut(usize)),
        sink: Sink,
    ) {
        let (channels, words) = (self.large.shape.channels, self.multiplies_words());
        let [blocks, panels] = [self.large.pixel_panels(), self.small.pixel_panels()];
        // SAFETY: both are from earlier phases.
        let [(a, height), (b, _)] = [large, small].map(|m| unsafe { self.down_columns(batch, m) });
        let chunk = (CACHED_ROWS / height).clamp(1, MOST_PIXELS);
        let all = self.window.taps() * blocks * panels;
        let group = (all / (ITEMS_PER_WORKER * worker.workers())).clamp(1, MOST_BLOCKS);
        let place = |n: usize| (n / panels / blocks, n / panels % blocks, n % panels);
        let mut products: [ProductBlock; MOST_BLOCKS] = [[ZERO_ROW; _]; _];
        worker.phase(others + all.div_ceil(group), |item| {
            let Some(item) = item.checked_sub(others) else { return other(item) };
            let part = item * group..((item + 1) * group).min(all);
            products[..part.len()].as_flattened_mut().fill(ZERO_ROW);
            let images = [&self.large, &self.small];
            let mut meetings: [_; MOST_BLOCKS] = std::array::from_fn(|n| {
                conv::meetings(&self.window, images, place(part.start + n).0).peekable()
            });
            for position in (0..self.small.shape.positions()).step_by(chunk) {
                if worker.stops() {
                    return;
                }
                let end = ((position + chunk) * panels) as u32;
                for (n, products) in part.clone().zip(&mut products) {
                    let (_, block, panel) = place(n);
                    let (mut list, mut found) = ([Segment::NONE; MOST_PIXELS], 0);
                    while let Some(segment) = meetings[n - part.start].next_if(|s| s.to < end) {
                        list[found] = segment;
                        found += 1;
                    }
                    let product = SegmentProduct {
                        segments: Segments::new(&list[..found]),
                        left: &a[block * height..],
                        right: &b[panel * height..],
                        height,
                        first: 0,
                        rows: 0,
                        vectors: vectors_of(self.small.shape.channels, panel),
                        fresh: false,
                        words,
                    };
                    if found > 0 {
                        let used = (channels - block * WIDTH).min(WIDTH);
                        add_columns(batch, product, used, products);
                    }
                }
            }
            for (n, products) in part.zip(&mut products) {
                let (tap, block, panel) = place(n);
                let used = (channels - block * WIDTH).min(WIDTH);
                let start = self.weights(panel).start + tap * channels + block * WIDTH;
                // SAFETY: each block of W is in one item.
                unsafe {
                    let rows = start..start + used;
                    self.deliver(batch, sink, (panel, rows), &mut products[..used]);
                }
            }
        });
    }

    /// An item is some rows of W and a panel of channels of the small image. A tile is the part of a row of taps that lies side
    /// by side in the large image.
    fn gradient_by_runs(
        &self,
        batch: &BatchView,
        worker: &Worker,
        (large, small): (Matrix, Matrix),
        (others, other): (usize, &mut dyn FnMut(usize)),
        sink: Sink,
    ) {
        let (isa, inputs, words) = (batch.isa, self.image_inputs(), self.multiplies_words());
        let (panels, positions) = (self.small.pixel_panels(), self.small.shape.positions());
        // SAFETY: both are from earlier phases.
        let [(a, height), (b, _)] = [large, small].map(|m| unsafe { self.down_columns(batch, m) });
        // Every item reads the small image: no more of them than workers.
        let parts = worker.workers().div_ceil(panels).min(self.window.kernel[0]);
        let parts = parts.max(inputs.div_ceil(RUN_ROWS));
        worker.phase(others + parts * panels, |item| {
            let Some(item) = item.checked_sub(others) else { return other(item) };
            let (panel, part) = (item / parts, split(inputs, parts, item % parts));
            let vectors = vectors_of(self.small.shape.channels, panel);
            let mut products = [ZERO_ROW; RUN_ROWS + MAX_TILE_ROWS];
            for position in 0..positions {
                if worker.stops() {
                    return;
                }
                let (base, segments) = self.runs.get(position);
                let right = &b[(position * panels + panel) * height..][..height];
                for segment in segments.iter() {
                    let (to, count) = (segment.to as usize, segment.count as usize);
                    let rows = to.max(part.start)..(to + count).min(part.end);
                    let lane = segment.lane as usize + rows.start - to;
                    let left = &a[(base + segment.panel as usize) * height..][..height];
                    for index in 0..rows.len().div_ceil(isa.tile_rows()) {
                        let tile = tile_rows(rows.len(), isa, index);
                        let products = &mut products[rows.start - part.start + tile.start..];
                        let product = SegmentProduct {
                            segments: Segments::WHOLE_PANEL,
                            left,
                            right,
                            height,
                            first: lane + tile.start,
                            rows: tile.len(),
                            vectors,
                            fresh: false,
                            words,
                        };
                        isa.add_columns(
                            product,
                            products.first_chunk_mut().expect("a tile's rows"),
                        );
                    }
                }
            }
            let start = self.weights(panel).start;
            // SAFETY: an item is a block of W.
            unsafe {
                let rows = start + part.start..start + part.end;
                self.deliver(batch, sink, (panel, rows), &mut products[..part.len()]);
            }
        });
    }

    /// Passes on the gradient of some rows of W in a panel. Its columns behind the channels, which are not zero where values of
    /// the small image are (as softplus(0) is), become zero: padding of W must stay zero, since gradients down are read with it.
    ///
    /// # Safety
    /// The rows are the calling item's.
    unsafe fn deliver(
        &self,
        batch: &BatchView,
        sink: Sink,
        (panel, rows): (usize, Range<usize>),
        products: &mut [Row],
    ) {
        let channels = self.small.shape.channels;
        let used = (channels - panel * WIDTH).min(WIDTH);
        if used < WIDTH {
            for row in products.chunks_mut(1) {
                floats_mut(row)[used..].fill(0.0);
            }
        }
        // SAFETY: the caller's promise.
        unsafe {
            let vectors = vectors_of(channels, panel);
            sink.accept(batch.isa, batch.parameters, rows, products, vectors);
        }
    }

    /// The phase that makes Wᵀ and the words anew.
    pub fn derive(&self, batch: &BatchView, worker: &Worker) {
        let (taps, [large, small]) =
            (self.window.taps(), [self.large, self.small].map(|image| image.shape.channels));
        let [blocks, panels] = [panels_of(large), panels_of(small)];
        let runs = self.words.as_ref().map_or(0, |words| words.runs.len());
        let transposed = if self.transposed.is_some() { taps * blocks } else { 0 };
        if runs + transposed == 0 {
            return;
        }
        worker.phase((runs + transposed) * panels, |item| {
            let (n, panel) = (item / panels, item % panels);
            let Some(n) = n.checked_sub(runs) else {
                // SAFETY: an item is a run of words; parameters do not change in this phase.
                return unsafe { self.derive_run(batch, panel, n) };
            };
            let (tap, block) = (n / blocks, n % blocks);
            let rows = |start: usize, channels: usize| {
                start + tap * channels..start + (tap + 1) * channels
            };
            let from = (batch.parameters, rows(self.weights(panel).start, large));
            let to = rows(self.transposed(block).start, self.rows_of_tap(small));
            // SAFETY: an item is a block of Wᵀ; parameters do not change in this phase.
            unsafe {
                match self.multiplies_words() {
                    false => transpose_block(batch, from, to, [panel, block]),
                    true => weight_words(batch, from, (None, Some(to)), [panel, block]),
                }
            }
        });
    }

    /// Makes the words of a run in a panel.
    ///
    /// # Safety
    /// No other tile uses them or writes W in the running phase.
    unsafe fn derive_run(&self, batch: &BatchView, panel: usize, n: usize) {
        let words = self.words.as_ref().expect("a kernel of words");
        let (start, WordRun { rows, odd, .. }) = (self.weights(panel).start, &words.runs[n]);
        // SAFETY: the caller's promise.
        unsafe {
            let from = batch.parameters.read(start + rows.start..start + rows.end);
            let by_pairs = batch.derived.write(words.run(panel, n));
            let mut behind_zero = [ZERO_ROW; WIDTH + 1];
            let from = match odd {
                false => from,
                true => {
                    behind_zero[1..=from.len()].copy_from_slice(from);
                    &behind_zero[..=from.len()]
                }
            };
            batch.isa.run(ToWords { from, cols: WIDTH, by_rows: &mut [], by_pairs });
        }
    }
}

/// The left operand of a product along rows: panels of `height` rows of a matrix of `rows` rows.
#[derive(Clone, Copy)]
pub struct Operand<'a> {
    /// The panels.
    pub data: &'a [Row],
    /// Rows of the matrix.
    pub rows: usize,
    /// `Row`s of a panel.
    pub height: usize,
    /// Whether it is of words, by rows.
    pub words: bool,
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
/// `conditions`, and of a panel of rows, `right`. The tile's panel is one of `to`. The epilogue's rows of matrices `near` are
/// prefetched.
fn product<'r>(
    batch: &BatchView,
    worker: &Worker,
    (from, conditions): (Operand, Option<(&[Row], Segments)>),
    (table, to): (&SegmentTable, &Image),
    right: &dyn Fn(usize) -> &'r [Row],
    near: &[Matrix],
    epilogue: &mut dyn FnMut(ProductTile),
) {
    let Operand { data, rows: total, height, words } = from;
    let isa = batch.isa;
    let (positions, panels) = (to.shape.positions(), to.pixel_panels());
    if 2 * total <= isa.tile_rows() && positions > 1 {
        return product_of_few(batch, worker, from, (table, to), right, epilogue);
    }
    let grid = Grid::new(total.div_ceil(isa.tile_rows()), positions * panels, worker.workers());
    let mut tile = [ZERO_ROW; _];
    worker.phase(grid.items(), |item| {
        let (place, tiles) = grid.item(item);
        let (channels, position) = (place / positions, place % positions);
        let panel = position * panels + channels;
        let (base, segments) = table.get(position);
        let (left, right) = (&data[base * height..], right(channels));
        let vectors = vectors_of(to.shape.channels, channels);
        for index in tiles {
            if worker.stops() {
                return;
            }
            let rows = tile_rows(total, isa, index);
            near.iter().for_each(|&matrix| batch.prefetch(matrix, panel, rows.clone()));
            let (first, count) = (rows.start, rows.len());
            let product = SegmentProduct {
                segments,
                left,
                right,
                height,
                first,
                rows: count,
                vectors,
                fresh: true,
                words,
            };
            isa.add_rows(product, &mut tile);
            if let Some((left, segments)) = conditions {
                let product = SegmentProduct { segments, left, fresh: false, ..product };
                isa.add_rows(product, &mut tile);
            }
            epilogue(ProductTile { panel, rows, vectors, products: &mut tile[..count] });
        }
    });
}

/// [`product`] of so few rows that a tile has room for several pixels: pixels whose segments differ in their panels and lanes
/// only. The tile's part of the left operand is copied.
fn product_of_few<'r>(
    batch: &BatchView,
    worker: &Worker,
    Operand { data, rows: examples, height, words }: Operand,
    (table, to): (&SegmentTable, &Image),
    right: &dyn Fn(usize) -> &'r [Row],
    epilogue: &mut dyn FnMut(ProductTile),
) {
    let (isa, panels) = (batch.isa, to.pixel_panels());
    let at_once = isa.tile_rows() / examples;
    let tiles = |alike: &[u32]| alike.len().div_ceil(at_once);
    let total: usize = table.alike().map(tiles).sum();
    let mut left = [[ZERO_ROW; MAX_TILE_ROWS]; COPIED_SEGMENTS];
    worker.phase(total * panels, |item| {
        let (channels, mut index) = (item / total, item % total);
        let mut groups = table.alike();
        let places = loop {
            let alike = groups.next().expect("a tile of a group");
            match index.checked_sub(tiles(alike)) {
                Some(rest) => index = rest,
                None => break &alike[split(alike.len(), tiles(alike), index)],
            }
        };
        let (right, vectors) = (right(channels), vectors_of(to.shape.channels, channels));
        let rows = places.len() * examples;
        let mut tile = [ZERO_ROW; _];
        let count = table.get(places[0] as usize).1.iter().count();
        for start in (0..count).step_by(COPIED_SEGMENTS) {
            let (mut list, mut copied) = ([Segment::NONE; COPIED_SEGMENTS], 0);
            for (n, &place) in places.iter().enumerate() {
                let (base, segments) = table.get(place as usize);
                let segments = segments.iter().skip(start).take(COPIED_SEGMENTS);
                for (i, (segment, left)) in segments.zip(&mut left).enumerate() {
                    let from = &data[(base + segment.panel as usize) * height..][..height];
                    match words {
                        false => copy_columns(from, segment, &mut left[n * height..][..height]),
                        true => copy_words(from, segment, left, n * examples..(n + 1) * examples),
                    }
                    list[i] = Segment { panel: i as u32, lane: 0, ..*segment };
                    copied = i + 1;
                }
            }
            let product = SegmentProduct {
                segments: Segments::new(&list[..copied]),
                left: left.as_flattened(),
                right,
                height: MAX_TILE_ROWS,
                first: 0,
                rows,
                vectors,
                fresh: start == 0,
                words,
            };
            isa.add_rows(product, &mut tile);
        }
        for (n, &place) in places.iter().enumerate() {
            let panel = place as usize * panels + channels;
            let products = &mut tile[n * examples..][..examples];
            epilogue(ProductTile { panel, rows: 0..examples, vectors, products });
        }
    });
}

/// Copies a segment's columns to the first ones of `to`.
fn copy_columns(from: &[Row], segment: &Segment, to: &mut [Row]) {
    let (lane, count) = (segment.lane as usize, segment.count as usize);
    if count == WIDTH {
        return to.copy_from_slice(from);
    }
    for (from, to) in from.iter().zip(to) {
        floats_mut(std::slice::from_mut(to))[..count]
            .copy_from_slice(&floats(from)[lane..lane + count]);
    }
}

/// Copies a segment's words, of panels by rows, to the first ones of rows `rows` of `to`.
fn copy_words(from: &[Row], segment: &Segment, to: &mut [Row], rows: Range<usize>) {
    let (lane, count) = (segment.lane as usize, segment.count as usize);
    let to = &mut floats_mut(to)[rows.start * ROW_WORDS..rows.end * ROW_WORDS];
    let from = floats_of(from).chunks_exact(ROW_WORDS);
    for (from, to) in from.zip(to.chunks_exact_mut(ROW_WORDS)) {
        to[..count].copy_from_slice(&from[lane..lane + count]);
    }
}
