//! Batch normalisation of an image's channels, or of a dense layer's outputs, with a learned scale and shift, and the activation
//! behind it. The layer below has neither bias nor activation: the mean would subtract the one.
#![allow(unsafe_code)]

use super::Layer;
use crate::matrix::{ColumnMap, RowMap, Shared, vectors_of};
use crate::model::memory::{BatchView, Matrix, Planner, Port, Slot};
use crate::model::sink::Sink;
use crate::model::tensor::{Layout, Place, Tensor, TensorKind};
use crate::nn::activation::Activation;
use crate::nn::affine_norm::{
    AddParts, GradientSums, Moments, NormGradient, PART, Standardize, Statistics,
};
use crate::nn::batch_norm::{ColumnStatistics, UpdateRunning, merge_over_ranks, sum_rows};
use crate::nn::dense::BiasAndActivation;
use crate::nn::image::Image;
use crate::simd::{Row, WIDTH, ZERO_ROW, floats_mut};
use crate::threads::Worker;

/// Rows of a tile of the forward pass.
const TILE: usize = WIDTH;

/// Rows of the statistics of a panel: those of the columns without the shift's gradient, which is in the last [`PART`] rows,
/// the gradients of scale and shift.
const ROWS: usize = ColumnStatistics::ROWS + PART;

/// Batch normalisation.
#[derive(Clone, Debug)]
pub struct AffineNorm {
    name: String,
    /// The input and the output. A dense layer's outputs are the channels of one pixel.
    image: Image,
    /// The columns of a dense layer's outputs, or the channels.
    columns: ColumnMap,
    /// The number of channels in PyTorch.
    channels: usize,
    activation: Activation,
    /// The first row of the scales and shifts: two rows for each panel of channels.
    start: usize,
    /// The first row of the running means and variances: two rows for each panel of channels.
    statistics: usize,
}

impl AffineNorm {
    /// Allocates the rows of scale and shift.
    pub fn new(
        layout: &mut Layout,
        name: String,
        image: Image,
        (columns, channels): (ColumnMap, usize),
        activation: Activation,
    ) -> AffineNorm {
        let start = layout.rows(2 * image.pixel_panels());
        AffineNorm { name, image, columns, channels, activation, start, statistics: 0 }
    }

    /// Panels of a pixel.
    fn panels(&self) -> usize {
        self.image.pixel_panels()
    }

    /// The number of vectors of a panel of channels.
    fn vectors(&self, panel: usize) -> usize {
        vectors_of(self.image.shape.channels, panel)
    }

    fn pixels(&self) -> usize {
        self.image.shape.positions()
    }

    /// Rows of a pixel.
    fn height(batch: &BatchView, slot: &Slot) -> usize {
        batch.rows * slot.below.value.copies
    }

    /// The values of each channel in `examples` examples.
    fn values_of(&self, slot: &Slot, examples: usize) -> usize {
        examples * slot.below.value.copies * self.pixels()
    }

    /// Whether the batch's statistics are used: in training, with more than one value for each channel.
    fn uses_batch(&self, batch: &BatchView, slot: &Slot) -> bool {
        batch.trains() && self.values_of(slot, batch.all_rows()) > 1
    }

    /// The first row of the parts of a panel's pixels.
    fn parts(&self, slot: &Slot, panel: usize) -> usize {
        slot.rows + panel * self.pixels() * PART
    }

    /// The first row of the statistics of a panel.
    fn rows(&self, slot: &Slot, panel: usize) -> usize {
        self.parts(slot, self.panels()) + panel * ROWS
    }

    /// The statistics of a panel.
    ///
    /// # Safety
    /// No other item uses them in the running phase.
    unsafe fn column_statistics<'a>(
        &self,
        batch: &BatchView<'a>,
        slot: &Slot,
        panel: usize,
    ) -> ColumnStatistics<'a> {
        let start = self.rows(slot, panel);
        // SAFETY: the caller's promise.
        ColumnStatistics::of(unsafe {
            batch.memory.arena.write(start..start + ColumnStatistics::ROWS)
        })
    }

    /// Mean, factor, and the gradients of scale and shift of a panel.
    ///
    /// # Safety
    /// They do not change in the running phase.
    unsafe fn finished<'a>(
        &self,
        batch: &BatchView<'a>,
        slot: &Slot,
        panel: usize,
    ) -> (&'a Row, &'a Row, &'a [Row]) {
        let start = self.rows(slot, panel);
        // SAFETY: the caller's promise.
        let rows = unsafe { batch.memory.arena.read(start..start + ROWS) };
        (&rows[0], &rows[2], &rows[ColumnStatistics::ROWS..])
    }

    /// Scale and shift of a panel.
    fn affine<'a>(&self, batch: &BatchView<'a>, panel: usize) -> (&'a Row, &'a Row) {
        // SAFETY: parameters change in the update only.
        let parameters = unsafe { batch.weights() };
        (&parameters[self.start + 2 * panel], &parameters[self.start + 2 * panel + 1])
    }

    /// Computes a panel's statistics.
    fn find_statistics(&self, batch: &BatchView, slot: &Slot, panel: usize) {
        let (parts, running) = (self.parts(slot, panel), self.statistics + 2 * panel);
        // SAFETY: the parts are from an earlier phase, and the statistics this item's; parameters change in the update only.
        unsafe {
            let parameters = batch.weights();
            batch.isa.run(Statistics {
                parts: batch.memory.arena.read(parts..self.parts(slot, panel + 1)),
                rows: AffineNorm::height(batch, slot),
                vectors: self.vectors(panel),
                running: (!self.uses_batch(batch, slot))
                    .then(|| [&parameters[running], &parameters[running + 1]]),
                columns: self.column_statistics(batch, slot, panel),
            });
        }
    }

    /// A phase: replaces the statistics of this process's part of the batch by those of the whole batch (Chan, Golub & LeVeque 1983).
    fn merge_statistics(&self, batch: &BatchView, worker: &Worker, slot: &Slot) {
        let share = batch.rows as f64 / batch.all_rows() as f64;
        batch.sum_over_ranks(worker, |sum| {
            // SAFETY: no other worker uses the statistics in this phase.
            let of = |panel| unsafe { self.column_statistics(batch, slot, panel) };
            merge_over_ranks(&of, self.panels(), share, sum);
        });
    }

    /// A phase: computes a part of each panel of each pixel.
    fn by_parts(
        &self,
        batch: &BatchView,
        worker: &Worker,
        slot: &Slot,
        part: impl Fn(usize, usize, &mut [Row]),
    ) {
        let (panels, pixels) = (self.panels(), self.pixels());
        worker.phase(pixels * panels, |item| {
            let panel = item % panels;
            let start = self.parts(slot, panel) + item / panels % pixels * PART;
            // SAFETY: the part is this item's.
            part(item, panel, unsafe { batch.memory.arena.write(start..start + PART) });
        });
    }
}

impl Layer for AffineNorm {
    fn outputs(&self) -> usize {
        self.image.cols()
    }

    fn tensors(&self) -> Vec<Tensor> {
        let tensor = |what: &str, kind, start| Tensor {
            name: format!("{}.{what}", self.name),
            shape: vec![self.channels],
            kind,
            fan_in: None,
            place: Place { start, rows: 1, order: RowMap::Same, columns: self.columns, stride: 2 },
        };
        vec![
            tensor("weight", TensorKind::Trained, self.start),
            tensor("bias", TensorKind::Trained, self.start + 1),
            tensor("running_mean", TensorKind::RunningMean, self.statistics),
            tensor("running_var", TensorKind::RunningVariance, self.statistics + 1),
        ]
    }

    fn place_statistics(&mut self, layout: &mut Layout) {
        self.statistics = layout.rows(2 * self.panels());
    }

    /// Scales and running variances start at one, as in torch.
    fn initialize(&self, parameters: &mut [Row]) {
        for channel in 0..self.channels {
            let column = self.columns.at(channel);
            for start in [self.start, self.statistics + 1] {
                let row = start + 2 * (column / WIDTH);
                floats_mut(&mut parameters[row..row + 1])[column % WIDTH] = 1.0;
            }
        }
    }

    /// The input is stored for the backward pass; in inference the output takes its place.
    fn plan(&self, planner: &mut Planner, below: Port, _: bool) -> Slot {
        assert!(below.activation == Activation::Identity, "the activation follows");
        let (copies, trains) = (below.value.copies, planner.trains());
        let mut matrix = || planner.place(self.outputs(), copies, true);
        let value = if trains { matrix() } else { below.value };
        let slope = trains && self.activation.keeps_slope();
        let saved: Matrix = if slope { matrix() } else { value };
        // In place; the words are of the finished gradient.
        let gradient = Matrix { words: None, ..below.gradient };
        let above = Port { value, gradient, saved, activation: self.activation };
        let rows = planner.rows((self.pixels() * PART + ROWS) * self.panels());
        Slot { below, above, rows }
    }

    /// Phases: the parts of all pixels, in training; the statistics of all panels; the output.
    fn forward(&self, batch: &BatchView, worker: &Worker, slot: &Slot) {
        let height = AffineNorm::height(batch, slot);
        if self.uses_batch(batch, slot) {
            self.by_parts(batch, worker, slot, |item, panel, out| {
                // SAFETY: the input is from an earlier phase.
                let values = unsafe { batch.read(slot.below.value, item, 0..height) };
                batch.isa.run(Moments { values, vectors: self.vectors(panel), out });
            });
        }
        let panels = self.panels();
        worker.phase(panels, |panel| self.find_statistics(batch, slot, panel));
        if self.uses_batch(batch, slot) {
            self.merge_statistics(batch, worker, slot);
        }
        let Port { value, saved, activation, .. } = slot.above;
        let keeps_slope = batch.trains() && activation.keeps_slope();
        worker.phase(self.pixels() * panels, |item| {
            let panel = item % panels;
            let (vectors, (scale, bias)) = (self.vectors(panel), self.affine(batch, panel));
            // SAFETY: the statistics are from an earlier phase.
            let (mean, inverse, _) = unsafe { self.finished(batch, slot, panel) };
            let mut tile = [ZERO_ROW; TILE];
            for start in (0..height).step_by(TILE) {
                let rows = start..(start + TILE).min(height);
                let products = &mut tile[..rows.len()];
                // SAFETY: the input is from an earlier phase, or this item's; it is read before the output is written.
                let values = unsafe { batch.read(slot.below.value, item, rows.clone()) };
                let out = &mut *products;
                batch.isa.run(Standardize { values, vectors, mean, inverse, scale, out });
                // SAFETY: the panel is this item's.
                let (out, slope) = unsafe {
                    let slope = keeps_slope.then(|| batch.write(saved, item, rows.clone()));
                    (batch.write(value, item, rows), slope.unwrap_or_default())
                };
                batch.isa.run(BiasAndActivation {
                    products,
                    vectors,
                    bias,
                    activation,
                    out,
                    slope,
                });
            }
        });
    }

    /// Phases: the parts of all pixels; the gradients of scale and shift; the input's gradient, in place.
    fn backward(&self, batch: &BatchView, worker: &Worker, slot: &Slot) {
        let (height, panels) = (AffineNorm::height(batch, slot), self.panels());
        let Port { value, gradient, .. } = slot.below;
        self.by_parts(batch, worker, slot, |item, panel, out| {
            // SAFETY: all are from earlier phases.
            unsafe {
                let (mean, inverse, _) = self.finished(batch, slot, panel);
                batch.isa.run(GradientSums {
                    gradient: batch.read(gradient, item, 0..height),
                    values: batch.read(value, item, 0..height),
                    vectors: self.vectors(panel),
                    mean,
                    inverse,
                    out,
                });
            }
        });
        worker.phase(panels, |panel| {
            let start = self.rows(slot, panel) + ColumnStatistics::ROWS;
            // SAFETY: the parts are from an earlier phase; the sums are this item's.
            unsafe {
                let parts = self.parts(slot, panel)..self.parts(slot, panel + 1);
                batch.isa.run(AddParts {
                    parts: batch.memory.arena.read(parts),
                    vectors: self.vectors(panel),
                    out: batch.memory.arena.write(start..start + PART),
                });
            }
        });
        batch.sum_over_ranks(worker, |sum| {
            let parts = (0..panels).flat_map(|panel| {
                let start = self.rows(slot, panel) + ColumnStatistics::ROWS;
                // SAFETY: the sums are from an earlier phase; no other worker uses them in this one.
                unsafe { batch.memory.arena.write(start..start + PART) }
            });
            sum_rows(parts, sum);
        });
        let share = match self.uses_batch(batch, slot) {
            true => 1.0 / self.values_of(slot, batch.all_rows()) as f32,
            false => 0.0,
        };
        worker.phase(self.pixels() * panels, |item| {
            let panel = item % panels;
            let (scale, _) = self.affine(batch, panel);
            // SAFETY: the panel is this item's; the others are from earlier phases.
            unsafe {
                let (mean, inverse, sums) = self.finished(batch, slot, panel);
                batch.isa.run(NormGradient {
                    gradient: batch.write(gradient, item, 0..height),
                    values: batch.read(value, item, 0..height),
                    vectors: self.vectors(panel),
                    mean,
                    inverse,
                    scale,
                    sums,
                    share,
                });
            }
        });
    }

    /// Passes on the gradients that the backward pass has computed.
    fn update(&self, batch: &BatchView, worker: &Worker, slot: &Slot, _: Shared<Row>, sink: Sink) {
        worker.phase(self.panels(), |panel| {
            let start = self.start + 2 * panel;
            // SAFETY: scale and shift of the panel are this item's; the sums are from the backward pass.
            unsafe {
                let (_, _, sums) = self.finished(batch, slot, panel);
                let sums = if batch.is_first_rank() { sums } else { &[ZERO_ROW; PART] };
                let (rows, vectors) = (start..start + PART, self.vectors(panel));
                sink.accept(batch.isa, batch.parameters, rows, sums, vectors);
            }
        });
    }

    fn update_running(&self, batch: &BatchView, worker: &Worker, slot: &Slot) {
        if !self.uses_batch(batch, slot) {
            return;
        }
        worker.phase(self.panels(), |panel| {
            let start = self.statistics + 2 * panel;
            // SAFETY: the rows of the panel's statistics are this item's.
            unsafe {
                let [mean, variance] = batch.parameters.write(start..start + 2) else {
                    unreachable!("two rows")
                };
                batch.isa.run(UpdateRunning {
                    columns: self.column_statistics(batch, slot, panel),
                    rows: self.values_of(slot, batch.all_rows()),
                    cols: (self.image.shape.channels - panel * WIDTH).min(WIDTH),
                    running: [mean, variance],
                });
            }
        });
    }
}
