//! The gradient of a learned scale.
#![allow(unsafe_code)]

use super::Head;
use crate::matrix::{panels_of, vectors_of};
use crate::model::memory::BatchView;
use crate::model::sink::Sink;
use crate::nn::dense::ColumnSums;
use crate::nn::likelihood::ScaleGradient;
use crate::simd::{WIDTH, ZERO_ROW};
use crate::threads::Worker;

impl Head {
    /// The gradient of its parameters into a sink. `weight` is the factor of the stored output gradients.
    pub fn update(&self, batch: &BatchView, worker: &Worker, weight: f32, sink: Sink) {
        match self.stores_scale_gradient() {
            true => self.update_stored_scale(batch, worker, sink),
            false => self.update_scale(batch, worker, weight, sink),
        }
    }

    /// The gradient of ln s, which needs all rows and, where the scale is shared, all features.
    fn update_scale(&self, batch: &BatchView, worker: &Worker, weight: f32, sink: Sink) {
        let features = self.n_features;
        let Some((scale, start)) = self.learned() else { return };
        let shared = !scale.per_feature;
        // SAFETY: a single item; the batch, the output's gradients and the draws' weights are from earlier phases.
        worker.phase(1, |_| unsafe {
            let (plan, draws) = (batch.memory.plan, batch.draws());
            let weights =
                batch.memory.weights.read(if batch.copies() == 1 { 0..0 } else { 0..draws });
            let gradients = batch.matrix(plan.output_gradient);
            let holes = self.masked.then(|| batch.matrix(plan.x));
            let mut total = ZERO_ROW;
            for panel in 0..panels_of(features) {
                let mut row = [ZERO_ROW];
                batch.isa.run(ScaleGradient {
                    gradient: gradients.panel(panel),
                    targets: holes.as_ref().map_or(&[], |x| x.panel(panel)),
                    cols: (features - panel * WIDTH).min(WIDTH),
                    log_scale: &self.parameter_row(batch.weights(), panel),
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

    /// The gradient of a scale of each feature, where the output phase has stored its terms.
    fn update_stored_scale(&self, batch: &BatchView, worker: &Worker, sink: Sink) {
        let Some(start) = self.log_scale else { return };
        // SAFETY: the terms are from an earlier phase.
        let terms = unsafe { batch.matrix(batch.memory.plan.scale_gradient) };
        worker.phase(panels_of(self.n_features), |panel| {
            let (mut sums, vectors) = ([ZERO_ROW], vectors_of(self.n_features, panel));
            batch.isa.run(ColumnSums { panel: terms.panel(panel), vectors, out: &mut sums[0] });
            let at = start + panel;
            // SAFETY: the panel's features are this item's.
            unsafe { sink.accept(batch.isa, batch.parameters, at..at + 1, &sums, vectors) };
        });
        if matches!(sink, Sink::Update { .. }) {
            // SAFETY: a single item.
            worker.phase(1, |_| unsafe { self.keep_in_range(batch) });
        }
    }

    /// Learned scales stay in their range.
    ///
    /// # Safety
    /// The rows of ln s are the calling tile's own.
    unsafe fn keep_in_range(&self, batch: &BatchView) {
        // SAFETY: the caller's promise; other rows are not touched.
        self.constrain(unsafe { batch.parameters.all_mut() });
    }
}
