//! Where events come in.

mod admitted;
mod bad_publish;
mod relay;
mod service;

pub use crate::publish::bad_publish::BadPublish;
pub use crate::publish::relay::{Heading, Relay, RelayError, Relayed, RelayedEnvelope, Relaying};
pub use crate::publish::service::{PublishOptions, PublishService, Published, Receipt};
