//! The log in a Redis stream: events a second, what it adds to a publish's way, how soon it is there after a start and
//! after Redis was away. Redis works on the load's core.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::compare::{Bench, Outcome, ended, ms};
use super::steady::{SIZE, one_topic};
use super::topics::{by_name, each_its_own};
use crate::figure::{Bound, Measured, Rule, Spec};
use crate::load::{Door, Faults, Pace};
use crate::meter::Meter;
use crate::peers::{
    Missing, Running, Server, free_port, redis_add, redis_command, start_redis, start_redis_in,
};
use crate::report::grouped;

const ADDED: Rule = Rule { subject: "sidestream", against: None, must: None, aim: None };
const WITHIN_2_S: Rule =
    Rule { subject: "sidestream", against: None, must: Some(Bound::AtMost(2000.0)), aim: None };

/// Events a second.
pub(super) fn added(bench: &Bench) -> Outcome {
    let topics = bench.size(5000, 500);
    let what = format!("{} topics × 1 stream, by XADD: events a second", grouped(topics.into()));
    let specs = vec![Spec { what, unit: "/s", rule: ADDED }];
    let redis = start_redis(&[bench.load_core]);
    let mut sidestream = bench.contender(Server::Sidestream);
    sidestream.setup.sidestream.redis = redis.as_ref().ok().map(|redis| redis.target.streams);
    sidestream.setup.sidestream.redis_stream = true;
    bench.compare("added", specs, [sidestream], |_, running| {
        let redis = there(&redis)?.target.streams;
        each_its_own(bench, running, by_name(running, topics), Door::redis(redis)?, redis_add(SIZE))
    })
}

/// From a publish over HTTP to its reader, with the log in memory and in Redis.
pub(super) fn published(bench: &Bench) -> Outcome {
    let rule = |must| Rule { subject: "Redis stream", against: Some("sidestream"), must, aim: None };
    let at = "100 HTTP publishes a second to one reader";
    let specs = vec![
        Spec { what: format!("{at}: median to the reader"), unit: "ms", rule: rule(None) },
        Spec { what: format!("{at}: p99 to the reader"), unit: "ms", rule: rule(None) },
    ];
    let redis = start_redis(&[bench.load_core]);
    let memory = bench.contender(Server::Sidestream);
    let mut stream = bench.contender(Server::Sidestream);
    stream.label = "Redis stream";
    stream.setup.sidestream.redis = redis.as_ref().ok().map(|redis| redis.target.streams);
    stream.setup.sidestream.redis_stream = true;
    bench.compare("published", specs, [memory, stream], |_, running| {
        there(&redis)?;
        let mut load = one_topic(running, 1, SIZE, 4)?;
        load.pace(Pace::Rate(100.0));
        load.run(bench.seconds(2, 1))?;
        let meter = Meter::start(running)?;
        let tally = load.run(bench.seconds(10, 2))?;
        let usage = meter.stop()?;
        let at = |quantile| Some(ms(tally.each.value_at_quantile(quantile)));
        Ok(Measured { values: vec![at(0.5), at(0.99)], faults: ended(&mut load)?, usage, notes: Vec::new() })
    })
}

/// From a start to readiness, with many events in the stream.
pub(super) fn loaded(bench: &Bench) -> Outcome {
    let events = bench.size(100_000, 1000);
    let what = format!("start with {} events in the stream: until ready", grouped(events));
    let specs = vec![Spec { what, unit: "ms", rule: WITHIN_2_S }];
    let redis = start_redis(&[bench.load_core]);
    let filled = redis.as_ref().map_err(|missing| missing.0.clone()).and_then(|redis| {
        fill(redis.target.streams, events).map_err(|error| format!("the stream could not be filled: {error}"))
    });
    let mut sidestream = bench.contender(Server::Sidestream);
    sidestream.setup.sidestream.redis = redis.as_ref().ok().map(|redis| redis.target.streams);
    sidestream.setup.sidestream.redis_stream = true;
    bench.compare("loaded", specs, [sidestream], |contender, first| {
        filled.as_ref().map_err(|error| io::Error::other(error.clone()))?;
        // The one that is running tells that all is well; the measured one is started under the clock.
        ready(first.target.publish)?;
        let began = Instant::now();
        let second = contender
            .server
            .start(&contender.setup, &bench.binary)
            .map_err(|missing| io::Error::other(missing.0))?;
        ready(second.target.publish)?;
        let time = began.elapsed();
        let usage = Meter::start(&second)?.stop()?;
        let values = vec![Some(time.as_secs_f64() * 1e3)];
        Ok(Measured { values, faults: Faults::default(), usage, notes: Vec::new() })
    })
}

/// From Redis's return to an event's arrival.
pub(super) fn returned(bench: &Bench) -> Outcome {
    let what = "Redis killed and started again: from its first answer to an event's arrival".to_owned();
    let specs = vec![Spec { what, unit: "ms", rule: WITHIN_2_S }];
    let place = tempfile::tempdir().and_then(|place| Ok((place, free_port()?)));
    let mut sidestream = bench.contender(Server::Sidestream);
    if let Ok((_, port)) = &place {
        sidestream.setup.sidestream.redis = Some(SocketAddr::from(([127, 0, 0, 1], *port)));
    }
    sidestream.setup.sidestream.redis_stream = true;
    bench.compare("returned", specs, [sidestream], |_, running| {
        let (place, port) = place.as_ref().map_err(|error| io::Error::other(error.to_string()))?;
        let start = || {
            start_redis_in(place.path(), *port, &[bench.load_core])
                .map_err(|missing| io::Error::other(missing.0))
        };
        let redis = start()?;
        let address = redis.target.streams;
        ready(running.target.publish)?;
        let mut stream = TcpStream::connect(running.target.streams)?;
        stream.write_all(&running.target.stream(0))?;
        arrives(&mut stream, address)?;
        drop(redis);
        // Long enough for the pause between two attempts to have grown to its largest.
        std::thread::sleep(bench.seconds(8, 1));
        let _redis = start()?;
        answers(address)?;
        let back = Instant::now();
        arrives(&mut stream, address)?;
        let time = back.elapsed();
        let usage = Meter::start(running)?.stop()?;
        let values = vec![Some(time.as_secs_f64() * 1e3)];
        Ok(Measured { values, faults: Faults::default(), usage, notes: Vec::new() })
    })
}

fn there(redis: &Result<Running, Missing>) -> io::Result<&Running> {
    redis.as_ref().map_err(|missing| io::Error::other(missing.0.clone()))
}

/// Waits until the server at the internal listener `to` says that it is ready.
fn ready(to: SocketAddr) -> io::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(30);
    while Instant::now() < deadline {
        let mut connection = TcpStream::connect(to)?;
        connection
            .write_all(b"GET /readyz/events HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer)?;
        if answer.starts_with("HTTP/1.1 200") {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Err(io::Error::other("not ready after half a minute"))
}

/// Waits until Redis has loaded what it kept.
fn answers(redis: SocketAddr) -> io::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        match command(redis, &[b"PING"], b"+PONG") {
            Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(1)),
            answered => return answered,
        }
    }
}

/// Adds events until one of them arrives on `stream`.
fn arrives(stream: &mut TcpStream, redis: SocketAddr) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_millis(20)))?;
    let deadline = Instant::now() + Duration::from_secs(30);
    let mark = format!("arrival-{}", crate::clock::now());
    let event = format!("{{\"topic\":\"{}\",\"data\":\"{mark}\"}}", crate::wire::topic(0));
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    while Instant::now() < deadline {
        // While Redis loads what it kept, it refuses: then the next one.
        let _ = command(redis, &[b"XADD", b"sidestream:log", b"*", b"event", event.as_bytes()], b"$");
        match stream.read(&mut buffer) {
            Ok(0) => return Err(io::Error::other("the stream ended")),
            Ok(read) => seen.extend_from_slice(&buffer[..read]),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Err(error) => return Err(error),
        }
        if memchr::memmem::find(&seen, mark.as_bytes()).is_some() {
            return Ok(());
        }
    }
    Err(io::Error::other("no event arrived in half a minute"))
}

/// One command on a connection of its own; an answer that does not begin so is an error.
fn command(redis: SocketAddr, words: &[&[u8]], answer: &[u8]) -> io::Result<()> {
    let mut connection = TcpStream::connect(redis)?;
    connection.set_read_timeout(Some(Duration::from_secs(5)))?;
    connection.write_all(&redis_command(words))?;
    let mut buffer = [0; 256];
    let read = connection.read(&mut buffer)?;
    if buffer[..read].starts_with(answer) {
        return Ok(());
    }
    Err(io::Error::other(String::from_utf8_lossy(&buffer[..read]).into_owned()))
}

/// Puts `events` into sidestream's stream.
fn fill(redis: SocketAddr, events: u64) -> io::Result<()> {
    let mut connection = TcpStream::connect(redis)?;
    connection.set_read_timeout(Some(Duration::from_secs(10)))?;
    let request = redis_add(SIZE);
    let (mut answers, mut buffer) = (0, [0; 64 << 10]);
    for batch in 0..events.div_ceil(1000) {
        let batch = (events - batch * 1000).min(1000);
        connection.write_all(&request.repeat(batch as usize))?;
        let wanted = answers + batch;
        while answers < wanted {
            let read = connection.read(&mut buffer)?;
            if read == 0 {
                return Err(io::Error::other("Redis closed the connection"));
            }
            answers += memchr::memchr_iter(b'$', &buffer[..read]).count() as u64;
        }
    }
    Ok(())
}
