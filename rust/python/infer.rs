//! Inference in Python: codes, means, marginal likelihoods and draws.

use super::arrays::{Array, Array2, Output, Rows, array, array_of, source, with_conditions, zeros};
use super::detach::{SLICE, detached, in_slices};
use super::engine::{PyEngine, start};
use crate::data::Source;
use crate::data::check::ValueCheck;
use crate::error::filled;
use crate::matrix::Shared;
use crate::model::{Draws, WeightSums};
use crate::nn::likelihood::DrawProgress;
use crate::run::best::BestItemsRun;
use crate::run::blocks::{CODES, InferenceRun};
use crate::simd::Isa;
use numpy::{PyArray1, PyReadonlyArray1};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use std::ops::Range;

/// Directions, items and order of bounds of logits, flat.
type BoundsOfItems<'py> =
    (PyReadonlyArray1<'py, f32>, PyReadonlyArray1<'py, f32>, PyReadonlyArray1<'py, u32>);

/// Number of posterior draws per pass over the examples.
const DRAWS_AT_ONCE: u32 = 32;

/// Codes that are drawn between two looks at the clock, about, and the most rows that they are of.
const CODES_AT_ONCE: usize = 1 << 24;
const ROWS_AT_ONCE: usize = 1024;

#[pymethods]
impl PyEngine {
    /// Raises ValueError for a value of `x` that the model cannot be trained on.
    fn check(&self, py: Python<'_>, x: Array2, name: &str, threads: Option<usize>) -> PyResult<()> {
        let (x, isa) = (self.examples(x)?, Isa::detect()?);
        let mut run = InferenceRun { name, ..self.run_on_x(&x, true, threads) };
        in_slices(py, || run.check_values(isa, &x))
    }

    /// mu (or the code) and, with `logvar`, log sigma² (else an empty array), each [n * latent_dim]. mu is written to `out`,
    /// if given.
    #[pyo3(signature = (x, y, logvar, threads, out = None))]
    fn encode<'py>(
        &self,
        py: Python<'py>,
        x: Array2,
        y: Option<Array2>,
        logvar: bool,
        threads: Option<usize>,
        out: Option<Array<'py>>,
    ) -> PyResult<(Array<'py>, Array<'py>)> {
        self.with_examples(x, y, &None, |x| {
            let (rows, latent) = (x.rows(), self.specification.latent_dim);
            let mut second = zeros(if logvar { rows } else { 0 }, latent)?;
            let mut out = Output::of(out, rows, latent)?;
            let mu = out.values()?;
            let mut run = self.run_on_x(&x, false, threads);
            self.in_slices(py, |engine| engine.encode(&x, mu, &mut second, &mut run))?;
            Ok((out.array(py), array(py, second)))
        })
    }

    /// The input of the output layer, which is dense, for rows of `x`: [n * inputs].
    fn last_hidden<'py>(
        &self,
        py: Python<'py>,
        x: Array2,
        rows: Rows,
        threads: Option<usize>,
    ) -> PyResult<Array<'py>> {
        self.with_examples(x, None, &rows, |x| {
            let inputs = self.with_engine(py, |engine| {
                engine.network.output().dense().map(|layer| layer.inputs)
            })?;
            let inputs =
                inputs.ok_or_else(|| PyValueError::new_err("the output layer is not dense"))?;
            let mut out = zeros(x.rows(), inputs)?;
            let mut run = self.run_on_x(&x, false, threads);
            self.in_slices(py, |engine| engine.last_hidden(&x, &mut out, &mut run))?;
            Ok(array(py, out))
        })
    }

    /// E[x|z], [n * n_features], written to `out`, if given.
    #[pyo3(signature = (z, y, threads, out = None))]
    fn decode<'py>(
        &self,
        py: Python<'py>,
        z: Array2,
        y: Option<Array2>,
        threads: Option<usize>,
        out: Option<Array<'py>>,
    ) -> PyResult<Array<'py>> {
        with_conditions(source(z)?, y, &None, |z| {
            let mut out = Output::of(out, z.rows(), self.specification.n_features)?;
            let means = out.values()?;
            let mut run = run_on_z(threads);
            self.in_slices(py, |engine| engine.decode(&z, means, &mut [], &mut run))?;
            Ok(out.array(py))
        })
    }

    /// E[x|z = mu(x)], [n * n_features], written to `out`, if given.
    #[pyo3(signature = (x, y, threads, out = None))]
    fn reconstruct<'py>(
        &self,
        py: Python<'py>,
        x: Array2,
        y: Option<Array2>,
        threads: Option<usize>,
        out: Option<Array<'py>>,
    ) -> PyResult<Array<'py>> {
        self.with_examples(x, y, &None, |x| {
            let mut out = Output::of(out, x.rows(), x.cols())?;
            let means = out.values()?;
            let mut run = self.run_on_x(&x, false, threads);
            self.in_slices(py, |engine| engine.reconstruct(&x, means, &mut run))?;
            Ok(out.array(py))
        })
    }

    /// The `n` best items of each example and their logits, each [examples * n], among the items that are `allowed` (none: all);
    /// with `new_only` among those whose value in x is zero. -1 and -infinity: no more items.
    /// `bounds` save work and change no result.
    #[allow(clippy::too_many_arguments)]
    fn best_items<'py>(
        &self,
        py: Python<'py>,
        x: Array2,
        n: usize,
        allowed: Option<PyReadonlyArray1<'_, bool>>,
        new_only: bool,
        bounds: Option<BoundsOfItems<'_>>,
        threads: Option<usize>,
    ) -> PyResult<(Bound<'py, PyArray1<i32>>, Array<'py>)> {
        let x = self.examples(x)?;
        let allowed = allowed.as_ref().map(|allowed| allowed.as_slice()).transpose()?;
        let bounds = bounds.as_ref().map(|(directions, items, order)| {
            Ok::<_, PyErr>((directions.as_slice()?, items.as_slice()?, order.as_slice()?))
        });
        let bounds = bounds.transpose()?;
        let mut logits = zeros(x.rows(), n)?;
        let mut items = filled(0, Some(logits.len()))?;
        let mut best = self.with_engine(py, |engine| {
            BestItemsRun::new(engine, n, allowed.unwrap_or_default(), new_only, bounds)
        })??;
        let mut run = self.run_on_x(&x, false, threads);
        self.in_slices(py, |engine| {
            engine.best_items(&x, &mut best, &mut items, &mut logits, &mut run)
        })?;
        Ok((PyArray1::from_vec(py, items), array(py, logits)))
    }

    /// log p(x) of each example from `samples` importance weights with standard error, nats, and the effective sample
    /// size, each [n].
    fn log_marginal<'py>(
        &self,
        py: Python<'py>,
        x: Array2,
        y: Option<Array2>,
        samples: u32,
        threads: Option<usize>,
    ) -> PyResult<[Bound<'py, PyArray1<f64>>; 3]> {
        self.with_examples(x, y, &None, |x| {
            let mut weights = filled(WeightSums::NONE, Some(x.rows()))?;
            let at_once = self.with_engine(py, |engine| engine.samples_at_once(samples))?;
            for first in (0..samples).step_by(at_once as usize) {
                let samples = first..samples.min(first.saturating_add(at_once));
                let mut run = self.run_on_x(&x, true, threads);
                self.in_slices(py, |engine| {
                    engine.log_marginal(&x, samples.clone(), &mut weights, &mut run)
                })?;
            }
            let numbers: [fn(&WeightSums, u32) -> f64; 3] =
                [WeightSums::log_mean, WeightSums::standard_error, |weights, _| {
                    weights.effective()
                }];
            let [estimates, errors, sizes] =
                numbers.map(|number| array_of(py, weights.iter().map(|w| number(w, samples))));
            Ok([estimates?, errors?, sizes?])
        })
    }

    /// The mean of x given the observed values of `x`, [n * n_features], by self-normalised importance sampling with
    /// `samples` draws from q(z|given), and the effective sample size of each example, [n].
    #[allow(clippy::too_many_arguments)]
    fn conditional_mean<'py>(
        &self,
        py: Python<'py>,
        x: Array2,
        given: Array2,
        y: Option<Array2>,
        samples: u32,
        threads: Option<usize>,
    ) -> PyResult<(Array<'py>, Bound<'py, PyArray1<f64>>)> {
        let given = self.examples(given)?;
        self.with_weights(
            py,
            x,
            given,
            y,
            samples,
            |sources, samples, weights, out: &mut Vec<f32>| {
                if out.is_empty() {
                    *out = zeros(sources[0].rows(), self.specification.n_features)?;
                }
                let mut run = self.run_on_given(sources[0], threads);
                self.in_slices(py, |engine| {
                    let out = (&mut weights[..], &mut out[..]);
                    engine.conditional_mean(sources, samples.clone(), out, &mut run)
                })
            },
        )
    }

    /// `draws` draws of z given the observed values of `x`, [draws * n * latent_dim], by importance resampling of
    /// `samples` draws from q(z|given), and the effective sample size of each example, [n].
    #[allow(clippy::too_many_arguments)]
    fn conditional_sample<'py>(
        &self,
        py: Python<'py>,
        x: Array2,
        given: Array2,
        y: Option<Array2>,
        samples: u32,
        draws: usize,
        seed: u64,
        threads: Option<usize>,
    ) -> PyResult<(Array<'py>, Bound<'py, PyArray1<f64>>)> {
        let given = self.examples(given)?;
        let latent = self.specification.latent_dim;
        let mut next = filled(f64::NEG_INFINITY, given.rows().checked_mul(draws))?;
        self.with_weights(
            py,
            x,
            given,
            y,
            samples,
            |sources, samples, weights, out: &mut Vec<f32>| {
                if out.is_empty() {
                    *out = zeros(draws, sources[0].rows().saturating_mul(latent))?;
                }
                let draws = Draws {
                    count: draws,
                    weights: Shared::new(weights),
                    next: Shared::new(&mut next),
                    codes: Shared::new(out),
                };
                let mut run = self.run_on_given(sources[0], threads);
                self.in_slices(py, |engine| {
                    let samples = (samples.clone(), seed);
                    engine.conditional_sample(sources, samples, &draws, &mut run)
                })
            },
        )
    }

    /// Draws from p(x|z), [n * n_features]. `lengths`: number of words in each document (multinomial). `first`: the number
    /// of the first row, for the noise.
    #[pyo3(signature = (z, y, lengths, seed, threads, first = 0))]
    #[allow(clippy::too_many_arguments)]
    fn sample<'py>(
        &self,
        py: Python<'py>,
        z: Array2,
        y: Option<Array2>,
        lengths: Option<PyReadonlyArray1<'_, u32>>,
        seed: u64,
        threads: Option<usize>,
        first: usize,
    ) -> PyResult<Array<'py>> {
        let lengths = lengths.as_ref().map(|lengths| lengths.as_slice()).transpose()?;
        with_conditions(source(z)?, y, &None, |z| {
            let specification = &self.specification;
            let scaled = specification.likelihood.outputs_per_feature() == 2;
            let mut out = zeros(z.rows(), specification.n_features)?;
            let mut scale = zeros(if scaled { z.rows() } else { 0 }, specification.n_features)?;
            let mut run = run_on_z(threads);
            self.in_slices(py, |engine| engine.decode(&z, &mut out, &mut scale, &mut run))?;
            let lengths = lengths.unwrap_or_default();
            let mut drawing = DrawProgress { seed, done: 0, first, budget: SLICE };
            let mut parameters =
                self.with_engine(py, |engine| engine.parameters_of_draws(&z))??;
            self.in_slices(py, |engine| {
                let parameters = [&mut parameters[..], &mut scale[..]];
                Ok(engine.sample(&mut out, parameters, lengths, &mut drawing))
            })?;
            Ok(array(py, out))
        })
    }

    /// The mean over `n` draws of z of log p(x_v|z) of each variable of groups of columns, [examples * n_variables]. Nats.
    /// `first`: the number of the first row, for the noise.
    #[pyo3(signature = (x, y, n, seed, threads, first = 0))]
    #[allow(clippy::too_many_arguments)]
    fn variable_log_prob<'py>(
        &self,
        py: Python<'py>,
        x: Array2,
        y: Option<Array2>,
        n: u32,
        seed: u64,
        threads: Option<usize>,
        first: usize,
    ) -> PyResult<Array<'py>> {
        let groups = self.specification.likelihood.groups();
        let variables = groups.map_or(0, |groups| groups.places.len());
        self.with_examples(x, y, &None, |x| {
            let mut out = zeros(x.rows(), variables)?;
            for draw in (0..n).step_by(DRAWS_AT_ONCE as usize) {
                let samples = draw..n.min(draw.saturating_add(DRAWS_AT_ONCE));
                let mut run = InferenceRun { first, ..self.run_on_x(&x, true, threads) };
                self.in_slices(py, |engine| {
                    engine.variable_log_prob(&x, (samples.clone(), n, seed), &mut out, &mut run)
                })?;
            }
            Ok(array(py, out))
        })
    }

    /// `n` draws from q(z|x) of each example, [n * examples * latent_dim]. `first`: the number of the first row, for the noise.
    #[pyo3(signature = (x, y, n, seed, threads, first = 0))]
    #[allow(clippy::too_many_arguments)]
    fn posterior_sample<'py>(
        &self,
        py: Python<'py>,
        x: Array2,
        y: Option<Array2>,
        n: u32,
        seed: u64,
        threads: Option<usize>,
        first: usize,
    ) -> PyResult<Array<'py>> {
        self.with_examples(x, y, &None, |x| {
            let cols = x.rows().saturating_mul(self.specification.latent_dim);
            let mut out = zeros(n as usize, cols)?;
            let together = (CODES_AT_ONCE / (cols / x.rows() * x.rows().min(ROWS_AT_ONCE))) as u32;
            let together = together.max(DRAWS_AT_ONCE);
            for draw in (0..n).step_by(together as usize) {
                let samples = draw..n.min(draw.saturating_add(together));
                let mut run = InferenceRun { first, ..self.run_on_x(&x, false, threads) };
                self.in_slices(py, |engine| {
                    engine.posterior_sample(&x, (samples.clone(), seed), &mut out, &mut run)
                })?;
            }
            Ok(array(py, out))
        })
    }

    /// The mean of the decoder's input over the rows of noise `points`, common to all examples, [n * latent_dim],
    /// written to `out`, if given.
    #[pyo3(signature = (x, y, points, threads, out = None))]
    fn mean_code<'py>(
        &self,
        py: Python<'py>,
        x: Array2,
        y: Option<Array2>,
        points: Array2,
        threads: Option<usize>,
        out: Option<Array<'py>>,
    ) -> PyResult<Array<'py>> {
        let points = source(points)?;
        let latent = self.specification.latent_dim;
        if points.cols() != latent || points.rows() == 0 {
            return Err(PyValueError::new_err("points must be rows of latent_dim numbers"));
        }
        with_conditions(self.examples(x)?, y, &None, |x| {
            let mut out = Output::of(out, x.rows(), latent)?;
            let means = out.values()?;
            means.fill(0.0);
            let mut run = self.run_on_x(&x, true, threads);
            self.in_slices(py, |engine| engine.mean_code(&x, &points, means, &mut run))?;
            Ok(out.array(py))
        })
    }

    /// The mean and the standard deviation of E[x|z] over `n` draws of z, and the square root of the mean variance of
    /// p(x|z), each [examples * n_features]. `first`: the number of the first row, for the noise.
    #[pyo3(signature = (x, y, n, seed, threads, first = 0))]
    #[allow(clippy::too_many_arguments)]
    fn predictive<'py>(
        &self,
        py: Python<'py>,
        x: Array2,
        y: Option<Array2>,
        n: u32,
        seed: u64,
        threads: Option<usize>,
        first: usize,
    ) -> PyResult<[Array<'py>; 3]> {
        self.with_examples(x, y, &None, |x| {
            let room = || zeros(x.rows(), x.cols());
            let mut moments = [room()?, room()?, room()?];
            for draw in (0..n).step_by(DRAWS_AT_ONCE as usize) {
                let samples = draw..n.min(draw.saturating_add(DRAWS_AT_ONCE));
                let mut run = InferenceRun { first, ..self.run_on_x(&x, false, threads) };
                self.in_slices(py, |engine| {
                    let out = moments.each_mut().map(Vec::as_mut_slice);
                    engine.predict(&x, (samples.clone(), seed), out, &mut run)
                })?;
            }
            detached(py, || {
                let squares = moments[1..].iter_mut().flatten();
                squares.for_each(|square| *square = square.max(0.0).sqrt());
            })?;
            Ok(moments.map(|values| array(py, values)))
        })
    }
}

impl PyEngine {
    /// Calls `work` for ranges of `samples` importance samples with x and given, their weights so far, and the result;
    /// returns the result and the effective sample sizes.
    fn with_weights<'py>(
        &self,
        py: Python<'py>,
        x: Array2,
        given: Source,
        y: Option<Array2>,
        samples: u32,
        mut work: impl FnMut(
            [&Source; 2],
            Range<u32>,
            &mut Vec<WeightSums>,
            &mut Vec<f32>,
        ) -> PyResult<()>,
    ) -> PyResult<(Array<'py>, Bound<'py, PyArray1<f64>>)> {
        self.with_examples(x, y, &None, |x| {
            if [x.rows(), x.cols()] != [given.rows(), given.cols()] {
                return Err(PyValueError::new_err("given must have the shape of X"));
            }
            let given = match x.conditions() {
                Some(y) => given.with_conditions(y)?,
                None => given,
            };
            let (mut weights, mut out) = (filled(WeightSums::NONE, Some(x.rows()))?, Vec::new());
            let at_once = self.with_engine(py, |engine| engine.samples_at_once(samples))?;
            for first in (0..samples).step_by(at_once as usize) {
                let samples = first..samples.min(first.saturating_add(at_once));
                work([&x, &given], samples, &mut weights, &mut out)?;
            }
            let effective = weights.iter().map(WeightSums::effective);
            Ok((array(py, out), array_of(py, effective)?))
        })
    }
}

/// Starts an inference on codes.
fn run_on_z(threads: Option<usize>) -> InferenceRun<'static> {
    start(CODES, ValueCheck::new(None, false), threads)
}
