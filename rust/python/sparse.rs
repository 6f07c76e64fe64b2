//! Sparse matrices in Python.
#![allow(unsafe_code)] // `Csr` reads the arrays of a matrix in place.

use super::detach::detached;
use crate::data::csr::Csr;
use numpy::{PyArray1, PyArrayDescr, PyReadonlyArray1, dtype};
use pyo3::prelude::*;

/// A sparse matrix [rows, cols] over numpy arrays, without a copy. The constructor validates it.
#[pyclass(frozen, module = "fastvae._core", name = "SparseMatrix")]
pub struct PySparseMatrix {
    csr: Csr<'static>,
    canonical: bool,
    indptr: Py<PyArray1<i64>>,
    indices: Py<PyArray1<i32>>,
    data: Py<PyArray1<f32>>,
}

impl PySparseMatrix {
    /// The matrix in the library's type.
    pub fn csr(&self) -> &Csr<'static> {
        &self.csr
    }
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
        // SAFETY: this object keeps the arrays alive, and they own their elements.
        let csr = unsafe { Csr::new(parts.0, parts.1, parts.2, shape.1) };
        let canonical = detached(indptr.py(), || csr.check(name, shape.0))??;
        let (indptr, indices) = ((*indptr).clone().unbind(), (*indices).clone().unbind());
        Ok(PySparseMatrix { csr, canonical, indptr, indices, data: (*data).clone().unbind() })
    }

    /// Whether the column indices of every row are strictly ascending. The engine requires it.
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
