//! Upper bounds of an output layer's logits, from products of a few columns instead of all its inputs. With orthonormal
//! directions V [k, d] the logit of item i for the input h is, by the inequality of Cauchy and Schwarz,
//!
//! h w_i + b_i <= (Vᵀh)(Vᵀw_i) + |h - VVᵀh| |w_i - VVᵀw_i| + b_i,
//!
//! a product of d + 3 numbers of h and of the item. The caller adds a margin for rounding errors: a multiple of |h| |w_i|.
//! An item whose bound is below the n-th best logit so far is not among the best n. (A use of the decomposition of Li, Chan,
//! Yiu & Mamoulis, "FEXIPRO", SIGMOD 2017.)

use crate::error::{Error, Result, filled};
use crate::matrix::{Panels, panels_of};
use crate::simd::{Row, WIDTH, ZERO_ROW, floats, floats_mut};

/// Columns that do not come from directions: the norm of the rest of h, |h|, and 1.
pub const NORMS: usize = 3;

/// The bounds of all items.
#[derive(Debug)]
pub struct Bounds {
    width: usize,
    directions: Vec<Row>,
    items: Vec<Row>,
    order: Vec<u32>,
    weights: Vec<Row>,
    stride: usize,
}

impl Bounds {
    /// Bounds of items in the order of their places, from V with columns of zeros for the norms, [k, width], and a row
    /// for each place: Vᵀw, the norm of the rest of w, the margin for each |h|, and the bias. `width` is a multiple of 32.
    /// `transposed` are the weights, [n, k] in panels; the copy has an item's weights together.
    pub fn new(
        (directions, items, order): (&[f32], &[f32], &[u32]),
        [k, n]: [usize; 2],
        transposed: &[Row],
    ) -> Result<Bounds> {
        let width = directions.len() / k;
        let shaped = directions.len() == k * width && items.len() == n * width;
        if width == 0 || width % WIDTH != 0 || !shaped || order.len() != n {
            return Err(Error::Shape(
                "bounds must have rows of 32 or more numbers for each item".into(),
            ));
        }
        let mut seen = filled(false, Some(n))?;
        if !order.iter().all(|&item| {
            seen.get_mut(item as usize).is_some_and(|seen| !std::mem::replace(seen, true))
        }) {
            return Err(Error::Shape("the order must have each item once".into()));
        }
        // V as the right operand of a product: panels of its columns. The items as one: panels of their transpose.
        let mut right = filled(ZERO_ROW, Some(panels_of(width) * k))?;
        for (i, row) in directions.chunks_exact(width).enumerate() {
            for (panel, part) in row.chunks_exact(WIDTH).enumerate() {
                floats_mut(&mut right[panel * k + i..][..1]).copy_from_slice(part);
            }
        }
        let stride = panels_of(k);
        let mut weights = filled(ZERO_ROW, n.checked_mul(stride))?;
        for (to, &item) in weights.chunks_exact_mut(stride).zip(order) {
            let of_item = transposed[item as usize..].iter().step_by(n);
            to.iter_mut().zip(of_item).for_each(|(to, from)| *to = *from);
        }
        let mut bounds = filled(ZERO_ROW, panels_of(n).checked_mul(width))?;
        for (place, row) in items.chunks_exact(width).enumerate() {
            let panel = &mut bounds[place / WIDTH * width..][..width];
            for (to, x) in panel.iter_mut().zip(row) {
                floats_mut(std::slice::from_mut(to))[place % WIDTH] = *x;
            }
        }
        Ok(Bounds {
            width,
            directions: right,
            items: bounds,
            order: order.to_vec(),
            weights,
            stride,
        })
    }

    /// The number of columns.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The rows of panel `panel` of V, `k` inputs.
    pub fn directions(&self, panel: usize, k: usize) -> &[Row] {
        &self.directions[panel * k..][..k]
    }

    /// The rows of panel `panel` of the items.
    pub fn panel(&self, panel: usize) -> &[Row] {
        &self.items[panel * self.width..][..self.width]
    }

    /// The item at a place.
    pub fn item(&self, place: usize) -> usize {
        self.order[place] as usize
    }

    /// The weights of all items and the distances of two panels of an item and of two places.
    pub fn weights(&self) -> (&[Row], [usize; 2]) {
        (&self.weights, [1, self.stride])
    }

    /// The number of items.
    pub fn count(&self) -> usize {
        self.order.len()
    }

    /// Completes the columns Vᵀh of row `r` with the norms. `code(panel)` is the row of a panel of columns.
    pub fn complete<'a>(&self, h: Panels, r: usize, code: impl Fn(usize) -> &'a mut Row) {
        let all = sum_of_squares(h, r);
        let panels = panels_of(self.width);
        let kept = squares((0..panels).map(|panel| &*code(panel)));
        // The difference of the squares has an error of some rounding errors of `all`.
        let rest = ((all - kept).max(0.0) + 3e-5 * all).sqrt();
        let last = floats_mut(std::slice::from_mut(code(panels - 1)));
        last[WIDTH - NORMS..].copy_from_slice(&[rest, all.sqrt(), 1.0]);
    }
}

/// |h|² of row `r`.
pub fn sum_of_squares(h: Panels, r: usize) -> f32 {
    squares((0..panels_of(h.cols())).map(|panel| &h.panel(panel)[r]))
}

fn squares<'a>(rows: impl Iterator<Item = &'a Row>) -> f32 {
    let mut sums = [0.0f32; WIDTH];
    for row in rows {
        sums.iter_mut().zip(floats(row)).for_each(|(sum, x)| *sum += x * x);
    }
    sums.iter().sum()
}
