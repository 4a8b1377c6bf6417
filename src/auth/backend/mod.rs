//! How the application is asked who a caller is.

pub(super) mod cache;
pub(super) mod client;
pub(super) mod gate;
pub(super) mod request;
pub(super) mod response;
pub(super) mod single_flight;
