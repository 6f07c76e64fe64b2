//! Where a batch's matrices lie in the arena.

use crate::matrix::panels_of;
use crate::model::batch::{BatchSize, InputStorage, PassKind};
use crate::nn::activation::Activation;

/// A matrix's place in the arena, for a batch of at most the arena's examples.
#[derive(Clone, Copy, Debug)]
pub struct Matrix {
    start: usize,
    /// Its columns.
    pub cols: usize,
    /// Its rows for each example: neighbours, one for each draw of the code.
    pub copies: usize,
}

impl Matrix {
    /// Where panel `panel` starts in the arena when the batch has so many examples.
    pub fn panel(&self, panel: usize, examples: usize) -> usize {
        self.start + panel * examples * self.copies
    }
}

/// Hands out places in the arena.
pub struct Planner {
    size: BatchSize,
    /// What the pass is for.
    pub kind: PassKind,
    arena: usize,
}

impl Planner {
    /// Nothing placed yet.
    pub fn new(size: BatchSize, kind: PassKind) -> Planner {
        Planner { size, kind, arena: 0 }
    }

    /// A place for a matrix of `cols` columns and `copies` rows an example: of no rows unless it is `wanted`.
    pub fn place(&mut self, cols: usize, copies: usize, wanted: bool) -> Matrix {
        let matrix = Matrix { start: self.arena, cols, copies };
        let needed = panels_of(cols).saturating_mul(self.size.rows).saturating_mul(copies);
        self.arena = self.arena.saturating_add(if wanted { needed } else { 0 });
        matrix
    }

    /// The first of `panels` panels with `copies` rows an example.
    pub fn panels(&mut self, panels: usize, copies: usize) -> usize {
        self.rows(panels.saturating_mul(self.size.rows).saturating_mul(copies))
    }

    /// A place for `rows` rows, whatever the batch has.
    pub fn rows(&mut self, rows: usize) -> usize {
        self.arena = self.arena.saturating_add(rows);
        self.arena - rows
    }

    /// Whether the pass goes backward too.
    pub fn trains(&self) -> bool {
        self.kind == PassKind::Train
    }

    /// Rows of the arena.
    pub fn arena(&self) -> usize {
        self.arena
    }
}

/// Values between two layers, and their gradient.
#[derive(Clone, Copy, Debug)]
pub struct Port {
    /// The values.
    pub value: Matrix,
    /// The gradient of the loss with respect to what went into the activation.
    pub gradient: Matrix,
    /// What the activation left for the backward pass: its derivative, or else its value.
    pub kept: Matrix,
    /// The activation that made the values.
    pub activation: Activation,
}

impl Port {
    /// Values that no activation has made.
    pub fn plain(value: Matrix, gradient: Matrix) -> Port {
        Port { value, gradient, kept: value, activation: Activation::Identity }
    }
}

/// A layer's place in a batch.
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    /// What it reads.
    pub below: Port,
    /// What it makes.
    pub above: Port,
    /// Rows of its own, if it has asked for some.
    pub rows: usize,
}

/// Where everything lies. Gradients have places only for training; that of a softmax is where its rows wait for each other.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The batch: what is to be reconstructed.
    pub x: Matrix,
    /// The encoder's input: the batch, or a matrix of its own, with indicators of missing values and conditions behind it.
    pub input: Matrix,
    /// Noise.
    pub eps: Matrix,
    /// What the encoder gives: [mu, logvar], or the code.
    pub posterior: Port,
    /// z.
    pub z: Port,
    /// What the decoder reads: what the layers in between make of z.
    pub code: Port,
    /// The slots of the encoder's layers.
    pub encoder: Vec<Slot>,
    /// Those of the layers between z and what the decoder reads.
    pub latent: Vec<Slot>,
    /// Those of the decoder's layers.
    pub decoder: Vec<Slot>,
    /// Gradient of the loss with respect to the decoder's output.
    pub output_gradient: Matrix,
    /// Gradient of the loss with respect to the log scale of each feature of each example, where it is stored.
    pub scale_gradient: Matrix,
    /// What the pass is for.
    pub kind: PassKind,
    /// How the encoder's input is kept.
    pub storage: InputStorage,
    /// The largest batch.
    pub size: BatchSize,
    /// Rows of the arena.
    pub arena: usize,
}
