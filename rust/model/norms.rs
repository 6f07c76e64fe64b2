//! The phases of batch normalisation: an item is a panel with all its rows.
#![allow(unsafe_code)]

use super::pass::Pass;
use crate::nn::batch_norm::{ColumnStatistics, Normalize, NormalizeGradient, UpdateRunning};
use crate::nn::dense::Norm;
use crate::threads::Worker;

impl Pass<'_> {
    /// Whether the batch's statistics are used: in training, where there are at least two rows to have any.
    fn of_batch(&self) -> bool {
        self.trains && self.rows > 1
    }

    /// Normalises the outputs of layer `index`, where they are to be.
    pub(super) fn normalize(&self, worker: &Worker, index: usize) {
        let Some(norm) = self.network.layers[index].norm else { return };
        worker.phase(norm.panels(), |panel| self.normalize_panel(index, norm, panel));
    }

    /// The same of one panel, which is the calling item's.
    pub(super) fn normalize_panel(&self, index: usize, norm: Norm, panel: usize) {
        let at = norm.columns + panel;
        // SAFETY: the panel is the calling item's; statistics change in the update only.
        unsafe {
            let parameters = self.weights();
            let running = norm.rows(panel).map(|row| &parameters[row]);
            self.isa.run(Normalize {
                rows: self.write(self.memory.plan.values[index], panel, 0..self.rows),
                cols: norm.used(panel),
                running: (!self.of_batch()).then_some(running),
                columns: &mut self.memory.columns.write(at..at + 1)[0],
            });
        }
    }

    /// The gradient with respect to normalised outputs becomes that with respect to the layer's own.
    pub(super) fn normalize_gradient(&self, worker: &Worker, index: usize) {
        let Some(norm) = self.network.layers[index].norm else { return };
        let plan = self.memory.plan;
        worker.phase(norm.panels(), |panel| {
            let at = norm.columns + panel;
            // SAFETY: the panel, and what is known of its columns, are this item's; values are from the forward pass.
            unsafe {
                self.isa.run(NormalizeGradient {
                    gradient: self.write(plan.gradients[index], panel, 0..self.rows),
                    values: self.read(plan.values[index], panel, 0..self.rows),
                    cols: norm.used(panel),
                    columns: &mut self.memory.columns.write(at..at + 1)[0],
                    of_batch: self.of_batch(),
                });
            }
        });
    }

    /// Running statistics follow the batch.
    pub fn follow_batch(&self, worker: &Worker) {
        if !self.of_batch() {
            return;
        }
        for norm in self.network.layers.iter().filter_map(|layer| layer.norm) {
            worker.phase(norm.panels(), |panel| {
                // SAFETY: the rows of the panel's statistics are this item's.
                unsafe {
                    let running = norm.rows(panel).map(|row| self.parameters.write(row..row + 1));
                    self.isa.run(UpdateRunning {
                        columns: &self.columns(norm, panel)[0],
                        rows: self.rows,
                        cols: norm.used(panel),
                        running: running.map(|row| &mut row[0]),
                    });
                }
            });
        }
    }

    /// What the forward pass has found of a panel.
    ///
    /// # Safety
    /// The running phase does not find it.
    pub(super) unsafe fn columns(&self, norm: Norm, panel: usize) -> &[ColumnStatistics] {
        let at = norm.columns + panel;
        // SAFETY: passed on to the caller.
        unsafe { self.memory.columns.read(at..at + 1) }
    }
}
