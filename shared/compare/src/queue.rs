//! Tasks that beget tasks, taken by several threads.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// A stack of tasks: trees are walked depth first, so few tasks wait.
pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    wake: Condvar,
}

struct State<T> {
    tasks: Vec<T>,
    busy: usize,
}

/// A task in hand; counts as being worked on until it is dropped.
pub(crate) struct Taken<'a, T> {
    pub(crate) task: T,
    _busy: Busy<'a, T>,
}

struct Busy<'a, T>(&'a Queue<T>);

impl<T> Queue<T> {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                tasks: Vec::new(),
                busy: 0,
            }),
            wake: Condvar::new(),
        }
    }

    pub(crate) fn push(&self, task: T) {
        self.lock().tasks.push(task);
        self.wake.notify_one();
    }

    /// How many tasks wait.
    pub(crate) fn waiting(&self) -> usize {
        self.lock().tasks.len()
    }

    /// The next task; `None` once none waits and none is being worked on.
    pub(crate) fn next(&self) -> Option<Taken<'_, T>> {
        let mut state = self.lock();
        loop {
            if let Some(task) = state.tasks.pop() {
                state.busy += 1;
                return Some(Taken {
                    task,
                    _busy: Busy(self),
                });
            }
            if state.busy == 0 {
                return None;
            }
            state = self
                .wake
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Drop for Busy<'_, T> {
    fn drop(&mut self) {
        self.0.lock().busy -= 1;
        self.0.wake.notify_all();
    }
}
