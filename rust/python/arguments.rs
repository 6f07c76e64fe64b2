//! Conversion of Python arguments of single calls. Options of the model are in its specification, a JSON text.

use super::arrays::source;
use crate::data::binarize::Binary;
use crate::data::corruption::Corruption;
use crate::model::CompositePrior;
use crate::nn::composite_prior::Mixture;
use crate::nn::latent::KlTerm;
use crate::nn::objective::{Importance, Objective};
use crate::run::train::Block;
use numpy::PyReadonlyArray1;
use pyo3::prelude::*;

/// From Python: (name, level).
impl<'a, 'py> FromPyObject<'a, 'py> for Corruption {
    type Error = PyErr;

    fn extract(argument: Borrowed<'a, 'py, PyAny>) -> PyResult<Corruption> {
        let (name, level): (String, f32) = argument.extract()?;
        Ok(Corruption::named(&name, level)?)
    }
}

/// From Python: a name.
impl<'a, 'py> FromPyObject<'a, 'py> for Binary {
    type Error = PyErr;

    fn extract(argument: Borrowed<'a, 'py, PyAny>) -> PyResult<Binary> {
        Ok(Binary::named(&argument.extract::<String>()?)?)
    }
}

/// From Python: (weight of the reconstruction, weight of the KL, free bits, capacity, draws per example, doubly
/// reparameterised).
impl<'a, 'py> FromPyObject<'a, 'py> for Objective {
    type Error = PyErr;

    fn extract(argument: Borrowed<'a, 'py, PyAny>) -> PyResult<Objective> {
        let (reconstruction, weight, free_bits, capacity, samples, doubly) = argument.extract()?;
        let kl = KlTerm { weight, free_bits, capacity };
        Ok(Objective { reconstruction, kl, importance: Importance { samples, doubly } })
    }
}

/// From Python: (batches of the pass before the block, batches of the pass, numbers of the rows in all data, mean weight of
/// the rows of the pass).
#[derive(FromPyObject)]
pub struct BlockArguments<'py>(usize, usize, PyReadonlyArray1<'py, u64>, Option<f64>);

impl BlockArguments<'_> {
    /// The place of the block.
    pub fn block(&self) -> PyResult<Block<'_>> {
        let BlockArguments(first, batches, numbers, _) = self;
        Ok(Block { first: *first, batches: *batches, numbers: numbers.as_slice()? })
    }

    /// The mean weight of the rows of the pass, if they have weights.
    pub fn mean_weight(&self) -> Option<f64> {
        self.3
    }
}

/// From Python: (weights of the mixture, log variance of its widest component, means and log variances of earlier posteriors,
/// factors of the KL).
#[derive(FromPyObject)]
pub struct CompositeArguments<'py>(
    [f32; 3],
    f32,
    [Bound<'py, PyAny>; 2],
    PyReadonlyArray1<'py, f32>,
);

impl CompositeArguments<'_> {
    /// The prior of a training pass.
    pub fn prior(&self) -> PyResult<CompositePrior<'_>> {
        let CompositeArguments(weights, wide_logvar, [means, logvars], factors) = self;
        Ok(CompositePrior {
            mixture: Mixture::new(*weights, *wide_logvar)?,
            posteriors: [source(means)?, source(logvars)?],
            factors: factors.as_slice()?,
        })
    }
}
