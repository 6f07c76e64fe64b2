//! Draws from p(x|z), given its means.

use crate::data::Source;
use crate::error::Result;
use crate::model::{Engine, StateBuffer};
use crate::nn::likelihood::{DrawProgress, Draws};

impl Engine {
    /// Turns means [n, n_features] into draws from p(x|z). `parameters` are those of [`Engine::parameters_of_draws`]; `scale`
    /// has what the decoder gives, and is used up; `lengths` are the words of each document, of a multinomial or a mixture,
    /// or the sizes of counts. What is not a number remains that.
    ///
    /// Of counts as many rows are drawn as the budget of `progress` allows: call it until it returns true.
    pub fn sample(
        &self,
        means: &mut [f32],
        [parameters, scale]: [&mut [f32]; 2],
        lengths: &[u32],
        progress: &mut DrawProgress,
    ) -> bool {
        let (spec, isa) = (&self.network.spec, self.isa);
        let cols = spec.n_features;
        spec.likelihood.draw(Draws { isa, cols, means, parameters, scale, lengths, progress })
    }

    /// The parameters of the features in p(x|z): see [`crate::nn::likelihood::Draws`]. `z` are codes with their conditions.
    pub fn parameters_of_draws(&self, z: &Source) -> Result<Vec<f32>> {
        let of_rows =
            self.network.head.scales_by_row(self.buffer(StateBuffer::Value), z.conditions())?;
        if of_rows.is_empty() { self.scales() } else { Ok(of_rows) }
    }
}
