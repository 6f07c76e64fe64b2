//! Tests of networks: names and places of parameters, invalid specifications, and a layer for tests only.

use super::build::{decoder, encoder, latent};
use super::engine::Engine;
use super::layers::Scaling;
use super::network::Network;
use super::tensor::Layout;
use super::{EncoderInput, Epsilon, Missing, NoiseKey, Specification, Topics, dense};
use crate::data::Source;
use crate::nn::latent::KlTerm;
use crate::nn::likelihood::{
    Bernoulli, Gaussian, Likelihood, Mixture, Multinomial, Scale, SquaredError,
};
use crate::nn::objective::{Importance, Objective};
use crate::nn::optimizer::Optimizer;

fn spec(likelihood: impl Into<Likelihood>) -> Specification {
    Specification {
        n_features: 37,
        latent_dim: 3,
        encoder: dense(&[33]),
        decoder: dense(&[5, 64]),
        likelihood: likelihood.into(),
        optimizer: Optimizer::Sgd { momentum: 0.0, nesterov: false, weight_decay: 0.0 },
        seed: 7,
        ..Specification::default()
    }
}

#[test]
fn tensors_round_trip_and_do_not_overlap() {
    for scale in [Scale::PerFeature, Scale::Decoder] {
        round_trip(Network::new(spec(Gaussian { scale, ..Gaussian::default() })).unwrap());
    }
}

fn round_trip(network: Network) {
    let mut buffer = vec![crate::simd::ZERO_ROW; network.rows];
    let mut count = 0;
    for (n, tensor) in network.tensors.iter().enumerate() {
        let size: usize = tensor.shape.iter().product();
        let plain: Vec<f32> = (0..size).map(|i| (n * 10_000 + i + 1) as f32).collect();
        tensor.write(&plain, &mut buffer);
        count += size;
    }
    for (n, tensor) in network.tensors.iter().enumerate() {
        let plain = tensor.read(&buffer).unwrap();
        let good = plain.iter().enumerate().all(|(i, &x)| x == (n * 10_000 + i + 1) as f32);
        assert!(good, "{}", tensor.name);
    }
    let filled = buffer.iter().flatten().flat_map(|l| l.0).filter(|&x| x != 0.0).count();
    assert_eq!(filled, count, "padding must stay zero");
}

#[test]
fn tensors_have_torch_names_and_shapes() {
    let network =
        Network::new(spec(Gaussian { scale: Scale::Shared, ..Gaussian::default() })).unwrap();
    let named: Vec<_> =
        network.tensors.iter().map(|t| (t.name.as_str(), t.shape.as_slice())).collect();
    assert_eq!(
        named,
        [
            ("encoder.0.weight", &[33, 37][..]),
            ("encoder.0.bias", &[33]),
            ("mu.weight", &[3, 33]),
            ("mu.bias", &[3]),
            ("logvar.weight", &[3, 33]),
            ("logvar.bias", &[3]),
            ("decoder.0.weight", &[5, 3]),
            ("decoder.0.bias", &[5]),
            ("decoder.2.weight", &[64, 5]),
            ("decoder.2.bias", &[64]),
            ("decoder.4.weight", &[37, 64]),
            ("decoder.4.bias", &[37]),
            ("likelihood.log_scale", &[]),
        ]
    );
}

#[test]
fn a_scale_from_the_decoder_is_a_layer_beside_the_last_one() {
    let decoder = Gaussian { scale: Scale::Decoder, ..Gaussian::default() };
    let network = Network::new(spec(decoder)).unwrap();
    let named: Vec<_> =
        network.tensors.iter().map(|t| (t.name.as_str(), t.shape.as_slice())).collect();
    assert_eq!(
        named[10..],
        [
            ("decoder.4.weight", &[37, 64][..]),
            ("decoder.4.bias", &[37]),
            ("scale.weight", &[37, 64]),
            ("scale.bias", &[37]),
        ]
    );
    let panels: Vec<_> = (0..3).map(|panel| network.head.features(panel)).collect();
    assert_eq!(panels, [0..16, 16..32, 32..37]);
    assert_eq!(network.output().outputs(), 2 * 32 + 16 + 5);
}

fn topics(likelihood: impl Into<Likelihood>) -> Specification {
    let topics = Topics { mean: vec![0.0; 3], scale: vec![1.0; 3] };
    Specification { decoder: vec![], topics: Some(topics), ..spec(likelihood) }
}

#[test]
fn a_topic_model_has_running_statistics_after_the_trained_tensors() {
    for (likelihood, own) in [
        (Likelihood::from(Mixture {}), &[][..]),
        (
            Multinomial {}.into(),
            &[("topics.norm.running_mean", 37), ("topics.norm.running_var", 37)],
        ),
    ] {
        let network = Network::new(topics(likelihood)).unwrap();
        let names: Vec<_> = network.tensors.iter().map(|t| t.name.as_str()).collect();
        let trained = network.trained().len();
        assert_eq!(
            names[..6],
            [
                "encoder.0.weight",
                "encoder.0.bias",
                "mu.weight",
                "logvar.weight",
                "logvar.bias",
                "topics.weight"
            ]
        );
        assert_eq!(names[6..trained], ["topics.norm.bias"][..own.len() / 2]);
        let running: Vec<_> =
            network.tensors[trained..].iter().map(|t| (t.name.as_str(), t.shape[0])).collect();
        let head = [("mu.norm.running_mean", 3), ("mu.norm.running_var", 3)];
        assert_eq!(running, [&head[..], own].concat());
        round_trip(network);
    }
}

#[test]
fn invalid_topic_models_are_refused() {
    let good = topics(Mixture {});
    let prior = |mean, scale| Some(Topics { mean, scale });
    for bad in [
        Specification { topics: None, ..good.clone() },
        Specification { likelihood: Bernoulli {}.into(), ..good.clone() },
        Specification { variational: false, ..good.clone() },
        Specification { decoder: dense(&[5]), ..good.clone() },
        Specification { topics: prior(vec![0.0; 2], vec![1.0; 3]), ..good.clone() },
        Specification { topics: prior(vec![f32::NAN; 3], vec![1.0; 3]), ..good.clone() },
        Specification { topics: prior(vec![0.0; 3], vec![0.0; 3]), ..good.clone() },
    ] {
        assert!(Network::new(bad.clone()).is_err(), "{bad:?}");
    }
    let network = Network::new(Specification { conditions: 2, ..good.clone() }).unwrap();
    assert_eq!(network.encoder[0].work(), (37 + 2) * network.encoder[0].outputs(), "reads y");
    assert_eq!(network.output().work(), 3 * 37, "of topics alone");
    assert!(Network::new(good).is_ok());
}

#[test]
fn a_plain_autoencoder_has_a_code_in_place_of_a_posterior() {
    let plain = Specification { variational: false, ..spec(SquaredError {}) };
    let network = Network::new(plain).unwrap();
    let names: Vec<_> = network.tensors.iter().map(|t| t.name.as_str()).collect();
    assert_eq!(names[2..4], ["code.weight", "code.bias"]);
    assert_eq!(network.encoder[1].outputs(), 3);
}

#[test]
fn conditions_follow_x_and_z() {
    let conditional = Specification { conditions: 4, ..spec(Bernoulli {}) };
    let network = Network::new(conditional.clone()).unwrap();
    assert_eq!(weights(&network), [[33, 41], [3, 33], [3, 33], [5, 7], [64, 5], [37, 64]]);
    let values = [0.0; 74];
    let (x, y) = (Source::from_slice(&values, 37), Source::from_slice(&values[..8], 4));
    assert!(network.check_conditions(&x.with_conditions(&y).unwrap()).is_ok());
    let narrow = Source::from_slice(&values[..6], 3);
    for wrong in [x, x.with_conditions(&narrow).unwrap()] {
        assert!(network.check_conditions(&wrong).is_err());
    }
    assert!(x.with_conditions(&x.select(&[0]).unwrap()).is_err(), "another number of rows");
    let plain = Specification { variational: false, ..conditional };
    assert!(Network::new(plain).is_err());
}

#[test]
fn indicators_lie_between_x_and_the_conditions() {
    for (missing, inputs) in [(Missing::Masked, 41), (Missing::Indicated, 78)] {
        let spec = Specification { missing, conditions: 4, ..spec(Bernoulli {}) };
        assert_eq!(spec.conditions_at(), inputs - 4);
        assert_eq!(weights(&Network::new(spec).unwrap())[0], [33, inputs]);
    }
}

#[test]
fn absurd_sizes_are_refused() {
    let mut huge = spec(Bernoulli {});
    huge.conditions = usize::MAX;
    assert!(Network::new(huge).is_err());
    let mut bad = spec(Bernoulli {});
    bad.encoder = dense(&[usize::MAX]);
    assert!(Network::new(bad.clone()).is_err());
    bad.encoder = dense(&[0]);
    assert!(Network::new(bad).is_err());
    for n_features in [0, usize::MAX] {
        let decoder = Gaussian { scale: Scale::Decoder, ..Gaussian::default() };
        let bad = Specification { n_features, ..spec(decoder) };
        assert!(Network::new(bad).is_err());
    }
}

/// Shapes [out, in] of all weights.
fn weights(network: &Network) -> Vec<[usize; 2]> {
    let shapes = network.tensors.iter().map(|tensor| &tensor.shape[..]);
    shapes.filter_map(|shape| <[usize; 2]>::try_from(shape).ok()).collect()
}

/// An engine whose decoder reads scaled codes.
fn scaled_engine() -> Engine {
    let spec = spec(Bernoulli {});
    let layout = &mut Layout::default();
    let (encoder, mut latent) = (encoder(&spec, layout).unwrap(), latent(&spec));
    latent.push(Box::new(Scaling::new(layout, spec.latent_dim)));
    let decoder = decoder(&spec, layout).unwrap();
    let network = Network::assemble(spec, layout, [encoder, latent, decoder]);
    Engine::empty(network).unwrap()
}

/// The mean loss of some examples in nats, and its gradients by name.
fn gradients(engine: &mut Engine, x: &[f32], threads: usize) -> (f64, Vec<(String, Vec<f32>)>) {
    let kl = KlTerm::plain(1.0);
    let objective = Objective { reconstruction: 1.0, kl, importance: Importance::NONE };
    let how = (EncoderInput::Batch, Epsilon::Drawn(NoiseKey::Score(3)));
    let x = Source::from_slice(x, 37);
    let (sums, gradients) =
        engine.loss_and_gradients(&x, how, (objective, None), Some(threads)).unwrap();
    let names = engine.network.trained().iter().map(|tensor| tensor.name.clone());
    (sums.loss / x.rows() as f64, names.zip(gradients).collect())
}

#[test]
fn a_layer_for_tests_trains_with_the_others() {
    let x: Vec<f32> = (0..37 * 19).map(|i| (i * 7 % 11) as f32 / 10.0).collect();
    let mut plain = Engine::new(spec(Bernoulli {})).unwrap();
    let mut scaled = scaled_engine();
    let values = |factors: [f32; 3]| -> Vec<Vec<f32>> {
        let of = |name: &str| match plain.network.tensors.iter().find(|t| t.name == name) {
            Some(tensor) => plain.parameter(tensor).unwrap(),
            None => factors.to_vec(),
        };
        scaled_engine().network.tensors.iter().map(|tensor| of(&tensor.name)).collect()
    };
    let (one, other) = (values([1.0; 3]), values([0.5, -2.0, 1.5]));
    // With factors of one it is the plain model, bit for bit.
    scaled.set_parameters(&one).unwrap();
    let (want, of_plain) = gradients(&mut plain, &x, 1);
    let (loss, of_scaled) = gradients(&mut scaled, &x, 1);
    assert_eq!(loss, want);
    for (name, gradient) in &of_plain {
        let (_, found) = of_scaled.iter().find(|(n, _)| n == name).unwrap();
        assert_eq!(found, gradient, "{name}");
    }
    // With other factors its gradient agrees with finite differences, on any number of threads.
    scaled.set_parameters(&other).unwrap();
    let (_, found) = gradients(&mut scaled, &x, 1);
    assert_eq!(found, gradients(&mut scaled, &x, 2).1);
    let place = found.iter().position(|(name, _)| name == "scaling").unwrap();
    for j in 0..3 {
        const STEP: f32 = 1e-2;
        let mut loss_at = |step: f32| {
            let mut moved = other.clone();
            moved[place][j] += step;
            scaled.set_parameters(&moved).unwrap();
            gradients(&mut scaled, &x, 1).0
        };
        let slope = (loss_at(STEP) - loss_at(-STEP)) / f64::from(2.0 * STEP);
        let gradient = f64::from(found[place].1[j]);
        assert!((slope - gradient).abs() < 2e-2 * slope.abs().max(0.1), "{j}: {gradient} {slope}");
    }
}
