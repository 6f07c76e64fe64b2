//! Pooling and upsampling. A fine image is cut into cells of `size` pixels, and each cell is a pixel of a coarse image. The
//! last cells of a row or column may be incomplete: they have no coarse pixel, and pooling ignores their pixels, as torch does.

use super::image::Image;
use crate::simd::{Op, Row, Simd};

/// The cells of an image. Both images have panels of their own for each pixel, and the same channels.
#[derive(Clone, Copy, Debug)]
pub struct Cells {
    /// The image of the pixels in cells.
    pub fine: Image,
    /// The image with a pixel for each complete cell.
    pub coarse: Image,
    /// Rows and columns of a cell.
    pub size: [usize; 2],
}

impl Cells {
    /// Cells in a row.
    fn per_row(&self) -> usize {
        self.fine.shape.width.div_ceil(self.size[1])
    }

    /// The number of cells.
    pub fn count(&self) -> usize {
        self.fine.shape.height.div_ceil(self.size[0]) * self.per_row()
    }

    /// The coarse pixel of a complete cell.
    pub fn coarse(&self, cell: usize) -> Option<usize> {
        let (row, column) = (cell / self.per_row(), cell % self.per_row());
        let shape = self.coarse.shape;
        (row < shape.height && column < shape.width).then_some(row * shape.width + column)
    }

    /// The fine pixels of a cell, row by row.
    pub fn fine(&self, cell: usize) -> impl Iterator<Item = usize> + use<> {
        let (row, column) = (cell / self.per_row(), cell % self.per_row());
        let ([rows, columns], shape) = (self.size, self.fine.shape);
        let all = row * rows..((row + 1) * rows).min(shape.height);
        let across = column * columns..((column + 1) * columns).min(shape.width);
        all.flat_map(move |y| across.clone().map(move |x| y * shape.width + x))
    }

    /// Pixels of a complete cell.
    pub fn pixels(&self) -> usize {
        self.size[0] * self.size[1]
    }
}

/// `out = max(out, from)`.
pub struct Maximum<'a> {
    /// Rows of one panel.
    pub from: &'a [Row],
    /// The number of vectors (1 or 2) of a row in use.
    pub vectors: usize,
    /// The largest values so far.
    pub out: &'a mut [Row],
}

impl Op for Maximum<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (from, out) in self.from.iter().zip(self.out) {
            for v in 0..self.vectors {
                s.store(s.max(s.load(&from[v]), s.load(&out[v])), &mut out[v]);
            }
        }
    }
}

/// The gradient of a maximum with respect to one of its arguments: all of it for the first argument that is the maximum.
pub struct MaximumGradient<'a> {
    /// The argument.
    pub from: &'a [Row],
    /// The maximum.
    pub maximum: &'a [Row],
    /// The number of vectors (1 or 2) of a row in use.
    pub vectors: usize,
    /// The maximum's gradient while no argument has received it, then zero.
    pub rest: &'a mut [Row],
    /// Receives the argument's gradient.
    pub out: &'a mut [Row],
}

impl Op for MaximumGradient<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let arguments = self.from.iter().zip(self.maximum);
        for ((from, maximum), (rest, out)) in arguments.zip(self.rest.iter_mut().zip(self.out)) {
            for v in 0..self.vectors {
                let smaller = s.less(s.load(&from[v]), s.load(&maximum[v]));
                let gradient = s.load(&rest[v]);
                s.store(s.select(smaller, s.zero(), gradient), &mut out[v]);
                s.store(s.select(smaller, gradient, s.zero()), &mut rest[v]);
            }
        }
    }
}

/// `out = out + factor * from`.
pub struct AddScaled<'a> {
    /// Rows of one panel.
    pub from: &'a [Row],
    /// The factor.
    pub factor: f32,
    /// The number of vectors (1 or 2) of a row in use.
    pub vectors: usize,
    /// The sums.
    pub out: &'a mut [Row],
}

impl Op for AddScaled<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let factor = s.splat(self.factor);
        for (from, out) in self.from.iter().zip(self.out) {
            for v in 0..self.vectors {
                s.store(s.fma(factor, s.load(&from[v]), s.load(&out[v])), &mut out[v]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::image::ImageShape;

    #[test]
    fn incomplete_cells_have_no_coarse_pixel() {
        let image = |height, width| Image::panels_of(ImageShape { height, width, channels: 1 });
        let cells = Cells { fine: image(5, 4), coarse: image(2, 1), size: [2, 3] };
        let all: Vec<(Vec<usize>, Option<usize>)> = (0..cells.count())
            .map(|cell| (cells.fine(cell).collect(), cells.coarse(cell)))
            .collect();
        let wanted: [(&[usize], Option<usize>); 6] = [
            (&[0, 1, 2, 4, 5, 6], Some(0)),
            (&[3, 7], None),
            (&[8, 9, 10, 12, 13, 14], Some(1)),
            (&[11, 15], None),
            (&[16, 17, 18], None),
            (&[19], None),
        ];
        assert_eq!(all, wanted.map(|(fine, coarse)| (fine.to_vec(), coarse)));
    }
}
