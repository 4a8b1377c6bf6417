//! Where events come in.

mod service;

pub use crate::publish::service::{
    BadPublish, Heading, PublishOptions, PublishService, Published, Receipt, Relay, RelayError, Relayed,
    RelayedEnvelope, Relaying,
};
