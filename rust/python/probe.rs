//! Measurements of the machine, for benchmarks only.

use super::detach::detached;
use crate::probe;
use crate::simd::Isa;
use pyo3::prelude::*;

/// The current peak rate of multiply-adds, GFLOP/s: the upper limit for benchmarks.
#[pyfunction]
pub fn peak(py: Python<'_>, threads: usize) -> PyResult<f64> {
    let isa = Isa::detect()?;
    detached(py, || probe::peak(isa, threads))
}

/// The rate of a matrix product [rows, inputs] x [inputs, outputs] on one thread, GFLOP/s.
/// `fused`: with a layer's epilogue.
#[pyfunction]
pub fn product_rate(py: Python<'_>, shape: [usize; 3], fused: bool) -> PyResult<f64> {
    let isa = Isa::detect()?;
    let seconds = detached(py, || probe::product_seconds(isa, shape, fused))??;
    Ok(2e-9 * shape.iter().product::<usize>() as f64 / seconds)
}

/// The current peak rate of products of bfloat16, GFLOP/s; 0 without an instruction.
#[pyfunction]
pub fn word_peak(py: Python<'_>, threads: usize) -> PyResult<f64> {
    let isa = Isa::detect()?;
    detached(py, || probe::word_peak(isa, threads))
}

/// The rate of a product of bfloat16 [rows, inputs] x [inputs, outputs] on one thread, GFLOP/s; `gradient`: of the weight
/// gradient [inputs, rows] x [rows, outputs].
#[pyfunction]
pub fn word_product_rate(py: Python<'_>, shape: [usize; 3], gradient: bool) -> PyResult<f64> {
    let isa = Isa::detect()?;
    let seconds = detached(py, || match gradient {
        false => probe::word_product_seconds(isa, shape),
        true => probe::word_gradient_seconds(isa, shape),
    })??;
    Ok(2e-9 * shape.iter().product::<usize>() as f64 / seconds)
}

/// The round-trip time of a word between two cores, seconds.
#[pyfunction]
pub fn round_trip(py: Python<'_>) -> PyResult<f64> {
    detached(py, probe::round_trip_seconds)
}
