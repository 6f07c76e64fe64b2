//! Threads: a team of workers that runs phases of tiles, with a barrier after each phase.

mod affinity;
mod team;

pub use team::*;
