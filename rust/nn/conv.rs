//! Convolutions as products. A window connects a large image with a small one: pixel (h, w) of the small image meets pixel
//! (h s + i - p, w s + j - p) of the large one by tap (i, j) of the kernel, s the stride and p the padding. A convolution goes
//! down, from large to small; its transpose, and its input gradient, go up. With weights W[tap, l, s] from channel l of the
//! large to channel s of the small image,
//!
//! | product | element | segments |
//! |---|---|---|
//! | down | small[h, w, s] = sum over taps and l of large[.., l] W[tap, l, s] | [`down`] |
//! | up | large[y, x, l] = sum over taps and s of small[.., s] W[tap, l, s] | [`up`] |
//! | gradient | dW[tap, l, s] = sum over pixels and the batch of large[.., l] small[h, w, s] | [`meetings`], [`patches`] |
//!
//! Taps that fall outside an image are left out: a padding of zeros adds nothing.

use super::image::{Image, ImageShape};
use crate::matrix::SegmentTable;
use crate::simd::{Segment, SegmentList, WIDTH};

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

    /// The large pixel that tap `tap` connects with the small pixel `at`, if it is inside.
    fn large(&self, large: ImageShape, at: [usize; 2], tap: usize) -> Option<usize> {
        let taps = [tap / self.kernel[1], tap % self.kernel[1]];
        let [y, x] =
            [0, 1].map(|d| (at[d] * self.stride[d] + taps[d]).checked_sub(self.padding[d]));
        let (y, x) = (y?, x?);
        (y < large.height && x < large.width).then_some(y * large.width + x)
    }

    /// The small pixel that tap `tap` connects with the large pixel `at`, if there is one.
    fn small(&self, small: ImageShape, at: [usize; 2], tap: usize) -> Option<usize> {
        let taps = [tap / self.kernel[1], tap % self.kernel[1]];
        let [h, w] = [0, 1].map(|d| {
            let distance = (at[d] + self.padding[d]).checked_sub(taps[d])?;
            (distance % self.stride[d] == 0).then_some(distance / self.stride[d])
        });
        let (h, w) = (h?, w?);
        (h < small.height && w < small.width).then_some(h * small.width + w)
    }
}

/// The pixel at a position.
fn pixel(shape: ImageShape, position: usize) -> [usize; 2] {
    [position / shape.width, position % shape.width]
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

/// For each small pixel the segments of its product: columns of the large image, rows (tap, l) of W.
pub fn down(window: &Window, large: &Image, small: ImageShape) -> SegmentTable {
    let mut table = SegmentTable::default();
    for position in 0..small.positions() {
        let mut segments = Vec::new();
        for tap in 0..window.taps() {
            let Some(at) = window.large(large.shape, pixel(small, position), tap) else { continue };
            for run in large.runs(at) {
                extend(
                    &mut segments,
                    Segment {
                        panel: run.panel as u32,
                        lane: run.lane as u32,
                        to: (tap * large.shape.channels + run.channel) as u32,
                        count: run.count as u32,
                    },
                );
            }
        }
        table.push(segments);
    }
    table
}

/// For each large pixel the segments of its product: columns of the small image, rows (tap, s) of Wᵀ.
pub fn up(window: &Window, large: ImageShape, small: &Image) -> SegmentTable {
    let mut table = SegmentTable::default();
    for position in 0..large.positions() {
        let mut segments = Vec::new();
        for tap in 0..window.taps() {
            let Some(at) = window.small(small.shape, pixel(large, position), tap) else { continue };
            for run in small.runs(at) {
                segments.push(Segment {
                    panel: run.panel as u32,
                    lane: run.lane as u32,
                    to: (tap * small.shape.channels + run.channel) as u32,
                    count: run.count as u32,
                });
            }
        }
        table.push(segments);
    }
    table
}

/// For each tap the pixels that it connects, small ones ascending: the first panels of both. Both images have panels of their
/// own for each pixel.
pub fn meetings(window: &Window, large: &Image, small: &Image) -> Vec<SegmentList> {
    let list = |tap| {
        let mut segments = Vec::new();
        for position in 0..small.shape.positions() {
            let Some(at) = window.large(large.shape, pixel(small.shape, position), tap) else {
                continue;
            };
            segments.push(Segment {
                panel: large.place(at, 0).0 as u32,
                lane: 0,
                to: small.place(position, 0).0 as u32,
                count: WIDTH as u32,
            });
        }
        SegmentList::new(segments)
    };
    (0..window.taps()).map(list).collect()
}

/// For each block of 32 rows (tap, l) of W and each small pixel, blocks outermost: the columns of the large image that it
/// meets, and their places in the block. The large image has no panels of its own for each pixel.
pub fn patches(window: &Window, large: &Image, small: ImageShape) -> SegmentTable {
    let channels = large.shape.channels;
    let rows = window.taps() * channels;
    let mut table = SegmentTable::default();
    for first in (0..rows).step_by(WIDTH) {
        for position in 0..small.positions() {
            let mut segments = Vec::new();
            for row in first..(first + WIDTH).min(rows) {
                let (tap, channel) = (row / channels, row % channels);
                let at = window.large(large.shape, pixel(small, position), tap);
                let Some(at) = at else { continue };
                let (panel, lane) = large.place(at, channel);
                let next = Segment {
                    panel: panel as u32,
                    lane: lane as u32,
                    to: (row - first) as u32,
                    count: 1,
                };
                extend(&mut segments, next);
            }
            table.push(segments);
        }
    }
    table
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
