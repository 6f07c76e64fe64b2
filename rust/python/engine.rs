//! A model in Python: construction, parameters, counters.

use super::arrays::{Array, Array2, Rows, Weights, array, owned, source, with_conditions};
use super::detach::{SLICE, detached, in_slices};
use super::lock::{EngineLock, Unusable};
use crate::data::binarize::{Binary, VALIDATION_PASS};
use crate::data::check::ValueCheck;
use crate::data::{Element, Source};
use crate::error::{Error, copied};
use crate::file::{self, History};
use crate::model::{Engine, Precision, Specification};
use crate::random::Stream;
use crate::run::blocks::InferenceRun;
use crate::run::fingerprint::Fingerprint;
use numpy::PyReadonlyArray1;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::sync::atomic::Ordering;

const FORKED: &str = "this model was in use by another thread when the process was forked, and may be in the middle of a \
                      step: save it to a file or copy it before the fork, or start the process with \"spawn\"";

const IN_HANDLER: &str = "this model is in the middle of a step, which the signal handler has interrupted: let the \
                          handler set a flag, and use the model when the call has returned";

/// A model. All returned arrays are flat; the Python layer reshapes them.
#[pyclass(frozen, module = "fastvae._core", name = "Engine")]
pub struct PyEngine {
    /// A copy of the engine's specification. It is constant, so reading it needs no lock.
    pub specification: Specification,
    engine: EngineLock,
}

impl From<Engine> for PyEngine {
    fn from(engine: Engine) -> PyEngine {
        PyEngine { specification: engine.network.spec.clone(), engine: EngineLock::new(engine) }
    }
}

impl PyEngine {
    /// Calls `work` with the engine, without the interpreter lock. Waits for other threads that use the engine, with a check
    /// for Ctrl-C after each [`SLICE`].
    pub fn with_engine<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut Engine) -> T + Send,
    ) -> PyResult<T> {
        let (mut work, mut result) = (Some(work), None);
        self.call(py, &mut |engine| result = work.take().map(|work| work(engine)))?;
        Ok(result.expect("the work is done"))
    }

    /// Calls `work` with the engine until it returns true. Checks for Ctrl-C after each call.
    pub fn in_slices(
        &self,
        py: Python<'_>,
        mut work: impl FnMut(&mut Engine) -> Result<bool, Error> + Send,
    ) -> PyResult<()> {
        let mut done = Ok(false);
        while !done? {
            done = Ok(false);
            self.call(py, &mut |engine| done = work(engine))?;
            py.check_signals()?;
        }
        Ok(())
    }

    /// [`PyEngine::with_engine`] without generic parameters, so that it is compiled once.
    fn call(&self, py: Python<'_>, work: &mut (dyn FnMut(&mut Engine) + Send)) -> PyResult<()> {
        loop {
            let locked = detached(py, || {
                let engine = self.engine.lock_within(SLICE)?;
                Ok(engine.map(|mut engine| work(&mut engine)).is_some())
            })?;
            match locked {
                Ok(true) => return Ok(()),
                Ok(false) => py.check_signals()?,
                Err(Unusable::Forked) => return Err(PyRuntimeError::new_err(FORKED)),
                Err(Unusable::InHandler) => return Err(PyRuntimeError::new_err(IN_HANDLER)),
            }
        }
    }

    /// Wraps examples of this model. Disables scaling for likelihoods of counts.
    pub fn examples<'a>(&self, x: Array2<'a, '_>) -> PyResult<Source<'a>> {
        let source = source(x)?;
        Ok(if self.specification.likelihood.is_counts() { source.unscaled() } else { source })
    }

    /// Calls `work` with the selected rows of the examples `x` and, if given, of the conditions `y`.
    pub fn with_examples<T>(
        &self,
        x: Array2,
        y: Option<Array2>,
        rows: &Rows,
        work: impl FnOnce(Source) -> PyResult<T>,
    ) -> PyResult<T> {
        with_conditions(self.examples(x)?, y, rows, work)
    }

    /// [`PyEngine::with_examples`], with the weights of the rows of `x`, if given.
    pub fn with_weighted<T>(
        &self,
        x: Array2,
        (y, weights): (Option<Array2>, &Weights),
        rows: &Rows,
        work: impl FnOnce(Source) -> PyResult<T>,
    ) -> PyResult<T> {
        self.with_block(x, (y, weights, None), rows, work)
    }

    /// [`PyEngine::with_weighted`] for a block of the rows of a pass whose weights have the mean `mean`.
    pub fn with_block<T>(
        &self,
        x: Array2,
        (y, weights, mean): (Option<Array2>, &Weights, Option<f64>),
        rows: &Rows,
        work: impl FnOnce(Source) -> PyResult<T>,
    ) -> PyResult<T> {
        let weights = weights.as_ref().map(|weights| weights.as_slice()).transpose()?;
        self.with_examples(x, y, rows, |x| match weights {
            Some(weights) => work(x.with_weights(weights, mean)?),
            None => work(x),
        })
    }

    /// Binarises examples for validation: a fixed draw, independent of training.
    pub fn binarized<'a>(&self, x: Source<'a>, binarize: Option<Binary>) -> Source<'a> {
        let seed = self.specification.seed;
        x.binarized(binarize.map(|binary| binary.of(seed, VALIDATION_PASS)))
    }

    /// Starts an inference on X. `scored`: the likelihood reads X and limits its values; otherwise only the encoder reads
    /// it, and takes any numbers. Bytes outside the support are wrongly scaled, and documents hold counts only.
    pub fn run_on_x(
        &self,
        x: &Source,
        scored: bool,
        threads: Option<usize>,
    ) -> InferenceRun<'static> {
        let specification = &self.specification;
        let scored = scored || x.element() == Element::Byte || specification.topics.is_some();
        let likelihood = Some(specification.likelihood.clone());
        let check = ValueCheck::new(likelihood, specification.missing.is_masked());
        let check = if scored { check } else { check.encoded_only() };
        start("X", check.through(specification.input_transform), threads)
    }

    /// Starts an inference on X with predictions in place of missing values.
    pub fn run_on_given(&self, x: &Source, threads: Option<usize>) -> InferenceRun<'static> {
        let run = self.run_on_x(x, true, threads);
        InferenceRun { check: run.check.filled_in(), ..run }
    }
}

/// Starts an inference with a time budget of [`SLICE`] per call.
pub fn start(name: &str, check: ValueCheck, threads: Option<usize>) -> InferenceRun<'_> {
    InferenceRun { name, check, done: 0, budget: SLICE, threads, first: 0 }
}

#[pymethods]
impl PyEngine {
    #[new]
    fn new(py: Python<'_>, specification: &str) -> PyResult<PyEngine> {
        let engine = detached(py, || Engine::new(Specification::from_json(specification)?))??;
        Ok(engine.into())
    }

    /// A copy whose matrix products have operands of this precision, float32 or bf16.
    fn with_precision(&self, py: Python<'_>, precision: &str) -> PyResult<PyEngine> {
        let precision = Precision::named(precision)?;
        Ok(self.with_engine(py, |engine| engine.with_precision(precision))??.into())
    }

    /// The specification with all its options, as JSON.
    #[getter]
    fn specification(&self) -> String {
        self.specification.to_json()
    }

    /// Names and shapes of the parameters, in the order of `parameters`.
    fn shapes(&self, py: Python<'_>) -> PyResult<Vec<(String, Vec<usize>)>> {
        self.with_engine(py, |engine| {
            engine.network.tensors.iter().map(|t| (t.name.clone(), t.shape.clone())).collect()
        })
    }

    /// Names and shapes of the trained parameters, in the order of gradients.
    fn trained(&self, py: Python<'_>) -> PyResult<Vec<(String, Vec<usize>)>> {
        self.with_engine(py, |engine| {
            engine.network.trained().iter().map(|t| (t.name.clone(), t.shape.clone())).collect()
        })
    }

    fn parameters<'py>(&self, py: Python<'py>) -> PyResult<Vec<Array<'py>>> {
        let values: Vec<Vec<f32>> = self.with_engine(py, |engine| {
            let tensors = engine.network.tensors.iter();
            tensors.map(|tensor| engine.parameter(tensor)).collect::<Result<_, _>>()
        })??;
        Ok(values.into_iter().map(|v| array(py, v)).collect())
    }

    fn set_parameters(
        &self,
        py: Python<'_>,
        values: Vec<PyReadonlyArray1<'_, f32>>,
    ) -> PyResult<()> {
        let values = owned(&values)?;
        Ok(self.with_engine(py, |engine| engine.set_parameters(&values))??)
    }

    /// The model with weights in "int8" or "bf16", for inference only.
    fn quantized(&self, py: Python<'_>, precision: &str) -> PyResult<PyEngine> {
        let precision = match precision {
            "int8" => Precision::Int8,
            other => Precision::named(other)?,
        };
        Ok(self.with_engine(py, |engine| engine.quantized(precision))??.into())
    }

    /// Stores the parameters as the best ones.
    fn store_best(&self, py: Python<'_>) -> PyResult<()> {
        Ok(self.with_engine(py, |engine| engine.store_best())??)
    }

    /// Sets the parameters to the best ones, if any are stored, and releases these.
    fn restore_best(&self, py: Python<'_>) -> PyResult<()> {
        Ok(self.with_engine(py, |engine| engine.restore_best())??)
    }

    /// Releases the best parameters.
    fn drop_best(&self, py: Python<'_>) -> PyResult<()> {
        self.with_engine(py, |engine| engine.drop_best())
    }

    /// Changes the sign of a latent coordinate in encoder and decoder.
    fn flip_sign(&self, py: Python<'_>, coordinate: usize) -> PyResult<()> {
        Ok(self.with_engine(py, |engine| engine.flip_sign(coordinate))??)
    }

    /// Draws `n` codes from the prior, [n * latent_dim]; the first one has the number `first`.
    #[pyo3(signature = (n, seed, first = 0))]
    fn prior<'py>(
        &self,
        py: Python<'py>,
        n: usize,
        seed: u64,
        first: usize,
    ) -> PyResult<Array<'py>> {
        let latent = self.specification.latent_dim;
        super::functional::normal(py, (first, n, latent), seed, Stream::Prior as u8)
    }

    /// The bytes of a model file with the estimator's JSON, the history as names and values, and, if `moments`, the
    /// optimizer's moments; if `best`, with moments and the best parameters, if any are stored.
    #[pyo3(signature = (estimator, moments, history = Vec::new(), best = false))]
    fn dump<'py>(
        &self,
        py: Python<'py>,
        estimator: &str,
        moments: bool,
        history: Vec<(String, PyReadonlyArray1<'_, f64>)>,
        best: bool,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let mut losses = History::new();
        for (name, values) in history {
            losses.push((name, copied(values.as_slice()?)?));
        }
        let bytes = self.with_engine(py, |engine| match best {
            true => file::checkpoint(engine, estimator, &losses),
            false => file::to_bytes(engine, estimator, &losses, moments),
        })??;
        PyBytes::new_with(py, bytes.len(), |to| {
            to.copy_from_slice(&bytes);
            Ok(())
        })
    }

    /// A checksum of the values of `x`, of `rows` of it, of `y` and of the weights, as the engine reads them.
    fn fingerprint(
        &self,
        py: Python<'_>,
        x: Array2,
        y: Option<Array2>,
        weights: Weights,
        rows: Rows,
    ) -> PyResult<u32> {
        self.with_weighted(x, (y, &weights), &rows, |x| {
            let mut fingerprint = Fingerprint::default();
            let weights = weights.as_ref().map(|weights| weights.as_slice()).transpose()?;
            let weights = weights.map(|weights| Source::from_slice(weights, 1));
            for source in std::iter::once(&x).chain(x.conditions()).chain(&weights) {
                let mut done = 0;
                in_slices(py, || {
                    fingerprint.update(source, &mut done, SLICE);
                    Ok(done == source.rows())
                })?;
            }
            Ok(fingerprint.finish())
        })
    }

    /// Number of optimizer steps.
    #[getter]
    fn steps(&self, py: Python<'_>) -> PyResult<u64> {
        self.with_engine(py, |engine| engine.steps)
    }

    /// Number of steps before the start of the optimizer's moments.
    #[getter]
    fn optimizer_start(&self, py: Python<'_>) -> PyResult<u64> {
        self.with_engine(py, |engine| engine.optimizer_start)
    }

    /// Number of finished shuffled epochs.
    #[getter]
    fn epochs(&self, py: Python<'_>) -> PyResult<u32> {
        self.with_engine(py, |engine| engine.epochs)
    }

    /// Number of clamped log variances.
    #[getter]
    fn clamped(&self, py: Python<'_>) -> PyResult<usize> {
        self.with_engine(py, |engine| engine.clamped.load(Ordering::Relaxed))
    }
}

/// A specification with a value for every option, as an engine has it: JSON to JSON.
#[pyfunction]
pub fn complete_specification(specification: &str) -> PyResult<String> {
    Ok(Specification::from_json(specification)?.to_json())
}
