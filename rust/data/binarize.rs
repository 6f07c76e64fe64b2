//! Grey values as binary ones, for likelihoods that are probabilities.

use crate::error::{Error, Result};
use crate::random::{Stream, uniform_panel};
use crate::simd::{Isa, Op, Row, Simd};

/// The pass of what is drawn beside training, for validation data and gradients: training would have it only after 2³² steps.
pub const VALIDATION_PASS: u32 = u32::MAX;

/// How grey examples become binary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binary {
    /// By a threshold.
    Threshold,
    /// By a draw, anew in every pass.
    Draw,
}

impl Binary {
    /// The way of that name.
    pub fn named(name: &str) -> Result<Binary> {
        match name {
            "threshold" => Ok(Binary::Threshold),
            "bernoulli" => Ok(Binary::Draw),
            _ => Err(Error::Parameter(format!(
                "binarize {name:?} is not known; use threshold or bernoulli"
            ))),
        }
    }

    /// The same for a pass of a model.
    pub fn of(self, seed: u64, pass: u32) -> Binarize {
        match self {
            Binary::Threshold => Binarize::Threshold,
            Binary::Draw => Binarize::Draw { seed, pass },
        }
    }
}

/// How a value in [0, 1] becomes 0 or 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Binarize {
    /// 1 above one half.
    Threshold,
    /// 1 with the value as its probability, anew in every pass over the data (Burda et al., arXiv:1509.00519, section 5).
    Draw {
        /// The model's.
        seed: u64,
        /// Which pass.
        pass: u32,
    },
}

impl Binarize {
    /// Makes the 32 values of a panel of row `row` binary; padding remains zero, and NaN what it is.
    pub fn apply(self, isa: Isa, row: usize, panel: usize, values: &mut Row) {
        isa.run(BinarizePanel { binarize: self, row, panel, values });
    }
}

/// The work of [`Binarize::apply`].
struct BinarizePanel<'a> {
    binarize: Binarize,
    row: usize,
    panel: usize,
    values: &'a mut Row,
}

impl Op for BinarizePanel<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let BinarizePanel { binarize, row, panel, values } = self;
        let limits = match binarize {
            Binarize::Threshold => [s.splat(0.5); 2],
            Binarize::Draw { seed, pass } => {
                let id = [pass, (row as u64 >> 32) as u32, row as u32];
                let uniform = uniform_panel(s, seed, Stream::Binary, id, panel);
                [s.load(&uniform[0]), s.load(&uniform[1])]
            }
        };
        for (lanes, limit) in values.iter_mut().zip(limits) {
            let x = s.load(lanes);
            let binary = s.select(s.less(limit, x), s.splat(1.0), s.zero());
            s.store(s.select(s.is_number(x), binary, x), lanes);
        }
    }
}
