//! Threads: a team of workers that runs phases of tiles, with a barrier after each phase.

#[cfg(all(target_os = "linux", not(miri)))]
mod affinity;
#[cfg(not(all(target_os = "linux", not(miri))))]
#[path = "no_affinity.rs"]
mod affinity;
mod cores;
mod interrupt;
mod pool;
mod process;
mod team;

pub use cores::{MAX_THREADS, capped, default_threads, unreadable_default};
pub use interrupt::*;
pub use process::process_id;
pub use team::*;
