//! One connection to Redis: made and let in under a timeout, then bytes both ways.
//!
//! The redis crate reads URLs for us; its subscriptions hand every message through a queue without a bound and
//! allocate for each, so the connections are our own. This file must not know what is subscribed or published.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

use crate::config::Secret;
use crate::net::dial;
use crate::net::tls::server_name;
use crate::redis::client::decode::RespToken;
use crate::redis::client::error::RedisError;
use crate::redis::client::resp::{Received, RespReply, write_command};
use crate::redis::client::url::{Address, HostOrSocket};

type Socket = Either<Either<TcpStream, UnixStream>, Box<TlsStream<TcpStream>>>;

/// An open connection that has been let in.
pub(in crate::redis) struct RedisConnection {
    socket: Socket,
    received: Received,
    /// The address, to be shown.
    to: String,
}

impl RedisConnection {
    /// Connects, says who we are, and sees that Redis answers: at the longest `limit` in all. Of what it receives no
    /// text is kept that is longer than `max_text`.
    pub(in crate::redis) async fn open(
        address: &Address,
        limit: Duration,
        max_text: usize,
    ) -> Result<Self, RedisError> {
        let mut doing = "connecting";
        let opening = async {
            let socket = connect(address, limit)
                .await
                .map_err(|cause| RedisError::Connect { address: address.to_string(), cause })?;
            let to = address.to_string();
            let mut connection = Self { socket, received: Received::new(max_text), to };
            connection.log_in(address, &mut doing).await.map_err(|error| match error {
                RedisError::Closed | RedisError::Broken(_) | RedisError::NotRedis(_)
                    if address.tls.is_none() && matches!(address.location, HostOrSocket::Tcp { .. }) =>
                {
                    RedisError::NotPlain { address: address.to_string(), cause: error.to_string() }
                }
                error => error,
            })?;
            Ok(connection)
        };
        let opened = timeout(limit, opening).await;
        opened.unwrap_or_else(|_| Err(RedisError::Timeout { address: address.to_string(), limit, doing }))
    }

    async fn log_in(&mut self, address: &Address, doing: &mut &'static str) -> Result<(), RedisError> {
        let mut commands = Vec::new();
        let password = address.password.as_ref().map_or("", Secret::expose).as_bytes();
        let logs_in = match &address.user {
            // One without a password has the empty one.
            Some(user) => {
                write_command(&mut commands, &[b"AUTH", user.as_bytes(), password]);
                true
            }
            None if address.password.is_some() => {
                write_command(&mut commands, &[b"AUTH", password]);
                true
            }
            None => false,
        };
        if address.database != 0 {
            write_command(&mut commands, &[b"SELECT", address.database.to_string().as_bytes()]);
        }
        // Seen in CLIENT LIST. A user who may not set it is still welcome.
        write_command(&mut commands, &[b"CLIENT", b"SETNAME", b"sidestream"]);
        write_command(&mut commands, &[b"PING"]);
        self.send(&commands).await?;
        let secret = address.password.as_ref();
        if logs_in {
            *doing = "the user and password";
            self.status(doing, secret).await?.accepted()?;
        }
        if address.database != 0 {
            *doing = "the database";
            self.status(doing, secret).await?.accepted()?;
        }
        *doing = "the first ping";
        let _named = self.status(doing, secret).await?;
        self.status(doing, secret).await?.accepted()
    }

    /// Waits for the status that `doing` is answered with, or for its refusal.
    async fn status(
        &mut self,
        doing: &'static str,
        secret: Option<&Secret>,
    ) -> Result<StatusReply, RedisError> {
        loop {
            match self.next()? {
                Some(RespReply::Status(_)) => return Ok(StatusReply::Accepted),
                Some(RespReply::Error(text)) => {
                    return Ok(StatusReply::Refused(RedisError::refused(doing, text, secret)));
                }
                Some(_) => return Err(RedisError::Unexpected),
                None => self.receive().await?,
            }
        }
    }

    /// Where it leads, to be shown.
    pub(in crate::redis) fn to(&self) -> &str {
        &self.to
    }

    /// Writes all of `commands`. Not cancel safe: afterwards the connection is of no use.
    pub(in crate::redis) async fn send(&mut self, commands: &[u8]) -> Result<(), RedisError> {
        self.socket.write_all(commands).await?;
        // TLS may hold the last of it back.
        Ok(self.socket.flush().await?)
    }

    /// Waits until there is more to read. Cancel safe.
    pub(in crate::redis) async fn receive(&mut self) -> Result<(), RedisError> {
        match self.socket.read_buf(self.received.space()).await? {
            0 => Err(RedisError::Closed),
            _ => Ok(()),
        }
    }

    /// The next token; `doing` says in a error what we were at when none came for `limit`. Cancel safe.
    pub(in crate::redis) async fn token(
        &mut self,
        limit: Duration,
        doing: &'static str,
    ) -> Result<RespToken, RedisError> {
        loop {
            if let Some(token) = self.received.token()? {
                return Ok(token);
            }
            match timeout(limit, self.receive()).await {
                Ok(received) => received?,
                Err(_) => return Err(RedisError::Timeout { address: self.to.clone(), limit, doing }),
            }
        }
    }

    /// Passes over what is left of the value that began with `token`.
    pub(in crate::redis) async fn pass(
        &mut self,
        token: RespToken,
        limit: Duration,
        doing: &'static str,
    ) -> Result<(), RedisError> {
        let mut left = token.elements();
        while left > 0 {
            let token = self.token(limit, doing).await?;
            left = (left - 1).saturating_add(token.elements());
        }
        Ok(())
    }

    /// The next reply that has come whole.
    pub(in crate::redis) fn next(&mut self) -> Result<Option<RespReply<'_>>, RedisError> {
        Ok(self.received.next()?)
    }
}

/// What a command is answered with that has no other answer than its status.
enum StatusReply {
    Accepted,
    Refused(RedisError),
}

impl StatusReply {
    fn accepted(self) -> Result<(), RedisError> {
        match self {
            Self::Accepted => Ok(()),
            Self::Refused(why) => Err(why),
        }
    }
}

async fn connect(address: &Address, limit: Duration) -> io::Result<Socket> {
    match &address.location {
        HostOrSocket::Tcp { host, port } => {
            let socket = dial::tcp(host, *port, limit).await?;
            let Some(tls) = &address.tls else { return Ok(Either::Left(Either::Left(socket))) };
            let name =
                server_name(address.server_name.as_deref().unwrap_or(host)).map_err(io::Error::other)?;
            let socket = TlsConnector::from(Arc::clone(tls)).connect(name, socket).await?;
            Ok(Either::Right(Box::new(socket)))
        }
        HostOrSocket::Unix(path) => Ok(Either::Left(Either::Right(UnixStream::connect(path).await?))),
    }
}
