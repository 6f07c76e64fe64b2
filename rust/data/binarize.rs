//! Binarization of grey values in [0, 1].

use crate::error::{Error, Result};
use crate::random::{Stream, uniform_panel};
use crate::simd::{Isa, Op, Row, Simd};

/// The pass number for draws outside training (validation, gradients). Training never reaches it: its passes count up
/// from zero.
pub const VALIDATION_PASS: u32 = u32::MAX;

/// The method of binarization, as the user chooses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binary {
    /// 1 above 0.5, else 0.
    Threshold,
    /// A Bernoulli draw in every pass over the data.
    Draw,
}

impl Binary {
    /// Looks a method up by name: `threshold` or `bernoulli`.
    pub fn named(name: &str) -> Result<Binary> {
        match name {
            "threshold" => Ok(Binary::Threshold),
            "bernoulli" => Ok(Binary::Draw),
            _ => Err(Error::Parameter(format!(
                "binarize={name:?} is not known; use threshold or bernoulli"
            ))),
        }
    }

    /// The method with the random numbers of one pass: `seed` is the model's.
    pub fn of(self, seed: u64, pass: u32) -> Binarize {
        match self {
            Binary::Threshold => Binarize::Threshold,
            Binary::Draw => Binarize::Draw { seed, pass },
        }
    }
}

/// The map from a value in [0, 1] to 0 or 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Binarize {
    /// 1 above 0.5, else 0.
    Threshold,
    /// A Bernoulli draw with the value as its probability, in every pass over the data (Burda et al., arXiv:1509.00519,
    /// section 5).
    Draw {
        /// The seed of the model.
        seed: u64,
        /// The number of the pass.
        pass: u32,
    },
}

impl Binarize {
    /// Binarizes the 32 values of panel `panel` of row `row`. Padding stays zero, NaN stays NaN.
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
