//! Taking back, ends of topics and snapshots by seeded schedules, against a plain model: on one log in memory, on two
//! instances with logs of their own that share channels, and on two instances whose log is one stream in Redis.
//!
//! `SIDESTREAM_MODEL_SEEDS` says how many schedules of each kind are run, `SIDESTREAM_MODEL_SEED` which one only.

mod model;

use serde_json::{Value, json};

use self::model::{Expected, Item, Model, NAMES, Reader, Topics, names};
use crate::harness::{Block, Daemon, Redis, Stream, start};

const ROUTES: &str = "[[stream]]\npath = \"/events\"\ntopics = [\"{query.topic}\"]\nuser = \"{query.user}\"\n\
    snapshot = true\n[[stream]]\npath = \"/all\"\ntopics = [\"*\"]\nuser = \"{query.user}\"\npatterns = true\nsnapshot = true\n";

/// What is done in one schedule.
const STEPS: usize = 70;

/// How the instances are connected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    Alone,
    Channels,
    Stream,
}

/// A small deterministic generator: the same run every time.
struct Random(u64);

impl Random {
    fn below(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % below
    }
}

/// A reader that stays.
struct Live {
    stream: Stream,
    instance: usize,
    held: Topics,
    hears_all: bool,
    /// It has everything before this place.
    from: usize,
}

struct World {
    about: String,
    random: Random,
    way: Way,
    /// Only on a shared log.
    config: String,
    daemons: Vec<Daemon>,
    model: Model,
    live: Vec<Live>,
    marks: usize,
    _redis: Option<Redis>,
}

impl World {
    async fn start(way: Way, seed: usize) -> Self {
        let redis = if way == Way::Alone { None } else { Some(Redis::start().await) };
        let section = redis.as_ref().map(Redis::section).unwrap_or_default();
        let config = match way {
            Way::Stream => format!("{section}[redis.stream]\n{ROUTES}"),
            _ => format!("{section}{ROUTES}"),
        };
        let mut daemons = vec![start(&config).await];
        if way != Way::Alone {
            daemons.push(start(&config).await);
        }
        let model = Model::new(daemons.len(), way != Way::Channels);
        let about = format!("SIDESTREAM_MODEL_SEED={seed} {way:?}");
        let random = Random(seed as u64);
        let mut world =
            Self { about, random, way, config, daemons, model, live: Vec::new(), marks: 0, _redis: redis };
        for instance in 0..world.daemons.len() {
            world.listen(instance, 0).await;
        }
        world.sync().await;
        world
    }

    fn any(&mut self) -> usize {
        self.random.below(self.daemons.len())
    }

    /// A new reader of `held`, or of all topics by a pattern where these are none. Everything before must have been
    /// seen.
    async fn listen(&mut self, instance: usize, held: Topics) {
        let topics: String = names(held).iter().map(|name| format!("&topic={name}")).collect();
        let path = if held == 0 { "/all?user=w".to_owned() } else { format!("/events?user=w{topics}") };
        let mut stream = self.daemons[instance].stream(&path).await;
        let held = self.model.open(held);
        let is_open = held != 0 || path.starts_with("/all");
        assert_eq!(stream.status(), if is_open { 200 } else { 204 }, "{}: {path}", self.about);
        if is_open {
            let connected = stream.block().await;
            assert!(connected.is("connected"), "{}: {connected:?}", self.about);
            let (hears_all, from) = (path.starts_with("/all"), self.model.places.len());
            self.live.push(Live { stream, instance, held, hears_all, from });
        }
    }

    async fn publish(&mut self, instance: usize, event: &Value, place: usize) {
        let receipt = self.daemons[instance].publish(event).await;
        if self.way != Way::Channels {
            self.model.note(place, instance, receipt["id"].as_str().expect("an id"));
        }
    }

    async fn mark(&mut self, user: &str) {
        let (place, instance) = (self.model.mark(user), self.any());
        self.publish(instance, &json!({ "user": user, "data": place }), place).await;
    }

    /// Reads what is expected, in order.
    async fn read(&mut self, stream: &mut Stream, instance: usize, expected: &[Expected], about: &str) {
        let mut held: Option<Block> = None;
        for Expected { item, is_optional } in expected {
            let block = match held.take() {
                Some(block) => block,
                None => stream.event().await,
            };
            if self.model.fits(*item, &block, instance) {
                if let Item::At(place) = *item {
                    self.model.note(place, instance, block.id());
                }
                if matches!(item, Item::Closing(_)) {
                    assert!(stream.next().await.is_none(), "{}: {about}: it goes on", self.about);
                }
            } else if *is_optional {
                held = Some(block);
            } else {
                let wanted = match *item {
                    Item::At(place) => self.model.data(place, instance).to_string(),
                    _ => String::new(),
                };
                panic!(
                    "{}: {about} on {instance}: {item:?} {wanted} of {expected:?}, not {block:?}",
                    self.about
                );
            }
        }
        assert!(held.is_none(), "{}: {about}: {held:?} is too many", self.about);
    }

    /// Waits until every reader has all that was done, which must be what the model says.
    async fn sync(&mut self) {
        self.mark("w").await;
        let end = self.model.places.len();
        let mut live = std::mem::take(&mut self.live);
        for reader in &mut live {
            let Live { stream, instance, held, hears_all, from } = reader;
            let whose = Reader { held: *held, hears_all: *hears_all, user: "w" };
            let expected = self.model.expected(&whose, *from, true);
            self.read(stream, *instance, &expected, "live").await;
            for Expected { item, .. } in expected {
                match item {
                    Item::Ended(topic) => *held &= !(1 << topic),
                    Item::Closing(_) => (*held, *hears_all) = (0, false),
                    _ => {}
                }
            }
            *from = end;
        }
        live.retain(|reader| reader.held != 0 || reader.hears_all);
        self.live = live;
        self.model.synced = end;
    }

    /// Streams that open now, and histories.
    async fn observe(&mut self, instance: usize, count: usize) {
        self.sync().await;
        self.marks += 1;
        let user = format!("o{}", self.marks);
        let mut opened = Vec::new();
        for _ in 0..count {
            opened.extend(self.open(instance, &user).await);
        }
        self.mark(&user).await;
        let mark = Expected { item: Item::At(self.model.places.len() - 1), is_optional: false };
        for (mut stream, mut expected, about) in opened {
            if !matches!(expected.last(), Some(Expected { item: Item::Closing(_), .. })) {
                expected.push(mark);
            }
            self.read(&mut stream, instance, &expected, &about).await;
        }
        self.read_history(instance).await;
    }

    /// A stream that begins with a snapshot, or somewhere in the past; and what is expected of it.
    async fn open(&mut self, instance: usize, user: &str) -> Option<(Stream, Vec<Expected>, String)> {
        let asked = self.random.below(1 + model::ALL as usize) as Topics;
        let known = |&place: &usize| self.model.places[place].ids[instance].is_some();
        let cursors: Vec<usize> = (0..self.model.places.len()).filter(known).collect();
        let cursor = cursors[self.random.below(cursors.len())];
        let (is_snapshot, hears_all) = (self.random.below(3) == 0, asked == 0);
        let query: String = names(asked).iter().map(|name| format!("&topic={name}")).collect();
        let path = if hears_all { "/all" } else { "/events" };
        let path = format!("{path}?snapshot={is_snapshot}&user={user}{query}");
        let id = self.model.places[cursor].ids[instance].clone().filter(|_| !is_snapshot);
        let headers: Vec<(&str, &str)> = id.iter().map(|id| ("last-event-id", id.as_str())).collect();
        let mut stream = Stream::open(self.daemons[instance].public, &path, &headers).await;
        let held = if is_snapshot { self.model.open(asked) } else { self.model.open_after(asked, cursor) };
        let is_open = held != 0 || hears_all;
        let about = format!("{path} behind {cursor}");
        assert_eq!(stream.status(), if is_open { 200 } else { 204 }, "{}: {about}", self.about);
        if !is_open {
            return None;
        }
        let connected = stream.block().await.json();
        let topics = if hears_all { vec!["*"] } else { names(held) };
        assert_eq!(connected["topics"], json!(topics), "{}: {about}", self.about);
        if is_snapshot {
            let all = if hears_all { model::ALL } else { held };
            return Some((stream, self.model.snapshot(all), about));
        }
        let missed = self.model.expected(&Reader { held, hears_all, user }, cursor + 1, false);
        let count = missed.iter().filter(|expected| matches!(expected.item, Item::At(_))).count();
        assert_eq!(connected["missed"], count, "{}: {about}", self.about);
        Some((stream, missed, about))
    }

    /// The history of a topic, in pages.
    async fn read_history(&mut self, instance: usize) {
        let topic = self.random.below(NAMES.len());
        let limit = 1 + self.random.below(20);
        let (mut all, mut since) = (Vec::new(), String::new());
        loop {
            let path = format!("/topics/{}/events?limit={limit}{since}", NAMES[topic]);
            let page = self.daemons[instance].command("GET", &path, &[], b"").await.json();
            let events = page["events"].as_array().expect("events").iter();
            all.extend(events.map(|event| event["id"].as_str().expect("an id").to_owned()));
            if page["more"] == false {
                break;
            }
            let next = format!("&since={}", page["next"].as_str().expect("an id"));
            assert_ne!(next, since, "{}: {path} has no end", self.about);
            since = next;
        }
        let wanted: Vec<String> = self
            .model
            .history(topic)
            .iter()
            .filter_map(|&place| self.model.places[place].ids[instance].clone())
            .collect();
        assert_eq!(all, wanted, "{}: the history of {} on {instance}", self.about, NAMES[topic]);
    }

    async fn retract(&mut self, is_new: bool) {
        let known = |&place: &usize| {
            self.model.is_event(place) && self.model.places[place].ids.iter().any(Option::is_some)
        };
        let places: Vec<usize> = (0..self.model.places.len()).filter(known).collect();
        let Some(last) = places.len().checked_sub(1) else { return };
        let place = places[if is_new { last } else { last - self.random.below(places.len().min(15)) }];
        let (topic, instance) = (self.random.below(NAMES.len()), self.any());
        // Of any instance.
        let ids: Vec<String> = self.model.places[place].ids.iter().flatten().cloned().collect();
        let id = &ids[self.random.below(ids.len())];
        let path = format!("/topics/{}/events/{id}", NAMES[topic]);
        let answer = self.daemons[instance].command("DELETE", &path, &[], b"").await;
        let about = format!("{}: {place} of {} on {instance}: {}", self.about, NAMES[topic], answer.text());
        match self.model.retract(place, topic) {
            Some(count) => {
                assert_eq!((answer.status, &answer.json()["retracted"]), (200, &json!(count)), "{about}")
            }
            None => assert_eq!(answer.status, 404, "{about}"),
        }
    }

    async fn step(&mut self) {
        let (instance, topic) = (self.any(), self.random.below(NAMES.len()));
        match self.random.below(40) {
            0..18 => {
                let topics = 1 + self.random.below(model::ALL as usize) as Topics;
                let key = (self.random.below(2) == 0).then(|| self.random.below(2));
                let place = self.model.publish(topics, key);
                let mut event = json!({ "topics": names(topics), "data": place });
                if let Some(key) = key {
                    event["coalesce"] = json!(format!("k{key}"));
                }
                self.publish(instance, &event, place).await;
            }
            18..26 => {
                let is_new = self.random.below(2) == 0;
                self.retract(is_new).await;
            }
            26 | 27 => {
                let path = format!("/topics/{}", NAMES[topic]);
                let answer = self.daemons[instance].command("DELETE", &path, &[], b"").await;
                assert_eq!(answer.status, 200, "{}: {}", self.about, answer.text());
                let count = self.model.retract_all(topic);
                assert_eq!(answer.json()["retracted"], count, "{}: all of {}", self.about, NAMES[topic]);
            }
            28..32 => {
                let opens = self.random.below(2) == 0;
                let path = format!("/topics/{}/{}", NAMES[topic], if opens { "open" } else { "close" });
                let answer = self.daemons[instance].command("POST", &path, &[], b"").await;
                assert_eq!(answer.status, 200, "{}: {}", self.about, answer.text());
                let changed = self.model.set_end(topic, opens);
                assert_eq!(answer.json()["changed"], changed, "{}: {path}", self.about);
            }
            32 => {
                self.sync().await;
                let held = 1 + self.random.below(model::ALL as usize) as Topics;
                self.listen(instance, held).await;
                self.sync().await;
            }
            33 if self.way == Way::Stream => {
                self.sync().await;
                self.live.retain(|reader| reader.instance != instance);
                self.daemons[instance] = start(&self.config).await;
                self.listen(instance, 0).await;
                self.sync().await;
            }
            33..36 => self.sync().await,
            _ => self.observe(instance, 4).await,
        }
    }

    async fn run(mut self) {
        for _ in 0..STEPS {
            self.step().await;
        }
        for instance in 0..self.daemons.len() {
            self.observe(instance, 6).await;
        }
        if self.way == Way::Stream {
            self.sync().await;
            // One that comes later reads what is left in the stream.
            self.live.clear();
            self.daemons[0] = start(&self.config).await;
            self.observe(0, 12).await;
        }
    }
}

fn number(name: &str) -> Option<usize> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

async fn run(way: Way, few: usize) {
    let many = number("SIDESTREAM_MODEL_SEEDS").unwrap_or(few);
    let seeds = number("SIDESTREAM_MODEL_SEED").map_or(1..=many, |seed| seed..=seed);
    for seed in seeds {
        println!("SIDESTREAM_MODEL_SEED={seed} {way:?}");
        World::start(way, seed).await.run().await;
    }
}

#[tokio::test]
async fn one_log_in_memory_does_what_the_model_does() {
    run(Way::Alone, 6).await;
}

#[tokio::test]
async fn two_instances_on_channels_do_what_the_model_does() {
    run(Way::Channels, 3).await;
}

#[tokio::test]
async fn two_instances_on_one_stream_in_redis_do_what_the_model_does() {
    run(Way::Stream, 6).await;
}
