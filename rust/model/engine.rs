//! The engine: a model's parameters, the optimiser's state, and the memory of batches.

use super::batch::{BatchSize, InputStorage, PassKind};
use super::clip::{self, Gradients};
use super::memory::{BatchView, Memory, Owners, Workspace};
use super::network::Network;
use super::pass::Pass;
use super::spec::{Precision, Specification};
use super::tensor::Tensor;
use crate::error::{Error, Result, copied, filled};
use crate::matrix::Shared;
use crate::random::{Distribution, Noise, Stream};
use crate::simd::{Isa, Row, ZERO_ROW};
use crate::threads;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A model for training and inference.
pub struct Engine {
    /// The instruction set.
    pub isa: Isa,
    /// The layers and the likelihood.
    pub network: Network,
    /// The number of training steps so far.
    pub steps: u64,
    /// The number of first steps that the optimiser's moments do not include, because a file did not store moments.
    pub optimizer_start: u64,
    /// The number of finished shuffled epochs, which selects the next permutation.
    pub epochs: u32,
    /// The number of log variances clamped so far.
    pub clamped: AtomicUsize,
    pub(super) parameters: Vec<Row>,
    derived: Vec<Row>,
    pub(super) moments: [Vec<Row>; 2],
    /// The best parameters of a training with early stopping; empty if none are stored.
    best: Vec<Row>,
    gradients: Vec<Row>,
    squares: Vec<f64>,
    workspaces: [Vec<Workspace>; 2],
}

/// A copy of the parameters, the optimiser's moments, and what is derived from them.
pub(crate) struct SavedState {
    parameters: Vec<Row>,
    derived: Vec<Row>,
    moments: [Vec<Row>; 2],
    clamped: usize,
}

/// A buffer with a value for each parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StateBuffer {
    /// The parameters.
    Value,
    /// The optimiser's first moments.
    First,
    /// The optimiser's second moments.
    Second,
    /// The best parameters of a training with early stopping.
    Best,
}

/// An engine's buffers, shared by the workers of a pass.
pub(crate) struct SharedBuffers<'a> {
    pass: Pass<'a>,
    memories: Vec<Memory<'a>>,
    /// The optimiser's moments.
    pub moments: [Shared<'a, Row>; 2],
    /// Stored gradients; empty unless [`Engine::allocate_gradients`] was called.
    pub gradients: Gradients<'a>,
}

impl<'a> SharedBuffers<'a> {
    /// A pass for a batch of `rows` examples in workspace `part`.
    pub fn pass(&self, part: usize, rows: usize) -> Pass<'a> {
        assert!(rows <= self.pass.rows, "more rows than the workspace was planned for");
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
            let cols = tensor.shape[1..].iter().product();
            let mut plain = filled(0.0, tensor.shape[0].checked_mul(cols))?;
            let noise = Noise { seed, stream: Stream::Init as u8, sample: index as u32 };
            noise.fill(isa, Distribution::Uniform, (0, cols), &mut plain, |to, _, u| {
                *to = (2.0 * u - 1.0) * bound;
            });
            tensor.write(&plain, &mut engine.parameters);
        }
        engine.network.initialize(&mut engine.parameters);
        engine.refresh()?;
        Ok(engine)
    }

    /// A model with zero parameters; set them with [`Engine::buffer_mut`], then call [`Engine::refresh`].
    pub(crate) fn empty(network: Network) -> Result<Engine> {
        let rows = |used: bool| filled(ZERO_ROW, Some(if used { network.rows } else { 0 }));
        let [first, second] = network.spec.moments();
        Ok(Engine {
            isa: Isa::detect()?,
            parameters: rows(true)?,
            derived: filled(ZERO_ROW, Some(network.derived_rows))?,
            moments: [rows(first)?, rows(second)?],
            best: Vec::new(),
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

    /// A copy of the model, its moments and its counters, whose matrix products have operands of another precision.
    pub fn with_precision(&self, precision: Precision) -> Result<Engine> {
        self.require_training("another precision")?;
        let specification = Specification { precision, ..self.network.spec.clone() };
        specification.check()?;
        let mut engine = Engine {
            steps: self.steps,
            optimizer_start: self.optimizer_start,
            epochs: self.epochs,
            ..Engine::empty(Network::new(specification)?)?
        };
        assert_eq!(
            engine.network.rows, self.network.rows,
            "parameters are float32 in any precision"
        );
        let SavedState { parameters, moments, clamped, .. } = self.state()?;
        (engine.parameters, engine.moments) = (parameters, moments);
        engine.clamped = AtomicUsize::new(clamped);
        engine.refresh()?;
        Ok(engine)
    }

    /// A buffer; empty if the optimiser does not use it.
    pub(crate) fn buffer(&self, part: StateBuffer) -> &[Row] {
        match part {
            StateBuffer::Value => &self.parameters,
            StateBuffer::First => &self.moments[0],
            StateBuffer::Second => &self.moments[1],
            StateBuffer::Best => &self.best,
        }
    }

    /// The buffer of what is derived from the parameters.
    pub(crate) fn derived(&self) -> &[Row] {
        &self.derived
    }

    /// A buffer for writing, and the network with the buffer's layout.
    pub(crate) fn buffer_mut(&mut self, part: StateBuffer) -> (&Network, &mut [Row]) {
        let [first, second] = &mut self.moments;
        let buffer = match part {
            StateBuffer::Value => &mut self.parameters,
            StateBuffer::First => first,
            StateBuffer::Second => second,
            StateBuffer::Best => &mut self.best,
        };
        (&self.network, buffer)
    }

    /// A parameter in PyTorch's layout.
    pub fn parameter(&self, tensor: &Tensor) -> Result<Vec<f32>> {
        tensor.read(&self.parameters)
    }

    /// Sets all parameters, in the order of `network.tensors` and in PyTorch's layout. The optimiser's state is
    /// unchanged.
    pub fn set_parameters(&mut self, values: &[Vec<f32>]) -> Result<()> {
        let parameters = self.pack(values, &self.network.tensors)?;
        self.network.check(&parameters)?;
        // Allocates before the change, so that a lack of memory leaves the model as it is.
        self.share(1, BatchSize::of(1), PassKind::Infer, InputStorage::Batch)?;
        self.parameters = parameters;
        self.refresh()
    }

    /// Copies values of `tensors` (all, or the trained ones) into a new buffer with the parameters' layout.
    pub fn pack(&self, values: &[Vec<f32>], tensors: &[Tensor]) -> Result<Vec<Row>> {
        let mut buffer = filled(ZERO_ROW, Some(self.network.rows))?;
        if values.len() != tensors.len() {
            return Err(Error::Shape(format!(
                "{} arrays were given for {} parameters",
                values.len(),
                tensors.len()
            )));
        }
        for (tensor, plain) in tensors.iter().zip(values) {
            if plain.len() != tensor.shape.iter().product::<usize>() {
                return Err(Error::Shape(format!(
                    "{} has {} elements; the model expects shape {:?}",
                    tensor.name,
                    plain.len(),
                    tensor.shape
                )));
            }
            if let Some(bad) = plain.iter().find(|x| !tensor.allows(**x)) {
                return Err(Error::Value(format!(
                    "{} contains {bad}: values must be finite, and variances not negative",
                    tensor.name
                )));
            }
            tensor.write(plain, &mut buffer);
        }
        Ok(buffer)
    }

    /// Recomputes the derived buffer after a change of the parameters.
    pub(crate) fn refresh(&mut self) -> Result<()> {
        let buffers = self.share(1, BatchSize::of(1), PassKind::Infer, InputStorage::Batch)?;
        threads::alone(|worker| buffers.pass(0, 1).refresh(worker));
        Ok(())
    }

    /// Stores the parameters as the best ones.
    pub fn store_best(&mut self) -> Result<()> {
        if self.best.is_empty() {
            self.allocate_best()?;
        }
        self.best.copy_from_slice(&self.parameters);
        Ok(())
    }

    /// Allocates the buffer of the best parameters.
    pub(crate) fn allocate_best(&mut self) -> Result<()> {
        self.best = filled(ZERO_ROW, Some(self.network.rows))?;
        Ok(())
    }

    /// Sets the parameters to the best ones, if any are stored, and releases these.
    pub fn restore_best(&mut self) -> Result<()> {
        if self.best.is_empty() {
            return Ok(());
        }
        self.parameters = std::mem::take(&mut self.best);
        self.refresh()
    }

    /// Releases the best parameters.
    pub fn drop_best(&mut self) {
        self.best = Vec::new();
    }

    /// A copy of parameters and moments.
    pub(crate) fn state(&self) -> Result<SavedState> {
        let [first, second] = &self.moments;
        Ok(SavedState {
            parameters: copied(&self.parameters)?,
            derived: copied(&self.derived)?,
            moments: [copied(first)?, copied(second)?],
            clamped: self.clamped.load(Ordering::Relaxed),
        })
    }

    /// Takes back what has happened to parameters and moments since [`Engine::state`].
    pub(crate) fn restore(&mut self, state: SavedState) {
        self.parameters = state.parameters;
        self.derived = state.derived;
        self.moments = state.moments;
        self.clamped = AtomicUsize::new(state.clamped);
    }

    /// Allocates the gradient buffers, unless that was done before.
    pub(crate) fn allocate_gradients(&mut self) -> Result<()> {
        if self.gradients.is_empty() {
            self.squares = filled(0.0, Some(clip::blocks(self.network.rows)))?;
            self.gradients = filled(ZERO_ROW, Some(self.network.rows))?;
        }
        Ok(())
    }

    /// The gradient that was last stored for a parameter, in PyTorch's layout.
    pub(crate) fn gradient(&self, tensor: &Tensor) -> Result<Vec<f32>> {
        tensor.read(&self.gradients)
    }

    /// Allocates workspaces for `parts` simultaneous batches of at most `size`, and returns the buffers for sharing
    /// among workers.
    pub(crate) fn share(
        &mut self,
        parts: usize,
        size: BatchSize,
        kind: PassKind,
        storage: InputStorage,
    ) -> Result<SharedBuffers<'_>> {
        let (network, workspaces) = (&self.network, &mut self.workspaces[kind as usize]);
        workspaces.retain(|workspace| workspace.fits(size, storage));
        while workspaces.len() < parts {
            let plan = network.plan(size, kind, storage);
            workspaces.push(Workspace::new(plan, network.buffer_sizes(), self.isa)?);
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
            prior_weight: 0.0,
            weighted: false,
            balanced: false,
            prior: None,
            part: None,
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
