//! Model files in Python.

use super::detach::detached;
use super::engine::PyEngine;
use super::error::os_error;
use crate::file;
use numpy::{IntoPyArray, PyArray1};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use std::ffi::OsString;
use std::io::{Cursor, Read};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// The source of a model file: bytes or a path.
#[derive(FromPyObject)]
enum FileArgument {
    Bytes(PyBackedBytes),
    Path(OsString),
}

type Reader = Box<dyn Read + Send>;

/// A history in Python: losses by name.
type Losses<'py> = Vec<(String, Bound<'py, PyArray1<f64>>)>;

/// An open model file: header read, tensors unread.
#[pyclass(frozen, module = "fastvae._core", name = "ModelFile")]
pub struct PyModelFile {
    specification: String,
    estimator: String,
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
        let file = detached(py, || file::ModelFile::open(reader, len))??;
        Ok(PyModelFile {
            specification: file.specification().to_json(),
            estimator: file.estimator().to_string(),
            file: Mutex::new(Some(file)),
        })
    }

    /// The model's specification with all options, as JSON.
    #[getter]
    fn specification(&self) -> &str {
        &self.specification
    }

    /// The estimator's text from `Engine.dump`.
    #[getter]
    fn estimator(&self) -> &str {
        &self.estimator
    }

    /// Reads the tensors; returns the engine and the history as names and values. Allows a single call. Raises FormatError
    /// for missing, unknown or damaged tensors.
    fn read<'py>(&self, py: Python<'py>) -> PyResult<(PyEngine, Losses<'py>)> {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner).take();
        let file = file.ok_or_else(|| {
            PyRuntimeError::new_err("this ModelFile has been read already; open the file again")
        })?;
        let (engine, history) = detached(py, || file.read())??;
        let history = history.into_iter().map(|(name, values)| (name, values.into_pyarray(py)));
        Ok((engine.into(), history.collect()))
    }
}

/// Writes bytes to a file atomically. Raises OSError.
#[pyfunction]
pub fn write_atomically(py: Python<'_>, path: OsString, data: &[u8]) -> PyResult<()> {
    detached(py, || file::write(Path::new(&path), data))?.map_err(|error| os_error(error, path))
}
