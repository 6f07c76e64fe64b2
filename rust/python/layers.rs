//! Shapes of layers in Python.

use crate::error::Error;
use crate::model::{LayerSpecification, Shape, layer_shapes as shapes};
use crate::nn::image::ImageShape;
use pyo3::prelude::*;

/// The shapes of the input and of all outputs of a list of layers: [units] or [height, width, channels]. `layers`: the
/// list as JSON. `name`: its name in error messages.
#[pyfunction]
pub fn layer_shapes(name: &str, input: Vec<usize>, layers: &str) -> PyResult<Vec<Vec<usize>>> {
    let wrong = |why: String| Error::Parameter(format!("{name}: {why}"));
    let layers: Vec<LayerSpecification> =
        serde_json::from_str(layers).map_err(|error| wrong(error.to_string()))?;
    let input = match *input.as_slice() {
        [units] => Shape::Flat(units),
        [height, width, channels] => Shape::Image(ImageShape { height, width, channels }),
        _ => return Err(wrong(format!("an input of {} sizes is no layer's", input.len())).into()),
    };
    let sizes = |shape: Shape| match shape {
        Shape::Flat(units) => vec![units],
        Shape::Image(ImageShape { height, width, channels }) => vec![height, width, channels],
    };
    Ok(shapes(name, input, &layers)?.into_iter().map(sizes).collect())
}
