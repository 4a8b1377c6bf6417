//! One reader: connects, asks, and takes what comes. Its socket is the engine's to watch.

use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use mio::net::TcpStream;
use socket2::{Domain, Socket, Type};

use super::tally::Place;
use crate::wire::{Answer, Block, Chunked, blocks};

/// A stream to be opened.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) request: Vec<u8>,
    /// The lanes whose events it must get.
    pub(crate) lanes: Range<u32>,
}

pub(crate) struct Stream {
    pub(crate) socket: TcpStream,
    pub(crate) phase: Phase,
    pub(crate) lanes: Range<u32>,
    /// One for each lane.
    pub(crate) places: Vec<Place>,
    /// Bytes that are not a whole block, or not a whole head, yet.
    rest: Vec<u8>,
    chunked: Option<Chunked>,
    pub(crate) last_id: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Connecting,
    /// The request is out, the answer's head is not in.
    Asked,
    Open,
    Over,
}

/// What reading from a stream's socket came to.
pub(crate) enum Readout {
    /// So many bytes; the socket may have more.
    More(usize),
    /// So many bytes, and no more for now.
    Drained(usize),
    Over,
}

/// A connection that vanishes when it is closed: thousands of them leave no port in TIME_WAIT behind.
pub(crate) fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM.nonblocking().cloexec(), None)?;
    socket.set_linger(Some(Duration::ZERO))?;
    socket.set_tcp_nodelay(true)?;
    match socket.connect(&to.into()) {
        Err(error) if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {
            Err(error)
        }
        _ => Ok(TcpStream::from_std(socket.into())),
    }
}

impl Stream {
    pub(crate) fn new(socket: TcpStream, lanes: Range<u32>, places: Vec<Place>) -> Self {
        let phase = Phase::Connecting;
        Self { socket, phase, lanes, places, rest: Vec::new(), chunked: None, last_id: Vec::new() }
    }

    /// Sends the request once the connection stands.
    pub(crate) fn ask(&mut self, request: &[u8]) -> io::Result<()> {
        if let Some(error) = self.socket.take_error()? {
            return Err(error);
        }
        // A request is smaller than any socket's buffer.
        let sent = self.socket.write(request)?;
        if sent < request.len() {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.phase = Phase::Asked;
        Ok(())
    }

    /// Reads once, and calls `on` with this stream's places for every whole block.
    pub(crate) fn read(
        &mut self,
        buffer: &mut [u8],
        mut on: impl FnMut(&mut [Place], &Range<u32>, &mut Vec<u8>, Block<'_>),
    ) -> Readout {
        let kept = self.rest.len();
        if kept * 2 > buffer.len() {
            return Readout::Over;
        }
        buffer[..kept].copy_from_slice(&self.rest);
        let read = match self.socket.read(&mut buffer[kept..]) {
            Ok(0) => return Readout::Over,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Readout::Drained(0),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Readout::More(0),
            Err(_) => return Readout::Over,
        };
        let full = kept + read == buffer.len();
        let mut from = 0;
        let mut text = kept;
        let mut end = kept + read;
        if self.phase == Phase::Asked {
            let Some(answer) = Answer::parse(&buffer[..end]) else {
                self.keep(&buffer[..end]);
                return Readout::Drained(read);
            };
            if answer.status != 200 {
                return Readout::Over;
            }
            self.phase = Phase::Open;
            self.chunked = answer.chunked.then(Chunked::default);
            from = answer.head;
            text = answer.head;
        }
        if let Some(chunked) = &mut self.chunked {
            match chunked.take_off(&mut buffer[text..end]) {
                Ok(len) => end = text + len,
                Err(_) => return Readout::Over,
            }
        }
        let Self { places, lanes, last_id, .. } = self;
        let whole = blocks(&buffer[from..end], |block| on(places, lanes, last_id, block));
        self.keep(&buffer[from + whole..end]);
        if full { Readout::More(read) } else { Readout::Drained(read) }
    }

    fn keep(&mut self, rest: &[u8]) {
        self.rest.clear();
        self.rest.extend_from_slice(rest);
    }
}
