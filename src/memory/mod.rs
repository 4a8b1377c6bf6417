//! How much memory there is for the process, and whether it is nearly used up.
//!
//! The door of the room. It must not know who heeds it.

mod kernel;
mod watch;

pub use crate::memory::watch::Memory;
