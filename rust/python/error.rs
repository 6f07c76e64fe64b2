//! Conversion of errors to Python exceptions.

use crate::error::Error;
use pyo3::exceptions::{PyFloatingPointError, PyMemoryError, PyOSError, PyValueError};
use pyo3::prelude::*;
use std::ffi::OsString;
use std::io::{self, ErrorKind};

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

/// An OSError with errno, the file's name and the subclass of Python's own functions (FileNotFoundError, ...).
pub fn os_error(error: io::Error, path: OsString) -> PyErr {
    let message = error.to_string();
    let code = error.raw_os_error().unwrap_or(match error.kind() {
        ErrorKind::IsADirectory => EISDIR,
        _ => EINVAL,
    });
    let message = message.trim_end_matches(&format!(" (os error {code})")).to_string();
    // OSError(errno, message, file name, winerror): Windows uses `winerror`, if the system reported it.
    let reported = error.raw_os_error();
    PyOSError::new_err((code, message, path, reported))
}

/// Numbers of errors that this library finds before the system does; the same on all systems.
const EISDIR: i32 = 21;
const EINVAL: i32 = 22;
