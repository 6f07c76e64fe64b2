//! The transposed convolution, or the convolution of stride 1, that makes the output image. Its few channels would leave most of a
//! vector empty, so the product goes from each pixel below to all taps at once, and the parts of a pixel are added up afterwards:
//! bias first, then pixels below in ascending order. A convolution of stride 1 is the transposed one with its kernel reversed.
#![allow(unsafe_code)]

use super::conv::{NamedChannels, WeightKind, kernel_tensors};
use super::dense::{transpose_block, weight_words};
use super::kernel::{Kernel, Operand};
use super::{Epilogue, Layer, input_gradient};
use crate::error::Result;
use crate::matrix::{Grid, ProductTile, Shared, panels_of, tile_rows, vectors_of};
use crate::model::memory::{BatchView, Planner, Port, Slot};
use crate::model::sink::Sink;
use crate::model::tensor::{Layout, Tensor};
use crate::nn::activation::Activation;
use crate::nn::conv::Window;
use crate::nn::dense::AddRows;
use crate::nn::image::{Image, Storage};
use crate::simd::{
    Left, MAX_TILE_ROWS, PairSums, Prefetch, Product, Row, WIDTH, ZERO_ROW, floats, floats_mut,
    floats_of,
};
use crate::threads::Worker;
use std::ops::Range;

/// Numbers of a band of a tile's images: they stay in the second-level cache.
const BAND: usize = 24 << 10;

/// The output layer.
#[derive(Clone, Debug)]
pub struct ConvOutput {
    kernel: Kernel,
    names: Vec<NamedChannels>,
    /// `Transposed` or `Reversed`.
    weight: WeightKind,
    /// The first row of the bias.
    bias: usize,
    /// The first row of Wᵀ in the derived buffer: a panel of 32 (tap, l) has the channels of the image below.
    transposed: usize,
    /// Rows of pixels after which a panel of features starts.
    step: usize,
    /// Rows of pixels of a band, a multiple of `step`, if all workers have one.
    band: usize,
    /// The channel of each column of the output; none for padding.
    channels: Vec<Option<u32>>,
}

impl ConvOutput {
    /// Asks for its rows. `small` is the image below, `large` the output.
    pub fn new(
        layout: &mut Layout,
        window: Window,
        (large, small): (Image, Image),
        names: Vec<NamedChannels>,
        weight: WeightKind,
    ) -> Result<ConvOutput> {
        let kernel = Kernel::new(layout, window, (large, small), 0..0, false)?;
        let bias = layout.rows(large.pixel_panels());
        let rows = kernel.rows_of_tap(small.shape.channels);
        let transposed = layout.derived(panels_of(kernel.inputs()) * rows);
        let mut channels = vec![None; large.panels() * WIDTH];
        for position in 0..large.shape.positions() {
            for channel in 0..large.shape.channels {
                let (panel, lane) = large.place(position, channel);
                channels[panel * WIDTH + lane] = Some(channel as u32);
            }
        }
        let row = large.shape.width * large.shape.channels;
        let step = (1..=WIDTH).find(|n| (n * row).is_multiple_of(2 * WIDTH)).unwrap_or(2 * WIDTH);
        let band = step * (BAND / (MAX_TILE_ROWS * row * step)).max(1);
        Ok(ConvOutput { kernel, names, weight, bias, transposed, step, band, channels })
    }

    /// The rows of Wᵀ in a panel of (tap, l).
    fn transposed(&self, panel: usize) -> Range<usize> {
        let rows = self.kernel.rows_of_tap(self.kernel.small.shape.channels);
        let start = self.transposed + panel * rows;
        start..start + rows
    }

    /// Rows of the arena for an example's pixels, one number after the other.
    fn example_rows(&self) -> usize {
        self.kernel.large.shape.size().div_ceil(WIDTH)
    }

    /// Adds the parts of the pixels in rows `band` of the output that come from one pixel below.
    fn add_parts<'i>(
        &self,
        (panel, products): (usize, &[Row]),
        at: [usize; 2],
        band: &Range<usize>,
        images: impl Fn(usize) -> &'i mut [f32],
    ) {
        let Window { kernel, stride, padding } = self.kernel.window;
        let (shape, columns) = (self.kernel.large.shape, panel * WIDTH..(panel + 1) * WIDTH);
        let channels = shape.channels;
        let left = at[1] * stride[1]; // of x + padding
        let taps = padding[1].saturating_sub(left)
            ..kernel[1].min((shape.width + padding[1]).saturating_sub(left));
        let (mut runs, mut count) = ([(0, 0, 0); WIDTH], 0);
        for i in 0..kernel[0] {
            let Some(y) = (at[0] * stride[0] + i).checked_sub(padding[0]) else { continue };
            if !band.contains(&y) || taps.is_empty() {
                continue;
            }
            let row = i * kernel[1];
            let start = ((row + taps.start) * channels).max(columns.start);
            let end = ((row + taps.end) * channels).min(columns.end);
            if start >= end {
                continue;
            }
            let first = (y - band.start) * shape.width * channels
                + (left * channels + start - row * channels - padding[1] * channels);
            runs[count] = (start - columns.start, first, end - start);
            count += 1;
        }
        for (r, products) in products.iter().enumerate() {
            let (from, to) = (floats(products), images(r));
            for &(column, first, length) in &runs[..count] {
                add(&from[column..column + length], &mut to[first..first + length]);
            }
        }
    }

    /// The rows of pixels below that reach rows `band` of the output.
    fn below(&self, band: &Range<usize>) -> Range<usize> {
        let Window { kernel, stride, padding } = self.kernel.window;
        let height = self.kernel.small.shape.height;
        let first = (band.start + padding[0]).saturating_sub(kernel[0] - 1).div_ceil(stride[0]);
        let end = (band.end - 1 + padding[0]) / stride[0] + 1;
        first.min(height)..end.min(height)
    }
}

/// Adds numbers in place.
#[inline(always)]
fn add(from: &[f32], to: &mut [f32]) {
    let (mut fours, mut from) = (to.chunks_exact_mut(4), from.chunks_exact(4));
    for (to, from) in (&mut fours).zip(&mut from) {
        for n in 0..4 {
            to[n] += from[n];
        }
    }
    for (to, from) in fours.into_remainder().iter_mut().zip(from.remainder()) {
        *to += from;
    }
}

impl Layer for ConvOutput {
    fn outputs(&self) -> usize {
        self.kernel.large.cols()
    }

    fn work(&self) -> usize {
        self.kernel.work()
    }

    fn tensors(&self) -> Vec<Tensor> {
        kernel_tensors(&self.kernel, &self.names, self.weight, Some((self.bias, 1)))
    }

    fn multiplies_words(&self) -> bool {
        self.kernel.multiplies_words()
    }

    fn stores_words(&self) -> bool {
        true
    }

    fn plan(&self, planner: &mut Planner, below: Port, stored: bool) -> Slot {
        assert!(!stored, "only the head reads features");
        let (copies, cols) = (below.value.copies, self.outputs());
        let value = planner.place(cols, copies, false);
        let gradient = planner.gradient(cols, copies);
        let rows = planner.scratch(self.example_rows(), copies);
        let above = Port { value, gradient, saved: value, activation: Activation::Identity };
        Slot { below, above, rows }
    }

    fn forward(&self, _: &BatchView, _: &Worker, _: &Slot) {
        unreachable!("only the head reads features");
    }

    /// An item is a band of the output for some tiles of examples.
    fn tiles(&self, batch: &BatchView, worker: &Worker, slot: &Slot, epilogue: &mut Epilogue) {
        let (isa, height) = (batch.isa, batch.rows * slot.below.value.copies);
        let (large, small) = (self.kernel.large, self.kernel.small);
        let shape = large.shape;
        // SAFETY: the values are from an earlier phase; parameters and derived rows change in the update only.
        let (Operand { data, height: panel_rows, words, .. }, parameters, derived) = unsafe {
            let input = self.kernel.by_rows(batch, slot.below.value);
            (input, batch.weights(), batch.derived.all())
        };
        let bias = &floats_of(&parameters[self.bias..][..large.pixel_panels()])[..shape.channels];
        let row = shape.width * shape.channels;
        let tiles = height.div_ceil(isa.tile_rows());
        let most = self.band / self.step;
        let share = shape.height.div_ceil(self.step * worker.workers().div_ceil(tiles));
        let step = self.step * most.min(share.max(1));
        let bands = shape.height.div_ceil(step);
        let grid = Grid::new(tiles, bands, worker.workers());
        worker.phase(grid.items(), |item| {
            let (band, tiles) = grid.item(item);
            let band = band * step..((band + 1) * step).min(shape.height);
            let part = band.start * row / WIDTH..(band.end * row).div_ceil(WIDTH);
            for index in tiles {
                if worker.stops() {
                    return;
                }
                let rows = tile_rows(height, isa, index);
                let image = |r: usize| {
                    let start = slot.rows + (rows.start + r) * self.example_rows();
                    // SAFETY: these rows of the band are the tile's.
                    floats_mut(unsafe {
                        batch.memory.arena.write(start + part.start..start + part.end)
                    })
                };
                for r in 0..rows.len() {
                    let (pixels, padding) = image(r).split_at_mut(band.len() * row);
                    padding.fill(0.0);
                    match bias {
                        [bias] => pixels.fill(*bias),
                        _ => {
                            for pixel in pixels.chunks_exact_mut(bias.len()) {
                                pixel.copy_from_slice(bias);
                            }
                        }
                    }
                }
                let mut tile = [ZERO_ROW; MAX_TILE_ROWS];
                // The rows of pixels with one panel each follow one another. Parts must be added pixel by pixel, so that their
                // order does not depend on the batch: there is one panel of them.
                let one_panel = small.pixel_panels() == 1 && panels_of(self.kernel.inputs()) == 1;
                let follow = !words || height.is_multiple_of(2);
                let alone = one_panel && follow && rows.len() == height;
                let at_once = if alone { (isa.tile_rows() / height).max(1) } else { 1 };
                for h in self.below(&band) {
                    for w in (0..small.shape.width).step_by(at_once) {
                        let pixels = at_once.min(small.shape.width - w);
                        let position = h * small.shape.width + w;
                        let panels = &data[position * small.pixel_panels() * panel_rows..];
                        let left =
                            Left::Rows { panels, height: pixels * height, first: rows.start };
                        for panel in 0..panels_of(self.kernel.inputs()) {
                            let product = Product {
                                left,
                                right: &derived[self.transposed(panel)],
                                nonzero: None,
                                rows: pixels * rows.len(),
                                vectors: vectors_of(self.kernel.inputs(), panel),
                                prefetch: Prefetch::NOTHING,
                            };
                            match words {
                                false => isa.product(product, &mut tile),
                                true => isa.word_product(product, true, &mut tile),
                            }
                            let tiles = tile.chunks_exact(rows.len()).take(pixels);
                            for (tile, w) in tiles.zip(w..) {
                                self.add_parts((panel, tile), [h, w], &band, image);
                            }
                        }
                    }
                }
                let features = match large.storage {
                    Storage::Halves => WIDTH / 2,
                    _ => WIDTH,
                };
                let per_row = large.shape.width * shape.channels * features / WIDTH; // features of a row
                let first = band.start * per_row / features;
                let end = (band.end * per_row).div_ceil(features);
                for panel in first..end {
                    let products = &mut tile[..rows.len()];
                    for (r, products) in products.iter_mut().enumerate() {
                        let (from, to) = (image(r), std::slice::from_mut(products));
                        match large.storage {
                            Storage::Halves => {
                                let from = &from[..band.len() * row];
                                self.halves(panel, from, band.start * row, floats_mut(to));
                            }
                            _ => {
                                let from = from[(panel - first) * WIDTH..].first_chunk::<WIDTH>();
                                let to = floats_mut(to).first_chunk_mut::<WIDTH>();
                                *to.expect("a row") = *from.expect("a row");
                            }
                        }
                    }
                    let vectors = vectors_of(large.cols(), panel);
                    let rows = rows.clone();
                    epilogue(ProductTile { panel, rows, vectors, products }, &ZERO_ROW);
                }
            }
        });
    }

    fn backward(&self, batch: &BatchView, worker: &Worker, slot: &Slot) {
        let near = [slot.below.saved, slot.below.gradient];
        let mut scratch = input_gradient::scratch(&slot.below);
        self.kernel.down(batch, worker, slot.above.gradient, &near, &mut |tile| {
            // SAFETY: these rows of this panel are the tile's own.
            unsafe { input_gradient::store(batch, &slot.below, tile, &mut scratch) };
        });
    }

    fn update(&self, batch: &BatchView, worker: &Worker, slot: &Slot, _: Shared<Row>, sink: Sink) {
        let gradient = slot.above.gradient;
        let height = batch.rows * gradient.copies;
        let mut bias = |item: usize| {
            let channels = item * WIDTH..(item + 1) * WIDTH;
            let (cols, mut sums) = (self.outputs(), [ZERO_ROW]);
            let totals = floats_mut(&mut sums);
            for panel in 0..panels_of(cols) {
                let mut columns = [ZERO_ROW];
                let (vectors, sums) = (vectors_of(cols, panel), &mut columns[0]);
                // SAFETY: the gradient is from an earlier phase.
                unsafe {
                    if self.multiplies_words() {
                        let pairs = batch.words_by_pairs(gradient, panel);
                        batch.isa.run(PairSums { pairs, out: sums });
                    } else {
                        let rows = batch.read(gradient, panel, 0..height);
                        batch.isa.run(AddRows { panel: rows, vectors, sums });
                    }
                }
                let columns = floats(&columns[0]).iter().zip(&self.channels[panel * WIDTH..]);
                for (sum, channel) in columns {
                    if let Some(channel) = channel.filter(|&c| channels.contains(&(c as usize))) {
                        totals[channel as usize - channels.start] += sum;
                    }
                }
            }
            let vectors = vectors_of(self.kernel.large.shape.channels, item);
            let row = self.bias + item;
            // SAFETY: the row is this item's.
            unsafe { sink.accept(batch.isa, batch.parameters, row..row + 1, &sums, vectors) };
        };
        let (pair, panels) = ((gradient, slot.below.value), self.kernel.large.pixel_panels());
        self.kernel.gradient(batch, worker, pair, (panels, &mut bias), sink);
        if matches!(sink, Sink::Update { .. }) {
            self.refresh(batch, worker);
        }
    }

    fn refresh(&self, batch: &BatchView, worker: &Worker) {
        self.kernel.derive(batch, worker);
        let (inputs, channels) = (self.kernel.inputs(), self.kernel.small.shape.channels);
        let panels = panels_of(channels);
        worker.phase(panels_of(inputs) * panels, |item| {
            let (block, panel) = (item / panels, item % panels);
            let from = (batch.parameters, self.kernel.weights(panel));
            // SAFETY: an item is a block of Wᵀ; parameters do not change in this phase.
            unsafe {
                let to = self.transposed(block);
                match self.multiplies_words() {
                    false => transpose_block(batch, from, to, [panel, block]),
                    true => weight_words(batch, from, (None, Some(to)), [panel, block]),
                }
            }
        });
    }
}

impl ConvOutput {
    /// A row of a panel of halves, from numbers pixel by pixel, of which `from` has those from `start` on.
    fn halves(&self, panel: usize, from: &[f32], start: usize, to: &mut [f32]) {
        let half = self.kernel.large.shape.channels / 2;
        to.fill(0.0);
        for lane in 0..WIDTH / 2 {
            let feature = panel * (WIDTH / 2) + lane;
            let at = feature / half * 2 * half + feature % half;
            let Some(at) = at.checked_sub(start).filter(|at| at + half < from.len()) else {
                continue;
            };
            (to[lane], to[WIDTH / 2 + lane]) = (from[at], from[at + half]);
        }
    }
}
