//! One tile of a matrix product, C = A·B, held in registers while k runs.
//!
//! All matrices lie in panels of 32 columns (`crate::matrix::Panels`); no operand is packed or transposed
//! for a product. A tile of C is up to 14 rows by 16 or 32 columns. B's rows are read as vectors; A's
//! elements are broadcast, so A may be read along its rows (layers forward, input gradients) or down its
//! columns (weight gradients, where the product sums over the batch).

use super::{Isa, Row, Set, WIDTH};

/// The most rows that any instruction set holds in registers.
pub const MAX_TILE_ROWS: usize = 14;

/// The products of one tile, on their way from the registers to an epilogue.
pub type Tile = [Row; MAX_TILE_ROWS];

/// Where the left operand's elements A(i, k) lie.
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
    /// A(i, k) = panel(k, first + i): the transpose of a panel's columns.
    Columns {
        /// One panel.
        panel: &'a [Row],
        /// The tile's first column of it.
        first: usize,
    },
}

/// The k at which some element of a left operand's tile is not zero, ascending.
///
/// A product may leave the others out, and no bit changes: a sum that starts at +0 is never -0, and adding a
/// zero times a finite number to it gives it back. (Where B is not finite, training is about to stop, and what is
/// lost is a NaN.)
#[derive(Clone, Copy)]
pub struct NonzeroIndices<'a>(&'a [u32]);

impl<'a> NonzeroIndices<'a> {
    /// A list of k.
    ///
    /// # Safety
    /// It ascends, and the products that use it have more k than its last entry.
    #[allow(unsafe_code)]
    pub unsafe fn new(list: &'a [u32]) -> NonzeroIndices<'a> {
        NonzeroIndices(list)
    }
}

/// What is asked for while a product runs, a cache line at every k: asked for at once, it would hold up the product's
/// own loads.
#[derive(Clone, Copy)]
pub struct Prefetch {
    buffers: [*const u8; 3],
    lines: usize,
    panel_lines: usize,
}

impl Prefetch {
    /// Nothing is asked for.
    pub const NOTHING: Prefetch =
        Prefetch { buffers: [std::ptr::null(); 3], lines: 0, panel_lines: 0 };

    /// The `rows` rows at each of these places, which a later tile's epilogue will read and write; for a left operand by
    /// columns.
    pub fn new(places: [*const Row; 3], rows: usize) -> Prefetch {
        let buffers = places.map(<*const Row>::cast);
        Prefetch { buffers, lines: rows * size_of::<Row>() / LINE, panel_lines: 0 }
    }

    /// The tile's part, `rows` rows, of the next panel of a left operand by rows: it lies where no hardware foresees.
    pub fn next_panel(rows: usize) -> Prefetch {
        Prefetch { panel_lines: rows * size_of::<Row>() / LINE, ..Prefetch::NOTHING }
    }

    /// Asks for line `n` of each buffer, if there are that many.
    #[inline(always)]
    pub(super) fn ask_buffers(&self, n: usize) {
        if n < self.lines {
            self.buffers.iter().for_each(|buffer| prefetch(buffer.wrapping_add(n * LINE)));
        }
    }

    /// Asks for line `n` of the part of a panel that starts at `panel`, if there are that many.
    #[inline(always)]
    pub(super) fn ask_panel(&self, panel: *const f32, n: usize) {
        if n < self.panel_lines {
            prefetch(panel.cast::<u8>().wrapping_add(n * LINE));
        }
    }
}

/// Asks for a cache line to be brought near, without waiting for it. The address need not be memory of ours: asking
/// for what cannot be read does nothing.
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

/// The work of a tile: the left operand times the rows of B, or those of them that are in `kept`.
#[derive(Clone, Copy)]
pub struct Product<'a> {
    /// A
    pub left: Left<'a>,
    /// B's rows.
    pub right: &'a [Row],
    /// Which k matter; none for all of them.
    pub kept: Option<NonzeroIndices<'a>>,
    /// Rows of the tile.
    pub rows: usize,
    /// Vectors (1 or 2) of sixteen columns.
    pub vectors: usize,
    /// What will be needed next.
    pub ahead: Prefetch,
}

/// `tile[i][j] = sum over k, ascending, of A(i, k) * b[k][j]` by fused multiply-add from +0. With a list, the sum
/// is over the `count` values of k in it, else over `0..count`.
///
/// A's element (i, k) is at `a + i * 32 + k % 32 + (k / 32) * (32 + jump)` floats for rows, at `a + k * 32 + i`
/// for columns. All of these and the rows of 32 floats at `b`, 64-byte aligned, must be readable for those k.
pub(super) type Kernel = unsafe fn(
    count: usize,
    list: *const u32,
    a: *const f32,
    jump: usize,
    b: *const f32,
    ahead: Prefetch,
    tile: *mut Tile,
);

/// `[list?][columns?][vectors - 1][rows - 1]`.
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

/// Walks k for a kernel: `$step` with `$a` and `$b` at each k's elements of A and row of B.
macro_rules! walk_k {
    ($count:ident, $list:ident, $a:ident, $jump:ident, $b:ident, $ahead:ident, $COLUMNS:ident, $LIST:ident, $step:expr) => {
        if $LIST {
            let (start_a, start_b) = ($a, $b);
            for n in 0..$count {
                if $COLUMNS {
                    $ahead.ask_buffers(n);
                }
                // SAFETY: the caller promises `count` entries, and A and B at each of them.
                let k = unsafe { *$list.add(n) } as usize;
                let at = if $COLUMNS { k * WIDTH } else { k / WIDTH * ($jump + WIDTH) + k % WIDTH };
                ($a, $b) = (start_a.wrapping_add(at), start_b.wrapping_add(k * WIDTH));
                $step
            }
        } else {
            let mut left = $count;
            while left > 0 {
                let run = if $COLUMNS { left } else { left.min(WIDTH) };
                let next = $a.wrapping_add(WIDTH + $jump);
                for n in 0..run {
                    if $COLUMNS {
                        $ahead.ask_buffers(n);
                    } else {
                        $ahead.ask_panel(next, n);
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

/// A row `a` of floats times two panels of B: `to[p][j] = sum over k, ascending, of a[k] * b[p][k][j]`. One example has
/// no other rows whose multiply-adds could run while one waits for the last. Lists and promises are those of [`Kernel`].
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

    /// Computes a matrix of one row times two panels of B, which have equally many rows.
    #[allow(unsafe_code)]
    #[inline]
    pub fn pair_product(
        self,
        left: &[Row],
        right: [&[Row]; 2],
        kept: Option<NonzeroIndices<'_>>,
        to: &mut [Row; 2],
    ) {
        let k = right[0].len();
        assert!(right[1].len() == k && k <= left.len() * WIDTH);
        let list = kept.map_or(&[][..], |kept| kept.0);
        assert!(list.last().is_none_or(|&last| (last as usize) < k));
        let (count, kept) = (kept.map_or(k, |kept| kept.0.len()), usize::from(kept.is_some()));
        let kernel: PairKernel = match self.0 {
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => super::avx512::PAIRS[kept],
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => super::avx2::PAIRS[kept],
            Set::Portable => super::portable::PAIRS[kept],
        };
        let b = right.map(|b| b.as_ptr().cast());
        // SAFETY: as in `product`; a matrix of one row is that row, float after float.
        unsafe { kernel(count, list.as_ptr(), left.as_ptr().cast(), b, to) };
    }

    /// Computes a tile.
    #[allow(unsafe_code)]
    #[inline]
    pub fn product(self, product: Product<'_>, tile: &mut Tile) {
        let Product { left, right, kept, rows, vectors, ahead } = product;
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
        let list = kept.map_or(&[][..], |kept| kept.0);
        assert!(list.last().is_none_or(|&last| (last as usize) < k));
        let count = kept.map_or(k, |kept| kept.0.len());
        let (kept, columns) = (usize::from(kept.is_some()), usize::from(columns));
        let (vectors, rows) = (vectors - 1, rows - 1);
        let kernel: Kernel = match self.0 {
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => super::avx512::KERNELS[kept][columns][vectors][rows],
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => super::avx2::KERNELS[kept][columns][vectors][rows],
            Set::Portable => super::portable::KERNELS[kept][columns][vectors][rows],
        };
        // SAFETY: the CPU has the set (see `Isa`); the asserts above bound every read of A for k below
        // `right.len()`, which an ascending list's last entry is; B is the slice.
        unsafe { kernel(count, list.as_ptr(), a, jump, b, ahead, tile) };
    }
}
