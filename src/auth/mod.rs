//! Who may do what: from credentials to a grant, and who may publish.

mod denied;
mod gate;
mod grant;
mod pattern;
mod publisher;

pub use denied::{Answer, Denied};
pub use gate::{Caller, Gates, Verified};
pub use grant::{Grant, Topics};
pub use pattern::{BadPattern, Pattern};
pub use publisher::{BadKey, PublisherKeys};
