//! `POST /tickets` on the internal listener: a ticket for a user that the application knows.
//!
//! The key is checked before a byte of the body is read. This file must not know what a ticket holds.

use std::sync::Arc;

use http::HeaderMap;

use crate::auth::{PublisherKeys, Tickets};
use crate::config::AuthTicket;
use crate::server::internal::body::ReadableBody;
use crate::server::internal::service::{Authenticated, Internal};
use crate::server::respond;
use crate::server::respond::{ApiProblem, FullResponse};

/// Makes tickets for callers that may ask for them.
pub(super) struct TicketMint {
    tickets: Arc<Tickets>,
    /// The section's own keys; without them those of `internal.publish_keys`.
    keys: Option<PublisherKeys>,
}

impl Internal {
    /// Answers `POST /tickets`, too.
    pub fn with_tickets(mut self, tickets: Arc<Tickets>, section: &AuthTicket) -> Self {
        let keys = (!section.keys.is_empty()).then(|| PublisherKeys::new(&section.keys, &[], Arc::default()));
        self.mint = Some(TicketMint { tickets, keys });
        self
    }

    pub(super) async fn mint_ticket(
        &self,
        headers: &HeaderMap,
        body: impl ReadableBody,
        caller: Authenticated,
    ) -> Result<FullResponse, ApiProblem> {
        let Some(mint) = &self.mint else { return Err(ApiProblem::no_route()) };
        if caller == Authenticated::ByKey {
            let keys = mint.keys.as_ref().unwrap_or(&self.keys);
            keys.check(headers).map_err(|bad| ApiProblem::bad_ticket_key(&bad))?;
        }
        let body = self.body.read(body).await?;
        let minted = mint.tickets.mint(&body).map_err(|bad| ApiProblem::bad_ticket_request(&bad))?;
        Ok(respond::ok(&minted))
    }
}
