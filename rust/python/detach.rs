//! Work without the interpreter lock, in slices of time with a check for Ctrl-C after each.

use crate::error::Error;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// The time between two checks for signals. The delay of Ctrl-C is at most about twice this time, or one training step
/// if that is longer.
pub const SLICE: Duration = Duration::from_millis(50);

/// Runs `work` without the interpreter lock. Converts a panic (a bug) to an exception.
pub fn detached<T: Send>(py: Python<'_>, work: impl FnOnce() -> T + Send) -> PyResult<T> {
    py.detach(|| catch_unwind(AssertUnwindSafe(work)))
        .map_err(|_| PyRuntimeError::new_err("internal error in fastvae; please report it"))
}

/// Calls `work` until it returns true. Checks for Ctrl-C after each call.
pub fn in_slices(
    py: Python<'_>,
    mut work: impl FnMut() -> Result<bool, Error> + Send,
) -> PyResult<()> {
    while !detached(py, &mut work)?? {
        py.check_signals()?;
    }
    py.check_signals()
}
