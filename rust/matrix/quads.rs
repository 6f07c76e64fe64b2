//! Panels of bytes: four consecutive rows of a column, a *quad*, in the place of a float. See [`crate::simd::ByteProduct`].

use super::ColumnMap;
use crate::simd::{LANES, Row, WIDTH};

/// The rows of quads that hold `rows` rows of bytes.
pub const fn quads_of(rows: usize) -> usize {
    rows.div_ceil(4)
}

/// Copies a row-major [cols, rows] matrix of integers, -127 to 127, into the panels of its transpose. `stride` is the number
/// of rows from one panel to the next. Other bytes of the quads become zero.
pub fn to_quads(plain: &[f32], rows: usize, to: ColumnMap, stride: usize, panels: &mut [Row]) {
    for (j, column) in plain.chunks_exact(rows).enumerate() {
        let (panel, lane) = (to.at(j) / WIDTH, to.at(j) % WIDTH);
        for (four, row) in column.chunks(4).zip(&mut panels[panel * stride..]) {
            let byte = |t| four.get(t).map_or(0, |&x: &f32| x as i8).cast_unsigned();
            let quad = u32::from_le_bytes(std::array::from_fn(byte));
            row[lane / LANES].0[lane % LANES] = f32::from_bits(quad);
        }
    }
}

/// The inverse of [`to_quads`].
pub fn from_quads(panels: &[Row], rows: usize, from: ColumnMap, stride: usize, plain: &mut [f32]) {
    for (j, column) in plain.chunks_exact_mut(rows).enumerate() {
        let (panel, lane) = (from.at(j) / WIDTH, from.at(j) % WIDTH);
        for (four, row) in column.chunks_mut(4).zip(&panels[panel * stride..]) {
            let quad = row[lane / LANES].0[lane % LANES].to_bits().to_le_bytes();
            four.iter_mut().zip(quad).for_each(|(x, byte)| *x = f32::from(byte.cast_signed()));
        }
    }
}

/// The sums of the bytes of each column of a panel of quads; the bits of i32.
pub fn sums_of_quads(quads: &[Row]) -> Row {
    let mut sums = crate::simd::ZERO_ROW;
    for lane in 0..WIDTH {
        let quad = |row: &Row| row[lane / LANES].0[lane % LANES].to_bits().to_le_bytes();
        let bytes =
            quads.iter().flat_map(|row| quad(row).map(|byte| i32::from(byte.cast_signed())));
        let sum: i32 = bytes.sum();
        sums[lane / LANES].0[lane % LANES] = f32::from_bits(sum.cast_unsigned());
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::ZERO_ROW;

    #[test]
    fn integers_come_back_and_have_their_sums() {
        for (cols, rows, to) in
            [(1, 1, ColumnMap::From(0)), (70, 9, ColumnMap::From(0)), (20, 5, ColumnMap::Half(1))]
        {
            let value = |i: usize| (i * 89 % 255) as f32 - 127.0;
            let plain: Vec<f32> = (0..cols * rows).map(value).collect();
            let stride = quads_of(rows) + 2;
            let panels = to.at(cols - 1) / WIDTH + 1;
            let mut buffer = vec![ZERO_ROW; panels * stride];
            to_quads(&plain, rows, to, stride, &mut buffer);
            let mut back = vec![f32::NAN; plain.len()];
            from_quads(&buffer, rows, to, stride, &mut back);
            assert_eq!(back, plain);
            for (j, column) in plain.chunks(rows).enumerate() {
                let (panel, lane) = (to.at(j) / WIDTH, to.at(j) % WIDTH);
                let sums = sums_of_quads(&buffer[panel * stride..][..quads_of(rows)]);
                let sum = sums[lane / LANES].0[lane % LANES].to_bits().cast_signed();
                assert_eq!(sum as f32, column.iter().sum::<f32>());
            }
        }
    }
}
