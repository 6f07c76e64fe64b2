//! Training in Python.

use super::arrays::{Array, Array2, Rows, array, owned, source};
use super::detach::{SLICE, detached};
use super::engine::PyEngine;
use crate::data::binarize::Binary;
use crate::data::corruption::Corruption;
use crate::model::{EncoderInput, Epsilon, NoiseKey};
use crate::nn::latent::KlTerm;
use crate::run::train::{Importance, LossSums, Objective, StepValues, TrainingPass};
use numpy::PyReadonlyArray1;
use pyo3::prelude::*;

/// KL weights, KL targets, learning rates.
type CourseArgument<'py> =
    (PyReadonlyArray1<'py, f32>, PyReadonlyArray1<'py, f32>, PyReadonlyArray1<'py, f64>);

#[pymethods]
impl PyEngine {
    /// Trains on `x` once, or on the rows of it that are given. Returns the sums of -log p(x|z), KL and loss over the
    /// examples. Between slices of time it calls `tick` with the number of examples done. `objective` has the weight of
    /// the reconstruction and the free bits; `course` the KL's weights, its targets and the learning rates;
    /// `importance` how many draws an example has, and whether the gradient is doubly reparameterised.
    #[pyo3(signature = (x, y, rows, eps, corrupted, *, shuffle, batch_size, objective, importance, course, corruption, binarize, clip_norm, threads, tick))]
    #[allow(clippy::too_many_arguments)]
    fn train(
        &self,
        py: Python<'_>,
        x: Array2,
        y: Option<Array2>,
        rows: Rows,
        eps: Option<Array2>,
        corrupted: Option<Array2>,
        shuffle: bool,
        batch_size: usize,
        objective: (f32, f32),
        importance: Importance,
        course: CourseArgument,
        corruption: Option<Corruption>,
        binarize: Option<Binary>,
        clip_norm: Option<f64>,
        threads: Option<usize>,
        tick: Option<Bound<'_, PyAny>>,
    ) -> PyResult<(f64, f64, f64)> {
        let eps = eps.map(source).transpose()?;
        let corrupted = corrupted.map(source).transpose()?;
        let course = StepValues {
            betas: course.0.as_slice()?,
            capacities: course.1.as_slice()?,
            learning_rates: course.2.as_slice()?,
        };
        self.with_examples(x, y, &rows, |x| {
            let task = TrainingPass {
                x,
                eps,
                corrupted,
                corruption,
                binarize,
                shuffle,
                batch_size,
                reconstruction: objective.0,
                free_bits: objective.1,
                importance,
                course,
                clip_norm,
                threads,
            };
            let mut totals = LossSums::default();
            loop {
                let done = detached(py, || self.lock().train(&task, &mut totals, SLICE))??;
                py.check_signals()?;
                if done {
                    return Ok((totals.reconstruction, totals.kl, totals.loss));
                }
                if let Some(tick) = &tick {
                    tick.call1((totals.examples,))?;
                }
            }
        })
    }

    /// Means of -log p(x|z), KL and loss, and the gradients of the loss in the order of `parameters`. `objective` has the
    /// weights of the reconstruction and the KL, the free bits and the capacity; `importance` is as in `train`.
    #[allow(clippy::too_many_arguments)]
    fn loss_and_gradients<'py>(
        &self,
        py: Python<'py>,
        x: Array2,
        y: Option<Array2>,
        eps: Option<Array2>,
        corrupted: Option<Array2>,
        objective: (f32, f32, f32, Option<f32>),
        importance: Importance,
        corruption: Option<Corruption>,
        binarize: Option<Binary>,
        threads: Option<usize>,
    ) -> PyResult<(f64, f64, f64, Vec<Array<'py>>)> {
        let eps = eps.map(source).transpose()?;
        let corrupted = corrupted.map(source).transpose()?;
        let (reconstruction, weight, free_bits, capacity) = objective;
        let kl = KlTerm { weight, free_bits, capacity };
        let objective = Objective { reconstruction, kl, importance };
        self.with_examples(x, y, &None, |x| {
            let x = self.binarized(x, binarize);
            let (losses, gradients) = detached(py, || {
                let own = NoiseKey::Score(self.specification.seed);
                let epsilon = eps.map_or(Epsilon::Drawn(own), |eps| Epsilon::Given(eps, 0));
                let input = EncoderInput::of(corrupted.map(|seen| (seen, 0)), corruption, own);
                self.lock().loss_and_gradients(&x, (input, epsilon), objective, threads)
            })??;
            let n = x.rows() as f64;
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
        Ok(detached(py, || {
            let mut engine = self.lock();
            let gradients = engine.pack(&gradients, engine.network.trained())?;
            engine.apply_gradients(&gradients, learning_rate, threads)
        })??)
    }
}
