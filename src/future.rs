//! One name for a future whose type nobody writes.

use std::pin::Pin;

/// A future in a box, of any type, that a task may take to another thread.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
