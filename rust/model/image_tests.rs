//! Tests of layers between images: gradients by finite differences, on any number of threads.

use super::engine::Engine;
use super::network::Network;
use super::{BatchSize, EncoderInput, Epsilon, InputStorage, NoiseKey, PassKind, Specification};
use crate::data::Source;
use crate::nn::latent::KlTerm;
use crate::nn::objective::{Importance, Objective};

/// A model of images of 9 x 7 x 2.
fn spec(encoder: &str, decoder: &str) -> Specification {
    let text = format!(
        r#"{{"n_features":126,"latent_dim":3,"image_shape":[9,7,2],"encoder":[{encoder}],"decoder":[{decoder}],
        "activation":"softplus","seed":7}}"#
    );
    Specification::from_json(&text).unwrap()
}

const NORMED: &str = r#"{"kind":"conv2d","channels":35,"kernel_size":[3,2],"padding":[1,0],"stride":[2,1],"batch_norm":true}"#;
const CONV: &str = r#"{"kind":"conv2d","channels":34,"kernel_size":[3,2]}"#;
const IMAGE: &str =
    r#"{"kind":"dense","units":70,"batch_norm":true},{"kind":"unflatten","shape":[2,1,35]}"#;
const OUTPUT: &str =
    r#"{"kind":"conv_transpose2d","channels":2,"kernel_size":[2,1],"stride":[1,1]}"#;

fn networks() -> Vec<Specification> {
    let layer = |kind: &str, size: [usize; 2]| format!(r#"{{"kind":"{kind}","size":{size:?}}}"#);
    let pooled = |kind: &str| format!("{CONV},{}", layer(kind, [2, 4]));
    let upsampled = format!("{IMAGE},{},{OUTPUT}", layer("upsample", [4, 7]));
    vec![
        spec(NORMED, "8"),
        spec(CONV, &upsampled),
        spec(&pooled("max_pool2d"), "8"),
        spec(&pooled("avg_pool2d"), "8"),
        spec(r#"{"kind":"dense","units":40,"batch_norm":true}"#, "8"),
        spec(&format!("{},{CONV}", layer("avg_pool2d", [2, 2])), "8"),
    ]
}

/// The mean loss of the examples in nats, and its gradients.
fn gradients(engine: &mut Engine, x: &[f32], threads: usize) -> (f64, Vec<Vec<f32>>) {
    let kl = KlTerm::plain(1.0);
    let objective = Objective { reconstruction: 1.0, kl, importance: Importance::NONE };
    let how = (EncoderInput::Batch, Epsilon::Drawn(NoiseKey::Score(3)));
    let x = Source::from_slice(x, 126);
    let (sums, gradients) =
        engine.loss_and_gradients(&x, how, (objective, None), Some(threads)).unwrap();
    (sums.loss / x.rows() as f64, gradients)
}

#[test]
fn an_image_whose_size_overflows_is_refused() {
    for shape in ["[9223372036854775808,2,1]", "[67108864,67108864,67108864]", "[0,9,7]"] {
        let text = format!(r#"{{"n_features":126,"latent_dim":3,"image_shape":{shape}}}"#);
        let error = Specification::from_json(&text).unwrap_err().to_string();
        assert!(error.contains("does not fit X"), "{error}");
    }
}

#[test]
fn gradients_agree_with_finite_differences_on_any_number_of_threads() {
    let x: Vec<f32> = (0..126 * 19).map(|i| (i * i % 13 % 5) as f32 / 4.0).collect();
    for spec in networks() {
        let mut engine = Engine::new(spec).unwrap();
        let tensors = engine.network.tensors.clone();
        let values: Vec<_> =
            tensors.iter().map(|tensor| engine.parameter(tensor).unwrap()).collect();
        let (_, found) = gradients(&mut engine, &x, 1);
        for threads in [2, 3] {
            assert_eq!(gradients(&mut engine, &x, threads).1, found);
        }
        // The slope along the gradient of each tensor is the gradient's norm.
        for (place, gradient) in found.iter().enumerate() {
            let norm = gradient.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
            let mut loss_at = |step: f64| {
                let mut moved = values.clone();
                for (value, g) in moved[place].iter_mut().zip(gradient) {
                    *value += (step * f64::from(*g) / norm) as f32;
                }
                engine.set_parameters(&moved).unwrap();
                gradients(&mut engine, &x, 1).0
            };
            const STEP: f64 = 3e-3;
            let slope = (loss_at(STEP) - loss_at(-STEP)) / (2.0 * STEP);
            let name = &tensors[place].name;
            assert!((slope - norm).abs() < 1e-2 * norm.max(0.3), "{name}: {norm} {slope}");
        }
    }
}

#[test]
fn a_norm_has_the_names_of_torch_and_takes_the_place_of_the_bias() {
    let decoder = format!("{IMAGE},{},{OUTPUT}", r#"{"kind":"upsample","size":[4,7]}"#);
    let network = Network::new(spec(NORMED, &decoder)).unwrap();
    let names: Vec<_> = network.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "encoder.0.weight",
            "encoder.1.weight",
            "encoder.1.bias",
            "mu.weight",
            "mu.bias",
            "logvar.weight",
            "logvar.bias",
            "decoder.0.weight",
            "decoder.1.weight",
            "decoder.1.bias",
            "decoder.5.weight",
            "decoder.5.bias",
            "encoder.1.running_mean",
            "encoder.1.running_var",
            "decoder.1.running_mean",
            "decoder.1.running_var",
        ]
    );
    let mut buffer = vec![crate::simd::ZERO_ROW; network.rows];
    network.initialize(&mut buffer);
    for tensor in &network.tensors {
        let ones = tensor.name.ends_with("running_var") || tensor.name.ends_with(".1.weight");
        let wanted = if ones { 1.0 } else { 0.0 };
        assert!(tensor.read(&buffer).unwrap().iter().all(|&x| x == wanted), "{}", tensor.name);
    }
    let ones = buffer.iter().flatten().flat_map(|lanes| lanes.0).filter(|&x| x != 0.0).count();
    assert_eq!(ones, 2 * (35 + 70), "padding must stay zero");
}

#[test]
fn an_image_is_made_of_a_dense_layer() {
    let decoder = format!(r#"{{"kind":"unflatten","shape":[3,1,1]}},{OUTPUT}"#);
    let text = format!(
        r#"{{"n_features":126,"latent_dim":3,"image_shape":[9,7,2],"encoder":[{CONV}],"decoder":[{decoder}]}}"#
    );
    let error = Specification::from_json(&text).unwrap_err().to_string();
    assert!(error.contains("is Unflatten; it must follow a Dense layer"), "{error}");
}

#[test]
fn a_step_needs_the_memory_of_the_activations_and_little_more() {
    let conv = |kind: &str, channels: usize| {
        format!(
            r#"{{"kind":"{kind}","channels":{channels},"kernel_size":[4,4],"stride":[2,2],"padding":[1,1]}}"#
        )
    };
    let text = format!(
        r#"{{"n_features":3072,"latent_dim":64,"image_shape":[32,32,3],"encoder":[{}],"decoder":[{}],"seed":7}}"#,
        [32, 64, 128].map(|channels| conv("conv2d", channels)).join(","),
        [r#"2048,{"kind":"unflatten","shape":[4,4,128]}"#.to_string()]
            .into_iter()
            .chain([64, 32, 3].map(|channels| conv("conv_transpose2d", channels)))
            .collect::<Vec<_>>()
            .join(",")
    );
    let network = Network::new(Specification::from_json(&text).unwrap()).unwrap();
    let rows = |kind| network.plan(BatchSize::of(128), kind, InputStorage::Batch).arena;
    let [step, forward] = [PassKind::Train, PassKind::Infer].map(rows);
    assert!(step < forward + forward / 2, "{step} rows, and {forward} without gradients");
}
