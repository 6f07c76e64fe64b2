//! The model file: what is written comes back bit for bit, and what is not a model file is refused.

mod counting;

use fastvae::data::Source;
use fastvae::data::check::ValueCheck;
use fastvae::error::{Error, Result};
use fastvae::file::{self, ModelFile, to_bytes};
use fastvae::model::{Engine, Specification, dense};
use fastvae::nn::activation::Activation;
use fastvae::nn::likelihood::{Bernoulli, Gaussian, Likelihood, Link, Scale};
use fastvae::nn::optimizer::Optimizer;
use fastvae::run::infer::InferenceRun;
use fastvae::run::train::{LossSums, StepValues, TrainingPass};
use safetensors::SafeTensors;
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

/// One of whose layers is wider than a panel, so that there is padding of every kind.
const fn gaussian(scale: Scale, floor: f32, mean: Link) -> Likelihood {
    Likelihood::Gaussian(Gaussian { scale, floor, mean })
}

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
        ..spec(LIKELIHOODS[0])
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
    let course = StepValues { learning_rates: &[0.01], ..usual.course };
    let task = TrainingPass { batch_size: 16, course, threads: Some(1), ..usual };
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
        watch: ValueCheck::new(None, false),
        done: 0,
        budget: Duration::from_secs(600),
        threads: Some(1),
    };
    let [mut mu, mut logvar] = [(); 2].map(|()| vec![0.0; x.rows() * latent]);
    let [mut reconstruction, mut kl] = [(); 2].map(|()| vec![0.0; x.rows()]);
    assert_eq!(vae.encode(&x, &mut mu, &mut logvar, &mut question()), Ok(true));
    assert_eq!(
        vae.score(&x, None, None, [&mut reconstruction, &mut kl], &mut question()),
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

fn load(bytes: &[u8], spec: Specification, optimizer: Optimizer) -> Result<Engine> {
    open(bytes)?.engine(Specification { optimizer, ..spec })
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
            let mut vae = trained(spec(likelihood), optimizer);
            let bytes = to_bytes(&vae, "{\"a\": 1}", true).unwrap();
            let file = open(&bytes).unwrap();
            assert_eq!(file.config(), "{\"a\": 1}");
            let mut again = file.engine(Specification { optimizer, ..spec(likelihood) }).unwrap();
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
            let mut vae = trained(spec(likelihood), optimizer);
            let bytes = to_bytes(&vae, "", false).unwrap();
            let mut again = load(&bytes, spec(likelihood), optimizer).unwrap();
            assert_eq!(answers(&mut again), answers(&mut vae));
            let mut fresh = Engine::new(Specification { optimizer, ..spec(likelihood) }).unwrap();
            let values: Vec<_> =
                vae.network.tensors.iter().map(|tensor| vae.parameter(tensor)).collect();
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
    let vae = trained(spec(LIKELIHOODS[2]), ADAGRAD);
    let bytes = to_bytes(&vae, "text", true).unwrap();
    let (length, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    assert_eq!(length % 8, 0, "data are aligned");
    let about = metadata.metadata().as_ref().unwrap();
    assert_eq!((about.len(), about["config"].as_str()), (3, "text"));
    assert_eq!(about["format_version"], "1");
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(tensors.len(), 2 * vae.network.tensors.len());
    for tensor in &vae.network.tensors {
        let view = tensors.tensor(&tensor.name).unwrap();
        let bits: Vec<u8> = vae.parameter(tensor).iter().flat_map(|x| x.to_le_bytes()).collect();
        assert_eq!((view.shape(), view.data()), (&tensor.shape[..], &bits[..]));
        let second = tensors.tensor(&format!("optimizer.second.{}", tensor.name)).unwrap();
        assert_eq!(second.shape(), &tensor.shape[..]);
    }
}

#[test]
fn the_order_of_tensors_and_keys_does_not_matter() {
    let vae = trained(small(), ADAGRAD);
    let bytes = to_bytes(&vae, "{}", true).unwrap();
    let theirs = SafeTensors::deserialize(&bytes).unwrap();
    for _ in 0..4 {
        // Sorted by name, the metadata in an order that changes.
        let counters = r#"{"steps":4,"forgotten":0,"epochs":1,"clamped":0}"#;
        let about = [("format_version", "1"), ("counters", counters), ("config", "{}")];
        let about = about.map(|(key, value)| (key.to_string(), value.to_string()));
        let sorted =
            safetensors::serialize(theirs.tensors(), Some(about.into_iter().collect())).unwrap();
        assert_ne!(sorted, bytes);
        let again = load(&sorted, small(), ADAGRAD).unwrap();
        assert_eq!(to_bytes(&again, "{}", true).unwrap(), bytes);
    }
}

#[test]
fn any_text_is_a_config() {
    let vae = trained(small(), PLAIN);
    for config in ["", "{}", "null", "\"\\ \u{0}\u{1f}é😀\u{2028}", &"x".repeat(100_000)] {
        let bytes = to_bytes(&vae, config, true).unwrap();
        assert_eq!(open(&bytes).unwrap().config(), config);
        assert_eq!(to_bytes(&vae, config, true).unwrap(), bytes);
    }
}

#[test]
fn a_config_that_no_header_holds_is_refused_at_once() {
    let vae = trained(small(), PLAIN);
    let error = to_bytes(&vae, &"x".repeat(64 << 20), true).unwrap_err();
    assert!(matches!(&error, Error::Parameter(m) if m.contains("64 MB")), "{error}");
}

#[test]
fn a_file_has_as_many_tensors_as_it_can_be_read_with() {
    let deep = |layers| Specification { encoder: dense(&vec![1; layers]), ..small() };
    let vae = Engine::new(Specification { optimizer: PLAIN, ..deep(32_764) }).unwrap(); // 65,534 tensors and the metadata
    let bytes = to_bytes(&vae, "", true).unwrap();
    assert!(load(&bytes, deep(32_764), PLAIN).is_ok());
    let (header, data) = parts(&bytes);
    let empty = r#"{"dtype":"F32","shape":[0],"data_offsets":[0,0]}"#;
    let longer = header.replacen('{', &format!("{{\"a\":{empty},"), 1);
    assert!(refusal(load(&joined(&longer, &data), small(), PLAIN)).contains("no part"));
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
    assert!(load(&bytes, small(), MOMENTUM).is_ok());
    for len in 0..bytes.len() {
        refusal(open(&bytes[..len]));
        // The file was longer when it was opened.
        let file = ModelFile::open(&bytes[..len], bytes.len() as u64);
        let message =
            refusal(file.and_then(|f| f.engine(Specification { optimizer: MOMENTUM, ..small() })));
        assert!(message.contains("cut short"), "{message}");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(refusal(open(&longer)).contains("follow the header"));
}

#[test]
fn no_change_of_a_header_makes_a_panic_or_asks_for_much_memory() {
    let bytes = to_bytes(&trained(small(), MOMENTUM), "{}", true).unwrap();
    let end = bytes.len() - parts(&bytes).1.len();
    let mut taken = 0;
    for at in 0..end {
        let others = (0..8).map(|bit| bytes[at] ^ (1 << bit)).chain(*b"\0 \"{}[],:0e-\xff");
        for other in others.filter(|&other| other != bytes[at]) {
            let mut changed = bytes.clone();
            changed[at] = other;
            let (asked, read) = cost(&changed, bytes.len() as u64, small());
            assert!(asked < LITTLE, "{asked} bytes for {other} at {at}");
            match read {
                Ok(_) => taken += 1,
                Err(Error::Format(_)) => {}
                Err(error) => panic!("{error:?} for {other} at {at}"),
            }
        }
    }
    assert!(taken > 0, "a configuration of spaces is as good as another");
}

#[test]
fn what_a_header_must_be() {
    assert!(load(&with("{}", "{ }"), small(), PLAIN).is_ok());
    let shape = "\"mu.bias\":{\"dtype\":\"F32\",\"shape\":[1],";
    let long = format!("{}1]", "1,".repeat(8));
    for (old, new, why) in [
        // JSON, of the right types.
        ("{\"__metadata__\"", "[\"__metadata__\"", "expected"),
        ("{\"__metadata__\"", "{\"__metadata__", "expected"),
        ("\"config\":\"{}\"", "\"config\":{}", "string"),
        ("\"config\":\"{}\"", "\"config\":\"\\ud800\"", "hex escape"),
        ("{\"config\":\"{}\"", "[\"{}\"", "expected an object"),
        ("{\"config\":\"{}\"", "null,{\"config\":\"{}\"", "expected an object"),
        ("\"mu.bias\":{", "\"mu.bias\":[{", "an object with dtype"),
        (shape, &shape.replace("[1]", "[1.0]"), "expected usize"),
        (shape, &shape.replace("[1]", "[-1]"), "expected usize"),
        (shape, &shape.replace("[1]", "1"), "list of sizes"),
        (shape, &shape.replace("[1]", "[18446744073709551616]"), "expected usize"),
        (shape, &shape.replace("1]", &long), "dimensions"),
        // Its keys.
        ("\"format_version\":\"1\"", "\"other\":\"1\"", "no format_version"),
        ("\"config\":", "\"other\":", "no config"),
        ("\"config\":", "\"other\":\"\",\"config\":", "\"other\", which is not known"),
        ("__metadata__", "__metadata_", "\"config\" is not known"),
        ("\"format_version\":\"1\"", "\"format_version\":\"2\"", "version \"2\", and this is"),
        ("\"format_version\":\"1\"", "\"format_version\":\"\"", "reads version \"1\""),
        (shape, &shape.replace("\"shape\":[1],", ""), "\"mu.bias\" has no dtype, no shape"),
        (shape, &shape.replace("\"dtype\":\"F32\",", ""), "\"mu.bias\" has no dtype, no shape"),
        (shape, &shape.replace("\"shape\"", "\"more\":1,\"shape\""), "\"more\" is not known"),
        // A key comes once, at every level, however it is written.
        ("\"config\":", "\"config\":\"{}\",\"config\":", "\"config\" comes twice"),
        ("\"config\":", "\"config\":\"\",\"confi\\u0067\":", "\"config\" comes twice"),
        (shape, &shape.replace("\"shape\"", "\"shape\":[1],\"shape\""), "\"shape\" comes twice"),
        ("\"mu.weight\"", "\"mu.bias\"", "\"mu.bias\" comes twice"),
        ("\"mu.weight\"", "\"m\\u0075.bias\"", "\"mu.bias\" comes twice"),
        ("\"mu.weight\"", "\"__metadata__\":{},\"mu.weight\"", "\"__metadata__\" comes twice"),
        // Its types.
        (shape, &shape.replace("F32", "F16"), "\"mu.bias\" is of type \"F16\""),
        (shape, &shape.replace("F32", "I32"), "\"mu.bias\" is of type \"I32\""),
        (shape, &shape.replace("\"F32\"", "{\"F32\":null}"), "expected a string"),
    ] {
        let message = refusal(load(&with(old, new), small(), PLAIN));
        assert!(message.contains(why), "{old} -> {new}: {message}");
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
        refusal(load(&with(old, new), small(), PLAIN));
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
    let bytes = to_bytes(&trained(spec(LIKELIHOODS[3]), PLAIN), "", true).unwrap();
    let wanted = || spec(LIKELIHOODS[3]);
    for (other, why) in [
        (Specification { n_features: 36, ..wanted() }, "encoder.0.weight has shape [33, 37]"),
        (Specification { latent_dim: 2, ..wanted() }, "mu.weight has shape [3, 33]"),
        (Specification { encoder: dense(&[33, 33]), ..wanted() }, "encoder.2.weight is missing"),
        (Specification { decoder: dense(&[5]), ..wanted() }, "decoder.2.weight has shape [40, 5]"),
        (spec(LIKELIHOODS[2]), "likelihood.log_scale has shape [37]"),
        (spec(LIKELIHOODS[0]), "\"likelihood.log_scale\" is no part"),
        // Absurd ones, which are no reason to ask for memory.
        (Specification { encoder: dense(&vec![1; 1 << 22]), ..wanted() }, "larger network"),
        (Specification { latent_dim: usize::MAX, ..wanted() }, "larger network"),
        (Specification { encoder: dense(&[0]), ..wanted() }, "not possible"),
        (Specification { encoder: dense(&[1 << 26, 1 << 26]), ..wanted() }, "not possible"),
    ] {
        let message = refusal(load(&bytes, other, PLAIN));
        assert!(message.contains(why), "{message}");
    }
}

#[test]
fn moments_are_those_of_the_optimizer_all_or_none() {
    let file = |optimizer| to_bytes(&trained(small(), optimizer), "", true).unwrap();
    let message = refusal(load(&file(adam(false)), small(), PLAIN));
    assert!(message.contains("\"optimizer.first.mu.weight\" is no part"), "{message}");
    let message = refusal(load(&file(adam(false)), small(), ADAGRAD));
    assert!(message.contains("\"optimizer.first.mu.weight\" is no part"), "{message}");
    let message = refusal(load(&file(ADAGRAD), small(), adam(true)));
    assert!(message.contains("optimizer.first.mu.weight is missing"), "{message}");

    let (header, data) = parts(&file(MOMENTUM));
    let last = ",\"optimizer.first.decoder.0.bias\":{";
    let (start, data) = (header.find(last).unwrap(), &data[..data.len() - 8]);
    let message =
        refusal(load(&joined(&format!("{}}}", &header[..start]), data), small(), MOMENTUM));
    assert!(message.contains("optimizer.first.decoder.0.bias is missing"), "{message}");
    let message = refusal(load(&with("\"mu.bias\"", "\"mu.bia\""), small(), PLAIN));
    assert!(message.contains("\"mu.bia\" is no part"), "{message}");
}

#[test]
fn numbers_that_no_model_has_are_refused() {
    let vae = trained(small(), adam(false));
    let bytes = to_bytes(&vae, "", true).unwrap();
    let start = bytes.len() - parts(&bytes).1.len();
    let numbers = (bytes.len() - start) / 4;
    for at in 0..numbers {
        for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -1.0, -1e-45] {
            let mut changed = bytes.clone();
            changed[start + 4 * at..][..4].copy_from_slice(&bad.to_le_bytes());
            let loaded = load(&changed, small(), adam(false));
            if bad.is_finite() && at < numbers / 3 * 2 {
                assert!(loaded.is_ok()); // a weight or a first moment
            } else {
                assert!(refusal(loaded).contains(" contains "));
            }
        }
    }
    let at = |counters: &str| {
        let (header, data) = parts(&bytes);
        let start = header.find("{\\\"clamped").unwrap();
        let end = start + header[start..].find('}').unwrap() + 1;
        let counters = counters.replace('"', "\\\"");
        joined(&format!("{}{counters}{}", &header[..start], &header[end..]), &data)
    };
    for counters in [
        r#"{"clamped":0,"epochs":1,"forgotten":0,"steps":9223372036854775808}"#,
        r#"{"clamped":0,"epochs":2147483648,"forgotten":0,"steps":1}"#,
        r#"{"clamped":0,"epochs":1,"forgotten":2,"steps":1}"#,
        r#"{"clamped":0,"epochs":1,"forgotten":0,"steps":-1}"#,
        r#"{"clamped":0,"epochs":1,"forgotten":0,"steps":1.5}"#,
        r#"{"clamped":0,"epochs":1,"forgotten":0}"#,
        r#"{"clamped":0,"epochs":1,"forgotten":0,"steps":1,"more":1}"#,
        r#"{"clamped":0,"epochs":1,"forgotten":0,"steps":1,"steps":1}"#,
        "[0,1,0,1]",
    ] {
        assert!(refusal(open(&at(counters))).contains("counters"), "{counters}");
    }
    let late = at(
        r#"{"clamped":18446744073709551615,"epochs":2147483647,"forgotten":0,"steps":9223372036854775807}"#,
    );
    train(&mut load(&late, small(), adam(false)).unwrap());
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
fn cost(bytes: &[u8], len: u64, spec: Specification) -> (usize, Result<Engine>) {
    let before = counting::bytes();
    let file = ModelFile::open(bytes, len);
    let read = file.and_then(|file| file.engine(Specification { optimizer: MOMENTUM, ..spec }));
    (counting::bytes() - before, read)
}

#[test]
fn a_file_that_lies_gets_no_memory() {
    let good = to_bytes(&trained(small(), MOMENTUM), "{}", true).unwrap();
    let (asked, read) = cost(&good, good.len() as u64, small());
    assert!(read.is_ok() && asked < LITTLE, "{asked}");
    // A configuration of a large model, of very many layers.
    for encoder in [vec![10_000; 8], vec![1; 1 << 20]] {
        let encoder = dense(&encoder);
        let (asked, read) = cost(&good, good.len() as u64, Specification { encoder, ..small() });
        refusal(read);
        assert!(asked < LITTLE, "{asked}");
    }
    // Tensors of 10^12 numbers, in a file that has a hole of that size.
    let file = |tensors: &str| {
        let (good, _) = parts(&good);
        let metadata = &good[1..good.find("\"encoder").or(good.find("\"mu")).unwrap() - 1];
        joined(&format!("{{{metadata},{tensors}}}"), b"")
    };
    for shape in ["[1000000000000]", "[1000000,1000000]"] {
        let offsets = "\"data_offsets\":[0,4000000000000]";
        let bytes = file(&format!(r#""mu.weight":{{"dtype":"F32","shape":{shape},{offsets}}}"#));
        let (asked, read) = cost(&bytes, bytes.len() as u64 + 4_000_000_000_000, small());
        assert!(refusal(read).contains("mu.weight has shape"));
        assert!(asked < LITTLE, "{asked}");
    }
    // A million dimensions.
    let bytes = file(&format!(r#""mu.weight":{{"shape":[{}1]}}"#, "1,".repeat(1_000_000)));
    let (asked, read) = cost(&bytes, bytes.len() as u64, small());
    refusal(read);
    assert!(asked < 2 * bytes.len() + LITTLE, "{asked}"); // `filled` asks twice
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
