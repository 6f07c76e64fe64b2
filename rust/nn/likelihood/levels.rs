//! The values of one variable of several levels, a categorical or an ordinal one, of up to sixteen examples.

use crate::simd::{LANES, Lanes, Simd};

/// The outputs y and the one-hot x of a variable, and the results.
pub struct Levels {
    /// The number of levels.
    pub count_of_levels: usize,
    /// The vectors of an example: level l is in lane l % 16 of vector l / 16.
    pub vectors: usize,
    /// The number of examples.
    pub rows: usize,
    /// The outputs of each example, [rows, vectors]. Lanes beyond the last level are unspecified. Overwritten.
    pub y: Vec<Lanes>,
    /// x of each example: all zero where the variable is missing, and beyond the last level.
    pub x: Vec<Lanes>,
    /// The sum of x of each example: 1, or 0 where the variable is missing.
    pub count: Lanes,
    /// The factor of the gradient; none without a gradient. 1 for means.
    pub weight: Option<f32>,
    /// Whether y becomes the probabilities of the levels, instead of the gradient.
    pub means: bool,
    /// log p of each example, nats.
    pub log_prob: Lanes,
}

impl Levels {
    /// Memory for variables, to be [reset](Levels::reset) for each.
    pub fn new(weight: Option<f32>, means: bool) -> Levels {
        Levels {
            count_of_levels: 0,
            vectors: 0,
            rows: 0,
            y: Vec::new(),
            x: Vec::new(),
            count: Lanes::default(),
            weight,
            means,
            log_prob: Lanes::default(),
        }
    }

    /// Makes room for `rows` examples of a variable of `levels` levels.
    pub fn reset(&mut self, rows: usize, levels: usize) {
        (self.rows, self.count_of_levels, self.vectors) = (rows, levels, levels.div_ceil(LANES));
        let size = rows * self.vectors;
        if self.y.len() < size {
            self.y.resize(size, Lanes::default());
            self.x.resize(size, Lanes::default());
        }
    }

    /// Sets x of the missing examples and of padding to zero, and computes the counts.
    #[inline(always)]
    pub fn hide_missing<S: Simd>(&mut self, s: S) {
        let last = s.first(self.count_of_levels - (self.vectors - 1) * LANES);
        for i in 0..self.rows {
            let mut count = s.zero();
            for v in 0..self.vectors {
                let place = &mut self.x[i * self.vectors + v];
                let mut x = s.load(place);
                x = s.select(s.is_number(x), x, s.zero());
                if v + 1 == self.vectors {
                    x = s.select(last, x, s.zero());
                }
                count = s.add(count, x);
                s.store(x, place);
            }
            self.count.0[i] = s.sum(count);
        }
    }
}
