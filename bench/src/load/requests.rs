//! Plain requests: the same GET again and again over a fixed number of kept connections.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use hdrhistogram::Histogram;
use mio::{Events, Interest, Poll, Token};

use super::door::Http;
use crate::clock::{Nanos, nanos, now};

/// What came of them.
pub(crate) struct Answered {
    pub(crate) answers: u64,
    /// Answers other than 2xx.
    pub(crate) refused: u64,
    pub(crate) latency: Histogram<Nanos>,
}

/// A fixed number of connections, each with one request on it at any time.
pub(crate) struct Requests {
    poll: Poll,
    events: Events,
    connections: Vec<(Http, Nanos)>,
    request: Vec<u8>,
}

/// Connects, and sends the first request on each connection.
pub(crate) fn requests(to: SocketAddr, request: &[u8], connections: usize) -> io::Result<Requests> {
    let poll = Poll::new()?;
    let connections = (0..connections)
        .map(|index| {
            let mut http = Http::open(to)?;
            let both = Interest::READABLE | Interest::WRITABLE;
            poll.registry().register(&mut http.socket, Token(index), both)?;
            http.send(request);
            Ok((http, now()))
        })
        .collect::<io::Result<_>>()?;
    Ok(Requests { poll, events: Events::with_capacity(1024), connections, request: request.to_vec() })
}

impl Requests {
    /// Asks for so long.
    pub(crate) fn run(&mut self, time: Duration) -> io::Result<Answered> {
        let mut latency = Histogram::new_with_bounds(1_000, 600_000_000_000, 3).expect("bounds of our own");
        let (mut answers, mut refused) = (0, 0);
        let deadline = now() + nanos(time);
        while now() < deadline {
            match self.poll.poll(&mut self.events, Some(Duration::from_millis(100))) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            for event in &self.events {
                let (http, sent) = &mut self.connections[event.token().0];
                http.flush()?;
                while let Some(status) = http.answered()? {
                    let time = now();
                    latency.saturating_record(time - *sent);
                    answers += 1;
                    refused += u64::from(!(200..300).contains(&status));
                    *sent = time;
                    http.send(&self.request);
                }
            }
        }
        Ok(Answered { answers, refused, latency })
    }
}
