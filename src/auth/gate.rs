//! The gates of the streams: from what a caller presents to a grant.
//!
//! Each way to verify is a file of its own; this one knows which is asked. Nothing a caller presents is kept, logged
//! or shown.

use std::net::IpAddr;

use http::HeaderMap;
use http::request::Parts;
use serde_json::{Map, Value};

use super::denied::Denied;
use super::grant::Grant;
use crate::config;

/// Who asks for a stream, and how.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    pub request: &'a Parts,
    pub address: IpAddr,
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

/// Every configured way to verify a caller.
#[derive(Default)]
pub struct Gates {}

impl Gates {
    pub fn new(_settings: &config::Auth) -> Self {
        Self {}
    }

    /// The grant of `caller` on a route with `auth`; None when the route asks nobody who they are.
    pub async fn verify(
        &self,
        auth: config::StreamAuth,
        _caller: Caller<'_>,
    ) -> Result<Option<Verified>, Denied> {
        match auth {
            config::StreamAuth::None => Ok(None),
        }
    }
}
