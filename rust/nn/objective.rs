//! The training loss, and its sums over examples.

use super::latent::KlTerm;
use std::ops::AddAssign;

/// The loss: the weighted sum of its two terms. With several draws per example it is the negative
/// importance-weighted bound (Burda et al., arXiv:1509.00519, equation 8), whose terms have no weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Objective {
    /// The weight of -log p(x|z).
    pub reconstruction: f32,
    /// The term of the KL.
    pub kl: KlTerm,
    /// The draws of z for each example.
    pub importance: Importance,
}

/// The draws of z for each example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Importance {
    /// The number of draws.
    pub samples: usize,
    /// With several draws: whether the encoder's gradient is doubly reparameterised (Tucker et al., arXiv:1810.04152).
    pub doubly: bool,
}

impl Importance {
    /// One draw: the ELBO.
    pub const NONE: Importance = Importance { samples: 1, doubly: false };
}

impl Objective {
    /// The loss with one draw per example, summed over `examples` examples, in nats. `reconstruction` and `kl` are the
    /// sums of
    /// -log p(x|z) and of the KL, `mean_kl_by_coordinate` the batch means of each latent coordinate's KL.
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

/// Weighted sums over examples, nats.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LossSums {
    /// The number of examples, also of skipped batches.
    pub examples: usize,
    /// The sum of their weights, without skipped batches.
    pub weight: f64,
    /// The sum of -log p(x|z).
    pub reconstruction: f64,
    /// The sum of the KL.
    pub kl: f64,
    /// The sum of the loss.
    pub loss: f64,
    /// The number of skipped batches.
    pub skipped: usize,
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
        self.weight += other.weight;
        self.reconstruction += other.reconstruction;
        self.kl += other.kl;
        self.loss += other.loss;
        self.skipped += other.skipped;
    }
}
