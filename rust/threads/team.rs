//! The threads: a private pool, one broadcast for a run of steps, and a barrier between phases.
//!
//! A team of n workers is the calling thread and n - 1 threads of a rayon pool that belongs to this crate
//! and this process (after a fork the child makes its own). Every worker walks the same list of phases.

use crate::threads::affinity;
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::num::NonZero;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

/// How often a worker that waits at a barrier looks before it begins to offer its core to others: a few
/// microseconds. Where nobody else wants the core, a yield returns at once; where the kernel has put two workers
/// on one core, it is what lets the other one get on.
const SPINS: usize = 512;
/// How long it goes on looking and yielding before it sleeps: longer than the slice of time for which another process
/// takes a worker's core, since a thread that slept is often woken on the very core that is taken.
const PATIENCE: Duration = Duration::from_millis(10);
/// More threads than this are refused: a typing error, not a machine.
pub const MAX_THREADS: usize = 1024;

/// The threads to use when the caller does not say: `FASTVAE_NUM_THREADS`, `OMP_NUM_THREADS`, or the cores
/// that this process may use (affinity and control group).
pub fn default_threads() -> usize {
    ["FASTVAE_NUM_THREADS", "OMP_NUM_THREADS"]
        .iter()
        .filter_map(|name| std::env::var(name).ok()?.split(',').next()?.trim().parse().ok())
        .find(|n| (1..=MAX_THREADS).contains(n))
        .unwrap_or_else(|| thread::available_parallelism().map_or(1, NonZero::get).min(MAX_THREADS))
}

/// Runs `work` on `threads` workers, the caller among them, and waits for all. If another thread of this
/// process is using the team just now, the caller does the work alone: no result depends on how many share
/// it. A panic in a worker is passed on after the others have stopped.
pub fn run(threads: usize, work: impl Fn(&Worker) + Sync) {
    run_dyn(threads, &work);
}

/// [`run`], compiled once.
fn run_dyn(threads: usize, work: &(dyn Fn(&Worker) + Sync)) {
    if threads > 1
        && let Some(team) = Team::get(threads)
        && let Some(_busy) = team.try_lock()
    {
        team.run(work);
    } else {
        alone(work);
    }
}

/// Runs `work` on the calling thread as a team of one, which is also how a worker of a larger team does something by
/// itself.
pub fn alone(work: impl FnOnce(&Worker)) {
    work(&Worker { index: 0, meeting: &Meeting::new(1) });
}

/// Part `index` of `parts` of `0..len`, as even as possible.
pub fn split(len: usize, parts: usize, index: usize) -> Range<usize> {
    len * index / parts..len * (index + 1) / parts
}

struct Team {
    process: u32,
    pool: ThreadPool,
    meeting: Meeting,
    busy: Mutex<()>,
    next: *mut Team,
}

/// The teams of this process and its ancestors: a list that only grows, without a lock, because a lock that
/// another thread holds during a fork stays locked in the child for ever.
static TEAMS: AtomicPtr<Team> = AtomicPtr::new(std::ptr::null_mut());

impl Team {
    #[allow(unsafe_code)]
    fn get(threads: usize) -> Option<&'static Team> {
        let process = std::process::id();
        let first = TEAMS.load(Ordering::Acquire);
        let mut team = first;
        // SAFETY: entries are leaked boxes, written before they are published and never changed after.
        while let Some(t) = unsafe { team.as_ref() } {
            if t.process == process && t.meeting.workers == threads {
                return Some(t);
            }
            team = t.next;
        }
        let pool = ThreadPoolBuilder::new()
            .num_threads(threads - 1)
            .thread_name(|i| format!("fastvae-{}", i + 1))
            .build()
            .ok()?;
        let (meeting, busy) = (Meeting::new(threads), Mutex::new(()));
        let new = Box::leak(Box::new(Team { process, pool, meeting, busy, next: first }));
        // Two threads may get here at once; the second one's pool is dropped, and it looks again.
        match TEAMS.compare_exchange(first, new, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Some(new),
            Err(_) => {
                // SAFETY: it was not published, so this is the only pointer to the leaked box.
                drop(unsafe { Box::from_raw(new) });
                Team::get(threads)
            }
        }
    }

    fn try_lock(&self) -> Option<MutexGuard<'_, ()>> {
        match self.busy.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(guard)) => Some(guard.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    fn run(&self, work: &(dyn Fn(&Worker) + Sync)) {
        let meeting = &self.meeting;
        meeting.reset();
        let caller = affinity::current();
        let work = |index| {
            if index > 0 {
                affinity::leave(caller);
            }
            let worker = Worker { index, meeting };
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| work(&worker))) {
                meeting.give_up();
                resume_unwind(panic);
            }
        };
        self.pool.in_place_scope(|scope| {
            scope.spawn_broadcast(|_, context| work(context.index() + 1));
            work(0);
        });
    }
}

/// One thread's place in a running team.
pub struct Worker<'a> {
    index: usize,
    meeting: &'a Meeting,
}

impl Worker<'_> {
    /// Which of the workers this is.
    pub fn index(&self) -> usize {
        self.index
    }

    /// The number of workers.
    pub fn workers(&self) -> usize {
        self.meeting.workers
    }

    /// Does the tiles `0..tiles` of a phase together with the other workers: first the run of tiles that is
    /// this worker's own, then what others have left. Returns when all tiles are done.
    pub fn phase(&self, tiles: usize, mut tile: impl FnMut(usize)) {
        self.share(tiles, &mut tile, &mut || ());
    }

    /// The same; then the last worker to finish runs `last`, before any of them goes on.
    pub fn phase_then(&self, tiles: usize, mut tile: impl FnMut(usize), last: impl FnOnce()) {
        let mut last = Some(last);
        self.share(tiles, &mut tile, &mut || last.take().into_iter().for_each(|last| last()));
    }

    /// [`Worker::phase_then`], compiled once: a call costs nothing beside a tile.
    fn share(&self, tiles: usize, tile: &mut dyn FnMut(usize), last: &mut dyn FnMut()) {
        let workers = self.workers();
        if workers == 1 {
            (0..tiles).for_each(tile);
            return last();
        }
        for offset in 0..workers {
            let owner = (self.index + offset) % workers;
            let own = split(tiles, workers, owner);
            loop {
                let next = own.start + self.meeting.claims[owner].0.fetch_add(1, Ordering::Relaxed);
                if next >= own.end {
                    break;
                }
                tile(next);
            }
        }
        self.meeting.wait(last);
    }
}

/// A counter on its own pair of cache lines.
#[repr(align(128))]
struct Claims(AtomicUsize);

/// The barrier and the phase's tile counters.
struct Meeting {
    workers: usize,
    claims: Box<[Claims]>,
    arrived: AtomicUsize,
    round: AtomicUsize,
    sleepers: AtomicUsize,
    given_up: AtomicBool,
    lock: Mutex<()>,
    wake: Condvar,
}

impl Meeting {
    fn new(workers: usize) -> Meeting {
        Meeting {
            workers,
            claims: (0..workers).map(|_| Claims(AtomicUsize::new(0))).collect(),
            arrived: AtomicUsize::new(0),
            round: AtomicUsize::new(0),
            sleepers: AtomicUsize::new(0),
            given_up: AtomicBool::new(false),
            lock: Mutex::new(()),
            wake: Condvar::new(),
        }
    }

    /// Clears what a run that panicked may have left.
    fn reset(&self) {
        self.claims.iter().for_each(|c| c.0.store(0, Ordering::Relaxed));
        self.arrived.store(0, Ordering::Relaxed);
        self.given_up.store(false, Ordering::SeqCst);
    }

    /// Waits until all workers are here. Spins shortly, then yields, then sleeps: a spin without a bound
    /// would take the core from the very worker that is waited for.
    fn wait(&self, last: &mut dyn FnMut()) {
        let round = self.round.load(Ordering::Acquire);
        if self.arrived.fetch_add(1, Ordering::AcqRel) + 1 == self.workers {
            last();
            self.claims.iter().for_each(|c| c.0.store(0, Ordering::Relaxed));
            self.arrived.store(0, Ordering::Relaxed);
            self.round.store(round.wrapping_add(1), Ordering::SeqCst);
            self.wake_sleepers();
            return;
        }
        let here = || self.round.load(Ordering::SeqCst) != round;
        if !self.spin_until(&here) {
            self.sleepers.fetch_add(1, Ordering::SeqCst);
            let mut guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
            while !here() && !self.given_up.load(Ordering::SeqCst) {
                guard = self.wake.wait(guard).unwrap_or_else(PoisonError::into_inner);
            }
            self.sleepers.fetch_sub(1, Ordering::SeqCst);
        }
        if !here() {
            panic!("another worker of the team panicked");
        }
    }

    /// True when `here` came true, false when it is time to sleep.
    fn spin_until(&self, here: &impl Fn() -> bool) -> bool {
        for _ in 0..SPINS {
            if here() {
                return true;
            }
            std::hint::spin_loop();
        }
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            thread::yield_now();
            if here() {
                return true;
            }
        }
        false
    }

    fn wake_sleepers(&self) {
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            let _guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
            self.wake.notify_all();
        }
    }

    /// A worker panicked: nobody may wait for it.
    fn give_up(&self) {
        self.given_up.store(true, Ordering::SeqCst);
        self.wake_sleepers();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    #[test]
    fn every_tile_is_done_once_and_phases_do_not_overlap() {
        for threads in 1..=4 {
            let counts: Vec<AtomicU32> = (0..97).map(|_| AtomicU32::new(0)).collect();
            let ends = AtomicUsize::new(0);
            run(threads, |worker| {
                for round in 1..=200 {
                    worker.phase_then(
                        counts.len(),
                        |i| {
                            assert_eq!(counts[i].fetch_add(1, Ordering::Relaxed) + 1, round);
                        },
                        || {
                            ends.fetch_add(1, Ordering::Relaxed);
                        },
                    );
                }
            });
            assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 200));
            assert_eq!(ends.load(Ordering::Relaxed), 200);
        }
    }

    #[test]
    fn a_panic_in_a_worker_is_passed_on_and_the_team_lives_on() {
        let result = catch_unwind(|| {
            run(3, |worker| {
                worker.phase(30, |i| assert!(i != 17, "tile 17"));
                worker.phase(30, |_| ());
            });
        });
        assert!(result.is_err());
        let done = AtomicUsize::new(0);
        run(3, |worker| {
            worker.phase(30, |_| {
                done.fetch_add(1, Ordering::Relaxed);
            })
        });
        assert_eq!(done.load(Ordering::Relaxed), 30);
    }

    #[test]
    fn callers_that_find_the_team_busy_work_alone() {
        let done = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        run(2, |worker| {
                            worker.phase(10, |_| {
                                done.fetch_add(1, Ordering::Relaxed);
                            });
                        });
                    }
                });
            }
        });
        assert_eq!(done.load(Ordering::Relaxed), 4 * 50 * 10);
    }
}
