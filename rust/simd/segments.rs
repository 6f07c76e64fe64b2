//! Tiles of a product whose left operand is scattered over panels: convolutions.
//!
//! The left operand's k are cut into [`Segment`]s, each a run inside one panel. A tile starts from zero or from the values that
//! it holds, so a sum may be continued by a later call; every element has one accumulator, and k runs in the order of the list.
//!
//! Operands are float32, or [words](super::words) of two bfloat16: then k counts words. The left operand of [`Isa::add_rows`] is then
//! panels by rows, all others are panels by pairs.

use super::words::EmulatedSegments;
use super::{Isa, ROW_WORDS, Row, Set, Tile, WIDTH};

/// A run of k. In [`Isa::add_rows`] k are `count` columns of a panel of A and as many rows of B; in [`Isa::add_columns`] k are
/// all rows of a panel of A and of a panel of B.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Segment {
    /// The panel of A.
    pub panel: u32,
    /// The first column in it.
    pub lane: u32,
    /// The first row of B, or the panel of B.
    pub to: u32,
    /// The number of columns.
    pub count: u32,
}

impl Segment {
    /// No columns.
    pub const NONE: Segment = Segment { panel: 0, lane: 0, to: 0, count: 0 };
}

/// A list of segments, and the bounds of what it refers to.
#[derive(Clone, Debug)]
pub struct SegmentList {
    list: Vec<Segment>,
    panels: usize,
    lanes: usize,
    to: usize,
}

impl SegmentList {
    /// Checks that no segment reaches beyond its panel of A.
    pub fn new(list: Vec<Segment>) -> SegmentList {
        let Segments { panels, lanes, to, .. } = Segments::new(&list);
        SegmentList { list, panels, lanes, to }
    }

    /// All segments.
    pub fn all(&self) -> Segments<'_> {
        Segments { list: &self.list, panels: self.panels, lanes: self.lanes, to: self.to }
    }

    /// One by one.
    pub fn iter(&self) -> impl Iterator<Item = &Segment> {
        self.list.iter()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

/// Segments of a [`SegmentList`].
#[derive(Clone, Copy, Debug)]
pub struct Segments<'a> {
    list: &'a [Segment],
    /// Panels of A.
    panels: usize,
    /// Columns of a panel of A.
    lanes: usize,
    /// Rows of B, or a bound of its panels.
    to: usize,
}

impl<'a> Segments<'a> {
    /// All rows of a panel of A with those of a panel of B.
    pub const WHOLE_PANEL: Segments<'static> = Segments {
        list: &[Segment { panel: 0, lane: 0, to: 0, count: WIDTH as u32 }],
        panels: 1,
        lanes: WIDTH,
        to: WIDTH,
    };

    /// Checks that no segment reaches beyond its panel of A.
    pub fn new(list: &'a [Segment]) -> Segments<'a> {
        let (mut panels, mut lanes, mut to) = (0, 0, 0);
        for s in list {
            lanes = lanes.max((s.lane as usize).saturating_add(s.count as usize));
            panels = panels.max(s.panel as usize + 1);
            to = to.max(s.to as usize + s.count as usize);
        }
        assert!(lanes <= WIDTH);
        Segments { list, panels, lanes, to }
    }

    /// One by one.
    pub fn iter(&self) -> impl Iterator<Item = &'a Segment> {
        self.list.iter()
    }
}

/// `tile[i][j] += sum over the segments' k of A(i, k) * B(k, j)` by fused multiply-adds; `fresh`: from zero.
///
/// Of a segment s, A(i, k) is at `a + s.panel * strides[0] + s.lane + i * 32 + k` for rows, k below `s.count`, and at
/// `a + s.panel * strides[0] + s.lane + k * 32 + i` for columns, k below `count`. B's row k is at
/// `b + s.to * strides[1] + k * 32`, 64-byte aligned. All of these must be readable. Kernels of words have `i * 16` for `i * 32`, and
/// add products as `vdpbf16ps` does.
pub(super) type SegmentKernel = unsafe fn(
    segments: &[Segment],
    count: usize,
    a: *const f32,
    b: *const f32,
    strides: [usize; 2],
    fresh: bool,
    tile: *mut Tile,
);

/// `[columns?][vectors - 1][rows - 1]`.
macro_rules! segment_table {
    ($kernel:ident, $($rows:literal),*) => {
        [
            [[$($kernel::<$rows, 1, false>),*], [$($kernel::<$rows, 2, false>),*]],
            [[$($kernel::<$rows, 1, true>),*], [$($kernel::<$rows, 2, true>),*]],
        ]
    };
}
pub(super) use segment_table;

/// Walks the segments for a kernel: `$step` with `$x` and `$y` at each k's elements of A and row of B. Meanwhile the next
/// segment's part of A is brought near.
macro_rules! walk_segments {
    ($segments:ident, $count:ident, $a:ident, $b:ident, $strides:ident, $ROWS:ident, $COLUMNS:ident, $x:ident, $y:ident, $step:expr) => {
        for (n, segment) in $segments.iter().enumerate() {
            let at = |s: &Segment| {
                $a.wrapping_add(s.panel as usize * $strides[0] + s.lane as usize)
            };
            let mut $x = at(segment);
            let mut $y = $b.wrapping_add(segment.to as usize * $strides[1]);
            let ahead = at($segments.get(n + 1).unwrap_or(segment)).cast::<u8>();
            let count = if $COLUMNS { $count } else { segment.count as usize };
            for k in 0..count {
                if !$COLUMNS && k < 2 * $ROWS {
                    crate::simd::prefetch(ahead.wrapping_add(k * crate::simd::LINE));
                }
                $step
                $x = $x.wrapping_add(if $COLUMNS { WIDTH } else { 1 });
                $y = $y.wrapping_add(WIDTH);
            }
        }
    };
}
pub(super) use walk_segments;

/// A tile of a product by segments.
#[derive(Clone, Copy)]
pub struct SegmentProduct<'a> {
    /// The runs of k.
    pub segments: Segments<'a>,
    /// The panels of A, from the panel on that segments count from.
    pub left: &'a [Row],
    /// B: its rows, or panels of `height` rows.
    pub right: &'a [Row],
    /// `Row`s of a panel: of words by rows, one for two rows of A.
    pub height: usize,
    /// The tile's first row of A's panels, or first column behind a segment's `lane`.
    pub first: usize,
    /// Rows of the tile.
    pub rows: usize,
    /// Vectors (1 or 2) of sixteen columns.
    pub vectors: usize,
    /// Whether the tile starts from zero.
    pub fresh: bool,
    /// Whether operands are words.
    pub words: bool,
}

impl Isa {
    /// Adds the products of rows `first..first + rows` of A, read along its rows, to a tile.
    #[allow(unsafe_code)]
    pub fn add_rows(self, product: SegmentProduct<'_>, tile: &mut Tile) {
        let SegmentProduct { segments, left, right, height, first, rows, vectors, fresh, words } =
            product;
        let per_row = if words { ROW_WORDS } else { WIDTH };
        assert!((1..=self.tile_rows()).contains(&rows) && (1..=2).contains(&vectors));
        assert!((first + rows) * per_row <= height * WIDTH && segments.lanes <= per_row);
        assert!(segments.panels * height <= left.len() && segments.to <= right.len());
        let Some(kernel) = self.segment_kernel(words, false, vectors, rows) else {
            return self.run(EmulatedSegments { product, columns: false, tile });
        };
        let a = left.as_ptr().cast::<f32>().wrapping_add(first * per_row);
        let (b, strides) = (right.as_ptr().cast(), [height * WIDTH, WIDTH]);
        // SAFETY: the CPU has the set (see `Isa`); the asserts above and those of `Segments` bound every read.
        unsafe { kernel(segments.list, 0, a, b, strides, fresh, tile) };
    }

    /// Adds the products of columns `first..first + rows` of A's panels, read down, to a tile.
    #[allow(unsafe_code)]
    pub fn add_columns(self, product: SegmentProduct<'_>, tile: &mut Tile) {
        let SegmentProduct { segments, left, right, height, first, rows, vectors, fresh, words } =
            product;
        assert!((1..=self.tile_rows()).contains(&rows) && (1..=2).contains(&vectors));
        let inside = |s: &Segment| {
            first + rows <= s.count as usize && (s.to as usize + 1) * height <= right.len()
        };
        assert!(segments.panels * height <= left.len() && segments.list.iter().all(inside));
        let Some(kernel) = self.segment_kernel(words, true, vectors, rows) else {
            return self.run(EmulatedSegments { product, columns: true, tile });
        };
        let a = left.as_ptr().cast::<f32>().wrapping_add(first);
        let (b, strides) = (right.as_ptr().cast(), [height * WIDTH; 2]);
        // SAFETY: as above; a segment's `count` columns are inside its panel, and the tile's are among them.
        unsafe { kernel(segments.list, height, a, b, strides, fresh, tile) };
    }

    /// A kernel; `None` for words without an instruction.
    fn segment_kernel(
        self,
        words: bool,
        columns: bool,
        vectors: usize,
        rows: usize,
    ) -> Option<SegmentKernel> {
        let (columns, vectors, rows) = (usize::from(columns), vectors - 1, rows - 1);
        if words && !self.multiplies_words() {
            return None;
        }
        let table = match self.0 {
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 if words => &super::avx512::WORD_SEGMENTS[columns][vectors][..],
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => &super::avx512::SEGMENTS[columns][vectors][..],
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => &super::avx2::SEGMENTS[columns][vectors][..],
            Set::Portable => &super::portable::SEGMENTS[columns][vectors][..],
        };
        Some(table[rows])
    }
}
