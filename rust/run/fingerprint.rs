//! The fingerprint of a data set: a hash of its values, which tells whether a training goes on with the data that it
//! started with.

use crate::data::Source;
use crate::matrix::panels_of;
use crate::random::{ContentHash, mix};
use crate::simd::{Isa, Op, Simd, ZERO_ROW};
use std::time::{Duration, Instant};

/// Rows between two looks at the clock.
const ROWS: usize = 256;

/// A hash of arrays: of their shapes and of all values as float32, dense or sparse.
pub struct Fingerprint {
    isa: Isa,
    hash: [u32; 2],
}

impl Fingerprint {
    /// Before the first array.
    pub fn new(isa: Isa) -> Fingerprint {
        Fingerprint { isa, hash: [0, 1] }
    }

    /// Takes in rows `done..` of an array, until its end or until `budget` is over.
    pub fn update(&mut self, x: &Source, done: &mut usize, budget: Duration) {
        let clock = Instant::now();
        while *done < x.rows() {
            let end = x.rows().min(*done + ROWS);
            for row in *done..end {
                self.take(self.isa.run(HashRow { x, row }));
            }
            *done = end;
            if clock.elapsed() >= budget {
                break;
            }
        }
        if *done == x.rows() {
            self.take([x.rows() as u32, x.cols() as u32]);
        }
    }

    /// The hash of all that was taken in.
    pub fn finish(&self) -> u64 {
        u64::from(self.hash[0]) << 32 | u64::from(self.hash[1])
    }

    fn take(&mut self, [a, b]: [u32; 2]) {
        let [first, second] = self.hash;
        self.hash =
            [mix(first.rotate_left(5) ^ a), mix(second.wrapping_mul(31).wrapping_add(b) ^ first)];
    }
}

/// The hash of a row.
struct HashRow<'a> {
    x: &'a Source<'a>,
    row: usize,
}

impl Op for HashRow<'_> {
    type Output = [u32; 2];
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> [u32; 2] {
        let (mut hash, mut columns, mut place) = (ContentHash::new(s), ZERO_ROW, 0);
        for panel in 0..panels_of(self.x.cols()) {
            self.x.read_next_panel(self.row, panel, &mut columns, &mut place);
            hash.update(s, &columns);
        }
        hash.finish(s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Element;

    fn of(isa: Isa, sources: &[Source]) -> u64 {
        let mut fingerprint = Fingerprint::new(isa);
        for source in sources {
            let mut done = 0;
            while done < source.rows() {
                fingerprint.update(source, &mut done, Duration::ZERO);
            }
        }
        fingerprint.finish()
    }

    #[test]
    #[allow(unsafe_code)]
    fn it_tells_values_order_and_shape_and_not_the_type() {
        let isa = Isa::detect().unwrap();
        let values: Vec<f32> = (0..700 * 35).map(|i| (i % 1013) as f32).collect();
        let whole = of(isa, &[Source::from_slice(&values, 35)]);
        for isa in Isa::available() {
            assert_eq!(of(isa, &[Source::from_slice(&values, 35)]), whole);
        }
        let wide: Vec<f64> = values.iter().map(|&x| f64::from(x)).collect();
        // SAFETY: 700 contiguous rows of 35 elements.
        let source =
            unsafe { Source::new(wide.as_ptr().cast(), Element::F64, [700, 35], [280, 8]) };
        assert_eq!(of(isa, &[source]), whole);
        for place in [0, 34, 35, 12_000, 700 * 35 - 1] {
            let mut other = values.clone();
            other[place] += 1.0;
            assert_ne!(of(isa, &[Source::from_slice(&other, 35)]), whole);
        }
        let mut swapped = values.clone();
        swapped.rotate_left(35);
        assert_ne!(of(isa, &[Source::from_slice(&swapped, 35)]), whole);
        assert_ne!(of(isa, &[Source::from_slice(&values, 70)]), whole);
        assert_ne!(of(isa, &[Source::from_slice(&values[35..], 35)]), whole);
    }
}
