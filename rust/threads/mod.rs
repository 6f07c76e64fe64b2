//! Threads: a team of workers that runs phases of tiles, with a barrier after each phase.

mod affinity;
mod interrupt;
mod team;

pub use interrupt::*;
pub use team::*;
