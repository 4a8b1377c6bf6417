//! What one instance notices of its own streams, topics among them.

use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use bytes::Bytes;

use super::*;
use crate::control::presence::{EventPublisher, PublishError, Publishing};
use crate::event::Key;
use crate::fanout::{Framing, Join, Settings, Sink, StreamStart, Times};
use crate::log::{Log, Retention, TopicEdit};

struct Notes(SyncSender<String>);

impl PresenceListener for Notes {
    fn noticed(&self, noticed: &PresenceChange) {
        let PresenceChange { kind, name, here, .. } = noticed;
        let word = if *here { "here" } else { "gone" };
        let _ = self.0.try_send(format!("{kind:?} {name} {word}"));
    }
}

struct Silence;

impl EventPublisher for Silence {
    fn publish(&self, _body: Bytes) -> Publishing<'_> {
        Box::pin(async { Err(PublishError::Ever) })
    }
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn join(fanout: &Fanout, listener: &TcpListener, topic: &str) -> TcpStream {
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    server.set_nonblocking(true).unwrap();
    fanout.join(Join {
        sink: Sink::Socket(server, Framing::Plain),
        opening: Bytes::new(),
        cursor: crate::log::Position::default(),
        snapshot: crate::fanout::SnapshotWish::None,
        keys: vec![Key::User(name("ann")), Key::Topic(name(topic))],
        decided: crate::log::Position::default(),
        client: name("c"),
        route: "/events".into(),
        start: StreamStart::Fresh,
        meta: None,
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        token: None,
        times: Times::default(),
        trace: None,
        max_age: None,
        idle: None,
        look: None,
        choice: None,
        seat: Box::new(()),
    });
    client
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_and_topics_are_noticed_as_they_fill_and_empty() {
    let retention = Retention {
        events: 100,
        bytes: usize::MAX,
        age: Duration::from_secs(3600),
        idempotency_window: Duration::from_secs(1),
    };
    let log = Arc::new(Log::new(retention));
    let settings = Settings::silent(2);
    let fanout = Arc::new(Fanout::start(&log, &settings).unwrap());
    let instances = Arc::new(Instances::new(&config::Instance::default()));
    let drain = Drain::new();
    let surveys = Arc::new(Surveys::new(Arc::clone(&instances), drain.clone()));
    let section = config::Presence { grace: Duration::from_millis(50), ..config::Presence::default() };
    let presence = Presence::new(&section, instances, surveys, Arc::clone(&fanout), true, true);
    let presence = Arc::new(presence);
    let (notes, noticed) = sync_channel(100);
    presence.heed(Arc::new(Notes(notes)));
    drain.spawn(Arc::clone(&presence).gather_all(drain.clone()));
    presence.announce_all(Arc::new(Silence), &drain);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();

    let next = async |noticed: &Receiver<String>, count: usize| {
        let mut all = Vec::new();
        let until = Instant::now() + Duration::from_secs(10);
        while all.len() < count {
            assert!(Instant::now() < until, "only {all:?}");
            presence.turn(true);
            all.extend(noticed.try_recv());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        all.sort();
        all
    };
    let first = join(&fanout, &listener, "x");
    assert_eq!(next(&noticed, 2).await, ["Topic x here", "User ann here"]);
    let second = join(&fanout, &listener, "y");
    assert_eq!(next(&noticed, 1).await, ["Topic y here"]);
    log.edit(&Key::User(name("ann")), TopicEdit::Replace(vec![name("z").into()])).unwrap();
    assert_eq!(next(&noticed, 1).await, ["Topic z here"]);
    drop(first);
    assert_eq!(next(&noticed, 1).await, ["Topic x gone"]);
    drop(second);
    assert_eq!(next(&noticed, 3).await, ["Topic y gone", "Topic z gone", "User ann gone"]);
    drain.start();
    drain.finished().await;
}
