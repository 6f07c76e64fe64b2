//! The machine's limit: multiply-adds that wait for nothing.

use crate::isa::{Isa, Op, Simd};
use crate::team;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
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

/// The rate of multiply-adds that `threads` threads reach together, in GFLOP/s: what the figures of the benches
/// are a fraction of. Takes a few milliseconds.
pub fn peak(isa: Isa, threads: usize) -> f64 {
    // As many chains as the registers of the set hold, and no fewer than hide the latency.
    const STEPS: usize = 200_000;
    let slowest = AtomicU64::new(0);
    let (chains, lanes) = if isa.name() == "avx512" { (24, 16) } else { (6, 16) };
    team::run(threads, |worker| {
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
