//! Conversion of arrays: numpy to [`Source`] without a copy, and results to numpy.
#![allow(unsafe_code)] // `Source` reads arrays in place.

use super::sparse::PySparseMatrix;
use crate::data::{Element, Source};
use crate::error::{collected, copied, filled};
use numpy::{
    PyArray1, PyArrayDescr, PyArrayDescrMethods, PyArrayMethods, PyReadonlyArray1,
    PyReadwriteArray1, PyUntypedArray, PyUntypedArrayMethods, dtype,
};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;

/// A flat result array.
pub type Array<'py> = Bound<'py, PyArray1<f32>>;

/// A two-dimensional array or a [`PySparseMatrix`].
pub type Array2<'a, 'py> = &'a Bound<'py, PyAny>;

/// The selected rows of a matrix; none for all rows.
pub type Rows<'py> = Option<PyReadonlyArray1<'py, u64>>;

/// The weights of the rows of a matrix; none if all are 1.
pub type Weights<'py> = Option<PyReadonlyArray1<'py, f32>>;

/// Wraps a two-dimensional array or a sparse matrix without a copy. Bytes of uint8 are scaled to [0, 1], bytes viewed as
/// int8 are numbers 0..255.
pub fn source<'a>(matrix: &'a Bound<'_, PyAny>) -> PyResult<Source<'a>> {
    if let Ok(sparse) = matrix.cast::<PySparseMatrix>() {
        return Ok(Source::from_csr(sparse.get().csr()));
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
    } else if native(dtype::<i8>(py)) {
        Element::Byte
    } else {
        return Err(PyTypeError::new_err(format!("arrays of {kind} are not supported")));
    };
    let (&[rows, cols], &[down, right]) = (array.shape(), array.strides()) else {
        return Err(PyValueError::new_err("expected a two-dimensional array"));
    };
    // SAFETY: numpy guarantees shape and strides of its array; the caller's reference keeps the array alive;
    // `Source` supports any alignment.
    Ok(unsafe {
        let start = (*array.as_array_ptr()).fields.data.cast_const().cast();
        Source::new(start, element, [rows, cols], [down, right])
    })
}

/// Calls `work` with the selected rows of `x` and, if given, of the conditions `y`.
pub fn with_conditions<T>(
    x: Source,
    y: Option<Array2>,
    rows: &Rows,
    work: impl FnOnce(Source) -> PyResult<T>,
) -> PyResult<T> {
    let rows = rows.as_ref().map(|rows| rows.as_slice()).transpose()?;
    let y = y.map(source).transpose()?;
    let (x, y) = match rows {
        Some(rows) => (x.select(rows)?, y.map(|y| y.select(rows)).transpose()?),
        None => (x, y),
    };
    work(match &y {
        Some(y) => x.with_conditions(y)?,
        None => x,
    })
}

/// A zeroed buffer for a result.
pub fn zeros(rows: usize, cols: usize) -> PyResult<Vec<f32>> {
    Ok(filled(0.0, rows.checked_mul(cols))?)
}

/// Moves a result to a numpy array.
pub fn array(py: Python<'_>, values: Vec<f32>) -> Bound<'_, PyArray1<f32>> {
    PyArray1::from_vec(py, values)
}

/// The memory of a result: a new array, or one that the caller gave. The Python layer checks that it shares no memory with
/// the arrays that are read.
pub enum Output<'py> {
    New(Vec<f32>),
    Given(PyReadwriteArray1<'py, f32>),
}

impl<'py> Output<'py> {
    /// A zeroed new array for a result [rows * cols], or the array `given`, as it is.
    pub fn of(given: Option<Array<'py>>, rows: usize, cols: usize) -> PyResult<Output<'py>> {
        let Some(given) = given else { return Ok(Output::New(zeros(rows, cols)?)) };
        if Some(given.len()) != rows.checked_mul(cols) {
            let found = given.len();
            let message = format!("out has {found} values, but the result is [{rows}, {cols}]");
            return Err(PyValueError::new_err(message));
        }
        let refused = |error| PyValueError::new_err(format!("out cannot be written: {error}"));
        Ok(Output::Given(given.try_readwrite().map_err(refused)?))
    }

    /// Its values.
    pub fn values(&mut self) -> PyResult<&mut [f32]> {
        Ok(match self {
            Output::New(values) => values,
            Output::Given(given) => given.as_slice_mut()?,
        })
    }

    /// It, as a numpy array.
    pub fn array(self, py: Python<'py>) -> Array<'py> {
        match self {
            Output::New(values) => array(py, values),
            Output::Given(given) => (**given).clone(),
        }
    }
}

/// Numbers as a numpy array.
pub fn array_of<'py>(
    py: Python<'py>,
    numbers: impl ExactSizeIterator<Item = f64>,
) -> PyResult<Bound<'py, PyArray1<f64>>> {
    Ok(PyArray1::from_vec(py, collected(numbers)?))
}

/// Copies the values of arrays.
pub fn owned(values: &[PyReadonlyArray1<'_, f32>]) -> PyResult<Vec<Vec<f32>>> {
    values.iter().map(|v| Ok(copied(v.as_slice()?)?)).collect()
}
