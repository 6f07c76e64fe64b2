//! The network: the layers of encoder and decoder, the head, and where their parameters lie.

use super::batch::{BatchSize, InputStorage, PassKind};
use super::head::Head;
use super::layer_list::LayerSpecification;
use super::layers::{BatchNorm, Constrained, Dense, Join, Layer, Named, Simplex, TopicWords};
use super::memory::{Plan, Planner, Port, Rooms, Slot};
use super::spec::{Specification, WeightConstraint};
use super::tensor::{Layout, Tensor};
use crate::data::Source;
use crate::error::{Error, Result};
use crate::matrix::{ColumnMap, panels_of};
use crate::nn::activation::Activation;
use crate::nn::likelihood::Likelihood;
use crate::simd::Row;

/// A list of layers.
pub type Layers = Vec<Box<dyn Layer>>;

/// The layers from x to [mu, logvar] or the code, those between z and what the decoder reads, those from there to the output,
/// and the likelihood.
#[derive(Debug)]
pub struct Network {
    /// What the user chose.
    pub spec: Specification,
    /// From x to [mu, logvar], or to the code.
    pub encoder: Layers,
    /// From z to what the decoder reads.
    pub latent: Layers,
    /// From there to the output, which the last one hands to the head.
    pub decoder: Layers,
    /// p(x|z).
    pub head: Head,
    /// All parameters by name, the running statistics last.
    pub tensors: Vec<Tensor>,
    /// Rows of the parameter buffer (and of each moment's and the gradient's).
    pub rows: usize,
    /// The first of them: those that the optimiser updates. Running statistics are behind them.
    pub trained_rows: usize,
    /// Rows of what is made of the parameters.
    pub derived_rows: usize,
}

impl Network {
    /// Lays the parameters out.
    pub fn new(spec: Specification) -> Result<Network> {
        spec.check()?;
        let layout = &mut Layout::default();
        let encoder = encoder(&spec, layout)?;
        let latent = latent(&spec);
        let decoder = decoder(&spec, layout)?;
        Ok(Network::assemble(spec, layout, [encoder, latent, decoder]))
    }

    /// A network of these layers, which have their places in `layout`.
    pub(super) fn assemble(
        spec: Specification,
        layout: &mut Layout,
        layers: [Layers; 3],
    ) -> Network {
        let [mut encoder, mut latent, mut decoder] = layers;
        let head = Head::new(&spec, layout);
        let trained_rows = layout.rows;
        for layer in encoder.iter_mut().chain(&mut latent).chain(&mut decoder) {
            layer.place_statistics(layout);
        }
        let all = encoder.iter().chain(&latent).chain(&decoder);
        let (mut tensors, running): (Vec<_>, Vec<_>) =
            all.flat_map(|layer| layer.tensors()).partition(Tensor::is_trained);
        tensors.extend(head.tensors());
        tensors.extend(running);
        Network {
            spec,
            encoder,
            latent,
            decoder,
            head,
            tensors,
            rows: layout.rows,
            trained_rows,
            derived_rows: layout.derived,
        }
    }

    /// All layers, in the order of the forward pass.
    pub fn layers(&self) -> impl DoubleEndedIterator<Item = &dyn Layer> {
        let all = self.encoder.iter().chain(&self.latent).chain(&self.decoder);
        all.map(|layer| &**layer)
    }

    /// The last layer.
    pub fn output(&self) -> &dyn Layer {
        &**self.decoder.last().expect("a decoder has an output")
    }

    /// The tensors that are trained: all but the running statistics.
    pub fn trained(&self) -> &[Tensor] {
        &self.tensors[..self.tensors.iter().take_while(|tensor| tensor.is_trained()).count()]
    }

    /// Whether some gradients are stored before they are followed.
    pub fn stores_gradient(&self) -> bool {
        self.layers().any(|layer| layer.stores_gradient())
    }

    /// Sets the parameters that start elsewhere than at PyTorch's random values, and brings all others to allowed ones.
    pub fn initialize(&self, parameters: &mut [Row]) {
        self.layers().for_each(|layer| layer.initialize(parameters));
        self.constrain(parameters);
    }

    /// Takes parameters to the nearest ones that are allowed.
    pub fn constrain(&self, parameters: &mut [Row]) {
        self.head.constrain(parameters);
        self.layers().for_each(|layer| layer.constrain(parameters));
    }

    /// An error unless parameters are allowed.
    pub fn check(&self, parameters: &[Row]) -> Result<()> {
        self.head.check(parameters)?;
        self.layers().try_for_each(|layer| layer.check(parameters))
    }

    /// An error unless examples come with exactly the conditions that the model wants.
    pub fn check_conditions(&self, x: &Source) -> Result<()> {
        match (x.conditions().map_or(0, Source::cols), self.spec.conditions) {
            (given, wanted) if given == wanted => Ok(()),
            (given, wanted) => Err(Error::Shape(format!(
                "{given} columns of conditions for a model with {wanted}"
            ))),
        }
    }

    /// Where the matrices of a batch lie.
    pub fn plan(&self, size: BatchSize, kind: PassKind, storage: InputStorage) -> Plan {
        let (spec, copies) = (&self.spec, size.copies);
        let planner = &mut Planner::new(size, kind);
        let trains = planner.trains();
        let x = planner.place(spec.n_features, 1, !matches!(storage, InputStorage::Sparse(_)));
        let input = match storage {
            InputStorage::Batch if spec.encodes_as_is() => x,
            InputStorage::Sparse(_) => x,
            _ => planner.place(spec.conditions_at() + spec.conditions, 1, true),
        };
        // Nobody asks for the gradient of the input.
        let first = Port::plain(input, planner.place(input.cols, 1, false));
        let (encoder, posterior) = chain(&self.encoder, planner, first, false);
        let eps = planner.place(spec.latent_dim, copies, true);
        let z = match spec.variational {
            true => {
                let cols = spec.latent_dim + spec.conditions;
                let z = planner.place(cols, copies, true);
                Port::plain(z, planner.place(cols, copies, trains))
            }
            false => posterior, // the code is what the encoder gives
        };
        let (latent, code) = chain(&self.latent, planner, z, false);
        let (decoder, output) = chain(&self.decoder, planner, code, true);
        let softmax = self.head.likelihood.is_softmax();
        let output_gradient = match trains {
            true => output.gradient,
            false => planner.place(self.output().outputs(), copies, softmax),
        };
        let scaled = trains && self.head.stores_scale_gradient();
        let scale_gradient = planner.place(spec.n_features, copies, scaled);
        let arena = planner.arena();
        Plan {
            x,
            input,
            eps,
            posterior,
            z,
            code,
            encoder,
            latent,
            decoder,
            output_gradient,
            scale_gradient,
            kind,
            storage,
            size,
            arena,
        }
    }

    /// What a workspace needs beside the arena.
    pub fn rooms(&self) -> Rooms {
        Rooms {
            output_panels: panels_of(self.output().outputs()),
            softmax: self.head.likelihood.is_softmax(),
            latent_dim: self.spec.latent_dim,
        }
    }

    /// About how many bytes an example and its activations take.
    pub fn row_bytes(&self) -> usize {
        let chains = self.encoder.iter().chain(&self.decoder);
        let outputs: usize = chains.map(|layer| layer.outputs()).sum();
        let spec = &self.spec;
        size_of::<f32>()
            * (spec.conditions_at() + 2 * (spec.latent_dim + spec.conditions) + outputs)
    }

    /// Multiply-adds of one example's forward pass.
    pub fn work(&self) -> usize {
        self.work_of(BatchSize::of(1))
    }

    /// Multiply-adds of a batch's forward pass.
    pub fn work_of(&self, BatchSize { rows, copies }: BatchSize) -> usize {
        let work = |layers: &Layers| -> usize { layers.iter().map(|layer| layer.work()).sum() };
        let decoder = copies.saturating_mul(work(&self.decoder));
        rows.saturating_mul(work(&self.encoder).saturating_add(decoder))
    }
}

/// Slots for layers that read one another, and what the last one gives.
fn chain(
    layers: &[Box<dyn Layer>],
    planner: &mut Planner,
    mut below: Port,
    to_the_head: bool,
) -> (Vec<Slot>, Port) {
    let mut slots = Vec::with_capacity(layers.len());
    for (index, layer) in layers.iter().enumerate() {
        let slot = layer.plan(planner, below, to_the_head && index + 1 == layers.len());
        below = slot.above;
        slots.push(slot);
    }
    (slots, below)
}

/// Dense hidden layers of those widths with names as in the torch module that a reader would write: an `nn.Sequential` has
/// a layer, an activation, a layer, ..., so layer i has index 2 i. Returns the width of the last one too.
fn hidden(
    layout: &mut Layout,
    inputs: usize,
    hidden: &[LayerSpecification],
    activation: Activation,
    (module, first): (&str, bool),
) -> Result<(Layers, usize)> {
    let (mut layers, mut inputs): (Layers, usize) = (Vec::new(), inputs);
    for (index, outputs) in hidden.iter().map(|layer| layer.units()).enumerate() {
        let names = Named::all(format!("{module}.{}", 2 * index), outputs);
        let first = first && index == 0;
        layers.push(Box::new(Dense::new(layout, (inputs, outputs), activation, names, first)?));
        inputs = outputs;
    }
    Ok((layers, inputs))
}

/// The layers from x to [mu, logvar], or to the code.
pub(super) fn encoder(spec: &Specification, layout: &mut Layout) -> Result<Layers> {
    let inputs = spec.conditions_at().saturating_add(spec.conditions);
    let module = ("encoder", true);
    let (mut layers, inputs) = hidden(layout, inputs, &spec.encoder, spec.activation, module)?;
    let latent = spec.latent_dim;
    let outputs = latent.saturating_mul(if spec.variational { 2 } else { 1 });
    let part = |name: &str, first| Named {
        name: name.into(),
        columns: ColumnMap::From(first),
        outputs: latent,
    };
    let names = match spec.variational {
        true => vec![part("mu", 0), part("logvar", latent)],
        false => vec![part("code", 0)],
    };
    let first = layers.is_empty();
    let mut last = Dense::new(layout, (inputs, outputs), Activation::Identity, names, first)?;
    // Against collapse, the posterior's means of topics are normalised over the batch.
    let norm = spec.topics.as_ref().map(|_| BatchNorm::plain(&mut last, latent));
    layers.push(Box::new(last));
    layers.extend(norm.map(|norm| Box::new(norm) as Box<dyn Layer>));
    Ok(layers)
}

/// The layers between z and what the decoder reads.
pub(super) fn latent(spec: &Specification) -> Layers {
    let mut layers: Layers = Vec::new();
    if let Some(topics) = &spec.topics {
        layers.push(Box::new(Simplex::new(topics)));
    }
    if spec.conditions > 0 {
        let (from, to) = (spec.conditions_at(), spec.latent_dim);
        layers.push(Box::new(Join { conditions: spec.conditions, from, to }));
    }
    layers
}

/// The layers from the codes to the output.
pub(super) fn decoder(spec: &Specification, layout: &mut Layout) -> Result<Layers> {
    let (n, inputs) = (spec.n_features, spec.latent_dim.saturating_add(spec.conditions));
    let module = ("decoder", false);
    let (mut layers, inputs) = hidden(layout, inputs, &spec.decoder, spec.activation, module)?;
    let name = match spec.topics {
        Some(_) => "topics".into(),
        None => format!("decoder.{}", 2 * spec.decoder.len()),
    };
    // With a scale from the decoder a panel has the means of sixteen features and their log scales.
    let (outputs, names) = match spec.likelihood.outputs_per_feature() {
        2 => {
            let [means, scales] = [0, 1].map(ColumnMap::Half);
            let outputs = scales.at(n.max(1) - 1).saturating_add(1);
            let means = Named { name, columns: means, outputs: n };
            (outputs, vec![means, Named { name: "scale".into(), columns: scales, outputs: n }])
        }
        _ => (n, Named::all(name, n)),
    };
    let mut last = Dense::new(layout, (inputs, outputs), Activation::Identity, names, false)?;
    match (&spec.topics, spec.likelihood, spec.weight_constraint) {
        (_, Likelihood::Mixture(_), _) => layers.push(Box::new(TopicWords::new(layout, last))),
        (Some(_), ..) => {
            let norm = BatchNorm::with_shift(&mut last);
            layers.push(Box::new(last));
            layers.push(Box::new(norm));
        }
        (_, _, WeightConstraint::Free) => layers.push(Box::new(last)),
        (_, _, rule) => layers.push(Box::new(Constrained::new(last, rule))),
    }
    Ok(layers)
}
