//! The level of the training data, from which training starts, in Python.

use super::arrays::{Array2, Rows, array_of};
use super::detach::{SLICE, in_slices};
use super::engine::PyEngine;
use crate::data::Source;
use crate::data::binarize::{Binarize, Binary};
use crate::data::moments::ColumnMoments;
use crate::data::standardize::Standardize;
use crate::model::Specification;
use crate::nn::likelihood::{Column, Likelihood};
use crate::run::moments::add_rows;
use crate::simd::Isa;
use numpy::{PyArray1, PyReadonlyArray1};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// The moments of the columns of the training data.
#[pyclass(frozen, module = "fastvae._core", name = "ColumnMoments")]
pub struct PyColumnMoments {
    columns: Vec<Column>,
    /// Those of what the encoder reads of groups of columns, before it is standardised; else empty.
    encoded: Vec<Column>,
}

#[pymethods]
impl PyColumnMoments {
    /// The moments as plain numbers, [number of columns, 6], for [`PyColumnMoments::merged`].
    fn table<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray1<f64>>> {
        let columns = self.columns.iter().chain(&self.encoded);
        array_of(py, columns.flat_map(Column::numbers).collect::<Vec<f64>>().into_iter())
    }

    /// The moments of the columns of several arrays together, these and those of `tables`.
    fn merged(&self, tables: Vec<PyReadonlyArray1<'_, f64>>) -> PyResult<PyColumnMoments> {
        let own = self.columns.len() + self.encoded.len();
        let mut merged = vec![Column::default(); own];
        for table in &tables {
            let (numbers, _) = table.as_slice()?.as_chunks();
            if numbers.len() != own {
                return Err(PyValueError::new_err("the arrays have other numbers of columns"));
            }
            for (column, &numbers) in merged.iter_mut().zip(numbers) {
                *column = column.merged(&Column::of_numbers(numbers));
            }
        }
        let encoded = merged.split_off(self.columns.len());
        Ok(PyColumnMoments { columns: merged, encoded })
    }

    /// The means of the observed values, [n_features].
    #[getter]
    fn mean<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray1<f64>>> {
        array_of(py, self.columns.iter().map(|column| column.mean))
    }

    /// Their standard deviations, [n_features].
    #[getter]
    fn std<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray1<f64>>> {
        array_of(py, self.columns.iter().map(Column::deviation))
    }
}

#[pymethods]
impl PyEngine {
    /// The moments of the columns of `x`, or of `rows` of it, as the likelihood reads them.
    fn column_moments(
        &self,
        py: Python<'_>,
        x: Array2,
        rows: Rows,
        binarize: Option<Binary>,
        threads: Option<usize>,
    ) -> PyResult<PyColumnMoments> {
        self.with_examples(x, None, &rows, |x| {
            // A Bernoulli draw has the mean of the grey values.
            let threshold = binarize == Some(Binary::Threshold);
            let x = x.binarized(threshold.then_some(Binarize::Threshold));
            let likelihood = &self.specification.likelihood;
            let encoded = match likelihood.groups() {
                Some(_) => columns(py, &x, Some(likelihood), threads)?,
                None => Vec::new(),
            };
            Ok(PyColumnMoments { columns: columns(py, &x, None, threads)?, encoded })
        })
    }

    /// The specification, as JSON, with the standardisation for training data with these moments; none if it needs none.
    fn standardized(&self, moments: &PyColumnMoments) -> Option<String> {
        let spec = &self.specification;
        let images = spec.image_shape.is_some();
        let standardize = match spec.likelihood.groups() {
            Some(groups) => Standardize::of_groups(groups, &moments.encoded),
            None => Standardize::of(&spec.likelihood, &moments.columns, images),
        }?;
        Some(Specification { standardize: Some(standardize), ..spec.clone() }.to_json())
    }

    /// The specification, as JSON, with the standardisation for covariates y of the training rows; none if it needs none.
    fn standardized_y(&self, py: Python<'_>, y: Array2, rows: Rows) -> PyResult<Option<String>> {
        self.with_examples(y, None, &rows, |y| {
            let found = Standardize::of_covariates(&columns(py, &y, None, Some(1))?);
            let spec = &self.specification;
            Ok(found.map(|by| Specification { standardize_y: Some(by), ..spec.clone() }.to_json()))
        })
    }

    /// Moves the random initial parameters to the level of the training data.
    fn start(&self, py: Python<'_>, moments: &PyColumnMoments) -> PyResult<()> {
        let level = match self.specification.likelihood.groups() {
            Some(groups) => &groups.level(&moments.columns, &moments.encoded),
            None => &moments.columns,
        };
        Ok(self.with_engine(py, |engine| engine.start(level))??)
    }
}

/// The moments of the columns of an array, or of what the encoder reads of them with the likelihood `encoded`.
fn columns(
    py: Python<'_>,
    x: &Source,
    encoded: Option<&Likelihood>,
    threads: Option<usize>,
) -> PyResult<Vec<Column>> {
    let (moments, isa) = (ColumnMoments::new(x.cols())?, Isa::detect()?);
    let moments = match encoded {
        Some(likelihood) => moments.encoded(likelihood),
        None => moments,
    };
    let mut done = 0;
    in_slices(py, || {
        done = add_rows(isa, x, &moments, (done, SLICE), threads);
        Ok(done == x.rows())
    })?;
    Ok(moments.columns(x)?)
}
