//! Who may do what: from credentials to a grant, and who may publish.

mod grant;
mod publisher;

pub use grant::Grant;
pub use publisher::{BadKey, PublisherKeys};
