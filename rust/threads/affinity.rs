//! Keeps two workers of a team off the same core.
//!
//! Linux may wake a thread on the core of the thread that woke it although another core is idle (on machines with few
//! cores it usually does). The two threads then share that core for milliseconds: longer than a short inference call
//! takes. A worker that finds itself on the caller's core moves.
#![allow(unsafe_code)]

/// The core that the calling thread runs on, if the system reports it.
#[cfg(target_os = "linux")]
pub fn current() -> Option<usize> {
    // SAFETY: no arguments; a negative answer is an error.
    usize::try_from(unsafe { libc::sched_getcpu() }).ok()
}

/// Moves the calling thread off core `taken`, if it runs there and its affinity allows another core.
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
            libc::sched_setaffinity(0, size, &others); // moves the thread at once
            libc::sched_setaffinity(0, size, &allowed);
        }
    }
}

/// Unknown on other systems.
#[cfg(not(target_os = "linux"))]
pub fn current() -> Option<usize> {
    None
}

/// Does nothing on other systems.
#[cfg(not(target_os = "linux"))]
pub fn leave(_: Option<usize>) {}
