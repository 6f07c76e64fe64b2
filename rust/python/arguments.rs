//! Options of single calls. Those of the engine are a JSON text: its specification.

use crate::data::binarize::Binary;
use crate::data::corruption::Corruption;
use crate::run::train::Importance;
use pyo3::prelude::*;

/// (name, level)
impl<'a, 'py> FromPyObject<'a, 'py> for Corruption {
    type Error = PyErr;

    fn extract(argument: Borrowed<'a, 'py, PyAny>) -> PyResult<Corruption> {
        let (name, level): (String, f32) = argument.extract()?;
        Ok(Corruption::named(&name, level)?)
    }
}

/// A name.
impl<'a, 'py> FromPyObject<'a, 'py> for Binary {
    type Error = PyErr;

    fn extract(argument: Borrowed<'a, 'py, PyAny>) -> PyResult<Binary> {
        Ok(Binary::named(&argument.extract::<String>()?)?)
    }
}

/// (draws of an example, whether the gradient is doubly reparameterised)
impl<'a, 'py> FromPyObject<'a, 'py> for Importance {
    type Error = PyErr;

    fn extract(argument: Borrowed<'a, 'py, PyAny>) -> PyResult<Importance> {
        let (samples, doubly) = argument.extract()?;
        Ok(Importance { samples, doubly })
    }
}
