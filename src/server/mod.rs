//! The doors: listeners, what is ours and what is the backend's, and how errors are answered.

mod certificate;
mod connection;
mod connections;
mod cors;
mod history;
mod hosts;
mod http2;
mod internal;
mod listen;
mod openapi;
mod opening;
mod own_topics;
mod peer;
mod presence;
mod problem;
mod public;
mod query;
mod rare;
mod respond;
mod routes;
mod takeover;
mod tickets;
mod topics;

pub use certificate::{BadCertificate, Certificate};
pub use internal::{Internal, Standing};
pub use listen::{Serve, bind, serve};
pub use public::Public;
pub use respond::Body;
