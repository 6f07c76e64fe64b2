//! A variational autoencoder: parameters, the optimiser's state, and the phases of its passes.

mod backward;
mod clip;
mod forward;
mod gather;
mod importance;
mod layer_list;
mod loadings;
mod marginal;
mod mirror;
mod missing;
mod network;
mod norms;
mod pass;
mod softmax;
mod spec;
mod stored;
mod topics;
mod update;
mod workspace;
mod zeros;

pub(crate) use clip::Gradients;
pub use forward::{Epsilon, NoiseKey};
pub use gather::{EncoderInput, Rows};
pub use layer_list::{LayerSpecification, MAX_LAYERS, dense};
pub(crate) use marginal::SampleRange;
pub use marginal::WeightSums;
pub use network::{Network, Tensor};
pub(crate) use pass::Pass;
pub use spec::{MAX_WIDTH, Missing, Specification, Topics, WeightConstraint};
pub(crate) use update::Sink;
pub(crate) use workspace::{BatchSize, InputStorage, Memory, PassKind, Workspace};

use crate::error::{Error, Result, filled};
use crate::matrix::Shared;
use crate::random::{Distribution, Noise, Stream};
use crate::simd::{Isa, Row, ZERO_ROW, floats_mut};
use crate::threads;
use std::sync::atomic::AtomicUsize;

/// A model that can be trained and asked.
pub struct Engine {
    /// Kernels.
    pub isa: Isa,
    /// The architecture.
    pub network: Network,
    /// Steps taken.
    pub steps: u64,
    /// The first of them, of which the optimiser knows nothing: its moments were not kept.
    pub optimizer_start: u64,
    /// Shuffled epochs finished: the number of the next order.
    pub epochs: u32,
    /// Log variances clamped so far.
    pub clamped: AtomicUsize,
    parameters: Vec<Row>,
    transposed: Vec<Row>,
    phi: Vec<Row>,
    moments: [Vec<Row>; 2],
    gradients: Vec<Row>,
    squares: Vec<f64>,
    workspaces: [Vec<Workspace>; 2],
}

/// What a model keeps of each parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StateBuffer {
    /// The parameter itself.
    Value,
    /// The optimiser's first moment.
    First,
    /// The optimiser's second moment.
    Second,
}

/// A model's buffers, lent out for a pass: the parts that workers share.
pub(crate) struct SharedBuffers<'a> {
    pass: Pass<'a>,
    memories: Vec<Memory<'a>>,
    /// The optimiser's moments.
    pub moments: [Shared<'a, Row>; 2],
    /// Room for gradients, where [`Engine::make_room_for_gradients`] has made it.
    pub gradients: Gradients<'a>,
}

impl<'a> SharedBuffers<'a> {
    /// A batch of `rows` examples in workspace `part`.
    pub fn pass(&self, part: usize, rows: usize) -> Pass<'a> {
        assert!(rows <= self.pass.rows, "more rows than were asked for");
        Pass { rows, memory: self.memories[part], ..self.pass }
    }
}

impl Engine {
    /// A model with PyTorch's initial weights and biases: U(-1/sqrt(fan_in), 1/sqrt(fan_in)).
    pub fn new(specification: Specification) -> Result<Engine> {
        let mut vae = Engine::empty(Network::new(specification)?)?;
        let (isa, seed) = (vae.isa, vae.network.spec.seed);
        for (index, tensor) in vae.network.tensors.iter().enumerate() {
            let Some(fan_in) = vae.network.fan_in(tensor) else { continue };
            let bound = 1.0 / (fan_in as f32).sqrt();
            let cols = tensor.shape.get(1).copied().unwrap_or(1);
            let mut plain = vec![0.0; tensor.shape[0] * cols];
            let noise = Noise { seed, stream: Stream::Init as u8, sample: index as u32 };
            noise.fill(isa, Distribution::Uniform, cols, &mut plain, |to, _, u| {
                *to = (2.0 * u - 1.0) * bound;
            });
            vae.network.write(tensor, &plain, &mut vae.parameters);
        }
        for layer in &vae.network.layers {
            // Variances start at one, as torch's do.
            let Some(norm) = layer.norm else { continue };
            for panel in 0..norm.panels() {
                let [_, variance] = norm.rows(panel);
                floats_mut(&mut vae.parameters[variance..variance + 1])[..norm.used(panel)]
                    .fill(1.0);
            }
        }
        if let Some(start) = vae.network.log_scale {
            vae.network.keep_scale_in_range(&mut vae.parameters[start..]);
        }
        let loadings = vae.network.loadings();
        vae.network.project(&mut vae.parameters[loadings]);
        vae.refresh()?;
        Ok(vae)
    }

    /// A model whose parameters are zero, to be filled in by [`Engine::buffer_mut`] and [`Engine::refresh`].
    pub(crate) fn empty(network: Network) -> Result<Engine> {
        let rows = |wanted: bool| filled(ZERO_ROW, Some(if wanted { network.rows } else { 0 }));
        let [first, second] = network.spec.optimizer.moments();
        Ok(Engine {
            isa: Isa::detect()?,
            parameters: rows(true)?,
            transposed: filled(ZERO_ROW, Some(network.transposed_rows))?,
            phi: filled(ZERO_ROW, Some(network.phi_rows()))?,
            moments: [rows(first)?, rows(second)?],
            network,
            steps: 0,
            optimizer_start: 0,
            epochs: 0,
            clamped: AtomicUsize::new(0),
            gradients: Vec::new(),
            squares: Vec::new(),
            workspaces: [Vec::new(), Vec::new()],
        })
    }

    /// The buffer of a part, empty where the optimiser does not use it.
    pub(crate) fn buffer(&self, part: StateBuffer) -> &[Row] {
        match part {
            StateBuffer::Value => &self.parameters,
            StateBuffer::First => &self.moments[0],
            StateBuffer::Second => &self.moments[1],
        }
    }

    /// The same to be filled in, with the network that says what lies where.
    pub(crate) fn buffer_mut(&mut self, part: StateBuffer) -> (&Network, &mut [Row]) {
        let [first, second] = &mut self.moments;
        let buffer = match part {
            StateBuffer::Value => &mut self.parameters,
            StateBuffer::First => first,
            StateBuffer::Second => second,
        };
        (&self.network, buffer)
    }

    /// A parameter in PyTorch's layout.
    pub fn parameter(&self, tensor: &Tensor) -> Vec<f32> {
        self.network.read(tensor, &self.parameters)
    }

    /// Sets all parameters, in the order of `network.tensors`. The optimiser's state stays.
    pub fn set_parameters(&mut self, values: &[Vec<f32>]) -> Result<()> {
        let parameters = self.pack(values, &self.network.tensors)?;
        self.network.check_scale(&parameters)?;
        self.network.check_loadings(&parameters)?;
        self.parameters = parameters;
        self.refresh()
    }

    /// Values of some tensors (all, or those that are trained) as one buffer with the parameters' layout.
    pub fn pack(&self, values: &[Vec<f32>], tensors: &[Tensor]) -> Result<Vec<Row>> {
        let mut buffer = filled(ZERO_ROW, Some(self.network.rows))?;
        if values.len() != tensors.len() {
            return Err(Error::Shape(format!(
                "{} arrays for {} parameters",
                values.len(),
                tensors.len()
            )));
        }
        for (tensor, plain) in tensors.iter().zip(values) {
            if plain.len() != tensor.shape.iter().product::<usize>() {
                return Err(Error::Shape(format!(
                    "{} has {} elements, not the {:?} that the model has",
                    tensor.name,
                    plain.len(),
                    tensor.shape
                )));
            }
            if let Some(bad) = plain.iter().find(|x| !tensor.allows(**x)) {
                return Err(Error::Value(format!("{} contains {bad}", tensor.name)));
            }
            self.network.write(tensor, plain, &mut buffer);
        }
        Ok(buffer)
    }

    /// Follows a change of the parameters.
    pub(crate) fn refresh(&mut self) -> Result<()> {
        let lent = self.lend(1, BatchSize::of(1), PassKind::Infer, InputStorage::Batch)?;
        threads::alone(|worker| lent.pass(0, 1).refresh(worker));
        Ok(())
    }

    /// Makes sure that gradients can be stored.
    pub(crate) fn make_room_for_gradients(&mut self) -> Result<()> {
        if self.gradients.is_empty() {
            self.squares = filled(0.0, Some(clip::blocks(self.network.rows)))?;
            self.gradients = filled(ZERO_ROW, Some(self.network.rows))?;
        }
        Ok(())
    }

    /// The gradient of a parameter that was stored last.
    pub(crate) fn gradient(&self, tensor: &Tensor) -> Vec<f32> {
        self.network.read(tensor, &self.gradients)
    }

    /// Makes sure that there is memory for `parts` batches of that size at the same time, and lends everything to
    /// passes.
    pub(crate) fn lend(
        &mut self,
        parts: usize,
        extent: BatchSize,
        purpose: PassKind,
        sees: InputStorage,
    ) -> Result<SharedBuffers<'_>> {
        let workspaces = &mut self.workspaces[purpose as usize];
        workspaces.retain(|workspace| workspace.serves(extent, sees));
        while workspaces.len() < parts {
            workspaces.push(Workspace::new(&self.network, extent, purpose, sees, self.isa)?);
        }
        let memories: Vec<_> = workspaces.iter_mut().map(Workspace::share).collect();
        let [first, second] = &mut self.moments;
        Ok(SharedBuffers {
            pass: Pass {
                isa: self.isa,
                network: &self.network,
                parameters: Shared::new(&mut self.parameters),
                transposed: Shared::new(&mut self.transposed),
                phi: Shared::new(&mut self.phi),
                memory: memories[0],
                clamped: &self.clamped,
                rows: extent.rows,
                trains: purpose == PassKind::Train,
                decodes_means: !self.network.spec.variational,
            },
            memories,
            moments: [Shared::new(first), Shared::new(second)],
            gradients: Gradients {
                values: Shared::new(&mut self.gradients),
                squares: Shared::new(&mut self.squares),
            },
        })
    }
}
