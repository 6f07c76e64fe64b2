//! Epilogues of the three products of a dense layer y = f(x W + b); B is the batch size.
//!
//! | product | left | right | epilogue |
//! |---|---|---|---|
//! | forward, [B, out] | x, by rows | W | [`BiasAndActivation`]: bias, activation |
//! | input gradient, [B, in] | dy, by rows | Wᵀ | [`InputGradient`]: times the activation's derivative |
//! | weight gradient, [in, out] | x, by columns | dy | the optimiser's update, or a store |

use crate::nn::activation::{Activation, ActivationFunction, with_activation};
use crate::simd::{Arithmetic, Lanes, Op, Row, Several, Simd, in_groups};

/// `out = f(products + bias)`; `slope` receives f' if the activation saves it.
pub struct BiasAndActivation<'a> {
    /// The tile's products.
    pub products: &'a [Row],
    /// The number of vectors (1 or 2) of a row in use.
    pub vectors: usize,
    /// The panel's bias.
    pub bias: &'a Row,
    /// f.
    pub activation: Activation,
    /// The tile's rows of y.
    pub out: &'a mut [Row],
    /// The tile's rows of f'; empty to skip them.
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

/// `out = products * f'`: the gradient with respect to the pre-activation of the layer below.
pub struct InputGradient<'a> {
    /// The tile's products.
    pub products: &'a [Row],
    /// The number of vectors (1 or 2) of a row in use.
    pub vectors: usize,
    /// f of the layer below.
    pub activation: Activation,
    /// What its forward pass saved: f, or f' if the activation saves it.
    pub saved: &'a [Row],
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
            for ((row, saved), out) in self.products.iter().zip(self.saved).zip(&mut *self.out) {
                let slope = F::slope(s, s.load(&saved[v]));
                s.store(s.mul(s.load(&row[v]), slope), &mut out[v]);
            }
        }
    }
}

/// The bias's gradient: the column sums of dy, rows ascending.
pub struct ColumnSums<'a> {
    /// One panel of dy, [B, 32].
    pub panel: &'a [Row],
    /// The number of vectors (1 or 2) of a row in use.
    pub vectors: usize,
    /// Receives the sums.
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

/// The column sums of the rows of one panel times their weights, rows ascending.
pub struct WeightedSums<'a> {
    /// The rows.
    pub panel: &'a [Row],
    /// The weight of a row.
    pub weight: &'a dyn Fn(usize) -> f32,
    /// Receives the sums.
    pub out: &'a mut Row,
}

impl Op for WeightedSums<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let mut sums = [s.zero(); 2];
        for (r, row) in self.panel.iter().enumerate() {
            let weight = (self.weight)(r);
            if weight != 0.0 {
                for v in 0..2 {
                    sums[v] = s.fma(s.load(&row[v]), s.splat(weight), sums[v]);
                }
            }
        }
        for v in 0..2 {
            s.store(sums[v], &mut self.out[v]);
        }
    }
}

/// Multiplies each row by its factor.
pub struct ScaleRows<'a> {
    /// The rows.
    pub rows: &'a mut [Row],
    /// One factor for each row.
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

/// Computes a 32x32 block of Wᵀ from up to 32 rows of W; missing rows count as zero.
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

/// Adds the rows of one panel to column sums, rows ascending.
pub struct AddRows<'a> {
    /// The rows of one panel.
    pub panel: &'a [Row],
    /// How many of a row's two vectors are in use.
    pub vectors: usize,
    /// The sums.
    pub sums: &'a mut Row,
}

impl Op for AddRows<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let mut sums = [s.load(&self.sums[0]), s.load(&self.sums[1])];
        for row in self.panel {
            for v in 0..self.vectors {
                sums[v] = s.add(sums[v], s.load(&row[v]));
            }
        }
        for v in 0..self.vectors {
            s.store(sums[v], &mut self.sums[v]);
        }
    }
}
