//! The doors by which a load publishes: HTTP with as many connections as publishes may be in flight, or one pipelined
//! connection to Redis. Both on the engine's own thread.

use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use super::stream::connect;
use crate::wire::Answer;

pub(crate) enum Door {
    Http { connections: Vec<Http>, free: Vec<u32>, refused: u64 },
    Redis(Redis),
}

impl Door {
    /// At most `in_flight` requests at once, each on a kept connection of its own.
    pub(crate) fn http(to: SocketAddr, in_flight: u32) -> io::Result<Self> {
        let connections = (0..in_flight).map(|_| Http::open(to)).collect::<io::Result<_>>()?;
        Ok(Self::Http { connections, free: (0..in_flight).rev().collect(), refused: 0 })
    }

    pub(crate) fn redis(to: SocketAddr) -> io::Result<Self> {
        let socket = connect(to)?;
        Ok(Self::Redis(Redis {
            socket,
            out: Vec::new(),
            sent: 0,
            underway: 0,
            refused: 0,
            line: None,
            bulk: false,
        }))
    }

    /// How many ways there are whose events have no order between them.
    pub(crate) fn width(&self) -> u32 {
        match self {
            Self::Http { connections, .. } => connections.len() as u32,
            Self::Redis(_) => 1,
        }
    }

    pub(super) fn watch(&mut self, registry: &Registry, first: usize) -> io::Result<()> {
        match self {
            Self::Http { connections, .. } => {
                connections.iter_mut().enumerate().try_for_each(|(index, http)| {
                    registry.register(&mut http.socket, Token(first + index), BOTH)
                })
            }
            Self::Redis(redis) => registry.register(&mut redis.socket, Token(first), BOTH),
        }
    }

    /// A way that takes an event now.
    pub(super) fn free(&self) -> Option<u32> {
        match self {
            Self::Http { free, .. } => free.last().copied(),
            Self::Redis(redis) => (redis.out.len() - redis.sent < GATHERED).then_some(0),
        }
    }

    /// Sends on the way that [`Self::free`] named.
    pub(super) fn send(&mut self, way: u32, request: &[u8]) {
        match self {
            Self::Http { connections, free, .. } => {
                free.pop();
                connections[way as usize].send(request);
            }
            Self::Redis(redis) => {
                redis.out.extend_from_slice(request);
                redis.underway += 1;
            }
        }
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Http { .. } => Ok(()),
            Self::Redis(redis) => redis.flush(),
        }
    }

    /// A server may close a connection on which nothing is asked (Centrifugo does, when no first request comes within
    /// ten seconds): such a one is opened anew.
    pub(super) fn ready(&mut self, registry: &Registry, first: usize, index: usize) -> io::Result<()> {
        match self {
            Self::Http { connections, free, refused } => {
                if free.contains(&(index as u32)) && connections[index].is_closed() {
                    connections[index] = Http::open(connections[index].to)?;
                    return registry.register(&mut connections[index].socket, Token(first + index), BOTH);
                }
                connections[index].flush()?;
                while let Some(status) = connections[index].answered()? {
                    *refused += u64::from(!(200..300).contains(&status));
                    free.push(index as u32);
                }
                Ok(())
            }
            Self::Redis(redis) => {
                redis.flush()?;
                redis.answered()
            }
        }
    }

    pub(super) fn idle(&self) -> bool {
        match self {
            Self::Http { connections, free, .. } => connections.len() == free.len(),
            Self::Redis(redis) => redis.underway == 0,
        }
    }

    pub(super) fn take_refused(&mut self) -> u64 {
        match self {
            Self::Http { refused, .. } => std::mem::take(refused),
            Self::Redis(redis) => std::mem::take(&mut redis.refused),
        }
    }
}

/// One kept HTTP/1.1 connection with at most one request on it.
pub(crate) struct Http {
    to: SocketAddr,
    pub(crate) socket: TcpStream,
    out: Vec<u8>,
    input: Vec<u8>,
}

impl Http {
    pub(crate) fn open(to: SocketAddr) -> io::Result<Self> {
        Ok(Self { to, socket: connect(to)?, out: Vec::new(), input: Vec::new() })
    }

    /// Whether the server has closed it, with nothing left to read.
    fn is_closed(&self) -> bool {
        matches!(self.socket.peek(&mut [0]), Ok(0))
    }

    /// Sends now what the socket takes, and the rest when it is ready.
    pub(crate) fn send(&mut self, request: &[u8]) {
        self.out.extend_from_slice(request);
        // An error shows again when the answer is read.
        let _ = self.flush();
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        while !self.out.is_empty() {
            match self.socket.write(&self.out) {
                Ok(sent) => drop(self.out.drain(..sent)),
                Err(error) if not_yet(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The status of an answer that has come in whole. A short read has emptied the socket, so that a connection
    /// with one request on it is read once an answer.
    pub(crate) fn answered(&mut self) -> io::Result<Option<u16>> {
        let mut buffer = [0; 16 << 10];
        let mut drained = false;
        loop {
            if let Some(answer) = Answer::parse(&self.input) {
                if answer.chunked {
                    return Err(io::Error::other("a chunked answer where one with a length was expected"));
                }
                let len = answer.head + answer.body;
                if self.input.len() >= len {
                    self.input.drain(..len);
                    return Ok(Some(answer.status));
                }
            }
            if drained {
                return Ok(None);
            }
            match self.socket.read(&mut buffer) {
                Ok(0) => return Err(io::Error::other("the server closed a kept connection")),
                Ok(read) => {
                    self.input.extend_from_slice(&buffer[..read]);
                    drained = read < buffer.len();
                }
                Err(error) if not_yet(&error) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }
}

/// A pipelined connection to Redis that only publishes: every answer is `:<readers>`, a bulk string (`$<length>` and the
/// id on a line) or `-<error>`.
pub(crate) struct Redis {
    socket: TcpStream,
    out: Vec<u8>,
    /// How much of `out` has been sent.
    sent: usize,
    underway: u64,
    refused: u64,
    /// How an answer's line begins, once its first byte is there.
    line: Option<u8>,
    /// The line after a bulk's length is the bulk.
    bulk: bool,
}

const BOTH: Interest = Interest::READABLE.add(Interest::WRITABLE);

/// Bytes that are gathered before the next event waits.
const GATHERED: usize = 64 << 10;

impl Redis {
    fn flush(&mut self) -> io::Result<()> {
        while self.sent < self.out.len() {
            match self.socket.write(&self.out[self.sent..]) {
                Ok(sent) => self.sent += sent,
                Err(error) if not_yet(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.out.clear();
        self.sent = 0;
        Ok(())
    }

    fn answered(&mut self) -> io::Result<()> {
        let mut buffer = [0; 16 << 10];
        loop {
            match self.socket.read(&mut buffer) {
                Ok(0) => return Err(io::Error::other("Redis closed the connection")),
                Ok(read) => {
                    for part in buffer[..read].split_inclusive(|&byte| byte == b'\n') {
                        self.line.get_or_insert(part[0]);
                        if part.ends_with(b"\n") {
                            self.line_ended();
                        }
                    }
                }
                Err(error) if not_yet(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}

impl Redis {
    fn line_ended(&mut self) {
        let first = self.line.take();
        if !std::mem::take(&mut self.bulk) && first == Some(b'$') {
            self.bulk = true;
            return;
        }
        self.underway = self.underway.saturating_sub(1);
        self.refused += u64::from(first == Some(b'-'));
    }
}

fn not_yet(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected | io::ErrorKind::Interrupted
    )
}
