//! The epilogue of the output layer: log p(x|z) of a tile and, on request, the gradient of -log p(x|z).

use super::{
    Density, DensityWithScale, Likelihood, LikelihoodKind, LogProb, TileWork, with_likelihood,
};
use crate::simd::math::Formula;
use crate::simd::{Arithmetic, Isa, LANES, MAX_TILE_ROWS, Row, Several, Simd, in_groups};
use std::marker::PhantomData;

/// Adds the bias, writes the sum of log p over this panel's features for each row and, on request, `weight` times the
/// gradient of -log p.
pub struct Score<'a> {
    /// p(x|z).
    pub likelihood: &'a Likelihood,
    /// The products of the tile.
    pub products: &'a [Row],
    /// The number of features in this panel.
    pub cols: usize,
    /// The panel's bias.
    pub bias: &'a Row,
    /// The density's parameters for the panel's features: see [`Likelihood::parameter_row`].
    pub parameter: &'a Row,
    /// The tile's rows of x, from the panel of x with these features.
    pub targets: &'a [Row],
    /// The vector of `targets` with these features, for panels of sixteen features (with a scale from the decoder).
    pub half: usize,
    /// Whether x may have missing values (NaN).
    pub masked: bool,
    /// log p(x|z) in nats, one value for each row.
    pub log_prob: &'a mut [f32],
    /// The tile's rows of the gradient, empty without a gradient. Padding in the used vectors becomes zero.
    pub gradient: &'a mut [Row],
    /// The tile's rows of the gradient with respect to the log scale, if the likelihood stores it; else empty.
    pub scale_gradient: &'a mut [Row],
    /// The factor of the gradient.
    pub weight: f32,
}

impl Score<'_> {
    /// Runs the epilogue on the tile.
    pub fn run(self, isa: Isa) {
        let likelihood = self.likelihood;
        with_likelihood!(likelihood, kind => kind.tile(isa, self));
    }
}

impl TileWork for Score<'_> {
    #[inline(always)]
    fn run<S: Simd, D: Density>(mut self, s: S) {
        let mut sums = [s.zero(); MAX_TILE_ROWS];
        let sums = &mut sums[..self.products.len()];
        // Columns are the outer loop: functions of the parameter alone are then computed once for all rows.
        for v in 0..self.cols.div_ceil(LANES).min(2) {
            let used = s.first(self.cols - v * LANES);
            let column = Column {
                v,
                used,
                bias: s.load(&self.bias[v]),
                parameter: s.load(&self.parameter[v]),
            };
            in_groups!(S::WIDE && !D::IS_LONG, sums.len(), N, first => {
                self.rows::<S, D, N>(s, &column, first, &mut sums[first..first + N])
            });
        }
        for (sum, log_prob) in sums.iter().zip(&mut *self.log_prob) {
            *log_prob = s.sum(*sum);
        }
    }

    #[inline(always)]
    fn run_with_scale<S: Simd, D: DensityWithScale>(mut self, s: S, density: D) {
        in_groups!(S::WIDE, self.products.len(), N, first => {
            self.rows_with_scale::<S, D, N>(s, density, first)
        });
    }
}

/// Sixteen features of a panel: the index of their vector, and the values common to all rows.
struct Column<S: Simd> {
    v: usize,
    used: S::M,
    bias: S::F,
    parameter: S::F,
}

impl Score<'_> {
    #[inline(always)]
    fn rows<S: Simd, D: Density, const N: usize>(
        &mut self,
        s: S,
        column: &Column<S>,
        first: usize,
        sums: &mut [S::F],
    ) {
        let (several, weight) = (Several::<S, N>(s), s.splat(self.weight));
        let &Column { v, used, bias, parameter } = column;
        let products = &self.products[first..first + N];
        let targets = &self.targets[first..first + N];
        let mut gradient = self.gradient.get_mut(first..first + N);
        let mut parameter_gradient = self.scale_gradient.get_mut(first..first + N);
        let (mut x, mut y) = (several.zero(), several.zero());
        for i in 0..N {
            x[i] = s.load(&targets[i][v]);
            y[i] = s.add(s.load(&products[i][v]), bias);
        }
        let observed = several.is_number(x);
        if self.masked {
            x = or_zero(several, observed, x);
        }
        let parameter = [parameter; N];
        let [mut value, mut slope] = several.apply::<_, _, LogProbOf<D>>([x, y, parameter]);
        if self.masked {
            value = or_zero(several, observed, value);
        }
        for i in 0..N {
            sums[i] = s.add(sums[i], s.select(used, value[i], s.zero()));
        }
        // The compiler moves the arithmetic of the slope below this line: scores without a gradient skip it.
        let Some(gradient) = &mut gradient else { return };
        if D::STORES_GRADIENT
            && let Some(gradient) = &mut parameter_gradient
        {
            let [mut slope] = several.apply::<_, _, ParameterSlopeOf<D>>([x, y, parameter, slope]);
            if self.masked {
                slope = or_zero(several, observed, slope);
            }
            for i in 0..N {
                let slope = s.select(used, s.mul(slope[i], weight), s.zero());
                s.store(slope, &mut gradient[i][v]);
            }
        }
        if self.masked {
            slope = or_zero(several, observed, slope);
        }
        for i in 0..N {
            let slope = s.select(used, s.mul(slope[i], weight), s.zero());
            s.store(slope, &mut gradient[i][v]);
        }
    }

    #[inline(always)]
    fn rows_with_scale<S: Simd, D: DensityWithScale, const N: usize>(
        &mut self,
        s: S,
        density: D,
        first: usize,
    ) {
        let (several, used) = (Several::<S, N>(s), s.first(self.cols));
        let [mut x, mut y, mut u] = [several.zero(); 3];
        for i in 0..N {
            x[i] = s.load(&self.targets[first + i][self.half]);
            let [mean, log_scale] = &self.products[first + i];
            y[i] = s.add(s.load(mean), s.load(&self.bias[0]));
            u[i] = s.add(s.load(log_scale), s.load(&self.bias[1]));
        }
        let observed = several.is_number(x);
        let known = if self.masked { or_zero(several, observed, x) } else { x };
        let (LogProb { value, slope }, scale_slope) = density.log_prob(several, known, y, u);
        let mut found = [value, slope, scale_slope];
        if self.masked {
            for x in &mut found {
                *x = or_zero(several, observed, *x);
            }
        }
        let [value, slopes @ ..] = found;
        for i in 0..N {
            self.log_prob[first + i] = s.sum(s.select(used, value[i], s.zero()));
            if let Some(gradient) = self.gradient.get_mut(first + i) {
                for (slope, to) in slopes.into_iter().zip(gradient) {
                    let slope = s.mul(slope[i], s.splat(self.weight));
                    s.store(s.select(used, slope, s.zero()), to);
                }
            }
        }
    }
}

/// `value` for an observed x, zero for a missing x.
#[inline(always)]
pub(super) fn or_zero<S: Arithmetic>(s: S, observed: S::M, value: S::F) -> S::F {
    s.select(observed, value, s.zero())
}

/// log p and its gradient as a formula. An instruction set with formulas as functions compiles it once.
pub(super) struct LogProbOf<D>(PhantomData<D>);
impl<D: Density> Formula<3, 2> for LogProbOf<D> {
    #[inline(always)]
    fn eval<S: Arithmetic>(s: S, [x, y, parameter]: [S::F; 3]) -> [S::F; 2] {
        let LogProb { value, slope } = D::log_prob(s, x, y, parameter);
        [value, slope]
    }
}

/// [`Density::parameter_slope`] as a formula.
pub(super) struct ParameterSlopeOf<D>(PhantomData<D>);
impl<D: Density> Formula<4, 1> for ParameterSlopeOf<D> {
    #[inline(always)]
    fn eval<S: Arithmetic>(s: S, [x, y, parameter, slope]: [S::F; 4]) -> [S::F; 1] {
        [D::parameter_slope(s, x, y, parameter, slope)]
    }
}
