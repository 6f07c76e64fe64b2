//! The helpers of all teams: the threads of one rayon pool, which has no more of them than the largest team needs.
#![allow(unsafe_code)]

use super::process::process_id;
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A rayon pool, and how many of its threads have work.
struct Pool {
    threads: ThreadPool,
    size: usize,
    busy: Mutex<usize>,
}

impl Pool {
    /// None if the system allows no further threads.
    fn new(size: usize) -> Option<Arc<Pool>> {
        let builder = ThreadPoolBuilder::new().num_threads(size);
        let threads = builder.thread_name(|i| format!("fastvae-{}", i + 1)).build().ok()?;
        Some(Arc::new(Pool { threads, size, busy: Mutex::new(0) }))
    }

    fn busy(&self) -> MutexGuard<'_, usize> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pool of a process, and how many teams it has at present.
struct Process {
    id: u32,
    pool: Mutex<Option<Arc<Pool>>>,
    teams: AtomicUsize,
}

/// The pool of this process, or of the process that has forked it. It is never freed: another thread may be using it.
static PROCESS: AtomicPtr<Process> = AtomicPtr::new(ptr::null_mut());

/// A forked child makes its own: it has none of its parent's threads, and a lock that another thread held during the fork
/// stays locked.
fn this_process() -> &'static Process {
    let id = process_id();
    loop {
        let current = PROCESS.load(Ordering::Acquire);
        // SAFETY: null, or a box that was published below and is never freed.
        if let Some(process) = unsafe { current.as_ref() }
            && process.id == id
        {
            return process;
        }
        let new = Box::into_raw(Box::new(Process {
            id,
            pool: Mutex::default(),
            teams: AtomicUsize::new(0),
        }));
        if PROCESS.compare_exchange(current, new, Ordering::AcqRel, Ordering::Acquire).is_err() {
            // SAFETY: the box was not published, so this is the only pointer to it.
            drop(unsafe { Box::from_raw(new) });
        }
    }
}

/// The most workers of one of `teams` teams that divide `workers` of them, at least its caller.
fn share(workers: usize, teams: usize) -> usize {
    (workers / teams.max(1)).max(1)
}

/// Threads of the pool that a team has for itself; they return to it at the end.
pub struct Helpers {
    process: &'static Process,
    pool: Option<Arc<Pool>>,
    taken: usize,
}

impl Helpers {
    /// Takes up to `wanted` threads that have no other work. Teams of several callers (threads of joblib or of Dask) divide
    /// the `most` + 1 workers of the process: a caller beside others takes only its share. A larger pool, of at most `most`
    /// threads, replaces one that has too few; the old one ends with its last team.
    pub fn take(wanted: usize, most: usize) -> Helpers {
        let process = this_process();
        let teams = process.teams.fetch_add(1, Ordering::Relaxed) + 1;
        let wanted = wanted.min(share(most + 1, teams) - 1);
        if wanted == 0 {
            return Helpers { process, pool: None, taken: 0 };
        }
        let mut current = process.pool.lock().unwrap_or_else(PoisonError::into_inner);
        let (size, busy) = current.as_ref().map_or((0, 0), |pool| (pool.size, *pool.busy()));
        let needed = most.min(busy + wanted);
        if size < needed
            && let Some(larger) = Pool::new(needed)
        {
            *current = Some(larger);
        }
        let Some(pool) = current.as_ref() else { return Helpers { process, pool: None, taken: 0 } };
        let mut busy = pool.busy();
        let taken = wanted.min(pool.size - *busy);
        *busy += taken;
        drop(busy);
        Helpers { process, pool: Some(Arc::clone(pool)), taken }
    }

    pub fn len(&self) -> usize {
        self.taken
    }

    /// Calls `work(0)` here and `work(1)`, `work(2)`, ... on the helpers, each on its own. A panic is passed on at the end.
    pub fn run(&self, work: &(dyn Fn(usize) + Sync)) {
        let Some(pool) = &self.pool else { return work(0) };
        pool.threads.in_place_scope(|scope| {
            (1..=self.taken).for_each(|index| scope.spawn(move |_| work(index)));
            work(0);
        });
    }
}

impl Drop for Helpers {
    fn drop(&mut self) {
        self.process.teams.fetch_sub(1, Ordering::Relaxed);
        if let Some(pool) = &self.pool {
            *pool.busy() -= self.taken;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_team_beside_another_takes_its_share_only() {
        let _first = Helpers::take(1, 3);
        assert!(Helpers::take(3, 3).len() <= 1); // of four workers, at most two for each of two teams
    }

    #[test]
    fn teams_divide_the_workers() {
        for (workers, teams, wanted) in
            [(8, 1, 8), (8, 2, 4), (8, 3, 2), (8, 8, 1), (8, 20, 1), (1, 1, 1), (2, 0, 2)]
        {
            assert_eq!(share(workers, teams), wanted, "{workers} workers, {teams} teams");
        }
    }
}
