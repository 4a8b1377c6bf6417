//! Who asks for a stream, and what comes of verifying them.

use http::HeaderMap;
use http::request::Parts;
use serde_json::{Map, Value};

use crate::auth::grant::Grant;
use crate::auth::origin::RequestOrigin;
use crate::event::Name;

/// Who asks for a stream, and how.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    pub request: &'a Parts,
    pub origin: RequestOrigin,
    /// The topics that they ask for, as far as they are known before the caller is.
    pub asked: &'a [Name],
}

/// A caller that has been let in.
#[derive(Clone, Debug)]
pub struct Verified {
    pub grant: Grant,
    /// What is known of the caller beside: templates find it as `{claim.name}`.
    pub claims: Map<String, Value>,
    /// To be set on the stream's answer.
    pub headers: HeaderMap,
}

impl Verified {
    pub fn new(grant: Grant) -> Self {
        Self { grant, claims: Map::new(), headers: HeaderMap::new() }
    }
}
