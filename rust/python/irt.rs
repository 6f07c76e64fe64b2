//! Marginal maximum likelihood of exams, in Python.

use super::arrays::array_of;
use super::detach::detached;
use crate::error::Error;
use crate::irt::{self, Answers, Items, Kind, Prior};
use crate::simd::Isa;
use crate::threads;
use numpy::{PyArray1, PyReadonlyArray1};
use pyo3::exceptions::PyKeyboardInterrupt;
use pyo3::prelude::*;
use serde::Deserialize;

type Numbers<'py> = Bound<'py, PyArray1<f64>>;

/// Answers [patterns x categories] below which a second thread costs more than it brings.
const WORTH_A_THREAD: usize = 20_000;

/// The model, from JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    kind: Kind,
    prior: Prior,
    tol: f64,
    most: usize,
}

/// The answers of an exam, equal students merged.
#[pyclass(frozen, module = "fastvae._core", name = "ExamAnswers")]
pub struct PyExamAnswers {
    answers: Answers,
}

#[pymethods]
impl PyExamAnswers {
    /// Marks, [n, n_tasks] flat, NaN where missing; weights of the students, none for ones; their groups, 0, 1, ...; whether
    /// students with the same score are one pattern, for tasks with one slope.
    #[new]
    #[pyo3(signature = (marks, n_tasks, weights=None, groups=None, by_score=false))]
    fn new(
        py: Python<'_>,
        marks: PyReadonlyArray1<'_, f32>,
        n_tasks: usize,
        weights: Option<PyReadonlyArray1<'_, f32>>,
        groups: Option<PyReadonlyArray1<'_, u32>>,
        by_score: bool,
    ) -> PyResult<Self> {
        let marks = marks.as_slice()?;
        let weights = weights.as_ref().map(|w| w.as_slice()).transpose()?.unwrap_or(&[]);
        let groups = groups.as_ref().map(|g| g.as_slice()).transpose()?.unwrap_or(&[]);
        Ok(Self {
            answers: detached(py, || Answers::new(marks, n_tasks, weights, groups, by_score))??,
        })
    }

    /// The first student with each pattern of answers, and the pattern's students or their weights.
    fn patterns<'py>(
        &self,
        py: Python<'py>,
    ) -> PyResult<(Bound<'py, PyArray1<u32>>, Numbers<'py>)> {
        let first = PyArray1::from_slice(py, &self.answers.first);
        Ok((first, array_of(py, self.answers.weights.iter().copied())?))
    }

    /// Estimates from the parameters of all items, one item after the other, and (mean, sd) of all groups: parameters,
    /// groups, a history of (log-likelihood, its part given the abilities, log prior), the last change, and the nodes.
    #[allow(clippy::type_complexity)]
    fn fit<'py>(
        &self,
        py: Python<'py>,
        settings: &str,
        most_marks: Vec<usize>,
        start: Vec<f64>,
        groups: Vec<(f64, f64)>,
        n_threads: Option<usize>,
    ) -> PyResult<(Numbers<'py>, Vec<(f64, f64)>, Numbers<'py>, f64, usize)> {
        let (settings, isa) = (read(settings)?, Isa::detect()?);
        let items = self.items(&settings, most_marks, start)?;
        let limits = (settings.tol, settings.most);
        let threads = self.threads(n_threads);
        let outcome =
            detached(py, || irt::fit(isa, &self.answers, items, groups, limits, threads))??;
        let found = outcome.ok_or_else(|| PyKeyboardInterrupt::new_err(()))?;
        let history: Vec<f64> = found.history.into_iter().flatten().collect();
        Ok((
            array_of(py, found.items.parameters.into_iter())?,
            found.groups,
            array_of(py, history.into_iter())?,
            found.change,
            found.nodes,
        ))
    }

    /// The log-likelihood, and the gradient of it plus the log prior by the items' parameters.
    fn gradient<'py>(
        &self,
        py: Python<'py>,
        settings: &str,
        most_marks: Vec<usize>,
        parameters: Vec<f64>,
        groups: Vec<(f64, f64)>,
        n_threads: Option<usize>,
    ) -> PyResult<(f64, Numbers<'py>)> {
        let (settings, isa) = (read(settings)?, Isa::detect()?);
        let items = self.items(&settings, most_marks, parameters)?;
        let threads = self.threads(n_threads);
        let found = detached(py, || irt::gradient(isa, &self.answers, &items, &groups, threads))??;
        let (log_likelihood, gradient) = found.ok_or_else(|| PyKeyboardInterrupt::new_err(()))?;
        Ok((log_likelihood, array_of(py, gradient.into_iter())?))
    }
}

impl PyExamAnswers {
    fn items(
        &self,
        settings: &Settings,
        most: Vec<usize>,
        parameters: Vec<f64>,
    ) -> PyResult<Items> {
        let mut offsets = vec![0];
        for &most in &most {
            let own = match settings.kind {
                Kind::Logistic | Kind::ThroughOrigin | Kind::CommonSlope => 2,
                Kind::Guessing => 3,
                Kind::Graded => most + 1,
            };
            offsets.push(offsets[offsets.len() - 1] + own);
        }
        let too_few = |(task, most): (&crate::irt::Categories, &usize)| {
            task.marks.iter().any(|&mark| mark != irt::MISSING && mark > *most)
        };
        let bad_guessing =
            settings.prior.guessing.as_ref().is_some_and(|g| g.0.len() != most.len());
        if offsets[most.len()] != parameters.len()
            || most.len() != self.answers.tasks.len()
            || self.answers.tasks.iter().zip(&most).any(too_few)
            || bad_guessing
        {
            return Err(Error::Shape("parameters do not fit the answers".to_string()).into());
        }
        Ok(Items { kind: settings.kind, most, offsets, parameters, prior: settings.prior.clone() })
    }

    fn threads(&self, requested: Option<usize>) -> usize {
        match requested {
            Some(threads) => threads::capped(threads),
            None if self.answers.patterns() * self.answers.tasks.len() < WORTH_A_THREAD => 1,
            None => threads::default_threads(),
        }
    }
}

fn read(settings: &str) -> PyResult<Settings> {
    serde_json::from_str(settings).map_err(|e| Error::Parameter(e.to_string()).into())
}
