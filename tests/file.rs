//! The model file: models are read back bit for bit, and other files are refused.

mod counting;

use fastvae::data::Source;
use fastvae::data::check::ValueCheck;
use fastvae::error::{Error, Result};
use fastvae::file::{self, History, ModelFile};
use fastvae::model::{Engine, Specification, dense};
use fastvae::nn::activation::Activation;
use fastvae::nn::likelihood::{Bernoulli, Gaussian, Likelihood, Link, Scale};
use fastvae::nn::objective::LossSums;
use fastvae::nn::optimizer::Optimizer;
use fastvae::run::blocks::InferenceRun;
use fastvae::run::train::{StepValues, TrainingPass};
use safetensors::SafeTensors;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind, Read};
use std::path::PathBuf;
use std::process;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

const LIKELIHOODS: [Likelihood; 6] = [
    Likelihood::Bernoulli(Bernoulli {}),
    gaussian(Scale::Fixed(0.5), 1e-3, Link::Identity),
    gaussian(Scale::Shared, 1e-3, Link::Identity),
    gaussian(Scale::PerFeature, 0.01, Link::Identity),
    gaussian(Scale::Decoder, 0.01, Link::Identity),
    gaussian(Scale::Decoder, 0.01, Link::Sigmoid),
];

const PLAIN: Optimizer = Optimizer::Sgd { momentum: 0.0, nesterov: false, weight_decay: 0.1 };
const MOMENTUM: Optimizer = Optimizer::Sgd { momentum: 0.9, nesterov: true, weight_decay: 0.0 };
const ADAGRAD: Optimizer = Optimizer::Adagrad { eps: 1e-10, lr_decay: 0.1, weight_decay: 0.0 };

const fn adam(decoupled: bool) -> Optimizer {
    let (beta1, beta2, eps, weight_decay) = (0.9, 0.99, 1e-8, 0.01);
    match decoupled {
        true => Optimizer::AdamW { beta1, beta2, eps, weight_decay },
        false => Optimizer::Adam { beta1, beta2, eps, weight_decay },
    }
}

const OPTIMIZERS: [Optimizer; 5] = [adam(false), adam(true), PLAIN, MOMENTUM, ADAGRAD];

const fn gaussian(scale: Scale, floor: f32, mean: Link) -> Likelihood {
    Likelihood::Gaussian(Gaussian { scale, floor, mean })
}

/// One of whose layers is wider than a panel, so that there is padding of every kind.
fn spec(likelihood: Likelihood) -> Specification {
    Specification {
        n_features: 37,
        latent_dim: 3,
        encoder: dense(&[33]),
        decoder: dense(&[5, 40]),
        activation: Activation::Tanh,
        likelihood,
        seed: 7,
        ..Specification::default()
    }
}

/// 13 numbers.
fn small() -> Specification {
    Specification {
        n_features: 2,
        latent_dim: 1,
        encoder: vec![],
        decoder: vec![],
        ..spec(LIKELIHOODS[0].clone())
    }
}

fn data(cols: usize) -> Vec<f32> {
    (0..50 * cols).map(|i| (i * i % 11) as f32 / 10.0).collect()
}

/// An epoch.
fn train(vae: &mut Engine) {
    let cols = vae.network.spec.n_features;
    let data = data(cols);
    let usual = TrainingPass::new(Source::from_slice(&data, cols));
    let step_values = StepValues { learning_rates: &[0.01], ..usual.step_values };
    let task = TrainingPass { batch_size: 16, step_values, threads: Some(1), ..usual };
    let finished = vae.train(&task, &mut LossSums::default(), Duration::from_secs(600));
    assert_eq!(finished, Ok(true));
}

fn trained(spec: Specification, optimizer: Optimizer) -> Engine {
    let mut vae = Engine::new(Specification { optimizer, ..spec }).unwrap();
    train(&mut vae);
    vae
}

/// The bits of codes, log variances and losses.
fn answers(vae: &mut Engine) -> Vec<u32> {
    let (cols, latent) = (vae.network.spec.n_features, vae.network.spec.latent_dim);
    let data = data(cols);
    let x = Source::from_slice(&data, cols);
    let question = || InferenceRun {
        name: "X",
        check: ValueCheck::new(None, false),
        done: 0,
        budget: Duration::from_secs(600),
        threads: Some(1),
        first: 0,
    };
    let [mut mu, mut logvar] = [(); 2].map(|()| vec![0.0; x.rows() * latent]);
    let [mut reconstruction, mut kl] = [(); 2].map(|()| vec![0.0; x.rows()]);
    assert_eq!(vae.encode(&x, &mut mu, &mut logvar, &mut question()), Ok(true));
    assert_eq!(
        vae.score(&x, None, None, ([&mut reconstruction, &mut kl], false), &mut question()),
        Ok(true)
    );
    [mu, logvar, reconstruction, kl].concat().into_iter().map(f32::to_bits).collect()
}

/// How far a model has come.
fn counters(vae: &Engine) -> [u64; 4] {
    let clamped = vae.clamped.load(Ordering::Relaxed) as u64;
    [vae.steps, vae.epochs.into(), clamped, vae.optimizer_start]
}

/// Opens a file that is all there.
fn open(bytes: &[u8]) -> Result<ModelFile<&[u8]>> {
    ModelFile::open(bytes, bytes.len() as u64)
}

fn load(bytes: &[u8]) -> Result<Engine> {
    Ok(open(bytes)?.read()?.0)
}

/// A file without history.
fn to_bytes(engine: &Engine, estimator: &str, moments: bool) -> Result<Vec<u8>> {
    file::to_bytes(engine, estimator, &History::new(), moments)
}

#[track_caller]
fn refusal<T>(result: Result<T>) -> String {
    match result {
        Err(Error::Format(message)) => message,
        Err(error) => panic!("another error: {error:?}"),
        Ok(_) => panic!("it was taken"),
    }
}

/// The header and the data of a file.
fn parts(bytes: &[u8]) -> (String, Vec<u8>) {
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header = String::from_utf8(bytes[8..8 + length].to_vec()).unwrap();
    (header, bytes[8 + length..].to_vec())
}

fn joined(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

type Metadata = BTreeMap<String, String>;

/// A file after a change of its metadata and data, with the checksums that belong to them.
fn resealed(bytes: &[u8], change: impl FnOnce(&mut Metadata, &mut Vec<u8>)) -> Vec<u8> {
    let (header, mut data) = parts(bytes);
    let mut header: Map<String, Value> = serde_json::from_str(&header).unwrap();
    let metadata = header.remove("__metadata__").unwrap();
    let mut metadata: Metadata = serde_json::from_value(metadata).unwrap();
    change(&mut metadata, &mut data);
    sealed(metadata, header, &data)
}

/// A file with the checksums that belong to its metadata and data.
fn sealed(mut metadata: Metadata, mut header: Map<String, Value>, data: &[u8]) -> Vec<u8> {
    let checksums: BTreeMap<_, _> = header
        .iter()
        .map(|(name, info)| {
            let at = |i: usize| info["data_offsets"][i].as_u64().unwrap() as usize;
            (name, format!("{:08x}", crc32fast::hash(data.get(at(0)..at(1)).unwrap_or(&[]))))
        })
        .collect();
    metadata.insert("checksums".into(), serde_json::to_string(&checksums).unwrap());
    metadata.remove("metadata_checksum");
    let all: String = metadata.iter().map(|(key, value)| format!("{key}\0{value}\0")).collect();
    let checksum = format!("{:08x}", crc32fast::hash(all.as_bytes()));
    metadata.insert("metadata_checksum".into(), checksum);
    header.insert("__metadata__".into(), json!(metadata));
    joined(&serde_json::to_string(&header).unwrap(), data)
}

/// A file with another specification.
fn with_specification(bytes: &[u8], specification: &Specification) -> Vec<u8> {
    resealed(bytes, |metadata, _| {
        metadata.insert("specification".into(), specification.to_json());
    })
}

/// A small file with one text in its header replaced.
#[track_caller]
fn with(old: &str, new: &str) -> Vec<u8> {
    let (header, data) = parts(&to_bytes(&trained(small(), PLAIN), "{}", true).unwrap());
    assert_eq!(header.matches(old).count(), 1, "{old} in {header}");
    joined(&header.replace(old, new), &data)
}

// ---------------------------------------------------------------------------------------------- round trips

#[test]
fn a_model_comes_back_and_goes_on_bit_for_bit() {
    for likelihood in LIKELIHOODS {
        for optimizer in OPTIMIZERS {
            let mut vae = trained(spec(likelihood.clone()), optimizer);
            let bytes = to_bytes(&vae, "{\"a\": 1}", true).unwrap();
            let file = open(&bytes).unwrap();
            assert_eq!(file.estimator(), "{\"a\": 1}");
            assert_eq!(file.specification(), &vae.network.spec);
            let (mut again, history) = file.read().unwrap();
            assert!(history.is_empty());
            assert_eq!(counters(&again), counters(&vae));
            assert_eq!(to_bytes(&again, "{\"a\": 1}", true).unwrap(), bytes);
            assert_eq!(answers(&mut again), answers(&mut vae), "{likelihood:?} {optimizer:?}");
            train(&mut again);
            train(&mut vae);
            assert_eq!(answers(&mut again), answers(&mut vae), "{likelihood:?} {optimizer:?}");
            assert_eq!(to_bytes(&again, "", true), to_bytes(&vae, "", true));
        }
    }
}

#[test]
fn a_model_comes_back_without_moments_and_starts_them_at_zero() {
    for likelihood in LIKELIHOODS {
        for optimizer in OPTIMIZERS {
            let mut vae = trained(spec(likelihood.clone()), optimizer);
            let bytes = to_bytes(&vae, "", false).unwrap();
            let mut again = load(&bytes).unwrap();
            assert_eq!(answers(&mut again), answers(&mut vae));
            let mut fresh =
                Engine::new(Specification { optimizer, ..spec(likelihood.clone()) }).unwrap();
            let values: Vec<_> =
                vae.network.tensors.iter().map(|tensor| vae.parameter(tensor).unwrap()).collect();
            fresh.set_parameters(&values).unwrap();
            // The steps taken are known, and an optimiser with moments starts anew.
            (fresh.steps, fresh.epochs) = (vae.steps, vae.epochs);
            fresh.clamped = AtomicUsize::new(vae.clamped.load(Ordering::Relaxed));
            fresh.optimizer_start = if optimizer == PLAIN { 0 } else { vae.steps };
            train(&mut again);
            train(&mut fresh);
            assert_eq!(to_bytes(&again, "", true), to_bytes(&fresh, "", true));
        }
    }
}

#[test]
fn safetensors_reads_the_file_too() {
    let vae = trained(spec(LIKELIHOODS[2].clone()), ADAGRAD);
    let bytes = to_bytes(&vae, "text", true).unwrap();
    let (length, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    assert_eq!(length % 8, 0, "data are aligned");
    let about = metadata.metadata().as_ref().unwrap();
    assert_eq!((about.len(), about["estimator"].as_str()), (6, "text"));
    assert_eq!((about["format_version"].as_str(), file::FORMAT_VERSION), ("3", "3"));
    assert_eq!(about["specification"], vae.network.spec.to_json());
    let counters = r#"{"clamped":0,"epochs":1,"optimizer_start":0,"steps":4}"#;
    assert_eq!(about["counters"], counters);
    let checksums: BTreeMap<String, String> = serde_json::from_str(&about["checksums"]).unwrap();
    assert_eq!(checksums.len(), 2 * vae.network.tensors.len());
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(tensors.len(), 2 * vae.network.tensors.len());
    for tensor in &vae.network.tensors {
        let view = tensors.tensor(&tensor.name).unwrap();
        let bits: Vec<u8> =
            vae.parameter(tensor).unwrap().iter().flat_map(|x| x.to_le_bytes()).collect();
        assert_eq!((view.shape(), view.data()), (&tensor.shape[..], &bits[..]));
        assert_eq!(checksums[&tensor.name], format!("{:08x}", crc32fast::hash(&bits)));
        let second = tensors.tensor(&format!("optimizer.second.{}", tensor.name)).unwrap();
        assert_eq!(second.shape(), &tensor.shape[..]);
    }
}

#[test]
fn the_order_of_tensors_and_keys_does_not_matter() {
    let vae = trained(small(), ADAGRAD);
    let bytes = to_bytes(&vae, "{}", true).unwrap();
    let theirs = SafeTensors::deserialize(&bytes).unwrap();
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    for _ in 0..4 {
        // Sorted by name, the metadata in an order that changes.
        let about = metadata.metadata().clone().unwrap().into_iter().collect();
        let sorted = safetensors::serialize(theirs.tensors(), Some(about)).unwrap();
        assert_ne!(sorted, bytes);
        assert_eq!(to_bytes(&load(&sorted).unwrap(), "{}", true).unwrap(), bytes);
    }
}

#[test]
fn any_text_is_an_estimators() {
    let vae = trained(small(), PLAIN);
    for text in ["", "{}", "null", "\"\\ \u{0}\u{1f}é😀\u{2028}", &"x".repeat(100_000)] {
        let bytes = to_bytes(&vae, text, true).unwrap();
        assert_eq!(open(&bytes).unwrap().estimator(), text);
        assert_eq!(to_bytes(&vae, text, true).unwrap(), bytes);
    }
}

#[test]
fn a_text_that_no_header_holds_is_refused_at_once() {
    let vae = trained(small(), PLAIN);
    let error = to_bytes(&vae, &"x".repeat(64 << 20), true).unwrap_err();
    assert!(matches!(&error, Error::Parameter(m) if m.contains("64 MB")), "{error}");
}

#[test]
fn a_file_has_as_many_tensors_as_it_can_be_read_with() {
    let deep = |layers| Specification { encoder: dense(&vec![1; layers]), ..small() };
    let vae = Engine::new(Specification { optimizer: PLAIN, ..deep(32_764) }).unwrap(); // 65,534 tensors and the metadata
    let bytes = to_bytes(&vae, "", true).unwrap();
    assert!(load(&bytes).is_ok());
    let (header, data) = parts(&bytes);
    let empty = r#"{"dtype":"F32","shape":[0],"data_offsets":[0,0]}"#;
    let longer = header.replacen('{', &format!("{{\"a\":{empty},"), 1);
    let bytes = joined(&longer, &data);
    assert!(refusal(load(&bytes)).contains("\"a\" has no checksum"));
    assert!(refusal(load(&resealed(&bytes, |_, _| {}))).contains("no part"));
    let longer = longer.replacen('{', &format!("{{\"b\":{empty},"), 1);
    assert!(refusal(open(&joined(&longer, &data))).contains("more than 65536 keys"));

    let error = to_bytes(
        &Engine::new(Specification { optimizer: PLAIN, ..deep(32_765) }).unwrap(),
        "",
        true,
    )
    .unwrap_err();
    assert!(matches!(&error, Error::Parameter(m) if m.contains("65536 tensors")), "{error}");
}

// ------------------------------------------------------------------------------------------------- refusals

#[test]
fn a_file_cut_anywhere_is_refused() {
    let bytes = to_bytes(&trained(small(), MOMENTUM), "{}", true).unwrap();
    assert!(load(&bytes).is_ok());
    for len in 0..bytes.len() {
        refusal(open(&bytes[..len]));
        // The file was longer when it was opened.
        let file = ModelFile::open(&bytes[..len], bytes.len() as u64);
        let message = refusal(file.and_then(ModelFile::read));
        assert!(message.contains("cut short"), "{message}");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(refusal(open(&longer)).contains("follow the header"));
}

#[test]
fn every_flipped_bit_is_refused() {
    let estimator = r#"{"class": "VAE", "parameters": {"name": "caf\u00e9"}}"#; // as Python writes it
    let bytes = to_bytes(&trained(small(), MOMENTUM), estimator, true).unwrap();
    let start = bytes.len() - parts(&bytes).1.len();
    let (mut tried, mut refused) = (0, 0);
    for (at, bit) in (0..bytes.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
        let mut changed = bytes.clone();
        changed[at] ^= 1 << bit;
        tried += 1;
        match load(&changed) {
            Err(Error::Format(message)) => {
                refused += 1;
                assert!(at < start || message.contains(" is damaged: its checksum"), "{message}");
            }
            other => panic!("bit {bit} of byte {at}: {:?}", other.err()),
        }
    }
    assert_eq!((refused, tried), (8 * bytes.len(), 8 * bytes.len()));
}

#[test]
fn a_damaged_piece_is_named() {
    let bytes = to_bytes(&trained(small(), ADAGRAD), "{}", true).unwrap();
    let (header, data) = parts(&bytes);
    let flipped = |at: usize| {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        refusal(load(&changed))
    };
    let (start, middle) = (bytes.len() - data.len(), bytes.len() - data.len() / 2);
    for (at, piece) in [
        (0, "its header: trailing characters"),
        (7, "a header of 7205759403792"),
        (start, "mu.weight is damaged: its checksum is "),
        (start + 8, "mu.bias is damaged"),
        (middle, "optimizer.second.mu.weight is damaged"),
        (bytes.len() - 1, "optimizer.second.decoder.0.bias is damaged"),
    ] {
        let message = flipped(at);
        assert!(message.contains(piece), "{at}: {message}");
    }
    for (text, piece) in [
        ("n_features\\\":2", "__metadata__ is damaged: its checksum is "),
        ("steps\\\":4", "__metadata__ is damaged"),
        ("metadata_checksum\":\"", "__metadata__ is damaged"),
        ("\"checksums\":\"{\\\"decoder.0.bia", "__metadata__ is damaged"),
        ("\"format_version\":\"3", "__metadata__ is damaged"),
        ("\"mu.bias\":{\"dtype\":\"F3", "\"mu.bias\" is of type \"F22\""),
        (",\"mu.bia", "\"mu.bi`s\" has no checksum"),
    ] {
        // The last byte of the text, or the first behind it.
        let end = 8 + header.find(text).expect(text) + text.len();
        let message = flipped(if text.ends_with('"') { end } else { end - 1 });
        assert!(message.contains(piece) || piece.contains("F22"), "{text}: {message}");
    }
}

#[test]
fn no_change_of_a_header_makes_a_panic_or_asks_for_much_memory() {
    let bytes = to_bytes(&trained(small(), MOMENTUM), "{}", true).unwrap();
    let end = bytes.len() - parts(&bytes).1.len();
    let (mut tried, mut refused) = (0, 0);
    for at in 0..end {
        let others = (0..8).map(|bit| bytes[at] ^ (1 << bit)).chain(*b"\0 \"{}[],:0e-\xff");
        for other in others.filter(|&other| other != bytes[at]) {
            let mut changed = bytes.clone();
            changed[at] = other;
            let (asked, read) = cost(&changed, bytes.len() as u64);
            assert!(asked < LITTLE, "{asked} bytes for {other} at {at}");
            tried += 1;
            match read {
                Err(Error::Format(_)) => refused += 1,
                other => panic!("byte {at}: {:?}", other.err()),
            }
        }
    }
    assert!(refused == tried && tried > 10 * end, "{refused} of {tried}");
}

#[test]
fn no_change_of_the_metadata_makes_a_panic_or_asks_for_much_memory() {
    // Of texts whose checksums are right.
    let bytes = to_bytes(&trained(small(), MOMENTUM), "{}", true).unwrap();
    let (mut tried, mut refused) = (0, 0);
    for key in ["specification", "counters"] {
        let text = {
            let mut text = String::new();
            resealed(&bytes, |metadata, _| text = metadata[key].clone());
            text
        };
        for (at, other) in (0..text.len()).flat_map(|at| b" \"{}[],:0e-9".map(|c| (at, c))) {
            let mut changed = text.clone().into_bytes();
            changed[at] = other;
            let changed = resealed(&bytes, |metadata, _| {
                metadata.insert(key.into(), String::from_utf8(changed).unwrap());
            });
            let (asked, read) = cost(&changed, changed.len() as u64);
            assert!(asked < LITTLE, "{asked} bytes for {other} at {at}");
            tried += 1;
            match read {
                Ok(_) => {} // another number
                Err(Error::Format(_)) => refused += 1,
                Err(error) => panic!("{error:?} for {other} at {at}"),
            }
        }
    }
    assert!(0 < refused && refused < tried && tried > 4000, "{refused} of {tried}");
}

#[test]
fn what_a_header_must_be() {
    let shape = "\"mu.bias\":{\"dtype\":\"F32\",\"shape\":[1],";
    let long = format!("{}1]", "1,".repeat(8));
    for (old, new, why) in [
        // JSON, of the right types.
        ("{\"__metadata__\"", "[\"__metadata__\"", "expected"),
        ("{\"__metadata__\"", "{\"__metadata__", "expected"),
        ("\"estimator\":\"{}\"", "\"estimator\":{}", "string"),
        ("\"estimator\":\"{}\"", "\"estimator\":\"\\ud800\"", "hex escape"),
        ("\"__metadata__\":{", "\"__metadata__\":[{", "expected an object"),
        ("\"__metadata__\":{", "\"__metadata__\":null,\"a\":{", "expected an object"),
        ("\"mu.bias\":{", "\"mu.bias\":[{", "an object with dtype"),
        (shape, &shape.replace("[1]", "[1.0]"), "expected usize"),
        (shape, &shape.replace("[1]", "[-1]"), "expected usize"),
        (shape, &shape.replace("[1]", "1"), "list of sizes"),
        (shape, &shape.replace("[1]", "[18446744073709551616]"), "expected usize"),
        (shape, &shape.replace("1]", &long), "dimensions"),
        // Its keys.
        ("\"format_version\":\"3\"", "\"other\":\"3\"", "no format_version"),
        ("__metadata__", "__metadata_", "\"checksums\" is not known"),
        ("\"format_version\":\"3\"", "\"format_version\":\"4\"", "version \"4\", and this is"),
        (
            "\"format_version\":\"3\"",
            "\"format_version\":\"\"",
            "reads versions \"1\", \"2\" and \"3\"",
        ),
        ("\"format_version\":\"3\"", "\"format_version\":\"1\"", "no config"),
        (shape, &shape.replace("\"shape\":[1],", ""), "\"mu.bias\" has no dtype, no shape"),
        (shape, &shape.replace("\"dtype\":\"F32\",", ""), "\"mu.bias\" has no dtype, no shape"),
        (shape, &shape.replace("\"shape\"", "\"more\":1,\"shape\""), "\"more\" is not known"),
        // A key comes once, at every level, however it is written.
        ("\"counters\":", "\"counters\":\"{}\",\"counters\":", "\"counters\" comes twice"),
        ("\"counters\":", "\"counters\":\"\",\"counter\\u0073\":", "\"counters\" comes twice"),
        (shape, &shape.replace("\"shape\"", "\"shape\":[1],\"shape\""), "\"shape\" comes twice"),
        ("\"mu.weight\"", "\"mu.bias\"", "\"mu.bias\" comes twice"),
        ("\"mu.weight\"", "\"m\\u0075.bias\"", "\"mu.bias\" comes twice"),
        ("\"mu.weight\"", "\"__metadata__\":{},\"mu.weight\"", "\"__metadata__\" comes twice"),
        // Its types.
        (shape, &shape.replace("F32", "F16"), "\"mu.bias\" is of type \"F16\""),
        (shape, &shape.replace("F32", "I32"), "\"mu.bias\" is of type \"I32\""),
        (shape, &shape.replace("\"F32\"", "{\"F32\":null}"), "expected a string"),
    ] {
        let message = refusal(load(&with(old, new)));
        assert!(message.contains(why), "{old} -> {new}: {message}");
    }
}

#[test]
fn the_metadata_are_complete_and_have_nothing_more() {
    let bytes = to_bytes(&trained(small(), PLAIN), "{}", true).unwrap();
    let refusal_of = |change: &dyn Fn(&mut Metadata)| {
        refusal(load(&resealed(&bytes, |metadata, _| change(metadata))))
    };
    for key in ["specification", "counters", "estimator"] {
        let message = refusal_of(&|metadata| drop(metadata.remove(key)));
        assert!(message.contains(&format!("no {key}")), "{message}");
    }
    let message = refusal_of(&|metadata| drop(metadata.insert("other".into(), String::new())));
    assert!(message.contains("\"other\", which is not known"), "{message}");
    // Checksums are of all tensors, and of no others.
    let checksums = |change: &dyn Fn(&str) -> String| {
        let sealed = resealed(&bytes, |_, _| {});
        let (header, data) = parts(&sealed);
        let mut header: Value = serde_json::from_str(&header).unwrap();
        let mut metadata: Metadata = serde_json::from_value(header["__metadata__"].take()).unwrap();
        metadata.insert("checksums".into(), change(&metadata["checksums"]));
        metadata.remove("metadata_checksum");
        let all: String = metadata.iter().map(|(k, v)| format!("{k}\0{v}\0")).collect();
        let checksum = format!("{:08x}", crc32fast::hash(all.as_bytes()));
        metadata.insert("metadata_checksum".into(), checksum);
        header["__metadata__"] = json!(metadata);
        refusal(load(&joined(&header.to_string(), &data)))
    };
    for (old, new, why) in [
        ("mu.bias", "mu.bia", "\"mu.bias\" has no checksum"),
        ("{", "{\"more\":\"00000000\",", "fewer tensors than checksums"),
        ("{", "{\"mu.bias\":\"00000000\",", "its checksums: the key \"mu.bias\" comes twice"),
        ("{", "[", "its checksums: "),
    ] {
        let message = checksums(&|text| text.replacen(old, new, 1));
        assert!(message.contains(why), "{message}");
    }
}

#[test]
fn an_option_that_is_absent_has_its_default_and_an_unknown_one_is_named() {
    let bytes = to_bytes(&trained(small(), PLAIN), "{}", true).unwrap();
    let with = |old: &str, new: &str| {
        resealed(&bytes, |metadata, _| {
            let text = metadata.get_mut("specification").unwrap();
            assert_eq!(text.matches(old).count(), 1, "{old} in {text}");
            *text = text.replace(old, new);
        })
    };
    for option in ["\"weight_constraint\":\"free\",", "\"topics\":null,", "\"conditions\":0,"] {
        assert_eq!(to_bytes(&load(&with(option, "")).unwrap(), "{}", true).unwrap(), bytes);
    }
    for (old, new, why) in [
        ("\"conditions\"", "\"heads\":4,\"conditions\"", "unknown option `heads`"),
        ("\"momentum\"", "\"decay\":1,\"momentum\"", "optimizer: unknown option `decay`"),
        ("\"n_features\":2,", "", "n_features=0 must be 1"),
        ("\"conditions\"", "\"seed\":1,\"conditions\"", "duplicate field `seed`"),
    ] {
        let message = refusal(open(&with(old, new)));
        assert!(message.contains(why), "{message}");
    }
}

#[test]
fn data_have_no_holes_and_no_overlaps() {
    // mu.weight [0, 8), mu.bias [8, 12), logvar.weight [12, 20), ..., decoder.0.bias to 44.
    for (old, new) in [
        ("[8,12]", "[4,8]"),   // overlap
        ("[8,12]", "[12,16]"), // hole
        ("[8,12]", "[8,8]"),   // shorter than its shape
        ("[8,12]", "[12,8]"),  // backwards
        ("[8,12]", "[8,16]"),
        ("[8,12]", "[8]"),
        ("[8,12]", "[8,12,16]"),
        ("[8,12]", "[0,18446744073709551615]"),
        ("[8,12]", "[18446744073709551615,3]"),
        ("[0,8]", "[4,8]"),
        ("[0,8]", "[0,12]"),
        ("\"shape\":[1],\"data_offsets\":[8,12]", "\"shape\":[2],\"data_offsets\":[8,12]"),
        ("\"shape\":[1],\"data_offsets\":[8,12]", "\"shape\":[],\"data_offsets\":[8,8]"),
        // Products that do not fit a machine word, and sums that come round to the right one.
        (
            "\"shape\":[1],\"data_offsets\":[8,12]",
            "\"shape\":[4294967296,4294967296],\"data_offsets\":[8,12]",
        ),
        (
            "\"shape\":[1],\"data_offsets\":[8,12]",
            "\"shape\":[4611686018427387905],\"data_offsets\":[8,12]",
        ),
        (
            "\"shape\":[1],\"data_offsets\":[8,12]",
            "\"shape\":[1000000000000],\"data_offsets\":[8,12]",
        ),
    ] {
        refusal(load(&with(old, new)));
    }
    // Less data, or more, than the tensors.
    let (header, data) = parts(&with("{}", "{}"));
    for length in [0, 4, data.len() - 4, data.len() - 1] {
        assert!(refusal(open(&joined(&header, &data[..length]))).contains("follow"));
    }
    assert!(refusal(open(&joined(&header, &[0; 100]))).contains("follow"));
}

#[test]
fn the_length_of_the_header_is_not_believed() {
    let bytes = with("{}", "{}");
    let length = (bytes.len() - 8 - parts(&bytes).1.len()) as u64;
    let room = bytes.len() as u64 - 8;
    for lie in [0, 1, length - 1, length + 1, room, room + 1, 64 << 20, 1 << 40, u64::MAX] {
        let mut changed = bytes.clone();
        changed[..8].copy_from_slice(&lie.to_le_bytes());
        refusal(open(&changed));
    }
    // In a file that is long enough, up to the limit only.
    let long = ModelFile::open(&[0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0][..], u64::MAX);
    assert!(refusal(long).contains("a header of 1099511627775 bytes"));
}

#[test]
fn a_model_of_another_architecture_is_refused_by_name() {
    let bytes = to_bytes(&trained(spec(LIKELIHOODS[3].clone()), PLAIN), "", true).unwrap();
    let wanted = || Specification { optimizer: PLAIN, ..spec(LIKELIHOODS[3].clone()) };
    assert!(load(&with_specification(&bytes, &wanted())).is_ok());
    for (other, why) in [
        (Specification { n_features: 36, ..wanted() }, "encoder.0.weight has shape [33, 37]"),
        (Specification { latent_dim: 2, ..wanted() }, "mu.weight has shape [3, 33]"),
        (Specification { encoder: dense(&[33, 33]), ..wanted() }, "encoder.2.weight is missing"),
        (Specification { decoder: dense(&[5]), ..wanted() }, "decoder.2.weight has shape [40, 5]"),
        (
            Specification { likelihood: LIKELIHOODS[2].clone(), ..wanted() },
            "likelihood.log_scale has shape [37]",
        ),
        (
            Specification { likelihood: LIKELIHOODS[0].clone(), ..wanted() },
            "\"likelihood.log_scale\" is no part",
        ),
        // Absurd ones, which are no reason to ask for memory.
        (Specification { encoder: dense(&[1; 1000]), ..wanted() }, "larger network"),
        (Specification { encoder: dense(&vec![1; 1 << 22]), ..wanted() }, "more than 32768 layers"),
        (Specification { latent_dim: usize::MAX, ..wanted() }, "must be 1 to 67108864"),
        (Specification { encoder: dense(&[0]), ..wanted() }, "not possible"),
        (Specification { encoder: dense(&[1 << 26, 1 << 26]), ..wanted() }, "not possible"),
    ] {
        let message = refusal(load(&with_specification(&bytes, &other)));
        assert!(message.contains(why), "{message}");
    }
}

#[test]
fn moments_are_those_of_the_optimizer_all_or_none() {
    let file = |optimizer| to_bytes(&trained(small(), optimizer), "", true).unwrap();
    let swapped = |written, read| {
        let other = Specification { optimizer: read, ..small() };
        refusal(load(&with_specification(&file(written), &other)))
    };
    let message = swapped(adam(false), PLAIN);
    assert!(message.contains("\"optimizer.first.mu.weight\" is no part"), "{message}");
    let message = swapped(adam(false), ADAGRAD);
    assert!(message.contains("\"optimizer.first.mu.weight\" is no part"), "{message}");
    let message = swapped(ADAGRAD, adam(true));
    assert!(message.contains("optimizer.first.mu.weight is missing"), "{message}");

    let (header, data) = parts(&file(MOMENTUM));
    let last = ",\"optimizer.first.decoder.0.bias\":{";
    let (start, data) = (header.find(last).unwrap(), &data[..data.len() - 8]);
    let shorter = joined(&format!("{}}}", &header[..start]), data);
    assert!(refusal(load(&shorter)).contains("fewer tensors than checksums"));
    let message = refusal(load(&resealed(&shorter, |_, _| {})));
    assert!(message.contains("optimizer.first.decoder.0.bias is missing"), "{message}");
    let message = refusal(load(&resealed(&with("\"mu.bias\"", "\"mu.bia\""), |_, _| {})));
    assert!(message.contains("\"mu.bia\" is no part"), "{message}");
}

#[test]
fn numbers_that_no_model_has_are_refused() {
    let vae = trained(small(), adam(false));
    let bytes = to_bytes(&vae, "", true).unwrap();
    let numbers = parts(&bytes).1.len() / 4;
    for at in 0..numbers {
        for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -1.0, -1e-45] {
            let loaded = load(&resealed(&bytes, |_, data| {
                data[4 * at..][..4].copy_from_slice(&bad.to_le_bytes());
            }));
            if bad.is_finite() && at < numbers / 3 * 2 {
                assert!(loaded.is_ok()); // a weight or a first moment
            } else {
                assert!(refusal(loaded).contains(" contains "));
            }
        }
    }
    let at = |counters: &str| {
        resealed(&bytes, |metadata, _| {
            metadata.insert("counters".into(), counters.into());
        })
    };
    for counters in [
        r#"{"clamped":0,"epochs":1,"optimizer_start":0,"steps":9223372036854775808}"#,
        r#"{"clamped":0,"epochs":2147483648,"optimizer_start":0,"steps":1}"#,
        r#"{"clamped":0,"epochs":1,"optimizer_start":2,"steps":1}"#,
        r#"{"clamped":0,"epochs":1,"optimizer_start":0,"steps":-1}"#,
        r#"{"clamped":0,"epochs":1,"optimizer_start":0,"steps":1.5}"#,
        r#"{"clamped":0,"epochs":1,"optimizer_start":0}"#,
        r#"{"clamped":0,"epochs":1,"optimizer_start":0,"steps":1,"more":1}"#,
        r#"{"clamped":0,"epochs":1,"optimizer_start":0,"steps":1,"steps":1}"#,
        r#"{"clamped":0,"epochs":1,"forgotten":0,"steps":1}"#,
        "[0,1,0,1]",
    ] {
        assert!(refusal(open(&at(counters))).contains("counters"), "{counters}");
    }
    let late = at(
        r#"{"clamped":18446744073709551615,"epochs":2147483647,"optimizer_start":0,"steps":9223372036854775807}"#,
    );
    train(&mut load(&late).unwrap());
}

/// What another program left.
#[test]
fn foreign_bytes_are_refused() {
    for bytes in [
        &b""[..],
        b"\x89PNG\r\n\x1a\n",
        b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00",
        &[0; 100],
        &[0x20; 100],
    ] {
        refusal(open(bytes));
    }
    let nested = "[".repeat(1 << 16);
    refusal(open(&joined(&nested, b"")));
    refusal(open(&joined(&nested.replace('[', "{\"a\":"), b"")));
    refusal(open(&joined("{}", b"")));
    refusal(open(&joined("\u{feff}{}", b"")));
    let message = refusal(open(&joined(&format!("{{\"{}\":1}}", "x".repeat(1 << 20)), b"")));
    assert!(message.len() < 1000);
}

/// A disk that fails.
struct Broken;

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::from(ErrorKind::PermissionDenied))
    }
}

#[test]
fn a_file_that_cannot_be_read_is_another_error() {
    let error = ModelFile::open(Broken, 1000).err();
    assert!(matches!(error, Some(Error::Io(ErrorKind::PermissionDenied, _))), "{error:?}");
}

/// Bytes that a small model may ask for when it is read.
const LITTLE: usize = 100_000;

/// The bytes that are asked for to read a file which, with all its data, has `len` bytes.
fn cost(bytes: &[u8], len: u64) -> (usize, Result<Engine>) {
    let before = counting::bytes();
    let read = ModelFile::open(bytes, len).and_then(ModelFile::read);
    (counting::bytes() - before, read.map(|(engine, _)| engine))
}

#[test]
fn a_file_that_lies_gets_no_memory() {
    let good = to_bytes(&trained(small(), MOMENTUM), "{}", true).unwrap();
    let (asked, read) = cost(&good, good.len() as u64);
    assert!(read.is_ok() && asked < LITTLE, "{asked}");
    // A specification of a large model, of very many layers.
    for encoder in [vec![10_000; 8], vec![1; 1 << 20]] {
        let other = Specification { encoder: dense(&encoder), optimizer: MOMENTUM, ..small() };
        let lie = with_specification(&good, &other);
        let (asked, read) = cost(&lie, lie.len() as u64);
        refusal(read);
        assert!(asked < 8 * (lie.len() - good.len()) + LITTLE, "{asked} for {}", lie.len());
    }
    // Tensors of 10^12 numbers, in a file that has a hole of that size.
    let file = |tensors: &str| {
        let (good, _) = parts(&good);
        let metadata = &good[1..good.find(",\"mu.weight\":{").unwrap()];
        joined(&format!("{{{metadata},{tensors}}}"), b"")
    };
    for shape in ["[1000000000000]", "[1000000,1000000]"] {
        let offsets = "\"data_offsets\":[0,4000000000000]";
        let bytes = file(&format!(r#""mu.weight":{{"dtype":"F32","shape":{shape},{offsets}}}"#));
        let bytes = resealed(&bytes, |_, _| {});
        let (asked, read) = cost(&bytes, bytes.len() as u64 + 4_000_000_000_000);
        assert!(refusal(read).contains("mu.weight has shape"));
        assert!(asked < LITTLE, "{asked}");
    }
    // A million dimensions.
    let bytes = file(&format!(r#""mu.weight":{{"shape":[{}1]}}"#, "1,".repeat(1_000_000)));
    let (asked, read) = cost(&bytes, bytes.len() as u64);
    refusal(read);
    assert!(asked < 2 * bytes.len() + LITTLE, "{asked}"); // `filled` asks twice
}

// ------------------------------------------------------------------------------------------- version 1

/// The small model as version 1 wrote it, after changes of its configuration and counters.
fn old(change: impl Fn(&mut String, &mut String)) -> Vec<u8> {
    let (header, data) = parts(&to_bytes(&trained(small(), ADAGRAD), "{}", true).unwrap());
    let mut header: Map<String, Value> = serde_json::from_str(&header).unwrap();
    let mut config = r#"{"fastvae": "0.1.0", "engine": {"n_features": 2, "variational": true, "latent_dim": 1,
        "conditions": 0, "encoder": [], "decoder": [], "missing": "error", "activation": "tanh", "topics": null,
        "loadings": "free", "trials": [], "likelihood": "bernoulli", "scale": 1.0, "floor": 0.001,
        "input_transform": null, "optimizer": "adagrad", "options": [1e-10, 0.1, 0.0, 0.0], "seed": 7},
        "estimator": {"class": "VAE",  "a": [1.50]}}"#
        .to_string();
    let mut counters = r#"{"clamped":0,"epochs":1,"forgotten":0,"steps":4}"#.to_string();
    change(&mut config, &mut counters);
    let metadata = json!({"format_version": "1", "config": config, "counters": counters});
    header.insert("__metadata__".into(), metadata);
    joined(&serde_json::to_string(&header).unwrap(), &data)
}

#[test]
fn a_file_of_version_1_is_read() {
    let vae = trained(small(), ADAGRAD);
    let bytes = old(|_, _| {});
    let file = open(&bytes).unwrap();
    assert_eq!(file.estimator(), r#"{"class": "VAE",  "a": [1.50]}"#); // not a byte is changed
    assert_eq!(file.specification(), &vae.network.spec);
    assert_eq!(to_bytes(&file.read().unwrap().0, "", true), to_bytes(&vae, "", true));
    // A pickle has no estimator.
    let bytes = old(|config, _| {
        let end = config.find(",\n        \"estimator").unwrap();
        config.replace_range(end.., "}");
    });
    assert_eq!(open(&bytes).unwrap().estimator(), "null");
    let moved = old(|_, counters| *counters = counters.replace("forgotten\":0", "forgotten\":3"));
    assert_eq!(counters(&load(&moved).unwrap()), [4, 1, 0, 3]);
}

#[test]
fn a_file_of_version_1_is_read_strictly() {
    for (old_text, new, why) in [
        ("{\"fastvae\"", "[\"fastvae\"", "its config: "),
        ("\"fastvae\"", "\"more\": 1, \"fastvae\"", "its config: unknown field `more`"),
        ("\"fastvae\"", "\"estimator\": 1, \"fastvae\"", "its config: duplicate field `estimator`"),
        ("\"engine\"", "\"engines\"", "its config: unknown field `engines`"),
        ("\"seed\": 7", "\"seed\": 7, \"seed\": 7", "its config's engine: duplicate field `seed`"),
        (", \"seed\": 7", "", "missing field `seed`"),
        ("\"seed\": 7", "\"seed\": 7, \"more\": 7", "unknown field `more`"),
        ("\"seed\": 7", "\"seed\": NaN", "its config: "),
        ("\"n_features\": 2", "\"n_features\": 3", "mu.weight has shape"),
        ("\"forgotten\"", "\"optimizer_start\"", "its counters have no forgotten"),
        ("\"forgotten\":0", "\"forgotten\":5", "no model has the counters"),
        (
            "\"forgotten\":0",
            "\"forgotten\":0,\"optimizer_start\":0",
            "optimizer_start, which is not",
        ),
    ] {
        let bytes = old(|config, counters| {
            assert_eq!(config.matches(old_text).count() + counters.matches(old_text).count(), 1);
            *config = config.replace(old_text, new);
            *counters = counters.replace(old_text, new);
        });
        let message = refusal(load(&bytes));
        assert!(message.contains(why), "{new}: {message}");
    }
}

// --------------------------------------------------------------------------------------------------- files

/// A folder of a test, empty, and removed in the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("fastvae-test-{}-{name}", process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Folder(path)
    }

    fn names(&self) -> Vec<String> {
        let names = fs::read_dir(&self.0).unwrap().map(|e| e.unwrap().file_name());
        let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_file_is_written_whole_or_not_at_all() {
    let folder = Folder::new("whole");
    let path = folder.0.join("model");
    fs::write(folder.0.join("other"), "other").unwrap();
    for bytes in [&b"first"[..], b"", &[7; 100_000]] {
        file::write(&path, bytes).unwrap();
        assert_eq!(fs::read(&path).unwrap(), bytes);
        assert_eq!(folder.names(), ["model", "other"]);
        let (mut file, len) = file::open(&path).unwrap();
        let mut read = Vec::new();
        file.read_to_end(&mut read).unwrap();
        assert_eq!((read.as_slice(), len), (bytes, bytes.len() as u64));
    }
    let kind = |path: PathBuf| file::write(&path, b"x").unwrap_err().kind();
    assert_eq!(kind(folder.0.join("no").join("model")), ErrorKind::NotFound);
    assert_eq!(kind(folder.0.clone()), ErrorKind::IsADirectory);
    assert_eq!(kind(path.join("model")), ErrorKind::NotADirectory);
    assert_eq!(kind(PathBuf::new()), ErrorKind::NotFound);
    assert_eq!(file::open(&folder.0).unwrap_err().kind(), ErrorKind::IsADirectory);
    assert_eq!(file::open(&folder.0.join("no")).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(folder.names(), ["model", "other"]);
    assert_eq!(fs::read_to_string(folder.0.join("other")).unwrap(), "other");
}

#[test]
fn many_writers_leave_one_whole_file() {
    let folder = Folder::new("many");
    let path = folder.0.join("model");
    file::write(&path, &[0; 1000]).unwrap();
    thread::scope(|scope| {
        for writer in 1..=3 {
            let path = &path;
            scope.spawn(move || {
                for _ in 0..20 {
                    file::write(path, &[writer; 1000]).unwrap();
                    let read = fs::read(path).unwrap();
                    assert!(read.len() == 1000 && read.iter().all(|&x| x == read[0]));
                }
            });
        }
    });
    assert_eq!(folder.names(), ["model"]);
}

#[cfg(unix)]
#[test]
fn a_symbolic_link_remains_one_and_a_device_is_left_alone() {
    use std::os::unix::fs::symlink;
    let [folder, elsewhere] = ["link", "elsewhere"].map(Folder::new);
    let [link, target] = [folder.0.join("link"), elsewhere.0.join("model")];
    file::write(&target, b"old").unwrap();
    symlink(&target, &link).unwrap();
    file::write(&link, b"new").unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::read(&target).unwrap(), b"new");
    assert_eq!((folder.names(), elsewhere.names()), (vec!["link".into()], vec!["model".into()]));

    let device = folder.0.join("device");
    symlink("/dev/null", &device).unwrap();
    assert_eq!(file::write(&device, b"x").unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(file::open(&device).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(folder.names(), ["device", "link"]);
}
