//! Inference in Python: codes, scores, draws.

use super::arrays::{Array, Array2, Rows, array, source, with_conditions, zeros};
use super::detach::{SLICE, detached, in_slices};
use super::engine::{PyEngine, start};
use crate::data::binarize::Binary;
use crate::data::check::ValueCheck;
use crate::data::corruption::Corruption;
use crate::error::filled;
use crate::model::WeightSums;
use crate::nn::likelihood::DrawProgress;
use crate::run::infer::InferenceRun;
use crate::simd::Isa;
use numpy::{PyArray1, PyReadonlyArray1};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// Draws from the posterior that are taken for all examples between two looks at the clock.
const DRAWS_AT_ONCE: u32 = 32;

#[pymethods]
impl PyEngine {
    /// Raises ValueError where `x` holds what the likelihood cannot be.
    fn check(&self, py: Python<'_>, x: Array2, name: &str, threads: Option<usize>) -> PyResult<()> {
        let (x, isa) = (self.examples(x)?, Isa::detect()?);
        let mut run = InferenceRun { name, ..self.run_on_x(false, threads) };
        in_slices(py, || run.check(isa, &x))
    }

    /// mu (or the code) and, if asked for, logvar (else an empty array). `noisy` data may hold any numbers.
    fn encode<'py>(
        &self,
        py: Python<'py>,
        x: Array2,
        y: Option<Array2>,
        logvar: bool,
        noisy: bool,
        threads: Option<usize>,
    ) -> PyResult<(Array<'py>, Array<'py>)> {
        self.with_examples(x, y, &None, |x| {
            let (rows, latent) = (x.rows(), self.specification.latent_dim);
            let second = zeros(if logvar { rows } else { 0 }, latent)?;
            let (mut mu, mut second) = (zeros(rows, latent)?, second);
            let mut run = self.run_on_x(noisy, threads);
            in_slices(py, || self.lock().encode(&x, &mut mu, &mut second, &mut run))?;
            Ok((array(py, mu), array(py, second)))
        })
    }

    fn decode<'py>(
        &self,
        py: Python<'py>,
        z: Array2,
        y: Option<Array2>,
        threads: Option<usize>,
    ) -> PyResult<Array<'py>> {
        with_conditions(source(z)?, y, &None, |z| {
            let mut out = zeros(z.rows(), self.specification.n_features)?;
            let mut run = run_on_z(threads);
            in_slices(py, || self.lock().decode(&z, &mut out, &mut [], &mut run))?;
            Ok(array(py, out))
        })
    }

    fn reconstruct<'py>(
        &self,
        py: Python<'py>,
        x: Array2,
        y: Option<Array2>,
        noisy: bool,
        threads: Option<usize>,
    ) -> PyResult<Array<'py>> {
        self.with_examples(x, y, &None, |x| {
            let mut out = zeros(x.rows(), x.cols())?;
            let mut run = self.run_on_x(noisy, threads);
            in_slices(py, || self.lock().reconstruct(&x, &mut out, &mut run))?;
            Ok(array(py, out))
        })
    }

    /// -log p(x|z), its mean over that many draws, and KL of each example, or of the rows that are given; and the
    /// importance-weighted bound, of more than one draw (else an empty array).
    #[allow(clippy::too_many_arguments)]
    fn score<'py>(
        &self,
        py: Python<'py>,
        x: Array2,
        y: Option<Array2>,
        rows: Rows,
        eps: Option<Array2>,
        samples: usize,
        corruption: Option<Corruption>,
        binarize: Option<Binary>,
        threads: Option<usize>,
    ) -> PyResult<[Array<'py>; 3]> {
        let eps = eps.map(source).transpose()?;
        self.with_examples(x, y, &rows, |x| {
            let x = self.binarized(x, binarize);
            let mut run = self.run_on_x(false, threads);
            let bounds = if samples > 1 { x.rows() } else { 0 };
            let mut losses = [zeros(x.rows(), 1)?, zeros(x.rows(), 1)?, zeros(bounds, 1)?];
            in_slices(py, || {
                let mut engine = self.lock();
                let [reconstruction, kl, bound] = losses.each_mut().map(Vec::as_mut_slice);
                match samples {
                    1 => engine.score(&x, eps, corruption, [reconstruction, kl], &mut run),
                    _ => {
                        let losses = [reconstruction, kl, bound];
                        engine.bound(&x, (eps, samples), corruption, losses, &mut run)
                    }
                }
            })?;
            Ok(losses.map(|values| array(py, values)))
        })
    }

    /// log p(x) of each example from that many importance samples, its standard error and the effective sample size.
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
            let at_once = detached(py, || self.lock().samples_at_once(samples))?;
            for first in (0..samples).step_by(at_once as usize) {
                let samples = first..samples.min(first.saturating_add(at_once));
                let mut run = self.run_on_x(false, threads);
                in_slices(py, || {
                    self.lock().log_marginal(&x, samples.clone(), &mut weights, &mut run)
                })?;
            }
            let numbers: [fn(&WeightSums, u32) -> f64; 3] =
                [WeightSums::log_mean, WeightSums::standard_error, |weights, _| {
                    weights.effective()
                }];
            Ok(numbers.map(|number| {
                PyArray1::from_iter(py, weights.iter().map(|weights| number(weights, samples)))
            }))
        })
    }

    /// KL of each latent coordinate of each example, or of the rows that are given.
    #[allow(clippy::too_many_arguments)]
    fn kl<'py>(
        &self,
        py: Python<'py>,
        x: Array2,
        y: Option<Array2>,
        rows: Rows,
        corruption: Option<Corruption>,
        binarize: Option<Binary>,
        threads: Option<usize>,
    ) -> PyResult<Array<'py>> {
        self.with_examples(x, y, &rows, |x| {
            let x = self.binarized(x, binarize);
            let mut out = zeros(x.rows(), self.specification.latent_dim)?;
            let mut run = self.run_on_x(false, threads);
            in_slices(py, || self.lock().kl(&x, corruption, &mut out, &mut run))?;
            Ok(array(py, out))
        })
    }

    /// Draws from p(x|z); `lengths` are the words of each document, of a multinomial.
    fn observe<'py>(
        &self,
        py: Python<'py>,
        z: Array2,
        y: Option<Array2>,
        lengths: Option<PyReadonlyArray1<'_, u32>>,
        seed: u64,
        threads: Option<usize>,
    ) -> PyResult<Array<'py>> {
        let lengths = lengths.as_ref().map(|lengths| lengths.as_slice()).transpose()?;
        with_conditions(source(z)?, y, &None, |z| {
            let specification = &self.specification;
            let scaled = specification.likelihood.outputs_per_feature() == 2;
            let mut out = zeros(z.rows(), specification.n_features)?;
            let mut scale = zeros(if scaled { z.rows() } else { 0 }, specification.n_features)?;
            let mut run = run_on_z(threads);
            in_slices(py, || self.lock().decode(&z, &mut out, &mut scale, &mut run))?;
            let lengths = lengths.unwrap_or_default();
            let mut drawing = DrawProgress { seed, done: 0, budget: SLICE };
            in_slices(py, || Ok(self.lock().observe(&mut out, &mut scale, lengths, &mut drawing)))?;
            Ok(array(py, out))
        })
    }

    /// `n` draws from q(z|x) of each example. `noisy` data may hold any numbers.
    #[allow(clippy::too_many_arguments)]
    fn posterior_sample<'py>(
        &self,
        py: Python<'py>,
        x: Array2,
        y: Option<Array2>,
        n: u32,
        seed: u64,
        noisy: bool,
        threads: Option<usize>,
    ) -> PyResult<Array<'py>> {
        self.with_examples(x, y, &None, |x| {
            let cols = x.rows().saturating_mul(self.specification.latent_dim);
            let mut out = zeros(n as usize, cols)?;
            let mut run = self.run_on_x(noisy, threads);
            in_slices(py, || self.lock().posterior_sample(&x, (n, seed), &mut out, &mut run))?;
            Ok(array(py, out))
        })
    }

    /// The mean over rows of noise, the same for all examples, of what the decoder reads.
    fn mean_code<'py>(
        &self,
        py: Python<'py>,
        x: Array2,
        points: Array2,
        threads: Option<usize>,
    ) -> PyResult<Array<'py>> {
        let (x, points) = (self.examples(x)?, source(points)?);
        let latent = self.specification.latent_dim;
        if points.cols() != latent || points.rows() == 0 {
            return Err(PyValueError::new_err("points are rows of latent_dim numbers"));
        }
        let mut out = zeros(x.rows(), latent)?;
        let mut run = self.run_on_x(false, threads);
        in_slices(py, || self.lock().mean_code(&x, &points, &mut out, &mut run))?;
        Ok(array(py, out))
    }

    /// The mean of E[x|z] over those draws, its standard deviation, and the root of the mean variance of p(x|z).
    #[allow(clippy::too_many_arguments)]
    fn predictive<'py>(
        &self,
        py: Python<'py>,
        x: Array2,
        y: Option<Array2>,
        n: u32,
        seed: u64,
        noisy: bool,
        threads: Option<usize>,
    ) -> PyResult<[Array<'py>; 3]> {
        self.with_examples(x, y, &None, |x| {
            let room = || zeros(x.rows(), x.cols());
            let mut moments = [room()?, room()?, room()?];
            for first in (0..n).step_by(DRAWS_AT_ONCE as usize) {
                let samples = first..n.min(first.saturating_add(DRAWS_AT_ONCE));
                let mut run = self.run_on_x(noisy, threads);
                in_slices(py, || {
                    let out = moments.each_mut().map(Vec::as_mut_slice);
                    self.lock().predict(&x, (samples.clone(), seed), out, &mut run)
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

/// The start of an inference on codes.
fn run_on_z(threads: Option<usize>) -> InferenceRun<'static> {
    start("Z", ValueCheck::new(None, false), threads)
}
