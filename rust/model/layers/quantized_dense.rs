//! The dense layer y = f(x W + b) for inference, with W in bytes: see [`crate::nn::quantize`].
//!
//! Its forward pass is two phases. The first quantises the rows of x; the second is the product of bytes, whose epilogue
//! gets float32 products, as that of the float32 layer does.
#![allow(unsafe_code)]

use super::{Epilogue, Layer, NamedOutputs};
use crate::error::{Error, Result};
use crate::matrix::{Grid, ProductTile, RowMap, panels_of, quads_of, sums_of_quads, vectors_of};
use crate::model::memory::{BatchView, Planner, Port, Slot};
use crate::model::tensor::{Layout, Place, Tensor, TensorKind};
use crate::nn::activation::Activation;
use crate::nn::dense::BiasAndActivation;
use crate::nn::quantize::{Dequantize, QuantizeRow, RowScale};
use crate::simd::{
    ByteProduct, ByteTile, MAX_BYTE_PANELS, MAX_BYTE_ROWS, MAX_INPUTS, NonzeroIndices, Row, WIDTH,
    ZERO_ROW, bits_mut, bits_of,
};
use crate::threads::{Worker, split};
use std::ops::Range;

/// A dense layer with weights in bytes. A panel of its parameters is `quads_of(inputs)` rows of W, a row of scales of the
/// outputs' weights, and a row of the bias.
#[derive(Clone, Debug)]
pub struct QuantizedDense {
    inputs: usize,
    outputs: usize,
    activation: Activation,
    names: Vec<NamedOutputs>,
    /// Whether x is the batch, which may be sparse.
    first: bool,
    /// Whether the layer has a bias.
    biased: bool,
    /// The first row in the parameter buffer.
    start: usize,
    /// The first row of the sums of each panel's columns, in the derived buffer.
    sums: usize,
}

/// The list of a tile in which nearly all quads have bytes that are not zero: its product reads all, which is faster.
const ALL: u32 = u32::MAX;
/// Words of 32 bits in a row of a buffer; not the words of [`crate::simd::ROW_WORDS`], which hold two bfloat16.
const ROW_WORDS: usize = WIDTH;

/// The 32-bit words of a quantised row of x: its quads, then these, at places that [`QuantizedDense::words`] gives.
struct Words {
    /// The scale, then the byte of zero.
    scale: usize,
    /// In the first row of a tile, the number of quads in which a row of the tile is not zero, then these.
    list: usize,
    /// All of a row.
    stride: usize,
}

impl QuantizedDense {
    /// Allocates the rows of a layer; the `first` one reads the batch.
    pub fn new(
        layout: &mut Layout,
        (inputs, outputs): (usize, usize),
        activation: Activation,
        names: Vec<NamedOutputs>,
        (first, biased): (bool, bool),
    ) -> Result<QuantizedDense> {
        layout.check(inputs, outputs)?;
        if inputs > MAX_INPUTS {
            return Err(Error::Parameter(format!(
                "a layer of {inputs} inputs is too wide for int8: beyond {MAX_INPUTS} inputs a sum of products may overflow; \
                 use bf16 or float32"
            )));
        }
        let start = layout.rows(panels_of(outputs) * (quads_of(inputs) + 2));
        let sums = layout.derived(panels_of(outputs));
        Ok(QuantizedDense { inputs, outputs, activation, names, first, biased, start, sums })
    }

    /// Rows from panel to panel of the parameters.
    fn stride(&self) -> usize {
        quads_of(self.inputs) + 2
    }

    /// The rows of W in panel `panel`; those of the scales and of the bias follow.
    fn weights(&self, panel: usize) -> Range<usize> {
        let start = self.start + panel * self.stride();
        start..start + quads_of(self.inputs)
    }

    /// The places in a quantised row of x.
    fn words(&self) -> Words {
        let scale = panels_of(self.inputs) * WIDTH / 4;
        let list = scale + 2;
        let stride = (list + 1 + quads_of(self.inputs)).next_multiple_of(ROW_WORDS);
        Words { scale, list, stride }
    }

    /// The number of rows of x.
    fn rows(batch: &BatchView, slot: &Slot) -> usize {
        batch.rows * slot.below.value.copies
    }

    /// The rows of tile `tile`. Tiles have nearly equal heights.
    fn tile_rows(rows: usize, tile: usize) -> Range<usize> {
        split(rows, rows.div_ceil(MAX_BYTE_ROWS), tile)
    }

    /// The rows of the arena that hold some quantised rows.
    fn place(&self, slot: &Slot, rows: Range<usize>) -> Range<usize> {
        let each = self.words().stride / ROW_WORDS;
        slot.rows + rows.start * each..slot.rows + rows.end * each
    }

    /// A phase: quantises x, tile by tile.
    fn quantize(&self, batch: &BatchView, worker: &Worker, slot: &Slot) {
        let rows = QuantizedDense::rows(batch, slot);
        let sparse = self.first && batch.is_sparse();
        // SAFETY: the input was written in an earlier phase.
        let input = (!sparse).then(|| unsafe { batch.matrix(slot.below.value) });
        let words = self.words();
        worker.phase(rows.div_ceil(MAX_BYTE_ROWS), |tile| {
            let tile = QuantizedDense::tile_rows(rows, tile);
            // SAFETY: only this item uses the tile's quantised rows.
            let to = bits_mut(unsafe { batch.memory.arena.write(self.place(slot, tile.clone())) });
            let mut skips = true;
            for (row, to) in tile.zip(to.chunks_exact_mut(words.stride)) {
                let (bytes, rest) = to.split_at_mut(words.scale);
                let RowScale { scale, zero } = match input {
                    Some(x) => batch.isa.run(QuantizeRow { x, row, out: bytes_mut(bytes) }),
                    None => self.quantize_stored(batch, row, bytes),
                };
                rest[0] = scale.to_bits();
                rest[1] = zero.into();
                skips &= zero == 0;
            }
            list_quads(to, &words, quads_of(self.inputs), skips);
        });
    }

    /// Quantises row `row` of a sparse batch.
    fn quantize_stored(&self, batch: &BatchView, row: usize, bytes: &mut [u32]) -> RowScale {
        let (stored, count) = batch.stored_row(row);
        let (mut low, mut high, mut finite) = (0.0_f32, 0.0_f32, true);
        for value in &stored[..count] {
            (low, high) = (low.max(-value.input), high.max(value.input));
            finite &= value.input.is_finite();
        }
        let (scale, inverse) = RowScale::of(low, high, finite);
        let bytes = bytes_mut(bytes);
        bytes.fill(scale.zero);
        for value in &stored[..count] {
            bytes[value.at as usize] = scale.byte(value.input, inverse);
        }
        scale
    }

    /// A phase: the product of the quantised rows and W. `epilogue` receives every tile and the panel's bias.
    fn product(&self, batch: &BatchView, worker: &Worker, slot: &Slot, epilogue: &mut Epilogue) {
        let rows = QuantizedDense::rows(batch, slot);
        let (panels, tiles) = (panels_of(self.outputs), rows.div_ceil(MAX_BYTE_ROWS));
        // Two panels of a single row have too few sums to hide the latency of products.
        let most = if rows == 1 { MAX_BYTE_PANELS } else { 2 };
        let groups = panels.div_ceil(most);
        let grid = Grid::new(tiles, groups, worker.workers());
        let mut sums: ByteTile = [ZERO_ROW; _];
        worker.phase(grid.items(), |item| {
            let (group, tiles) = grid.item(item);
            let panels = if rows == 1 {
                split(panels, groups, group)
            } else {
                group * most..panels.min((group + 1) * most)
            };
            for tile in tiles {
                if worker.stops() {
                    return;
                }
                let rows = QuantizedDense::tile_rows(rows, tile);
                self.tile(batch, slot, panels.clone(), rows, &mut sums, epilogue);
            }
        });
    }

    /// The products of a tile of rows with one or two panels, those of a single row with up to six.
    fn tile(
        &self,
        batch: &BatchView,
        slot: &Slot,
        panels: Range<usize>,
        rows: Range<usize>,
        sums: &mut ByteTile,
        epilogue: &mut Epilogue,
    ) {
        let Words { scale, list, stride } = self.words();
        // SAFETY: parameters and derived rows do not change in this phase; an earlier one wrote the quantised rows.
        let (parameters, derived, left) = unsafe {
            let left = batch.memory.arena.read(self.place(slot, rows.clone()));
            (batch.weights(), batch.derived.all(), bits_of(left))
        };
        let nonzero = (left[list] != ALL).then(|| {
            let quads = &left[list + 1..][..left[list] as usize];
            // SAFETY: `list_quads` has written them, ascending and below the number of quads.
            unsafe { NonzeroIndices::new(quads) }
        });
        let right: [&[Row]; MAX_BYTE_PANELS] = std::array::from_fn(|p| {
            &parameters[self.weights((panels.start + p).min(panels.end - 1))]
        });
        let right = &right[..panels.len()];
        let product = ByteProduct { left, stride, rows: rows.len(), right, nonzero };
        batch.isa.byte_product(product, sums);
        let scales: [RowScale; MAX_BYTE_ROWS] = std::array::from_fn(|i| {
            let words = &left[i.min(rows.len() - 1) * stride + scale..][..2];
            RowScale { scale: f32::from_bits(words[0]), zero: words[1] as u8 }
        });
        for (panel, products) in panels.zip(sums.chunks_exact_mut(rows.len())) {
            let after = self.weights(panel).end;
            let (weight_scales, bias) = (&parameters[after], &parameters[after + 1]);
            let weight_sums = &derived[self.sums + panel];
            let of_rows = &scales[..rows.len()];
            batch.isa.run(Dequantize { sums: products, rows: of_rows, weight_scales, weight_sums });
            let vectors = vectors_of(self.outputs, panel);
            epilogue(ProductTile { panel, rows: rows.clone(), vectors, products }, bias);
        }
    }
}

/// Writes the list of the quads in which a row of the tile is not zero, if products may skip the others.
fn list_quads(tile: &mut [u32], words: &Words, quads: usize, skips: bool) {
    let (first, others) = tile.split_at_mut(words.stride);
    let (bytes, list) = first.split_at_mut(words.list);
    let (length, list) = list.split_first_mut().expect("a list has a length");
    *length = ALL;
    if !skips {
        return;
    }
    let list = &mut list[..quads];
    list.copy_from_slice(&bytes[..quads]);
    for row in others.chunks_exact(words.stride) {
        list.iter_mut().zip(row).for_each(|(any, quad)| *any |= quad);
    }
    let mut count = 0;
    for q in 0..quads {
        let any = list[q];
        list[count] = q as u32; // overwritten unless the quad is kept: avoids a branch
        count += usize::from(any != 0);
    }
    if 16 * count <= 15 * quads {
        *length = count as u32;
    }
}

/// The bytes of words.
fn bytes_mut(words: &mut [u32]) -> &mut [u8] {
    // SAFETY: bytes have no alignment, and four of them fill a word.
    unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), size_of_val(words)) }
}

impl Layer for QuantizedDense {
    fn outputs(&self) -> usize {
        self.outputs
    }

    fn work(&self) -> usize {
        (self.inputs * self.outputs).div_ceil(4) // a product of bytes is a quarter of one of float32
    }

    fn tensors(&self) -> Vec<Tensor> {
        let mut tensors = Vec::new();
        for &NamedOutputs { ref name, columns, outputs } in &self.names {
            let mut add = |what: &str, shape: Vec<usize>, kind, (start, rows)| {
                let place =
                    Place { start, rows, order: RowMap::Same, columns, stride: self.stride() };
                let name = format!("{name}.{what}");
                tensors.push(Tensor { name, shape, kind, fan_in: None, place });
            };
            let scales = self.weights(0).end;
            add("weight", vec![outputs, self.inputs], TensorKind::Int8, (self.start, self.inputs));
            add("weight_scale", vec![outputs], TensorKind::Scale, (scales, 1));
            if self.biased {
                add("bias", vec![outputs], TensorKind::Trained, (scales + 1, 1));
            }
        }
        tensors
    }

    fn plan(&self, planner: &mut Planner, below: Port, stored: bool) -> Slot {
        let copies = below.value.copies;
        let quantized = planner.place(self.words().stride, copies, true);
        let value = planner.place(self.outputs, copies, stored);
        let gradient = planner.place(self.outputs, copies, false);
        let above = Port { value, gradient, saved: value, activation: self.activation };
        Slot { below, above, rows: quantized.panel(0, 0) }
    }

    fn forward(&self, batch: &BatchView, worker: &Worker, slot: &Slot) {
        let (value, activation) = (slot.above.value, self.activation);
        self.quantize(batch, worker, slot);
        self.product(batch, worker, slot, &mut |tile, bias| {
            let ProductTile { panel, rows, vectors, products } = tile;
            // SAFETY: the output is this layer's; only this tile uses these rows of this panel.
            let out = unsafe { batch.write(value, panel, rows) };
            let slope = &mut [];
            batch.isa.run(BiasAndActivation { products, vectors, bias, activation, out, slope });
        });
    }

    fn tiles(&self, batch: &BatchView, worker: &Worker, slot: &Slot, epilogue: &mut Epilogue) {
        self.quantize(batch, worker, slot);
        self.product(batch, worker, slot, epilogue);
    }

    fn backward(&self, _: &BatchView, _: &Worker, _: &Slot) {
        unreachable!("a network with weights in bytes is for inference only");
    }

    fn refresh(&self, batch: &BatchView, worker: &Worker) {
        worker.phase(panels_of(self.outputs), |panel| {
            let row = self.sums + panel;
            // SAFETY: parameters do not change in this phase; only this item uses the panel's row of sums.
            let (weights, to) = unsafe {
                (batch.parameters.read(self.weights(panel)), batch.derived.write(row..row + 1))
            };
            to[0] = sums_of_quads(weights);
        });
    }
}
