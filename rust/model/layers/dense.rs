//! The dense layer y = f(x W + b).
#![allow(unsafe_code)]

use super::{Epilogue, Layer};
use crate::error::{Result, filled};
use crate::matrix::{
    ColumnMap, Grid, ProductBlock, ProductTile, RowMap, Shared, panels_of, product,
    transposed_product, transposed_word_product, vectors_of, word_product,
};
use crate::model::memory::{BatchView, Matrix, Planner, Port, Slot};
use crate::model::sink::Sink;
use crate::model::tensor::{Layout, Place, Tensor, TensorKind};
use crate::nn::activation::Activation;
use crate::nn::dense::{BiasAndActivation, ColumnSums, InputGradient, Transpose};
use crate::simd::{
    Isa, MAX_TILE_ROWS, PairSums, ROW_WORDS, Row, WIDTH, WeightWords, ZERO_ROW, floats_mut,
    word_rows,
};
use crate::threads::Worker;
use std::ops::Range;

/// A dense layer. A panel of its parameters is a panel of W, [inputs, 32], or for inference only its words, followed by a row of the
/// bias.
#[derive(Clone, Debug)]
pub struct Dense {
    /// The number of columns of x.
    pub inputs: usize,
    /// The number of columns of y.
    pub outputs: usize,
    /// The activation f.
    pub activation: Activation,
    /// The names of its outputs; each group of outputs is a tensor.
    pub names: Vec<NamedOutputs>,
    /// The first row in the parameter buffer.
    start: usize,
    /// Whether the layer is the network's first, which reads the batch and has no input gradient.
    first: bool,
    /// What the derived buffer has.
    derived: Derived,
    /// The first output with a bias. Normalised outputs have none, because normalisation would subtract it.
    pub first_biased: usize,
}

/// The first rows of a layer's matrices in the derived buffer. The first layer of a network has no transpose.
#[derive(Clone, Copy, Debug)]
enum Derived {
    /// Wᵀ, [outputs, inputs], if the layer is not the first.
    Floats { transposed: Option<usize> },
    /// The words of W and of Wᵀ.
    Words { weights: usize, transposed: Option<usize> },
    /// Nothing, since the parameters have the words of W themselves: a layer for inference only.
    Nothing,
}

/// Outputs of a dense layer with their own tensors of weights and biases.
#[derive(Clone, Debug)]
pub struct NamedOutputs {
    /// The name of the module.
    pub name: String,
    /// The outputs.
    pub columns: ColumnMap,
    /// The number of outputs.
    pub outputs: usize,
}

impl NamedOutputs {
    /// One name for all outputs of a layer.
    pub fn all(name: impl Into<String>, outputs: usize) -> Vec<NamedOutputs> {
        vec![NamedOutputs { name: name.into(), columns: ColumnMap::From(0), outputs }]
    }
}

impl Dense {
    /// Allocates the rows of a layer. The `first` layer of a network reads the batch, whose gradient is not computed.
    pub fn new(
        layout: &mut Layout,
        (inputs, outputs): (usize, usize),
        activation: Activation,
        names: Vec<NamedOutputs>,
        first: bool,
    ) -> Result<Dense> {
        layout.check(inputs, outputs)?;
        let words = layout.words && layout.inference_only;
        let rows = if words { word_rows(inputs) } else { inputs };
        let start = layout.rows(panels_of(outputs) * (rows + 1));
        let derived = match (layout.words, layout.inference_only) {
            (false, _) => Derived::Floats {
                transposed: (!first).then(|| layout.derived(panels_of(inputs) * outputs)),
            },
            (true, true) => Derived::Nothing,
            (true, false) => Derived::Words {
                weights: layout.derived(panels_of(outputs) * word_rows(inputs)),
                transposed: (!first)
                    .then(|| layout.derived(panels_of(inputs) * word_rows(outputs))),
            },
        };
        Ok(Dense { inputs, outputs, activation, names, start, first, derived, first_biased: 0 })
    }

    /// The rows of its parameters.
    pub fn place(&self) -> Range<usize> {
        self.start..self.start + panels_of(self.outputs) * self.stride()
    }

    /// The rows of a panel of W.
    fn weight_rows(&self) -> usize {
        if self.is_words() { word_rows(self.inputs) } else { self.inputs }
    }

    /// Rows from panel to panel of the parameters.
    fn stride(&self) -> usize {
        self.weight_rows() + 1
    }

    /// Whether the parameters are words of W.
    fn is_words(&self) -> bool {
        matches!(self.derived, Derived::Nothing)
    }

    /// The rows of W in panel `panel`.
    pub fn weights(&self, panel: usize) -> Range<usize> {
        let start = self.start + panel * self.stride();
        start..start + self.weight_rows()
    }

    /// The row of the bias in panel `panel`.
    pub fn bias(&self, panel: usize) -> usize {
        self.weights(panel).end
    }

    /// The weights of input `input`, outputs ascending; `rows` are the layer's rows of a buffer.
    pub fn weights_of<'a>(
        &self,
        rows: &'a mut [Row],
        input: usize,
    ) -> impl Iterator<Item = &'a mut f32> + use<'a> {
        let panels = rows.chunks_exact_mut(self.inputs + 1);
        let each = panels.flat_map(move |panel| floats_mut(&mut panel[input..=input]));
        each.take(self.outputs) // drops the padding of the last panel
    }

    /// The rows of panel `panel` of Wᵀ, or of its words. The layer must not be the first.
    fn transposed(&self, panel: usize) -> Range<usize> {
        let (start, rows) = match self.derived {
            Derived::Floats { transposed } => (transposed, self.outputs),
            Derived::Words { transposed, .. } => (transposed, word_rows(self.outputs)),
            Derived::Nothing => unreachable!("a layer for inference only has no input gradient"),
        };
        let start = start.expect("the first layer has no input gradient") + panel * rows;
        start..start + rows
    }

    /// The rows of Wᵀ in the derived buffer; `None` if that has words. The layer must not be the first.
    pub fn all_transposed(&self) -> Option<Range<usize>> {
        match self.derived {
            Derived::Floats { .. } => {
                let last = panels_of(self.inputs) - 1;
                Some(self.transposed(0).start..self.transposed(last).end)
            }
            Derived::Words { .. } | Derived::Nothing => None,
        }
    }

    /// Wᵀ, from the buffer of parameters.
    pub fn transpose_of(&self, isa: Isa, parameters: &[Row]) -> Result<Vec<Row>> {
        let mut rows = filled(ZERO_ROW, panels_of(self.inputs).checked_mul(self.outputs))?;
        for panel in 0..panels_of(self.outputs) {
            let blocks = parameters[self.weights(panel)].chunks(WIDTH);
            for (from, to) in blocks.zip(rows.chunks_mut(self.outputs)) {
                let to = &mut to[part(0..self.outputs, panel, WIDTH)];
                isa.run(Transpose { from, to });
            }
        }
        Ok(rows)
    }

    /// The tensor of the bias of `outputs` outputs in `columns`.
    pub fn bias_tensor(&self, name: String, columns: ColumnMap, outputs: usize) -> Tensor {
        let place = Place {
            start: self.bias(0),
            rows: 1,
            order: RowMap::Same,
            columns,
            stride: self.stride(),
        };
        let (kind, fan_in) = (TensorKind::Trained, (!self.is_words()).then_some(self.inputs));
        Tensor { name, shape: vec![outputs], kind, fan_in, place }
    }

    /// Runs the phase of the product with `right(panel)` in place of W. `epilogue` receives every tile and the panel's
    /// bias.
    pub fn product<'r>(
        &self,
        batch: &BatchView<'r>,
        worker: &Worker,
        slot: &Slot,
        right: impl Fn(usize) -> &'r [Row],
        epilogue: &mut Epilogue,
    ) {
        // SAFETY: parameters change in the update only.
        let parameters = unsafe { batch.weights() };
        let epilogue = |tile: ProductTile| {
            let bias = &parameters[self.bias(tile.panel)];
            epilogue(tile, bias);
        };
        let sparse = self.first && batch.is_sparse();
        let nonzero = |tile| if self.first { batch.nonzero_columns(tile) } else { None };
        let rows = word_rows(self.inputs);
        let words = match self.derived {
            Derived::Floats { .. } => None,
            // SAFETY: written in an earlier phase.
            Derived::Words { weights, .. } => Some((unsafe { batch.derived.all() }, weights, rows)),
            Derived::Nothing => Some((parameters, self.start, self.stride())),
        };
        if let Some((words, start, stride)) = words {
            let right = |panel| &words[start + panel * stride..][..rows];
            if sparse {
                return batch.gather_product(worker, self.outputs, true, right, epilogue);
            }
            // SAFETY: as above.
            let input = unsafe { batch.words_by_rows(slot.below.value) };
            word_product(worker, batch.isa, input, nonzero, self.outputs, right, epilogue);
        } else if sparse {
            batch.gather_product(worker, self.outputs, false, right, epilogue);
        } else {
            // SAFETY: the input was written in an earlier phase.
            let input = unsafe { batch.matrix(slot.below.value) };
            product(worker, batch.isa, input, nonzero, self.outputs, right, epilogue);
        }
    }

    /// [`Dense::product`] with W.
    fn weight_product(
        &self,
        batch: &BatchView,
        worker: &Worker,
        slot: &Slot,
        epilogue: &mut Epilogue,
    ) {
        // SAFETY: parameters change in the update only.
        let parameters = unsafe { batch.weights() };
        self.product(batch, worker, slot, |panel| &parameters[self.weights(panel)], epilogue);
    }

    /// Makes what the derived buffer has of a block of W: rows `block` of panel `panel`. `from` is as for [`transpose_block`].
    ///
    /// # Safety
    /// As for [`transpose_block`].
    unsafe fn derive_block(
        &self,
        batch: &BatchView,
        from: (Shared<Row>, Range<usize>),
        [panel, block]: [usize; 2],
    ) {
        // SAFETY: passed on to the caller.
        unsafe {
            match self.derived {
                Derived::Floats { transposed: None } | Derived::Nothing => {}
                Derived::Floats { transposed: Some(_) } => {
                    transpose_block(batch, from, self.transposed(block), [panel, block]);
                }
                Derived::Words { weights, transposed } => {
                    let rows = word_rows(self.inputs);
                    let start = weights + panel * rows;
                    let transposed = transposed.map(|_| self.transposed(block));
                    weight_words(
                        batch,
                        from,
                        (Some(start..start + rows), transposed),
                        [panel, block],
                    );
                }
            }
        }
    }

    /// Recomputes the layer's rows of the derived buffer, Wᵀ or words, from W or from the matrix in its place: its panels are rows
    /// `rows(panel)` of buffer `from`.
    pub fn transpose(
        &self,
        batch: &BatchView,
        worker: &Worker,
        from: Shared<Row>,
        rows: &dyn Fn(usize) -> Range<usize>,
    ) {
        let blocks = panels_of(self.inputs);
        worker.phase(panels_of(self.outputs) * blocks, |item| {
            let (panel, block) = (item / blocks, item % blocks);
            // SAFETY: each item is another block.
            unsafe { self.derive_block(batch, (from, rows(panel)), [panel, block]) };
        });
    }
}

/// Transposes a block of 32 x 32: rows `block` of panel `panel` of W to rows `panel` of panel `block` of Wᵀ. The panel of W is
/// `rows` of buffer `from`, the panel of Wᵀ `to` of the derived buffer.
///
/// # Safety
/// No other tile uses the block and its transpose in the running phase.
pub unsafe fn transpose_block(
    batch: &BatchView,
    (from, rows): (Shared<Row>, Range<usize>),
    to: Range<usize>,
    [panel, block]: [usize; 2],
) {
    // SAFETY: the caller's promise.
    unsafe {
        batch.isa.run(Transpose {
            from: from.read(part(rows, block, WIDTH)),
            to: batch.derived.write(part(to, panel, WIDTH)),
        });
    }
}

/// Part `n` of a range that is cut into parts of `size` rows.
fn part(of: Range<usize>, n: usize, size: usize) -> Range<usize> {
    of.start + n * size..(of.start + (n + 1) * size).min(of.end)
}

/// Makes the words of a block of 32 x 32, rows `block` of panel `panel` of W, and those of its transpose, rows `panel` of panel `block`
/// of Wᵀ, or one of them. The panel of W is `rows` of buffer `from`; those of words are rows of the derived buffer.
///
/// # Safety
/// No other tile uses the block and its words in the running phase.
pub unsafe fn weight_words(
    batch: &BatchView,
    (from, rows): (Shared<Row>, Range<usize>),
    (words, transposed): (Option<Range<usize>>, Option<Range<usize>>),
    [panel, block]: [usize; 2],
) {
    // SAFETY: the caller's promise.
    unsafe {
        let write = |rows| batch.derived.write(rows);
        batch.isa.run(WeightWords {
            from: from.read(part(rows, block, WIDTH)),
            words: words.map_or(&mut [], |rows| write(part(rows, block, ROW_WORDS))),
            transposed: transposed.map_or(&mut [], |rows| write(part(rows, panel, ROW_WORDS))),
        });
    }
}

/// Memory for a tile of a matrix, if it has words only.
fn scratch(matrix: Matrix) -> Option<[Row; MAX_TILE_ROWS]> {
    (!matrix.stored).then_some([ZERO_ROW; MAX_TILE_ROWS])
}

impl Layer for Dense {
    fn dense(&self) -> Option<&Dense> {
        (!self.is_words()).then_some(self) // others read its weights as floats
    }

    fn outputs(&self) -> usize {
        self.outputs
    }

    fn work(&self) -> usize {
        self.inputs * self.outputs
    }

    fn multiplies_words(&self) -> bool {
        !matches!(self.derived, Derived::Floats { .. })
    }

    fn words_suffice(&self) -> bool {
        self.activation.keeps_slope() || self.activation.slope_survives_rounding()
    }

    fn tensors(&self) -> Vec<Tensor> {
        let mut tensors = Vec::new();
        for &NamedOutputs { ref name, columns, outputs } in &self.names {
            tensors.push(Tensor {
                name: format!("{name}.weight"),
                shape: vec![outputs, self.inputs],
                kind: if self.is_words() { TensorKind::Bf16 } else { TensorKind::Trained },
                fan_in: (!self.is_words()).then_some(self.inputs),
                place: Place {
                    start: self.start,
                    rows: self.inputs,
                    order: RowMap::Same,
                    columns,
                    stride: self.stride(),
                },
            });
            if self.first_biased <= columns.at(0) {
                tensors.push(self.bias_tensor(format!("{name}.bias"), columns, outputs));
            }
        }
        tensors
    }

    fn plan(&self, planner: &mut Planner, below: Port, stored: bool) -> Slot {
        let (copies, trains) = (below.value.copies, planner.trains());
        let value = planner.place(self.outputs, copies, stored);
        let slope = trains && self.activation.keeps_slope();
        let saved = if slope { planner.place(self.outputs, copies, true) } else { value };
        let gradient = planner.gradient(self.outputs, copies);
        let above = Port { value, gradient, saved, activation: self.activation };
        Slot { below, above, rows: 0 }
    }

    fn forward(&self, batch: &BatchView, worker: &Worker, slot: &Slot) {
        let Port { value, saved, activation, .. } = slot.above;
        let slope = batch.trains() && activation.keeps_slope();
        // Without a bias, the row may contain the shift of a batch normalisation.
        let biased = self.first_biased < self.outputs;
        let mut scratch = scratch(value);
        self.weight_product(batch, worker, slot, &mut |tile, bias| {
            let ProductTile { panel, rows, vectors, products } = tile;
            let bias = if biased { bias } else { &ZERO_ROW };
            // SAFETY: the output is this layer's; only this tile uses these rows of this panel.
            unsafe {
                let slope = slope.then(|| batch.write(saved, panel, rows.clone()));
                let slope = slope.unwrap_or_default();
                let out = batch.floats_or(
                    value,
                    panel,
                    rows.clone(),
                    scratch.as_mut_slice().as_flattened_mut(),
                );
                let to = &mut *out;
                let epilogue =
                    BiasAndActivation { products, vectors, bias, activation, out: to, slope };
                batch.isa.run(epilogue);
                batch.store_words(value, panel, rows, out);
            }
        });
    }

    fn tiles(&self, batch: &BatchView, worker: &Worker, slot: &Slot, epilogue: &mut Epilogue) {
        self.weight_product(batch, worker, slot, epilogue);
    }

    fn backward(&self, batch: &BatchView, worker: &Worker, slot: &Slot) {
        let Port { saved, activation, gradient: to, .. } = slot.below;
        // SAFETY: weights change in the update only.
        let derived = unsafe { batch.derived.all() };
        let right = |panel| &derived[self.transposed(panel)];
        let (mut scratch, mut values) = (scratch(to), scratch(saved));
        let epilogue = |tile: ProductTile| {
            let ProductTile { panel, rows, vectors, products } = tile;
            // SAFETY: `saved` is from the forward pass; only this tile uses these rows of this panel of `to`.
            unsafe {
                let saved = batch.floats(
                    saved,
                    panel,
                    rows.clone(),
                    values.as_mut_slice().as_flattened_mut(),
                );
                let out = batch.floats_or(
                    to,
                    panel,
                    rows.clone(),
                    scratch.as_mut_slice().as_flattened_mut(),
                );
                let products = &*products;
                batch.isa.run(InputGradient {
                    products,
                    vectors,
                    activation,
                    saved,
                    out: &mut *out,
                });
                batch.store_words(to, panel, rows, out);
            }
        };
        let above = slot.above.gradient;
        // SAFETY: the gradient above was written in an earlier phase.
        unsafe {
            match self.derived {
                Derived::Floats { .. } => {
                    let above = batch.matrix(above);
                    product(worker, batch.isa, above, |_| None, self.inputs, right, epilogue);
                }
                Derived::Words { .. } | Derived::Nothing => {
                    let above = batch.words_by_rows(above);
                    word_product(worker, batch.isa, above, |_| None, self.inputs, right, epilogue);
                }
            }
        }
    }

    fn update(&self, batch: &BatchView, worker: &Worker, slot: &Slot, _: Shared<Row>, sink: Sink) {
        let Slot { below: Port { value, .. }, above: Port { gradient, .. }, .. } = *slot;
        let (isa, words) = (batch.isa, self.multiplies_words());
        let sparse = self.first && batch.is_sparse();
        let deliver = |rows: Range<usize>, gradient: &[Row], vectors| {
            // SAFETY: an item is a panel of outputs and some panels of inputs, so no other item uses its 32x32 blocks
            // of W; the bias belongs to the item with the first block.
            unsafe { sink.accept(isa, batch.parameters, rows, gradient, vectors) };
        };
        let blocks = panels_of(self.inputs);
        let height = batch.rows * value.copies;
        let bytes = size_of::<Row>() * if words { word_rows(height) } else { height };
        let grid = Grid::cached(blocks, panels_of(self.outputs), worker.workers(), [bytes; 2]);
        let mut products: ProductBlock = [ZERO_ROW; _];
        worker.phase(grid.items(), |item| {
            let (panel, blocks) = grid.item(item);
            let vectors = vectors_of(self.outputs, panel);
            // SAFETY: both were written in earlier phases.
            let (floats, pairs) = unsafe {
                let floats = gradient.stored.then(|| batch.matrix(gradient).panel(panel));
                let pairs = words.then(|| batch.words_by_pairs(gradient, panel));
                (floats.unwrap_or_default(), pairs.unwrap_or_default())
            };
            if blocks.start == 0 && self.first_biased < self.outputs {
                let mut sums = [ZERO_ROW];
                let out = &mut sums[0];
                match words {
                    false => isa.run(ColumnSums { panel: floats, vectors, out }),
                    true => isa.run(PairSums { pairs, out }),
                }
                let bias = self.bias(panel);
                let unbiased = self.first_biased.saturating_sub(panel * WIDTH).min(WIDTH);
                floats_mut(&mut sums)[..unbiased].fill(0.0);
                deliver(bias..bias + 1, &sums, vectors);
            }
            for block in blocks {
                if worker.stops() {
                    return;
                }
                let used = (self.inputs - block * WIDTH).min(WIDTH);
                let start = self.weights(panel).start + block * WIDTH;
                let hints = |tile, rows: Range<usize>| {
                    let nonzero = if self.first { batch.nonzero_rows(block, tile) } else { None };
                    let rows = start + rows.start..start + rows.end;
                    (nonzero, sink.prefetch(batch.parameters, rows))
                };
                let to = &mut products;
                // SAFETY: the input was written in an earlier phase.
                unsafe {
                    if sparse {
                        batch.gather_gradient(block, words, if words { pairs } else { floats }, to);
                    } else if words {
                        let x = batch.words_by_pairs(value, block);
                        transposed_word_product(isa, x, used, pairs, vectors, hints, to);
                    } else {
                        let x = batch.matrix(value).panel(block);
                        transposed_product(isa, x, used, floats, vectors, hints, to);
                    }
                }
                deliver(start..start + used, &products[..used], vectors);
                if matches!(sink, Sink::Update { .. }) {
                    let from = (batch.parameters, self.weights(panel));
                    // SAFETY: the block is this item's, in W and in what is derived from it.
                    unsafe { self.derive_block(batch, from, [panel, block]) };
                }
            }
        });
    }

    fn refresh(&self, batch: &BatchView, worker: &Worker) {
        self.transpose(batch, worker, batch.parameters, &|panel| self.weights(panel));
    }
}
