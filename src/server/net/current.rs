//! What answers a listener's requests, as it is now: it can be put in the place of another while both serve.
//!
//! Each request takes what is current when it comes, and keeps it to its end; a connection keeps none of it.

use std::sync::Arc;

use crate::lock::RwLock;

/// The one of several that is in force.
pub struct Current<T>(RwLock<Arc<T>>);

impl<T> Current<T> {
    pub fn new(first: Arc<T>) -> Self {
        Self(RwLock::new(first))
    }

    pub fn get(&self) -> Arc<T> {
        Arc::clone(&self.0.read())
    }

    /// From now on `next` is in force. The one before ends with the last request that has it.
    pub fn replace(&self, next: Arc<T>) {
        let before = std::mem::replace(&mut *self.0.write(), next);
        // What it holds is let go of outside of the lock.
        drop(before);
    }
}
