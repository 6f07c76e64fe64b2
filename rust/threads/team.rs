//! A team of workers that run the same sequence of phases, with a barrier between two phases. One run does many steps.
//!
//! A team of n workers is the calling thread and n - 1 helpers of this process's pool.

use crate::threads::affinity::Place;
use crate::threads::cores::Limits;
use crate::threads::interrupted;
use crate::threads::pool::Helpers;
use std::cell::Cell;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Spins at a barrier before a waiting worker starts to yield its core: a few microseconds. A yield returns at once if
/// no other thread is ready; if the kernel has put two workers on one core, the yield lets the other one run.
const SPINS: usize = 512;
/// How long a waiting worker yields before it sleeps. Longer than the time slice of another process on a worker's core:
/// a thread that sleeps is often woken on the very core that is busy.
const YIELD_TIME: Duration = Duration::from_millis(10);
/// The time between two looks for an interruption.
const INTERRUPT_TIME: Duration = Duration::from_millis(50);
/// Looks at the clock that follow one another sooner are too frequent, and the most calls that look at nothing.
const CLOSE_LOOKS: Duration = Duration::from_micros(500);
const MOST_CALLS: u32 = 63;
/// The calls before the first look: a short inference call reads no clock.
const FIRST_CALLS: u32 = 12;

/// Runs `work` on up to `threads` workers, the caller among them, and waits for all. They are fewer if the calling thread
/// may use fewer cores or other callers use the helpers: results do not depend on the number of workers. A panic in a
/// worker is passed on after the others have stopped.
pub fn run(threads: usize, work: impl Fn(&Worker) + Sync) {
    run_dyn(threads, None, &work);
}

/// [`run`] for work that an interruption of the calling thread may cancel: then all phases skip their remaining tiles,
/// what the work has computed is of no use, and the result is false.
pub fn run_cancellable(threads: usize, work: impl Fn(&Worker) + Sync) -> bool {
    let cancelled = AtomicBool::new(false);
    run_dyn(threads, Some(&cancelled), &work);
    !cancelled.into_inner()
}

/// [`run`] without the generic parameter, so that it is compiled once.
fn run_dyn(threads: usize, cancelled: Option<&AtomicBool>, work: &(dyn Fn(&Worker) + Sync)) {
    if threads <= 1 {
        return work(&Worker::new(0, &Barrier::new(1), cancelled));
    }
    let limits = Limits::now();
    let helpers = Helpers::take(threads.min(limits.workers) - 1, limits.workers - 1);
    let workers = helpers.len() + 1;
    if workers == 1 {
        return work(&Worker::new(0, &Barrier::new(1), cancelled));
    }
    let barrier = Barrier { spins: workers <= limits.cores, ..Barrier::new(workers) };
    let place = Place::current(limits.allowed);
    let run = |index| {
        if index > 0 {
            place.join();
        }
        let worker = Worker::new(index, &barrier, cancelled);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| work(&worker))) {
            barrier.abort();
            resume_unwind(panic);
        }
    };
    helpers.run(&run);
}

/// Runs `work` on the calling thread as a team of one.
pub fn alone(work: impl FnOnce(&Worker)) {
    work(&Worker::new(0, &Barrier::new(1), None));
}

/// Part `index` of `0..len` cut into `parts` parts of nearly equal size.
pub fn split(len: usize, parts: usize, index: usize) -> Range<usize> {
    len * index / parts..len * (index + 1) / parts
}

/// One thread of a running team.
pub struct Worker<'a> {
    index: usize,
    barrier: &'a Barrier,
    /// Whether the work is cancelled; none if it must not be.
    cancelled: Option<&'a AtomicBool>,
    /// Whether this worker looks for interruptions, and when again; none before the first look at the clock.
    looks: Cell<bool>,
    next_look: Cell<Option<Instant>>,
    /// The last look at the clock, the calls of [`Worker::stops`] until the next one, and how many they were at first.
    last_look: Cell<Option<Instant>>,
    calls: Cell<u32>,
    pause: Cell<u32>,
}

impl<'a> Worker<'a> {
    fn new(index: usize, barrier: &'a Barrier, cancelled: Option<&'a AtomicBool>) -> Worker<'a> {
        Worker {
            index,
            barrier,
            cancelled,
            looks: Cell::new(index == 0 && cancelled.is_some()),
            next_look: Cell::new(None),
            last_look: Cell::new(None),
            calls: Cell::new(FIRST_CALLS),
            pause: Cell::new(0),
        }
    }

    /// Runs `work` on this thread as a team of one, which is cancelled with this worker's team.
    pub fn alone(&self, work: impl FnOnce(&Worker)) {
        let barrier = Barrier::new(1);
        let worker = Worker {
            index: 0,
            barrier: &barrier,
            cancelled: self.cancelled,
            looks: self.looks.clone(),
            next_look: self.next_look.clone(),
            last_look: self.last_look.clone(),
            calls: self.calls.clone(),
            pause: self.pause.clone(),
        };
        work(&worker);
        self.next_look.set(worker.next_look.get());
        self.last_look.set(worker.last_look.get());
        self.calls.set(worker.calls.get());
        self.pause.set(worker.pause.get());
    }

    /// Whether the work is cancelled. All workers get the same answer only from the `last` of [`Worker::phase_then`].
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.is_some_and(|cancelled| cancelled.load(Ordering::Relaxed))
    }

    /// Looks for no interruption until the end of `work`.
    pub fn uninterrupted(&self, work: impl FnOnce()) {
        let looks = self.looks.take();
        work();
        self.looks.set(looks);
    }

    /// Whether to skip the rest of the phase, because the work is cancelled. Looks for an interruption from time to time:
    /// phases ask before each tile, and long tiles in between.
    #[inline]
    pub fn stops(&self) -> bool {
        let Some(cancelled) = self.cancelled else { return false };
        if self.looks.get() {
            match self.calls.get() {
                0 => self.look(cancelled),
                calls => self.calls.set(calls - 1),
            }
        }
        cancelled.load(Ordering::Relaxed)
    }

    /// Looks at the clock and, if it is time, for an interruption. Reading the clock takes as long as a small tile, so the
    /// calls between two looks grow while these are close to one another.
    #[cold]
    fn look(&self, cancelled: &AtomicBool) {
        let now = Instant::now();
        let last = self.last_look.replace(Some(now));
        let close = last.is_some_and(|last| now.duration_since(last) < CLOSE_LOOKS);
        self.pause.set(if close { MOST_CALLS.min(2 * self.pause.get() + 1) } else { 0 });
        self.calls.set(self.pause.get());
        let due = self.next_look.get().is_some_and(|next| now >= next);
        if due {
            cancelled.fetch_or(interrupted(), Ordering::Relaxed);
        }
        if due || last.is_none() {
            self.next_look.set(Some(now + INTERRUPT_TIME));
        }
    }

    /// The worker's index, 0 for the calling thread.
    pub fn index(&self) -> usize {
        self.index
    }

    /// The number of workers in the team.
    pub fn workers(&self) -> usize {
        self.barrier.workers
    }

    /// Runs the tiles `0..tiles` of a phase together with the other workers: first this worker's own range, then tiles
    /// left in the ranges of others. Returns when all tiles are done.
    pub fn phase(&self, tiles: usize, mut tile: impl FnMut(usize)) {
        self.phase_dyn(tiles, &mut tile, &mut || ());
    }

    /// [`Worker::phase`]; then the last worker to arrive runs `last`, before any worker continues.
    pub fn phase_then(&self, tiles: usize, mut tile: impl FnMut(usize), last: impl FnOnce()) {
        let mut last = Some(last);
        self.phase_dyn(tiles, &mut tile, &mut || last.take().into_iter().for_each(|last| last()));
    }

    /// [`Worker::phase_then`] without generic parameters, so that it is compiled once; an indirect call is cheap beside
    /// a tile.
    fn phase_dyn(&self, tiles: usize, tile: &mut dyn FnMut(usize), last: &mut dyn FnMut()) {
        let workers = self.workers();
        if workers == 1 {
            for i in 0..tiles {
                if self.stops() {
                    break;
                }
                tile(i);
            }
            return last();
        }
        for offset in 0..workers {
            let owner = (self.index + offset) % workers;
            let own = split(tiles, workers, owner);
            loop {
                let next = own.start + self.barrier.claims[owner].0.fetch_add(1, Ordering::Relaxed);
                if next >= own.end || self.stops() {
                    break;
                }
                tile(next);
            }
        }
        self.barrier.wait(last);
    }
}

/// The number of tiles claimed from a worker's range, on its own pair of cache lines.
#[repr(align(128))]
struct Claims(AtomicUsize);

/// The barrier of a team, and the tile counters of the running phase.
#[repr(align(128))]
struct Barrier {
    workers: usize,
    /// Whether a waiting worker spins and yields before it sleeps. It must not if workers share cores: the others need it.
    spins: bool,
    claims: Box<[Claims]>,
    arrived: AtomicUsize,
    round: AtomicUsize,
    sleepers: AtomicUsize,
    aborted: AtomicBool,
    lock: Mutex<()>,
    wake: Condvar,
}

impl Barrier {
    fn new(workers: usize) -> Barrier {
        Barrier {
            workers,
            spins: true,
            claims: (0..workers).map(|_| Claims(AtomicUsize::new(0))).collect(),
            arrived: AtomicUsize::new(0),
            round: AtomicUsize::new(0),
            sleepers: AtomicUsize::new(0),
            aborted: AtomicBool::new(false),
            lock: Mutex::new(()),
            wake: Condvar::new(),
        }
    }

    /// Waits until all workers have arrived; the last one runs `last` first. Spins briefly, then yields, then sleeps:
    /// an unbounded spin could occupy the core that the last worker needs.
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
        let released = || self.round.load(Ordering::SeqCst) != round;
        if !self.spin_until(&released) {
            self.sleepers.fetch_add(1, Ordering::SeqCst);
            let mut guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
            while !released() && !self.aborted.load(Ordering::SeqCst) {
                guard = self.wake.wait(guard).unwrap_or_else(PoisonError::into_inner);
            }
            self.sleepers.fetch_sub(1, Ordering::SeqCst);
        }
        if !released() {
            panic!("another worker of the team panicked");
        }
    }

    /// Spins and yields until `released` is true; returns false when it is time to sleep.
    fn spin_until(&self, released: &dyn Fn() -> bool) -> bool {
        if !self.spins {
            return false;
        }
        for _ in 0..SPINS {
            if released() {
                return true;
            }
            std::hint::spin_loop();
        }
        let start = Instant::now();
        while start.elapsed() < YIELD_TIME {
            thread::yield_now();
            if released() {
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

    /// Releases all waiting workers after a panic in one of them.
    fn abort(&self) {
        self.aborted.store(true, Ordering::SeqCst);
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

    thread_local! {
        /// Whether a test interrupts its thread.
        static PRESSED: Cell<bool> = const { Cell::new(false) };
    }

    #[test]
    fn an_interruption_of_the_caller_skips_the_tiles_that_are_left() {
        crate::threads::set_interrupt(|| PRESSED.get());
        for threads in [1, 2, 3] {
            let (before, after) = (AtomicUsize::new(0), AtomicUsize::new(0));
            let tile = |count: &AtomicUsize| {
                count.fetch_add(1, Ordering::Relaxed);
                thread::sleep(Duration::from_millis(1));
            };
            let work = |worker: &Worker| {
                worker.phase(threads, |_| {
                    worker.alone(|worker| worker.phase(200, |_| tile(&before)));
                });
                if worker.index() == 0 {
                    PRESSED.set(true);
                }
                for _ in 0..10 {
                    worker.phase(1000, |_| tile(&after));
                }
            };
            assert!(!run_cancellable(threads, work));
            assert_eq!(before.into_inner(), 200 * threads);
            let (after, most) = (after.into_inner(), 200 * threads);
            assert!((1..most).contains(&after), "{after} tiles, at most {most} wanted");
            // Other work is not cancelled, nor what is shielded.
            let done = AtomicUsize::new(0);
            run(threads, |worker| worker.phase(100, |_| tile(&done)));
            let finished = run_cancellable(threads, |worker| {
                worker.uninterrupted(|| worker.phase(100, |_| tile(&done)));
            });
            assert_eq!((finished, done.into_inner()), (true, 200));
            PRESSED.set(false);
        }
    }

    #[test]
    fn a_panic_in_a_worker_is_passed_on_and_the_team_stays_usable() {
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
    fn callers_share_the_helpers() {
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

    /// Delays from nothing to a few times the time that a worker yields.
    fn delay(state: &mut u32) {
        *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        match *state >> 24 {
            0 => thread::sleep(2 * YIELD_TIME),
            1..8 => thread::sleep(Duration::from_micros(50)),
            8..64 => thread::yield_now(),
            64..128 => (0..*state >> 22).for_each(|_| std::hint::spin_loop()),
            _ => (),
        }
    }

    #[test]
    fn random_delays_and_panics_lose_no_tile() {
        let (callers, runs) = if cfg!(miri) { (2, 2) } else { (3, 40) };
        thread::scope(|scope| {
            for caller in 0..callers {
                scope.spawn(move || {
                    for run_number in 0..runs {
                        let threads = 2 + (run_number + caller) as usize % 4;
                        let fails = run_number % 5 == 4;
                        let tiles = AtomicUsize::new(0);
                        let result = catch_unwind(AssertUnwindSafe(|| {
                            run(threads, |worker| {
                                let mut state =
                                    97 * run_number + 7 * caller + worker.index() as u32;
                                for phase in 1..=10 {
                                    worker.phase(13, |tile| {
                                        delay(&mut state);
                                        assert!(!fails || phase < 5 || tile != 3, "tile 3");
                                        tiles.fetch_add(1, Ordering::Relaxed);
                                    });
                                    assert!(tiles.load(Ordering::Relaxed) >= 13 * phase);
                                    worker.phase(0, |_| ());
                                }
                            });
                        }));
                        assert_eq!(result.is_err(), fails);
                        assert!(fails || tiles.into_inner() == 130);
                    }
                });
            }
        });
    }

    #[test]
    fn teams_larger_than_the_cores_end() {
        let tiles = AtomicUsize::new(0);
        let workers = if cfg!(miri) { 5 } else { 40 };
        run(workers, |worker| {
            for _ in 0..20 {
                worker.phase(100, |_| {
                    tiles.fetch_add(1, Ordering::Relaxed);
                });
            }
        });
        assert_eq!(tiles.into_inner(), 2000);
    }
}
