//! The dense layer y = f(x W + b): where its parameters lie and the epilogues of its three products.
//!
//! | product | left | right | epilogue |
//! |---|---|---|---|
//! | forward, [B, out] | x, by rows | W | [`BiasAndActivation`]: bias, activation |
//! | input gradient, [B, in] | dy, by rows | Wᵀ | [`InputGradient`]: times the activation's derivative |
//! | weight gradient, [in, out] | x, by columns | dy | the optimiser's update, or a copy |

use crate::matrix::panels_of;
use crate::nn::activation::{Activation, ActivationFunction, with_activation};
use crate::simd::{Arithmetic, Lanes, Op, Row, Several, Simd, WIDTH, floats_mut, in_groups};
use std::ops::Range;

/// A dense layer's place in the parameter buffer, in rows of 32 floats.
///
/// A panel of parameters is the panel of W, [inputs, 32], with the bias as one more row below.
#[derive(Clone, Debug)]
pub struct Dense {
    /// Width of x.
    pub inputs: usize,
    /// Width of y.
    pub outputs: usize,
    /// Where its panels start in the parameters.
    pub start: usize,
    /// Where the panels of Wᵀ, [outputs, inputs], start in their own buffer; none for the first layer.
    pub transposed: Option<usize>,
    /// The first output with a bias: what is normalised has none, for it would be subtracted again.
    pub biased: usize,
    /// The batch normalisation of its first outputs.
    pub norm: Option<Norm>,
}

/// Where the running statistics of a layer's first `cols` outputs lie: in rows of the parameter buffer, a row a panel.
#[derive(Clone, Copy, Debug)]
pub struct Norm {
    /// Outputs that are normalised, from the first one on.
    pub cols: usize,
    /// Means from here on, then variances.
    pub start: usize,
    /// Its place among what is known of a batch's columns, a place a panel.
    pub columns: usize,
}

impl Norm {
    /// Panels with normalised outputs.
    pub fn panels(&self) -> usize {
        panels_of(self.cols)
    }

    /// Normalised outputs of a panel.
    pub fn used(&self, panel: usize) -> usize {
        self.cols.saturating_sub(panel * WIDTH).min(WIDTH)
    }

    /// The rows of the running means and variances of a panel.
    pub fn rows(&self, panel: usize) -> [usize; 2] {
        [self.start + panel, self.start + self.panels() + panel]
    }
}

impl Dense {
    /// The normalisation whose result the bias is added to, if there is one: the bias is its shift.
    pub fn shift(&self) -> Option<Norm> {
        self.norm.filter(|_| self.biased == 0)
    }

    /// Rows of the parameter buffer that a layer takes.
    pub fn rows(&self) -> usize {
        panels_of(self.outputs) * (self.inputs + 1)
    }

    /// All of them.
    pub fn place(&self) -> Range<usize> {
        self.start..self.start + self.rows()
    }

    /// The rows of W in panel `panel`.
    pub fn weights(&self, panel: usize) -> Range<usize> {
        let start = self.start + panel * (self.inputs + 1);
        start..start + self.inputs
    }

    /// The row of the bias in panel `panel`.
    pub fn bias(&self, panel: usize) -> usize {
        self.weights(panel).end
    }

    /// The weights of one input, outputs ascending, in the layer's rows of a buffer.
    pub fn weights_of<'a>(
        &self,
        rows: &'a mut [Row],
        input: usize,
    ) -> impl Iterator<Item = &'a mut f32> + use<'a> {
        let panels = rows.chunks_exact_mut(self.inputs + 1);
        let each = panels.flat_map(move |panel| floats_mut(&mut panel[input..=input]));
        each.take(self.outputs) // only the last panel has padding
    }

    /// The rows of Wᵀ in its panel `panel`, for a layer that has one.
    pub fn transposed(&self, panel: usize) -> Range<usize> {
        let start = self.transposed.expect("the first layer has no input gradient");
        let start = start + panel * self.outputs;
        start..start + self.outputs
    }
}

/// `out = f(products + bias)`; `slope` gets the derivative where the activation keeps it.
pub struct BiasAndActivation<'a> {
    /// The products of the tile.
    pub products: &'a [Row],
    /// How many of a row's two vectors are in use.
    pub vectors: usize,
    /// The panel's bias.
    pub bias: &'a Row,
    /// f
    pub activation: Activation,
    /// The tile's rows of y.
    pub out: &'a mut [Row],
    /// The tile's rows of f', empty if they are not wanted.
    pub slope: &'a mut [Row],
}

impl Op for BiasAndActivation<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        with_activation!(self.activation, F => self.with::<S, F>(s));
    }
}

impl BiasAndActivation<'_> {
    #[inline(always)]
    fn with<S: Simd, F: ActivationFunction>(mut self, s: S) {
        in_groups!(S::WIDE, self.products.len(), N, first => self.rows::<S, F, N>(s, first));
    }

    #[inline(always)]
    fn rows<S: Simd, F: ActivationFunction, const N: usize>(&mut self, s: S, first: usize) {
        let several = Several::<S, N>(s);
        let (products, out) = (&self.products[first..first + N], &mut self.out[first..first + N]);
        for v in 0..self.vectors {
            let (bias, mut x) = (s.load(&self.bias[v]), several.zero());
            for i in 0..N {
                x[i] = s.add(s.load(&products[i][v]), bias);
            }
            let (value, slope) = F::forward(several, x);
            for i in 0..N {
                s.store(value[i], &mut out[i][v]);
                if F::KEEPS_SLOPE && !self.slope.is_empty() {
                    s.store(slope[i], &mut self.slope[first + i][v]);
                }
            }
        }
    }
}

/// `out = products * f'`: the gradient at the layer below's input to its activation.
pub struct InputGradient<'a> {
    /// The products of the tile.
    pub products: &'a [Row],
    /// How many of a row's two vectors are in use.
    pub vectors: usize,
    /// f of the layer below.
    pub activation: Activation,
    /// What its forward pass kept: values or derivatives.
    pub kept: &'a [Row],
    /// The tile's rows of the gradient.
    pub out: &'a mut [Row],
}

impl Op for InputGradient<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        with_activation!(self.activation, F => self.with::<S, F>(s));
    }
}

impl InputGradient<'_> {
    #[inline(always)]
    fn with<S: Simd, F: ActivationFunction>(self, s: S) {
        for v in 0..self.vectors {
            for ((row, kept), out) in self.products.iter().zip(self.kept).zip(&mut *self.out) {
                let slope = F::slope(s, s.load(&kept[v]));
                s.store(s.mul(s.load(&row[v]), slope), &mut out[v]);
            }
        }
    }
}

/// The bias's gradient: the column sums of dy, rows ascending.
pub struct ColumnSums<'a> {
    /// The rows of one panel.
    pub panel: &'a [Row],
    /// How many of a row's two vectors are in use.
    pub vectors: usize,
    /// Where to.
    pub out: &'a mut Row,
}

impl Op for ColumnSums<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let mut sums = [s.zero(); 2];
        for row in self.panel {
            for v in 0..self.vectors {
                sums[v] = s.add(sums[v], s.load(&row[v]));
            }
        }
        for v in 0..self.vectors {
            s.store(sums[v], &mut self.out[v]);
        }
    }
}

/// Rows times a factor each.
pub struct ScaleRows<'a> {
    /// The rows.
    pub rows: &'a mut [Row],
    /// One each.
    pub factors: &'a [f32],
}

impl Op for ScaleRows<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (row, &factor) in self.rows.iter_mut().zip(self.factors) {
            for lanes in row {
                s.store(s.mul(s.load(lanes), s.splat(factor)), lanes);
            }
        }
    }
}

/// Refreshes a 32x32 block of Wᵀ from up to 32 rows of W; what W lacks becomes zero.
pub struct Transpose<'a> {
    /// Rows of W in one panel.
    pub from: &'a [Row],
    /// Rows of Wᵀ: at most 32.
    pub to: &'a mut [Row],
}

impl Op for Transpose<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        const EMPTY: Lanes = Lanes([0.0; 16]);
        for (half, to) in self.to.chunks_mut(16).enumerate() {
            for v in 0..2 {
                let block = std::array::from_fn(|i| {
                    s.load(self.from.get(16 * v + i).map_or(&EMPTY, |row| &row[half]))
                });
                for (row, lanes) in to.iter_mut().zip(s.transpose(block)) {
                    s.store(lanes, &mut row[v]);
                }
            }
        }
    }
}
