//! A model in Python: construction, parameters, counters.

use super::arrays::{Array, Array2, Rows, array, owned, source, with_conditions};
use super::detach::{SLICE, detached};
use crate::data::binarize::{Binary, VALIDATION_PASS};
use crate::data::check::ValueCheck;
use crate::data::{Element, Source};
use crate::error::{Error, filled};
use crate::file::{self, History};
use crate::model::{Engine, Specification};
use crate::random::Stream;
use crate::run::blocks::InferenceRun;
use crate::run::functional;
use crate::simd::Isa;
use numpy::PyReadonlyArray1;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A model. All returned arrays are flat; the Python layer reshapes them.
#[pyclass(frozen, module = "fastvae._core", name = "Engine")]
pub struct PyEngine {
    /// A copy of the engine's specification. It is constant, so reading it needs no lock.
    pub specification: Specification,
    engine: Mutex<Engine>,
}

impl From<Engine> for PyEngine {
    fn from(engine: Engine) -> PyEngine {
        PyEngine { specification: engine.network.spec.clone(), engine: Mutex::new(engine) }
    }
}

impl PyEngine {
    /// Locks the engine; waits for other threads. Call only in [`detached`] work.
    pub fn lock(&self) -> MutexGuard<'_, Engine> {
        self.engine.lock().unwrap_or_else(PoisonError::into_inner)
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
        let likelihood = Some(specification.likelihood);
        let check = ValueCheck::new(likelihood, specification.missing.is_masked());
        let check = if scored { check } else { check.encoded_only() };
        start("X", check.through(specification.input_transform), threads)
    }
}

/// Raises ValueError unless `json` is a valid specification.
#[pyfunction]
pub fn check_specification(json: &str) -> PyResult<()> {
    Ok(Specification::from_json(json).map(drop)?)
}

/// Starts an inference with a time budget of [`SLICE`] per call.
pub fn start(name: &str, check: ValueCheck, threads: Option<usize>) -> InferenceRun<'_> {
    InferenceRun { name, check, done: 0, budget: SLICE, threads }
}

#[pymethods]
impl PyEngine {
    #[new]
    fn new(py: Python<'_>, specification: &str) -> PyResult<PyEngine> {
        let engine = detached(py, || Engine::new(Specification::from_json(specification)?))??;
        Ok(engine.into())
    }

    /// The specification with all its options, as JSON.
    #[getter]
    fn specification(&self) -> String {
        self.specification.to_json()
    }

    /// Names and shapes of the parameters, in the order of `parameters`.
    fn shapes(&self, py: Python<'_>) -> PyResult<Vec<(String, Vec<usize>)>> {
        detached(py, || {
            let engine = self.lock();
            engine.network.tensors.iter().map(|t| (t.name.clone(), t.shape.clone())).collect()
        })
    }

    /// Names and shapes of the trained parameters, in the order of gradients.
    fn trained(&self, py: Python<'_>) -> PyResult<Vec<(String, Vec<usize>)>> {
        detached(py, || {
            let engine = self.lock();
            engine.network.trained().iter().map(|t| (t.name.clone(), t.shape.clone())).collect()
        })
    }

    fn parameters<'py>(&self, py: Python<'py>) -> PyResult<Vec<Array<'py>>> {
        let values: Vec<Vec<f32>> = detached(py, || {
            let engine = self.lock();
            engine.network.tensors.iter().map(|tensor| engine.parameter(tensor)).collect()
        })?;
        Ok(values.into_iter().map(|v| array(py, v)).collect())
    }

    fn set_parameters(
        &self,
        py: Python<'_>,
        values: Vec<PyReadonlyArray1<'_, f32>>,
    ) -> PyResult<()> {
        let values = owned(&values)?;
        Ok(detached(py, || self.lock().set_parameters(&values))??)
    }

    /// Changes the sign of a latent coordinate in encoder and decoder.
    fn flip_sign(&self, py: Python<'_>, coordinate: usize) -> PyResult<()> {
        Ok(detached(py, || self.lock().flip_sign(coordinate))??)
    }

    /// Draws `n` codes from the prior, [n * latent_dim].
    fn prior<'py>(&self, py: Python<'py>, n: usize, seed: u64) -> PyResult<Array<'py>> {
        let latent = self.specification.latent_dim;
        let codes = detached(py, || {
            let isa = Isa::detect()?;
            let mut codes = filled(0.0, n.checked_mul(latent))?;
            functional::standard_normal(isa, seed, Stream::Prior as u8, latent, &mut codes);
            Ok::<_, Error>(codes)
        })??;
        Ok(array(py, codes))
    }

    /// The bytes of a model file with the estimator's JSON, the history as names and values, and, if `moments`, the
    /// optimizer's moments.
    #[pyo3(signature = (estimator, moments, history = Vec::new()))]
    fn dump<'py>(
        &self,
        py: Python<'py>,
        estimator: &str,
        moments: bool,
        history: Vec<(String, PyReadonlyArray1<'_, f64>)>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let mut losses = History::new();
        for (name, values) in history {
            losses.push((name, values.as_slice()?.to_vec()));
        }
        let bytes = detached(py, || file::to_bytes(&self.lock(), estimator, &losses, moments))??;
        PyBytes::new_with(py, bytes.len(), |to| {
            to.copy_from_slice(&bytes);
            Ok(())
        })
    }

    /// Number of optimizer steps.
    #[getter]
    fn steps(&self, py: Python<'_>) -> PyResult<u64> {
        detached(py, || self.lock().steps)
    }

    /// Number of steps before the start of the optimizer's moments.
    #[getter]
    fn optimizer_start(&self, py: Python<'_>) -> PyResult<u64> {
        detached(py, || self.lock().optimizer_start)
    }

    /// Number of finished shuffled epochs.
    #[getter]
    fn epochs(&self, py: Python<'_>) -> PyResult<u32> {
        detached(py, || self.lock().epochs)
    }

    /// Number of clamped log variances.
    #[getter]
    fn clamped(&self, py: Python<'_>) -> PyResult<usize> {
        detached(py, || self.lock().clamped.load(Ordering::Relaxed))
    }
}
