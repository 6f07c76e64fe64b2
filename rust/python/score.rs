//! Losses in Python: per example, and means over a data set.

use super::arrays::{Array, Array2, Rows, Weights, array, source, zeros};
use super::engine::PyEngine;
use crate::data::Source;
use crate::data::binarize::Binary;
use crate::data::corruption::Corruption;
use crate::error::copied;
use crate::nn::objective::Objective;
use crate::run::evaluate::MeanLosses;
use numpy::{PyArray1, PyArrayMethods, PyReadonlyArray1};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

#[pymethods]
impl PyEngine {
    /// -log p(x|z) (the mean over `samples` draws), KL and, for several draws, the importance-weighted bound (else
    /// empty) of each example, each [n]. Nats. `balanced`: log p has the weights of groups of columns, as in training.
    #[pyo3(signature = (x, y, eps, samples, threads, balanced = false))]
    #[allow(clippy::too_many_arguments)]
    fn score<'py>(
        &self,
        py: Python<'py>,
        x: Array2,
        y: Option<Array2>,
        eps: Option<Array2>,
        samples: usize,
        threads: Option<usize>,
        balanced: bool,
    ) -> PyResult<[Array<'py>; 3]> {
        let eps = eps.map(source).transpose()?;
        self.with_examples(x, y, &None, |x| {
            let losses = self.losses(py, &x, (eps, samples), (None, balanced), threads)?;
            Ok(losses.map(|values| array(py, values)))
        })
    }

    /// KL of each latent coordinate of each example, [n * latent_dim]. Nats.
    fn kl<'py>(
        &self,
        py: Python<'py>,
        x: Array2,
        y: Option<Array2>,
        threads: Option<usize>,
    ) -> PyResult<Array<'py>> {
        self.with_examples(x, y, &None, |x| {
            let mut kl = zeros(x.rows(), self.specification.latent_dim)?;
            let mut run = self.run_on_x(&x, true, threads);
            self.in_slices(py, |engine| engine.kl(&x, None, &mut kl, &mut run))?;
            Ok(array(py, kl))
        })
    }

    /// What `mean_losses` returns for examples with the losses of `score`, each [n], and, with free bits, `kl` by coordinate
    /// (else empty).
    fn mean_of_losses(
        &self,
        losses: [PyReadonlyArray1<'_, f32>; 3],
        kl: PyReadonlyArray1<'_, f32>,
        weights: Weights,
        objectives: Vec<Objective>,
    ) -> PyResult<(f64, f64, Vec<f64>)> {
        let weights = weights.as_ref().map(|weights| weights.as_slice()).transpose()?;
        let [reconstruction, kl_of_rows, bound] = losses.each_ref().map(|values| values.as_slice());
        let (reconstruction, kl_of_rows, bound) = (reconstruction?, kl_of_rows?, bound?);
        let (n, latent_dim) = (reconstruction.len(), self.specification.latent_dim);
        let kl = kl.as_slice()?;
        if kl_of_rows.len() != n
            || ![0, n].contains(&bound.len())
            || ![0, n * latent_dim].contains(&kl.len())
        {
            return Err(PyValueError::new_err("the losses are not of the same examples"));
        }
        let x = Source::from_slice(reconstruction, 1);
        let x = weights.map_or(Ok(x), |weights| x.with_weights(weights, None))?;
        let losses = [copied(reconstruction)?, copied(kl_of_rows)?, copied(bound)?];
        let means = MeanLosses::new(&x, losses, kl, latent_dim);
        Ok(by_objective(&means, &objectives))
    }

    /// Means of -log p(x|z) and KL over the examples (or over `rows`), and the loss of each objective. Nats. All
    /// objectives must have the same number of draws. `balanced`: log p has the weights of groups of columns, as in
    /// training. `exchange`: the exchange with other ranks, over whose shares the means are then.
    #[pyo3(signature = (x, y, weights, rows, eps, objectives, corruption, binarize, balanced, threads, exchange=None))]
    #[allow(clippy::too_many_arguments)]
    fn mean_losses(
        &self,
        py: Python<'_>,
        x: Array2,
        y: Option<Array2>,
        weights: Weights,
        rows: Rows,
        eps: Option<Array2>,
        objectives: Vec<Objective>,
        corruption: Option<Corruption>,
        binarize: Option<Binary>,
        balanced: bool,
        threads: Option<usize>,
        exchange: Option<Bound<'_, PyAny>>,
    ) -> PyResult<(f64, f64, Vec<f64>)> {
        let eps = eps.map(source).transpose()?;
        self.with_weighted(x, (y, &weights), &rows, |x| {
            let x = self.binarized(x, binarize);
            let samples = objectives.first().map_or(1, |objective| objective.importance.samples);
            let losses = self.losses(py, &x, (eps, samples), (corruption, balanced), threads)?;
            let latent_dim = self.specification.latent_dim;
            let free_bits = objectives.iter().any(|objective| objective.kl.free_bits > 0.0);
            let mut kl_by_coordinate = zeros(if free_bits { x.rows() } else { 0 }, latent_dim)?;
            if free_bits {
                let mut run = self.run_on_x(&x, true, threads);
                let kl = &mut kl_by_coordinate;
                self.in_slices(py, |engine| engine.kl(&x, corruption, kl, &mut run))?;
            }
            let means = MeanLosses::new(&x, losses, &kl_by_coordinate, latent_dim);
            let means = match exchange {
                None => means,
                Some(object) => means.over_ranks(x.total_weight(), |values| {
                    let array = PyArray1::from_vec(py, copied(values)?);
                    object.call_method1("sum", (&array,))?;
                    values.copy_from_slice(array.readonly().as_slice()?);
                    PyResult::Ok(())
                })?,
            };
            Ok(by_objective(&means, &objectives))
        })
    }
}

/// Means, and the loss of each objective.
fn by_objective(means: &MeanLosses, objectives: &[Objective]) -> (f64, f64, Vec<f64>) {
    let values = objectives.iter().map(|objective| means.loss(objective)).collect();
    (means.reconstruction, means.kl, values)
}

impl PyEngine {
    /// -log p(x|z), KL and, for several draws, the importance-weighted bound (else empty) of each example, nats, [n].
    /// `balanced`: log p has the weights of groups of columns, as in training.
    fn losses(
        &self,
        py: Python<'_>,
        x: &Source,
        (eps, samples): (Option<Source>, usize),
        (corruption, balanced): (Option<Corruption>, bool),
        threads: Option<usize>,
    ) -> PyResult<[Vec<f32>; 3]> {
        let mut run = self.run_on_x(x, true, threads);
        let bounds = if samples > 1 { x.rows() } else { 0 };
        let mut losses = [zeros(x.rows(), 1)?, zeros(x.rows(), 1)?, zeros(bounds, 1)?];
        self.in_slices(py, |engine| {
            let [reconstruction, kl, bound] = losses.each_mut().map(Vec::as_mut_slice);
            match samples {
                1 => engine.score(x, eps, corruption, ([reconstruction, kl], balanced), &mut run),
                _ => {
                    let losses = [reconstruction, kl, bound];
                    engine.bound(x, (eps, samples), corruption, (losses, balanced), &mut run)
                }
            }
        })?;
        Ok(losses)
    }
}
