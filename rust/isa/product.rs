//! One tile of a matrix product, C = A·B, held in registers while k runs.
//!
//! All matrices lie in panels of 32 columns (`crate::matmul::Panels`); no operand is packed or transposed
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

/// `tile[i][j] = sum over k, ascending, of A(i, k) * b[k][j]` by fused multiply-add from +0.
///
/// A's element (i, k) is at `a + i * 32 + k % 32 + (k / 32) * (32 + jump)` floats for rows, at `a + k * 32 + i`
/// for columns. All of these and `k` rows of 32 floats at `b`, 64-byte aligned, must be readable.
pub(super) type Kernel =
    unsafe fn(k: usize, a: *const f32, jump: usize, b: *const f32, tile: *mut Tile);

/// `[columns?][vectors - 1][rows - 1]`.
macro_rules! kernel_table {
    ($kernel:ident, $($rows:literal),*) => {
        [
            [[$($kernel::<$rows, 1, false>),*], [$($kernel::<$rows, 2, false>),*]],
            [[$($kernel::<$rows, 1, true>),*], [$($kernel::<$rows, 2, true>),*]],
        ]
    };
}
pub(super) use kernel_table;

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

    /// Computes a tile of `rows` rows and `vectors` (1 or 2) times 16 columns: the left operand times the
    /// `right.len()` rows of B.
    #[allow(unsafe_code)]
    #[inline]
    pub fn product(
        self,
        left: Left<'_>,
        right: &[Row],
        rows: usize,
        vectors: usize,
        tile: &mut Tile,
    ) {
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
        let (columns, vectors, rows) = (usize::from(columns), vectors - 1, rows - 1);
        let kernel: Kernel = match self.0 {
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => super::avx512::KERNELS[columns][vectors][rows],
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => super::avx2::KERNELS[columns][vectors][rows],
            Set::Portable => super::portable::KERNELS[columns][vectors][rows],
        };
        // SAFETY: the CPU has the set (see `Isa`); the asserts above bound every read of A; B is the slice.
        unsafe { kernel(k, a, jump, b, tile) };
    }
}
