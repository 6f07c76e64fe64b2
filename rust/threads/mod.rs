//! Threads: a team that walks phases of tiles and meets at a barrier.

mod affinity;
mod team;

pub use team::*;
