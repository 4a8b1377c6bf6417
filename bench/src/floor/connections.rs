//! What the floor's servers share: listening, accepting, and whole requests out of a connection's bytes.

use std::io::{self, Read as _};
use std::net::SocketAddr;

use mio::net::{TcpListener, TcpStream};
use socket2::{Domain, Socket, Type};

use crate::wire::{head_end, length};

/// Listens with a backlog that takes a crowd.
pub(super) fn listen(on: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(on), Type::STREAM.nonblocking().cloexec(), None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&on.into())?;
    socket.listen(4096)?;
    Ok(TcpListener::from_std(socket.into()))
}

/// The next connection that waits, if one does.
pub(super) fn accept(listener: &TcpListener) -> io::Result<Option<TcpStream>> {
    match listener.accept() {
        Ok((socket, _)) => {
            socket.set_nodelay(true)?;
            Ok(Some(socket))
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

/// A connection's bytes on their way in.
#[derive(Default)]
pub(super) struct Input(Vec<u8>);

impl Input {
    /// Takes what is there; `false` when the peer is gone.
    pub(super) fn read(&mut self, socket: &mut TcpStream) -> bool {
        let mut buffer = [0; 16 << 10];
        loop {
            match socket.read(&mut buffer) {
                Ok(0) => return false,
                Ok(read) => {
                    self.0.extend_from_slice(&buffer[..read]);
                    if read < buffer.len() {
                        return true;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(_) => return false,
            }
        }
    }

    /// Calls `on` with the body of the next whole request and takes it out; `false` if there is none.
    pub(super) fn request(&mut self, on: impl FnOnce(&[u8])) -> bool {
        let Some(head) = head_end(&self.0) else { return false };
        let whole = head + length(&self.0[..head]).unwrap_or(0);
        if self.0.len() < whole {
            return false;
        }
        on(&self.0[head..whole]);
        self.0.drain(..whole);
        true
    }
}
