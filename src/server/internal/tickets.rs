//! `POST /tickets` on the internal listener: a ticket for a user that the application knows.
//!
//! The key is checked before a byte of the body is read. This file must not know what a ticket holds.

use std::sync::Arc;

use http::HeaderMap;

use crate::auth::{PublisherKeys, Tickets};
use crate::config::AuthTicket;
use crate::server::internal::caller::Authenticated;
use crate::server::respond;
use crate::server::respond::{ApiProblem, FullResponse};

/// Makes tickets for callers that may ask for them.
pub(super) struct TicketMint {
    tickets: Arc<Tickets>,
    /// The section's own keys; without them those of `internal.publish_keys`.
    keys: Option<PublisherKeys>,
}

impl TicketMint {
    pub(super) fn new(tickets: Arc<Tickets>, section: &AuthTicket) -> Self {
        let keys = (!section.keys.is_empty()).then(|| PublisherKeys::new(&section.keys, &[], Arc::default()));
        Self { tickets, keys }
    }

    /// Checks the key of a caller; those of the listener are `others`.
    pub(super) fn check(
        &self,
        caller: Authenticated,
        headers: &HeaderMap,
        others: &PublisherKeys,
    ) -> Result<(), ApiProblem> {
        if caller == Authenticated::ByKey {
            let keys = self.keys.as_ref().unwrap_or(others);
            keys.check(headers).map_err(|bad| ApiProblem::bad_ticket_key(&bad))?;
        }
        Ok(())
    }

    /// Makes a ticket of what `body` says.
    pub(super) fn mint(&self, body: &[u8]) -> Result<FullResponse, ApiProblem> {
        let minted = self.tickets.mint(body).map_err(|bad| ApiProblem::bad_ticket_request(&bad))?;
        Ok(respond::ok(&minted))
    }
}
