//! `POST /poll/{path}`: answers that are polled, asked for at once.

use std::sync::Arc;

use crate::server::respond;
use crate::server::respond::{ApiProblem, FullResponse};
use crate::subscribe::Streams;
use crate::upstream::{PolledTarget, Upstreams};

/// Who knows which paths are polled, and who polls them.
pub(super) struct Polls {
    pub(super) streams: Arc<Streams>,
    pub(super) upstreams: Arc<Upstreams>,
}

impl Polls {
    /// `path` is without its first slash; it and the query are those of the application's clients.
    pub(super) fn answer(&self, path: &str, query: Option<&str>) -> Result<FullResponse, ApiProblem> {
        let path = format!("/{path}");
        if !self.streams.polls(&path) {
            return Err(ApiProblem::no_poll());
        }
        let asked = self.upstreams.call_for(&PolledTarget::new(&path, query));
        Ok(respond::ok(&serde_json::json!({ "asked": asked })))
    }
}
