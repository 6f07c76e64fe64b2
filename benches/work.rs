//! A program for counting instructions. `tests/test_work.py` runs each case under callgrind with two numbers of rounds; the
//! difference gives the cost of one round. Unlike times, the counts are repeatable.
//!
//! Usage: `work CASE ROUNDS`.

use fastvae::data::Source;
use fastvae::data::check::ValueCheck;
use fastvae::model::{Engine, Specification, dense};
use fastvae::nn::likelihood::Bernoulli;
use fastvae::nn::objective::LossSums;
use fastvae::run::blocks::InferenceRun;
use fastvae::run::train::TrainingPass;
use std::time::Duration;

const FOREVER: Duration = Duration::from_secs(3600);

struct Case {
    name: &'static str,
    /// Features, hidden units, latent dimensions.
    shape: [usize; 3],
    batch: usize,
    /// How many of sixteen values are not zero.
    nonzero: usize,
}

const CASES: [Case; 4] = [
    Case { name: "step", shape: [196, 100, 10], batch: 64, nonzero: 16 },
    Case { name: "sparse-step", shape: [196, 100, 10], batch: 64, nonzero: 3 },
    Case { name: "small-step", shape: [64, 32, 8], batch: 32, nonzero: 16 },
    Case { name: "score", shape: [196, 100, 10], batch: 64, nonzero: 16 },
];

/// Values in 0..1. Whole columns are zero, like the border of images.
fn data(rows: usize, cols: usize, nonzero: usize) -> Vec<f32> {
    let value = |i: usize| match i % cols / 4 % 16 < nonzero {
        true => ((i * 2_654_435_761) % 1000 + 1) as f32 / 1001.0,
        false => 0.0,
    };
    (0..rows * cols).map(value).collect()
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (Some(name), Some(rounds)) = (arguments.next(), arguments.next()) else {
        return; // `cargo bench` calls every bench with arguments of its own
    };
    let (Some(case), Ok(rounds)) =
        (CASES.into_iter().find(|case| case.name == name), rounds.parse::<usize>())
    else {
        return;
    };
    let [n_features, hidden, latent_dim] = case.shape;
    let specification = Specification {
        n_features,
        latent_dim,
        encoder: dense(&[hidden]),
        decoder: dense(&[hidden]),
        ..Specification::default()
    };
    let mut vae = Engine::new(specification).expect("the specification is good");
    let values = data(case.batch, n_features, case.nonzero);
    let x = Source::from_slice(&values, n_features);
    for _ in 0..rounds {
        if name == "score" {
            let [mut reconstruction, mut kl] = [(); 2].map(|()| vec![0.0; case.batch]);
            let mut question = InferenceRun {
                name: "X",
                check: ValueCheck::new(Some(Bernoulli {}.into()), false),
                done: 0,
                budget: FOREVER,
                threads: Some(1),
                first: 0,
            };
            let done =
                vae.score(&x, None, None, ([&mut reconstruction, &mut kl], false), &mut question);
            assert_eq!(done, Ok(true));
        } else {
            let task =
                TrainingPass { batch_size: case.batch, threads: Some(1), ..TrainingPass::new(x) };
            assert_eq!(vae.train(&task, &mut LossSums::default(), FOREVER), Ok(true));
        }
    }
}
