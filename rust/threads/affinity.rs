//! Keeping two workers off one core.
//!
//! Linux may wake a thread on the core of the thread that woke it although another one is idle (on machines with
//! few cores it does so most of the time), and the two then share that core for milliseconds: longer than a short
//! question takes. A worker that finds itself in that place moves.
#![allow(unsafe_code)]

/// The core that the calling thread runs on, if the system tells.
#[cfg(target_os = "linux")]
pub fn current() -> Option<usize> {
    // SAFETY: no arguments; a negative answer is an error.
    usize::try_from(unsafe { libc::sched_getcpu() }).ok()
}

/// Moves the calling thread off core `taken`, if it is there and may run elsewhere.
#[cfg(target_os = "linux")]
pub fn leave(taken: Option<usize>) {
    let Some(core) = taken.filter(|_| taken == current()) else { return };
    // SAFETY: a zeroed cpu_set_t is the empty set; the calls read and write a set of the size given, for the
    // calling thread (0). `core` came from the system, and CPU_CLR ignores what is out of range.
    unsafe {
        let mut allowed: libc::cpu_set_t = std::mem::zeroed();
        let size = size_of::<libc::cpu_set_t>();
        if libc::sched_getaffinity(0, size, &mut allowed) == 0 && libc::CPU_COUNT(&allowed) > 1 {
            let mut others = allowed;
            libc::CPU_CLR(core, &mut others);
            libc::sched_setaffinity(0, size, &others); // moves it at once
            libc::sched_setaffinity(0, size, &allowed);
        }
    }
}

/// Elsewhere the system's choice stands.
#[cfg(not(target_os = "linux"))]
pub fn current() -> Option<usize> {
    None
}

/// Elsewhere the system's choice stands.
#[cfg(not(target_os = "linux"))]
pub fn leave(_: Option<usize>) {}
