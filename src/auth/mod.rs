//! Who may do what: from credentials to a grant.

mod grant;

pub use grant::Grant;
