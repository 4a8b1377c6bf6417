//! Who may do what: publisher keys.

mod publisher;

pub use publisher::{BadKey, PublisherKeys};
