//! Constraints on the output layer: those of item response models, where a weight is a task's slope and a bias its
//! intercept.
//!
//! Its gradients are stored; [`Network::tie`] makes them the gradients of the parameters that are free, the optimiser takes
//! its step, and [`Network::project`] takes the parameters to the nearest ones that are allowed.
#![allow(unsafe_code)]

use super::network::Network;
use super::pass::Pass;
use super::spec::WeightConstraint;
use super::update::Sink;
use crate::error::{Error, Result};
use crate::matrix::Shared;
use crate::simd::Row;
use crate::threads::Worker;
use std::ops::Range;

impl Network {
    /// The rows of the output layer in a buffer with the parameters' layout.
    pub fn loadings(&self) -> Range<usize> {
        self.layers[self.output()].place()
    }

    /// Turns gradients into those of the free parameters: a shared weight's is the sum over the outputs, in the place of each
    /// (so that a clipped norm counts it as often).
    fn tie(&self, loadings: &mut [Row]) {
        let layer = &self.layers[self.output()];
        if self.spec.weight_constraint == WeightConstraint::Common {
            for input in 0..layer.inputs {
                let total: f64 = layer.weights_of(loadings, input).map(|x| f64::from(*x)).sum();
                layer.weights_of(loadings, input).for_each(|x| *x = total as f32);
            }
        }
    }

    /// Takes the weights to the nearest that are allowed. (The mean of equal numbers, in f64, is that number.)
    pub fn project(&self, loadings: &mut [Row]) {
        let layer = &self.layers[self.output()];
        for input in 0..layer.inputs {
            match self.spec.weight_constraint {
                WeightConstraint::Free => return,
                WeightConstraint::Common => {
                    let total: f64 = layer.weights_of(loadings, input).map(|x| f64::from(*x)).sum();
                    let mean = (total / layer.outputs as f64) as f32;
                    layer.weights_of(loadings, input).for_each(|x| *x = mean);
                }
                WeightConstraint::Nonnegative => {
                    layer.weights_of(loadings, input).for_each(|x| *x = x.max(0.0));
                }
            }
        }
    }

    /// An error unless parameters obey the constraint.
    pub fn check_loadings(&self, parameters: &[Row]) -> Result<()> {
        let rule = match self.spec.weight_constraint {
            WeightConstraint::Free => return Ok(()),
            WeightConstraint::Common => {
                "the last layer's weights must be the same for all features"
            }
            WeightConstraint::Nonnegative => "the last layer's weights must not be negative",
        };
        let given = &parameters[self.loadings()];
        let mut allowed = given.to_vec();
        self.project(&mut allowed);
        match given.iter().flatten().zip(allowed.iter().flatten()).all(|(a, b)| a.0 == b.0) {
            true => Ok(()),
            false => Err(Error::Value(rule.into())),
        }
    }
}

impl Pass<'_> {
    /// Turns the stored gradients of the output layer into those of the free parameters and, where they are to be followed,
    /// follows them.
    pub(super) fn absorb_loadings(&self, worker: &Worker, gradients: Shared<Row>, sink: Sink) {
        let (network, rows) = (self.network, self.network.loadings());
        let follows = matches!(sink, Sink::Update { .. });
        // SAFETY: a single item; the gradients are from an earlier phase.
        worker.phase(1, |_| unsafe {
            let gradients = gradients.write(rows.clone());
            network.tie(gradients);
            if follows {
                sink.take(self.isa, self.parameters, rows.clone(), gradients, 2);
                network.project(self.parameters.write(rows.clone()));
            }
        });
        if follows {
            self.transpose_layer(worker, network.output());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Specification, dense};
    use crate::simd::ZERO_ROW;

    /// Two inputs, 37 outputs: two panels, the second one with padding.
    fn network(weight_constraint: WeightConstraint) -> Network {
        Network::new(Specification {
            n_features: 37,
            latent_dim: 2,
            encoder: dense(&[3]),
            weight_constraint,
            ..Specification::default()
        })
        .unwrap()
    }

    /// Its parameters with weights that are a function of the output.
    fn filled(network: &Network, weight: fn(usize) -> f32) -> Vec<Row> {
        let mut rows = vec![ZERO_ROW; network.rows];
        let (loadings, layer) = (&mut rows[network.loadings()], &network.layers[network.output()]);
        for input in 0..2 {
            layer.weights_of(loadings, input).enumerate().for_each(|(j, x)| *x = weight(j));
        }
        rows
    }

    fn names(network: &Network) -> Vec<&str> {
        network.tensors.iter().map(|tensor| tensor.name.as_str()).collect()
    }

    #[test]
    fn weights_are_those_of_the_tensor() {
        let network = network(WeightConstraint::Free);
        let rows = filled(&network, |j| j as f32);
        let [.., weight, _] = &network.tensors[..] else { panic!("a network has tensors") };
        let weights: Vec<f32> = (0..37u16).flat_map(|j| [f32::from(j); 2]).collect();
        assert_eq!(network.read(weight, &rows), weights);
    }

    #[test]
    fn shared_weights_have_the_sum_of_the_gradients_and_stay_equal() {
        let network = network(WeightConstraint::Common);
        let mut rows = filled(&network, |j| j as f32);
        network.tie(&mut rows[network.loadings()]);
        assert_eq!(rows, filled(&network, |_| 666.0), "sum of 0..37; padding is zero");
        assert!(network.check_loadings(&filled(&network, |_| 0.1)).is_ok());
        let mut rows = filled(&network, |j| j as f32);
        assert!(network.check_loadings(&rows).is_err());
        network.project(&mut rows[network.loadings()]);
        assert_eq!(rows, filled(&network, |_| 18.0));
        assert_eq!(names(&network)[6..], ["decoder.0.weight", "decoder.0.bias"]);
    }

    #[test]
    fn nonnegative_weights_have_no_bias() {
        let network = network(WeightConstraint::Nonnegative);
        let mut rows = filled(&network, |j| if j % 2 == 0 { -1.0 } else { 1.0 });
        assert!(network.check_loadings(&rows).is_err());
        let before = rows.clone();
        network.tie(&mut rows[network.loadings()]);
        assert_eq!(rows, before, "their gradients are their own");
        network.project(&mut rows[network.loadings()]);
        assert_eq!(rows, filled(&network, |j| (j % 2) as f32));
        assert!(network.check_loadings(&rows).is_ok());
        assert_eq!(names(&network)[6..], ["decoder.0.weight"]);
    }
}
