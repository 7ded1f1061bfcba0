//! The one way this crate locks: a panic elsewhere does not spread through a poisoned lock.
//!
//! Every state behind these locks is valid between two statements, so that the state a panicking
//! holder leaves can be used.

use std::sync::{Mutex, MutexGuard, PoisonError};

pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
