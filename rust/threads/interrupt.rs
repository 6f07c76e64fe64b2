//! Interruption of long work, for Ctrl-C.

use std::sync::OnceLock;

/// Tells whether the calling thread shall stop its work. The binding sets it.
static INTERRUPTED: OnceLock<fn() -> bool> = OnceLock::new();

/// Sets the function that tells whether the calling thread shall stop its work. Only the first call has an effect.
pub fn set_interrupt(interrupted: fn() -> bool) {
    INTERRUPTED.get_or_init(|| interrupted);
}

/// Whether the calling thread shall stop its work.
pub fn interrupted() -> bool {
    INTERRUPTED.get().is_some_and(|interrupted| interrupted())
}
