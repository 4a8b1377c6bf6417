//! Where events come in.

mod publish;

pub use publish::{BadPublish, Publish, Published, Receipt, Relay, RelayError};
