//! The gates of the streams: from what a caller presents to a grant.
//!
//! Each way to verify is a file of its own; this one knows which is asked. Nothing a caller presents is kept, logged
//! or shown.

use std::sync::Arc;

use http::request::Parts;
use http::{HeaderMap, Uri};
use serde_json::{Map, Value};

use super::backend::BackendGate;
use super::denied::Denied;
use super::grant::Grant;
use super::sender::Sender;
use super::subrequest::BadServer;
use super::ticket::Tickets;
use crate::config;
use crate::event::Name;
use crate::shutdown::Drain;

/// Who asks for a stream, and how.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    pub request: &'a Parts,
    pub sender: Sender,
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

/// Every configured way to verify a caller.
#[derive(Default)]
pub struct Gates {
    backend: Option<BackendGate>,
    tickets: Option<Arc<Tickets>>,
}

impl Gates {
    /// `backend` is the one of the public listener; `tickets` are there when they are configured.
    pub fn new(
        settings: &config::Auth,
        backend: &config::Backend,
        tickets: Option<Arc<Tickets>>,
        drain: &Drain,
    ) -> Result<Self, BadServer> {
        let ask = |settings| BackendGate::new(settings, backend, drain.clone());
        Ok(Self { backend: settings.backend.as_ref().map(ask).transpose()?, tickets })
    }

    /// The grant of `caller` on a route with `auth`; None when the route asks nobody who they are.
    pub async fn verify(
        &self,
        auth: config::StreamAuth,
        caller: Caller<'_>,
    ) -> Result<Option<Verified>, Denied> {
        match auth {
            config::StreamAuth::None => Ok(None),
            config::StreamAuth::Backend => {
                let Some(gate) = &self.backend else { return Err(Denied::NotNow(OFF)) };
                let mut request = caller.request.clone();
                self.conceal(&mut request.uri, &mut request.headers);
                gate.verify(&Caller { request: &request, ..caller }).await.map(Some)
            }
            config::StreamAuth::Ticket => {
                let Some(tickets) = &self.tickets else { return Err(Denied::NotNow(OFF)) };
                tickets.verify(&caller).await.map(Some)
            }
        }
    }

    /// Takes out of a request that goes on to the backend what only we may read.
    pub fn conceal(&self, uri: &mut Uri, headers: &mut HeaderMap) {
        if let Some(tickets) = &self.tickets {
            tickets.conceal(uri, headers);
        }
    }
}

/// The configuration sees to it that a route's section is there.
const OFF: &str = "this way to verify a caller is not configured";
