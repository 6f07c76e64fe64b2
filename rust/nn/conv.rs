//! Convolutions as products. A window connects a large image with a small one: pixel (h, w) of the small image meets pixel
//! (h s + i - p, w s + j - p) of the large one by tap (i, j) of the kernel, s the stride and p the padding. A convolution goes
//! down, from large to small; its transpose, and its input gradient, go up. With weights W[tap, l, s] from channel l of the
//! large to channel s of the small image,
//!
//! | product | element | segments |
//! |---|---|---|
//! | down | small[h, w, s] = sum over taps and l of large[.., l] W[tap, l, s] | [`down`] |
//! | up | large[y, x, l] = sum over taps and s of small[.., s] W[tap, l, s] | [`up`] |
//! | gradient | dW[tap, l, s] = sum over pixels and the batch of large[.., l] small[h, w, s] | [`meetings`], [`down`] |
//!
//! Taps that fall outside an image are left out: a padding of zeros adds nothing.

use super::image::{Image, ImageShape};
use crate::matrix::SegmentTable;
use crate::simd::{Segment, SegmentList, WIDTH};
use std::collections::HashMap;
use std::ops::Range;

/// The geometry of a convolution: (rows, columns) each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Taps.
    pub kernel: [usize; 2],
    /// Pixels of the large image from pixel to pixel of the small one.
    pub stride: [usize; 2],
    /// Pixels around the large image that count as zero.
    pub padding: [usize; 2],
}

impl Window {
    /// Taps.
    pub fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// The transposed convolution that a convolution of stride 1 equals, with its kernel reversed.
    pub fn reversed(&self) -> Option<Window> {
        let [height, width] = [0, 1].map(|d| (self.kernel[d] - 1).checked_sub(self.padding[d]));
        let fits = self.stride == [1; 2];
        fits.then_some(Window { padding: [height?, width?], ..*self })
    }

    /// Along axis `d`, the place in the large image that tap `tap` connects with place `at` of the small one, if it is inside.
    fn large(&self, d: usize, sides: [usize; 2], at: usize, tap: usize) -> Option<usize> {
        let place = (at * self.stride[d] + tap).checked_sub(self.padding[d])?;
        (place < sides[d]).then_some(place)
    }

    /// Along axis `d`, the place in the small image that tap `tap` connects with place `at` of the large one, if there is one.
    fn small(&self, d: usize, sides: [usize; 2], at: usize, tap: usize) -> Option<usize> {
        let distance = (at + self.padding[d]).checked_sub(tap)?;
        let place = distance / self.stride[d];
        (distance % self.stride[d] == 0 && place < sides[d]).then_some(place)
    }

    /// For each place along both axes, the taps that reach the other image and the places there.
    fn reach(
        &self,
        sides: [usize; 2],
        place: impl Fn(usize, usize, usize) -> Option<usize>,
    ) -> [Vec<Vec<(usize, usize)>>; 2] {
        [0, 1].map(|d| {
            let taps = |at| {
                (0..self.kernel[d]).filter_map(|tap| Some((tap, place(d, at, tap)?))).collect()
            };
            (0..sides[d]).map(taps).collect()
        })
    }
}

/// Height and width.
fn sides(shape: ImageShape) -> [usize; 2] {
    [shape.height, shape.width]
}

/// Appends a segment, or makes the last one longer.
fn extend(segments: &mut Vec<Segment>, next: Segment) {
    if let Some(last) = segments.last_mut() {
        let adjacent = last.panel == next.panel
            && last.lane + last.count == next.lane
            && last.to + last.count == next.to;
        if adjacent {
            last.count += next.count;
            return;
        }
    }
    segments.push(next);
}

/// For each pixel of an image of sides `to`, the segments of its product: columns of image `from`, and rows (tap, channel). One k has
/// `per` channels of a tap, the last k of a tap those that are left. If `per` is 2, each pixel of `from` must have its own panels.
fn table(
    window: &Window,
    from: &Image,
    to: [usize; 2],
    per: usize,
    place: impl Fn(usize, usize, usize) -> Option<usize>,
) -> SegmentTable {
    let [rows, columns] = window.reach(to, place);
    let pixels = rows.iter().flat_map(|row| columns.iter().map(move |column| (row, column)));
    SegmentTable::new(pixels.map(|(row, column)| {
        let mut segments = Vec::new();
        for &(i, y) in row {
            for &(j, x) in column {
                let tap = i * window.kernel[1] + j;
                for run in from.runs(y * from.shape.width + x) {
                    let first = tap * from.shape.channels.div_ceil(per) + run.channel / per;
                    let next = Segment {
                        panel: run.panel as u32,
                        lane: (run.lane / per) as u32,
                        to: first as u32,
                        count: run.count.div_ceil(per) as u32,
                    };
                    extend(&mut segments, next);
                }
            }
        }
        segments
    }))
}

/// For each small pixel the segments of its product: columns of the large image, rows (tap, l) of W.
pub fn down(window: &Window, large: &Image, small: ImageShape) -> SegmentTable {
    let inside = sides(large.shape);
    table(window, large, sides(small), 1, |d, at, tap| window.large(d, inside, at, tap))
}

/// For each large pixel the segments of its product: columns of the small image, rows (tap, s) of Wᵀ, `per` channels for one k.
pub fn up(window: &Window, large: ImageShape, small: &Image, per: usize) -> SegmentTable {
    let inside = sides(small.shape);
    table(window, small, sides(large), per, |d, at, tap| window.small(d, inside, at, tap))
}

/// Rows of W as a right operand of words: words of rows 0 and 1, 2 and 3, ... of them, or, if `odd`, of a row of zeros and row 0, rows 1
/// and 2, ... A missing last row counts as zero.
#[derive(Clone, Debug)]
pub struct WordRun {
    /// The rows of W.
    pub rows: Range<usize>,
    /// Whether a row of zeros comes first.
    pub odd: bool,
    /// The words, in a panel of words of all runs.
    pub words: Range<usize>,
}

/// Makes segments of words, two columns each, and the runs of rows that they multiply. A segment that starts or ends inside a word
/// multiplies the other column of the word by zero.
#[derive(Debug, Default)]
pub struct WordRuns {
    /// The runs, one after the other.
    pub runs: Vec<WordRun>,
    known: HashMap<(u32, u32, u32), u32>,
}

impl WordRuns {
    /// The segment of words of a segment.
    pub fn segment(&mut self, s: &Segment) -> Segment {
        let odd = s.lane % 2;
        let count = (odd + s.count).div_ceil(2);
        let to = *self.known.entry((s.to, s.count, odd)).or_insert_with(|| {
            let start = self.runs.last().map_or(0, |run| run.words.end);
            let rows = s.to as usize..(s.to + s.count) as usize;
            let words = start..start + count as usize;
            self.runs.push(WordRun { rows, odd: odd == 1, words });
            start as u32
        });
        Segment { lane: s.lane / 2, to, count, ..*s }
    }

    /// The segments of words of a table.
    pub fn table(&mut self, table: &SegmentTable) -> SegmentTable {
        SegmentTable::new((0..table.places()).map(|place| {
            let (base, segments) = table.get(place);
            let moved = segments.iter().map(|s| Segment { panel: base as u32 + s.panel, ..*s });
            moved.map(|s| self.segment(&s)).collect()
        }))
    }
}

/// The pixels that a tap connects, small ones ascending: the first panels of both. Both images have panels of their own for each
/// pixel.
pub fn meetings(
    window: &Window,
    [large, small]: [&Image; 2],
    tap: usize,
) -> impl Iterator<Item = Segment> {
    let (inside, taps) = (sides(large.shape), [tap / window.kernel[1], tap % window.kernel[1]]);
    (0..small.shape.positions()).filter_map(move |position| {
        let [h, w] = [position / small.shape.width, position % small.shape.width];
        let y = window.large(0, inside, h, taps[0])?;
        let at = y * large.shape.width + window.large(1, inside, w, taps[1])?;
        Some(Segment {
            panel: large.place(at, 0).0 as u32,
            lane: 0,
            to: small.place(position, 0).0 as u32,
            count: WIDTH as u32,
        })
    })
}

/// The segments of columns `columns` of a matrix, whose rows of W start with row `to`.
pub fn columns(columns: std::ops::Range<usize>, to: usize) -> SegmentList {
    let mut segments = Vec::new();
    for (row, column) in (to..).zip(columns) {
        let (panel, lane) = ((column / WIDTH) as u32, (column % WIDTH) as u32);
        extend(&mut segments, Segment { panel, lane, to: row as u32, count: 1 });
    }
    SegmentList::new(segments)
}
