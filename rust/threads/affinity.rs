//! Keeps the workers of a team on the caller's cores, and each off the caller's own core.
//!
//! Linux may wake a thread on the core of the thread that woke it although another core is idle (on machines with few
//! cores it usually does). The two threads then share that core for milliseconds: longer than a short inference call
//! takes. A worker that finds itself on the caller's core moves.
#![allow(unsafe_code)]

/// Where the calling thread runs and may run.
pub struct Place {
    core: Option<usize>,
    allowed: Option<libc::cpu_set_t>,
}

impl Place {
    /// The place of the calling thread.
    pub fn current() -> Place {
        Place { core: core(), allowed: allowed() }
    }

    /// Moves the calling thread to the cores that this place allows, but off its core if there are others.
    pub fn join(&self) {
        let (Some(wanted), Some(own)) = (&self.allowed, allowed()) else { return };
        // SAFETY: both sets are initialised.
        if !unsafe { libc::CPU_EQUAL(wanted, &own) } {
            allow(wanted);
        }
        let Some(core) = self.core.filter(|_| self.core == core()) else { return };
        let mut others = *wanted;
        // SAFETY: the set is initialised; CPU_CLR ignores what is out of range.
        let count = unsafe {
            libc::CPU_CLR(core, &mut others);
            libc::CPU_COUNT(&others)
        };
        if count > 0 {
            allow(&others); // moves the thread at once
            allow(wanted);
        }
    }
}

/// The core that the calling thread runs on, if the system reports it.
fn core() -> Option<usize> {
    // SAFETY: no arguments; a negative answer is an error.
    usize::try_from(unsafe { libc::sched_getcpu() }).ok()
}

/// The cores that the calling thread may use, if the system reports them.
fn allowed() -> Option<libc::cpu_set_t> {
    // SAFETY: a zeroed cpu_set_t is the empty set; the call writes a set of the size given, for the calling thread (0).
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        (libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set) == 0).then_some(set)
    }
}

/// Allows the calling thread these cores; without effect if the system refuses.
fn allow(cores: &libc::cpu_set_t) {
    // SAFETY: the call reads a set of the size given, for the calling thread (0).
    unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), cores) };
}
