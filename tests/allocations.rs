//! A training step allocates nothing: a run of many steps asks for memory exactly as often as a run of few.

mod counting;

use fastvae::activation::Activation;
use fastvae::data::Source;
use fastvae::likelihood::{Likelihood, Scale};
use fastvae::model::{Spec, Vae};
use fastvae::optimizer::Optimizer;
use fastvae::train::{Task, Totals};
use std::time::Duration;

/// Allocations of one call that trains on `steps` batches of 16 and a short one.
fn allocations(vae: &mut Vae, data: &[f32], steps: usize, threads: usize) -> usize {
    let task = Task {
        batch_size: 16,
        threads: Some(threads),
        ..Task::new(Source::from_slice(&data[..(16 * steps + 3) * 37], 37))
    };
    let before = counting::calls();
    let finished = vae.train(&task, &mut Totals::default(), Duration::from_secs(600));
    assert_eq!(finished, Ok(true));
    counting::calls() - before
}

#[test]
fn a_step_allocates_nothing() {
    let data: Vec<f32> = (0..(16 * 200 + 3) * 37).map(|i| (i % 11) as f32 / 10.0).collect();
    for likelihood in [Likelihood::Bernoulli, Likelihood::Gaussian(Scale::PerFeature)] {
        let spec = Spec {
            n_features: 37,
            latent_dim: 5,
            variational: true,
            encoder: vec![40],
            decoder: vec![40, 17],
            activation: Activation::Gelu,
            likelihood,
        };
        let optimizer = Optimizer::Adam {
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 0.0,
            decoupled: false,
        };
        for threads in 1..=3 {
            let mut vae = Vae::new(spec.clone(), optimizer, 0).unwrap();
            allocations(&mut vae, &data, 2, threads); // the workspace and the threads
            let few = allocations(&mut vae, &data, 2, threads);
            let many = allocations(&mut vae, &data, 200, threads);
            assert!(many <= few + 2, "{threads} threads: {few} for 3 steps, {many} for 201");
        }
    }
}
