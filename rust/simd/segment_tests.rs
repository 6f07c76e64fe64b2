//! Tests of products of words by segments, of every instruction set, against a scalar model of `vdpbf16ps`.

use super::words::ToWords;
use super::*;

/// Deterministic values with many signs and magnitudes, among them subnormal ones and those whose products are.
fn value(i: usize) -> f32 {
    let n = i.wrapping_mul(2_654_435_761) >> 5;
    let x = (n % 4001) as f32 / 1000.0 - 2.0;
    match n % 37 {
        0 => x * 1e-39,
        1 => x * 1e-21,
        2 => x * 1e4,
        _ => x,
    }
}

/// The nearest bfloat16, ties to even.
fn rounded(x: f32) -> f32 {
    let bits = x.to_bits();
    f32::from_bits((bits + 0x7fff + (bits >> 16 & 1)) & 0xffff_0000)
}

/// What the instruction makes of a subnormal number.
fn flushed(x: f32) -> f32 {
    if x.is_subnormal() { 0.0f32.copysign(x) } else { x }
}

/// The sum after the products of two pairs (even k, odd k): the odd one first.
fn add_pair(a: [f32; 2], b: [f32; 2], sum: f32) -> f32 {
    [1, 0].into_iter().fold(sum, |sum, half| {
        let [x, y] = [a[half], b[half]].map(|x| flushed(rounded(x)));
        flushed(x.mul_add(y, sum))
    })
}

/// A panel of 32 columns of `rows` rows of values.
fn floats_at(rows: usize, at: impl Fn(usize, usize) -> f32) -> Vec<Row> {
    let mut panel = vec![ZERO_ROW; rows];
    for (i, row) in panel.iter_mut().enumerate() {
        for (j, x) in floats_mut(std::slice::from_mut(row)).iter_mut().enumerate() {
            *x = at(i, j);
        }
    }
    panel
}

/// Its words by rows and by pairs.
fn words(isa: Isa, from: &[Row]) -> [Vec<Row>; 2] {
    let [mut by_rows, mut by_pairs] = [(); 2].map(|()| vec![ZERO_ROW; word_rows(from.len())]);
    let (rows, pairs) = (&mut by_rows[..], &mut by_pairs[..]);
    isa.run(ToWords { from, cols: WIDTH, by_rows: rows, by_pairs: pairs });
    [by_rows, by_pairs]
}

fn segment(panel: usize, lane: usize, to: usize, count: usize) -> Segment {
    let [panel, lane, to, count] = [panel, lane, to, count].map(|n| n as u32);
    Segment { panel, lane, to, count }
}

fn same(isa: Isa, tile: &Tile, rows: usize, vectors: usize, want: impl Fn(usize, usize) -> f32) {
    for i in 0..rows {
        for j in 0..vectors * LANES {
            let (got, want) = (tile[i][j / LANES].0[j % LANES], want(i, j));
            let case = format!("{} {rows}x{vectors}, ({i}, {j})", isa.name());
            assert_eq!(got.to_bits(), want.to_bits(), "{case}: {got}, not {want}");
        }
    }
}

const START: f32 = 0.375;

#[test]
fn segments_of_words_are_multiplied_along_rows() {
    const PANELS: usize = 3;
    let left = |panel: usize, i: usize, j: usize| value(1000 * panel + 33 * i + j);
    let right = |k: usize, j: usize| value(77_000 + 35 * k + j);
    let list = [segment(1, 0, 5, 16), segment(0, 3, 0, 5), segment(2, 15, 30, 1)];
    for isa in Isa::available() {
        for rows in 1..=isa.tile_rows() {
            for (vectors, fresh) in [(1, true), (2, false), (1, false), (2, true)] {
                let (height, first) = (rows + 3, 2);
                let panels: Vec<Row> = (0..PANELS)
                    .flat_map(|panel| {
                        words(isa, &floats_at(height, |i, j| left(panel, i, j)))[0].clone()
                    })
                    .collect();
                let b = &words(isa, &floats_at(62, right))[1];
                let mut tile = [[Lanes([START; LANES]); 2]; MAX_TILE_ROWS];
                let product = SegmentProduct {
                    segments: Segments::new(&list),
                    left: &panels,
                    right: b,
                    height: word_rows(height),
                    first,
                    rows,
                    vectors,
                    fresh,
                    words: true,
                };
                isa.add_rows(product, &mut tile);
                same(isa, &tile, rows, vectors, |i, j| {
                    let mut sum = if fresh { 0.0 } else { START };
                    for s in list {
                        let [panel, lane, to, count] =
                            [s.panel, s.lane, s.to, s.count].map(|n| n as usize);
                        for k in 0..count {
                            let a =
                                [0, 1].map(|half| left(panel, first + i, 2 * (lane + k) + half));
                            let b = [0, 1].map(|half| right(2 * (to + k) + half, j));
                            sum = add_pair(a, b, sum);
                        }
                    }
                    sum
                });
            }
        }
    }
}

#[test]
fn segments_of_words_are_multiplied_down_columns() {
    let value_of = |side: usize, panel: usize, k: usize, j: usize| {
        value(500_000 * side + 5000 * panel + 41 * k + j)
    };
    let list = [segment(2, 0, 1, 32), segment(0, 0, 3, 32)];
    for isa in Isa::available() {
        for rows in 1..=isa.tile_rows() {
            for (vectors, fresh, height) in [(1, true, 19), (2, false, 8), (2, true, 1)] {
                let first = 5;
                // A missing last row counts as zero.
                let at =
                    |side, panel, k, j| if k < height { value_of(side, panel, k, j) } else { 0.0 };
                let pairs = |side: usize, panels: usize| -> Vec<Row> {
                    (0..panels)
                        .flat_map(|panel| {
                            words(isa, &floats_at(height, |k, j| at(side, panel, k, j)))[1].clone()
                        })
                        .collect()
                };
                let [a, b] = [pairs(0, 3), pairs(1, 4)];
                let mut tile = [[Lanes([START; LANES]); 2]; MAX_TILE_ROWS];
                let product = SegmentProduct {
                    segments: Segments::new(&list),
                    left: &a,
                    right: &b,
                    height: word_rows(height),
                    first,
                    rows,
                    vectors,
                    fresh,
                    words: true,
                };
                isa.add_columns(product, &mut tile);
                same(isa, &tile, rows, vectors, |i, j| {
                    let mut sum = if fresh { 0.0 } else { START };
                    for s in list {
                        for k in 0..word_rows(height) {
                            let a =
                                [0, 1].map(|half| at(0, s.panel as usize, 2 * k + half, first + i));
                            let b = [0, 1].map(|half| at(1, s.to as usize, 2 * k + half, j));
                            sum = add_pair(a, b, sum);
                        }
                    }
                    sum
                });
            }
        }
    }
}
