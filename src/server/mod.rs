//! The doors: listeners, what is ours and what is the backend's, and how errors are answered.

mod internal;
mod net;
mod problem;
mod public;
mod respond;

pub use crate::server::internal::{Internal, Standing};
pub use crate::server::net::certificate::{BadCertificate, Certificate};
pub use crate::server::net::listen::{Serve, bind, serve};
pub use crate::server::public::Public;
pub use crate::server::respond::Body;
