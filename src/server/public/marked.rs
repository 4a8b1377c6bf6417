//! The answer to a request that has marks (`marks.rs`): they are made before it, and go along with it.

use std::net::IpAddr;

use http::request::Parts;
use http::{HeaderMap, Method, Request, Response};
use hyper::body::Incoming;
use tracing::{Instrument as _, error_span};

use crate::server::net::request_line::RequestLine;
use crate::server::net::takeover::SocketTaken;
use crate::server::public::marks::Marking;
use crate::server::public::service::Public;
use crate::server::public::transport::ConnectionContext;
use crate::server::respond;
use crate::server::respond::ResponseBody;
use crate::spans::TraceSpan;
use crate::trace::RequestMarks;

impl Public {
    /// As [`answer`](Self::answer), for requests that get something of `marking`.
    pub(super) async fn answer_marked(
        &self,
        marking: &Marking,
        mut request: Request<Incoming>,
        connection: &ConnectionContext,
    ) -> Result<Response<ResponseBody>, SocketTaken> {
        self.trusted.read_forwarded(connection.peer, request.headers_mut());
        let trusted = self.trusted.contain(connection.peer);
        let is_forwarded = self.streams.route(request.uri()).is_none();
        let name = match *request.method() {
            _ if is_forwarded => "forward request",
            Method::GET => "open stream",
            _ => "change stream",
        };
        let (marks, mut trace_span) = marking.mark(request.headers_mut(), trusted, name);
        let address = self.trusted.client(connection.peer, request.headers());
        if let Some(span) = &mut trace_span {
            note_request(span, &request, address);
        }
        let line = marking.lines.then(|| RequestLine::begin(&request, address, marks.clone()));
        let extensions = request.extensions_mut();
        extensions.insert(marks.clone());
        if let Some(line) = &line {
            extensions.insert(line.body_count());
        }
        // Whatever is logged on the way has both. At the highest level, so that it is there for each line that is.
        let span = error_span!("request", request_id = marks.id(), trace_id = marks.trace_id());
        let mut response = match self.answer(request, connection).instrument(span).await {
            Ok(response) => response,
            Err(taken) => {
                if let Some(line) = line {
                    line.forget();
                }
                if let Some(span) = trace_span {
                    end_span(span, 200);
                }
                return Err(taken);
            }
        };
        if let Some(span) = trace_span {
            end_span(span, response.status().as_u16());
        }
        marking.sign(&marks, response.headers_mut());
        if is_forwarded && let Some(id) = marks.id() {
            response = respond::with_request_id(response, id);
        }
        Ok(match line {
            Some(line) => with_line(line, response),
            None => response,
        })
    }

    /// Says a stream's request id to its client.
    pub(super) fn sign(&self, request: &Parts, headers: &mut HeaderMap) {
        if let (Some(marking), Some(marks)) = (&self.marking, request.extensions.get::<RequestMarks>()) {
            marking.sign(marks, headers);
        }
    }
}

fn note_request(span: &mut TraceSpan, request: &Request<Incoming>, address: IpAddr) {
    span.note("http.request.method", request.method().as_str());
    span.note("url.path", request.uri().path());
    span.note("client.address", address);
}

/// With the head of the answer: how long a body takes is the client's affair.
fn end_span(mut span: TraceSpan, status: u16) {
    span.note("http.response.status_code", u64::from(status));
    if status >= 500 {
        span.fail("answered with a server error");
    }
    span.end();
}

/// The answer with the line of its request. An open stream has lines of its own.
fn with_line(line: RequestLine, response: Response<ResponseBody>) -> Response<ResponseBody> {
    let by = match response.body() {
        ResponseBody::Stream(_) => {
            line.forget();
            return response;
        }
        ResponseBody::Backend(_) | ResponseBody::Recorded(_) => "backend",
        ResponseBody::Full(_) | ResponseBody::Logged(_) => "sidestream",
    };
    line.follow(by, response).map(|body| ResponseBody::Logged(Box::new(body)))
}
