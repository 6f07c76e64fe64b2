//! Work without the interpreter lock, in slices of time with a check for Ctrl-C after each, and in long slices.

use crate::error::Error;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// The time between two checks for signals.
pub const SLICE: Duration = Duration::from_millis(50);

thread_local! {
    /// The exception of a signal that has interrupted the work of this thread.
    static PENDING: RefCell<Option<PyErr>> = const { RefCell::new(None) };
}

/// Checks for signals in the midst of detached work; [`detached`] raises the exception.
pub fn interrupted() -> bool {
    let Some(Err(error)) = Python::try_attach(|py| py.check_signals()) else { return false };
    PENDING.set(Some(error));
    true
}

/// Runs `work` without the interpreter lock. Converts a panic (a bug) to an exception. If a signal has interrupted the
/// work, its result is discarded.
pub fn detached<T: Send>(py: Python<'_>, work: impl FnOnce() -> T + Send) -> PyResult<T> {
    let result = py.detach(|| catch_unwind(AssertUnwindSafe(work)));
    match PENDING.take() {
        Some(error) => Err(error),
        None => result
            .map_err(|_| PyRuntimeError::new_err("internal error in fastvae; please report it")),
    }
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
