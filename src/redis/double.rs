//! A scripted stand-in for Redis, for what the real one does not do on demand: falling silent at a certain point,
//! and answers that it would not give.

use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::config::Secret;
use crate::redis::Timing;
use crate::redis::client::url::Address;

pub(super) const TIMING: Timing = Timing {
    timeout: Duration::from_millis(300),
    ping_interval: Duration::from_millis(100),
    max_backoff: Duration::from_millis(100),
};

/// How long anything may take that should take no time to speak of.
const SOON: Duration = Duration::from_secs(20);

pub(super) async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, work).await.unwrap_or_else(|_| panic!("{what}: nothing within {SOON:?}"))
}

pub(super) async fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    within(what, async {
        while !check() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// An address where nobody answers, for as long as the socket is kept: bound, so that it is nobody else's either.
pub(super) fn nobody() -> (TcpSocket, Address) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address =
        Address::parse(&Secret::new(format!("redis://{}", socket.local_addr().unwrap())), None).unwrap();
    (socket, address)
}

pub(super) struct Double(TcpListener);

impl Double {
    pub(super) async fn start() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    /// Its address, with what stands before the host in its URL.
    pub(super) fn address(&self, user: &str) -> Address {
        Address::parse(&Secret::new(format!("redis://{user}{}", self.0.local_addr().unwrap())), None).unwrap()
    }

    pub(super) async fn accept(&self) -> Peer {
        let (socket, _) = within("a connection", self.0.accept()).await.unwrap();
        Peer(BufReader::new(socket))
    }
}

/// One accepted connection.
pub(super) struct Peer(BufReader<TcpStream>);

impl Peer {
    /// The next command's words; None at the end of the connection.
    pub(super) async fn command(&mut self) -> Option<Vec<String>> {
        within("a command", async {
            let words = self.length().await?;
            let mut command = Vec::new();
            for _ in 0..words {
                let mut word = vec![0; self.length().await? + 2];
                self.0.read_exact(&mut word).await.ok()?;
                word.truncate(word.len() - 2);
                command.push(String::from_utf8(word).unwrap());
            }
            Some(command)
        })
        .await
    }

    async fn length(&mut self) -> Option<usize> {
        let mut line = String::new();
        self.0.read_line(&mut line).await.ok()?;
        line.get(1..)?.trim_end().parse().ok()
    }

    /// Waits for a command with this first word.
    pub(super) async fn expect(&mut self, word: &str) -> Vec<String> {
        let command = self.command().await.expect("the connection has ended");
        assert_eq!(command[0], word);
        command
    }

    pub(super) async fn say(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    /// Lets the client in.
    pub(super) async fn welcome(&mut self) {
        self.expect("CLIENT").await;
        self.expect("PING").await;
        self.say(b"+OK\r\n+PONG\r\n").await;
    }

    /// Lets the client in, as a master.
    pub(super) async fn welcome_master(&mut self) {
        self.welcome().await;
        self.master().await;
    }

    /// Answers the question for its role.
    pub(super) async fn master(&mut self) {
        self.expect("ROLE").await;
        self.say(b"*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n").await;
    }

    /// Says that it is a replica, when it has been asked.
    pub(super) async fn replica(&mut self) {
        self.say(b"*5\r\n$5\r\nslave\r\n$9\r\n127.0.0.1\r\n:1\r\n$9\r\nconnected\r\n:0\r\n").await;
    }

    /// Lets the client in and confirms its subscriptions.
    pub(super) async fn subscribe(&mut self) {
        self.welcome().await;
        assert_eq!(self.expect("SUBSCRIBE").await, ["SUBSCRIBE", "sidestream", "sidestream:topics"]);
        assert_eq!(self.expect("PSUBSCRIBE").await, ["PSUBSCRIBE", "sidestream:topic:*"]);
        self.expect("PING").await;
        self.say(b"*3\r\n$9\r\nsubscribe\r\n$10\r\nsidestream\r\n:1\r\n").await;
        self.say(b"*3\r\n$9\r\nsubscribe\r\n$17\r\nsidestream:topics\r\n:2\r\n").await;
        self.say(b"*3\r\n$10\r\npsubscribe\r\n$18\r\nsidestream:topic:*\r\n:3\r\n").await;
        self.pong().await;
    }

    pub(super) async fn pong(&mut self) {
        self.say(b"*2\r\n$4\r\npong\r\n$0\r\n\r\n").await;
    }

    /// Waits for the end of the connection, whatever is said before it.
    pub(super) async fn ended(&mut self) {
        while self.command().await.is_some() {}
    }
}
