//! How many threads may work at once.

use super::affinity::{Allowed, allowed};
use std::cell::Cell;
use std::num::NonZero;
use std::thread;
use std::time::{Duration, Instant};

/// The most threads that can be asked for; a larger number is a typing error.
pub const MAX_THREADS: usize = 1024;
/// The environment variable with the default number of threads, before `OMP_NUM_THREADS`.
const VARIABLE: &str = "FASTVAE_NUM_THREADS";
/// For tests on machines with few cores: teams larger than the usable cores.
const OVERSUBSCRIBE: &str = "FASTVAE_OVERSUBSCRIBE";
/// How long the answers of the system are believed: asking for the control group's quota reads files.
const VALID: Duration = Duration::from_millis(100);

/// The limits on the threads of a team.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// Cores that the calling thread may use: its affinity, and the quota of the control group.
    pub cores: usize,
    /// The most workers of a team.
    pub workers: usize,
    /// The cores of the calling thread's affinity.
    pub allowed: Allowed,
}

impl Limits {
    /// The limits for teams of the calling thread, at most [`VALID`] old.
    pub fn now() -> Limits {
        thread_local! {
            static LAST: Cell<Option<(Instant, Limits)>> = const { Cell::new(None) };
        }
        LAST.with(|last| match last.get() {
            Some((time, limits)) if time.elapsed() < VALID => limits,
            _ => {
                let limits = Limits::ask();
                last.set(Some((Instant::now(), limits)));
                limits
            }
        })
    }

    fn ask() -> Limits {
        let cores = thread::available_parallelism().map_or(1, NonZero::get).min(MAX_THREADS);
        let exceeds = cfg!(test) || std::env::var(OVERSUBSCRIBE).is_ok_and(|value| value == "1");
        Limits { cores, workers: if exceeds { MAX_THREADS } else { cores }, allowed: allowed() }
    }
}

/// The size of a team for which `threads` are requested: no more than the cores that the calling thread may use, since
/// more are slower and change no result.
pub fn capped(threads: usize) -> usize {
    if threads <= 1 { threads } else { threads.min(Limits::now().workers) }
}

/// The first number of a variable's list.
fn first_number(value: &str) -> Option<usize> {
    value.split(',').next()?.trim().parse().ok().filter(|n| (1..=MAX_THREADS).contains(n))
}

/// The default number of threads: [`VARIABLE`], else `OMP_NUM_THREADS`, but no more than the usable cores.
pub fn default_threads() -> usize {
    [VARIABLE, "OMP_NUM_THREADS"]
        .iter()
        .find_map(|name| first_number(&std::env::var(name).ok()?))
        .map_or_else(|| Limits::now().cores, capped)
}

/// The value of [`VARIABLE`], if it is set and holds no number of threads.
pub fn unreadable_default() -> Option<String> {
    let value = std::env::var_os(VARIABLE)?.to_string_lossy().into_owned();
    (!value.is_empty() && first_number(&value).is_none()).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_number_of_a_list_counts() {
        let cases = [("4", Some(4)), (" 4 ,2", Some(4)), ("1024", Some(1024)), ("1025", None)];
        for (value, expected) in cases {
            assert_eq!(first_number(value), expected, "{value}");
        }
        for value in ["", "0", "-1", "abc", "2.5", ",4", "4x"] {
            assert_eq!(first_number(value), None, "{value}");
        }
    }

    #[test]
    fn one_thread_needs_no_limit() {
        assert_eq!((capped(0), capped(1)), (0, 1));
        assert_eq!(capped(usize::MAX), MAX_THREADS); // the limit of tests
    }
}
