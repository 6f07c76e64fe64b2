//! The fingerprint of a data set, which tells whether a training goes on with the data that it started with.

use crate::data::Source;
use crc32fast::Hasher;
use std::time::{Duration, Instant};

/// Rows between two looks at the clock, and columns read at a time.
const ROWS: usize = 64;
const COLUMNS: usize = 256;

/// The CRC-32 of arrays: of their shapes and of all values as float32, dense or sparse. It tells other data by accident,
/// not forgery.
#[derive(Default)]
pub struct Fingerprint(Hasher);

impl Fingerprint {
    /// Takes in rows `done..` of an array, until its end or until `budget` is over.
    pub fn update(&mut self, x: &Source, done: &mut usize, budget: Duration) {
        let (clock, mut values, mut bytes) =
            (Instant::now(), [0.0f32; COLUMNS], [0; COLUMNS * size_of::<f32>()]);
        while *done < x.rows() {
            let end = x.rows().min(*done + ROWS);
            for row in *done..end {
                for col in (0..x.cols()).step_by(COLUMNS) {
                    let values = &mut values[..(x.cols() - col).min(COLUMNS)];
                    x.read(row, col, values);
                    for (to, value) in bytes.as_chunks_mut().0.iter_mut().zip(&*values) {
                        *to = value.to_le_bytes();
                    }
                    self.0.update(&bytes[..size_of_val(values)]);
                }
            }
            *done = end;
            if clock.elapsed() >= budget {
                break;
            }
        }
        if *done == x.rows() {
            [x.rows(), x.cols()].iter().for_each(|n| self.0.update(&(*n as u64).to_le_bytes()));
        }
    }

    /// The checksum of all that was taken in.
    pub fn finish(self) -> u32 {
        self.0.finalize()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Element;

    fn of(sources: &[Source]) -> u32 {
        let mut fingerprint = Fingerprint::default();
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
        let values: Vec<f32> = (0..700 * 35).map(|i| (i % 1013) as f32).collect();
        let whole = of(&[Source::from_slice(&values, 35)]);
        let wide: Vec<f64> = values.iter().map(|&x| f64::from(x)).collect();
        // SAFETY: 700 contiguous rows of 35 elements.
        let source =
            unsafe { Source::new(wide.as_ptr().cast(), Element::F64, [700, 35], [280, 8]) };
        assert_eq!(of(&[source]), whole);
        for place in [0, 34, 35, 12_000, 700 * 35 - 1] {
            let mut other = values.clone();
            other[place] += 1.0;
            assert_ne!(of(&[Source::from_slice(&other, 35)]), whole);
        }
        let mut swapped = values.clone();
        swapped.rotate_left(35);
        assert_ne!(of(&[Source::from_slice(&swapped, 35)]), whole);
        assert_ne!(of(&[Source::from_slice(&values, 70)]), whole);
        assert_ne!(of(&[Source::from_slice(&values[35..], 35)]), whole);
    }
}
