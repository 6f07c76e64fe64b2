//! A dense layer with a constraint on its weights, for item response models: a weight is the slope of an item, a bias
//! its intercept.
//!
//! Gradients are stored and, for shared weights, summed; after the optimiser's update the weights are projected onto
//! the constraint.
#![allow(unsafe_code)]

use super::{Dense, Epilogue, Layer};
use crate::error::{Error, Result};
use crate::matrix::Shared;
use crate::model::memory::{BatchView, Planner, Port, Slot};
use crate::model::sink::Sink;
use crate::model::spec::WeightConstraint;
use crate::model::tensor::Tensor;
use crate::simd::Row;
use crate::threads::Worker;

/// A last layer with a constraint on its weights.
#[derive(Clone, Debug)]
pub struct Constrained {
    dense: Dense,
    constraint: WeightConstraint,
}

impl Constrained {
    /// A dense layer with a constraint. Nonnegative weights go without a bias.
    pub fn new(mut dense: Dense, constraint: WeightConstraint) -> Constrained {
        if constraint == WeightConstraint::Nonnegative {
            dense.first_biased = dense.outputs;
        }
        Constrained { dense, constraint }
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

    fn constrain(&self, parameters: &mut [Row]) {
        self.project(&mut parameters[self.dense.place()]);
    }

    fn check(&self, parameters: &[Row]) -> Result<()> {
        let message = match self.constraint {
            WeightConstraint::Free => return Ok(()),
            WeightConstraint::Common => "the last layer's weights must be equal for all features",
            WeightConstraint::Nonnegative => "the last layer's weights must not be negative",
        };
        let given = &parameters[self.dense.place()];
        let mut allowed = given.to_vec();
        self.project(&mut allowed);
        match given.iter().flatten().zip(allowed.iter().flatten()).all(|(a, b)| a.0 == b.0) {
            true => Ok(()),
            false => Err(Error::Value(message.into())),
        }
    }

    fn stores_gradient(&self) -> bool {
        true
    }

    fn plan(&self, planner: &mut Planner, below: Port, last: bool) -> Slot {
        self.dense.plan(planner, below, last)
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
            if updates {
                sink.accept(batch.isa, batch.parameters, rows.clone(), gradients, 2);
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
    use crate::simd::ZERO_ROW;

    /// Two inputs, 37 outputs: two panels, the second one with padding.
    fn layer(constraint: WeightConstraint) -> Constrained {
        let (layout, names) = (&mut Layout::default(), NamedOutputs::all("decoder.0", 37));
        let dense = Dense::new(layout, (2, 37), Activation::Identity, names, false).unwrap();
        Constrained::new(dense, constraint)
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
        assert_eq!(layer.tensors()[0].read(&rows), weights);
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
