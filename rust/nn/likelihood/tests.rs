//! Tests of all likelihoods on all instruction sets: log p against its closed form in float64, gradients against
//! difference quotients of the closed form, and the JSON.

use super::negative_binomial::ln_gamma;
use super::*;
use crate::data::{Source, check::ValueCheck};
use crate::model::{Engine, Specification, dense};
use crate::nn::objective::LossSums;
use crate::run::blocks::InferenceRun;
use crate::run::train::{StepValues, TrainingPass};
use crate::simd::{Isa, Lanes, Row, WIDTH, ZERO_ROW, floats, floats_mut};
use std::time::Duration;

fn sigmoid(y: f64) -> f64 {
    1.0 / (1.0 + (-y).exp())
}

/// log p(x|y) of a feature. `parameter` is ln r for a negative binomial, the number of trials for a binomial.
fn closed_form(likelihood: Likelihood, x: f64, y: f64, parameter: f64) -> f64 {
    let of_one = x * y - y.max(0.0) - (-y.abs()).exp().ln_1p();
    let gaussian = |mean: f64, log_scale: f64| {
        let r = (x - mean) / log_scale.exp();
        -r * r / 2.0 - log_scale - 0.5 * std::f64::consts::TAU.ln()
    };
    match likelihood {
        Likelihood::Bernoulli(_) => of_one,
        Likelihood::Binomial(_) => {
            let (m, k) = (parameter, x * parameter);
            ln_gamma(m + 1.0) - ln_gamma(k + 1.0) - ln_gamma(m - k + 1.0) + m * of_one
        }
        Likelihood::Gaussian(Gaussian { scale: Scale::Decoder, floor, mean }) => {
            let variance = f64::from(floor).powi(2) + (2.0 * parameter).exp();
            let mean = if mean == Link::Sigmoid { sigmoid(y) } else { y };
            gaussian(mean, variance.ln() / 2.0)
        }
        Likelihood::Gaussian(Gaussian { mean: Link::Sigmoid, .. }) => {
            gaussian(sigmoid(y), parameter)
        }
        Likelihood::Gaussian(_) => gaussian(y, parameter),
        Likelihood::Poisson(_) => x * y - y.exp() - ln_gamma(x + 1.0),
        Likelihood::NegativeBinomial(_) => {
            let (m, r) = (y.exp(), parameter.exp());
            ln_gamma(x + r) - ln_gamma(r) - ln_gamma(x + 1.0)
                + r * (r / (r + m)).ln()
                + x * (m / (r + m)).ln()
        }
        Likelihood::Multinomial(_) => unreachable!("it has no density of single features"),
        Likelihood::Mixture(_) => x * y.ln(),
        Likelihood::SquaredError(_) => -(x - y).powi(2),
        Likelihood::Laplace(_) => -(x - y).abs() - std::f64::consts::LN_2,
    }
}

/// The data, output and parameter of a feature, valid for the likelihood.
fn example(likelihood: Likelihood, i: usize) -> [f32; 3] {
    let unit =
        |salt: usize| ((i + 31 * salt).wrapping_mul(2_654_435_761) >> 5 & 0xffff) as f32 / 65_536.0;
    let y = 6.0 * unit(1) - 3.0;
    let count = (unit(2) * 9.0).floor();
    match likelihood {
        Likelihood::Bernoulli(_) => [unit(2), y, 0.0],
        Likelihood::Binomial(_) => [(unit(2) * 8.0).floor() / 7.0, y, 7.0],
        Likelihood::Gaussian(_) | Likelihood::Laplace(_) | Likelihood::SquaredError(_) => {
            [4.0 * unit(2) - 2.0, y, unit(3) - 0.5]
        }
        Likelihood::Mixture(_) => [count, 0.01 + unit(1), 0.0],
        _ => [count, y, 2.0 * unit(3) - 1.0],
    }
}

/// All likelihoods with densities of single features, and the variants of the Gaussian.
fn all() -> Vec<Likelihood> {
    let mut all: Vec<_> = Likelihood::all().into_iter().filter(|l| !l.is_softmax()).collect();
    let gaussian = |scale, mean| Likelihood::from(Gaussian { scale, floor: 0.25, mean });
    all.extend([
        gaussian(Scale::PerFeature, Link::Identity),
        gaussian(Scale::Fixed(1.0), Link::Sigmoid),
        gaussian(Scale::Decoder, Link::Identity),
        gaussian(Scale::Decoder, Link::Sigmoid),
    ]);
    all
}

/// Runs the epilogue of a tile: log p(x|z) of each row, and the gradients with respect to y and the parameter.
fn score(
    isa: Isa,
    likelihood: Likelihood,
    [x, y, parameter]: [&[Row]; 3],
    cols: usize,
    masked: bool,
) -> (Vec<f32>, [Vec<Row>; 2]) {
    let two = likelihood.outputs_per_feature() == 2;
    // With a scale from the decoder, a row holds y and u of sixteen features.
    let products: Vec<Row> = match two {
        true => y.iter().zip(parameter).map(|(y, u)| [y[0], u[0]]).collect(),
        false => y.to_vec(),
    };
    let mut log_prob = vec![0.0; x.len()];
    let [mut gradient, mut scale_gradient] = [vec![ZERO_ROW; x.len()], vec![ZERO_ROW; x.len()]];
    Score {
        likelihood,
        products: &products,
        cols,
        bias: &ZERO_ROW,
        parameter: &parameter[0],
        targets: x,
        half: 0,
        masked,
        log_prob: &mut log_prob,
        gradient: &mut gradient,
        scale_gradient: &mut scale_gradient,
        weight: 1.0,
    }
    .run(isa);
    if two {
        for (row, to) in gradient.iter_mut().zip(&mut scale_gradient) {
            (row[1], to[0]) = (Lanes::default(), row[1]);
        }
    }
    (log_prob, [gradient, scale_gradient])
}

#[test]
fn every_likelihood_of_every_set_has_its_closed_form_and_gradient() {
    const ROWS: usize = 9;
    for likelihood in all() {
        let two = likelihood.outputs_per_feature() == 2;
        let cols = if two { 13 } else { 29 };
        let mut rows = [[ZERO_ROW; ROWS]; 3];
        for i in 0..ROWS {
            for j in 0..cols {
                let mut values = example(likelihood, i * WIDTH + j);
                // All rows share one row of parameters, except for a scale from the decoder.
                values[2] = if two { values[2] } else { example(likelihood, j)[2] };
                for (rows, value) in rows.iter_mut().zip(values) {
                    floats_mut(&mut rows[i..=i])[j] = value;
                }
            }
        }
        let [x, y, parameter] = rows.each_ref().map(|rows| &rows[..]);
        let stored = two || likelihood.learned_scale().is_some_and(|scale| scale.stores_gradient);
        let tied =
            matches!(likelihood, Likelihood::Gaussian(Gaussian { scale: Scale::Fixed(_), .. }));
        for isa in Isa::available() {
            let (log_prob, gradients) = score(isa, likelihood, [x, y, parameter], cols, false);
            for i in 0..ROWS {
                let case = format!("{likelihood:?}, {}, row {i}", isa.name());
                let of = |rows: &[Row], j: usize| f64::from(floats(&rows[i])[j]);
                let at = |j: usize, dy: f64, dp: f64| {
                    closed_form(likelihood, of(x, j), of(y, j) + dy, of(parameter, j) + dp)
                };
                let want: f64 = (0..cols).map(|j| at(j, 0.0, 0.0)).sum();
                let got = f64::from(log_prob[i]);
                assert!(
                    (got - want).abs() < 1e-5 * (20.0 + want.abs()),
                    "{case}: {got}, not {want}"
                );
                for j in 0..cols {
                    let h = 1e-5;
                    let slopes = [
                        (at(j, -h, 0.0) - at(j, h, 0.0)) / (2.0 * h),
                        (at(j, 0.0, -h) - at(j, 0.0, h)) / (2.0 * h),
                    ];
                    let count = if stored && !tied { 2 } else { 1 };
                    for (gradient, slope) in gradients.iter().zip(slopes).take(count) {
                        let got = of(gradient, j);
                        let good = (got - slope).abs() < 1e-4 * (1.0 + slope.abs());
                        assert!(good, "{case}, column {j}: gradient {got}, not {slope}");
                    }
                }
                for j in cols..WIDTH {
                    assert_eq!(gradients.each_ref().map(|g| of(g, j)), [0.0; 2], "{case}: padding");
                }
            }
            // A missing value contributes zero.
            let mut holes = rows[0];
            holes.iter_mut().for_each(|row| row[0].0[3] = f32::NAN);
            let (some, gradients) = score(isa, likelihood, [&holes, y, parameter], cols, true);
            for i in 0..ROWS {
                let of = |rows: &[Row], j: usize| f64::from(floats(&rows[i])[j]);
                let own = closed_form(likelihood, of(x, 3), of(y, 3), of(parameter, 3));
                let missing = f64::from(log_prob[i]) - own - f64::from(some[i]);
                let good = missing.abs() < 1e-5 * (20.0 + f64::from(log_prob[i]).abs());
                assert!(good, "{likelihood:?}, {}: {missing}", isa.name());
                assert_eq!(gradients.each_ref().map(|g| of(g, 3)), [0.0; 2]);
            }
        }
    }
}

#[test]
fn moments_have_the_variance_of_draws() {
    const DRAWS: usize = 100_000;
    for likelihood in all().into_iter().chain([Multinomial {}.into()]) {
        let words = likelihood.is_of_words();
        let mean: f32 = if words || likelihood.support() == Support::UNIT { 0.3 } else { 2.5 };
        let parameter: f32 =
            if likelihood.parameter() == FeatureParameter::Trials { 7.0 } else { 1.5 };
        // A document of one word: two words with probabilities 0.3 and 0.7.
        let (cols, parameters) = if words { (2, vec![]) } else { (1, vec![parameter]) };
        let mut draws: Vec<f32> = match words {
            true => [mean, 1.0 - mean].repeat(DRAWS),
            false => vec![mean; DRAWS],
        };
        let two = likelihood.outputs_per_feature() == 2;
        let mut scale = vec![parameter; if two { DRAWS } else { 0 }];
        let budget = Duration::from_secs(1000);
        let mut progress = DrawProgress { seed: 5, done: 0, budget };
        assert!(likelihood.draw(Draws {
            isa: Isa::available()[0],
            cols,
            means: &mut draws,
            parameters: &parameters,
            scale: &mut scale,
            lengths: &vec![1; DRAWS],
            progress: &mut progress,
        }));
        let n = DRAWS as f64;
        let of_first = || draws.iter().step_by(cols).map(|x| f64::from(*x));
        let centre = of_first().sum::<f64>() / n;
        let spread = of_first().map(|x| (x - centre).powi(2)).sum::<f64>() / n;
        let [mut m, mut square, mut variance] = [[0.0]; 3];
        let moments = Moments {
            second: &[],
            likelihood,
            mean: &[mean],
            parameter: &[parameter],
            out: [&mut m, &mut square, &mut variance],
            draw: 0,
        };
        moments.run();
        assert_eq!((m, square), ([mean], [0.0]), "{likelihood:?}");
        let want = f64::from(variance[0]);
        assert!(
            (centre - f64::from(mean)).abs() < 5.0 * (want / n).sqrt() + 1e-6,
            "{likelihood:?}"
        );
        assert!((spread - want).abs() < 0.03 * want + 1e-9, "{likelihood:?}: {spread}, not {want}");
    }
}

#[test]
fn a_likelihood_of_one_file_trains_and_scores() {
    const FEATURES: usize = 20;
    let specification = Specification {
        n_features: FEATURES,
        latent_dim: 2,
        encoder: dense(&[16]),
        decoder: dense(&[16]),
        likelihood: Likelihood::from_json(r#"{"kind":"laplace"}"#).unwrap(),
        seed: 3,
        ..Specification::default()
    };
    let mut engine = Engine::new(specification).unwrap();
    let values: Vec<f32> = (0..60 * FEATURES)
        .map(|i| 3.0 * ((i % FEATURES) as f32 - 9.5).signum() * ((i / FEATURES % 4) as f32 - 1.5))
        .collect();
    let x = Source::from_slice(&values, FEATURES);
    // At z = mu, the decoder's output is the reconstruction.
    let scored = |engine: &mut Engine| {
        let run = || InferenceRun {
            name: "X",
            check: ValueCheck::new(None, false),
            done: 0,
            budget: Duration::from_secs(600),
            threads: Some(1),
        };
        let (zeros, mut means) = (vec![0.0; 120], vec![0.0; values.len()]);
        let [mut reconstruction, mut kl] = [[0.0; 60]; 2];
        let eps = Some(Source::from_slice(&zeros, 2));
        engine.score(&x, eps, None, [&mut reconstruction, &mut kl], &mut run()).unwrap();
        engine.reconstruct(&x, &mut means, &mut run()).unwrap();
        let rows = values.chunks(FEATURES).zip(means.chunks(FEATURES));
        for ((x, mean), got) in rows.zip(reconstruction) {
            let own = Laplace {}.into();
            let terms =
                x.iter().zip(mean).map(|(x, y)| closed_form(own, (*x).into(), (*y).into(), 0.0));
            let want = -terms.sum::<f64>();
            assert!((f64::from(got) - want).abs() < 1e-4 * want, "{got}, not {want}");
        }
        reconstruction.iter().sum::<f32>() / 60.0
    };
    let before = scored(&mut engine);
    for _ in 0..200 {
        let usual = TrainingPass::new(x);
        let step_values = StepValues { learning_rates: &[0.01], ..usual.step_values };
        let task = TrainingPass { batch_size: 20, step_values, threads: Some(1), ..usual };
        engine.train(&task, &mut LossSums::default(), Duration::from_secs(600)).unwrap();
    }
    let after = scored(&mut engine);
    let least = FEATURES as f32 * std::f32::consts::LN_2;
    assert!(after - least < 0.3 * (before - least), "{before} to {after}, at least {least}");
}

#[test]
fn json_round_trips_and_names_what_is_wrong() {
    for likelihood in all() {
        let json = serde_json::to_string(&likelihood).unwrap();
        assert_eq!(Likelihood::from_json(&json).unwrap(), likelihood, "{json}");
        let kind = format!("{{\"kind\":{:?}}}", likelihood.kind());
        let plain = Likelihood::from_json(&kind).unwrap();
        assert_eq!(Some(plain), Likelihood::named(likelihood.kind()));
        let more = json.replacen('{', "{\"shape\":1,", 1);
        let error = Likelihood::from_json(&more).unwrap_err().to_string();
        assert!(error.contains("unknown field `shape`"), "{error}");
    }
    let gaussian = r#"{"kind":"gaussian","scale":0.5,"floor":0.001,"mean":"sigmoid"}"#;
    assert_eq!(serde_json::to_string(&Likelihood::from_json(gaussian).unwrap()).unwrap(), gaussian);
    for (json, names) in [
        (r#"{"kind":"gamma"}"#, "unknown variant `gamma`"),
        (r#"{"scale":1}"#, "missing field `kind`"),
        (r#"{"kind":"gaussian","scale":"other"}"#, "scale must be a number, \"shared\""),
        (r#"{"kind":"gaussian","scale":null}"#, "scale must be a number, \"shared\""),
        (r#"{"kind":"gaussian","scale":0}"#, "a scale is 1e-6 to 1e6, not 0"),
        (r#"{"kind":"gaussian","scale":1e60}"#, "a scale is 1e-6 to 1e6, not inf"),
        (r#"{"kind":"gaussian","floor":1e-7}"#, "a floor is 1e-6 to 1e6"),
        (r#"{"kind":"negative_binomial","floor":1e6}"#, "a floor is 1e-6 to 1e6, not 1000000"),
        (r#"{"kind":"gaussian","mean":"tanh"}"#, "unknown variant `tanh`, expected `identity` or"),
        (r#"{"kind":"gaussian","mean":"sigmoid","scale":"shared"}"#, "sigmoid means go with"),
    ] {
        let error = Likelihood::from_json(json).unwrap_err().to_string();
        assert!(error.contains(names), "{json}: {error}");
    }
}

#[test]
fn numbers_are_shown_as_python_shows_them() {
    let shown_as = [
        (1e-3, "0.001"),
        (0.05, "0.05"),
        (1.0, "1"),
        (100.0, "100"),
        (999_999.5, "1e+06"),
        (1e6, "1e+06"),
        (1e-6, "1e-06"),
        (0.123_456_79, "0.123457"),
        (12_345.678, "12345.7"),
        (1.5e-5, "1.5e-05"),
    ];
    for (x, text) in shown_as {
        assert_eq!(shown(x), text);
    }
}
