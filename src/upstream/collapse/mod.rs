//! The application's own event streams: one connection for all who hear the same.

mod append;
mod read;
mod run;

pub(super) use crate::upstream::collapse::run::hold;
