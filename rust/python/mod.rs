//! The Python binding: extract, detach, call, map the error. Nothing else.
#![allow(unsafe_code)] // Arrays are read in place, through `Source`.

use crate::data::binarize::{Binary, VALIDATION_PASS};
use crate::data::check::ValueCheck;
use crate::data::corruption::Corruption;
use crate::data::csr::Csr;
use crate::data::input_transform::Transform;
use crate::data::{Element, Source};
use crate::error::{Error, filled};
use crate::file;
use crate::model::{
    EncoderInput, Engine, Epsilon, Missing, NoiseKey, Spec, Topics, WeightConstraint, WeightSums,
};
use crate::nn::activation::Activation;
use crate::nn::latent::KlTerm;
use crate::nn::likelihood::{
    Bernoulli, DrawProgress, Gaussian, Likelihood, Link, NegativeBinomial, Scale,
};
use crate::nn::optimizer::Optimizer;
use crate::random::Stream;
use crate::run::functional;
use crate::run::infer::InferenceRun;
use crate::run::train::{Importance, LossSums, Objective, StepValues, TrainingPass};
use crate::simd::Isa;
use crate::threads;
use numpy::{
    PyArray1, PyArrayDescr, PyArrayDescrMethods, PyReadonlyArray1, PyUntypedArray,
    PyUntypedArrayMethods, dtype,
};
use pyo3::exceptions::{
    PyFloatingPointError, PyMemoryError, PyOSError, PyRuntimeError, PyTypeError, PyValueError,
};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyDict};
use std::ffi::OsString;
use std::io::{self, Cursor, Read};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long Python waits between two looks at its signals: Ctrl-C answers within about twice this, or one step of
/// training where that is longer.
const SLICE: Duration = Duration::from_millis(50);

/// Draws from the posterior that are taken for all examples between two looks at the clock.
const DRAWS_AT_ONCE: u32 = 32;

pyo3::create_exception!(
    fastvae,
    FormatError,
    PyValueError,
    "A file or bytes hold no model that this version can read."
);

impl From<Error> for PyErr {
    fn from(error: Error) -> PyErr {
        match error {
            Error::Shape(m) | Error::Parameter(m) | Error::Value(m) => PyValueError::new_err(m),
            Error::Memory(m) => PyMemoryError::new_err(m),
            Error::Diverged(m) => PyFloatingPointError::new_err(m),
            Error::Format(m) => FormatError::new_err(m),
            Error::Io(kind, m) => io::Error::new(kind, m).into(),
        }
    }
}

/// The OSError (FileNotFoundError, ...) that Python's own functions raise, with the file's name.
fn os_error(error: io::Error, path: OsString) -> PyErr {
    let message = error.to_string();
    match error.raw_os_error() {
        // OSError(errno, message, file name, winerror): Windows looks at the last number, others at the first one.
        Some(code) => {
            let message = message.trim_end_matches(&format!(" (os error {code})")).to_string();
            PyOSError::new_err((code, message, path, code))
        }
        None => io::Error::new(error.kind(), format!("{}: {message}", Path::new(&path).display()))
            .into(),
    }
}

/// Runs `work` without the interpreter lock. A panic, which would be a bug, becomes an exception.
fn detached<T: Send>(py: Python<'_>, work: impl FnOnce() -> T + Send) -> PyResult<T> {
    py.detach(|| catch_unwind(AssertUnwindSafe(work)))
        .map_err(|_| PyRuntimeError::new_err("internal error in fastvae; please report it"))
}

/// Calls `work` until it returns true, looking for Ctrl-C in between.
fn in_slices(py: Python<'_>, mut work: impl FnMut() -> Result<bool, Error> + Send) -> PyResult<()> {
    while !detached(py, &mut work)?? {
        py.check_signals()?;
    }
    py.check_signals()
}

/// A two-dimensional array or a sparse matrix, read in place.
fn source<'a>(matrix: &'a Bound<'_, PyAny>) -> PyResult<Source<'a>> {
    if let Ok(sparse) = matrix.cast::<PySparseMatrix>() {
        return Ok(Source::from_csr(&sparse.get().csr));
    }
    let (array, py) = (matrix.cast::<PyUntypedArray>()?, matrix.py());
    let kind = array.dtype();
    let native = |wanted: Bound<'_, PyArrayDescr>| kind.is_equiv_to(&wanted);
    let element = if native(dtype::<f32>(py)) {
        Element::F32
    } else if native(dtype::<f64>(py)) {
        Element::F64
    } else if native(dtype::<u8>(py)) {
        Element::U8
    } else {
        return Err(PyTypeError::new_err(format!("arrays of {kind} are not supported")));
    };
    let (&[rows, cols], &[down, right]) = (array.shape(), array.strides()) else {
        return Err(PyValueError::new_err("expected a two-dimensional array"));
    };
    // SAFETY: numpy vouches for the shape and strides of its own array, which the caller's reference keeps
    // alive; `Source` copes with any alignment.
    Ok(unsafe {
        let start = (*array.as_array_ptr()).fields.data.cast_const().cast();
        Source::new(start, element, [rows, cols], [down, right])
    })
}

/// Examples of a model: those of a likelihood of counts are never scaled.
fn examples<'a>(x: Array2<'a, '_>, likelihood: Likelihood) -> PyResult<Source<'a>> {
    let source = source(x)?;
    Ok(if likelihood.is_counts() { source.counts() } else { source })
}

/// Some of its rows.
fn select<'a>(
    source: Source<'a>,
    rows: &'a Option<PyReadonlyArray1<'_, u64>>,
) -> PyResult<Source<'a>> {
    Ok(match rows {
        Some(rows) => source.select(rows.as_slice()?)?,
        None => source,
    })
}

/// The same of an array that need not be there.
fn selected<'a>(
    array: Option<Array2<'a, '_>>,
    rows: &'a Option<PyReadonlyArray1<'_, u64>>,
) -> PyResult<Option<Source<'a>>> {
    array.map(|array| select(source(array)?, rows)).transpose()
}

/// Examples, each with its row of `y` where there are conditions.
fn given<'a>(x: Source<'a>, y: &'a Option<Source<'a>>) -> PyResult<Source<'a>> {
    Ok(match y {
        Some(y) => x.given(y)?,
        None => x,
    })
}

/// Room for an answer.
fn zeros(rows: usize, cols: usize) -> PyResult<Vec<f32>> {
    Ok(filled(0.0, rows.checked_mul(cols))?)
}

fn array(py: Python<'_>, values: Vec<f32>) -> Bound<'_, PyArray1<f32>> {
    PyArray1::from_vec(py, values)
}

type Array<'py> = Bound<'py, PyArray1<f32>>;
/// An array or a [`PySparseMatrix`].
type Array2<'a, 'py> = &'a Bound<'py, PyAny>;
/// KL weights, KL targets, learning rates.
type CourseArgument<'py> =
    (PyReadonlyArray1<'py, f32>, PyReadonlyArray1<'py, f32>, PyReadonlyArray1<'py, f64>);

/// A model. All arrays returned are flat; the Python layer gives them their shapes.
#[pyclass(frozen, module = "fastvae._core", name = "Engine")]
struct PyEngine(Mutex<Engine>);

impl PyEngine {
    /// What the model was made with.
    fn spec(&self, py: Python<'_>) -> PyResult<Spec> {
        detached(py, || self.lock().network.spec.clone())
    }

    /// Data that are to be made binary, always by the same draw, which is none of training's.
    fn binarized<'a>(
        &self,
        py: Python<'_>,
        x: Source<'a>,
        binarize: Option<&str>,
    ) -> PyResult<Source<'a>> {
        let Some(binary) = binarize.map(binary_of).transpose()? else { return Ok(x) };
        let seed = detached(py, || self.lock().seed)?;
        Ok(x.binarized(Some(binary.of(seed, VALIDATION_PASS))))
    }

    fn lock(&self) -> MutexGuard<'_, Engine> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A sparse matrix [rows, cols] in numpy arrays, which are read in place: valid when it is made.
#[pyclass(frozen, module = "fastvae._core", name = "SparseMatrix")]
struct PySparseMatrix {
    csr: Csr<'static>,
    canonical: bool,
    indptr: Py<PyArray1<i64>>,
    indices: Py<PyArray1<i32>>,
    data: Py<PyArray1<f32>>,
}

#[pymethods]
impl PySparseMatrix {
    #[new]
    fn new(
        indptr: PyReadonlyArray1<'_, i64>,
        indices: PyReadonlyArray1<'_, i32>,
        data: PyReadonlyArray1<'_, f32>,
        shape: (usize, usize),
        name: &str,
    ) -> PyResult<PySparseMatrix> {
        fn part<T: numpy::Element>(array: &PyReadonlyArray1<'_, T>) -> PyResult<(*const T, usize)> {
            let elements = array.as_slice()?;
            Ok((elements.as_ptr(), elements.len()))
        }
        let parts = (part(&indptr)?, part(&indices)?, part(&data)?);
        // SAFETY: the arrays' elements are there for as long as the arrays, which this object keeps alive.
        let csr = unsafe { Csr::new(parts.0, parts.1, parts.2, shape.1) };
        let canonical = detached(indptr.py(), || csr.check(name, shape.0))??;
        let (indptr, indices) = ((*indptr).clone().unbind(), (*indices).clone().unbind());
        Ok(PySparseMatrix { csr, canonical, indptr, indices, data: (*data).clone().unbind() })
    }

    /// Whether the columns ascend in every row, each at most once. Only then can the matrix be used.
    #[getter]
    fn canonical(&self) -> bool {
        self.canonical
    }

    #[getter]
    fn shape(&self) -> (usize, usize) {
        (self.csr.rows(), self.csr.cols())
    }

    #[getter]
    fn dtype<'py>(&self, py: Python<'py>) -> Bound<'py, PyArrayDescr> {
        dtype::<f32>(py)
    }

    #[getter]
    fn indptr<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<i64>> {
        self.indptr.bind(py).clone()
    }

    #[getter]
    fn indices<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<i32>> {
        self.indices.bind(py).clone()
    }

    #[getter]
    fn data<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<f32>> {
        self.data.bind(py).clone()
    }

    fn __len__(&self) -> usize {
        self.csr.rows()
    }
}

/// A question's start: nothing done, a slice of time.
fn question(name: &str, watch: ValueCheck, threads: Option<usize>) -> InferenceRun<'_> {
    InferenceRun { name, watch, done: 0, budget: SLICE, threads }
}

/// That of a question about X. `noisy` data may hold any numbers that the encoder can see.
fn question_about(spec: &Spec, noisy: bool, threads: Option<usize>) -> InferenceRun<'static> {
    let likelihood = (!noisy).then_some(spec.likelihood);
    let watch = ValueCheck::new(likelihood, spec.missing.is_masked());
    question("X", watch.through(spec.input_transform), threads)
}

#[pymethods]
impl PyEngine {
    #[new]
    fn new(arguments: Bound<'_, PyDict>) -> PyResult<PyEngine> {
        let (spec, optimizer, seed) = Arguments::read(&arguments)?;
        Ok(PyEngine(Mutex::new(Engine::new(spec, optimizer, seed)?)))
    }

    /// Names and shapes of the parameters, in the order of `parameters`.
    fn shapes(&self, py: Python<'_>) -> PyResult<Vec<(String, Vec<usize>)>> {
        detached(py, || {
            let vae = self.lock();
            vae.network.tensors.iter().map(|t| (t.name.clone(), t.shape.clone())).collect()
        })
    }

    /// The same of those that are trained, in the order of gradients.
    fn trained(&self, py: Python<'_>) -> PyResult<Vec<(String, Vec<usize>)>> {
        detached(py, || {
            let vae = self.lock();
            vae.network.trained().iter().map(|t| (t.name.clone(), t.shape.clone())).collect()
        })
    }

    fn parameters<'py>(&self, py: Python<'py>) -> PyResult<Vec<Array<'py>>> {
        let values: Vec<Vec<f32>> = detached(py, || {
            let vae = self.lock();
            vae.network.tensors.iter().map(|tensor| vae.parameter(tensor)).collect()
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

    /// Turns the sign of a latent coordinate.
    fn mirror(&self, py: Python<'_>, coordinate: usize) -> PyResult<()> {
        Ok(detached(py, || self.lock().mirror(coordinate))??)
    }

    /// Raises ValueError where `x` holds what the likelihood cannot be.
    fn check(&self, py: Python<'_>, x: Array2, name: &str, threads: Option<usize>) -> PyResult<()> {
        let spec = self.spec(py)?;
        let (x, isa) = (examples(x, spec.likelihood)?, Isa::detect()?);
        let mut question = InferenceRun { name, ..question_about(&spec, false, threads) };
        in_slices(py, || question.check(isa, &x))
    }

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
        rows: Option<PyReadonlyArray1<'_, u64>>,
        eps: Option<Array2>,
        corrupted: Option<Array2>,
        shuffle: bool,
        batch_size: usize,
        objective: (f32, f32),
        importance: (usize, bool),
        course: CourseArgument,
        corruption: Option<(String, f32)>,
        binarize: Option<&str>,
        clip_norm: Option<f64>,
        threads: Option<usize>,
        tick: Option<Bound<'_, PyAny>>,
    ) -> PyResult<(f64, f64, f64)> {
        let y = selected(y, &rows)?;
        let task = TrainingPass {
            x: given(select(examples(x, self.spec(py)?.likelihood)?, &rows)?, &y)?,
            eps: eps.map(source).transpose()?,
            corrupted: corrupted.map(source).transpose()?,
            corruption: corruption.map(corruption_of).transpose()?,
            binarize: binarize.map(binary_of).transpose()?,
            shuffle,
            batch_size,
            reconstruction: objective.0,
            free_bits: objective.1,
            importance: importance_of(importance),
            course: StepValues {
                betas: course.0.as_slice()?,
                capacities: course.1.as_slice()?,
                learning_rates: course.2.as_slice()?,
            },
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
        let (y, spec) = (y.map(source).transpose()?, self.spec(py)?);
        let x = given(examples(x, spec.likelihood)?, &y)?;
        let mut question = question_about(&spec, noisy, threads);
        let (rows, latent) = (x.rows(), spec.latent_dim);
        let (mut mu, mut second) =
            (zeros(rows, latent)?, zeros(if logvar { rows } else { 0 }, latent)?);
        in_slices(py, || self.lock().encode(&x, &mut mu, &mut second, &mut question))?;
        Ok((array(py, mu), array(py, second)))
    }

    fn decode<'py>(
        &self,
        py: Python<'py>,
        z: Array2,
        y: Option<Array2>,
        threads: Option<usize>,
    ) -> PyResult<Array<'py>> {
        let (y, mut question) =
            (y.map(source).transpose()?, question("Z", ValueCheck::new(None, false), threads));
        let z = given(source(z)?, &y)?;
        let mut out = zeros(z.rows(), self.spec(py)?.n_features)?;
        in_slices(py, || self.lock().decode(&z, &mut out, &mut [], &mut question))?;
        Ok(array(py, out))
    }

    fn reconstruct<'py>(
        &self,
        py: Python<'py>,
        x: Array2,
        y: Option<Array2>,
        noisy: bool,
        threads: Option<usize>,
    ) -> PyResult<Array<'py>> {
        let (y, spec) = (y.map(source).transpose()?, self.spec(py)?);
        let x = given(examples(x, spec.likelihood)?, &y)?;
        let mut question = question_about(&spec, noisy, threads);
        let mut out = zeros(x.rows(), x.cols())?;
        in_slices(py, || self.lock().reconstruct(&x, &mut out, &mut question))?;
        Ok(array(py, out))
    }

    /// -log p(x|z), its mean over that many draws, and KL of each example, or of the rows that are given; and the
    /// importance-weighted bound, of more than one draw (else an empty array).
    #[allow(clippy::too_many_arguments)]
    fn score<'py>(
        &self,
        py: Python<'py>,
        x: Array2,
        y: Option<Array2>,
        rows: Option<PyReadonlyArray1<'_, u64>>,
        eps: Option<Array2>,
        samples: usize,
        corruption: Option<(String, f32)>,
        binarize: Option<&str>,
        threads: Option<usize>,
    ) -> PyResult<[Array<'py>; 3]> {
        let corruption = corruption.map(corruption_of).transpose()?;
        let (y, eps) = (selected(y, &rows)?, eps.map(source).transpose()?);
        let spec = self.spec(py)?;
        let x = given(select(examples(x, spec.likelihood)?, &rows)?, &y)?;
        let x = self.binarized(py, x, binarize)?;
        let mut question = question_about(&spec, false, threads);
        let bounds = if samples > 1 { x.rows() } else { 0 };
        let mut losses = [zeros(x.rows(), 1)?, zeros(x.rows(), 1)?, zeros(bounds, 1)?];
        in_slices(py, || {
            let mut vae = self.lock();
            let [reconstruction, kl, bound] = losses.each_mut().map(Vec::as_mut_slice);
            match samples {
                1 => vae.score(&x, eps, corruption, [reconstruction, kl], &mut question),
                _ => {
                    let losses = [reconstruction, kl, bound];
                    vae.bound(&x, (eps, samples), corruption, losses, &mut question)
                }
            }
        })?;
        Ok(losses.map(|values| array(py, values)))
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
        let (y, spec) = (y.map(source).transpose()?, self.spec(py)?);
        let x = given(examples(x, spec.likelihood)?, &y)?;
        let mut weights = filled(WeightSums::NONE, Some(x.rows()))?;
        let at_once = detached(py, || self.lock().samples_at_once(samples))?;
        for first in (0..samples).step_by(at_once as usize) {
            let samples = first..samples.min(first.saturating_add(at_once));
            let mut question = question_about(&spec, false, threads);
            in_slices(py, || {
                self.lock().log_marginal(&x, samples.clone(), &mut weights, &mut question)
            })?;
        }
        let numbers: [fn(&WeightSums, u32) -> f64; 3] =
            [WeightSums::log_mean, WeightSums::standard_error, |weights, _| weights.effective()];
        Ok(numbers.map(|number| {
            PyArray1::from_iter(py, weights.iter().map(|weights| number(weights, samples)))
        }))
    }

    /// KL of each latent coordinate of each example, or of the rows that are given.
    #[allow(clippy::too_many_arguments)]
    fn kl<'py>(
        &self,
        py: Python<'py>,
        x: Array2,
        y: Option<Array2>,
        rows: Option<PyReadonlyArray1<'_, u64>>,
        corruption: Option<(String, f32)>,
        binarize: Option<&str>,
        threads: Option<usize>,
    ) -> PyResult<Array<'py>> {
        let corruption = corruption.map(corruption_of).transpose()?;
        let (y, spec) = (selected(y, &rows)?, self.spec(py)?);
        let x = given(select(examples(x, spec.likelihood)?, &rows)?, &y)?;
        let x = self.binarized(py, x, binarize)?;
        let mut question = question_about(&spec, false, threads);
        let mut out = zeros(x.rows(), spec.latent_dim)?;
        in_slices(py, || self.lock().kl(&x, corruption, &mut out, &mut question))?;
        Ok(array(py, out))
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
        importance: (usize, bool),
        corruption: Option<(String, f32)>,
        binarize: Option<&str>,
        threads: Option<usize>,
    ) -> PyResult<(f64, f64, f64, Vec<Array<'py>>)> {
        let (y, eps) = (y.map(source).transpose()?, eps.map(source).transpose()?);
        let x = given(examples(x, self.spec(py)?.likelihood)?, &y)?;
        let x = self.binarized(py, x, binarize)?;
        let corrupted = corrupted.map(source).transpose()?;
        let corruption = corruption.map(corruption_of).transpose()?;
        let (reconstruction, weight, free_bits, capacity) = objective;
        let kl = KlTerm { weight, free_bits, capacity };
        let objective = Objective { reconstruction, kl, importance: importance_of(importance) };
        let (losses, gradients) = detached(py, || {
            let mut vae = self.lock();
            let own = NoiseKey::Score(vae.seed);
            let epsilon = eps.map_or(Epsilon::Drawn(own), |eps| Epsilon::Given(eps, 0));
            let input = EncoderInput::of(corrupted.map(|seen| (seen, 0)), corruption, own);
            vae.loss_and_gradients(&x, (input, epsilon), objective, threads)
        })??;
        let n = x.rows() as f64;
        let gradients = gradients.into_iter().map(|g| array(py, g)).collect();
        Ok((losses.reconstruction / n, losses.kl / n, losses.loss / n, gradients))
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
            let mut vae = self.lock();
            let gradients = vae.pack(&gradients, vae.network.trained())?;
            vae.apply_gradients(&gradients, learning_rate, threads)
        })??)
    }

    /// `n` codes from the prior.
    fn prior<'py>(&self, py: Python<'py>, n: usize, seed: u64) -> PyResult<Array<'py>> {
        let codes = detached(py, || {
            let vae = self.lock();
            let latent = vae.network.spec.latent_dim;
            let mut codes = filled(0.0, n.checked_mul(latent))?;
            functional::standard_normal(vae.isa, seed, Stream::Prior as u8, latent, &mut codes);
            Ok::<_, Error>(codes)
        })??;
        Ok(array(py, codes))
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
        let y = y.map(source).transpose()?;
        let (mut question, spec) =
            (question("Z", ValueCheck::new(None, false), threads), self.spec(py)?);
        let z = given(source(z)?, &y)?;
        let scaled = spec.likelihood.outputs_per_feature() == 2;
        let lengths = lengths.as_ref().map(|lengths| lengths.as_slice()).transpose()?;
        let mut out = zeros(z.rows(), spec.n_features)?;
        let mut scale = zeros(if scaled { z.rows() } else { 0 }, spec.n_features)?;
        in_slices(py, || self.lock().decode(&z, &mut out, &mut scale, &mut question))?;
        let lengths = lengths.unwrap_or_default();
        let mut drawing = DrawProgress { seed, done: 0, budget: SLICE };
        in_slices(py, || Ok(self.lock().observe(&mut out, &mut scale, lengths, &mut drawing)))?;
        Ok(array(py, out))
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
        let (y, spec) = (y.map(source).transpose()?, self.spec(py)?);
        let x = given(examples(x, spec.likelihood)?, &y)?;
        let mut question = question_about(&spec, noisy, threads);
        let mut out = zeros(n as usize, x.rows().saturating_mul(spec.latent_dim))?;
        in_slices(py, || self.lock().posterior_sample(&x, (n, seed), &mut out, &mut question))?;
        Ok(array(py, out))
    }

    /// The mean over rows of noise, the same for all examples, of what the decoder reads.
    fn mean_code<'py>(
        &self,
        py: Python<'py>,
        x: Array2,
        points: Array2,
        threads: Option<usize>,
    ) -> PyResult<Array<'py>> {
        let (points, spec) = (source(points)?, self.spec(py)?);
        let x = examples(x, spec.likelihood)?;
        if points.cols() != spec.latent_dim || points.rows() == 0 {
            return Err(PyValueError::new_err("points are rows of latent_dim numbers"));
        }
        let mut question = question_about(&spec, false, threads);
        let mut out = zeros(x.rows(), spec.latent_dim)?;
        in_slices(py, || self.lock().mean_code(&x, &points, &mut out, &mut question))?;
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
        let (y, spec) = (y.map(source).transpose()?, self.spec(py)?);
        let x = given(examples(x, spec.likelihood)?, &y)?;
        let mut moments =
            [zeros(x.rows(), x.cols())?, zeros(x.rows(), x.cols())?, zeros(x.rows(), x.cols())?];
        for first in (0..n).step_by(DRAWS_AT_ONCE as usize) {
            let samples = first..n.min(first.saturating_add(DRAWS_AT_ONCE));
            let mut question = question_about(&spec, noisy, threads);
            in_slices(py, || {
                let out = moments.each_mut().map(Vec::as_mut_slice);
                self.lock().predict(&x, (samples.clone(), seed), out, &mut question)
            })?;
        }
        detached(py, || {
            let squares = moments[1..].iter_mut().flatten();
            squares.for_each(|square| *square = square.max(0.0).sqrt());
        })?;
        Ok(moments.map(|values| array(py, values)))
    }

    /// The model as the bytes of a file, with the optimiser's moments if they are wanted.
    fn dump<'py>(
        &self,
        py: Python<'py>,
        config: &str,
        moments: bool,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let bytes = detached(py, || file::to_bytes(&self.lock(), config, moments))??;
        PyBytes::new_with(py, bytes.len(), |to| {
            to.copy_from_slice(&bytes);
            Ok(())
        })
    }

    /// Optimiser steps taken.
    #[getter]
    fn steps(&self, py: Python<'_>) -> PyResult<u64> {
        detached(py, || self.lock().steps)
    }

    /// The first steps, of which the optimiser knows nothing.
    #[getter]
    fn optimizer_start(&self, py: Python<'_>) -> PyResult<u64> {
        detached(py, || self.lock().optimizer_start)
    }

    /// Shuffled epochs finished.
    #[getter]
    fn epochs(&self, py: Python<'_>) -> PyResult<u32> {
        detached(py, || self.lock().epochs)
    }

    /// Log variances that were clamped so far.
    #[getter]
    fn clamped(&self, py: Python<'_>) -> PyResult<usize> {
        detached(py, || self.lock().clamped.load(Ordering::Relaxed))
    }
}

/// Where a model file is: bytes, or a path.
#[derive(FromPyObject)]
enum FileArgument {
    Bytes(PyBackedBytes),
    Path(OsString),
}

type Reader = Box<dyn Read + Send>;

/// A model file: its configuration is known, its tensors wait to be read, once.
#[pyclass(frozen, module = "fastvae._core", name = "ModelFile")]
struct PyModelFile {
    config: String,
    file: Mutex<Option<file::ModelFile<Reader>>>,
}

#[pymethods]
impl PyModelFile {
    #[new]
    fn new(py: Python<'_>, source: FileArgument) -> PyResult<PyModelFile> {
        let (reader, len): (Reader, u64) = match source {
            FileArgument::Bytes(bytes) => {
                let len = bytes.len() as u64;
                (Box::new(Cursor::new(bytes)), len)
            }
            FileArgument::Path(path) => {
                let (file, len) = detached(py, || file::open(Path::new(&path)))?
                    .map_err(|error| os_error(error, path))?;
                (Box::new(file), len)
            }
        };
        let file = detached(py, || crate::file::ModelFile::open(reader, len))??;
        Ok(PyModelFile { config: file.config().to_string(), file: Mutex::new(Some(file)) })
    }

    /// The configuration, a JSON text.
    #[getter]
    fn config(&self) -> &str {
        &self.config
    }

    /// The model, if the file holds exactly the tensors of such a one. Reads the file, so it can be called once.
    fn engine(&self, py: Python<'_>, arguments: Bound<'_, PyDict>) -> PyResult<PyEngine> {
        let (spec, optimizer, seed) = Arguments::read(&arguments)?;
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner).take();
        let file = file.ok_or_else(|| {
            PyRuntimeError::new_err("this PyModelFile has been read already; open the file again")
        })?;
        let vae = detached(py, || file.engine(spec, optimizer, seed))??;
        Ok(PyEngine(Mutex::new(vae)))
    }
}

/// Puts bytes into a file: all of them, or none and an OSError.
#[pyfunction]
fn write_atomically(py: Python<'_>, path: OsString, data: &[u8]) -> PyResult<()> {
    detached(py, || file::write(Path::new(&path), data))?.map_err(|error| os_error(error, path))
}

fn owned(values: &[PyReadonlyArray1<'_, f32>]) -> PyResult<Vec<Vec<f32>>> {
    values.iter().map(|v| Ok(v.as_slice()?.to_vec())).collect()
}

/// What a model is made with.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct Arguments {
    n_features: usize,
    latent_dim: usize,
    conditions: usize,
    variational: bool,
    encoder: Vec<usize>,
    decoder: Vec<usize>,
    missing: String,
    activation: String,
    likelihood: String,
    scale: ScaleArgument,
    floor: f32,
    input_transform: Option<String>,
    topics: Option<[Vec<f32>; 2]>,
    loadings: String,
    trials: Vec<f32>,
    optimizer: String,
    options: [f64; 4],
    seed: u64,
}

impl Arguments {
    /// The same as the core takes it, from a dictionary with exactly these keys.
    fn read(arguments: &Bound<'_, PyDict>) -> PyResult<(Spec, Optimizer, u64)> {
        const KEYS: usize = 18;
        let given: Arguments = arguments.extract()?;
        if arguments.len() != KEYS {
            return Err(PyTypeError::new_err(format!(
                "an engine is made with {KEYS} arguments, not {}",
                arguments.len()
            )));
        }
        let spec = Spec {
            n_features: given.n_features,
            latent_dim: given.latent_dim,
            conditions: given.conditions,
            variational: given.variational,
            encoder: given.encoder,
            decoder: given.decoder,
            missing: missing_of(&given.missing)?,
            activation: Activation::named(&given.activation)?,
            likelihood: likelihood_of(&given.likelihood, given.scale, given.floor)?,
            input_transform: given.input_transform.as_deref().map(transform_of).transpose()?,
            topics: given.topics.map(|[mean, scale]| Topics { mean, scale }),
            loadings: loadings_of(&given.loadings)?,
            trials: given.trials,
        };
        Ok((spec, optimizer_of(&given.optimizer, given.options)?, given.seed))
    }
}

/// A number, or which scale to learn.
#[derive(FromPyObject)]
enum ScaleArgument {
    Fixed(f32),
    Learned(String),
}

fn likelihood_of(name: &str, scale: ScaleArgument, floor: f32) -> PyResult<Likelihood> {
    let unknown = |remedy: &str| {
        PyValueError::new_err(format!("likelihood {name:?} with that scale is not known; {remedy}"))
    };
    let scale = match scale {
        ScaleArgument::Fixed(scale) => Scale::Fixed(scale),
        ScaleArgument::Learned(which) => match which.as_str() {
            "shared" => Scale::Shared,
            "per_feature" => Scale::PerFeature,
            "decoder" => Scale::Decoder,
            _ => return Err(unknown("a scale is a number, shared, per_feature or decoder")),
        },
    };
    let mean = if name == "gaussian_sigmoid" { Link::Sigmoid } else { Link::Identity };
    let likelihood = match name {
        "gaussian" | "gaussian_sigmoid" => Gaussian { scale, floor, mean }.into(),
        "negative_binomial" => NegativeBinomial { floor }.into(),
        _ => Likelihood::named(name).ok_or_else(|| unknown("it has no name of ours"))?,
    };
    likelihood.check().map_err(|error| unknown(&error.to_string()))?;
    Ok(likelihood)
}

fn importance_of((samples, doubly): (usize, bool)) -> Importance {
    Importance { samples, doubly }
}

fn missing_of(name: &str) -> PyResult<Missing> {
    match name {
        "error" => Ok(Missing::Refused),
        "mask" => Ok(Missing::Masked),
        "indicator" => Ok(Missing::Indicated),
        _ => Err(PyValueError::new_err(format!("missing {name:?} is not known"))),
    }
}

fn loadings_of(name: &str) -> PyResult<WeightConstraint> {
    match name {
        "free" => Ok(WeightConstraint::Free),
        "common" => Ok(WeightConstraint::Common),
        "nonnegative" => Ok(WeightConstraint::Nonnegative),
        _ => Err(PyValueError::new_err(format!("loadings {name:?} are not known"))),
    }
}

fn binary_of(name: &str) -> PyResult<Binary> {
    match name {
        "threshold" => Ok(Binary::Threshold),
        "bernoulli" => Ok(Binary::Draw),
        _ => Err(PyValueError::new_err(format!("binarize {name:?} is not known"))),
    }
}

fn transform_of(name: &str) -> PyResult<Transform> {
    match name {
        "log1p" => Ok(Transform::Log1p),
        "binary" => Ok(Transform::Binary),
        "l1" => Ok(Transform::L1),
        "l2" => Ok(Transform::L2),
        _ => Err(PyValueError::new_err(format!("input_transform {name:?} is not known"))),
    }
}

fn corruption_of((name, level): (String, f32)) -> PyResult<Corruption> {
    match name.as_str() {
        "gaussian" => Ok(Corruption::Gaussian { sigma: level }),
        "masking" => Ok(Corruption::Masking { p: level }),
        "salt_and_pepper" => Ok(Corruption::SaltAndPepper { p: level }),
        _ => Err(PyValueError::new_err(format!("corruption {name:?} is not known"))),
    }
}

fn optimizer_of(name: &str, options: [f64; 4]) -> PyResult<Optimizer> {
    const ANY: Range<f64> = 0.0..1e9;
    const DECAY: Range<f64> = 0.0..1.0;
    const EPS: Range<f64> = 1e-15..1e9; // smaller gradients count as zero, and the quotient must stay finite
    let within = |ranges: &[(&str, Range<f64>)]| {
        for ((option, range), value) in ranges.iter().zip(options) {
            if !range.contains(&value) {
                let (least, below) = (range.start, range.end);
                return Err(PyValueError::new_err(format!(
                    "optimizer {name:?}: {option}={value} must be at least {least:e} and below {below:e}"
                )));
            }
        }
        Ok(options)
    };
    Ok(match name {
        "adam" | "adamw" => {
            let ranges = [("beta1", DECAY), ("beta2", DECAY), ("eps", EPS), ("weight_decay", ANY)];
            let [beta1, beta2, eps, weight_decay] = within(&ranges)?;
            Optimizer::Adam { beta1, beta2, eps, weight_decay, decoupled: name == "adamw" }
        }
        "sgd" => {
            let ranges = [("momentum", DECAY), ("nesterov", 0.0..2.0), ("weight_decay", ANY)];
            let [momentum, nesterov, weight_decay, _] = within(&ranges)?;
            Optimizer::Sgd { momentum, nesterov: nesterov != 0.0, weight_decay }
        }
        "adagrad" => {
            let ranges = [("eps", EPS), ("lr_decay", ANY), ("weight_decay", ANY)];
            let [eps, lr_decay, weight_decay, _] = within(&ranges)?;
            Optimizer::Adagrad { eps, lr_decay, weight_decay }
        }
        _ => return Err(PyValueError::new_err(format!("optimizer {name:?} is not known"))),
    })
}

/// z = mu + e^(logvar / 2) eps.
#[pyfunction]
fn reparameterize<'py>(
    py: Python<'py>,
    mu: PyReadonlyArray1<'_, f32>,
    logvar: PyReadonlyArray1<'_, f32>,
    eps: PyReadonlyArray1<'_, f32>,
) -> PyResult<Array<'py>> {
    let (mu, logvar, eps) = (mu.as_slice()?, logvar.as_slice()?, eps.as_slice()?);
    let (isa, mut z) = (Isa::detect()?, zeros(mu.len(), 1)?);
    detached(py, || functional::reparameterize(isa, mu, logvar, eps, &mut z))?;
    Ok(array(py, z))
}

/// KL to N(0, I) of each row of `cols` coordinates.
#[pyfunction]
fn gaussian_kl<'py>(
    py: Python<'py>,
    mu: PyReadonlyArray1<'_, f32>,
    logvar: PyReadonlyArray1<'_, f32>,
    cols: usize,
) -> PyResult<Array<'py>> {
    let (mu, logvar) = (mu.as_slice()?, logvar.as_slice()?);
    let (isa, mut kl) = (Isa::detect()?, zeros(mu.len() / cols.max(1), 1)?);
    detached(py, || functional::gaussian_kl(isa, mu, logvar, cols, &mut kl))?;
    Ok(array(py, kl))
}

/// log p(x|y) of each row of `cols` features; `log_scale` [cols] makes it Gaussian.
#[pyfunction]
fn log_prob<'py>(
    py: Python<'py>,
    x: PyReadonlyArray1<'_, f32>,
    y: PyReadonlyArray1<'_, f32>,
    log_scale: Option<PyReadonlyArray1<'_, f32>>,
    cols: usize,
) -> PyResult<Array<'py>> {
    let (x, y) = (x.as_slice()?, y.as_slice()?);
    let (likelihood, scale): (Likelihood, _) = match &log_scale {
        Some(scale) => {
            (Gaussian { scale: Scale::PerFeature, ..Gaussian::default() }.into(), scale.as_slice()?)
        }
        None => (Bernoulli {}.into(), &[][..]),
    };
    let (isa, mut out) = (Isa::detect()?, zeros(x.len() / cols.max(1), 1)?);
    detached(py, || functional::log_prob(isa, likelihood, x, y, scale, cols, &mut out))?;
    Ok(array(py, out))
}

/// A matrix of `cols` columns, corrupted.
#[pyfunction]
fn corrupt<'py>(
    py: Python<'py>,
    x: PyReadonlyArray1<'_, f32>,
    corruption: (String, f32),
    cols: usize,
    seed: u64,
) -> PyResult<Array<'py>> {
    let (isa, corruption) = (Isa::detect()?, corruption_of(corruption)?);
    let mut values = x.as_slice()?.to_vec();
    detached(py, || corruption.corrupt(isa, seed, cols, &mut values))?;
    Ok(array(py, values))
}

/// Standard normal noise, [n, cols].
#[pyfunction]
fn standard_normal(
    py: Python<'_>,
    n: usize,
    cols: usize,
    seed: u64,
    stream: u8,
) -> PyResult<Array<'_>> {
    let (isa, mut out) = (Isa::detect()?, zeros(n, cols)?);
    detached(py, || functional::standard_normal(isa, seed, stream, cols, &mut out))?;
    Ok(array(py, out))
}

/// An error unless this is the JSON of a likelihood.
#[pyfunction]
fn check_likelihood(json: &str) -> PyResult<()> {
    Ok(Likelihood::from_json(json).map(drop)?)
}

/// log p(x|z) of a likelihood, given as JSON, in plain text.
#[pyfunction]
fn likelihood_formula(json: &str) -> PyResult<String> {
    Ok(Likelihood::from_json(json)?.formula())
}

/// What Python asks of a likelihood, whatever its options.
#[derive(IntoPyObject)]
struct LikelihoodFacts {
    /// Whether x holds counts.
    counts: bool,
    /// Whether an example is a document.
    words: bool,
    /// Whether users choose it by name.
    public: bool,
}

/// The four words of one Philox4x32-10 counter.
#[pyfunction]
fn philox(seed: u64, counter: [u32; 4]) -> [u32; 4] {
    crate::random::philox_words(seed, counter)
}

/// The instruction set in use, those available, the default number of threads, and whether this is a debug build.
#[pyfunction]
fn config() -> PyResult<(&'static str, Vec<&'static str>, usize, bool)> {
    let available = Isa::available().iter().map(|isa| isa.name()).collect();
    Ok((Isa::detect()?.name(), available, threads::default_threads(), cfg!(debug_assertions)))
}

/// The rate of multiply-adds that this machine reaches just now, GFLOP/s: the limit that benches are held against.
#[pyfunction]
fn peak(py: Python<'_>, threads: usize) -> PyResult<f64> {
    let isa = Isa::detect()?;
    detached(py, || crate::probe::peak(isa, threads))
}

/// GFLOP/s of one thread's product [rows, inputs] x [inputs, outputs], plain or with a layer's epilogue.
#[pyfunction]
fn product_rate(py: Python<'_>, shape: [usize; 3], fused: bool) -> PyResult<f64> {
    let isa = Isa::detect()?;
    let seconds = detached(py, || crate::probe::product_seconds(isa, shape, fused))??;
    Ok(2e-9 * shape.iter().product::<usize>() as f64 / seconds)
}

/// Seconds for a word from one core to another and back.
#[pyfunction]
fn round_trip(py: Python<'_>) -> PyResult<f64> {
    detached(py, crate::probe::round_trip_seconds)
}

/// The native core of fastvae.
#[pymodule(gil_used = false)]
mod _core {
    use super::{Activation, Likelihood, LikelihoodFacts};
    #[pymodule_export]
    use super::{
        FormatError, PyEngine, PyModelFile, PySparseMatrix, check_likelihood, config, corrupt,
        gaussian_kl, likelihood_formula, log_prob, peak, philox, product_rate, reparameterize,
        round_trip, standard_normal, write_atomically,
    };
    use pyo3::prelude::*;
    use pyo3::types::IntoPyDict;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        module.add("ACTIVATIONS", Activation::NAMED.map(|(name, _)| name))?;
        module.add("MAX_THREADS", crate::threads::MAX_THREADS)?;
        module.add("LOGVAR_RANGE", crate::nn::latent::LOGVAR_RANGE)?;
        module.add("MAX_WIDTH", crate::model::MAX_WIDTH)?;
        let likelihoods = Likelihood::all().into_iter().map(|likelihood| {
            let (counts, words) = (likelihood.is_counts(), likelihood.is_of_words());
            let public = likelihood.is_public();
            (likelihood.kind(), LikelihoodFacts { counts, words, public })
        });
        module.add("LIKELIHOODS", likelihoods.into_py_dict(module.py())?)?;
        module.add("MAX_TRIALS", crate::nn::likelihood::MAX_TRIALS as u32)?;
        module.add("TOPIC_GAIN", crate::nn::simplex::GAIN)
    }
}
