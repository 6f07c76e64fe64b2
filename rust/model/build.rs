//! From a specification to layers. Names are those of a PyTorch `nn.Sequential` that a reader would write: modules count the
//! activations, batch normalisations, pools, `Upsample`, `Flatten` and `Unflatten` between layers with weights. A layer with batch
//! normalisation has no bias (`bias=False`), and its activation follows the normalisation.

use super::layer_list::{LayerEnd, LayerSpecification, Shape};
use super::layers::{
    AffineNorm, AvgPool, BatchNorm, Combine, Constrained, Conv, ConvOutput, ConvParts, Dense,
    Direction, FlatOutput, InputPool, Join, MaxPool, NamedChannels, NamedOutputs, QuantizedDense,
    SeededProduct, Simplex, TopicWords, Upsample, WeightKind,
};
use super::network::Layers;
use super::spec::{Missing, Precision, Specification, WeightConstraint};
use super::tensor::Layout;
use crate::error::Result;
use crate::matrix::{ColumnMap, panels_of};
use crate::nn::activation::Activation;
use crate::nn::conv::Window;
use crate::nn::image::{Image, ImageShape, Storage};
use crate::nn::likelihood::Likelihood;
use crate::nn::pool::Cells;
use crate::simd::{LANES, WIDTH};
use std::ops::Range;

/// Builds the layers of one `nn.Sequential`.
struct Builder<'a> {
    layout: &'a mut Layout,
    layers: Layers,
    /// The name of the `nn.Sequential`.
    module: &'static str,
    /// The number of the next module in it.
    next: usize,
    /// The model's activation.
    activation: Activation,
    /// How the last image lies in its matrix.
    storage: Storage,
    /// Whether the next layer reads x.
    first: bool,
    /// Whether the next dense layer has weights in bytes. Those next to z have not: they are small, and their errors would
    /// be those of the codes.
    int8: bool,
    /// Columns of x, of indicators of missing values and of conditions.
    flat_inputs: usize,
    /// The columns of conditions, until a dense layer reads them: behind the image, since as constant channels of the image they
    /// would cost a product at every pixel.
    conditions: Range<usize>,
}

/// The modules behind a layer with weights.
struct Ending {
    /// The name of the batch normalisation, if there is one.
    norm: Option<String>,
    activation: Activation,
}

impl Ending {
    /// The activation of the layer itself.
    fn layer_activation(&self) -> Activation {
        if self.norm.is_some() { Activation::Identity } else { self.activation }
    }
}

impl Builder<'_> {
    /// The name of the next module.
    fn name(&mut self) -> String {
        self.next += 1;
        format!("{}.{}", self.module, self.next - 1)
    }

    /// Counts the modules behind a layer.
    fn ending(&mut self, end: LayerEnd) -> Ending {
        let norm = end.batch_norm.then(|| self.name());
        self.next += 1;
        Ending { norm, activation: end.activation.unwrap_or(self.activation) }
    }

    /// Adds the batch normalisation of the last layer, if it has one.
    fn normalize(&mut self, ending: Ending, image: ImageShape, channels: (ColumnMap, usize)) {
        let Ending { norm: Some(name), activation } = ending else { return };
        let image = Image::panels_of(image);
        let norm = AffineNorm::new(self.layout, name, image, channels, activation);
        self.layers.push(Box::new(norm));
    }

    /// Adds a convolution; `to` is its output.
    fn convolution(
        &mut self,
        window: Window,
        direction: Direction,
        [from, to]: [ImageShape; 2],
        end: LayerEnd,
    ) -> Result<()> {
        let name = self.name();
        let ending = self.ending(end);
        let (read, made) = (Image { shape: from, storage: self.storage }, Image::panels_of(to));
        let (large, small) = match direction {
            Direction::Down => (read, made),
            Direction::Up => (made, read),
        };
        self.conv(ConvParts {
            window,
            large,
            small,
            direction,
            activation: ending.layer_activation(),
            names: vec![NamedChannels::new(name, 0, to.channels)],
            biased: ending.norm.is_none(),
            dense: false,
            conditions: 0..0,
        })?;
        self.normalize(ending, to, (ColumnMap::From(0), to.channels));
        Ok(())
    }

    /// The cells between two images, of which the second is the coarse one.
    fn cells(&mut self, fine: ImageShape, coarse: ImageShape, size: [usize; 2]) -> Cells {
        self.next += 1;
        Cells { fine: Image::panels_of(fine), coarse: Image::panels_of(coarse), size }
    }

    /// Adds a pool of x, or of what a pool made of it; `to` says how its output lies.
    fn input_pool(
        &mut self,
        combine: Combine,
        [from, to]: [ImageShape; 2],
        size: [usize; 2],
        storage: Storage,
    ) {
        let read = Image { shape: from, storage: self.storage };
        let made = Image { shape: to, storage };
        let (fine, coarse) = match combine {
            Combine::Repeat => (made, read),
            _ => (read, made),
        };
        self.layers.push(Box::new(InputPool::new(combine, &Cells { fine, coarse, size })));
        self.storage = storage;
    }

    fn conv(&mut self, parts: ConvParts) -> Result<()> {
        let first = std::mem::take(&mut self.first);
        let conv = Conv::new(self.layout, parts, first)?;
        self.layers.push(Box::new(conv));
        self.storage = Storage::Panels;
        Ok(())
    }

    /// A dense layer that reads an image: a convolution whose kernel is the image.
    fn flattened(
        &mut self,
        image: ImageShape,
        outputs: usize,
        ending: &Ending,
        names: Vec<NamedChannels>,
    ) -> Result<()> {
        let window =
            Window { kernel: [image.height, image.width], stride: [1; 2], padding: [0; 2] };
        let small = ImageShape { height: 1, width: 1, channels: outputs };
        let conditions = std::mem::take(&mut self.conditions);
        self.conv(ConvParts {
            window,
            large: Image { shape: image, storage: self.storage },
            small: Image::panels_of(small),
            direction: Direction::Down,
            activation: ending.layer_activation(),
            names,
            biased: ending.norm.is_none(),
            dense: true,
            conditions,
        })
    }

    /// A hidden layer; `next` is the layer behind it.
    fn hidden(
        &mut self,
        layer: &LayerSpecification,
        [input, output]: [Shape; 2],
        next: Option<&LayerSpecification>,
    ) -> Result<()> {
        match (*layer, input, output) {
            (LayerSpecification::Dense { units, end }, Shape::Image(image), _)
                if !self.reads_flat() =>
            {
                self.next += 1; // Flatten
                let name = self.name();
                let ending = self.ending(end);
                let (outputs, columns) = outputs_before(next, units);
                let names = vec![NamedChannels { name, first: 0, count: units, columns }];
                self.flattened(image, outputs, &ending, names)?;
                let outputs = ImageShape { height: 1, width: 1, channels: outputs };
                self.normalize(ending, outputs, (columns, units));
                Ok(())
            }
            (LayerSpecification::Dense { units, end }, ..) => {
                let inputs = match input {
                    Shape::Flat(inputs) => inputs,
                    Shape::Image(_) => self.flat_inputs,
                };
                let name = self.name();
                let ending = self.ending(end);
                let (outputs, columns) = outputs_before(next, units);
                let names = vec![NamedOutputs { name, columns, outputs: units }];
                let first = std::mem::take(&mut self.first);
                let (sizes, activation) = ((inputs, outputs), ending.layer_activation());
                let biased = ending.norm.is_none();
                if self.int8 {
                    let kind = (first, biased);
                    let dense = QuantizedDense::new(self.layout, sizes, activation, names, kind)?;
                    self.layers.push(Box::new(dense));
                } else {
                    let mut dense = Dense::new(self.layout, sizes, activation, names, first)?;
                    if !biased {
                        dense.first_biased = outputs;
                    }
                    self.layers.push(Box::new(dense));
                }
                let image = ImageShape { height: 1, width: 1, channels: outputs };
                self.normalize(ending, image, (columns, units));
                Ok(())
            }
            (LayerSpecification::Unflatten { .. }, ..) => {
                self.next += 1;
                self.storage = Storage::Panels;
                Ok(())
            }
            (
                LayerSpecification::Conv2d { window, end, .. },
                Shape::Image(from),
                Shape::Image(to),
            ) => self.convolution(window, Direction::Down, [from, to], end),
            (
                LayerSpecification::ConvTranspose2d { window, end, .. },
                Shape::Image(from),
                Shape::Image(to),
            ) => {
                if self.storage != Storage::Panels {
                    self.input_pool(Combine::Maximum, [from, from], [1; 2], Storage::Panels);
                }
                self.convolution(window, Direction::Up, [from, to], end)
            }
            (
                LayerSpecification::MaxPool2d { size }
                | LayerSpecification::AvgPool2d { size }
                | LayerSpecification::Upsample { size },
                Shape::Image(from),
                Shape::Image(to),
            ) if self.storage != Storage::Panels => {
                let combine = match layer {
                    LayerSpecification::MaxPool2d { .. } => Combine::Maximum,
                    LayerSpecification::AvgPool2d { .. } => Combine::Mean,
                    _ => Combine::Repeat,
                };
                self.next += 1;
                self.input_pool(combine, [from, to], size, Storage::Flat);
                Ok(())
            }
            (LayerSpecification::MaxPool2d { size }, Shape::Image(from), Shape::Image(to)) => {
                let cells = self.cells(from, to, size);
                self.layers.push(Box::new(MaxPool(cells)));
                Ok(())
            }
            (LayerSpecification::AvgPool2d { size }, Shape::Image(from), Shape::Image(to)) => {
                let cells = self.cells(from, to, size);
                self.layers.push(Box::new(AvgPool(cells)));
                Ok(())
            }
            (LayerSpecification::Upsample { size }, Shape::Image(from), Shape::Image(to)) => {
                let cells = self.cells(to, from, size);
                self.layers.push(Box::new(Upsample(cells)));
                Ok(())
            }
            _ => unreachable!("the shapes were checked"),
        }
    }

    /// Whether a dense layer reads an image as it lies: x.
    fn reads_flat(&self) -> bool {
        self.first && self.layers.is_empty()
    }
}

/// Columns of the output of a dense layer, and their map: in front of an image its pixels.
fn outputs_before(next: Option<&LayerSpecification>, units: usize) -> (usize, ColumnMap) {
    match next {
        Some(&LayerSpecification::Unflatten { shape }) => {
            let width = panels_of(shape.channels) * WIDTH;
            let positions = shape.positions();
            (positions * width, ColumnMap::Pixels { positions, width })
        }
        _ => (units, ColumnMap::From(0)),
    }
}

/// The layers from x to [mu, logvar], or to the code.
pub(super) fn encoder(spec: &Specification, layout: &mut Layout) -> Result<Layers> {
    let shapes = spec.encoder_shapes()?;
    let mut builder = Builder {
        layout,
        layers: Vec::new(),
        module: "encoder",
        next: 0,
        activation: spec.activation,
        storage: match spec.missing {
            Missing::Indicated => Storage::Indicated,
            _ => Storage::Flat,
        },
        first: true,
        int8: spec.precision == Precision::Int8,
        flat_inputs: spec.conditions_at().saturating_add(spec.conditions),
        conditions: spec.conditions_at()..spec.conditions_at().saturating_add(spec.conditions),
    };
    for (i, layer) in spec.encoder.iter().enumerate() {
        builder.hidden(layer, [shapes[i], shapes[i + 1]], spec.encoder.get(i + 1))?;
    }
    let latent = spec.latent_dim;
    let outputs = latent.saturating_mul(if spec.variational { 2 } else { 1 });
    let parts: &[&str] = if spec.variational { &["mu", "logvar"] } else { &["code"] };
    let named = parts.iter().zip([0, latent]);
    if let Some(&Shape::Image(image)) = shapes.last()
        && !builder.reads_flat()
    {
        let names = named.map(|(&name, first)| NamedChannels::new(name, first, latent));
        let ending = Ending { norm: None, activation: Activation::Identity };
        builder.flattened(image, outputs, &ending, names.collect())?;
        return Ok(builder.layers);
    }
    let inputs = match shapes.last() {
        Some(&Shape::Flat(inputs)) => inputs,
        _ => builder.flat_inputs,
    };
    let named = named.map(|(&name, first)| NamedOutputs {
        name: name.into(),
        columns: ColumnMap::From(first),
        outputs: latent,
    });
    let Builder { layout, mut layers, first, .. } = builder;
    let mut last =
        Dense::new(layout, (inputs, outputs), Activation::Identity, named.collect(), first)?;
    // The posterior means of topics are normalised over the batch to prevent posterior collapse.
    let norm = spec.topics.as_ref().map(|_| BatchNorm::plain(&mut last, latent));
    layers.push(Box::new(last));
    if let Some(norm) = norm {
        layers.push(Box::new(norm));
    }
    Ok(layers)
}

/// The layers between z and the decoder's input.
pub(super) fn latent(spec: &Specification) -> Layers {
    let mut layers: Layers = Vec::new();
    if let Some(topics) = &spec.topics {
        layers.push(Box::new(Simplex::new(topics)));
    }
    if spec.decoder_conditions() > 0 {
        layers.push(Box::new(Join { conditions: spec.conditions, to: spec.latent_dim }));
    }
    layers
}

/// The layers from the decoder's input to the output.
pub(super) fn decoder(spec: &Specification, layout: &mut Layout) -> Result<Layers> {
    let shapes = spec.decoder_shapes()?;
    let mut builder = Builder {
        layout,
        layers: Vec::new(),
        module: "decoder",
        next: 0,
        activation: spec.activation,
        storage: Storage::Panels,
        first: false,
        int8: false, // the first layer reads z
        flat_inputs: 0,
        conditions: 0..0,
    };
    let image = matches!(shapes.last(), Some(Shape::Image(_)));
    let hidden = match image {
        true => spec.decoder.iter().rposition(|layer| !layer.is_pool()).unwrap_or(0),
        false => spec.decoder.len(),
    };
    for (i, layer) in spec.decoder[..hidden].iter().enumerate() {
        builder.hidden(layer, [shapes[i], shapes[i + 1]], spec.decoder.get(i + 1))?;
        builder.int8 = spec.precision == Precision::Int8;
    }
    if image {
        return output_image(builder, spec, hidden, &shapes);
    }
    let inputs = match shapes.last() {
        Some(&Shape::Flat(inputs)) => inputs,
        _ => spec.latent_dim.saturating_add(spec.decoder_conditions()),
    };
    let n = spec.n_features;
    let name = match spec.topics {
        Some(_) => "topics".into(),
        None => builder.name(),
    };
    let Builder { layout, mut layers, int8, .. } = builder;
    // With two outputs for each feature, a panel has the first of sixteen features and then the second of these.
    let (outputs, names) = match spec.likelihood.outputs_per_feature() {
        2 => {
            let [means, seconds] = [0, 1].map(ColumnMap::Half);
            let outputs = seconds.at(n.max(1) - 1).saturating_add(1);
            let means = NamedOutputs { name, columns: means, outputs: n };
            (
                outputs,
                vec![
                    means,
                    NamedOutputs {
                        name: spec.likelihood.second_output().into(),
                        columns: seconds,
                        outputs: n,
                    },
                ],
            )
        }
        _ => (n, NamedOutputs::all(name, n)),
    };
    if int8 {
        let (sizes, kind) = ((inputs, outputs), (false, true));
        let last = QuantizedDense::new(layout, sizes, Activation::Identity, names, kind)?;
        layers.push(Box::new(last));
        return Ok(layers);
    }
    let mut last = Dense::new(layout, (inputs, outputs), Activation::Identity, names, false)?;
    let seeds = spec.seeds.clone();
    match (&spec.topics, &spec.likelihood, spec.weight_constraint) {
        (_, Likelihood::Mixture(_), _) => {
            layers.push(Box::new(TopicWords::new(layout, last, seeds)))
        }
        (Some(_), ..) => {
            let norm = BatchNorm::with_shift(&mut last);
            layers.push(match seeds.is_empty() {
                true => Box::new(last),
                false => Box::new(SeededProduct::new(last, seeds)),
            });
            layers.push(Box::new(norm));
        }
        (_, _, WeightConstraint::Free) if spec.item_prior.is_none() => layers.push(Box::new(last)),
        (_, _, constraint) => {
            layers.push(Box::new(Constrained::new(last, constraint, spec.item_prior)));
        }
    }
    Ok(layers)
}

/// The output of a convolutional decoder, from layer `hidden` on: a convolution, then pools. With two numbers per feature, it has
/// twice the image's channels.
fn output_image(
    mut builder: Builder,
    spec: &Specification,
    hidden: usize,
    shapes: &[Shape],
) -> Result<Layers> {
    let per_feature = spec.likelihood.outputs_per_feature();
    let image = |i: usize, times: usize| match shapes[i] {
        Shape::Image(image) => ImageShape { channels: times * image.channels, ..image },
        Shape::Flat(_) => unreachable!("the shapes were checked"),
    };
    let (from, to) = (Image::panels_of(image(hidden, 1)), image(hidden + 1, per_feature));
    let channels = to.channels / per_feature;
    let names = [builder.name(), spec.likelihood.second_output().into()]
        .into_iter()
        .enumerate()
        .take(per_feature);
    let names = names.map(|(i, name)| NamedChannels::new(name, i * channels, channels)).collect();
    let storage = if per_feature == 2 { Storage::Halves } else { Storage::Flat };
    let (window, direction) = match spec.decoder[hidden] {
        LayerSpecification::ConvTranspose2d { window, .. } => (window, Direction::Up),
        LayerSpecification::Conv2d { window, .. } => (window, Direction::Down),
        _ => unreachable!("the last layer was checked"),
    };
    let pools = hidden + 1..spec.decoder.len();
    let (vectors, taps) = (|columns: usize| columns.div_ceil(LANES), window.taps());
    let computed = match direction {
        Direction::Up => Some((window, WeightKind::Transposed)),
        Direction::Down if 2 * vectors(taps * to.channels) > taps * vectors(to.channels) => None,
        Direction::Down => window.reversed().map(|window| (window, WeightKind::Reversed)),
    };
    if let Some((window, weight)) = computed.filter(|_| pools.is_empty()) {
        let images = (Image { shape: to, storage }, from);
        let output = ConvOutput::new(builder.layout, window, images, names, weight)?;
        builder.layers.push(Box::new(output));
        return Ok(builder.layers);
    }
    let made = Image::panels_of(to);
    let (large, small) = match direction {
        Direction::Down => (from, made),
        Direction::Up => (made, from),
    };
    builder.conv(ConvParts {
        window,
        large,
        small,
        direction,
        activation: Activation::Identity,
        names,
        biased: true,
        dense: false,
        conditions: 0..0,
    })?;
    for i in pools {
        let images = [i, i + 1].map(|i| Shape::Image(image(i, per_feature)));
        builder.hidden(&spec.decoder[i], images, None)?;
    }
    let shape = image(spec.decoder.len(), per_feature);
    let output = FlatOutput::new(Image::panels_of(shape), Image { shape, storage });
    builder.layers.push(Box::new(output));
    Ok(builder.layers)
}
