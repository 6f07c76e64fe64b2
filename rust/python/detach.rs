//! Work without the interpreter lock, in slices of time: Ctrl-C is answered in between.

use crate::error::Error;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// How long Python waits between two looks at its signals: Ctrl-C answers within about twice this, or one step of
/// training where that is longer.
pub const SLICE: Duration = Duration::from_millis(50);

/// Runs `work` without the interpreter lock. A panic, which would be a bug, becomes an exception.
pub fn detached<T: Send>(py: Python<'_>, work: impl FnOnce() -> T + Send) -> PyResult<T> {
    py.detach(|| catch_unwind(AssertUnwindSafe(work)))
        .map_err(|_| PyRuntimeError::new_err("internal error in fastvae; please report it"))
}

/// Calls `work` until it returns true, looking for Ctrl-C in between.
pub fn in_slices(
    py: Python<'_>,
    mut work: impl FnMut() -> Result<bool, Error> + Send,
) -> PyResult<()> {
    while !detached(py, &mut work)?? {
        py.check_signals()?;
    }
    py.check_signals()
}
