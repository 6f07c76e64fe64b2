//! The history of a training: losses by name, one value for each epoch, as tensors of float64.

use super::refused;
use crate::error::{Error, Result};
use safetensors::tensor::Metadata;

/// Losses by name, in the order of the Python layer. All have one value for each epoch; NaN: not computed.
pub type History = Vec<(String, Vec<f64>)>;

/// The start of the tensors' names.
pub const PREFIX: &str = "history.";

/// The largest number of losses.
const MAX_LOSSES: usize = 64;

/// Returns an error unless a history has a form that the reader accepts.
pub fn check(history: &[(String, Vec<f64>)]) -> Result<()> {
    let epochs = history.first().map_or(0, |(_, values)| values.len());
    match history.len() <= MAX_LOSSES && history.iter().all(|(_, values)| values.len() == epochs) {
        true => Ok(()),
        false => Err(Error::Parameter(format!(
            "the history must have one value of each loss for each epoch, and at most {MAX_LOSSES} losses"
        ))),
    }
}

/// The number of losses among the tensors `names`. Requires vectors of one length, first in the file.
pub fn losses(tensors: &Metadata, names: &[String]) -> Result<usize> {
    let is_loss = |name: &&String| name.starts_with(PREFIX);
    let count = names.iter().take_while(is_loss).count();
    let mut shapes = names[..count].iter().filter_map(|name| tensors.info(name)).map(|i| &i.shape);
    let first = shapes.clone().next();
    let alike = shapes.all(|shape| shape.len() == 1 && Some(shape) == first);
    match alike && count <= MAX_LOSSES && !names[count..].iter().any(|name| is_loss(&name)) {
        true => Ok(count),
        false => Err(refused("its history is not one value of each loss for each epoch")),
    }
}
