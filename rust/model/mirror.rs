//! The sign of a latent coordinate, which the data do not know: p(x|z) and q(z|x) are the same with -z in the place of z.

use super::Engine;
use crate::error::{Error, Result};
use crate::simd::{Row, WIDTH, floats_mut};

impl Engine {
    /// Turns the sign of a coordinate: in what the head makes of x, in what the decoder makes of z, and in the optimiser's
    /// first moments of both, which are means of gradients. (The second ones are of squares.)
    pub fn mirror(&mut self, coordinate: usize) -> Result<()> {
        let spec = &self.network.spec;
        if coordinate >= spec.latent_dim || spec.topics.is_some() {
            return Err(Error::Parameter(format!("coordinate {coordinate} has no sign to turn")));
        }
        let (head, next) = (self.network.head(), self.network.head() + 1);
        let [head, next] = [head, next].map(|index| &self.network.layers[index]);
        let negate = |x: &mut f32| *x = -*x;
        let [first, _] = &mut self.moments;
        for buffer in [&mut self.parameters, first].into_iter().filter(|b| !b.is_empty()) {
            let panel = coordinate / WIDTH;
            let column: &mut [Row] = &mut buffer[head.weights(panel).start..=head.bias(panel)];
            floats_mut(column)[coordinate % WIDTH..].iter_mut().step_by(WIDTH).for_each(negate);
            next.weights_of(&mut buffer[next.place()], coordinate).for_each(negate);
        }
        self.refresh()
    }
}
