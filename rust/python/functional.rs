//! Functions on arrays, without a model.

use super::arrays::{Array, array, zeros};
use super::detach::in_slices;
use crate::data::corruption::Corruption;
use crate::error::{copied, filled};
use crate::nn::likelihood::{Bernoulli, Gaussian, Likelihood, Scale};
use crate::random::Permutation;
use crate::run::functional;
use crate::simd::{Isa, LANES};
use numpy::{PyArray1, PyReadonlyArray1};
use pyo3::prelude::*;
use std::ops::Range;

/// Values of a matrix between two checks for Ctrl-C.
const VALUES_AT_ONCE: usize = 1 << 22;

/// The order of `n` rows of block `block` of epoch `epoch`, [n].
#[pyfunction]
pub fn permutation(
    py: Python<'_>,
    seed: u64,
    epoch: u32,
    block: u32,
    n: usize,
) -> PyResult<Bound<'_, PyArray1<u64>>> {
    let (isa, order) = (Isa::detect()?, Permutation::of_block(seed, epoch, block, n));
    let (mut places, mut part) = (filled(0u64, Some(n))?, [0; LANES]);
    for (i, to) in places.chunks_mut(LANES).enumerate() {
        order.fill(isa, i * LANES, &mut part[..to.len()]);
        to.iter_mut().zip(part).for_each(|(to, place)| *to = place as u64);
    }
    Ok(PyArray1::from_vec(py, places))
}

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
    by_rows(py, (z.len(), 1), |at, _| {
        let (mu, logvar, eps) = (&mu[at.clone()], &logvar[at.clone()], &eps[at.clone()]);
        functional::reparameterize(isa, mu, logvar, eps, &mut z[at]);
    })?;
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
    by_rows(py, (kl.len(), cols), |at, rows| {
        functional::gaussian_kl(isa, &mu[at.clone()], &logvar[at], cols, &mut kl[rows]);
    })?;
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
    by_rows(py, (out.len(), cols), |at, rows| {
        let (x, y) = (&x[at.clone()], &y[at]);
        functional::log_prob(isa, &likelihood, x, y, scale, cols, &mut out[rows]);
    })?;
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
    let (isa, mut values) = (Isa::detect()?, copied(x.as_slice()?)?);
    by_rows(py, (values.len() / cols.max(1), cols), |at, rows| {
        corruption.corrupt(isa, seed, (rows.start, cols), &mut values[at]);
    })?;
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
    normal(py, (0, n, cols), seed, stream)
}

/// Standard normal noise of a stream, [rows * cols]; the first row has the number `first`.
pub fn normal(
    py: Python<'_>,
    (first, rows, cols): (usize, usize, usize),
    seed: u64,
    stream: u8,
) -> PyResult<Array<'_>> {
    let (isa, mut out) = (Isa::detect()?, zeros(rows, cols)?);
    by_rows(py, (rows, cols), |at, rows| {
        let place = (first + rows.start, cols);
        functional::standard_normal(isa, (seed, stream), place, &mut out[at]);
    })?;
    Ok(array(py, out))
}

/// Calls `work` for ranges of the elements of a matrix [rows, cols] and of the rows that they are of, with a check for
/// Ctrl-C after each.
fn by_rows(
    py: Python<'_>,
    (rows, cols): (usize, usize),
    mut work: impl FnMut(Range<usize>, Range<usize>) + Send,
) -> PyResult<()> {
    let (together, mut done) = ((VALUES_AT_ONCE / cols.max(1)).max(1), 0);
    in_slices(py, || {
        let end = rows.min(done + together);
        work(done * cols..end * cols, done..end);
        done = end;
        Ok(done == rows)
    })
}
