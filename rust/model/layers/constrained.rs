//! A dense layer with a constraint on its weights or a prior, for item response models: a weight is the slope of an item,
//! a bias its intercept.
//!
//! Gradients are stored and, for shared weights, summed, and the prior's are added; after the optimiser's update the
//! weights are projected onto the constraint. With a log-normal prior the optimiser works on ln |a| of each slope a: its
//! step, computed from zero, is a factor of a. Signs stay, and an optimiser's weight decay does not act on ln |a|.
#![allow(unsafe_code)]

use super::{Dense, Epilogue, Layer};
use crate::error::{Error, Result, copied};
use crate::matrix::Shared;
use crate::model::memory::{BatchView, Planner, Port, Slot};
use crate::model::sink::Sink;
use crate::model::spec::WeightConstraint;
use crate::model::tensor::Tensor;
use crate::nn::item_prior::{
    AddPenaltyGradient, ItemPrior, LogGradient, LogStep, SLOPES, SlopePrior,
};
use crate::simd::{Isa, Row, WIDTH, ZERO_ROW, floats};
use crate::threads::Worker;
use std::ops::Range;

/// A last layer with a constraint on its weights or a prior.
#[derive(Clone, Debug)]
pub struct Constrained {
    dense: Dense,
    constraint: WeightConstraint,
    prior: Option<ItemPrior>,
}

impl Constrained {
    /// A dense layer with a constraint and a prior. Nonnegative weights go without a bias.
    pub fn new(
        mut dense: Dense,
        constraint: WeightConstraint,
        prior: Option<ItemPrior>,
    ) -> Constrained {
        if constraint == WeightConstraint::Nonnegative {
            dense.first_biased = dense.outputs;
        }
        Constrained { dense, constraint, prior }
    }

    /// The mean of ln |a| of slopes with a log-normal prior.
    fn log_mean(&self) -> Option<f32> {
        match self.prior?.slope {
            SlopePrior::LogNormal { mean, .. } => Some(mean),
            _ => None,
        }
    }

    /// Whether row `index` of the layer holds intercepts.
    fn is_bias(&self, index: usize) -> bool {
        index % (self.dense.inputs + 1) == self.dense.inputs
    }

    /// Adds the gradient of the penalty, times `weight`, to the gradient of the layer's rows.
    fn add_penalty_gradient(&self, isa: Isa, weight: f32, rows: &[Row], gradients: &mut [Row]) {
        let Some(prior) = self.prior else { return };
        let intercept = prior.intercept.map_or(SlopePrior::Flat, |sd| SlopePrior::Normal { sd });
        for (index, (parameters, gradient)) in rows.iter().zip(gradients).enumerate() {
            let prior = if self.is_bias(index) { intercept } else { prior.slope };
            isa.run(AddPenaltyGradient { prior, weight, parameters, gradient });
        }
    }

    /// Updates the layer's rows.
    ///
    /// # Safety
    /// No other item uses these rows of parameters and moments in the running phase.
    unsafe fn step(&self, batch: &BatchView, gradients: &[Row], sink: Sink) {
        let rows = self.dense.place();
        if self.log_mean().is_none() {
            // SAFETY: the caller's promise.
            return unsafe { sink.accept(batch.isa, batch.parameters, rows, gradients, 2) };
        }
        for (index, (row, gradient)) in rows.zip(gradients).enumerate() {
            let (place, gradient) = (row..row + 1, std::slice::from_ref(gradient));
            if self.is_bias(index) {
                // SAFETY: the caller's promise.
                unsafe { sink.accept(batch.isa, batch.parameters, place, gradient, 2) };
                continue;
            }
            let (mut log_gradient, mut steps) = ([ZERO_ROW], [ZERO_ROW]);
            // SAFETY: the caller's promise.
            unsafe {
                let slopes = &mut batch.parameters.write(place.clone())[0];
                let out = &mut log_gradient[0];
                batch.isa.run(LogGradient { slopes, gradient: &gradient[0], out });
                sink.step(batch.isa, &mut steps, place, &log_gradient, 2);
                batch.isa.run(LogStep { slopes, steps: &steps[0] });
            }
        }
    }

    /// Turns gradients of the weights into those of the free parameters. The gradient of a shared weight is the sum
    /// over the outputs, stored for each output (so the norm for clipping counts it for each).
    fn tie_gradients(&self, rows: &mut [Row]) {
        let dense = &self.dense;
        if self.constraint == WeightConstraint::Common {
            for input in 0..dense.inputs {
                let total: f64 = dense.weights_of(rows, input).map(|x| f64::from(*x)).sum();
                dense.weights_of(rows, input).for_each(|x| *x = total as f32);
            }
        }
    }

    /// Projects the weights in the layer's rows onto the constraint: the nearest valid weights. (In f64, the mean of
    /// equal floats is exact.)
    fn project(&self, rows: &mut [Row]) {
        let dense = &self.dense;
        for input in 0..dense.inputs {
            match self.constraint {
                WeightConstraint::Free => return,
                WeightConstraint::Common => {
                    let total: f64 = dense.weights_of(rows, input).map(|x| f64::from(*x)).sum();
                    let mean = (total / dense.outputs as f64) as f32;
                    dense.weights_of(rows, input).for_each(|x| *x = mean);
                }
                WeightConstraint::Nonnegative => {
                    dense.weights_of(rows, input).for_each(|x| *x = x.max(0.0));
                }
            }
        }
    }
}

impl Layer for Constrained {
    fn outputs(&self) -> usize {
        self.dense.outputs
    }

    fn work(&self) -> usize {
        self.dense.work()
    }

    fn tensors(&self) -> Vec<Tensor> {
        self.dense.tensors()
    }

    /// With a log-normal prior, slopes start at its median.
    fn initialize(&self, parameters: &mut [Row]) {
        let Some(mean) = self.log_mean() else { return };
        let rows = &mut parameters[self.dense.place()];
        for input in 0..self.dense.inputs {
            self.dense.weights_of(rows, input).for_each(|a| *a = mean.exp());
        }
    }

    fn penalty(&self, parameters: &[Row]) -> f64 {
        let Some(prior) = self.prior else { return 0.0 };
        let slopes = match self.constraint {
            WeightConstraint::Common => 1, // one parameter
            _ => self.dense.outputs,
        };
        let rows = parameters[self.dense.place()].chunks_exact(self.dense.inputs + 1);
        rows.enumerate()
            .map(|(panel, rows)| {
                let start = panel * WIDTH;
                let part = |end: usize| end.saturating_sub(start).min(WIDTH);
                let (weights, bias) = rows.split_at(self.dense.inputs);
                let weights = weights.iter().flat_map(|row| &floats(row)[..part(slopes)]);
                let first = part(self.dense.first_biased);
                let biases = &floats(&bias[0])[first..part(self.dense.outputs)];
                weights.map(|&a| prior.slope_penalty(a)).sum::<f64>()
                    + biases.iter().map(|&d| prior.intercept_penalty(d)).sum::<f64>()
            })
            .sum()
    }

    fn own_rows(&self) -> Option<Range<usize>> {
        self.log_mean().map(|_| self.dense.place())
    }

    fn apply(&self, batch: &BatchView, worker: &Worker, gradients: &[Row], sink: Sink) {
        if self.log_mean().is_some() {
            let gradients = &gradients[self.dense.place()];
            // SAFETY: the phase has a single item.
            worker.phase(1, |_| unsafe { self.step(batch, gradients, sink) });
        }
    }

    fn constrain(&self, parameters: &mut [Row]) {
        self.project(&mut parameters[self.dense.place()]);
    }

    fn check(&self, parameters: &[Row]) -> Result<()> {
        let given = &parameters[self.dense.place()];
        if self.log_mean().is_some() {
            let mut rows = copied(given)?;
            let mut inside = |input| {
                let mut slopes = self.dense.weights_of(&mut rows, input);
                slopes.all(|a| (SLOPES[0]..=SLOPES[1]).contains(&a.abs()))
            };
            if !(0..self.dense.inputs).all(&mut inside) {
                let [least, most] = SLOPES;
                return Err(Error::Value(format!(
                    "slopes with a log-normal prior must be {least:e} to {most:e}, or their negatives"
                )));
            }
        }
        let message = match self.constraint {
            WeightConstraint::Free => return Ok(()),
            WeightConstraint::Common => "the last layer's weights must be equal for all features",
            WeightConstraint::Nonnegative => "the last layer's weights must not be negative",
        };
        let mut allowed = copied(given)?;
        self.project(&mut allowed);
        match given.iter().flatten().zip(allowed.iter().flatten()).all(|(a, b)| a.0 == b.0) {
            true => Ok(()),
            false => Err(Error::Value(message.into())),
        }
    }

    fn stores_gradient(&self) -> bool {
        true
    }

    fn plan(&self, planner: &mut Planner, below: Port, stored: bool) -> Slot {
        self.dense.plan(planner, below, stored)
    }

    fn forward(&self, batch: &BatchView, worker: &Worker, slot: &Slot) {
        self.dense.forward(batch, worker, slot);
    }

    fn tiles(&self, batch: &BatchView, worker: &Worker, slot: &Slot, epilogue: &mut Epilogue) {
        self.dense.tiles(batch, worker, slot, epilogue);
    }

    fn backward(&self, batch: &BatchView, worker: &Worker, slot: &Slot) {
        self.dense.backward(batch, worker, slot);
    }

    fn update(
        &self,
        batch: &BatchView,
        worker: &Worker,
        slot: &Slot,
        scratch: Shared<Row>,
        sink: Sink,
    ) {
        self.dense.update(batch, worker, slot, scratch, Sink::Store(scratch));
        let (rows, updates) = (self.dense.place(), matches!(sink, Sink::Update { .. }));
        // SAFETY: the phase has a single item; the gradients are from an earlier phase.
        worker.phase(1, |_| unsafe {
            let gradients = scratch.write(rows.clone());
            self.tie_gradients(gradients);
            let parameters = batch.parameters.read(rows.clone());
            self.add_penalty_gradient(batch.isa, batch.prior_weight, parameters, gradients);
            if updates {
                self.step(batch, gradients, sink);
                self.project(batch.parameters.write(rows.clone()));
            }
        });
        if updates {
            self.dense.refresh(batch, worker);
        }
    }

    fn refresh(&self, batch: &BatchView, worker: &Worker) {
        self.dense.refresh(batch, worker);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::layers::NamedOutputs;
    use crate::model::tensor::Layout;
    use crate::nn::activation::Activation;
    use crate::simd::floats_mut;

    /// Two inputs, 37 outputs: two panels, the second one with padding.
    fn layer(constraint: WeightConstraint) -> Constrained {
        layer_with(constraint, None)
    }

    fn layer_with(constraint: WeightConstraint, prior: Option<ItemPrior>) -> Constrained {
        let (layout, names) = (&mut Layout::default(), NamedOutputs::all("decoder.0", 37));
        let dense = Dense::new(layout, (2, 37), Activation::Identity, names, false).unwrap();
        Constrained::new(dense, constraint, prior)
    }

    /// Parameters with weight `weight(j)` for output j.
    fn filled(layer: &Constrained, weight: fn(usize) -> f32) -> Vec<Row> {
        let mut rows = vec![ZERO_ROW; layer.dense.place().end];
        for input in 0..2 {
            let weights = layer.dense.weights_of(&mut rows, input);
            weights.enumerate().for_each(|(j, x)| *x = weight(j));
        }
        rows
    }

    fn names(layer: &Constrained) -> Vec<String> {
        layer.tensors().into_iter().map(|tensor| tensor.name).collect()
    }

    #[test]
    fn weights_of_agrees_with_the_tensor() {
        let layer = layer(WeightConstraint::Free);
        let rows = filled(&layer, |j| j as f32);
        let weights: Vec<f32> = (0..37u16).flat_map(|j| [f32::from(j); 2]).collect();
        assert_eq!(layer.tensors()[0].read(&rows).unwrap(), weights);
    }

    #[test]
    fn shared_weights_have_the_sum_of_the_gradients_and_stay_equal() {
        let layer = layer(WeightConstraint::Common);
        let mut rows = filled(&layer, |j| j as f32);
        layer.tie_gradients(&mut rows);
        assert_eq!(rows, filled(&layer, |_| 666.0), "sum of 0..37; padding is zero");
        assert!(layer.check(&filled(&layer, |_| 0.1)).is_ok());
        let mut rows = filled(&layer, |j| j as f32);
        assert!(layer.check(&rows).is_err());
        layer.constrain(&mut rows);
        assert_eq!(rows, filled(&layer, |_| 18.0));
        assert_eq!(names(&layer), ["decoder.0.weight", "decoder.0.bias"]);
    }

    #[test]
    fn the_penalty_counts_each_free_parameter_once() {
        let prior = ItemPrior { slope: SlopePrior::Normal { sd: 0.5 }, intercept: Some(2.0) };
        for (constraint, slopes, intercepts) in [
            (WeightConstraint::Free, 74.0, 37.0),
            (WeightConstraint::Common, 2.0, 37.0),
            (WeightConstraint::Nonnegative, 74.0, 0.0),
        ] {
            let layer = layer_with(constraint, Some(prior));
            let mut rows = filled(&layer, |_| 0.5);
            for (i, row) in rows.iter_mut().enumerate() {
                if layer.is_bias(i) {
                    floats_mut(std::slice::from_mut(row)).fill(4.0); // padding has no penalty
                }
            }
            let expected = slopes / 2.0 + intercepts * 2.0;
            assert_eq!(layer.penalty(&rows), expected, "{constraint:?}");
            let mut gradients = vec![ZERO_ROW; rows.len()];
            layer.add_penalty_gradient(Isa::portable(), 0.1, &rows, &mut gradients);
            for (i, row) in gradients.iter().enumerate() {
                let expected = if layer.is_bias(i) { 0.1 } else { 0.2 };
                assert!((floats(row)[0] - expected).abs() < 1e-6);
            }
        }
        assert_eq!(layer(WeightConstraint::Free).penalty(&[ZERO_ROW; 6]), 0.0);
    }

    #[test]
    fn slopes_with_a_log_normal_prior_start_at_its_median_and_are_not_zero() {
        let layout = &mut Layout::default();
        let names = NamedOutputs::all("decoder.0", 37);
        let dense = Dense::new(layout, (1, 37), Activation::Identity, names, false).unwrap();
        let slope = SlopePrior::LogNormal { mean: 0.5, sd: 1.0 };
        let prior = Some(ItemPrior { slope, intercept: None });
        let layer = Constrained::new(dense, WeightConstraint::Free, prior);
        let mut rows = vec![ZERO_ROW; layer.dense.place().end];
        assert!(layer.check(&rows).is_err());
        layer.initialize(&mut rows);
        assert!(layer.check(&rows).is_ok());
        assert!(layer.dense.weights_of(&mut rows, 0).all(|a| *a == 0.5_f32.exp()));
        assert!(layer.penalty(&rows) < 1e-10);
        layer.dense.weights_of(&mut rows, 0).for_each(|a| *a = -*a);
        assert!(layer.check(&rows).is_ok(), "signs are free");
    }

    #[test]
    fn nonnegative_weights_have_no_bias() {
        let layer = layer(WeightConstraint::Nonnegative);
        let mut rows = filled(&layer, |j| if j % 2 == 0 { -1.0 } else { 1.0 });
        assert!(layer.check(&rows).is_err());
        let before = rows.clone();
        layer.tie_gradients(&mut rows);
        assert_eq!(rows, before, "their gradients are their own");
        layer.constrain(&mut rows);
        assert_eq!(rows, filled(&layer, |j| (j % 2) as f32));
        assert!(layer.check(&rows).is_ok());
        assert_eq!(names(&layer), ["decoder.0.weight"]);
    }
}
