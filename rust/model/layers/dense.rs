//! The dense layer y = f(x W + b).
#![allow(unsafe_code)]

use super::{Epilogue, Layer};
use crate::error::Result;
use crate::matrix::{
    ColumnMap, Grid, ProductBlock, ProductTile, RowMap, Shared, panels_of, product,
    transposed_product, vectors_of,
};
use crate::model::memory::{BatchView, Planner, Port, Slot};
use crate::model::sink::Sink;
use crate::model::tensor::{Layout, Place, Tensor, TensorKind};
use crate::nn::activation::Activation;
use crate::nn::dense::{BiasAndActivation, ColumnSums, InputGradient, Transpose};
use crate::simd::{Row, WIDTH, ZERO_ROW, floats_mut};
use crate::threads::Worker;
use std::ops::Range;

/// A dense layer. A panel of its parameters is the panel of W, [inputs, 32], with the bias as one more row below.
#[derive(Clone, Debug)]
pub struct Dense {
    /// Width of x.
    pub inputs: usize,
    /// Width of y.
    pub outputs: usize,
    /// f
    pub activation: Activation,
    /// The names of its outputs.
    pub names: Vec<Named>,
    /// Where its panels start in the parameters.
    start: usize,
    /// Where the panels of Wᵀ, [outputs, inputs], start in the derived buffer; none for the first layer.
    transposed: Option<usize>,
    /// The first output with a bias: outputs that are normalised have none, for it would be subtracted again.
    pub biased: usize,
}

/// Some outputs of a dense layer with a name of their own.
#[derive(Clone, Debug)]
pub struct Named {
    /// Of the module.
    pub name: String,
    /// Which outputs.
    pub columns: ColumnMap,
    /// How many.
    pub outputs: usize,
}

impl Named {
    /// All outputs of a layer.
    pub fn all(name: impl Into<String>, outputs: usize) -> Vec<Named> {
        vec![Named { name: name.into(), columns: ColumnMap::From(0), outputs }]
    }
}

impl Dense {
    /// Asks for its rows. The `first` layer of a network reads the batch, and nobody needs the gradient of that.
    pub fn new(
        layout: &mut Layout,
        (inputs, outputs): (usize, usize),
        activation: Activation,
        names: Vec<Named>,
        first: bool,
    ) -> Result<Dense> {
        layout.check(inputs, outputs)?;
        let start = layout.rows(panels_of(outputs) * (inputs + 1));
        let transposed = (!first).then(|| layout.derived(panels_of(inputs) * outputs));
        Ok(Dense { inputs, outputs, activation, names, start, transposed, biased: 0 })
    }

    /// The rows of its parameters.
    pub fn place(&self) -> Range<usize> {
        self.start..self.start + panels_of(self.outputs) * (self.inputs + 1)
    }

    /// The rows of W in panel `panel`.
    pub fn weights(&self, panel: usize) -> Range<usize> {
        let start = self.start + panel * (self.inputs + 1);
        start..start + self.inputs
    }

    /// The row of the bias in panel `panel`.
    pub fn bias(&self, panel: usize) -> usize {
        self.weights(panel).end
    }

    /// The weights of one input, outputs ascending, in the layer's rows of a buffer.
    pub fn weights_of<'a>(
        &self,
        rows: &'a mut [Row],
        input: usize,
    ) -> impl Iterator<Item = &'a mut f32> + use<'a> {
        let panels = rows.chunks_exact_mut(self.inputs + 1);
        let each = panels.flat_map(move |panel| floats_mut(&mut panel[input..=input]));
        each.take(self.outputs) // only the last panel has padding
    }

    /// The rows of Wᵀ in its panel `panel`, for a layer that has one.
    fn transposed(&self, panel: usize) -> Range<usize> {
        let start = self.transposed.expect("the first layer has no input gradient");
        let start = start + panel * self.outputs;
        start..start + self.outputs
    }

    /// Whether it reads the batch.
    fn is_first(&self) -> bool {
        self.transposed.is_none()
    }

    /// The tensor of the bias of some outputs, called `name`.
    pub fn bias_tensor(&self, name: String, columns: ColumnMap, outputs: usize) -> Tensor {
        let place = Place {
            start: self.bias(0),
            rows: 1,
            order: RowMap::Same,
            columns,
            stride: self.inputs + 1,
        };
        let (kind, fan_in) = (TensorKind::Trained, Some(self.inputs));
        Tensor { name, shape: vec![outputs], kind, fan_in, place }
    }

    /// The phase of its product, with `right(panel)` in the place of W. `epilogue` gets every tile and the panel's bias.
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
        if self.is_first() && batch.is_sparse() {
            return batch.gather_product(worker, self.outputs, right, epilogue);
        }
        // SAFETY: the input was written in an earlier phase.
        let input = unsafe { batch.matrix(slot.below.value) };
        let kept = |tile| if self.is_first() { batch.nonzero_columns(tile) } else { None };
        product(worker, batch.isa, input, kept, self.outputs, right, epilogue);
    }

    /// [`Dense::product`] with W.
    fn own_product(
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

    /// Refreshes one block of Wᵀ from `rows` of a buffer, which hold panel `panel` of W (or of what stands in its place).
    ///
    /// # Safety
    /// The block, and the block of W that it mirrors, are the calling tile's own.
    unsafe fn transpose_block(
        &self,
        batch: &BatchView,
        (from, rows): (Shared<Row>, Range<usize>),
        panel: usize,
        block: usize,
    ) {
        if self.transposed.is_none() {
            return;
        }
        let part = |of: Range<usize>, n: usize| {
            of.start + n * WIDTH..(of.start + (n + 1) * WIDTH).min(of.end)
        };
        // SAFETY: the caller's promise.
        unsafe {
            batch.isa.run(Transpose {
                from: from.read(part(rows, block)),
                to: batch.derived.write(part(self.transposed(block), panel)),
            });
        }
    }

    /// Refreshes Wᵀ: of W or of what stands in its place, whose panels are rows `rows(panel)` of a buffer.
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
            // SAFETY: an item is a block.
            unsafe { self.transpose_block(batch, (from, rows(panel)), panel, block) };
        });
    }
}

impl Layer for Dense {
    fn outputs(&self) -> usize {
        self.outputs
    }

    fn work(&self) -> usize {
        self.inputs * self.outputs
    }

    fn tensors(&self) -> Vec<Tensor> {
        let mut tensors = Vec::new();
        for &Named { ref name, columns, outputs } in &self.names {
            tensors.push(Tensor {
                name: format!("{name}.weight"),
                shape: vec![outputs, self.inputs],
                kind: TensorKind::Trained,
                fan_in: Some(self.inputs),
                place: Place {
                    start: self.start,
                    rows: self.inputs,
                    order: RowMap::Same,
                    columns,
                    stride: self.inputs + 1,
                },
            });
            if self.biased <= columns.at(0) {
                tensors.push(self.bias_tensor(format!("{name}.bias"), columns, outputs));
            }
        }
        tensors
    }

    fn plan(&self, planner: &mut Planner, below: Port, last: bool) -> Slot {
        let (copies, trains) = (below.value.copies, planner.trains());
        let value = planner.place(self.outputs, copies, !last);
        let slope = trains && self.activation.keeps_slope();
        let kept = if slope { planner.place(self.outputs, copies, true) } else { value };
        let gradient = planner.place(self.outputs, copies, trains);
        let above = Port { value, gradient, kept, activation: self.activation };
        Slot { below, above, rows: 0 }
    }

    fn forward(&self, batch: &BatchView, worker: &Worker, slot: &Slot) {
        let Port { value, kept, activation, .. } = slot.above;
        let slope = batch.trains() && activation.keeps_slope();
        // Of outputs without a bias the bias' row may be the shift of a normalisation.
        let biased = self.biased < self.outputs;
        self.own_product(batch, worker, slot, &mut |tile, bias| {
            let ProductTile { panel, rows, vectors, products } = tile;
            let bias = if biased { bias } else { &ZERO_ROW };
            // SAFETY: the layer's own output; these rows of this panel are the tile's.
            let (out, slope) = unsafe {
                let slope = slope.then(|| batch.write(kept, panel, rows.clone()));
                (batch.write(value, panel, rows), slope.unwrap_or_default())
            };
            batch.isa.run(BiasAndActivation { products, vectors, bias, activation, out, slope });
        });
    }

    fn tiles(&self, batch: &BatchView, worker: &Worker, slot: &Slot, epilogue: &mut Epilogue) {
        self.own_product(batch, worker, slot, epilogue);
    }

    fn backward(&self, batch: &BatchView, worker: &Worker, slot: &Slot) {
        let Port { kept, activation, gradient: to, .. } = slot.below;
        // SAFETY: the gradient above was written in an earlier phase; weights change in the update only.
        let (above, derived) = unsafe { (batch.matrix(slot.above.gradient), batch.derived.all()) };
        let right = |panel| &derived[self.transposed(panel)];
        let epilogue = |tile: ProductTile| {
            let ProductTile { panel, rows, vectors, products } = tile;
            // SAFETY: `kept` is from the forward pass; these rows of this panel of `to` are the tile's own.
            let (kept, out) =
                unsafe { (batch.read(kept, panel, rows.clone()), batch.write(to, panel, rows)) };
            batch.isa.run(InputGradient { products, vectors, activation, kept, out });
        };
        product(worker, batch.isa, above, |_| None, self.inputs, right, epilogue);
    }

    fn update(&self, batch: &BatchView, worker: &Worker, slot: &Slot, _: Shared<Row>, sink: Sink) {
        // SAFETY: both are from earlier phases.
        let (input, gradient) = unsafe {
            let sparse = self.is_first() && batch.is_sparse();
            let input = (!sparse).then(|| batch.matrix(slot.below.value));
            (input, batch.matrix(slot.above.gradient))
        };
        let take = |rows: Range<usize>, gradient: &[Row], vectors| {
            // SAFETY: an item is a panel of outputs and some panels of inputs: its 32x32 blocks of W are its own,
            // and the bias is the first block's.
            unsafe { sink.take(batch.isa, batch.parameters, rows, gradient, vectors) };
        };
        let grid = Grid::new(panels_of(self.inputs), panels_of(self.outputs), worker.workers());
        let mut products: ProductBlock = [ZERO_ROW; _];
        worker.phase(grid.items(), |item| {
            let (panel, blocks) = grid.item(item);
            let (dy, vectors) = (gradient.panel(panel), vectors_of(self.outputs, panel));
            if blocks.start == 0 && self.biased < self.outputs {
                let mut sums = [ZERO_ROW];
                batch.isa.run(ColumnSums { panel: dy, vectors, out: &mut sums[0] });
                let bias = self.bias(panel);
                let unbiased = self.biased.saturating_sub(panel * WIDTH).min(WIDTH);
                floats_mut(&mut sums)[..unbiased].fill(0.0);
                take(bias..bias + 1, &sums, vectors);
            }
            for block in blocks {
                let used = (self.inputs - block * WIDTH).min(WIDTH);
                let start = self.weights(panel).start + block * WIDTH;
                let hints = |tile, rows: Range<usize>| {
                    let kept = if self.is_first() { batch.nonzero_rows(block, tile) } else { None };
                    let rows = start + rows.start..start + rows.end;
                    (kept, sink.ahead(batch.parameters, rows))
                };
                match input.map(|input| input.panel(block)) {
                    None => batch.gather_gradient(block, dy, &mut products),
                    Some(x) => {
                        transposed_product(batch.isa, x, used, dy, vectors, hints, &mut products)
                    }
                }
                take(start..start + used, &products[..used], vectors);
                if matches!(sink, Sink::Update { .. }) {
                    let from = (batch.parameters, self.weights(panel));
                    // SAFETY: the block is this item's, in W and in Wᵀ.
                    unsafe { self.transpose_block(batch, from, panel, block) };
                }
            }
        });
    }

    fn refresh(&self, batch: &BatchView, worker: &Worker) {
        self.transpose(batch, worker, batch.parameters, &|panel| self.weights(panel));
    }
}
