//! Draws from p(x|z), given its means.

use crate::error::Result;
use crate::model::Engine;
use crate::nn::likelihood::{DrawProgress, Draws};

impl Engine {
    /// Turns means [n, n_features] into draws from p(x|z). `scale` has what the decoder gives, and is used up; `lengths`
    /// are the words of each document, of a multinomial or a mixture. What is not a number remains that.
    ///
    /// Of counts as many rows are drawn as the budget of `progress` allows: call it until it returns true.
    pub fn sample(
        &self,
        means: &mut [f32],
        scale: &mut [f32],
        lengths: &[u32],
        progress: &mut DrawProgress,
    ) -> Result<bool> {
        let (spec, isa, parameters) = (&self.network.spec, self.isa, self.scales()?);
        let (cols, parameters) = (spec.n_features, parameters.as_slice());
        Ok(spec.likelihood.draw(Draws { isa, cols, means, parameters, scale, lengths, progress }))
    }
}
