//! Likelihoods in Python: their names, their check and their formula.

use crate::nn::likelihood::Likelihood;
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyDict};

/// The facts about a likelihood that Python uses, for any options.
#[derive(IntoPyObject)]
struct Facts {
    /// Whether x holds counts.
    counts: bool,
    /// Whether an example is a document.
    words: bool,
    /// Whether users can choose it by name.
    public: bool,
}

/// The facts of all likelihoods, by name.
pub fn facts(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let all = Likelihood::all().into_iter().map(|likelihood| {
        let (counts, words) = (likelihood.is_counts(), likelihood.is_of_words());
        (likelihood.kind(), Facts { counts, words, public: likelihood.is_public() })
    });
    all.into_py_dict(py)
}

/// Raises ValueError unless `likelihood` is the JSON of a likelihood.
#[pyfunction]
pub fn check_likelihood(json: &str) -> PyResult<()> {
    Ok(Likelihood::from_json(json).map(drop)?)
}

/// log p(x|z) of a likelihood, given as JSON, in plain text.
#[pyfunction]
pub fn likelihood_formula(json: &str) -> PyResult<String> {
    Ok(Likelihood::from_json(json)?.formula())
}
