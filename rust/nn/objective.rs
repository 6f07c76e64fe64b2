//! The loss that training minimises, and sums of it.

use super::latent::KlTerm;
use std::ops::AddAssign;

/// The loss: the weighted sum of its two terms. With several draws per example it is the negative
/// importance-weighted bound (Burda et al., arXiv:1509.00519, equation 8), whose terms have no weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Objective {
    /// The weight of -log p(x|z).
    pub reconstruction: f32,
    /// The KL's term.
    pub kl: KlTerm,
    /// The draws.
    pub importance: Importance,
}

/// The draws of z for each example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Importance {
    /// Their number.
    pub samples: usize,
    /// Of several draws: the encoder's gradient is doubly reparameterised (Tucker et al., arXiv:1810.04152).
    pub doubly: bool,
}

impl Importance {
    /// One draw: the ELBO.
    pub const NONE: Importance = Importance { samples: 1, doubly: false };
}

impl Objective {
    /// The loss of one draw per example, summed over `examples`, nats: their sums of -log p(x|z) and of KL, and the mean
    /// KL of each latent coordinate.
    pub fn loss(
        &self,
        examples: usize,
        reconstruction: f64,
        kl: f64,
        mean_kl_by_coordinate: impl Iterator<Item = f64>,
    ) -> f64 {
        let kl = match self.kl.is_plain() {
            true => f64::from(self.kl.weight) * kl,
            false => examples as f64 * self.kl.value(mean_kl_by_coordinate),
        };
        f64::from(self.reconstruction) * reconstruction + kl
    }
}

/// Sums over examples, nats.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LossSums {
    /// The number of examples.
    pub examples: usize,
    /// Sum of -log p(x|z).
    pub reconstruction: f64,
    /// Sum of KL.
    pub kl: f64,
    /// Sum of the loss.
    pub loss: f64,
}

impl LossSums {
    /// Whether all sums are finite.
    pub fn is_finite(&self) -> bool {
        (self.reconstruction + self.kl + self.loss).is_finite()
    }
}

impl AddAssign for LossSums {
    fn add_assign(&mut self, other: LossSums) {
        self.examples += other.examples;
        self.reconstruction += other.reconstruction;
        self.kl += other.kl;
        self.loss += other.loss;
    }
}
