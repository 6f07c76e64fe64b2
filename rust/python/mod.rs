//! The Python binding: converts arguments, releases the interpreter lock, calls the library, converts errors.

mod arguments;
mod arrays;
mod detach;
mod engine;
mod error;
mod exchange;
mod file;
mod functional;
mod infer;
mod irt;
mod layers;
mod likelihood;
mod lock;
#[cfg(feature = "probe")]
mod probe;
mod score;
mod sparse;
mod start;
mod train;

use crate::simd::{self, Isa};
use crate::threads;
use pyo3::prelude::*;

/// The active instruction set, all available ones, the default number of threads, and whether this is a debug build.
#[pyfunction]
fn config() -> PyResult<(&'static str, Vec<&'static str>, usize, bool)> {
    let available = Isa::available().iter().map(|isa| isa.name()).collect();
    Ok((Isa::detect()?.name(), available, threads::default_threads(), cfg!(debug_assertions)))
}

/// Whether the CPU has each kind of instructions for short operands, by name.
#[pyfunction]
fn cpu_features() -> [(&'static str, bool); 3] {
    simd::features()
}

/// The value of FASTVAE_NUM_THREADS, if it holds no number of threads, and the default in its place.
#[pyfunction]
fn unreadable_num_threads() -> Option<(String, usize)> {
    Some((threads::unreadable_default()?, threads::default_threads()))
}

/// The native core of fastvae.
#[pymodule(gil_used = false)]
mod _core {
    #[cfg(feature = "probe")]
    #[pymodule_export]
    use super::probe::{peak, product_rate, round_trip, word_peak, word_product_rate};
    #[pymodule_export]
    use super::{
        config, cpu_features,
        engine::{PyEngine, complete_specification},
        error::FormatError,
        file::{PyModelFile, write_atomically},
        functional::{
            corrupt, gaussian_kl, log_prob, permutation, reparameterize, standard_normal,
        },
        irt::PyExamAnswers,
        layers::layer_shapes,
        likelihood::{check_likelihood, likelihood_formula},
        sparse::PySparseMatrix,
        start::PyColumnMoments,
        train::order_of_rank,
        unreadable_num_threads,
    };
    use crate::data::input_transform;
    use crate::model::Precision;
    use crate::nn::activation::Activation;
    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        crate::threads::set_interrupt(super::detach::interrupted);
        crate::threads::process_id(); // registers its handler before any fork
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        module.add("ACTIVATIONS", Activation::NAMED.map(|(name, _)| name))?;
        module.add("PRECISIONS", Precision::NAMED.map(|(name, _)| name))?;
        module.add("MAX_THREADS", crate::threads::MAX_THREADS)?;
        module.add("LOGVAR_RANGE", crate::nn::latent::LOGVAR_RANGE)?;
        module.add("MAX_WIDTH", crate::model::MAX_WIDTH)?;
        module.add("MAX_SIDE", crate::model::MAX_SIDE)?;
        module.add("LIKELIHOODS", super::likelihood::facts(module.py())?)?;
        module.add("LARGEST", crate::data::check::LARGEST)?;
        module.add("ROUNDING", crate::nn::likelihood::Support::UNIT.rounding)?;
        module.add("MAX_TRIALS", crate::nn::likelihood::MAX_TRIALS as u32)?;
        let scale = (input_transform::FREQUENCIES, input_transform::SHORT);
        module.add("FREQUENCIES", scale)?;
        module.add("TOPIC_GAIN", crate::nn::simplex::GAIN)
    }
}
