//! The places of a batch's matrices in the arena.

use super::lifetimes::Lifetimes;
use crate::matrix::panels_of;
use crate::model::batch::{BatchSize, InputStorage, PassKind};
use crate::nn::activation::Activation;
use crate::simd::word_rows;

/// The place of a matrix in the arena, for any batch of at most the planned size.
#[derive(Clone, Copy, Debug)]
pub struct Matrix {
    pub(in crate::model) start: usize,
    /// The number of columns.
    pub cols: usize,
    /// The number of rows for each example: one, or consecutive rows for its draws of z.
    pub copies: usize,
    /// Whether it has memory as floats.
    pub stored: bool,
    /// Its words, if a product multiplies them.
    pub words: Option<Words>,
}

/// The places of the words of a matrix ([`crate::simd::ToWords`]). A panel has one row for two of the matrix.
#[derive(Clone, Copy, Debug)]
pub struct Words {
    pub(super) by_rows: usize,
    /// For the gradient of weights: in training only.
    pub(super) by_pairs: Option<usize>,
}

impl Matrix {
    /// The first arena row of panel `panel` in a batch of `examples` examples.
    pub fn panel(&self, panel: usize, examples: usize) -> usize {
        self.start + panel * examples * self.copies
    }

    /// The arena's blocks: the first row of each.
    pub(super) fn blocks(&self) -> impl Iterator<Item = usize> {
        let words = self.words.into_iter();
        let words = words.flat_map(|words| [Some(words.by_rows), words.by_pairs]).flatten();
        std::iter::once(self.start).chain(words)
    }

    /// Moves the arena's blocks.
    pub(super) fn map_blocks(&mut self, mut place: impl FnMut(&mut usize)) {
        place(&mut self.start);
        if let Some(words) = &mut self.words {
            place(&mut words.by_rows);
            words.by_pairs.iter_mut().for_each(place);
        }
    }
}

/// Allocates rows of the arena: those of the forward pass at once, those of the backward pass when all layers are planned.
pub struct Planner {
    size: BatchSize,
    /// The kind of pass.
    pub kind: PassKind,
    lifetimes: Lifetimes,
}

impl Planner {
    /// An empty arena for batches of at most `size`.
    pub fn new(size: BatchSize, kind: PassKind) -> Planner {
        Planner { size, kind, lifetimes: Lifetimes::default() }
    }

    fn needed(&self, panels: usize, copies: usize) -> usize {
        panels.saturating_mul(self.size.rows).saturating_mul(copies)
    }

    /// Allocates a matrix of `cols` columns and `copies` rows for each example. Unless it is `stored`, it has no memory
    /// and must not be read or written.
    pub fn place(&mut self, cols: usize, copies: usize, stored: bool) -> Matrix {
        let needed = if stored { self.needed(panels_of(cols), copies) } else { 0 };
        Matrix { start: self.lifetimes.early(needed), cols, copies, stored, words: None }
    }

    /// Allocates a matrix for a gradient, in training.
    pub fn gradient(&mut self, cols: usize, copies: usize) -> Matrix {
        match self.trains() {
            true => {
                let needed = self.needed(panels_of(cols), copies);
                Matrix {
                    start: self.lifetimes.late(needed),
                    cols,
                    copies,
                    stored: true,
                    words: None,
                }
            }
            false => self.place(cols, copies, false),
        }
    }

    /// Allocates words of a matrix of the forward pass.
    pub fn add_words(&mut self, matrix: &mut Matrix) {
        let needed = self.words_needed(matrix);
        let by_rows = self.lifetimes.early(needed);
        let by_pairs = self.trains().then(|| self.lifetimes.early(needed));
        matrix.words = Some(Words { by_rows, by_pairs });
    }

    /// Allocates words of a gradient, in training.
    pub fn add_gradient_words(&mut self, matrix: &mut Matrix) {
        if self.trains() {
            let needed = self.words_needed(matrix);
            let [by_rows, by_pairs] = [(); 2].map(|()| self.lifetimes.late(needed));
            matrix.words = Some(Words { by_rows, by_pairs: Some(by_pairs) });
        }
    }

    /// Takes back the memory as floats of a gradient: its words suffice.
    pub fn drop_floats(&mut self, gradient: &mut Matrix) {
        if gradient.stored {
            self.lifetimes.drop(gradient.start);
            gradient.stored = false;
        }
    }

    fn words_needed(&self, matrix: &Matrix) -> usize {
        let rows = word_rows(self.size.rows.saturating_mul(matrix.copies));
        panels_of(matrix.cols).saturating_mul(rows)
    }

    /// Allocates `panels` panels with `copies` rows per example for the phase of the last layer, and returns the first row.
    pub fn scratch(&mut self, panels: usize, copies: usize) -> usize {
        let needed = self.needed(panels, copies);
        self.lifetimes.late(needed)
    }

    /// Allocates `rows` rows, independent of the batch size, and returns the first.
    pub fn rows(&mut self, rows: usize) -> usize {
        self.lifetimes.early(rows)
    }

    /// Whether the pass includes the backward pass.
    pub fn trains(&self) -> bool {
        self.kind == PassKind::Train
    }

    /// Gives the memory of the backward pass its places in the plan's arena.
    pub fn finish(self, plan: &mut Plan) {
        self.lifetimes.finish(plan);
    }
}

/// The values between two layers, [rows, columns], and their gradient.
#[derive(Clone, Copy, Debug)]
pub struct Port {
    /// The values.
    pub value: Matrix,
    /// The gradient of the loss with respect to the input of the activation.
    pub gradient: Matrix,
    /// The activation's derivative, or else its value, saved for the backward pass.
    pub saved: Matrix,
    /// The activation that computed the values.
    pub activation: Activation,
}

impl Port {
    /// Values without an activation.
    pub fn plain(value: Matrix, gradient: Matrix) -> Port {
        Port { value, gradient, saved: value, activation: Activation::Identity }
    }

    /// The output of a layer without an activation, with a gradient in training.
    pub fn placed(planner: &mut Planner, cols: usize, copies: usize) -> Port {
        let value = planner.place(cols, copies, true);
        Port::plain(value, planner.gradient(cols, copies))
    }
}

/// The memory of a layer in a batch.
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    /// The layer's input.
    pub below: Port,
    /// The layer's output.
    pub above: Port,
    /// The first of the layer's own rows, if it has allocated any.
    pub rows: usize,
}

/// The places of all matrices of a batch. Gradients are stored in training only, except the output's gradient of a
/// softmax or of groups of columns, which holds the output until the rows' normalisation is known.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The batch, which is the target of the reconstruction.
    pub x: Matrix,
    /// The encoder's input: the batch, or a separate matrix, with columns for indicators of missing values and
    /// conditions.
    pub input: Matrix,
    /// The conditions of a sparse batch, whose input has no memory.
    pub conditions: Matrix,
    /// The noise of the reparameterisation.
    pub eps: Matrix,
    /// The encoder's output: [mu, logvar], or the code.
    pub posterior: Port,
    /// z.
    pub z: Port,
    /// The decoder's input: the output of the layers after z.
    pub code: Port,
    /// The slots of the encoder's layers.
    pub encoder: Vec<Slot>,
    /// The slots of the layers between z and the decoder's input.
    pub latent: Vec<Slot>,
    /// The slots of the decoder's layers.
    pub decoder: Vec<Slot>,
    /// The gradient of the loss with respect to the decoder's output.
    pub output_gradient: Matrix,
    /// The gradient of the loss with respect to the log scale of each feature of each example, if it is stored.
    pub scale_gradient: Matrix,
    /// The means of counts with a size, in training.
    pub means: Matrix,
    /// The kind of pass.
    pub kind: PassKind,
    /// The storage of the encoder's input.
    pub storage: InputStorage,
    /// The size of the largest batch.
    pub size: BatchSize,
    /// The number of rows of the arena.
    pub arena: usize,
}
