//! What the head of an answer shows: whether it is a stream, what a proxy has made of its headers, and what the
//! machine's clock says of the server's.

use std::time::{Duration, SystemTime};

use http::StatusCode;
use http::header::{
    AGE, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, DATE, HeaderName, SERVER,
};
use serde::Deserialize;

use super::connect::{LinkFacts, NoLink};
use super::cures::Obstacle;
use super::exchange::PublicAnswer;
use super::finding::{Finding, Subject};
use super::watch::seconds;
use crate::cli::output::chain;
use crate::clock::now_ms;

const EXPIRED: &str = "expired";
const NOT_VALID_YET: &str = "not valid yet";
const REFUSED: &str = "Browsers refuse the connection, and EventSource says no more than `error`.";

const X_CACHE: HeaderName = HeaderName::from_static("x-cache");

/// Why an answer is no stream, with the beginning of its body. None when it is one.
pub(super) fn no_stream(head: &PublicAnswer, body: &[u8], sent_authorization: bool) -> Option<Finding> {
    let kind = head.header(&CONTENT_TYPE);
    let subject = Subject::Stream;
    let own = own_words(kind, body);
    let who = match head.header(&SERVER) {
        "" => String::new(),
        server => format!(", by {server}"),
    };
    let said = |own: &OwnWords| format!("{}: {}", head.status.as_u16(), own.error);
    let seen = format!("{}{who}", head.status);
    let is_html = kind.to_ascii_lowercase().starts_with("text/html");
    let finding = match (head.status, own) {
        (StatusCode::OK, _) if is_event_stream(kind) => return None,
        (StatusCode::OK, _) if is_html => Finding::bad(
            subject,
            format!("200 with a page of HTML{who}"),
            "The request did not reach sidestream: something that answers every path answers this one. EventSource gives \
             up for good.",
        )
        .by(Obstacle::NotRouted),
        (StatusCode::OK, _) => {
            let kind = if kind.is_empty() { "no content type" } else { kind };
            Finding::bad(
                subject,
                format!("200 with {kind}"),
                "EventSource takes text/event-stream only, and gives up for good on anything else.",
            )
            .by(Obstacle::ContentType)
        }
        (StatusCode::NO_CONTENT, _) => {
            Finding::bad(subject, "204", "EventSource takes that for the end: this user or session was sent away.")
        }
        (StatusCode::UNAUTHORIZED, Some(own)) if own.reason == "no_token" && sent_authorization => Finding::bad(
            Subject::Authorization,
            format!("Authorization was sent, and sidestream answered {}", said(&own)),
            "The proxy takes the header away; or auth.jwt.from does not list `header:Authorization`.",
        )
        .by(Obstacle::Authorization),
        (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, Some(own)) => Finding::not_seen(
            subject,
            format!("sidestream answered {}; give a token of somebody who may (--token-file, --header)", said(&own)),
        ),
        (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, None) => {
            Finding::bad(subject, seen, "That is not sidestream's answer: something in front of it wants a login.")
        }
        (StatusCode::BAD_REQUEST, Some(own)) => Finding::not_seen(
            subject,
            format!("sidestream answered {}; put the stream's own query into the URL", said(&own)),
        ),
        (StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE, Some(own)) => {
            Finding::not_seen(subject, format!("sidestream answered {}; look again when that is over", said(&own)))
        }
        (StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_ACCEPTABLE, _) => Finding::bad(
            subject,
            seen,
            "The proxy does not send this path to sidestream; or no [[stream]] has this path, and it was the application \
             that answered.",
        )
        .by(Obstacle::NotRouted),
        (StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT, Some(own)) => {
            let means = "sidestream answered, but has no stream at this path, and its application cannot be reached.";
            Finding::bad(subject, said(&own), means)
        }
        (StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT, None) => Finding::bad(
            subject,
            seen,
            "The proxy does not reach sidestream: it is not running, or listens elsewhere (public.listen).",
        )
        .by(Obstacle::Upstream),
        _ => Finding::bad(subject, seen, "EventSource takes 200 only, and gives up for good on anything else."),
    };
    Some(finding)
}

/// What a proxy has made of the headers of a stream.
pub(super) fn headers(head: &PublicAnswer) -> Vec<Finding> {
    let mut findings = Vec::new();
    let length = head.header(&CONTENT_LENGTH);
    if !length.is_empty() {
        findings.push(
            Finding::bad(
                Subject::Buffering,
                format!("the answer has content-length: {length}"),
                "A stream has no length. Something took the answer as a whole before it passed it on.",
            )
            .by(Obstacle::Buffering),
        );
    }
    let coding = head.header(&CONTENT_ENCODING);
    findings.push(match coding {
        "" | "identity" => Finding::good(Subject::Compression, "none"),
        coding => Finding::bad(
            Subject::Compression,
            format!("the stream is compressed ({coding})"),
            "Events wait in the compressor until it has a block together, and each stream costs the proxy its window.",
        )
        .by(Obstacle::Compression),
    });
    let control = head.header(&CACHE_CONTROL);
    let has = |word: &str| control.split(',').any(|part| part.trim().eq_ignore_ascii_case(word));
    if has("no-transform") && (has("no-cache") || has("no-store")) {
        findings.push(Finding::good(Subject::CacheControl, control));
    } else {
        let control = if control.is_empty() { "none" } else { control };
        findings.push(
            Finding::warn(
                Subject::CacheControl,
                format!("{control}; sidestream sends no-cache, no-transform"),
                "What is further on may now compress or keep the stream.",
            )
            .by(Obstacle::CacheControl),
        );
    }
    let hit = head.header(&X_CACHE).to_ascii_lowercase().contains("hit");
    if hit || head.header(&AGE).parse().is_ok_and(|age: u64| age > 0) {
        findings.push(
            Finding::bad(
                Subject::Caching,
                "the answer comes from a cache",
                "Pages get a stream of the past.",
            )
            .by(Obstacle::Caching),
        );
    }
    findings
}

/// How far the server's clock is from ours.
pub(super) fn clock(head: &PublicAnswer) -> Finding {
    let Ok(said) = httpdate::parse_http_date(head.header(&DATE)) else {
        return Finding::not_seen(Subject::Clock, "the answer has no Date");
    };
    // The header has whole seconds.
    let apart = head.came.duration_since(said).unwrap_or_else(|ahead| ahead.duration());
    let slack = Duration::from_millis(1500) + head.took;
    if apart <= slack {
        return Finding::good(Subject::Clock, "as this machine's");
    }
    let side = if said > SystemTime::now() { "ahead of" } else { "behind" };
    let seen = format!("{} {side} this machine's", seconds(apart));
    if apart <= Duration::from_secs(5) {
        return Finding::good(Subject::Clock, seen);
    }
    let means = "One of the two is wrong. Tokens are judged by sidestream's clock: `exp` and `nbf` with auth.jwt.leeway.";
    Finding::warn(Subject::Clock, seen, means)
}

/// How the address was reached.
pub(super) fn reached(link: &LinkFacts, verified: bool) -> Vec<Finding> {
    let mut findings = vec![Finding::good(
        Subject::Reached,
        format!(
            "{} in {}{}",
            link.peer,
            seconds(link.took),
            link.tls.as_ref().map(|tls| format!(", {}", tls.version)).unwrap_or_default()
        ),
    )];
    if link.tls.is_some() && !verified {
        findings.push(Finding::not_seen(Subject::Certificate, "not verified (--insecure)"));
    } else {
        findings.extend(link.tls.as_ref().and_then(|tls| tls.certificate).map(certificate));
    }
    findings.push(http2(link));
    findings
}

/// Certificates are renewed when a third of their time is left, or some weeks.
fn certificate((begin, end): (Duration, Duration)) -> Finding {
    const DAY: Duration = Duration::from_secs(86_400);
    let now = Duration::from_millis(now_ms());
    let (left, whole) = (end.saturating_sub(now), end.saturating_sub(begin));
    // Where it was trusted all the same: --ca has the certificate itself.
    if left.is_zero() || now < begin {
        let seen = if left.is_zero() { EXPIRED } else { NOT_VALID_YET };
        return Finding::bad(Subject::Certificate, seen, REFUSED);
    }
    let seen = match left.as_secs() / DAY.as_secs() {
        0..=2 => format!("good for {} more hours", left.as_secs() / 3600),
        days => format!("good for {days} more days"),
    };
    if left < (14 * DAY).min(whole / 4) {
        return Finding::warn(Subject::Certificate, seen, "It should have been renewed by now.");
    }
    Finding::good(Subject::Certificate, seen)
}

fn http2(link: &LinkFacts) -> Finding {
    const SIX: &str = "A browser opens at most six connections to an origin over HTTP/1, all tabs together, and each stream \
                       takes one: the seventh tab hangs.";
    match (link.is_http2, &link.tls) {
        (true, _) => Finding::good(Subject::Http2, "offered: all streams of a browser share one connection"),
        (false, Some(_)) => Finding::warn(Subject::Http2, "not offered", SIX).by(Obstacle::Http1Only),
        (false, None) => Finding::warn(
            Subject::Http2,
            "not to be had without TLS",
            "Browsers speak HTTP/2 over https only. Over HTTP/1 they open at most six connections to an origin, all tabs \
             together, and each stream takes one: the seventh tab hangs.",
        ),
    }
}

/// Why there is no connection.
pub(super) fn no_link(why: &NoLink, host: &str) -> Finding {
    let NoLink::Certificate(fault) = why else {
        return Finding::not_seen(Subject::Reached, chain(why));
    };
    use rustls::CertificateError as Fault;
    let seen = match fault {
        Fault::Expired | Fault::ExpiredContext { .. } => EXPIRED.to_owned(),
        Fault::NotValidYet | Fault::NotValidYetContext { .. } => NOT_VALID_YET.to_owned(),
        Fault::NotValidForName | Fault::NotValidForNameContext { .. } => format!("not for the name {host}"),
        Fault::UnknownIssuer => {
            "signed by nobody whom this machine trusts; a chain may be incomplete, or --ca names the authority".to_owned()
        }
        other => other.to_string(),
    };
    Finding::bad(Subject::Certificate, seen, &format!("{REFUSED} (--insecure looks on.)"))
}

/// A refusal in sidestream's own words.
#[derive(Deserialize)]
struct OwnWords {
    error: String,
    #[serde(default)]
    reason: String,
}

fn own_words(kind: &str, body: &[u8]) -> Option<OwnWords> {
    if kind.starts_with("application/json") { serde_json::from_slice(body).ok() } else { None }
}

fn is_event_stream(kind: &str) -> bool {
    kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("text/event-stream")
}
