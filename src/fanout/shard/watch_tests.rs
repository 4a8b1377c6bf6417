//! What a watcher hears, over real sockets.

use std::net::{IpAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use crate::event::{Key, Name};
use crate::fanout::watcher::{StreamEnd, Watched, Watcher};
use crate::fanout::{CloseReason, Fanout, Framing, Join, Selector, Settings, Sink, StreamStart, Times};
use crate::log::{Log, Retention, TopicEdit};

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Told {
    Opened { user: Name, topics: Vec<Name>, address: IpAddr },
    Changed { gained: Vec<Key>, lost: Vec<Key>, topics: Vec<Name> },
    Ended { user: Name, topics: Vec<Name>, why: CloseReason },
}

struct Notes(SyncSender<Told>);

impl Notes {
    fn note(&self, told: Told) {
        // At a test's end nobody reads any more.
        let _ = self.0.try_send(told);
    }
}

impl Watcher for Notes {
    fn opened(&self, stream: &Watched<'_>) {
        assert!(SystemTime::now().duration_since(stream.opened).unwrap() < Duration::from_secs(60));
        let (user, topics) = (stream.user().unwrap().clone(), stream.topics().cloned().collect());
        self.note(Told::Opened { user, topics, address: stream.address });
    }

    fn changed(&self, stream: &Watched<'_>, gained: &[Key], lost: &[Key]) {
        let (gained, lost, topics) = (gained.to_vec(), lost.to_vec(), stream.topics().cloned().collect());
        self.note(Told::Changed { gained, lost, topics });
    }

    fn ended(&self, stream: &Watched<'_>, how: StreamEnd) {
        assert!(how.open_for < Duration::from_secs(60));
        assert_eq!(how.sent, 0);
        let (user, topics) = (stream.user().unwrap().clone(), stream.topics().cloned().collect());
        self.note(Told::Ended { user, topics, why: how.why });
    }
}

struct World {
    log: Arc<Log>,
    fanout: Fanout,
    listener: TcpListener,
}

impl World {
    fn new() -> Self {
        let retention = Retention {
            events: 100,
            bytes: usize::MAX,
            age: Duration::from_secs(3600),
            idempotency_window: Duration::from_secs(1),
        };
        let log = Arc::new(Log::new(retention));
        let settings = Settings { write_timeout: Duration::from_secs(10), ..Settings::silent(2) };
        let fanout = Fanout::start(&log, &settings).unwrap();
        Self { log, fanout, listener: TcpListener::bind("127.0.0.1:0").unwrap() }
    }

    fn watch(&self) -> Receiver<Told> {
        let (notes, told) = sync_channel(100);
        let watcher: Arc<dyn Watcher> = Arc::new(Notes(notes));
        self.fanout.watch(&watcher);
        told
    }

    fn join(&self, user: &str) -> TcpStream {
        let client = TcpStream::connect(self.listener.local_addr().unwrap()).unwrap();
        let (server, _) = self.listener.accept().unwrap();
        server.set_nonblocking(true).unwrap();
        self.join_by(user, server);
        client
    }

    fn join_by(&self, user: &str, socket: TcpStream) {
        self.fanout.join(Join {
            sink: Sink::Socket(socket, Framing::Plain),
            opening: Bytes::new(),
            cursor: self.log.head().position,
            snapshot: crate::fanout::SnapshotWish::None,
            keys: vec![Key::Broadcast, Key::User(name(user)), Key::Topic(name("t"))],
            decided: self.log.head().position,
            client: name("c"),
            address: HERE,
            route: "/events".into(),
            start: StreamStart::Fresh,
            meta: None,
            token: None,
            times: Times::default(),
            trace: None,
            max_age: None,
            idle: None,
            look: None,
            choice: None,
            seat: Box::new(()),
        });
    }
}

fn next(told: &Receiver<Told>) -> Told {
    told.recv_timeout(Duration::from_secs(10)).expect("no watcher was called")
}

fn opened(user: &str) -> Told {
    Told::Opened { user: name(user), topics: vec![name("t")], address: HERE }
}

fn ended(user: &str, why: CloseReason) -> Told {
    Told::Ended { user: name(user), topics: vec![name("t")], why }
}

#[test]
fn a_stream_is_opened_once_and_ended_once_with_the_reason() {
    let world = World::new();
    let told = world.watch();
    let first = world.join("a");
    assert_eq!(next(&told), opened("a"));
    let _second = world.join("b");
    assert_eq!(next(&told), opened("b"));
    drop(first);
    assert_eq!(next(&told), ended("a", CloseReason::ClientGone));
    world
        .fanout
        .end_soon(&Selector { keys: [Key::User(name("b"))].into(), token: None }, CloseReason::Revoked);
    assert_eq!(next(&told), ended("b", CloseReason::Revoked));
    world.fanout.stop();
    assert!(told.try_recv().is_err(), "there was nobody left");
}

#[test]
fn who_watches_late_is_told_of_the_open_streams_and_of_those_that_a_stop_ends() {
    let world = World::new();
    let _clients = [world.join("a"), world.join("a")];
    let (one, other) = (world.watch(), world.watch());
    for told in [&one, &other] {
        assert_eq!([next(told), next(told)], [opened("a"), opened("a")]);
    }
    world.fanout.stop();
    for told in [one, other] {
        assert_eq!(
            [next(&told), next(&told)],
            [ended("a", CloseReason::Draining), ended("a", CloseReason::Draining)]
        );
    }
}

#[test]
fn what_a_stream_gains_and_loses_is_told() {
    let world = World::new();
    let told = world.watch();
    let user = Key::User(name("a"));
    let topic = |text| Key::Topic(name(text));
    let _client = world.join("a");
    assert_eq!(next(&told), opened("a"));
    let edit = TopicEdit::Change { add: vec![name("t").into(), name("x").into()], remove: vec![] };
    world.log.edit(&user, edit).unwrap();
    let topics = vec![name("t"), name("x")];
    assert_eq!(next(&told), Told::Changed { gained: vec![topic("x")], lost: vec![], topics });
    let edit = TopicEdit::Change { add: vec![], remove: vec![name("t").into(), name("x").into()] };
    world.log.edit(&user, edit).unwrap();
    let lost = vec![topic("t"), topic("x")];
    assert_eq!(next(&told), Told::Changed { gained: vec![], lost, topics: vec![] });
    // What it is given before it joins it has from its beginning.
    world.log.edit(&Key::User(name("b")), TopicEdit::Replace(vec![name("y").into()])).unwrap();
    let _other = world.join("b");
    let Told::Opened { topics, .. } = next(&told) else { panic!() };
    assert_eq!(topics, [name("t"), name("y")]);
}

#[test]
fn a_stream_that_joins_in_a_drain_is_opened_and_ended() {
    let world = World::new();
    let told = world.watch();
    world.fanout.drain(Duration::from_secs(60));
    let _client = world.join("a");
    assert_eq!([next(&told), next(&told)], [opened("a"), ended("a", CloseReason::Draining)]);
}

#[test]
fn nobody_is_told_of_a_socket_that_cannot_be_waited_for() {
    let world = World::new();
    let told = world.watch();
    // A file is always ready, so the system's poll refuses it.
    let file = std::fs::File::open("Cargo.toml").unwrap();
    world.join_by("a", TcpStream::from(std::os::fd::OwnedFd::from(file)));
    let _client = world.join("b");
    assert_eq!(next(&told), opened("b"));
    world.fanout.stop();
    assert_eq!(next(&told), ended("b", CloseReason::Draining));
    assert_eq!(world.fanout.open(), 0);
    assert!(told.try_recv().is_err());
}
