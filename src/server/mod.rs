//! The doors: listeners, what is ours and what is the backend's, and how errors are answered.

mod certificate;
mod connection;
mod cors;
mod hosts;
mod http2;
mod internal;
mod listen;
mod opening;
mod own_topics;
mod peer;
mod problem;
mod public;
mod rare;
mod respond;
mod takeover;
mod tickets;
mod topics;

pub use certificate::{BadCertificate, Certificate};
pub use internal::{Internal, Standing};
pub use listen::{Serve, bind, serve};
pub use public::Public;
pub use respond::Body;
