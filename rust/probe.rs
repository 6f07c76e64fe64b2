//! Measurements that the benches compare their figures with: peak arithmetic rate, product speed, latency between
//! cores.

use crate::error::{Result, filled};
use crate::matrix::{
    Panels, ProductBlock, ProductTile, panels_of, product, transposed_word_product, vectors_of,
    word_product,
};
use crate::nn::activation::Activation;
use crate::nn::dense::BiasAndActivation;
use crate::simd::{Isa, Op, Prefetch, Simd, WIDTH, ZERO_ROW, word_rows, words_of};
use crate::threads;
use std::hint::{black_box, spin_loop};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::yield_now;
use std::time::Instant;

/// `N` independent chains of fused multiply-adds, each `steps` long.
struct Chains<const N: usize>(usize);

impl<const N: usize> Op for Chains<N> {
    type Output = f32;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        let (factor, term) = (s.splat(black_box(0.999_999)), s.splat(black_box(1e-7)));
        let mut chains = [s.splat(1.0); N];
        for _ in 0..self.0 {
            for chain in &mut chains {
                *chain = s.fma(*chain, factor, term);
            }
        }
        s.sum(chains.into_iter().fold(s.zero(), |a, b| s.add(a, b)))
    }
}

/// The peak rate of fused multiply-adds of `threads` threads together, in GFLOP/s. Takes a few milliseconds.
pub fn peak(isa: Isa, threads: usize) -> f64 {
    // Enough chains to hide the latency of an instruction, and few enough to stay in the set's registers.
    const STEPS: usize = 200_000;
    let slowest = AtomicU64::new(0);
    let (chains, lanes) = if isa.name() == "avx512" { (24, 16) } else { (6, 16) };
    threads::run(threads, |worker| {
        worker.phase(0, |_| ());
        let start = Instant::now();
        black_box(match chains {
            24 => isa.run(Chains::<24>(black_box(STEPS))),
            _ => isa.run(Chains::<6>(black_box(STEPS))),
        });
        slowest.fetch_max(start.elapsed().as_nanos() as u64, Ordering::Relaxed);
    });
    let flops = 2 * chains * lanes * STEPS * threads;
    flops as f64 / slowest.into_inner() as f64
}

/// The peak rate of products of bfloat16 of `threads` threads together, in GFLOP/s; 0 without an instruction.
pub fn word_peak(isa: Isa, threads: usize) -> f64 {
    const STEPS: usize = 200_000;
    if !isa.multiplies_words() {
        return 0.0;
    }
    let slowest = AtomicU64::new(0);
    threads::run(threads, |worker| {
        worker.phase(0, |_| ());
        let start = Instant::now();
        black_box(isa.word_chains(black_box(STEPS)));
        slowest.fetch_max(start.elapsed().as_nanos() as u64, Ordering::Relaxed);
    });
    // 24 chains of sixteen lanes of two products.
    let flops = 2 * 24 * 32 * STEPS * threads;
    flops as f64 / slowest.into_inner() as f64
}

/// [`product_seconds`] of words, without an epilogue.
pub fn word_product_seconds(isa: Isa, [rows, inputs, outputs]: [usize; 3]) -> Result<f64> {
    let k = words_of(inputs);
    let x = filled(ZERO_ROW, Some(word_rows(rows) * panels_of(inputs)))?;
    let weights = filled(ZERO_ROW, Some(k * panels_of(outputs)))?;
    let start = Instant::now();
    threads::alone(|worker| {
        let right = |panel: usize| &weights[panel * k..][..k];
        word_product(
            worker,
            isa,
            (&x, rows),
            |_| None,
            outputs,
            right,
            |tile| {
                black_box(tile.products);
            },
        );
    });
    Ok(start.elapsed().as_secs_f64())
}

/// Seconds that one thread takes for the weight gradient [inputs, outputs] of a layer from `rows` rows of words.
pub fn word_gradient_seconds(isa: Isa, [rows, inputs, outputs]: [usize; 3]) -> Result<f64> {
    let k = word_rows(rows);
    let matrix = |cols: usize| filled(ZERO_ROW, Some(k * panels_of(cols)));
    let (x, dy) = (matrix(inputs)?, matrix(outputs)?);
    let mut block: ProductBlock = [ZERO_ROW; _];
    let start = Instant::now();
    for (panel, dy) in dy.chunks(k).enumerate() {
        for (n, x) in x.chunks(k).enumerate() {
            let used = (inputs - n * WIDTH).min(WIDTH);
            let vectors = vectors_of(outputs, panel);
            let hints = |_, _| (None, Prefetch::NOTHING);
            transposed_word_product(isa, x, used, dy, vectors, hints, &mut block);
            black_box(&block);
        }
    }
    Ok(start.elapsed().as_secs_f64())
}

/// Seconds that one thread takes for the product [rows, inputs] x [inputs, outputs] of a layer; `shape` is
/// [rows, inputs, outputs]. With `fused`, bias and ReLU are applied in the epilogue and the values are stored.
pub fn product_seconds(isa: Isa, shape: [usize; 3], fused: bool) -> Result<f64> {
    let [rows, inputs, outputs] = shape;
    let matrix = |rows: usize, cols: usize| filled(ZERO_ROW, Some(rows * panels_of(cols)));
    let (x, weights, mut y) =
        (matrix(rows, inputs)?, matrix(inputs, outputs)?, matrix(rows, outputs)?);
    let x = Panels::new(&x, rows, inputs);
    let start = Instant::now();
    threads::alone(|worker| {
        let right = |panel: usize| &weights[panel * inputs..][..inputs];
        product(
            worker,
            isa,
            x,
            |_| None,
            outputs,
            right,
            |tile| {
                let ProductTile { panel, rows: part, vectors, products } = tile;
                if fused {
                    let first = panel * rows + part.start;
                    let out = &mut y[first..first + part.len()];
                    let (bias, activation) = (&ZERO_ROW, Activation::Relu);
                    isa.run(BiasAndActivation {
                        products,
                        vectors,
                        bias,
                        activation,
                        out,
                        slope: &mut [],
                    });
                } else {
                    black_box(products);
                }
            },
        );
    });
    Ok(start.elapsed().as_secs_f64())
}

/// Seconds for a round trip of a cache line between two cores: tens of nanoseconds where they share a cache, hundreds
/// where they do not; a second thread then gains less.
pub fn round_trip_seconds() -> f64 {
    const TRIPS: usize = 10_000;
    let (turn, nanoseconds) = (AtomicUsize::new(0), AtomicU64::new(0));
    threads::run(2, |worker| {
        if worker.workers() < 2 {
            return;
        }
        let start = Instant::now();
        for trip in 0..TRIPS {
            let mut spins = 0;
            while turn.load(Ordering::Acquire) != 2 * trip + worker.index() {
                spins += 1;
                if spins < 1000 { spin_loop() } else { yield_now() }
            }
            turn.store(2 * trip + worker.index() + 1, Ordering::Release);
        }
        nanoseconds.fetch_max(start.elapsed().as_nanos() as u64, Ordering::Relaxed);
    });
    nanoseconds.into_inner() as f64 * 1e-9 / TRIPS as f64
}
