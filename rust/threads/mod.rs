//! Threads: a team of workers that runs phases of tiles, with a barrier after each phase.

mod affinity;
mod cores;
mod interrupt;
mod pool;
mod team;

pub use cores::{MAX_THREADS, capped, default_threads, unreadable_default};
pub use interrupt::*;
pub use team::*;
