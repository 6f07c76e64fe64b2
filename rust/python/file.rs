//! Model files in Python.

use super::detach::detached;
use super::engine::PyEngine;
use super::error::os_error;
use crate::file;
use crate::model::Specification;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use std::ffi::OsString;
use std::io::{Cursor, Read};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// Where a model file is: bytes, or a path.
#[derive(FromPyObject)]
enum FileArgument {
    Bytes(PyBackedBytes),
    Path(OsString),
}

type Reader = Box<dyn Read + Send>;

/// A model file: its configuration is known, its tensors wait to be read, once.
#[pyclass(frozen, module = "fastvae._core", name = "ModelFile")]
pub struct PyModelFile {
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
        let file = detached(py, || file::ModelFile::open(reader, len))??;
        Ok(PyModelFile { config: file.config().to_string(), file: Mutex::new(Some(file)) })
    }

    /// The configuration, a JSON text.
    #[getter]
    fn config(&self) -> &str {
        &self.config
    }

    /// The model, if the file holds exactly the tensors of such a one. Reads the file, so it can be called once.
    fn engine(&self, py: Python<'_>, specification: &str) -> PyResult<PyEngine> {
        let specification = Specification::from_file(specification)?;
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner).take();
        let file = file.ok_or_else(|| {
            PyRuntimeError::new_err("this ModelFile has been read already; open the file again")
        })?;
        Ok(detached(py, || file.engine(specification))??.into())
    }
}

/// Puts bytes into a file: all of them, or none and an OSError.
#[pyfunction]
pub fn write_atomically(py: Python<'_>, path: OsString, data: &[u8]) -> PyResult<()> {
    detached(py, || file::write(Path::new(&path), data))?.map_err(|error| os_error(error, path))
}
