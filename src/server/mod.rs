//! The doors: listeners, what is ours and what is the backend's, and how errors are answered.

mod cors;
mod hosts;
mod internal;
mod listen;
mod own_topics;
mod peer;
mod problem;
mod public;
mod respond;
mod takeover;
mod topics;

pub use internal::{Internal, Standing};
pub use listen::{Serve, bind, serve};
pub use public::Public;
pub use respond::Body;
