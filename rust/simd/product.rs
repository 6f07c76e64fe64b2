//! One tile of a matrix product C = A B, accumulated in registers over k.
//!
//! All matrices are stored in panels of 32 columns (`crate::matrix::Panels`); a product packs and transposes no
//! operand. A tile of C has up to 14 rows and 16 or 32 columns. Rows of B are read as vectors. Elements of A are
//! broadcast, so A can be read along its rows (forward pass, input gradients) or down its columns (weight gradients,
//! which sum over the batch).

use super::{Isa, Row, Set, WIDTH};

/// The most rows of a tile, of all instruction sets.
pub const MAX_TILE_ROWS: usize = 14;

/// The products of one tile.
pub type Tile = [Row; MAX_TILE_ROWS];

/// The left operand A of a tile.
#[derive(Clone, Copy)]
pub enum Left<'a> {
    /// A(i, k) = matrix(first + i, k), the matrix in panels of `height` rows.
    Rows {
        /// All panels.
        panels: &'a [Row],
        /// Rows of the matrix.
        height: usize,
        /// The tile's first row.
        first: usize,
    },
    /// A(i, k) = panel(k, first + i): transposed columns of a panel.
    Columns {
        /// One panel.
        panel: &'a [Row],
        /// The first column of the tile.
        first: usize,
    },
}

/// The k, ascending, for which the left operand of a tile has a nonzero element.
///
/// A product skips the other k, which changes no bit: a sum that starts at +0 is never -0, and adding zero times a
/// finite number does not change it. (If B is not finite, only a NaN is lost, and training stops anyway.)
#[derive(Clone, Copy)]
pub struct NonzeroIndices<'a>(pub(super) &'a [u32]);

impl<'a> NonzeroIndices<'a> {
    /// Wraps a list of k.
    ///
    /// # Safety
    /// The list ascends, and its last entry is below the number of k of every product that uses it.
    #[allow(unsafe_code)]
    pub unsafe fn new(list: &'a [u32]) -> NonzeroIndices<'a> {
        NonzeroIndices(list)
    }

    /// Those in a range.
    pub fn within(self, range: std::ops::Range<usize>) -> NonzeroIndices<'a> {
        let at = |end: usize| self.0.partition_point(|&k| (k as usize) < end);
        NonzeroIndices(&self.0[at(range.start)..at(range.end)])
    }

    /// The k.
    pub(super) fn list(self) -> &'a [u32] {
        self.0
    }
}

/// Memory to prefetch while a product runs, one cache line at each k: prefetched all at once, it would delay the
/// product's own loads.
#[derive(Clone, Copy)]
pub struct Prefetch {
    buffers: [*const u8; 3],
    lines: usize,
    panel_lines: usize,
}

impl Prefetch {
    /// No prefetching.
    pub const NOTHING: Prefetch =
        Prefetch { buffers: [std::ptr::null(); 3], lines: 0, panel_lines: 0 };

    /// Prefetches `rows` rows at each of these addresses, for the epilogue of a later tile. For [`Left::Columns`].
    pub fn new(places: [*const Row; 3], rows: usize) -> Prefetch {
        let buffers = places.map(<*const Row>::cast);
        Prefetch { buffers, lines: rows * size_of::<Row>() / LINE, panel_lines: 0 }
    }

    /// Prefetches the tile's `rows` rows of the next panel of [`Left::Rows`], a jump that the hardware does not
    /// predict.
    pub fn next_panel(rows: usize) -> Prefetch {
        Prefetch { panel_lines: rows * size_of::<Row>() / LINE, ..Prefetch::NOTHING }
    }

    /// Prefetches line `n` of each buffer, if it exists.
    #[inline(always)]
    pub(super) fn fetch_buffers(&self, n: usize) {
        if n < self.lines {
            self.buffers.iter().for_each(|buffer| prefetch(buffer.wrapping_add(n * LINE)));
        }
    }

    /// Prefetches line `n` of the rows at `panel`, if it exists.
    #[inline(always)]
    pub(super) fn fetch_panel(&self, panel: *const f32, n: usize) {
        if n < self.panel_lines {
            prefetch(panel.cast::<u8>().wrapping_add(n * LINE));
        }
    }
}

/// Prefetches a cache line into the first-level cache. The address may be invalid; the prefetch then does nothing.
#[allow(unsafe_code)]
#[inline(always)]
pub fn prefetch(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: every x86-64 CPU has the instruction, and it does not fault.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// Bytes in a cache line.
pub const LINE: usize = 64;

/// The product of one tile: A times B, over all k or those in `nonzero`.
#[derive(Clone, Copy)]
pub struct Product<'a> {
    /// A, [rows, k].
    pub left: Left<'a>,
    /// The k rows of a panel of B.
    pub right: &'a [Row],
    /// The k to sum over; `None` for all.
    pub nonzero: Option<NonzeroIndices<'a>>,
    /// Rows of the tile.
    pub rows: usize,
    /// Vectors (1 or 2) of the panel to compute.
    pub vectors: usize,
    /// Memory to prefetch meanwhile.
    pub prefetch: Prefetch,
}

/// `tile[i][j] = sum over k, ascending, of A(i, k) * b[k][j]` by fused multiply-add from +0. With a list, the sum
/// is over the `count` values of k in it, else over `0..count`.
///
/// Element A(i, k) is at `a + i * 32 + k % 32 + (k / 32) * (32 + jump)` floats for [`Left::Rows`], at `a + k * 32 + i`
/// for [`Left::Columns`]. These elements and the rows of 32 floats at `b`, 64-byte aligned, must be readable for those
/// k.
pub(super) type Kernel = unsafe fn(
    count: usize,
    list: *const u32,
    a: *const f32,
    jump: usize,
    b: *const f32,
    prefetch: Prefetch,
    tile: *mut Tile,
);

/// The kernels of a set, indexed by `[list?][columns?][vectors - 1][rows - 1]`.
macro_rules! kernel_table {
    ($kernel:ident, $($rows:literal),*) => {
        [
            [
                [[$($kernel::<$rows, 1, false, false>),*], [$($kernel::<$rows, 2, false, false>),*]],
                [[$($kernel::<$rows, 1, true, false>),*], [$($kernel::<$rows, 2, true, false>),*]],
            ],
            [
                [[$($kernel::<$rows, 1, false, true>),*], [$($kernel::<$rows, 2, false, true>),*]],
                [[$($kernel::<$rows, 1, true, true>),*], [$($kernel::<$rows, 2, true, true>),*]],
            ],
        ]
    };
}
pub(super) use kernel_table;

/// The loop over k of a kernel: runs `$step` with `$a` and `$b` at the elements of A and the row of B of each k. A row of a panel
/// of A has `$panel` elements.
macro_rules! walk_k {
    ($panel:expr, $count:ident, $list:ident, $a:ident, $jump:ident, $b:ident, $prefetch:ident, $COLUMNS:ident, $LIST:ident, $step:expr) => {
        if $LIST {
            let (start_a, start_b) = ($a, $b);
            for n in 0..$count {
                if $COLUMNS {
                    $prefetch.fetch_buffers(n);
                }
                // SAFETY: the caller promises `count` entries, and A and B at each of them.
                let k = unsafe { *$list.add(n) } as usize;
                let at = if $COLUMNS { k * WIDTH } else { k / $panel * ($jump + $panel) + k % $panel };
                ($a, $b) = (start_a.wrapping_add(at), start_b.wrapping_add(k * WIDTH));
                $step
            }
        } else {
            let mut left = $count;
            while left > 0 {
                let run = if $COLUMNS { left } else { left.min($panel) };
                let next = $a.wrapping_add($panel + $jump);
                for n in 0..run {
                    if $COLUMNS {
                        $prefetch.fetch_buffers(n);
                    } else {
                        $prefetch.fetch_panel(next, n);
                    }
                    $step
                    $a = $a.wrapping_add(if $COLUMNS { WIDTH } else { 1 });
                    $b = $b.wrapping_add(WIDTH);
                }
                left -= run;
                $a = $a.wrapping_add($jump);
            }
        }
    };
}
pub(super) use walk_k;

/// A row `a` of floats times two panels of B: `to[p][j] = sum over k, ascending, of a[k] * b[p][k][j]`. A single row
/// has too few independent sums to hide the latency of multiply-adds; two panels have more. `count`, `list` and the
/// contract are those of [`Kernel`].
pub(super) type PairKernel =
    unsafe fn(count: usize, list: *const u32, a: *const f32, b: [*const f32; 2], to: &mut [Row; 2]);

impl Isa {
    /// The most rows of C in one tile.
    pub fn tile_rows(self) -> usize {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => super::avx512::TILE_ROWS,
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => super::avx2::TILE_ROWS,
            Set::Portable => super::portable::TILE_ROWS,
        }
    }

    /// Multiplies a matrix of one row by two panels of B, which have the same number of rows.
    #[allow(unsafe_code)]
    #[inline]
    pub fn pair_product(
        self,
        left: &[Row],
        right: [&[Row]; 2],
        nonzero: Option<NonzeroIndices<'_>>,
        to: &mut [Row; 2],
    ) {
        let k = right[0].len();
        assert!(right[1].len() == k && k <= left.len() * WIDTH);
        let list = nonzero.map_or(&[][..], |nonzero| nonzero.0);
        assert!(list.last().is_none_or(|&last| (last as usize) < k));
        let (count, nonzero) =
            (nonzero.map_or(k, |nonzero| nonzero.0.len()), usize::from(nonzero.is_some()));
        let kernel: PairKernel = match self.0 {
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => super::avx512::PAIRS[nonzero],
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => super::avx2::PAIRS[nonzero],
            Set::Portable => super::portable::PAIRS[nonzero],
        };
        let b = right.map(|b| b.as_ptr().cast());
        // SAFETY: as in `product`; the panels of a matrix of one row are contiguous floats.
        unsafe { kernel(count, list.as_ptr(), left.as_ptr().cast(), b, to) };
    }

    /// Computes one tile.
    #[allow(unsafe_code)]
    #[inline(always)] // else the operands pass through memory, and each tile waits for its stores
    pub fn product(self, product: Product<'_>, tile: &mut Tile) {
        let Product { left, right, nonzero, rows, vectors, prefetch } = product;
        let k = right.len();
        assert!((1..=self.tile_rows()).contains(&rows) && (1..=2).contains(&vectors));
        let (columns, a, jump) = match left {
            Left::Rows { panels, height, first } => {
                assert!(first + rows <= height && height * k.div_ceil(WIDTH) <= panels.len());
                let start = panels.as_ptr().cast::<f32>().wrapping_add(first * WIDTH);
                (false, start, (height - 1) * WIDTH)
            }
            Left::Columns { panel, first } => {
                assert!(first + rows <= WIDTH && k <= panel.len());
                (true, panel.as_ptr().cast::<f32>().wrapping_add(first), 0)
            }
        };
        let b = right.as_ptr().cast::<f32>();
        let list = nonzero.map_or(&[][..], |nonzero| nonzero.0);
        assert!(list.last().is_none_or(|&last| (last as usize) < k));
        let count = nonzero.map_or(k, |nonzero| nonzero.0.len());
        let (nonzero, columns) = (usize::from(nonzero.is_some()), usize::from(columns));
        let (vectors, rows) = (vectors - 1, rows - 1);
        let kernel: Kernel = match self.0 {
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => super::avx512::KERNELS[nonzero][columns][vectors][rows],
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => super::avx2::KERNELS[nonzero][columns][vectors][rows],
            Set::Portable => super::portable::KERNELS[nonzero][columns][vectors][rows],
        };
        // SAFETY: the CPU has the set (see `Isa`); the asserts above bound every read of A for k below `right.len()`,
        // and the last entry of an ascending list is below it; B is the slice.
        unsafe { kernel(count, list.as_ptr(), a, jump, b, prefetch, tile) };
    }
}
