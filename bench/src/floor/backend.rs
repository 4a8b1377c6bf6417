//! A backend that costs next to nothing: it answers every request with the same small body, in one thread.

use std::io::{self, Write as _};
use std::net::SocketAddr;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::connections::{Input, accept, listen};

const LISTENER: Token = Token(usize::MAX - 1);

const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 13\r\n\r\nHello, world\n";

/// Serves until the process is ended.
pub(crate) fn backend() -> io::Result<()> {
    let mut listener = listen(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let mut poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    println!("listening {0} {0}", listener.local_addr()?);
    io::stdout().flush()?;

    let mut connections: Vec<Option<(TcpStream, Input)>> = Vec::new();
    let mut events = Events::with_capacity(1024);
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for event in &events {
            if event.token() == LISTENER {
                while let Some(mut socket) = accept(&listener)? {
                    let free = connections.iter().position(Option::is_none).unwrap_or_else(|| {
                        connections.push(None);
                        connections.len() - 1
                    });
                    poll.registry().register(&mut socket, Token(free), Interest::READABLE)?;
                    connections[free] = Some((socket, Input::default()));
                }
                continue;
            }
            let connection = &mut connections[event.token().0];
            let Some((socket, input)) = connection else { continue };
            let mut alive = input.read(socket);
            while alive && input.request(|_| {}) {
                alive = socket.write_all(ANSWER).is_ok();
            }
            if !alive {
                *connection = None;
            }
        }
    }
}
