//! A stream of the application from its first request to its end: opened, read, opened anew.
//!
//! A browser's rules (WHATWG HTML § 9.2): an answer that is no event stream ends it, 204 among them; the end of the
//! connection is followed by another request, with the last id. But a server that is away is asked again: the browsers
//! behind us would otherwise give up.

use std::time::Duration;

use http::Response;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::proxy::{ProxyBody, ProxyError};
use crate::retry::{Backoff, random_between};
use crate::telemetry;
use crate::upstream::collapse::read::{AnswerReader, ReadEnd};
use crate::upstream::held::{HeldStream, Phase, SourceEnd};
use crate::upstream::shared::destination::Destination;
use crate::upstream::shared::holding::LeaseLost;
use crate::upstream::sharing::{AnswerKind, judge};

/// The pause before another request where the application has asked for none.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest pause of our own.
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// Reads the stream for all its readers until the application has ended it. Dropped, it closes its connection.
pub(in crate::upstream) async fn hold(
    to: Destination<'_>,
    held: &HeldStream,
) -> Result<SourceEnd, LeaseLost> {
    let mut backoff = Backoff::new(PAUSE, MAX_PAUSE);
    let mut asked_pause = None;
    // Otherwise another instance has begun it.
    let mut begun = *held.phase.borrow() == Phase::Live;
    loop {
        let (asks, last_event_id) = {
            let state = held.state();
            (state.asks.clone(), state.last_event_id.clone())
        };
        let answer = asks.proxy.fetch(asks.request.request(&last_event_id), &asks.request.caller).await;
        let pause = match answered(held, answer, begun) {
            Ok(body) => {
                if !begun {
                    to.begin(held).await?;
                    info!(
                        route = &*held.route,
                        upstream = held.name.as_str(),
                        "reading a stream of the application"
                    );
                } else if last_event_id.is_empty() {
                    to.gap(held).await?;
                }
                begun = true;
                held.live();
                let mut reader = AnswerReader::new(&asks.source, last_event_id);
                let (end, heard) = reader.read(to, held, body).await?;
                asked_pause = reader.retry().or(asked_pause);
                broken(held, end);
                if heard {
                    backoff.reset();
                }
                None
            }
            Err(Next::Again(pause)) => pause,
            Err(Next::End(end)) => return Ok(end),
        };
        let own = backoff.pause();
        // Spread, since the streams of an application that is started again all ended at once.
        let asked = asked_pause.map(|asked| random_between(asked, asked + asked / 4));
        sleep(pause.or(asked).map_or(own, |pause: Duration| pause.min(MAX_PAUSE).max(own / 2))).await;
    }
}

/// What follows an answer that is no stream for all.
enum Next {
    End(SourceEnd),
    /// After so long, if the application says so.
    Again(Option<Duration>),
}

fn answered(
    held: &HeldStream,
    answer: Result<Response<ProxyBody>, ProxyError>,
    begun: bool,
) -> Result<ProxyBody, Next> {
    let (outcome, next) = match answer {
        Err(_) if begun => ("failed", Next::Again(None)),
        Err(_) => ("failed", Next::End(SourceEnd::Away)),
        Ok(answer) => match judge(&held.state().asks.source, &answer) {
            AnswerKind::Shared => {
                count("shared");
                return Ok(answer.into_body());
            }
            AnswerKind::Unshared(why) => ("unshared", Next::End(SourceEnd::Unshared(why))),
            AnswerKind::Final(status) => ("answered", Next::End(SourceEnd::Answered(status.as_u16()))),
            AnswerKind::Away(pause) if begun => ("failed", Next::Again(pause)),
            AnswerKind::Away(_) => ("failed", Next::End(SourceEnd::Answered(answer.status().as_u16()))),
        },
    };
    count(outcome);
    Err(next)
}

fn broken(held: &HeldStream, end: ReadEnd) {
    let (route, upstream, reason) = (&*held.route, held.name.as_str(), end.as_str());
    metrics::counter!(telemetry::UPSTREAM_RECONNECTS, "reason" => reason).increment(1);
    if end == ReadEnd::Ended {
        info!(route, upstream, reason, "a stream of the application ended; it is opened anew");
    } else {
        warn!(route, upstream, reason, "a stream of the application broke off; it is opened anew");
    }
}

fn count(outcome: &'static str) {
    metrics::counter!(telemetry::UPSTREAM_REQUESTS, "outcome" => outcome).increment(1);
}
