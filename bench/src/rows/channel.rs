//! As many topics as streams, published over Redis channels. Redis works on the load's core.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::compare::{Bench, Outcome};
use super::steady::SIZE;
use super::topics::{by_name, each_its_own};
use crate::figure::{Bound, Rule, Spec};
use crate::load::Door;
use crate::peers::{Server, redis_publish, start_redis};
use crate::report::grouped;

pub(super) fn run(bench: &Bench) -> Outcome {
    let topics = bench.size(5000, 500);
    let specs = vec![Spec {
        what: format!("{} topics × 1 stream, over a Redis channel: events a second", grouped(topics.into())),
        unit: "/s",
        rule: Rule {
            subject: "sidestream",
            against: None,
            must: Some(Bound::AtLeast(100_000.0)),
            aim: Some(Bound::AtLeast(200_000.0)),
        },
    }];
    let redis = start_redis(&[bench.load_core]);
    let mut sidestream = bench.contender(Server::Sidestream);
    sidestream.setup.sidestream.redis = redis.as_ref().ok().map(|redis| redis.target.streams);
    bench.compare("channel", specs, [sidestream], |_, running| {
        let redis = redis.as_ref().map_err(|missing| io::Error::other(missing.0.clone()))?.target.streams;
        subscribed(redis)?;
        each_its_own(bench, running, by_name(running, topics), Door::redis(redis)?, redis_publish(SIZE))
    })
}

/// Waits until somebody has subscribed to a pattern: what is published before reaches nobody.
fn subscribed(redis: SocketAddr) -> io::Result<()> {
    let mut connection = TcpStream::connect(redis)?;
    connection.set_read_timeout(Some(Duration::from_secs(2)))?;
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut answer = [0; 64];
    while Instant::now() < deadline {
        connection.write_all(b"PUBSUB NUMPAT\r\n")?;
        let read = connection.read(&mut answer)?;
        if answer[..read].starts_with(b":") && !answer[..read].starts_with(b":0") {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Err(io::Error::other("nobody has subscribed to a pattern in Redis"))
}
