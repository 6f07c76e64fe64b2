//! Which process this is: a child that was forked has none of its parent's threads.

use std::sync::atomic::{AtomicU32, Ordering};

/// The number of this process; 0 while it is unknown. Asking the system takes as long as the inference of a small row.
static ID: AtomicU32 = AtomicU32::new(0);

/// The number of this process.
pub fn process_id() -> u32 {
    match ID.load(Ordering::Relaxed) {
        0 => ask(),
        id => id,
    }
}

#[cold]
fn ask() -> u32 {
    let id = std::process::id();
    if forgotten_in_children() {
        ID.store(id, Ordering::Relaxed);
    }
    id
}

/// Arranges that a forked child asks anew; false if that cannot be done.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn forgotten_in_children() -> bool {
    use std::sync::OnceLock;

    extern "C" fn forget() {
        ID.store(0, Ordering::Relaxed);
    }
    static REGISTERED: OnceLock<bool> = OnceLock::new();
    // SAFETY: the handler only stores to an atomic.
    *REGISTERED.get_or_init(|| unsafe { libc::pthread_atfork(None, None, Some(forget)) } == 0)
}

#[cfg(not(target_os = "linux"))]
fn forgotten_in_children() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_that_of_the_system() {
        assert_eq!([process_id(), process_id()], [std::process::id(); 2]);
    }
}
