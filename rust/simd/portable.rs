//! The portable set, for every CPU: plain Rust, which the compiler vectorises for the target's baseline (such as NEON).
//! On x86-64 the elementwise operations are in `super::sse2`.
#![allow(unsafe_code)]

#[cfg(not(target_arch = "x86_64"))]
use super::plain::Plain as Portable;
use super::product::{Kernel, PairKernel, Prefetch, kernel_table, walk_k};
use super::segments::{Segment, SegmentKernel, segment_table, walk_segments};
#[cfg(target_arch = "x86_64")]
use super::sse2::Sse2 as Portable;
use super::{Arithmetic, LANES, Lanes, Op, Row, Tile, WIDTH};
use crate::simd::math::Formula;

/// Runs `op` by a call, so that its code exists once and is not inlined into every caller.
#[inline(never)]
pub(super) fn run<O: Op>(op: O) -> O::Output {
    op.run(Portable)
}

/// Evaluates a formula by a call.
#[inline(never)]
pub(super) fn call<S: Arithmetic, const I: usize, const O: usize, F: Formula<I, O>>(
    s: S,
    x: [S::F; I],
) -> [S::F; O] {
    F::eval(s, x)
}

/// `a * b + c`, fused where the target's baseline has the instruction; elsewhere `f32::mul_add` would call the C library.
#[inline(always)]
pub(super) fn fma(a: f32, b: f32, c: f32) -> f32 {
    if cfg!(any(target_arch = "aarch64", target_feature = "fma")) {
        a.mul_add(b, c)
    } else {
        a * b + c
    }
}

/// Rows of C in a tile: the accumulators of [`BLOCK_COLUMNS`] columns fit 16 registers of 128 bits.
pub(super) const TILE_ROWS: usize = 4;
const BLOCK_COLUMNS: usize = 8;

pub(super) static KERNELS: [[[[Kernel; TILE_ROWS]; 2]; 2]; 2] = kernel_table!(kernel, 1, 2, 3, 4);

/// See [`Kernel`]: eight columns at a time.
///
/// # Safety
/// The contract of [`Kernel`].
unsafe fn kernel<const ROWS: usize, const VECTORS: usize, const COLUMNS: bool, const LIST: bool>(
    count: usize,
    list: *const u32,
    a: *const f32,
    jump: usize,
    b: *const f32,
    prefetch: Prefetch,
    tile: *mut Tile,
) {
    // SAFETY: the caller's tile is valid for writes.
    let tile: &mut [Row; super::MAX_TILE_ROWS] = unsafe { &mut *tile };
    let between_rows = if COLUMNS { 1 } else { WIDTH };
    for column in (0..VECTORS * LANES).step_by(BLOCK_COLUMNS) {
        let mut acc = [[0.0f32; BLOCK_COLUMNS]; ROWS];
        let (mut a, mut b) = (a, b.wrapping_add(column));
        let prefetch = if column == 0 { prefetch } else { Prefetch::NOTHING };
        walk_k!(WIDTH, count, list, a, jump, b, prefetch, COLUMNS, LIST, {
            // SAFETY: the caller promises a row of B and the elements of A at every k.
            unsafe {
                let bv: [f32; BLOCK_COLUMNS] = *b.cast();
                for i in 0..ROWS {
                    let x = *a.add(i * between_rows);
                    for j in 0..BLOCK_COLUMNS {
                        acc[i][j] = fma(x, bv[j], acc[i][j]);
                    }
                }
            }
        });
        let (vector, lane) = (column / LANES, column % LANES);
        for i in 0..ROWS {
            tile[i][vector].0[lane..lane + BLOCK_COLUMNS].copy_from_slice(&acc[i]);
        }
    }
}

pub(super) static SEGMENTS: [[[SegmentKernel; TILE_ROWS]; 2]; 2] =
    segment_table!(segments, 1, 2, 3, 4);

/// See [`SegmentKernel`]: eight columns at a time.
///
/// # Safety
/// The contract of [`SegmentKernel`].
unsafe fn segments<const ROWS: usize, const VECTORS: usize, const COLUMNS: bool>(
    segments: &[Segment],
    count: usize,
    a: *const f32,
    b: *const f32,
    strides: [usize; 2],
    fresh: bool,
    tile: *mut Tile,
) {
    // SAFETY: the caller's tile is valid for reads and writes.
    let tile: &mut [Row; super::MAX_TILE_ROWS] = unsafe { &mut *tile };
    let between_rows = if COLUMNS { 1 } else { WIDTH };
    for column in (0..VECTORS * LANES).step_by(BLOCK_COLUMNS) {
        let (vector, lane) = (column / LANES, column % LANES);
        let mut acc = [[0.0f32; BLOCK_COLUMNS]; ROWS];
        for i in (0..ROWS).filter(|_| !fresh) {
            acc[i].copy_from_slice(&tile[i][vector].0[lane..lane + BLOCK_COLUMNS]);
        }
        let b = b.wrapping_add(column);
        walk_segments!(segments, count, a, b, strides, ROWS, COLUMNS, x, y, {
            // SAFETY: the caller promises a row of B and the elements of A at every k.
            unsafe {
                let bv: [f32; BLOCK_COLUMNS] = *y.cast();
                for i in 0..ROWS {
                    let x = *x.add(i * between_rows);
                    for j in 0..BLOCK_COLUMNS {
                        acc[i][j] = fma(x, bv[j], acc[i][j]);
                    }
                }
            }
        });
        for i in 0..ROWS {
            tile[i][vector].0[lane..lane + BLOCK_COLUMNS].copy_from_slice(&acc[i]);
        }
    }
}

pub(super) static PAIRS: [PairKernel; 2] = [pair::<false>, pair::<true>];

/// See [`PairKernel`].
///
/// # Safety
/// The contract of [`PairKernel`].
unsafe fn pair<const LIST: bool>(
    count: usize,
    list: *const u32,
    a: *const f32,
    b: [*const f32; 2],
    to: &mut [Row; 2],
) {
    for (b, row) in b.into_iter().zip(to) {
        let mut tile = [[Lanes([0.0; LANES]); 2]; super::MAX_TILE_ROWS];
        // SAFETY: the caller's promise, for one row and one of the panels.
        unsafe { kernel::<1, 2, false, LIST>(count, list, a, 0, b, Prefetch::NOTHING, &mut tile) };
        *row = tile[0];
    }
}
