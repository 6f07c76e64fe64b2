//! The sign of a latent coordinate, which is not identified: flipping it in encoder and decoder leaves p(x) unchanged.

use super::engine::Engine;
use crate::error::{Error, Result, filled};
use crate::nn::item_prior::SlopePrior;

impl Engine {
    /// Flips the sign of a coordinate: in the encoder's mean, in the decoder's first weights, and in the optimiser's
    /// first moments of both, which are means of gradients. (Second moments are means of squares and do not change.)
    pub fn flip_sign(&mut self, coordinate: usize) -> Result<()> {
        let spec = &self.network.spec;
        if coordinate >= spec.latent_dim || spec.topics.is_some() {
            return Err(Error::Parameter(format!(
                "the sign of coordinate {coordinate} cannot be flipped"
            )));
        }
        let mean = if spec.variational { "mu" } else { "code" };
        let tensors = self.network.tensors.clone();
        // Allocates before the change, so that a lack of memory leaves the model as it is.
        let mut scratch = filled(0.0, tensors.iter().map(|t| t.shape.iter().product()).max())?;
        let negate = |x: &mut f32| *x = -*x;
        for tensor in &tensors {
            let inputs = tensor.shape.get(1).copied().unwrap_or(1);
            let layer = tensor.name.strip_suffix(".weight").or(tensor.name.strip_suffix(".bias"));
            let (start, step, count) = match (layer, tensor.name.as_str()) {
                (Some(name), _) if name == mean => (coordinate * inputs, 1, inputs),
                (_, "decoder.0.weight") => (coordinate, inputs, tensor.shape[0]),
                _ => continue,
            };
            // The gradient with respect to ln |a| does not depend on the sign of a.
            let prior = self.network.spec.item_prior.map(|prior| prior.slope);
            let log = matches!(prior, Some(SlopePrior::LogNormal { .. }))
                && tensor.name == "decoder.0.weight";
            let [first, _] = &mut self.moments;
            let buffers = [&mut self.parameters, if log { &mut Vec::new() } else { first }];
            for buffer in buffers.into_iter().filter(|b| !b.is_empty()) {
                let plain = &mut scratch[..tensor.shape.iter().product()];
                tensor.read_into(buffer, plain);
                plain[start..].iter_mut().step_by(step).take(count).for_each(negate);
                tensor.write(plain, buffer);
            }
        }
        self.refresh()
    }
}
