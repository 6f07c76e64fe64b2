//! Conversion of errors to Python exceptions.

use crate::error::Error;
use pyo3::exceptions::{PyFloatingPointError, PyMemoryError, PyOSError, PyValueError};
use pyo3::prelude::*;
use std::ffi::OsString;
use std::io;
use std::path::Path;

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

/// An OSError with the file's name and the subclass of Python's own functions (FileNotFoundError, ...).
pub fn os_error(error: io::Error, path: OsString) -> PyErr {
    let message = error.to_string();
    match error.raw_os_error() {
        // OSError(errno, message, file name, winerror): Windows uses `winerror`, other systems use `errno`.
        Some(code) => {
            let message = message.trim_end_matches(&format!(" (os error {code})")).to_string();
            PyOSError::new_err((code, message, path, code))
        }
        None => io::Error::new(error.kind(), format!("{}: {message}", Path::new(&path).display()))
            .into(),
    }
}
