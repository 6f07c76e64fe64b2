//! The exchange between the ranks of a training, which a Python object makes.
#![allow(unsafe_code)] // Gradients lie in an array of that object, which keeps it while MPI works on it.

use crate::error::copied;
use crate::matrix::Shared;
use crate::model::{Exchange, Shares};
use crate::simd::{Row, WIDTH};
use numpy::{PyArray1, PyArrayMethods, PyUntypedArrayMethods};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// An object with the methods of `Exchange` in `fastvae/_distributed`.
pub struct PyExchange {
    object: Py<PyAny>,
    /// The array of the gradient; it lives as long as this value.
    _array: Py<PyArray1<f32>>,
    start: *mut f32,
    rows: usize,
    /// The first exception of the object. Later calls do nothing.
    error: Mutex<Option<PyErr>>,
}

// SAFETY: the pointer is to the array, which the fields keep alive. Workers share it as they share all buffers.
unsafe impl Send for PyExchange {}
// SAFETY: as above.
unsafe impl Sync for PyExchange {}

impl PyExchange {
    /// The exchange of gradients with `rows` rows, and the shares of the ranks.
    pub fn new(object: &Bound<'_, PyAny>, rows: usize) -> PyResult<(PyExchange, Shares)> {
        let len = rows * WIDTH;
        let array = object.call_method1("buffer", (len,))?.cast_into::<PyArray1<f32>>()?;
        let start = array.data();
        if array.len() != len || !array.is_contiguous() || !start.cast::<Row>().is_aligned() {
            return Err(PyValueError::new_err(
                "the array of the gradient has another size or place",
            ));
        }
        let shares = Shares::new(
            object.getattr("rows")?.extract()?,
            object.getattr("rank")?.extract()?,
            object.getattr("steps")?.extract()?,
            object.getattr("weight")?.extract()?,
        )?;
        let exchange = PyExchange {
            object: object.clone().unbind(),
            _array: array.unbind(),
            start,
            rows,
            error: Mutex::new(None),
        };
        Ok((exchange, shares))
    }

    /// The exception of the object, if there was one.
    pub fn error(&self) -> Option<PyErr> {
        self.lock().take()
    }

    fn lock(&self) -> MutexGuard<'_, Option<PyErr>> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls the object, unless it has raised an exception; returns whether it has not.
    fn call(&self, work: impl FnOnce(&Bound<'_, PyAny>) -> PyResult<()>) -> bool {
        if self.lock().is_some() {
            return false;
        }
        let result = Python::attach(|py| work(self.object.bind(py)));
        match result {
            Ok(()) => true,
            Err(error) => {
                *self.lock() = Some(error);
                false
            }
        }
    }

    /// Replaces values by those that a method leaves in an array.
    fn replace(&self, method: &str, values: &mut [f64]) -> bool {
        self.call(|object| {
            let array = PyArray1::from_vec(object.py(), copied(values)?);
            object.call_method1(method, (&array,))?;
            values.copy_from_slice(array.readonly().as_slice()?);
            Ok(())
        })
    }
}

impl Exchange for PyExchange {
    fn gradient(&self) -> Shared<'_, Row> {
        // SAFETY: the array holds as many rows, aligned (checked by `new`), and lives as long as this value. Only one pass uses
        // it at a time; the object works on rows from their `start` until `finish` returns.
        Shared::new(unsafe { std::slice::from_raw_parts_mut(self.start.cast(), self.rows) })
    }

    fn start(&self, rows: Range<usize>) {
        self.call(|object| {
            object.call_method1("start", (rows.start * WIDTH, rows.end * WIDTH)).map(|_| ())
        });
    }

    fn sum(&self, values: &mut [f64]) {
        self.replace("sum", values);
    }

    fn finish(&self, losses: &mut [f64]) -> bool {
        self.replace("finish", losses)
    }
}
