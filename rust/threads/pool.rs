//! The helpers of all teams: threads of this process that wait for work. There are never more than the largest team needs.
#![allow(unsafe_code)]

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};

/// How often a helper without work yields before it sleeps: tens of microseconds, the time between two short calls.
const YIELDS: usize = 64;

/// What a team does. It lives on the caller's stack until `running` is 0.
struct Job<'a> {
    work: &'a (dyn Fn(usize) + Sync),
    /// Helpers that are not done.
    running: AtomicUsize,
    caller: Thread,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

impl Job<'_> {
    fn run(&self, worker: usize) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (self.work)(worker))) {
            self.panic.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(panic);
        }
    }
}

/// Hands a job to a helper.
struct Slot {
    worker: AtomicUsize,
    /// Null while the helper has no job.
    job: AtomicPtr<Job<'static>>,
}

impl Slot {
    /// Waits for a job.
    fn next(&self) -> *const Job<'static> {
        let mut yields = 0;
        while self.job.load(Ordering::Relaxed).is_null() {
            if yields < YIELDS {
                yields += 1;
                thread::yield_now();
            } else {
                thread::park();
            }
        }
        self.job.swap(ptr::null_mut(), Ordering::Acquire)
    }

    /// The life of a helper.
    fn serve(&self) {
        loop {
            let job = self.next();
            // SAFETY: `Helpers::run` keeps the job alive until `running` is 0, to which this thread contributes below.
            let job = unsafe { &*job };
            job.run(self.worker.load(Ordering::Relaxed));
            let caller = job.caller.clone(); // the job may be gone after the next line
            if job.running.fetch_sub(1, Ordering::AcqRel) == 1 {
                caller.unpark();
            }
        }
    }
}

struct Helper {
    slot: Arc<Slot>,
    thread: Thread,
}

impl Helper {
    /// None if the system allows no further thread.
    fn start(number: usize) -> Option<Helper> {
        let job = AtomicPtr::new(ptr::null_mut());
        let slot = Arc::new(Slot { worker: AtomicUsize::new(0), job });
        let own = Arc::clone(&slot);
        let builder = thread::Builder::new().name(format!("fastvae-{number}"));
        let handle = builder.spawn(move || own.serve()).ok()?;
        Some(Helper { slot, thread: handle.thread().clone() })
    }
}

/// The helpers of a process.
struct Pool {
    process: u32,
    state: Mutex<PoolState>,
}

#[derive(Default)]
struct PoolState {
    idle: Vec<Helper>,
    started: usize,
}

/// The pool of this process, or of the process that has forked it. It is never freed: another thread may be using it.
static POOL: AtomicPtr<Pool> = AtomicPtr::new(ptr::null_mut());

impl Pool {
    /// A forked child makes its own: it has none of its parent's threads, and a lock that another thread held during the
    /// fork stays locked.
    fn of_this_process() -> &'static Pool {
        let process = std::process::id();
        loop {
            let current = POOL.load(Ordering::Acquire);
            // SAFETY: null, or a box that was published below and is never freed.
            if let Some(pool) = unsafe { current.as_ref() }
                && pool.process == process
            {
                return pool;
            }
            let new = Box::into_raw(Box::new(Pool { process, state: Mutex::default() }));
            if POOL.compare_exchange(current, new, Ordering::AcqRel, Ordering::Acquire).is_err() {
                // SAFETY: the box was not published, so this is the only pointer to it.
                drop(unsafe { Box::from_raw(new) });
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, PoolState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Helpers that were taken from the pool; they return to it at the end.
pub struct Helpers {
    pool: &'static Pool,
    taken: Vec<Helper>,
}

impl Helpers {
    /// Takes up to `wanted` helpers that have no other work; starts new ones up to a total of `most`.
    pub fn take(wanted: usize, most: usize) -> Helpers {
        let pool = Pool::of_this_process();
        let mut state = pool.lock();
        while state.idle.len() < wanted && state.started < most {
            let Some(helper) = Helper::start(state.started + 1) else { break };
            state.idle.push(helper);
            state.started += 1;
        }
        let first = state.idle.len().saturating_sub(wanted);
        let taken = state.idle.split_off(first);
        Helpers { pool, taken }
    }

    pub fn len(&self) -> usize {
        self.taken.len()
    }

    /// Calls `work(0)` here and `work(1)`, `work(2)`, ... on the helpers. `wait` must return when the condition that it
    /// gets is true; it is called when `work(0)` is done. A panic is passed on at the end.
    pub fn run(&self, work: &(dyn Fn(usize) + Sync), wait: &dyn Fn(&dyn Fn() -> bool) -> bool) {
        let job = Job {
            work,
            running: AtomicUsize::new(self.taken.len()),
            caller: thread::current(),
            panic: Mutex::new(None),
        };
        let erased = ptr::from_ref(&job).cast::<Job<'static>>().cast_mut();
        for (i, helper) in self.taken.iter().enumerate() {
            helper.slot.worker.store(i + 1, Ordering::Relaxed);
            helper.slot.job.store(erased, Ordering::Release);
            helper.thread.unpark();
        }
        job.run(0);
        let done = || job.running.load(Ordering::Acquire) == 0;
        if !wait(&done) {
            while !done() {
                thread::park();
            }
        }
        if let Some(panic) = job.panic.into_inner().unwrap_or_else(PoisonError::into_inner) {
            resume_unwind(panic);
        }
    }
}

impl Drop for Helpers {
    fn drop(&mut self) {
        self.pool.lock().idle.append(&mut self.taken);
    }
}
