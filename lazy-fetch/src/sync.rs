//! The one way this crate locks: a panic elsewhere does not spread through a poisoned lock.
//!
//! Every state behind these locks is valid between two statements, so that the state a panicking
//! holder leaves can be used.
//!
//! With `--cfg shuttle` the unit tests run on shuttle's locks, which let a model try other orders; see
//! `models`.

use std::sync::PoisonError;

#[cfg(all(test, shuttle))]
pub(crate) use shuttle::sync::{Mutex, MutexGuard, atomic};
#[cfg(not(all(test, shuttle)))]
pub(crate) use std::sync::{Mutex, MutexGuard, atomic};

pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
