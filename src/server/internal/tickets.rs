//! `POST /tickets` on the internal listener: a ticket for somebody whom the application knows.
//!
//! Who may ask is checked before a byte of the body is read. This file must not know what stands in a ticket.

use std::error::Error;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body::Body;
use http_body_util::Full;

use crate::auth::{BadKey, BadMint, PublisherKeys, Tickets};
use crate::config::AuthTicket;
use crate::server::internal::{Internal, Right};
use crate::server::problem;
use crate::server::problem::Problem;
use crate::server::respond::json;

/// Makes tickets for those who may ask for them.
pub(in crate::server) struct Minting {
    tickets: Arc<Tickets>,
    /// Whose keys these are if the section has none: the publishers'.
    keys: Option<PublisherKeys>,
}

impl Internal {
    /// Answers `POST /tickets`, too.
    pub fn minting(mut self, tickets: Arc<Tickets>, section: &AuthTicket) -> Self {
        let keys = (!section.keys.is_empty()).then(|| PublisherKeys::new(&section.keys, &[]));
        self.minting = Some(Minting { tickets, keys });
        self
    }

    pub(in crate::server) async fn mint<B>(
        &self,
        minting: &Minting,
        headers: &HeaderMap,
        body: B,
        right: Right,
    ) -> Result<Response<Full<Bytes>>, Problem>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        if right == Right::Shown {
            minting.keys.as_ref().unwrap_or(&self.keys).check(headers).map_err(refused_key)?;
        }
        let body = self.read(body).await?;
        match minting.tickets.mint(&body) {
            Ok(minted) => Ok(json(StatusCode::OK, &minted)),
            Err(bad) => {
                let status = match bad {
                    BadMint::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
                    _ => StatusCode::BAD_REQUEST,
                };
                Err(Problem::new(status, "bad_ticket_request", bad.to_string()))
            }
        }
    }
}

fn refused_key(bad: BadKey) -> Problem {
    match bad {
        BadKey::Off => Problem::new(
            StatusCode::FORBIDDEN,
            bad.word(),
            "nobody may ask for tickets: set auth.ticket.keys or internal.publish_keys",
        ),
        // Who may publish to some has no say in who somebody is.
        BadKey::Bounded => Problem::new(
            StatusCode::FORBIDDEN,
            bad.word(),
            "this is the key of a publisher within bounds: one of auth.ticket.keys or internal.publish_keys is needed",
        ),
        bad => problem::refused_key(&bad),
    }
}
