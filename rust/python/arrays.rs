//! Arrays: numpy's in place as [`Source`], results as numpy's.
#![allow(unsafe_code)] // Arrays are read in place, through `Source`.

use super::sparse::PySparseMatrix;
use crate::data::{Element, Source};
use crate::error::filled;
use numpy::{
    PyArray1, PyArrayDescr, PyArrayDescrMethods, PyReadonlyArray1, PyUntypedArray,
    PyUntypedArrayMethods, dtype,
};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;

/// A flat array that is returned.
pub type Array<'py> = Bound<'py, PyArray1<f32>>;

/// A two-dimensional array or a [`PySparseMatrix`].
pub type Array2<'a, 'py> = &'a Bound<'py, PyAny>;

/// Which rows of a matrix to take; none for all.
pub type Rows<'py> = Option<PyReadonlyArray1<'py, u64>>;

/// A two-dimensional array or a sparse matrix, read in place.
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

/// Calls `work` with the chosen rows of `x`, each with its row of `y` where there are conditions.
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

/// Room for an answer.
pub fn zeros(rows: usize, cols: usize) -> PyResult<Vec<f32>> {
    Ok(filled(0.0, rows.checked_mul(cols))?)
}

/// An answer.
pub fn array(py: Python<'_>, values: Vec<f32>) -> Bound<'_, PyArray1<f32>> {
    PyArray1::from_vec(py, values)
}

/// The numbers of arrays.
pub fn owned(values: &[PyReadonlyArray1<'_, f32>]) -> PyResult<Vec<Vec<f32>>> {
    values.iter().map(|v| Ok(v.as_slice()?.to_vec())).collect()
}
