//! The network: the layers of encoder and decoder, the likelihood, and the layout of their parameters.

use super::batch::{BatchSize, InputStorage, PassKind};
use super::build::{decoder, encoder, latent};
use super::head::Head;
use super::layers::Layer;
use super::memory::{BufferSizes, Plan, Planner, Port, Slot};
use super::spec::{Precision, Specification};
use super::tensor::{Layout, Tensor};
use crate::data::Source;
use crate::error::{Error, Result};
use crate::matrix::panels_of;
use crate::simd::Row;
use std::ops::Range;

/// A list of layers.
pub type Layers = Vec<Box<dyn Layer>>;

/// The layers of the encoder, between z and the decoder's input, and of the decoder, and the likelihood.
#[derive(Debug)]
pub struct Network {
    /// The specification.
    pub spec: Specification,
    /// From x to [mu, logvar], or to the code of a plain autoencoder.
    pub encoder: Layers,
    /// The first layers of the encoder whose input's gradient is not computed: pools of x and the layer behind them.
    pub without_input_gradient: usize,
    /// From z to the decoder's input.
    pub latent: Layers,
    /// From there to the output; the last layer passes its tiles to the head.
    pub decoder: Layers,
    /// The likelihood p(x|z).
    pub head: Head,
    /// All parameters by name, the running statistics last.
    pub tensors: Vec<Tensor>,
    /// Rows of the parameter buffer (and of the moments and the gradient).
    pub rows: usize,
    /// Rows that the optimiser updates; the rows of running statistics follow them.
    pub trained_rows: usize,
    /// For each layer the first row whose gradient is final after the layer's update in the backward pass: layers before it in
    /// the forward pass have none from there on.
    pub final_rows: Vec<usize>,
    /// Rows of the derived buffer.
    pub derived_rows: usize,
}

impl Network {
    /// Builds the layers of a specification and lays out their parameters.
    pub fn new(spec: Specification) -> Result<Network> {
        spec.check()?;
        let (words, inference_only) = (spec.precision == Precision::Bf16, spec.inference_only);
        let layout = &mut Layout { words, inference_only, ..Layout::default() };
        let encoder = encoder(&spec, layout)?;
        let latent = latent(&spec);
        let decoder = decoder(&spec, layout)?;
        Ok(Network::assemble(spec, layout, [encoder, latent, decoder]))
    }

    /// A network of the layers [encoder, latent, decoder], which have allocated their rows in `layout`.
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
        let pools = encoder.iter().take_while(|layer| layer.tensors().is_empty()).count();
        let all = encoder.iter().chain(&latent).chain(&decoder);
        let mut reached = 0;
        let final_rows = all.clone().map(|layer| {
            let tensors = layer.tensors();
            let ends = tensors.iter().filter(|tensor| tensor.is_trained()).map(Tensor::end);
            let end = ends.max().unwrap_or(0);
            let below = reached;
            reached = reached.max(end);
            below
        });
        let final_rows = final_rows.collect();
        let (mut tensors, running): (Vec<_>, Vec<_>) =
            all.flat_map(|layer| layer.tensors()).partition(Tensor::is_trained);
        tensors.extend(head.tensors());
        tensors.extend(running);
        Network {
            spec,
            encoder,
            without_input_gradient: pools + 1,
            latent,
            decoder,
            head,
            tensors,
            rows: layout.rows,
            trained_rows,
            final_rows,
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

    /// The trained tensors: all but the running statistics.
    pub fn trained(&self) -> &[Tensor] {
        &self.tensors[..self.tensors.iter().take_while(|tensor| tensor.is_trained()).count()]
    }

    /// Whether a layer needs its gradients stored before the update.
    pub fn stores_gradient(&self) -> bool {
        self.layers().any(|layer| layer.stores_gradient())
    }

    /// The rows of trained parameters whose update is a layer's own; empty behind all rows if there are none.
    pub fn own_rows(&self) -> Range<usize> {
        let none = self.trained_rows..self.trained_rows;
        self.layers().find_map(|layer| layer.own_rows()).unwrap_or(none)
    }

    /// Minus the log prior of the parameters, nats.
    pub fn penalty(&self, parameters: &[Row]) -> f64 {
        self.layers().map(|layer| layer.penalty(parameters)).sum()
    }

    /// Sets initial values other than PyTorch's random ones, and projects all parameters onto their constraints.
    pub fn initialize(&self, parameters: &mut [Row]) {
        self.layers().for_each(|layer| layer.initialize(parameters));
        self.constrain(parameters);
    }

    /// Projects parameters onto their constraints.
    pub fn constrain(&self, parameters: &mut [Row]) {
        self.head.constrain(parameters);
        self.layers().for_each(|layer| layer.constrain(parameters));
    }

    /// Returns an error if parameters violate a constraint.
    pub fn check(&self, parameters: &[Row]) -> Result<()> {
        self.head.check(parameters)?;
        self.layers().try_for_each(|layer| layer.check(parameters))
    }

    /// Returns an error if the number of conditions is not the model's. Sizes may be missing: they are then 1.
    pub fn check_conditions(&self, x: &Source) -> Result<()> {
        match (x.conditions().map_or(0, Source::cols), self.spec.conditions) {
            (given, expected) if given == expected => Ok(()),
            (given, expected) if self.spec.has_sizes() && given == expected + 1 => Ok(()),
            (given, expected) => Err(Error::Shape(format!(
                "y has {given} columns, but the model has {expected} conditions"
            ))),
        }
    }

    /// Plans the memory of batches of at most `size`.
    pub fn plan(&self, size: BatchSize, kind: PassKind, storage: InputStorage) -> Plan {
        let (spec, copies) = (&self.spec, size.copies);
        let mut planning = Planner::new(size, kind);
        let planner = &mut planning;
        let trains = planner.trains();
        let x = planner.place(spec.n_features, 1, !matches!(storage, InputStorage::Sparse(_)));
        let mut input = match storage {
            InputStorage::Batch if spec.encodes_as_is() => x,
            // No memory, but the columns of the first layer.
            InputStorage::Sparse(_) => {
                planner.place(spec.conditions_at() + spec.conditions, 1, false)
            }
            _ => planner.place(spec.conditions_at() + spec.conditions, 1, true),
        };
        let sparse = matches!(storage, InputStorage::Sparse(_));
        let conditions = planner.place(spec.conditions, 1, sparse);
        // A convolutional encoder reads conditions in a later layer, or x behind pools.
        let words = match spec.encoder_is_convolutional() {
            false => self.encoder[0].multiplies_words(),
            true => self.encoder.iter().any(|layer| layer.multiplies_words()),
        };
        if words && !sparse {
            planner.add_words(&mut input);
        }
        // The gradient with respect to the input is not computed.
        let first = Port::plain(input, planner.place(input.cols, 1, false));
        let of_code = self.latent.is_empty() && self.decoder[0].multiplies_words();
        let code_words = of_code && !spec.variational;
        let (encoder, posterior) = plan_layers(&self.encoder, planner, first, code_words, false);
        let eps = planner.place(spec.latent_dim, copies, true);
        let z = match spec.variational {
            true => {
                let cols = spec.latent_dim + spec.decoder_conditions();
                let mut z = planner.place(cols, copies, true);
                if of_code {
                    planner.add_words(&mut z);
                }
                Port::plain(z, planner.gradient(cols, copies))
            }
            false => posterior, // the code is the encoder's output
        };
        let (latent, code) =
            plan_layers(&self.latent, planner, z, self.decoder[0].multiplies_words(), false);
        let (decoder, output) = plan_layers(&self.decoder, planner, code, false, true);
        let whole_rows = self.head.likelihood.needs_whole_rows();
        let output_gradient = match trains {
            true => output.gradient,
            false => planner.place(self.output().outputs(), copies, whole_rows),
        };
        let scaled = trains && self.head.stores_scale_gradient();
        // Panels as those of the output.
        let scale_gradient = planner.place(self.output().outputs(), copies, scaled);
        let sized = self.head.likelihood.size_factor().is_some();
        let means = planner.place(self.output().outputs(), copies, trains && sized);
        let mut plan = Plan {
            x,
            input,
            conditions,
            eps,
            posterior,
            z,
            code,
            encoder,
            latent,
            decoder,
            output_gradient,
            scale_gradient,
            means,
            kind,
            storage,
            size,
            arena: 0,
        };
        planning.finish(&mut plan);
        plan
    }

    /// The sizes of a workspace's buffers outside the arena.
    pub fn buffer_sizes(&self) -> BufferSizes {
        BufferSizes {
            output_panels: panels_of(self.output().outputs()),
            whole_rows: self.head.likelihood.needs_whole_rows(),
            latent_dim: self.spec.latent_dim,
            lists: self.spec.reads_lists(),
            given_sizes: self.spec.has_sizes(),
        }
    }

    /// The approximate number of bytes of an example and its activations.
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

/// Plans a list of layers, each reading the output of the one before; returns their slots and the last output. `words`: whether
/// what reads the last output multiplies its words. `with_output`: whether the last layer is the network's, whose output is not stored.
fn plan_layers(
    layers: &[Box<dyn Layer>],
    planner: &mut Planner,
    mut below: Port,
    words: bool,
    with_output: bool,
) -> (Vec<Slot>, Port) {
    let mut slots: Vec<Slot> = Vec::with_capacity(layers.len());
    for (index, layer) in layers.iter().enumerate() {
        let next = layers.get(index + 1);
        let words = next.map_or(words, |next| next.multiplies_words());
        // The input of the output layer can be asked for.
        let asked = !planner.trains() && with_output && index + 2 == layers.len();
        let words_only = words && next.is_some() && layer.stores_words() && !asked;
        let stored = match next {
            None => !with_output,
            Some(_) => !words_only || planner.trains() && !layer.words_suffice(),
        };
        let mut slot = layer.plan(planner, below, stored);
        let Port { value, saved, .. } = slot.above;
        let same = (value.start, value.stored) == (saved.start, saved.stored);
        if words {
            planner.add_words(&mut slot.above.value);
            if same {
                slot.above.saved = slot.above.value;
            }
        }
        if layer.multiplies_words() {
            planner.add_gradient_words(&mut slot.above.gradient);
            if next.is_some_and(|next| next.stores_words()) {
                planner.drop_floats(&mut slot.above.gradient);
            }
        }
        below = slot.above;
        slots.push(slot);
    }
    (slots, below)
}
