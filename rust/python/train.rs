//! Training in Python.

use super::arguments::{BlockArguments, CompositeArguments};
use super::arrays::{Array, Array2, Rows, Weights, array, owned, source};
use super::detach::SLICE;
use super::engine::PyEngine;
use super::exchange::PyExchange;
use crate::data::binarize::Binary;
use crate::data::corruption::Corruption;
use crate::model::{EncoderInput, Epsilon, Exchange, NoiseKey};
use crate::nn::objective::{LossSums, Objective};
use crate::run::train::{self, StepValues, TrainingPass};
use crate::simd::Isa;
use numpy::PyReadonlyArray1;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// KL weights, KL targets and learning rates: one value for all steps, or one value per step.
type StepArrays<'py> =
    (PyReadonlyArray1<'py, f32>, PyReadonlyArray1<'py, f32>, PyReadonlyArray1<'py, f64>);

#[pymethods]
impl PyEngine {
    /// Trains one pass over `x`, or over `rows` of it. Returns the sums of -log p(x|z), KL and loss over the examples, the
    /// number of examples in the sums, and the number of skipped batches. Calls `tick` after each slice of time with the number of
    /// finished examples. `objective`: the values of the first step. `step_values`: KL weights, KL targets and learning rates of all steps. `exchange`: the exchange with other ranks, whose
    /// sums are those of all; the number of examples is this rank's. `block`: the place of the rows in a larger pass.
    #[pyo3(signature = (x, y, weights, rows, eps, corrupted, *, shuffle, batch_size, objective, step_values, corruption, binarize, clip_norm, threads, checks_end, skips_bad, tick, prior=None, exchange=None, block=None))]
    #[allow(clippy::too_many_arguments)]
    fn train(
        &self,
        py: Python<'_>,
        x: Array2,
        y: Option<Array2>,
        weights: Weights,
        rows: Rows,
        eps: Option<Array2>,
        corrupted: Option<Array2>,
        shuffle: bool,
        batch_size: usize,
        objective: Objective,
        step_values: StepArrays,
        corruption: Option<Corruption>,
        binarize: Option<Binary>,
        clip_norm: Option<f64>,
        threads: Option<usize>,
        checks_end: bool,
        skips_bad: bool,
        tick: Option<Bound<'_, PyAny>>,
        prior: Option<CompositeArguments>,
        exchange: Option<Bound<'_, PyAny>>,
        block: Option<BlockArguments>,
    ) -> PyResult<(f64, f64, f64, f64, usize)> {
        let eps = eps.map(source).transpose()?;
        let corrupted = corrupted.map(source).transpose()?;
        let (betas, capacities, learning_rates) = &step_values;
        let step_values = StepValues {
            betas: betas.as_slice()?,
            capacities: capacities.as_slice()?,
            learning_rates: learning_rates.as_slice()?,
        };
        let prior = prior.as_ref().map(CompositeArguments::prior).transpose()?;
        let ranks = match &exchange {
            Some(object) => {
                let rows = self.with_engine(py, |engine| engine.network.rows)?;
                Some(PyExchange::new(object, rows)?)
            }
            None => None,
        };
        if ranks.is_some() && block.is_some() {
            return Err(PyValueError::new_err("a share of several ranks is not read in blocks"));
        }
        let mean_weight = block.as_ref().and_then(BlockArguments::mean_weight);
        let block = block.as_ref().map(BlockArguments::block).transpose()?;
        self.with_block(x, (y, &weights, mean_weight), &rows, |x| {
            let x = match &ranks {
                Some((_, shares)) if shares.own() != x.rows() => {
                    return Err(PyValueError::new_err("the share of this rank has other rows"));
                }
                Some((_, shares)) => x.share_of(shares.total(), shares.first()),
                None => x,
            };
            let pass = TrainingPass {
                x,
                eps,
                corrupted,
                corruption,
                binarize,
                shuffle,
                batch_size,
                reconstruction: objective.reconstruction,
                free_bits: objective.kl.free_bits,
                importance: objective.importance,
                step_values,
                clip_norm,
                threads,
                checks_end,
                skips_bad,
                prior,
                ranks: ranks.as_ref().map(|(exchange, shares)| (shares, exchange as &dyn Exchange)),
                block,
            };
            let mut sums = LossSums::default();
            loop {
                let done =
                    self.with_engine(py, |engine| engine.train(&pass, &mut sums, SLICE))??;
                if let Some(error) = ranks.as_ref().and_then(|(exchange, _)| exchange.error()) {
                    return Err(error);
                }
                py.check_signals()?;
                if done {
                    let LossSums { reconstruction, kl, loss, weight, skipped, .. } = sums;
                    return Ok((reconstruction, kl, loss, weight, skipped));
                }
                if let Some(tick) = &tick {
                    tick.call1((sums.examples,))?;
                }
            }
        })
    }

    /// The means of -log p(x|z), KL and loss, and the gradients of the loss in the order of `trained`. Nats.
    #[pyo3(signature = (x, y, weights, eps, corrupted, objective, corruption, binarize, threads, prior=None))]
    #[allow(clippy::too_many_arguments)]
    fn loss_and_gradients<'py>(
        &self,
        py: Python<'py>,
        x: Array2,
        y: Option<Array2>,
        weights: Weights,
        eps: Option<Array2>,
        corrupted: Option<Array2>,
        objective: Objective,
        corruption: Option<Corruption>,
        binarize: Option<Binary>,
        threads: Option<usize>,
        prior: Option<CompositeArguments>,
    ) -> PyResult<(f64, f64, f64, Vec<Array<'py>>)> {
        let prior = prior.as_ref().map(CompositeArguments::prior).transpose()?;
        let eps = eps.map(source).transpose()?;
        let corrupted = corrupted.map(source).transpose()?;
        self.with_weighted(x, (y, &weights), &None, |x| {
            let x = self.binarized(x, binarize);
            let (losses, gradients) = self.with_engine(py, |engine| {
                let own = NoiseKey::Score(self.specification.seed);
                let epsilon = eps.map_or(Epsilon::Drawn(own), |eps| Epsilon::Given(eps, 0));
                let given = corrupted.map(|corrupted| (corrupted, 0));
                let input = EncoderInput::of(given, corruption, own);
                engine.loss_and_gradients(&x, (input, epsilon), (objective, prior), threads)
            })??;
            let n = losses.weight;
            let gradients = gradients.into_iter().map(|g| array(py, g)).collect();
            Ok((losses.reconstruction / n, losses.kl / n, losses.loss / n, gradients))
        })
    }

    fn apply_gradients(
        &self,
        py: Python<'_>,
        gradients: Vec<PyReadonlyArray1<'_, f32>>,
        learning_rate: f64,
        threads: Option<usize>,
    ) -> PyResult<()> {
        let gradients = owned(&gradients)?;
        Ok(self.with_engine(py, |engine| {
            let gradients = engine.pack(&gradients, engine.network.trained())?;
            engine.apply_gradients(&gradients, learning_rate, threads)
        })??)
    }
}

/// The order in which a rank of a distributed training reads the `n` rows of its share in a shuffled epoch.
#[pyfunction]
pub fn order_of_rank(seed: u64, epoch: u32, rank: usize, n: usize) -> PyResult<Vec<usize>> {
    Ok(train::order_of_rank(Isa::detect()?, (seed, epoch), rank, n))
}
