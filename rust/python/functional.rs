//! Functions on arrays, without a model.

use super::arrays::{Array, array, zeros};
use super::detach::detached;
use crate::data::corruption::Corruption;
use crate::nn::likelihood::{Bernoulli, Gaussian, Likelihood, Scale};
use crate::run::functional;
use crate::simd::Isa;
use numpy::PyReadonlyArray1;
use pyo3::prelude::*;

/// z = mu + e^(logvar / 2) eps.
#[pyfunction]
pub fn reparameterize<'py>(
    py: Python<'py>,
    mu: PyReadonlyArray1<'_, f32>,
    logvar: PyReadonlyArray1<'_, f32>,
    eps: PyReadonlyArray1<'_, f32>,
) -> PyResult<Array<'py>> {
    let (mu, logvar, eps) = (mu.as_slice()?, logvar.as_slice()?, eps.as_slice()?);
    let (isa, mut z) = (Isa::detect()?, zeros(mu.len(), 1)?);
    detached(py, || functional::reparameterize(isa, mu, logvar, eps, &mut z))?;
    Ok(array(py, z))
}

/// KL to N(0, I) of each row of `cols` coordinates.
#[pyfunction]
pub fn gaussian_kl<'py>(
    py: Python<'py>,
    mu: PyReadonlyArray1<'_, f32>,
    logvar: PyReadonlyArray1<'_, f32>,
    cols: usize,
) -> PyResult<Array<'py>> {
    let (mu, logvar) = (mu.as_slice()?, logvar.as_slice()?);
    let (isa, mut kl) = (Isa::detect()?, zeros(mu.len() / cols.max(1), 1)?);
    detached(py, || functional::gaussian_kl(isa, mu, logvar, cols, &mut kl))?;
    Ok(array(py, kl))
}

/// log p(x|y) of each row of `cols` features. With `log_scale` [cols], the likelihood is Gaussian.
#[pyfunction]
pub fn log_prob<'py>(
    py: Python<'py>,
    x: PyReadonlyArray1<'_, f32>,
    y: PyReadonlyArray1<'_, f32>,
    log_scale: Option<PyReadonlyArray1<'_, f32>>,
    cols: usize,
) -> PyResult<Array<'py>> {
    let (x, y) = (x.as_slice()?, y.as_slice()?);
    let (likelihood, scale): (Likelihood, _) = match &log_scale {
        Some(scale) => {
            (Gaussian { scale: Scale::PerFeature, ..Gaussian::default() }.into(), scale.as_slice()?)
        }
        None => (Bernoulli {}.into(), &[][..]),
    };
    let (isa, mut out) = (Isa::detect()?, zeros(x.len() / cols.max(1), 1)?);
    detached(py, || functional::log_prob(isa, likelihood, x, y, scale, cols, &mut out))?;
    Ok(array(py, out))
}

/// Applies a corruption to a matrix of `cols` columns.
#[pyfunction]
pub fn corrupt<'py>(
    py: Python<'py>,
    x: PyReadonlyArray1<'_, f32>,
    corruption: Corruption,
    cols: usize,
    seed: u64,
) -> PyResult<Array<'py>> {
    let (isa, mut values) = (Isa::detect()?, x.as_slice()?.to_vec());
    detached(py, || corruption.corrupt(isa, seed, cols, &mut values))?;
    Ok(array(py, values))
}

/// Standard normal noise, [n, cols].
#[pyfunction]
pub fn standard_normal(
    py: Python<'_>,
    n: usize,
    cols: usize,
    seed: u64,
    stream: u8,
) -> PyResult<Array<'_>> {
    let (isa, mut out) = (Isa::detect()?, zeros(n, cols)?);
    detached(py, || functional::standard_normal(isa, seed, stream, cols, &mut out))?;
    Ok(array(py, out))
}
