//! Token buckets for strangers: how often an address, a user or a key may do something, in memory that does not grow.
//!
//! The door of the room. It must not know the configuration, nor what is limited.

mod buckets;
mod limit;
mod network;
mod rates;

pub use crate::rate::limit::{RateLimit, TooFast};
pub use crate::rate::network::ClientNetwork;
pub use crate::rate::rates::{RateSettings, Rates};
