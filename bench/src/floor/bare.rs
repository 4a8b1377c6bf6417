//! The bare loop: every event is one `write(2)` to one socket after the other, in one thread.
//!
//! It knows one topic, keeps nothing, checks nobody. Whatever a server costs above it is that server's own.

use std::io::{self, Write as _};
use std::net::SocketAddr;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::connections::{Input, accept, listen};

const STREAMS: Token = Token(usize::MAX - 1);
const PUBLISH: Token = Token(usize::MAX - 2);

const HEAD: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache, no-transform\r\n\
    x-accel-buffering: no\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n";
const DONE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

enum Connection {
    /// Its request is not in yet.
    New(TcpStream, Input),
    /// A reader, and what its socket did not take.
    Reader(TcpStream, Vec<u8>),
    Publisher(TcpStream, Input),
}

/// Serves streams and publishes until the process is ended.
pub(crate) fn bare() -> io::Result<()> {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let (mut streams, mut publish) = (listen(any)?, listen(any)?);
    let mut poll = Poll::new()?;
    poll.registry().register(&mut streams, STREAMS, Interest::READABLE)?;
    poll.registry().register(&mut publish, PUBLISH, Interest::READABLE)?;
    println!("listening {} {}", streams.local_addr()?, publish.local_addr()?);
    io::stdout().flush()?;

    let mut bare = Bare { connections: Vec::new(), id: 0 };
    let mut free = Vec::new();
    let mut events = Events::with_capacity(1024);
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for event in &events {
            let token = event.token();
            if token == STREAMS || token == PUBLISH {
                let listener = if token == STREAMS { &streams } else { &publish };
                while let Some(mut socket) = accept(listener)? {
                    let index = free.pop().unwrap_or_else(|| {
                        bare.connections.push(None);
                        bare.connections.len() - 1
                    });
                    let both = Interest::READABLE | Interest::WRITABLE;
                    poll.registry().register(&mut socket, Token(index), both)?;
                    bare.connections[index] = Some(if token == STREAMS {
                        Connection::New(socket, Input::default())
                    } else {
                        Connection::Publisher(socket, Input::default())
                    });
                }
            } else if !bare.serve(token.0) {
                bare.connections[token.0] = None;
                free.push(token.0);
            }
        }
    }
}

struct Bare {
    connections: Vec<Option<Connection>>,
    id: u64,
}

impl Bare {
    /// Does what a ready socket asks for; `false` when it is gone.
    fn serve(&mut self, index: usize) -> bool {
        let Some(connection) = self.connections[index].take() else { return true };
        let next = match connection {
            Connection::New(mut socket, mut input) => {
                if !input.read(&mut socket) {
                    return false;
                }
                if input.request(|_| {}) {
                    if socket.write_all(HEAD).is_err() {
                        return false;
                    }
                    Connection::Reader(socket, Vec::new())
                } else {
                    Connection::New(socket, input)
                }
            }
            Connection::Reader(mut socket, mut late) => {
                if !Input::default().read(&mut socket) || !flush(&mut socket, &mut late) {
                    return false;
                }
                Connection::Reader(socket, late)
            }
            Connection::Publisher(mut socket, mut input) => {
                if !input.read(&mut socket) {
                    return false;
                }
                while input.request(|data| self.fan_out(data)) {
                    if socket.write_all(DONE).is_err() {
                        return false;
                    }
                }
                Connection::Publisher(socket, input)
            }
        };
        self.connections[index] = Some(next);
        true
    }

    fn fan_out(&mut self, data: &[u8]) {
        self.id += 1;
        let mut text = b"data: ".to_vec();
        text.extend_from_slice(data);
        text.extend_from_slice(format!("\nid: 1700000000000-{}-abcdef\n\n", self.id).as_bytes());
        let mut frame = format!("{:x}\r\n", text.len()).into_bytes();
        frame.extend_from_slice(&text);
        frame.extend_from_slice(b"\r\n");
        for connection in &mut self.connections {
            let Some(Connection::Reader(socket, late)) = connection else { continue };
            if !late.is_empty() {
                late.extend_from_slice(&frame);
                continue;
            }
            match socket.write(&frame) {
                Ok(written) if written == frame.len() => {}
                Ok(written) => late.extend_from_slice(&frame[written..]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => late.extend_from_slice(&frame),
                // Its own event says that it is gone.
                Err(_) => {}
            }
        }
    }
}

fn flush(socket: &mut TcpStream, late: &mut Vec<u8>) -> bool {
    while !late.is_empty() {
        match socket.write(late) {
            Ok(written) => drop(late.drain(..written)),
            Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
        }
    }
    true
}
