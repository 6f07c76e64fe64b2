//! Keeps the workers of a team on the caller's cores, and each off the caller's own core.
//!
//! Linux may wake a thread on the core of the thread that woke it although another core is idle (on machines with few
//! cores it usually does). The two threads then share that core for milliseconds: longer than a short inference call
//! takes. A worker that finds itself on the caller's core moves.
#![allow(unsafe_code)]

use std::cell::Cell;

/// The cores that a thread may use, if the system reports them.
pub type Allowed = Option<libc::cpu_set_t>;

/// Where a thread runs and may run.
pub struct Place {
    core: Option<usize>,
    allowed: Allowed,
}

impl Place {
    /// The place of the calling thread, which may use the cores `allowed`.
    pub fn current(allowed: Allowed) -> Place {
        Place { core: core(), allowed }
    }

    /// Moves the calling thread, a helper, to the cores that this place allows, but off its core if there are others.
    pub fn join(&self) {
        thread_local! {
            /// The cores of this helper: asking the system takes as long as a short phase.
            static OWN: Cell<Allowed> = const { Cell::new(None) };
        }
        let Some(wanted) = &self.allowed else { return };
        // SAFETY: both sets are initialised.
        if !OWN.get().is_some_and(|own| unsafe { libc::CPU_EQUAL(wanted, &own) }) {
            allow(wanted);
            OWN.set(Some(*wanted));
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

/// The cores that the calling thread may use.
pub fn allowed() -> Allowed {
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
