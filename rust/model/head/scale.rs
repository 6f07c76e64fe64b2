//! The gradient of a learned scale.
#![allow(unsafe_code)]

use super::Head;
use crate::matrix::{panels_of, vectors_of};
use crate::model::memory::BatchView;
use crate::model::sink::Sink;
use crate::nn::dense::{ColumnSums, WeightedSums};
use crate::nn::likelihood::ScaleGradient;
use crate::simd::{Row, WIDTH, ZERO_ROW, floats};
use crate::threads::Worker;

impl Head {
    /// Passes the gradient of the head's parameters to a sink. `weight` is the factor of the stored output gradients.
    pub fn update(&self, batch: &BatchView, worker: &Worker, weight: f32, sink: Sink) {
        match self.stores_scale_gradient() {
            true => self.update_stored_scale(batch, worker, sink),
            false => self.update_scale(batch, worker, weight, sink),
        }
    }

    /// Computes the gradient of ln s from all rows and, for a shared scale, all features.
    fn update_scale(&self, batch: &BatchView, worker: &Worker, weight: f32, sink: Sink) {
        let features = self.n_features;
        let Some((scale, start)) = self.learned() else { return };
        let shared = !scale.per_feature;
        // SAFETY: the phase has a single item. Earlier phases wrote the batch, the output gradients and the draws'
        // weights.
        worker.phase(1, |_| unsafe {
            let plan = batch.memory.plan;
            let weights = batch.draw_factors().unwrap_or_default();
            let weight = if batch.copies() == 1 { weight } else { 1.0 };
            let gradients = batch.matrix(plan.output_gradient);
            let holes = self.masked.then(|| batch.matrix(plan.x));
            let mut total = ZERO_ROW;
            for panel in 0..panels_of(features) {
                let mut row = [ZERO_ROW];
                let log_scale = self.log_scale_of_output(batch.weights(), panel);
                batch.isa.run(ScaleGradient {
                    gradient: gradients.panel(panel),
                    targets: holes.as_ref().map_or(&[], |x| x.panel(panel)),
                    cols: (features - panel * WIDTH).min(WIDTH),
                    log_scale: &log_scale,
                    weight,
                    weights,
                    out: &mut row[0],
                });
                if shared {
                    for (sum, x) in total.iter_mut().zip(&row[0]) {
                        sum.0.iter_mut().zip(&x.0).for_each(|(sum, x)| *sum += x);
                    }
                } else {
                    let at = start + panel;
                    sink.accept(batch.isa, batch.parameters, at..at + 1, &row, 2);
                }
            }
            if shared {
                let mut row = [ZERO_ROW];
                row[0][0].0[0] = total.iter().flat_map(|lanes| lanes.0).sum();
                sink.accept(batch.isa, batch.parameters, start..start + 1, &row, 2);
            }
            if matches!(sink, Sink::Update { .. }) {
                self.keep_in_range(batch);
            }
        });
    }

    /// ln s of the features of a panel, in the units of the output.
    fn log_scale_of_output(&self, parameters: &[Row], panel: usize) -> Row {
        let mut row = self.parameter_row(parameters, panel);
        if let Some([_, scale]) = self.units(panel) {
            for (log_scale, scale) in row.iter_mut().zip(scale) {
                log_scale.0.iter_mut().zip(scale.0).for_each(|(x, scale)| *x -= scale.ln());
            }
        }
        row
    }

    /// Computes the gradient of the scale of each feature from the terms stored by the output phase.
    fn update_stored_scale(&self, batch: &BatchView, worker: &Worker, sink: Sink) {
        let Some(start) = self.log_scale else { return };
        if let Some(sets) = self.sets {
            self.update_sets(batch, worker, (start, sets), sink);
        } else {
            self.update_panels(batch, worker, start, sink);
        }
        if matches!(sink, Sink::Update { .. }) {
            // SAFETY: the phase has a single item.
            worker.phase(1, |_| unsafe { self.keep_in_range(batch) });
        }
    }

    /// The phase of [`Head::update_stored_scale`] for scales of all rows.
    fn update_panels(&self, batch: &BatchView, worker: &Worker, start: usize, sink: Sink) {
        // SAFETY: an earlier phase wrote the terms.
        let terms = unsafe { batch.matrix(batch.memory.plan.scale_gradient) };
        let groups = self.likelihood.groups();
        worker.phase(panels_of(self.n_features), |panel| {
            if groups.is_some_and(|groups| !groups.panels[panel].learned) {
                return; // no terms are stored, and the gradient is zero
            }
            let (mut sums, vectors) = ([ZERO_ROW], vectors_of(self.n_features, panel));
            match self.likelihood.outputs_per_feature() {
                1 => {
                    let panel = terms.panel(panel);
                    batch.isa.run(ColumnSums { panel, vectors, out: &mut sums[0] });
                }
                // A panel of the output has sixteen features.
                _ => {
                    for v in 0..vectors {
                        let (panel, mut out) = (terms.panel(2 * panel + v), ZERO_ROW);
                        batch.isa.run(ColumnSums { panel, vectors: 1, out: &mut out });
                        sums[0][v] = out[0];
                    }
                }
            }
            let at = start + panel;
            // SAFETY: the features of the panel belong to this item only.
            unsafe { sink.accept(batch.isa, batch.parameters, at..at + 1, &sums, vectors) };
        });
    }

    /// The phase of [`Head::update_stored_scale`] for scales of each condition: the sums of a set are weighted by its
    /// condition.
    fn update_sets(
        &self,
        batch: &BatchView,
        worker: &Worker,
        (start, sets): (usize, usize),
        sink: Sink,
    ) {
        // SAFETY: an earlier phase wrote the terms.
        let terms = unsafe { batch.matrix(batch.memory.plan.scale_gradient) };
        let (y, first) = batch.conditions();
        let panels = panels_of(self.n_features);
        let halves = self.likelihood.outputs_per_feature(); // a panel of the output has 32 features, or sixteen
        worker.phase(sets * panels, |item| {
            let (set, panel) = (item / panels, item % panels);
            let (place, lane) = ((first + set) / WIDTH, (first + set) % WIDTH);
            let (y, vectors) = (y.panel(place), vectors_of(self.n_features, panel));
            let weight = |draw| floats(&y[batch.owners.of(draw)])[lane];
            let mut sums = [ZERO_ROW];
            for v in 0..if halves == 1 { 1 } else { vectors } {
                let (panel, mut out) = (terms.panel(halves * panel + v), ZERO_ROW);
                batch.isa.run(WeightedSums { panel, weight: &weight, out: &mut out });
                match halves {
                    1 => sums[0] = out,
                    _ => sums[0][v] = out[0],
                }
            }
            let at = start + item;
            // SAFETY: the features of the panel in this set belong to this item only.
            unsafe { sink.accept(batch.isa, batch.parameters, at..at + 1, &sums, vectors) };
        });
    }

    /// Clamps the learned scales to their range.
    ///
    /// # Safety
    /// The caller has exclusive access to the rows of ln s.
    unsafe fn keep_in_range(&self, batch: &BatchView) {
        // SAFETY: the caller guarantees exclusive access to these rows; the function accesses no other rows.
        self.constrain(unsafe { batch.parameters.all_mut() });
    }
}
