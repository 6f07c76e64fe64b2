//! Batch normalisation of the first columns of what is below, in place. An item is a panel with all its rows.
#![allow(unsafe_code)]

use super::{Dense, Epilogue, Layer};
use crate::matrix::{ColumnMap, ProductTile, RowMap, Shared, panels_of, tile_rows, vectors_of};
use crate::model::memory::{BatchView, Planner, Port, Slot};
use crate::model::sink::Sink;
use crate::model::tensor::{Layout, Place, Tensor, TensorKind};
use crate::nn::batch_norm::{ColumnStatistics, Normalize, NormalizeGradient, UpdateRunning};
use crate::simd::{Row, WIDTH, ZERO_ROW, floats_mut};
use crate::threads::Worker;

/// A batch normalisation behind a dense layer.
#[derive(Clone, Debug)]
pub struct BatchNorm {
    /// Of the module.
    name: String,
    /// Columns of what is below.
    outputs: usize,
    /// Columns that are normalised, from the first one on.
    cols: usize,
    /// A shift that is added to what is normalised: a row of bias that the dense layer below does not use.
    shift: Option<Dense>,
    /// Running means from here on, then variances, a row a panel.
    statistics: usize,
}

impl BatchNorm {
    /// Of the first `cols` outputs of a layer, without a shift.
    pub fn plain(below: &mut Dense, cols: usize) -> BatchNorm {
        below.biased = cols;
        let (name, outputs) = (below.names[0].name.clone(), below.outputs);
        BatchNorm { name, outputs, cols, shift: None, statistics: 0 }
    }

    /// Of all outputs of a layer, with a shift in the place of its bias.
    pub fn with_shift(below: &mut Dense) -> BatchNorm {
        let cols = below.outputs;
        let plain = BatchNorm::plain(below, cols);
        BatchNorm { shift: Some(below.clone()), ..plain }
    }

    /// Panels with normalised columns.
    fn panels(&self) -> usize {
        panels_of(self.cols)
    }

    /// Normalised columns of a panel.
    fn used(&self, panel: usize) -> usize {
        self.cols.saturating_sub(panel * WIDTH).min(WIDTH)
    }

    /// The rows of the running means and variances of a panel.
    fn running(&self, panel: usize) -> [usize; 2] {
        [self.statistics + panel, self.statistics + self.panels() + panel]
    }

    /// Whether the batch's statistics are used: in training, where there are at least two rows to have any.
    fn of_batch(batch: &BatchView) -> bool {
        batch.trains() && batch.rows > 1
    }

    /// What the forward pass has found of a panel.
    ///
    /// # Safety
    /// The panel is the calling item's.
    unsafe fn found<'a>(
        &self,
        batch: &BatchView<'a>,
        slot: &Slot,
        panel: usize,
    ) -> ColumnStatistics<'a> {
        let start = slot.rows + panel * ColumnStatistics::ROWS;
        // SAFETY: the caller's promise.
        ColumnStatistics::of(unsafe {
            batch.memory.arena.write(start..start + ColumnStatistics::ROWS)
        })
    }

    /// Normalises one panel, which is the calling item's.
    fn normalize(&self, batch: &BatchView, slot: &Slot, panel: usize) {
        // SAFETY: the panel is the calling item's; statistics change in the update only.
        unsafe {
            let parameters = batch.weights();
            let running = self.running(panel).map(|row| &parameters[row]);
            batch.isa.run(Normalize {
                rows: batch.write(slot.below.value, panel, 0..batch.rows),
                cols: self.used(panel),
                running: (!BatchNorm::of_batch(batch)).then_some(running),
                columns: self.found(batch, slot, panel),
            });
        }
    }
}

impl Layer for BatchNorm {
    fn outputs(&self) -> usize {
        self.outputs
    }

    fn tensors(&self) -> Vec<Tensor> {
        let (name, all) = (&self.name, ColumnMap::From(0));
        let shift = self
            .shift
            .iter()
            .map(|dense| dense.bias_tensor(format!("{name}.norm.bias"), all, self.cols));
        let running = [(TensorKind::RunningMean, "mean"), (TensorKind::RunningVariance, "var")];
        let running =
            running.into_iter().zip(self.running(0)).map(|((kind, what), start)| Tensor {
                name: format!("{name}.norm.running_{what}"),
                shape: vec![self.cols],
                kind,
                fan_in: None,
                place: Place { start, rows: 1, order: RowMap::Same, columns: all, stride: 1 },
            });
        shift.chain(running).collect()
    }

    fn place_statistics(&mut self, layout: &mut Layout) {
        self.statistics = layout.rows(2 * self.panels());
    }

    /// Variances start at one, as torch's do.
    fn initialize(&self, parameters: &mut [Row]) {
        for panel in 0..self.panels() {
            let [_, variance] = self.running(panel);
            floats_mut(&mut parameters[variance..variance + 1])[..self.used(panel)].fill(1.0);
        }
    }

    fn plan(&self, planner: &mut Planner, below: Port, _: bool) -> Slot {
        Slot { below, above: below, rows: planner.rows(ColumnStatistics::ROWS * self.panels()) }
    }

    fn forward(&self, batch: &BatchView, worker: &Worker, slot: &Slot) {
        worker.phase(self.panels(), |panel| self.normalize(batch, slot, panel));
    }

    /// An item normalises a panel and hands out its tiles, with the shift as their bias.
    fn tiles(&self, batch: &BatchView, worker: &Worker, slot: &Slot, epilogue: &mut Epilogue) {
        worker.phase(self.panels(), |panel| {
            self.normalize(batch, slot, panel);
            // SAFETY: parameters change in the update only; the panel is this item's.
            let (bias, values) = unsafe {
                let bias = self.shift.as_ref().map(|dense| &batch.weights()[dense.bias(panel)]);
                let values = batch.write(slot.below.value, panel, 0..batch.rows);
                (bias.unwrap_or(&ZERO_ROW), values)
            };
            for tile in 0..batch.rows.div_ceil(batch.isa.tile_rows()) {
                let rows = tile_rows(batch.rows, batch.isa, tile);
                let products = &mut values[rows.clone()];
                let vectors = vectors_of(self.outputs, panel);
                epilogue(ProductTile { panel, rows, vectors, products }, bias);
            }
        });
    }

    fn backward(&self, batch: &BatchView, worker: &Worker, slot: &Slot) {
        worker.phase(self.panels(), |panel| {
            // SAFETY: the panel, and what is known of its columns, are this item's; values are from the forward pass.
            unsafe {
                batch.isa.run(NormalizeGradient {
                    gradient: batch.write(slot.above.gradient, panel, 0..batch.rows),
                    values: batch.read(slot.above.value, panel, 0..batch.rows),
                    cols: self.used(panel),
                    columns: self.found(batch, slot, panel),
                    of_batch: BatchNorm::of_batch(batch),
                });
            }
        });
    }

    /// The gradient of the shift, which the backward pass has found.
    fn update(&self, batch: &BatchView, worker: &Worker, slot: &Slot, _: Shared<Row>, sink: Sink) {
        let Some(dense) = &self.shift else { return };
        worker.phase(self.panels(), |panel| {
            let (row, vectors) = (dense.bias(panel), vectors_of(self.outputs, panel));
            // SAFETY: the panel's shift is this item's.
            unsafe {
                let shift = std::slice::from_ref(&*self.found(batch, slot, panel).shift);
                sink.take(batch.isa, batch.parameters, row..row + 1, shift, vectors);
            }
        });
    }

    fn follow_batch(&self, batch: &BatchView, worker: &Worker, slot: &Slot) {
        if !BatchNorm::of_batch(batch) {
            return;
        }
        worker.phase(self.panels(), |panel| {
            // SAFETY: the rows of the panel's statistics are this item's.
            unsafe {
                let running = self.running(panel).map(|row| batch.parameters.write(row..row + 1));
                batch.isa.run(UpdateRunning {
                    columns: self.found(batch, slot, panel),
                    rows: batch.rows,
                    cols: self.used(panel),
                    running: running.map(|row| &mut row[0]),
                });
            }
        });
    }
}
