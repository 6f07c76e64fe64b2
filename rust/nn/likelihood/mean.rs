//! The epilogue of the output layer that computes E[x|z] and, if the decoder outputs it, the scale.

use super::{Density, DensityWithScale, Likelihood, LikelihoodKind, TileWork, with_likelihood};
use crate::simd::{Arithmetic, Isa, Row, Several, Simd, in_groups};

/// Adds the bias to a tile and computes the means.
pub struct Mean<'a> {
    /// p(x|z).
    pub likelihood: &'a Likelihood,
    /// The products of the tile, overwritten with the means. A scale from the decoder overwrites the second vectors.
    pub products: &'a mut [Row],
    /// The number of used vectors of a row, at most two.
    pub vectors: usize,
    /// The panel's bias.
    pub bias: &'a Row,
}

impl Mean<'_> {
    /// Runs the epilogue on the tile.
    pub fn run(self, isa: Isa) {
        let likelihood = self.likelihood;
        with_likelihood!(likelihood, kind => kind.tile(isa, self));
    }
}

impl TileWork for Mean<'_> {
    #[inline(always)]
    fn run<S: Simd, D: Density>(mut self, s: S) {
        in_groups!(S::WIDE, self.products.len(), N, first => self.rows::<S, D, N>(s, first));
    }

    #[inline(always)]
    fn run_with_scale<S: Simd, D: DensityWithScale>(self, s: S, density: D) {
        for [first, second] in self.products {
            let y = s.add(s.load(first), s.load(&self.bias[0]));
            let u = s.add(s.load(second), s.load(&self.bias[1]));
            s.store(density.mean(s, y), first);
            s.store(density.scale(s, u), second);
        }
    }
}

impl Mean<'_> {
    #[inline(always)]
    fn rows<S: Simd, D: Density, const N: usize>(&mut self, s: S, first: usize) {
        let several = Several::<S, N>(s);
        for v in 0..self.vectors {
            let mut y = several.zero();
            for i in 0..N {
                y[i] = s.add(s.load(&self.products[first + i][v]), s.load(&self.bias[v]));
            }
            let mean = D::mean(several, y);
            for i in 0..N {
                s.store(mean[i], &mut self.products[first + i][v]);
            }
        }
    }
}
