//! A new token for a stream that is open: verified as at its opening, and then the stream's end moves.

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::request::Parts;
use serde_json::{Map, Value};

use crate::auth::{Bearer, Denied, PublishGrant, RequestOrigin, Verified};
use crate::config;
use crate::event::{Key, Name};
use crate::fanout::{Renewal, Renewed};
use crate::subscribe::query::StreamQuery;
use crate::subscribe::refusal::Refusal;
use crate::subscribe::request::SubscribeRequest;
use crate::subscribe::route::{Route, Values};
use crate::subscribe::streams::Streams;
use crate::telemetry;

/// What came of a new token.
#[derive(Debug)]
pub enum RenewalOutcome {
    Renewed,
    /// No stream of this instance: another one may have it.
    Elsewhere {
        renewal: Renewal,
        bearer: Bearer,
    },
}

/// A verified caller who asks for something of an open stream.
#[derive(Debug)]
pub struct StreamCaller {
    /// The stream, and the time that the token gives it.
    pub renewal: Renewal,
    pub bearer: Bearer,
    /// Where they may publish as a page.
    pub publish: PublishGrant,
    /// To be set on the answer.
    pub headers: HeaderMap,
}

/// A renewal that its caller was let in for.
#[derive(Debug)]
pub struct RenewalRequest {
    pub fresh: RenewalOutcome,
    /// The stream ends after this time from now; None = not for its grant's sake.
    pub expires_in: Option<Duration>,
    /// To be set on the answer.
    pub headers: HeaderMap,
}

impl Streams {
    /// The client id that a `POST` on `route` presents a new token for; None when it is the backend's affair.
    pub fn renews(&self, route: &Route<'_>, query: Option<&str>) -> Option<String> {
        if route.auth() == config::StreamAuth::None {
            return None;
        }
        match StreamQuery::new(query).all("client")[..] {
            [client] => Some(client.to_owned()),
            _ => None,
        }
    }

    /// Verifies the caller and moves the end of the stream of `client`.
    pub async fn renew(
        &self,
        route: &Route<'_>,
        request: &Parts,
        origin: RequestOrigin,
        client: &str,
    ) -> Result<RenewalRequest, Refusal> {
        let renewed = async { self.move_end(self.caller(route, request, origin, client).await?).await };
        let fresh = renewed.await;
        let outcome = match &fresh {
            Ok(RenewalRequest { fresh: RenewalOutcome::Renewed, .. }) => "renewed",
            Ok(RenewalRequest { fresh: RenewalOutcome::Elsewhere { .. }, .. }) => "elsewhere",
            Err(refusal) => refusal.label(),
        };
        metrics::counter!(telemetry::RENEWALS, "outcome" => outcome).increment(1);
        fresh
    }

    /// The caller who asks for something of the stream of `client`.
    pub async fn caller(
        &self,
        route: &Route<'_>,
        request: &Parts,
        origin: RequestOrigin,
        client: &str,
    ) -> Result<StreamCaller, Refusal> {
        // Before anybody is asked.
        let client = Name::parse_random(client).ok_or(Refusal::NoSuchStream)?;
        let verified = self.verify(&SubscribeRequest::new(route, request), origin).await;
        let verified = verified.map_err(|refusal| refusal.said_as(route.refuse_with()))?;
        let Verified { grant, claims, headers } = verified.ok_or_else(|| self.denied(Denied::NoToken))?;
        self.revocations.check(&grant, &[]).map_err(|denied| self.denied(denied))?;
        let renewal = Renewal { client, times: self.times(&grant), token: grant.token.clone() };
        let of_route = route.granted(Values { query: &StreamQuery::new(None), claims: &claims });
        let publish = self.publish_grant(&claims);
        Ok(StreamCaller { renewal, bearer: Bearer { grant, of_route }, publish, headers })
    }

    fn publish_grant(&self, claims: &Map<String, Value>) -> PublishGrant {
        PublishGrant::of(claims, &self.publish_claim)
    }

    /// Has the stream end when the caller's token does.
    async fn move_end(&self, caller: StreamCaller) -> Result<RenewalRequest, Refusal> {
        // The stream's topics are judged by the bearer; of revocations only who it is counts.
        let StreamCaller { renewal, bearer, headers, .. } = caller;
        let left = |at: SystemTime| at.duration_since(SystemTime::now()).unwrap_or_default();
        let expires_in = bearer.grant.until.map(left);
        let judge = {
            let bearer = bearer.clone();
            move |keys: &[Key]| bearer.may_hold(keys)
        };
        let fresh = match self.fanout.renew(renewal.clone(), judge).await {
            Renewed::Yes(()) => {
                // Taken back between the check and now.
                self.end_if_revoked(&bearer.grant, &[], &renewal.client);
                RenewalOutcome::Renewed
            }
            Renewed::No(denied) => return Err(self.denied(denied)),
            Renewed::NotHere => RenewalOutcome::Elsewhere { renewal, bearer },
        };
        Ok(RenewalRequest { fresh, expires_in, headers })
    }
}
