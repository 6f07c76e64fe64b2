//! The lock of an engine. It is waited for in slices of time, since signals need the interpreter, and it notices a fork:
//! a child of a process whose other thread held the lock would wait for ever.

use crate::model::Engine;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

/// The longest wait between two looks at the lock. Only a lost wake-up takes as long.
const WAIT: Duration = Duration::from_millis(10);
/// The wait if the queue is in use.
const SHORT: Duration = Duration::from_micros(100);

/// Why waiting would never end.
pub enum Unusable {
    /// The engine was in use by another thread when this process was forked: it may be in the middle of a step.
    Forked,
    /// The calling thread uses it already: a signal handler runs in the middle of a step.
    InHandler,
}

/// An engine that one thread uses at a time.
pub struct EngineLock {
    /// The process of the thread that uses the engine; 0 for none. Whoever sets it may lock `engine` at once.
    holder: AtomicU32,
    /// This thread, see [`this_thread`]; 0 for none.
    thread: AtomicUsize,
    engine: Mutex<Engine>,
    waiting: AtomicUsize,
    /// Of the threads that wait. It is only tried, never waited for: a fork can leave it locked too.
    queue: Mutex<()>,
    free: Condvar,
}

impl EngineLock {
    pub fn new(engine: Engine) -> EngineLock {
        EngineLock {
            holder: AtomicU32::new(0),
            thread: AtomicUsize::new(0),
            engine: Mutex::new(engine),
            waiting: AtomicUsize::new(0),
            queue: Mutex::new(()),
            free: Condvar::new(),
        }
    }

    /// Locks the engine; none if other threads use it for longer than `patience`.
    pub fn lock_within(&self, patience: Duration) -> Result<Option<EngineGuard<'_>>, Unusable> {
        let process = crate::threads::process_id();
        let mut start = None;
        loop {
            match self.holder.compare_exchange(0, process, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => {
                    self.thread.store(this_thread(), Ordering::Relaxed);
                    let engine = self.engine.lock().unwrap_or_else(PoisonError::into_inner);
                    return Ok(Some(EngineGuard { engine, _held: Held(self) }));
                }
                Err(holder) if holder != process => return Err(Unusable::Forked),
                Err(_) if self.thread.load(Ordering::Relaxed) == this_thread() => {
                    return Err(Unusable::InHandler);
                }
                Err(_) => (),
            }
            let waited = start.get_or_insert_with(Instant::now).elapsed();
            if waited >= patience {
                return Ok(None);
            }
            self.wait(WAIT.min(patience - waited));
        }
    }

    fn wait(&self, most: Duration) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        match self.try_queue() {
            Some(queue) if self.holder.load(Ordering::SeqCst) != 0 => {
                drop(self.free.wait_timeout(queue, most));
            }
            Some(_) => (),
            None => thread::sleep(SHORT),
        }
        self.waiting.fetch_sub(1, Ordering::SeqCst);
    }

    fn try_queue(&self) -> Option<MutexGuard<'_, ()>> {
        match self.queue.try_lock() {
            Ok(queue) => Some(queue),
            Err(TryLockError::Poisoned(queue)) => Some(queue.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

/// A number of the calling thread, not 0, that no other running thread has.
fn this_thread() -> usize {
    thread_local!(static MARK: u8 = const { 0 });
    MARK.with(|mark| std::ptr::from_ref(mark).addr())
}

/// A locked engine. The fields are dropped in their order.
pub struct EngineGuard<'a> {
    engine: MutexGuard<'a, Engine>,
    _held: Held<'a>,
}

impl Deref for EngineGuard<'_> {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        &self.engine
    }
}

impl DerefMut for EngineGuard<'_> {
    fn deref_mut(&mut self) -> &mut Engine {
        &mut self.engine
    }
}

/// The right to lock the engine.
struct Held<'a>(&'a EngineLock);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.thread.store(0, Ordering::Relaxed);
        self.0.holder.store(0, Ordering::SeqCst);
        if self.0.waiting.load(Ordering::SeqCst) > 0 {
            // With the queue no wake-up is lost between a thread's look at `holder` and its sleep.
            let _queue = (0..100).find_map(|_| self.0.try_queue());
            self.0.free.notify_one();
        }
    }
}
