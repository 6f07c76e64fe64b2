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
fn closed_form(likelihood: &Likelihood, x: f64, y: f64, parameter: f64) -> f64 {
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
            let variance = f64::from(*floor).powi(2) + (2.0 * parameter).exp();
            let mean = if *mean == Link::Sigmoid { sigmoid(y) } else { y };
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
        Likelihood::LogNormal(_) => {
            let r = (x.ln() - y) / parameter.exp();
            -r * r / 2.0 - parameter - 0.5 * std::f64::consts::TAU.ln() - x.ln()
        }
        Likelihood::Multinomial(_)
        | Likelihood::Categorical(_)
        | Likelihood::Ordinal(_)
        | Likelihood::Mixed(_) => unreachable!("it has no density of single features"),
        Likelihood::Mixture(_) => x * y.ln(),
        Likelihood::SquaredError(_) => -(x - y).powi(2),
        Likelihood::Laplace(_) => -(x - y).abs() - std::f64::consts::LN_2,
    }
}

/// The data, output and parameter of a feature, valid for the likelihood.
fn example(likelihood: &Likelihood, i: usize) -> [f32; 3] {
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
        Likelihood::LogNormal(_) => [0.01 + 3.0 * unit(2), y, unit(3) - 0.5],
        Likelihood::Mixture(_) => [count, 0.01 + unit(1), 0.0],
        _ => [count, y, 2.0 * unit(3) - 1.0],
    }
}

/// All likelihoods with densities of single features, and the variants of the Gaussian.
fn all() -> Vec<Likelihood> {
    let single = |l: &Likelihood| {
        let levels = matches!(l, Likelihood::Categorical(_) | Likelihood::Ordinal(_));
        !l.is_softmax() && !levels && l.groups().is_none()
    };
    let mut all: Vec<_> = Likelihood::all().into_iter().filter(single).collect();
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
    likelihood: &Likelihood,
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
                let mut values = example(&likelihood, i * WIDTH + j);
                // All rows share one row of parameters, except for a scale from the decoder.
                values[2] = if two { values[2] } else { example(&likelihood, j)[2] };
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
            let (log_prob, gradients) = score(isa, &likelihood, [x, y, parameter], cols, false);
            for i in 0..ROWS {
                let case = format!("{likelihood:?}, {}, row {i}", isa.name());
                let of = |rows: &[Row], j: usize| f64::from(floats(&rows[i])[j]);
                let at = |j: usize, dy: f64, dp: f64| {
                    closed_form(&likelihood, of(x, j), of(y, j) + dy, of(parameter, j) + dp)
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
            let (some, gradients) = score(isa, &likelihood, [&holes, y, parameter], cols, true);
            for i in 0..ROWS {
                let of = |rows: &[Row], j: usize| f64::from(floats(&rows[i])[j]);
                let own = closed_form(&likelihood, of(x, 3), of(y, 3), of(parameter, 3));
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
        let parameter: f32 = match (likelihood.parameter() == FeatureParameter::Trials, &likelihood)
        {
            (true, _) => 7.0,
            (_, Likelihood::LogNormal(_)) => 0.5, // the variance of the variance is large above
            _ => 1.5,
        };
        // A document of one word: two words with probabilities 0.3 and 0.7.
        let (cols, parameters) = if words { (2, vec![]) } else { (1, vec![parameter]) };
        let mut draws: Vec<f32> = match words {
            true => [mean, 1.0 - mean].repeat(DRAWS),
            false => vec![mean; DRAWS],
        };
        let two = likelihood.outputs_per_feature() == 2;
        let mut scale = vec![parameter; if two { DRAWS } else { 0 }];
        let budget = Duration::from_secs(1000);
        let mut progress = DrawProgress { seed: 5, done: 0, first: 0, budget };
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
            likelihood: &likelihood,
            first: 0,
            second: &[],
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
            first: 0,
        };
        let (zeros, mut means) = (vec![0.0; 120], vec![0.0; values.len()]);
        let [mut reconstruction, mut kl] = [[0.0; 60]; 2];
        let eps = Some(Source::from_slice(&zeros, 2));
        engine.score(&x, eps, None, ([&mut reconstruction, &mut kl], false), &mut run()).unwrap();
        engine.reconstruct(&x, &mut means, &mut run()).unwrap();
        let rows = values.chunks(FEATURES).zip(means.chunks(FEATURES));
        for ((x, mean), got) in rows.zip(reconstruction) {
            let own = &Laplace {}.into();
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

/// log p of level `k`, given the outputs of a variable.
fn closed_form_of_level(ordinal: bool, y: &[f64], k: usize) -> f64 {
    if !ordinal {
        let most = y.iter().copied().fold(f64::MIN, f64::max);
        return y[k] - most - y.iter().map(|y| (y - most).exp()).sum::<f64>().ln();
    }
    // The logit of P(level < k).
    let logit = |k: usize| match k {
        0 => f64::NEG_INFINITY,
        _ if k == y.len() => f64::INFINITY,
        _ => y[1..=k].iter().map(|y| y.exp().ln_1p()).sum::<f64>() - y[0],
    };
    let (upper, lower) = (logit(k + 1), logit(k));
    match lower > 0.0 {
        true => (sigmoid(-lower) - sigmoid(-upper)).ln(),
        false => (sigmoid(upper) - sigmoid(lower)).ln(),
    }
}

/// Scores the levels of a block of examples.
struct ScoreLevels<'a>(bool, &'a mut Levels);

impl crate::simd::Op for ScoreLevels<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: crate::simd::Simd>(self, s: S) {
        let ScoreLevels(is_ordinal, levels) = self;
        levels.hide_missing(s);
        match (is_ordinal, levels.means) {
            (true, true) => ordinal::means(s, levels),
            (true, false) => ordinal::score(s, levels),
            (false, _) => categorical::score(s, levels),
        }
    }
}

#[test]
fn variables_of_every_set_have_their_closed_form_and_gradient() {
    const ROWS: usize = 11;
    for (ordinal, count) in
        [false, true].into_iter().flat_map(|o| [2, 3, 15, 16, 17, 40].map(|n| (o, n)))
    {
        let value = |i: usize, l: usize| ((i * 37 + l * 61 + 11) % 50) as f32 / 12.5 - 2.0;
        for isa in Isa::available() {
            for means in [false, true] {
                let mut levels = Levels::new(Some(if means { 1.0 } else { 0.5 }), means);
                levels.reset(ROWS, count);
                let vectors = levels.vectors;
                for i in 0..ROWS {
                    for l in 0..vectors * LANES_OF_LEVELS {
                        let at = (i * vectors + l / LANES_OF_LEVELS, l % LANES_OF_LEVELS);
                        // Beyond the last level anything may be; row 4 is missing.
                        levels.y[at.0].0[at.1] = if l < count { value(i, l) } else { f32::NAN };
                        let x = f32::from(u8::from(l == i * 5 % count));
                        levels.x[at.0].0[at.1] = if i == 4 { f32::NAN } else { x };
                    }
                }
                isa.run(ScoreLevels(ordinal, &mut levels));
                for i in 0..ROWS {
                    let case =
                        format!("ordinal {ordinal}, {count} levels, {}, row {i}", isa.name());
                    let y: Vec<f64> = (0..count).map(|l| f64::from(value(i, l))).collect();
                    let got = |l: usize| f64::from(levels.y[i * vectors + l / 16].0[l % 16]);
                    if means {
                        for l in 0..count {
                            let want = closed_form_of_level(ordinal, &y, l).exp();
                            assert!((got(l) - want).abs() < 1e-5, "{case}: {} {want}", got(l));
                        }
                        continue;
                    }
                    let k = i * 5 % count;
                    let want = if i == 4 { 0.0 } else { closed_form_of_level(ordinal, &y, k) };
                    let found = f64::from(levels.log_prob.0[i]);
                    assert!(
                        (found - want).abs() < 2e-5 * (1.0 + want.abs()),
                        "{case}: {found} {want}"
                    );
                    for l in 0..count {
                        let (mut more, mut less) = (y.clone(), y.clone());
                        (more[l], less[l]) = (y[l] + 1e-5, y[l] - 1e-5);
                        let of = |y: &[f64]| closed_form_of_level(ordinal, y, k);
                        let slope = (of(&less) - of(&more)) / 2e-5;
                        let want = if i == 4 { 0.0 } else { 0.5 * slope };
                        assert!((got(l) - want).abs() < 1e-4, "{case}: {} {want}", got(l));
                    }
                }
            }
        }
    }
}

const LANES_OF_LEVELS: usize = crate::simd::LANES;

#[test]
fn an_ordinal_variable_starts_at_the_shares_of_its_levels() {
    let shares = [0.5, 0.0, 0.2, 0.25, 0.05];
    let column = |&mean: &f64| Column { count: 400.0, mean, ..Column::default() };
    let columns: Vec<Column> = shares.iter().map(column).collect();
    let y: Vec<f64> = ordinal::starts(&columns).iter().map(|start| start.output).collect();
    for (k, share) in shares.iter().enumerate() {
        let want = (400.0 * share + 0.5) / 402.5;
        let found = closed_form_of_level(true, &y, k).exp();
        assert!((found - want).abs() < 1e-12, "{found} {want}");
    }
}

#[test]
fn groups_round_trip_and_name_what_is_wrong() {
    let group = |likelihood: Likelihood, n_columns, weight| Group { likelihood, n_columns, weight };
    let mixed = Likelihood::from(Mixed::new(vec![
        group(Gaussian { scale: Scale::PerFeature, ..Gaussian::default() }.into(), 2, 1.0),
        group(Categorical {}.into(), 33, 0.5),
        group(LogNormal::default().into(), 1, 1.0),
    ]));
    let json = serde_json::to_string(&mixed).unwrap();
    assert_eq!(Likelihood::from_json(&json).unwrap(), mixed, "{json}");
    let groups = mixed.groups().unwrap();
    assert_eq!((groups.columns, &groups.places[..]), (36, &[0, 1, 2, 35][..]));
    assert_eq!(groups.panels.len(), 2);
    assert!(groups.panels[1].transforms && !groups.panels[0].transforms);
    let of = |group: &str| format!(r#"{{"kind":"mixed","groups":[{group}]}}"#);
    for (json, names) in [
        (of(""), "groups is empty"),
        (of(r#"{"likelihood":{"kind":"poisson"}}"#), "missing field `n_columns`"),
        (of(r#"{"likelihood":["poisson"],"n_columns":1}"#), "invalid type"),
        (
            of(r#"{"likelihood":{"kind":"mixed","groups":[]},"n_columns":1}"#),
            "mixed likelihood is not for",
        ),
        (
            of(r#"{"likelihood":{"kind":"multinomial"},"n_columns":1}"#),
            "multinomial likelihood is not for",
        ),
        (of(r#"{"likelihood":{"kind":"ordinal"},"n_columns":1}"#), "at least 2, not 1"),
        (of(r#"{"likelihood":{"kind":"poisson"},"n_columns":0}"#), "n_columns=0 must be"),
        (
            of(r#"{"likelihood":{"kind":"poisson"},"n_columns":1000000000000}"#),
            "n_columns=1000000000000 must be",
        ),
        (of(r#"{"likelihood":{"kind":"poisson"},"n_columns":1,"weight":-1}"#), "weight=-1 must be"),
        (
            of(r#"{"likelihood":{"kind":"poisson"},"n_columns":1,"name":"x"}"#),
            "unknown field `name`",
        ),
        (
            of(r#"{"likelihood":{"kind":"gaussian","scale":"decoder"},"n_columns":1}"#),
            "is a number or",
        ),
    ] {
        let error = Likelihood::from_json(&json).unwrap_err().to_string();
        assert!(error.contains(names), "{json}: {error}");
    }
}
