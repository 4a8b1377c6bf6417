//! Where events come in.

mod service;

pub use crate::publish::service::{
    BadPublish, Heading, Manner, Outgoing, Publish, Published, Receipt, Relay, RelayError, Relayed, Relaying,
};
