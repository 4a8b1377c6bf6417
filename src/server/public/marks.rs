//! What a request is known by: its id and its place in a trace.
//!
//! Only what a trusted proxy sends is passed on. A stranger could give many requests one id, so that nobody finds
//! theirs, or put requests into somebody else's trace and have all of them recorded.

use http::header::{CONNECTION, HeaderMap, HeaderName, HeaderValue};

use crate::config;
use crate::config::TraceFrom;
use crate::spans;
use crate::spans::{SpanKind, TraceSpan};
use crate::trace::{
    RequestMarks, TRACEPARENT, TRACESTATE, TraceContext, is_request_id, random_request_id, trace_state,
};

/// What requests get.
pub(super) struct Marking {
    /// The header of the id.
    id: Option<HeaderName>,
    trace: TraceFrom,
    /// Each has a line.
    pub(super) lines: bool,
}

impl Marking {
    /// None where nothing is asked for: requests are then answered without a look at any of this.
    pub(super) fn new(settings: &config::Proxy, lines: bool) -> Option<Self> {
        let (id, mut trace) = (settings.request_id_header.clone(), settings.trace_context);
        // What is recorded here has to be told to the backend as the parent of what it records.
        if trace == TraceFrom::Off && spans::are_collected() {
            trace = TraceFrom::Trusted;
        }
        let is_on = id.is_some() || trace != TraceFrom::Off || lines;
        is_on.then_some(Self { id, trace, lines })
    }

    /// Takes from a head what may be believed, makes what is missing, and leaves both for the backend.
    /// Begins the span of this name.
    pub(super) fn mark(
        &self,
        headers: &mut HeaderMap,
        trusted: bool,
        name: &'static str,
    ) -> (RequestMarks, Option<TraceSpan>) {
        let id = self.id.as_ref().and_then(|name| mark_id(name, headers, trusted));
        let (trace, span) = match self.trace {
            TraceFrom::Off => (None, None),
            from => mark_trace(headers, trusted || from == TraceFrom::Anyone, name),
        };
        keep_named(headers, self.id.as_ref());
        (RequestMarks { id, trace }, span)
    }

    /// Says the id to the client.
    pub(super) fn sign(&self, marks: &RequestMarks, headers: &mut HeaderMap) {
        if let (Some(name), Some(id)) = (&self.id, &marks.id) {
            headers.insert(name, id.clone());
        }
    }
}

fn mark_id(name: &HeaderName, headers: &mut HeaderMap, trusted: bool) -> Option<HeaderValue> {
    let mut given = headers.get_all(name).iter();
    let first = given.next().filter(|id| trusted && given.next().is_none() && is_request_id(id)).cloned();
    let id = first.or_else(random_request_id);
    match &id {
        Some(id) => headers.insert(name, id.clone()),
        None => headers.remove(name),
    };
    id
}

fn mark_trace(
    headers: &mut HeaderMap,
    believed: bool,
    name: &'static str,
) -> (Option<TraceContext>, Option<TraceSpan>) {
    let given = TraceContext::of(headers).filter(|_| believed);
    let span = TraceSpan::begin(name, SpanKind::Server, given);
    // A backend that heeds the caller's word would record nothing if this said that nobody does.
    let context = span.as_ref().map(TraceSpan::context).or(given).or_else(|| TraceContext::root(true));
    let state = trace_state(headers).filter(|_| given.is_some());
    let fields = [(TRACEPARENT, context.map(TraceContext::to_value)), (TRACESTATE, state)];
    for (name, value) in fields {
        match value {
            Some(value) => headers.insert(name, value),
            None => headers.remove(name),
        };
    }
    (context, span)
}

/// Lets no client have our fields taken off as those of one hop.
fn keep_named(headers: &mut HeaderMap, id: Option<&HeaderName>) {
    let ours = |token: &str| {
        let named = |name: &HeaderName| token.trim().eq_ignore_ascii_case(name.as_str());
        named(&TRACEPARENT) || named(&TRACESTATE) || id.is_some_and(named)
    };
    let texts = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let tokens: Vec<&str> = texts.flat_map(|text| text.split(',')).collect();
    if !tokens.iter().any(|token| ours(token)) {
        return;
    }
    let others: Vec<&str> = tokens.into_iter().filter(|token| !ours(token)).collect();
    let value = HeaderValue::try_from(others.join(",")).ok().filter(|value| !value.is_empty());
    match value {
        Some(value) => headers.insert(CONNECTION, value),
        None => headers.remove(CONNECTION),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

    fn marking(trace: TraceFrom) -> Marking {
        Marking { id: Some(HeaderName::from_static("x-request-id")), trace, lines: false }
    }

    fn head(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn only_a_trusted_proxys_marks_are_passed_on() {
        let fields = [("x-request-id", "abc"), ("traceparent", PARENT), ("tracestate", "a=1")];
        for (trace, trusted, passes) in [
            (TraceFrom::Trusted, true, true),
            (TraceFrom::Trusted, false, false),
            (TraceFrom::Anyone, false, true),
        ] {
            let mut headers = head(&fields);
            let (marks, _) = marking(trace).mark(&mut headers, trusted, "test");
            assert_eq!(marks.id() == Some("abc"), trusted);
            assert_eq!(headers["x-request-id"], marks.id().unwrap());
            assert_eq!(headers["traceparent"] == PARENT, passes, "{headers:?}");
            assert_eq!(headers["traceparent"], marks.trace.unwrap().to_string());
            assert_eq!(headers.get("tracestate").is_some(), passes);
        }
        let mut headers = head(&fields);
        assert!(marking(TraceFrom::Off).mark(&mut headers, false, "test").0.trace.is_none());
        assert_eq!(headers["traceparent"], PARENT, "what is not asked for is left alone");
    }

    #[test]
    fn marks_that_break_the_rules_are_made_anew() {
        for fields in [
            &[("x-request-id", "a b"), ("traceparent", "00-1-2-3"), ("tracestate", "a=1")][..],
            &[("x-request-id", "a"), ("x-request-id", "b"), ("traceparent", PARENT), ("traceparent", PARENT)],
            &[],
        ] {
            let mut headers = head(fields);
            let (marks, _) = marking(TraceFrom::Trusted).mark(&mut headers, true, "test");
            assert_eq!(headers.get_all("x-request-id").iter().count(), 1);
            assert_eq!(headers["x-request-id"].len(), 32, "{headers:?}");
            assert_eq!(headers.get_all("traceparent").iter().count(), 1);
            assert!(marks.trace.is_some_and(TraceContext::is_sampled), "{headers:?}");
            assert!(headers.get("tracestate").is_none());
        }
    }

    #[test]
    fn a_client_cannot_have_them_taken_off() {
        let mut headers = head(&[("connection", "close, X-Request-ID"), ("connection", "traceparent")]);
        marking(TraceFrom::Trusted).mark(&mut headers, false, "test");
        assert_eq!(headers["connection"], "close");
        let mut headers = head(&[("connection", "keep-alive, x-other")]);
        marking(TraceFrom::Trusted).mark(&mut headers, false, "test");
        assert_eq!(headers["connection"], "keep-alive, x-other");
    }
}
