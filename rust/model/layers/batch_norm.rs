//! Batch normalisation of the first columns of the input, in place. A work item is a panel with all its rows.
#![allow(unsafe_code)]

use super::{Dense, Epilogue, Layer};
use crate::matrix::{ColumnMap, ProductTile, RowMap, Shared, panels_of, tile_rows, vectors_of};
use crate::model::memory::{BatchView, Planner, Port, Slot};
use crate::model::sink::Sink;
use crate::model::tensor::{Layout, Place, Tensor, TensorKind};
use crate::nn::affine_norm::Moments;
use crate::nn::batch_norm::{
    ColumnStatistics, Normalize, NormalizeGradient, ShiftSums, UpdateRunning, merge_over_ranks,
    sum_rows,
};
use crate::simd::{LANES, Row, WIDTH, ZERO_ROW, floats_mut};
use crate::threads::Worker;

/// Batch normalisation of the output of a dense layer.
#[derive(Clone, Debug)]
pub struct BatchNorm {
    /// The name of the dense layer's module.
    name: String,
    /// The number of input columns.
    outputs: usize,
    /// The number of normalised columns, from the first on.
    cols: usize,
    /// The dense layer below, if there is a learned shift, which takes the place of its bias.
    shift: Option<Dense>,
    /// The first row of the running means, followed by the variances; one row for each panel.
    statistics: usize,
}

impl BatchNorm {
    /// Normalises the first `cols` outputs of `below`, without a shift. They lose their bias.
    pub fn plain(below: &mut Dense, cols: usize) -> BatchNorm {
        below.first_biased = cols;
        let (name, outputs) = (below.names[0].name.clone(), below.outputs);
        BatchNorm { name, outputs, cols, shift: None, statistics: 0 }
    }

    /// Normalises all outputs of `below`, with a shift in place of the bias.
    pub fn with_shift(below: &mut Dense) -> BatchNorm {
        let cols = below.outputs;
        let plain = BatchNorm::plain(below, cols);
        BatchNorm { shift: Some(below.clone()), ..plain }
    }

    /// The number of panels with normalised columns.
    fn panels(&self) -> usize {
        panels_of(self.cols)
    }

    /// The number of normalised columns of a panel.
    fn used(&self, panel: usize) -> usize {
        self.cols.saturating_sub(panel * WIDTH).min(WIDTH)
    }

    /// The rows of the running means and variances of a panel.
    fn running(&self, panel: usize) -> [usize; 2] {
        [self.statistics + panel, self.statistics + self.panels() + panel]
    }

    /// Whether the batch's statistics are used: in training with at least two rows.
    fn uses_batch(batch: &BatchView) -> bool {
        batch.trains() && batch.all_rows() > 1
    }

    /// The batch statistics of a panel.
    ///
    /// # Safety
    /// No other item uses this panel in the running phase.
    unsafe fn column_statistics<'a>(
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

    /// Computes the statistics of a batch on several ranks. In a single process [`BatchNorm::normalize`] does.
    fn find_statistics(&self, batch: &BatchView, worker: &Worker, slot: &Slot) {
        if batch.part.is_none() || !BatchNorm::uses_batch(batch) {
            return;
        }
        worker.phase(self.panels(), |panel| {
            let mut found = [ZERO_ROW; 2];
            // SAFETY: an earlier phase wrote the panel; its statistics are this item's.
            let (values, columns) = unsafe {
                let values = batch.read(slot.below.value, panel, 0..batch.rows);
                (values, self.column_statistics(batch, slot, panel))
            };
            batch.isa.run(Moments { values, vectors: WIDTH / LANES, out: &mut found });
            *columns.mean = found[0];
            floats_mut(&mut found[1..]).iter_mut().for_each(|x| *x /= batch.rows as f32);
            *columns.variance = found[1];
        });
        let share = batch.rows as f64 / batch.all_rows() as f64;
        batch.sum_over_ranks(worker, |sum| {
            // SAFETY: no other worker uses the statistics in this phase.
            let of = |panel| unsafe { self.column_statistics(batch, slot, panel) };
            merge_over_ranks(&of, self.panels(), share, sum);
        });
    }

    /// Normalises a panel. No other item may use this panel in the running phase.
    fn normalize(&self, batch: &BatchView, slot: &Slot, panel: usize) {
        // SAFETY: the panel is the calling item's; statistics change in the update only.
        unsafe {
            let parameters = batch.weights();
            let running = self.running(panel).map(|row| &parameters[row]);
            let columns = self.column_statistics(batch, slot, panel);
            let found = [*columns.mean, *columns.variance];
            let given = match (BatchNorm::uses_batch(batch), batch.part) {
                (true, None) => None,
                (true, Some(_)) => Some(found.each_ref()),
                (false, _) => Some(running),
            };
            batch.isa.run(Normalize {
                rows: batch.write(slot.below.value, panel, 0..batch.rows),
                cols: self.used(panel),
                given,
                columns,
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

    /// Running variances start at one, as in torch.
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
        self.find_statistics(batch, worker, slot);
        worker.phase(self.panels(), |panel| self.normalize(batch, slot, panel));
    }

    /// A work item normalises a panel and passes its tiles to the epilogue, with the shift as their bias.
    fn tiles(&self, batch: &BatchView, worker: &Worker, slot: &Slot, epilogue: &mut Epilogue) {
        self.find_statistics(batch, worker, slot);
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
        let share = match BatchNorm::uses_batch(batch) {
            true => 1.0 / batch.all_rows() as f32,
            false => 0.0,
        };
        let add_up = |panel: usize| {
            // SAFETY: the statistics of the panel are the calling item's; gradients and values are from earlier phases.
            unsafe {
                let sums = batch.isa.run(ShiftSums {
                    gradient: batch.read(slot.above.gradient, panel, 0..batch.rows),
                    values: batch.read(slot.above.value, panel, 0..batch.rows),
                    cols: self.used(panel),
                });
                self.column_statistics(batch, slot, panel).sums.copy_from_slice(&sums);
            }
        };
        if batch.part.is_some() {
            worker.phase(self.panels(), add_up);
            batch.sum_over_ranks(worker, |sum| {
                // SAFETY: no other worker uses the statistics in this phase.
                let of = |panel| unsafe { self.column_statistics(batch, slot, panel).sums };
                sum_rows((0..self.panels()).flat_map(of), sum);
            });
        }
        worker.phase(self.panels(), |panel| {
            if batch.part.is_none() {
                add_up(panel);
            }
            // SAFETY: the panel and its statistics are this item's; values are from the forward pass.
            unsafe {
                let columns = self.column_statistics(batch, slot, panel);
                let sums = [columns.sums[0], columns.sums[1]];
                batch.isa.run(NormalizeGradient {
                    gradient: batch.write(slot.above.gradient, panel, 0..batch.rows),
                    values: batch.read(slot.above.value, panel, 0..batch.rows),
                    cols: self.used(panel),
                    columns,
                    sums: &sums,
                    share,
                });
            }
        });
    }

    /// Updates the shift with the gradient that the backward pass has computed.
    fn update(&self, batch: &BatchView, worker: &Worker, slot: &Slot, _: Shared<Row>, sink: Sink) {
        let Some(dense) = &self.shift else { return };
        worker.phase(self.panels(), |panel| {
            let (row, vectors) = (dense.bias(panel), vectors_of(self.outputs, panel));
            // SAFETY: the panel's shift is this item's.
            unsafe {
                let sums = &self.column_statistics(batch, slot, panel).sums[..1];
                let shift = if batch.is_first_rank() { sums } else { &[ZERO_ROW] };
                sink.accept(batch.isa, batch.parameters, row..row + 1, shift, vectors);
            }
        });
    }

    fn update_running(&self, batch: &BatchView, worker: &Worker, slot: &Slot) {
        if !BatchNorm::uses_batch(batch) {
            return;
        }
        worker.phase(self.panels(), |panel| {
            // SAFETY: the rows of the panel's statistics are this item's.
            unsafe {
                let running = self.running(panel).map(|row| batch.parameters.write(row..row + 1));
                batch.isa.run(UpdateRunning {
                    columns: self.column_statistics(batch, slot, panel),
                    rows: batch.all_rows(),
                    cols: self.used(panel),
                    running: running.map(|row| &mut row[0]),
                });
            }
        });
    }
}
