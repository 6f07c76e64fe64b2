//! Likelihoods in Python: properties, validation, formulas.

use crate::nn::likelihood::{Likelihood, Support};
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyDict};

/// Properties of a likelihood, independent of its options.
#[derive(IntoPyObject)]
struct Facts {
    /// Whether x holds counts.
    counts: bool,
    /// Whether x lies in [0, 1].
    unit: bool,
    /// Whether an example is a document of words.
    words: bool,
    /// Whether users can select the likelihood by name.
    public: bool,
}

/// The properties of all likelihoods, by name.
pub fn facts(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let all = Likelihood::all().into_iter().map(|likelihood| {
        let (counts, words) = (likelihood.is_counts(), likelihood.is_of_words());
        let unit = likelihood.support() == Support::UNIT;
        (likelihood.kind(), Facts { counts, unit, words, public: likelihood.is_public() })
    });
    all.into_py_dict(py)
}

/// Raises ValueError unless `json` is a valid likelihood.
#[pyfunction]
pub fn check_likelihood(json: &str) -> PyResult<()> {
    Ok(Likelihood::from_json(json).map(drop)?)
}

/// The formula of log p(x|z) as plain text, for a likelihood as JSON.
#[pyfunction]
pub fn likelihood_formula(json: &str) -> PyResult<String> {
    Ok(Likelihood::from_json(json)?.formula())
}
