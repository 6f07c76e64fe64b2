//! Measurements of the machine, for benches only.

use super::detach::detached;
use crate::probe;
use crate::simd::Isa;
use pyo3::prelude::*;

/// The machine's present rate of multiply-adds, GFLOP/s: the limit that benches compare with.
#[pyfunction]
pub fn peak(py: Python<'_>, threads: usize) -> PyResult<f64> {
    let isa = Isa::detect()?;
    detached(py, || probe::peak(isa, threads))
}

/// GFLOP/s of one thread's product [rows, inputs] x [inputs, outputs], plain or with a layer's epilogue.
#[pyfunction]
pub fn product_rate(py: Python<'_>, shape: [usize; 3], fused: bool) -> PyResult<f64> {
    let isa = Isa::detect()?;
    let seconds = detached(py, || probe::product_seconds(isa, shape, fused))??;
    Ok(2e-9 * shape.iter().product::<usize>() as f64 / seconds)
}

/// Seconds for a word from one core to another and back.
#[pyfunction]
pub fn round_trip(py: Python<'_>) -> PyResult<f64> {
    detached(py, probe::round_trip_seconds)
}
