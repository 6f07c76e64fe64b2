//! The engine: a model's parameters, the optimiser's state, and the memory of its batches.

use super::batch::{BatchSize, InputStorage, PassKind};
use super::clip::{self, Gradients};
use super::memory::{BatchView, Memory, Owners, Workspace};
use super::network::Network;
use super::pass::Pass;
use super::spec::Specification;
use super::tensor::Tensor;
use crate::error::{Error, Result, filled};
use crate::matrix::Shared;
use crate::random::{Distribution, Noise, Stream};
use crate::simd::{Isa, Row, ZERO_ROW};
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
    pub(super) parameters: Vec<Row>,
    derived: Vec<Row>,
    pub(super) moments: [Vec<Row>; 2],
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

/// An engine's buffers during a pass: the parts that workers share.
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
        let batch = BatchView { memory: self.memories[part], ..self.pass.batch };
        Pass { batch: batch.with_rows(rows), ..self.pass }
    }
}

impl Engine {
    /// A model with PyTorch's initial weights and biases: U(-1/sqrt(fan_in), 1/sqrt(fan_in)).
    pub fn new(specification: Specification) -> Result<Engine> {
        let mut engine = Engine::empty(Network::new(specification)?)?;
        let (isa, seed) = (engine.isa, engine.network.spec.seed);
        for (index, tensor) in engine.network.tensors.iter().enumerate() {
            let Some(fan_in) = tensor.fan_in else { continue };
            let bound = 1.0 / (fan_in as f32).sqrt();
            let cols = tensor.shape.get(1).copied().unwrap_or(1);
            let mut plain = vec![0.0; tensor.shape[0] * cols];
            let noise = Noise { seed, stream: Stream::Init as u8, sample: index as u32 };
            noise.fill(isa, Distribution::Uniform, cols, &mut plain, |to, _, u| {
                *to = (2.0 * u - 1.0) * bound;
            });
            tensor.write(&plain, &mut engine.parameters);
        }
        engine.network.initialize(&mut engine.parameters);
        engine.refresh()?;
        Ok(engine)
    }

    /// A model whose parameters are zero, to be filled in by [`Engine::buffer_mut`] and [`Engine::refresh`].
    pub(crate) fn empty(network: Network) -> Result<Engine> {
        let rows = |wanted: bool| filled(ZERO_ROW, Some(if wanted { network.rows } else { 0 }));
        let [first, second] = network.spec.optimizer.moments();
        Ok(Engine {
            isa: Isa::detect()?,
            parameters: rows(true)?,
            derived: filled(ZERO_ROW, Some(network.derived_rows))?,
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
        tensor.read(&self.parameters)
    }

    /// Sets all parameters, in the order of `network.tensors`. The optimiser's state stays.
    pub fn set_parameters(&mut self, values: &[Vec<f32>]) -> Result<()> {
        let parameters = self.pack(values, &self.network.tensors)?;
        self.network.check(&parameters)?;
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
            tensor.write(plain, &mut buffer);
        }
        Ok(buffer)
    }

    /// Follows a change of the parameters.
    pub(crate) fn refresh(&mut self) -> Result<()> {
        let buffers = self.share(1, BatchSize::of(1), PassKind::Infer, InputStorage::Batch)?;
        threads::alone(|worker| buffers.pass(0, 1).refresh(worker));
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
        tensor.read(&self.gradients)
    }

    /// Makes sure that there is memory for `parts` batches of that size at the same time, and shares everything among passes.
    pub(crate) fn share(
        &mut self,
        parts: usize,
        size: BatchSize,
        kind: PassKind,
        storage: InputStorage,
    ) -> Result<SharedBuffers<'_>> {
        let (network, workspaces) = (&self.network, &mut self.workspaces[kind as usize]);
        workspaces.retain(|workspace| workspace.serves(size, storage));
        while workspaces.len() < parts {
            let plan = network.plan(size, kind, storage);
            workspaces.push(Workspace::new(plan, network.rooms(), self.isa)?);
        }
        let memories: Vec<_> = workspaces.iter_mut().map(Workspace::share).collect();
        let [first, second] = &mut self.moments;
        let batch = BatchView {
            isa: self.isa,
            spec: &network.spec,
            parameters: Shared::new(&mut self.parameters),
            derived: Shared::new(&mut self.derived),
            memory: memories[0],
            clamped: &self.clamped,
            rows: size.rows,
            owners: Owners { rows: size.rows, first: 0, copies: size.copies },
        };
        Ok(SharedBuffers {
            pass: Pass { network, batch },
            memories,
            moments: [Shared::new(first), Shared::new(second)],
            gradients: Gradients {
                values: Shared::new(&mut self.gradients),
                squares: Shared::new(&mut self.squares),
            },
        })
    }
}
