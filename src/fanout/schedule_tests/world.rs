//! The readers of a schedule, and the model that every block they get is held against.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::net::{IpAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::event::{Audience, Event, Key, Name, Pattern, TopicFilter};
use crate::fanout::requests::{Selector, Times};
use crate::fanout::{CloseReason, Fanout, Framing, Join, Settings, Sink, StreamStart};
use crate::log::{BadEdit, Log, Position, Retention, TopicEdit};

/// A small deterministic generator: a seed is a schedule.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

pub(super) fn name(kind: &str, number: u64) -> Name {
    Name::parse(&format!("{kind}{number}")).unwrap()
}

pub(super) fn topic(number: u64) -> Key {
    Key::Topic(name("t", number))
}

/// One of some topics that are there from the beginning, or one that has not been there before.
pub(super) fn any_topic(random: &mut Random) -> Key {
    match random.below(3) {
        0 => Key::Topic(Name::parse(&format!("t{}.{}", random.below(5), random.below(1_000_000))).unwrap()),
        _ => topic(random.below(5)),
    }
}

/// What a stream may ask for, or somebody may be given.
pub(super) fn any_filter(random: &mut Random) -> TopicFilter {
    const PATTERNS: [&str; 6] = ["t*", "t1.*", "t2*", "*3", "t*.*7", "t*4"];
    match random.below(3) {
        0 => TopicFilter::Pattern(Pattern::parse(PATTERNS[random.below(6) as usize]).unwrap()),
        _ => TopicFilter::Topic(name("t", random.below(5))),
    }
}

/// The topics of each user, session and client.
type Sets = BTreeMap<String, BTreeSet<TopicFilter>>;

/// One published event, as the model knows it.
struct Published {
    keys: Vec<Key>,
    except: Vec<Key>,
    ephemeral: bool,
    position: Position,
    /// Who was given what when it was published.
    sets: Arc<Sets>,
}

pub(super) struct Reader {
    pub(super) socket: TcpStream,
    keys: Vec<Key>,
    /// Topics of `keys` that were taken from it, and the last event before that.
    removed: Vec<(TopicFilter, u64)>,
    /// Everything from this event on is its.
    next: u64,
    text: String,
    pub(super) stalled: bool,
    /// It has stalled once: the log may have let go of what it missed.
    pub(super) may_reset: bool,
    pub(super) resets: usize,
    /// Its topics have changed while it stalled: nobody may know any more how.
    may_lag: bool,
    pub(super) lagged: bool,
}

pub(super) struct World {
    pub(super) log: Arc<Log>,
    pub(super) fanout: Fanout,
    pub(super) listener: TcpListener,
    /// By number, which is also the data.
    published: BTreeMap<u64, Published>,
    /// The numbers of the events that have an id.
    ids: BTreeMap<String, u64>,
    pub(super) readers: Vec<Reader>,
    sets: Arc<Sets>,
    count: u64,
    subscribed: u64,
    kept: u64,
}

fn settings(shards: usize) -> Settings {
    Settings { heartbeat: Some(Duration::from_millis(200)), ..Settings::silent(shards) }
}

impl World {
    pub(super) fn new(kept: usize, shards: usize) -> Self {
        let log = Arc::new(Log::new(Retention {
            events: kept,
            bytes: usize::MAX,
            age: Duration::from_secs(3600),
            idempotency_window: Duration::from_secs(1),
        }));
        let fanout = Fanout::start(&log, &settings(shards)).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Self {
            log,
            fanout,
            listener,
            published: BTreeMap::new(),
            ids: BTreeMap::new(),
            readers: Vec::new(),
            sets: Arc::default(),
            count: 0,
            subscribed: 0,
            kept: kept as u64,
        }
    }

    pub(super) fn publish(&mut self, keys: Vec<Key>, except: Vec<Key>, ephemeral: bool, size: usize) {
        self.count += 1;
        let data = format!("{} {}", self.count, "x".repeat(size));
        let appended = self.log.append(Event {
            ephemeral,
            ..Event::new(Audience::new(keys.clone(), except.clone()).unwrap(), data)
        });
        if let Some(id) = appended.id {
            self.ids.insert(id.to_string(), self.count);
        }
        let position = self.log.head().position;
        let sets = Arc::clone(&self.sets);
        self.published.insert(self.count, Published { keys, except, ephemeral, position, sets });
    }

    /// Changes the topics of `of`, in the log and in the model.
    pub(super) fn edit(&mut self, of: &Key, edit: TopicEdit, deadline: Instant) {
        let edited = loop {
            match self.log.edit(of, edit.clone()) {
                Ok(edited) => break edited,
                // Its shard has not taken it in yet.
                Err(BadEdit::NoSuchClient) => assert!(Instant::now() < deadline, "{of:?} does not come"),
                Err(bad) => panic!("{of:?}: {bad}"),
            }
            std::thread::yield_now();
        };
        let set = Arc::make_mut(&mut self.sets).entry(format!("{of:?}")).or_default();
        let removed: Vec<TopicFilter> = match edit {
            TopicEdit::Replace(topics) => {
                let before = std::mem::replace(set, topics.into_iter().collect());
                before.into_iter().filter(|topic| !set.contains(topic)).collect()
            }
            TopicEdit::Change { add, remove } => {
                set.retain(|topic| !remove.contains(topic));
                set.extend(add);
                remove
            }
        };
        assert_eq!(edited.topics, set.iter().cloned().collect::<Vec<_>>());
        for reader in self.readers.iter_mut().filter(|reader| reader.keys.contains(of)) {
            reader.removed.extend(removed.iter().map(|topic| (topic.clone(), self.count)));
            reader.may_lag |= reader.stalled;
        }
    }

    /// Changes the topics of somebody.
    pub(super) fn edit_any(&mut self, random: &mut Random, deadline: Instant) {
        let readers: Vec<&Reader> = self.readers.iter().filter(|reader| !reader.lagged).collect();
        let of = match random.below(4) {
            0 | 1 => Key::User(name("u", random.below(3))),
            2 if !readers.is_empty() && readers.iter().all(|reader| !reader.stalled) => {
                let reader = readers[random.below(readers.len() as u64) as usize];
                reader.keys.last().expect("its client comes last").clone()
            }
            _ => Key::Session(name("s", random.below(3))),
        };
        let mut some =
            |most: u64| -> Vec<TopicFilter> { (0..random.below(most)).map(|_| any_filter(random)).collect() };
        let edit = match (some(3), some(3)) {
            (add, remove) if add.len() + remove.len() == 3 => TopicEdit::Replace([add, remove].concat()),
            (add, remove) => TopicEdit::Change { add, remove },
        };
        self.edit(&of, edit, deadline);
    }

    /// A reader that has everything but the last `behind` events.
    pub(super) fn subscribe(&mut self, mut keys: Vec<Key>, behind: u64) {
        self.subscribed += 1;
        keys.push(Key::Client(name("c", self.subscribed)));
        let client = TcpStream::connect(self.listener.local_addr().unwrap()).unwrap();
        // So little room that a reader who stalls is noticed at once.
        socket2::SockRef::from(&client).set_recv_buffer_size(64 << 10).unwrap();
        let (server, _) = self.listener.accept().unwrap();
        socket2::SockRef::from(&server).set_send_buffer_size(32 << 10).unwrap();
        server.set_nonblocking(true).unwrap();
        client.set_nonblocking(true).unwrap();
        let behind = behind.min(self.count);
        let before = self.published.get(&(self.count - behind));
        let cursor = before.map_or(Position(0), |event| event.position);
        let head = self.log.head().position;
        self.fanout.join(Join {
            cursor,
            snapshot: crate::fanout::SnapshotWish::None,
            keys: keys.clone(),
            opening: Bytes::from_static(b": opening\n\n"),
            ..joining(Sink::Socket(server, Framing::Plain), head)
        });
        let next = self.count - behind + 1;
        self.readers.push(Reader {
            socket: client,
            keys,
            removed: Vec::new(),
            next,
            text: String::new(),
            stalled: false,
            may_reset: head.0 - cursor.0 > self.kept,
            resets: 0,
            may_lag: false,
            lagged: false,
        });
    }

    /// Waits until every reader that reads has everything.
    pub(super) fn settle(&mut self, deadline: Instant) {
        for at in 0..self.readers.len() {
            while !self.readers[at].stalled && !self.readers[at].lagged && !self.has_all(at) {
                self.read(at, deadline);
            }
        }
    }

    fn has_all(&self, at: usize) -> bool {
        let reader = &self.readers[at];
        self.published
            .range(reader.next..)
            .all(|(&number, event)| event.ephemeral || !reader.gets(number, event))
    }

    pub(super) fn read(&mut self, at: usize, deadline: Instant) {
        if !self.read_on(at, deadline) {
            assert!(self.readers[at].may_lag, "reader {at} was closed");
            self.readers[at].lagged = true;
        }
    }

    /// False when the stream has ended.
    fn read_on(&mut self, at: usize, deadline: Instant) -> bool {
        let reader = &mut self.readers[at];
        let mut buffer = [0; 8192];
        match reader.socket.read(&mut buffer) {
            Ok(0) => return false,
            Ok(read) => reader.text.push_str(str::from_utf8(&buffer[..read]).unwrap()),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                assert!(
                    Instant::now() < deadline,
                    "reader {at} has not got all: next is {} of {}, {} bytes begun",
                    reader.next,
                    self.count,
                    reader.text.len(),
                );
                std::thread::yield_now();
            }
            Err(error) => panic!("reader {at}: {error}"),
        }
        while let Some(end) = self.readers[at].text.find("\n\n") {
            let block: String = self.readers[at].text.drain(..end + 2).collect();
            self.check(at, &block);
        }
        true
    }

    /// Ends all who hold `key`: nobody else, and each after a gapless run.
    pub(super) fn kick(&mut self, key: &Key, deadline: Instant) {
        let which = Selector { keys: [key.clone()].into(), token: None };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let ended = runtime.block_on(self.fanout.end(&which, CloseReason::Revoked));
        let mut at = 0;
        let (mut kicked, mut unsure) = (0, 0);
        while at < self.readers.len() {
            if self.readers[at].keys.contains(key) {
                // It may have been closed already.
                unsure += usize::from(self.readers[at].may_lag);
                kicked += 1;
                while self.read_on(at, deadline) {}
                self.readers.swap_remove(at);
            } else {
                at += 1;
            }
        }
        assert!((kicked - unsure..=kicked).contains(&ended), "{ended} ended of {kicked}");
    }

    /// Holds one block against the model.
    fn check(&mut self, at: usize, block: &str) {
        let reader = &mut self.readers[at];
        if block.starts_with(':') {
            return;
        }
        if block.contains("event: closing") {
            assert!(block.contains("revoked"), "{block}");
            return;
        }
        if block.contains("event: reset") {
            assert!(reader.may_reset, "reader {at} was reset without need");
            reader.resets += 1;
            // It goes on from where the log's head was then.
            let id = block.split("\nid: ").nth(1).expect("a reset has the head's id").trim_end();
            let head = self.ids[id];
            assert!(head + 1 >= reader.next, "reader {at} was set back");
            reader.next = head + 1;
            return;
        }
        let data = block.strip_prefix("data: ").unwrap_or_else(|| panic!("a strange block: {block:?}"));
        let number: u64 = data.split(' ').next().unwrap().parse().unwrap();
        let event = &self.published[&number];
        assert!(reader.gets(number, event), "reader {at} got {number}, which is not for it");
        assert_eq!(block.contains("\nid: "), !event.ephemeral, "{block:?}");
        assert!(number >= reader.next, "reader {at} got {number} again or late; next was {}", reader.next);
        for (&missed, event) in self.published.range(reader.next..number) {
            assert!(
                event.ephemeral || !reader.gets(missed, event),
                "reader {at} missed {missed} before {number}"
            );
        }
        reader.next = number + 1;
    }
}

impl Reader {
    fn gets(&self, number: u64, event: &Published) -> bool {
        let holds = |key: &Key| {
            let Key::Topic(topic) = key else { return self.keys.contains(key) };
            let removed = |asked: &TopicFilter| {
                self.removed.iter().any(|(removed, after)| removed == asked && *after < number)
            };
            let hears = |asked: &TopicFilter| asked.hears(topic);
            let given =
                |key: &Key| event.sets.get(&format!("{key:?}")).is_some_and(|set| set.iter().any(hears));
            let mut asked = self.keys.iter().filter_map(TopicFilter::of);
            asked.any(|asked| hears(&asked) && !removed(&asked)) || self.keys.iter().any(given)
        };
        event.keys.iter().any(holds) && !event.except.iter().any(holds)
    }
}

/// A stream of topic 1 that joins at `head`.
pub(super) fn joining(sink: Sink, head: Position) -> Join {
    Join {
        sink,
        opening: Bytes::from_static(b"HEAD"),
        cursor: head,
        snapshot: crate::fanout::SnapshotWish::None,
        keys: vec![topic(1)],
        decided: head,
        client: Name::parse("test").unwrap(),
        address: IpAddr::from([127, 0, 0, 1]),
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
    }
}
