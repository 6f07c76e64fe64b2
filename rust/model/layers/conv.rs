//! The convolution and the transposed convolution between images whose pixels have panels of their own (the first one of a
//! network reads x as it lies), y = f(W * x + b). A dense layer that reads an image is a convolution whose kernel is the image.
#![allow(unsafe_code)]

use super::kernel::Kernel;
use super::{Epilogue, Layer, input_gradient};
use crate::error::Result;
use crate::matrix::{ColumnMap, ProductTile, RowMap, Shared, vectors_of};
use crate::model::memory::{BatchView, Matrix, Planner, Port, Slot};
use crate::model::sink::Sink;
use crate::model::tensor::{Layout, Place, Tensor, TensorKind};
use crate::nn::activation::Activation;
use crate::nn::conv::Window;
use crate::nn::dense::{AddRows, BiasAndActivation, ColumnSums};
use crate::nn::image::Image;
use crate::simd::{MAX_TILE_ROWS, PairSums, Row, ZERO_ROW};
use crate::threads::Worker;
use std::ops::Range;

/// From the large to the small image, or back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// A convolution.
    Down,
    /// A transposed convolution.
    Up,
}

/// Some output channels with a name of their own.
#[derive(Clone, Debug)]
pub struct NamedChannels {
    /// The name of the module.
    pub name: String,
    /// The first channel.
    pub first: usize,
    /// The number of channels.
    pub count: usize,
    /// Their columns in the output.
    pub columns: ColumnMap,
}

impl NamedChannels {
    /// Channels side by side.
    pub fn new(name: impl Into<String>, first: usize, count: usize) -> NamedChannels {
        NamedChannels { name: name.into(), first, count, columns: ColumnMap::From(first) }
    }
}

/// A convolution.
#[derive(Clone, Debug)]
pub struct Conv {
    kernel: Kernel,
    direction: Direction,
    activation: Activation,
    names: Vec<NamedChannels>,
    /// The first row of the bias of a transposed convolution.
    bias: Option<usize>,
    /// Whether the output has a bias.
    biased: bool,
    /// Whether the weight is a matrix in PyTorch: of a dense layer that reads an image.
    dense: bool,
}

/// What a convolution is made of.
pub struct ConvParts {
    /// The geometry.
    pub window: Window,
    /// The image with the stride between its pixels.
    pub large: Image,
    /// The other image.
    pub small: Image,
    /// From large to small, or back.
    pub direction: Direction,
    /// f
    pub activation: Activation,
    /// The names of its outputs.
    pub names: Vec<NamedChannels>,
    /// Whether it adds a bias.
    pub biased: bool,
    /// Whether it is a dense layer in PyTorch.
    pub dense: bool,
    /// Columns of the encoder's input that a dense layer reads behind the image: the conditions of the first one.
    pub conditions: Range<usize>,
}

impl Conv {
    /// Asks for its rows. The `first` layer of a network reads x, whose gradient is not computed.
    pub fn new(layout: &mut Layout, parts: ConvParts, first: bool) -> Result<Conv> {
        let ConvParts {
            window,
            large,
            small,
            direction,
            activation,
            names,
            biased,
            dense,
            conditions,
        } = parts;
        let up = direction == Direction::Up || !first;
        let kernel = Kernel::new(layout, window, (large, small), conditions, up)?;
        let rows = direction == Direction::Up && biased;
        let bias = rows.then(|| layout.rows(large.pixel_panels()));
        Ok(Conv { kernel, direction, activation, names, bias, biased, dense })
    }

    /// The image that it reads and the one that it makes.
    fn images(&self) -> [Image; 2] {
        match self.direction {
            Direction::Down => [self.kernel.large, self.kernel.small],
            Direction::Up => [self.kernel.small, self.kernel.large],
        }
    }

    /// The row of the bias of a panel of output channels.
    fn bias_row(&self, panel: usize) -> usize {
        self.bias.map_or_else(|| self.kernel.bias(panel), |start| start + panel)
    }

    /// The matrices of the large and the small image, the input's `below` and the output's `above`.
    fn pair(&self, below: Matrix, above: Matrix) -> (Matrix, Matrix) {
        match self.direction {
            Direction::Down => (below, above),
            Direction::Up => (above, below),
        }
    }

    /// The phase of the product of the forward pass.
    fn product(
        &self,
        batch: &BatchView,
        worker: &Worker,
        slot: &Slot,
        near: &[Matrix],
        epilogue: &mut Epilogue,
    ) {
        // SAFETY: parameters change in the update only.
        let parameters = unsafe { batch.weights() };
        let panels = self.images()[1].pixel_panels();
        let mut epilogue = |tile: ProductTile| {
            let row = self.bias_row(tile.panel % panels);
            epilogue(tile, if self.biased { &parameters[row] } else { &ZERO_ROW });
        };
        match self.direction {
            Direction::Down => {
                self.kernel.down(batch, worker, slot.below.value, near, &mut epilogue)
            }
            Direction::Up => self.kernel.up(batch, worker, slot.below.value, near, &mut epilogue),
        }
    }

    /// The gradient of the bias of a panel of channels.
    fn update_bias(&self, batch: &BatchView, slot: &Slot, sink: Sink, panel: usize) {
        let (to, gradient) = (self.images()[1], slot.above.gradient);
        let (panels, height) = (to.pixel_panels(), batch.rows * gradient.copies);
        let vectors = vectors_of(to.shape.channels, panel);
        let mut sums = [ZERO_ROW];
        for position in 0..to.shape.positions() {
            let (place, mut part) = (position * panels + panel, [ZERO_ROW]); // a sum of sums rounds less
            let out = &mut part[0];
            // SAFETY: the gradient is from an earlier phase.
            unsafe {
                if self.kernel.multiplies_words() {
                    let pairs = batch.words_by_pairs(gradient, place);
                    batch.isa.run(PairSums { pairs, out });
                } else {
                    let panel = batch.read(gradient, place, 0..height);
                    batch.isa.run(ColumnSums { panel, vectors, out });
                }
            }
            batch.isa.run(AddRows { panel: &part, vectors, sums: &mut sums[0] });
        }
        let row = self.bias_row(panel);
        // SAFETY: the row is this item's.
        unsafe { sink.accept(batch.isa, batch.parameters, row..row + 1, &sums, vectors) };
    }
}

impl Layer for Conv {
    fn outputs(&self) -> usize {
        self.images()[1].cols()
    }

    fn work(&self) -> usize {
        self.kernel.work()
    }

    fn multiplies_words(&self) -> bool {
        self.kernel.multiplies_words()
    }

    fn stores_words(&self) -> bool {
        true
    }

    fn words_suffice(&self) -> bool {
        self.activation.keeps_slope() || self.activation.slope_survives_rounding()
    }

    fn tensors(&self) -> Vec<Tensor> {
        let stride = if self.bias.is_some() { 1 } else { self.kernel.inputs() + 1 };
        let bias = self.biased.then(|| (self.bias_row(0), stride));
        let weight = match self.direction {
            Direction::Up => WeightKind::Transposed,
            Direction::Down if self.dense => WeightKind::Dense,
            Direction::Down => WeightKind::Conv,
        };
        kernel_tensors(&self.kernel, &self.names, weight, bias)
    }

    fn plan(&self, planner: &mut Planner, below: Port, stored: bool) -> Slot {
        let (copies, trains) = (below.value.copies, planner.trains());
        let cols = self.outputs();
        let value = planner.place(cols, copies, stored);
        let slope = trains && self.activation.keeps_slope();
        let saved = if slope { planner.place(cols, copies, true) } else { value };
        let gradient = planner.gradient(cols, copies);
        let above = Port { value, gradient, saved, activation: self.activation };
        Slot { below, above, rows: 0 }
    }

    fn forward(&self, batch: &BatchView, worker: &Worker, slot: &Slot) {
        let Port { value, saved, activation, .. } = slot.above;
        let slope = batch.trains() && activation.keeps_slope();
        let near = [value, saved];
        let near = if slope { &near[..] } else { &near[..1] };
        let mut scratch = (!value.stored).then_some([ZERO_ROW; MAX_TILE_ROWS]);
        self.product(batch, worker, slot, near, &mut |tile, bias| {
            let ProductTile { panel, rows, vectors, products } = tile;
            // SAFETY: the layer's own output; these rows of this panel are the tile's.
            unsafe {
                let slope = slope.then(|| batch.write(saved, panel, rows.clone()));
                let slope = slope.unwrap_or_default();
                let memory = scratch.as_mut_slice().as_flattened_mut();
                let out = batch.floats_or(value, panel, rows.clone(), memory);
                let to = &mut *out;
                let epilogue =
                    BiasAndActivation { products, vectors, bias, activation, out: to, slope };
                batch.isa.run(epilogue);
                batch.store_words(value, panel, rows, out);
            }
        });
    }

    fn tiles(&self, batch: &BatchView, worker: &Worker, slot: &Slot, epilogue: &mut Epilogue) {
        self.product(batch, worker, slot, &[], epilogue);
    }

    fn backward(&self, batch: &BatchView, worker: &Worker, slot: &Slot) {
        let (from, near) = (slot.above.gradient, [slot.below.saved, slot.below.gradient]);
        let mut scratch = input_gradient::scratch(&slot.below);
        let mut epilogue = |tile: ProductTile| {
            // SAFETY: these rows of this panel are the tile's own.
            unsafe { input_gradient::store(batch, &slot.below, tile, &mut scratch) };
        };
        match self.direction {
            Direction::Down => self.kernel.up(batch, worker, from, &near, &mut epilogue),
            Direction::Up => self.kernel.down(batch, worker, from, &near, &mut epilogue),
        }
    }

    fn update(&self, batch: &BatchView, worker: &Worker, slot: &Slot, _: Shared<Row>, sink: Sink) {
        let pair = self.pair(slot.below.value, slot.above.gradient);
        let panels = if self.biased { self.images()[1].pixel_panels() } else { 0 };
        let mut bias = |panel| self.update_bias(batch, slot, sink, panel);
        self.kernel.gradient(batch, worker, pair, (panels, &mut bias), sink);
        if matches!(sink, Sink::Update { .. }) {
            self.kernel.derive(batch, worker);
        }
    }

    fn refresh(&self, batch: &BatchView, worker: &Worker) {
        self.kernel.derive(batch, worker);
    }
}

/// What the weight of a convolution is in PyTorch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightKind {
    /// Of a `Conv2d`, [out, in, height, width].
    Conv,
    /// Of a `ConvTranspose2d`, [in, out, height, width].
    Transposed,
    /// Of a `Conv2d` of stride 1 that is computed as the transposed convolution with the reversed kernel.
    Reversed,
    /// Of a `Linear` that reads an image.
    Dense,
}

/// The weight and the bias of each part of a convolution's output. `bias` is the first row of the bias and the distance to its
/// next panel.
pub fn kernel_tensors(
    kernel: &Kernel,
    names: &[NamedChannels],
    weight: WeightKind,
    bias: Option<(usize, usize)>,
) -> Vec<Tensor> {
    let Kernel { window, large, small, start, .. } = kernel;
    let (taps, inputs) = (window.taps(), kernel.inputs());
    let conditions = inputs - kernel.image_inputs();
    let [large, small] = [large, small].map(|image| image.shape.channels);
    let kind = TensorKind::Trained;
    let fan_in = Some(if weight == WeightKind::Reversed { taps * small } else { inputs });
    let mut tensors = Vec::new();
    for &NamedChannels { ref name, first, count, columns: to } in names {
        let [height, width] = window.kernel;
        let order = RowMap::Taps { taps, first: 0, channels: large, all: large };
        let (shape, rows, order, columns) = match weight {
            WeightKind::Conv => (vec![count, large, height, width], large * taps, order, to),
            WeightKind::Dense => {
                let rows = large * taps + conditions;
                (vec![count, rows], rows, order, to)
            }
            WeightKind::Transposed => {
                let order = RowMap::Taps { taps, first, channels: count, all: large };
                let shape = vec![small, count, height, width];
                (shape, count * taps, order, ColumnMap::From(0))
            }
            WeightKind::Reversed => {
                let order = RowMap::Reversed { taps, first, inputs: small, all: large };
                (vec![count, small, height, width], taps, order, ColumnMap::Repeated(small))
            }
        };
        tensors.push(Tensor {
            name: format!("{name}.weight"),
            shape,
            kind,
            fan_in,
            place: Place { start: *start, rows, order, columns, stride: inputs + 1 },
        });
        if let Some((start, stride)) = bias {
            let place = Place { start, rows: 1, order: RowMap::Same, columns: to, stride };
            let (name, shape) = (format!("{name}.bias"), vec![count]);
            tensors.push(Tensor { name, shape, kind, fan_in, place });
        }
    }
    tensors
}
