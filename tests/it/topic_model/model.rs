//! The plain model: a list of all that was done, in order, and what readers get of it.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::harness::Block;

/// A set of topics: one bit each.
pub(super) type Topics = u8;

pub(super) const NAMES: [&str; 3] = ["a", "b", "c"];
pub(super) const ALL: Topics = 0b111;

/// What stands at a place.
pub(super) enum Stands {
    Event(Published),
    /// Tells that an event, or all of a topic, was taken back.
    Notice {
        topics: Topics,
        /// Those who can still be sent it.
        left: Topics,
        topic: usize,
        of: Option<usize>,
    },
    /// An event for a user, which ends what a test waits for.
    Mark(String),
    End(usize),
    Opening,
}

#[derive(Clone)]
pub(super) struct Published {
    topics: Topics,
    left: Topics,
    is_taken: bool,
    is_superseded: bool,
    /// It may be gone before an instance reads it.
    may_be_missed: bool,
}

pub(super) struct Place {
    pub(super) stands: Stands,
    /// Its id on each instance, as far as it is known.
    pub(super) ids: Vec<Option<String>>,
}

/// What a reader gets, and whether it may also not get it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Expected {
    pub(super) item: Item,
    pub(super) is_optional: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Item {
    /// What stands at a place.
    At(usize),
    /// The end of a snapshot of so many events.
    Snapshot(usize),
    Ended(usize),
    /// The stream closes, for the end of its last topic.
    Closing(usize),
}

/// Whom a reader is.
#[derive(Clone)]
pub(super) struct Reader<'a> {
    /// The topics that it holds by name.
    pub(super) held: Topics,
    /// It hears all topics by a pattern.
    pub(super) hears_all: bool,
    pub(super) user: &'a str,
}

pub(super) struct Model {
    pub(super) places: Vec<Place>,
    /// Where each topic has ended.
    ended: [Option<usize>; NAMES.len()],
    newest: HashMap<(Topics, usize), usize>,
    /// What stands before this place has been seen on every instance.
    pub(super) synced: usize,
    instances: usize,
    /// The instances read one log.
    is_shared: bool,
}

fn bit(topic: usize) -> Topics {
    1 << topic
}

/// The names of a set.
pub(super) fn names(topics: Topics) -> Vec<&'static str> {
    (0..NAMES.len()).filter(|&topic| topics & bit(topic) != 0).map(|topic| NAMES[topic]).collect()
}

impl Model {
    pub(super) fn new(instances: usize, is_shared: bool) -> Self {
        let (places, newest) = (Vec::new(), HashMap::new());
        Self { places, ended: [None; NAMES.len()], newest, synced: 0, instances, is_shared }
    }

    fn push(&mut self, stands: Stands) -> usize {
        self.places.push(Place { stands, ids: vec![None; self.instances] });
        self.places.len() - 1
    }

    pub(super) fn publish(&mut self, topics: Topics, key: Option<usize>) -> usize {
        let place = self.places.len();
        if let Some(before) = key.and_then(|key| self.newest.insert((topics, key), place))
            && let Stands::Event(before) = &mut self.places[before].stands
        {
            before.is_superseded = true;
        }
        let event =
            Published { topics, left: topics, is_taken: false, is_superseded: false, may_be_missed: false };
        self.push(Stands::Event(event))
    }

    pub(super) fn mark(&mut self, user: &str) -> usize {
        self.push(Stands::Mark(user.to_owned()))
    }

    /// What is answered to a request that takes back the event at `place` as one of `topic`: how many, or None where it
    /// is unknown.
    pub(super) fn retract(&mut self, place: usize, topic: usize) -> Option<usize> {
        let may_be_missed = self.may_be_missed(place);
        let Stands::Event(event) = &mut self.places[place].stands else { return None };
        if event.is_taken {
            return Some(0);
        }
        if event.left & bit(topic) == 0 {
            return None;
        }
        event.is_taken = true;
        event.may_be_missed |= may_be_missed;
        let topics = event.topics;
        self.push(Stands::Notice { topics, left: topics, topic, of: Some(place) });
        Some(1)
    }

    /// Whether an instance may not have read what stands at `place`.
    fn may_be_missed(&self, place: usize) -> bool {
        self.is_shared && self.instances > 1 && place >= self.synced
    }

    /// Takes back all of a topic, and tells how many events it was.
    pub(super) fn retract_all(&mut self, topic: usize) -> usize {
        let mut count = 0;
        let unseen: Vec<bool> = (0..self.places.len()).map(|place| self.may_be_missed(place)).collect();
        for (place, unseen) in self.places.iter_mut().zip(unseen) {
            match &mut place.stands {
                Stands::Event(event) if !event.is_taken && event.left & bit(topic) != 0 => {
                    count += 1;
                    event.left &= !bit(topic);
                    event.may_be_missed |= unseen && event.topics == bit(topic);
                }
                Stands::Notice { left, .. } => *left &= !bit(topic),
                _ => {}
            }
        }
        let topics = bit(topic);
        self.push(Stands::Notice { topics, left: topics, topic, of: None });
        count
    }

    /// Ends a topic, or opens it again. Tells whether that changes anything.
    pub(super) fn set_end(&mut self, topic: usize, opens: bool) -> bool {
        if self.ended[topic].is_some() != opens {
            return false;
        }
        let place = self.push(if opens { Stands::Opening } else { Stands::End(topic) });
        self.ended[topic] = (!opens).then_some(place);
        true
    }

    /// Those of `topics` that have not ended.
    pub(super) fn open(&self, topics: Topics) -> Topics {
        (0..NAMES.len()).filter(|&topic| self.ended[topic].is_none()).map(bit).sum::<Topics>() & topics
    }

    /// Which of `topics` a stream gets that comes back with the cursor `after`: not one that has ended, unless
    /// something for it stands between.
    pub(super) fn open_after(&self, topics: Topics, after: usize) -> Topics {
        let missed = |topic: usize, end: usize| {
            end > after && (after + 1..end).any(|place| self.is_replayed(place, bit(topic)))
        };
        let stays = |&topic: &usize| self.ended[topic].is_none_or(|end| missed(topic, end));
        (0..NAMES.len()).filter(stays).map(bit).sum::<Topics>() & topics
    }

    /// Whether a holder of `topics` gets what stands at `place` on a replay.
    fn is_replayed(&self, place: usize, topics: Topics) -> bool {
        match &self.places[place].stands {
            Stands::Event(Published { left, is_taken, is_superseded, .. }) => {
                !is_taken && !is_superseded && left & topics != 0
            }
            Stands::Notice { left, .. } => left & topics != 0,
            _ => false,
        }
    }

    /// What a stream gets from the place `from` on: on a replay what is left, live what came.
    pub(super) fn expected(&self, reader: &Reader<'_>, from: usize, is_live: bool) -> Vec<Expected> {
        let (mut held, mut all) = (reader.held, Vec::new());
        for (at, place) in self.places.iter().enumerate().skip(from) {
            let hears = if reader.hears_all { ALL } else { held };
            let (item, is_optional) = match &place.stands {
                Stands::Event(event) if is_live && event.topics & hears != 0 => {
                    (Item::At(at), event.may_be_missed)
                }
                Stands::Notice { topics, .. } if is_live && topics & hears != 0 => (Item::At(at), false),
                Stands::Event(_) | Stands::Notice { .. } if !is_live && self.is_replayed(at, hears) => {
                    (Item::At(at), false)
                }
                Stands::Mark(user) if user == reader.user => (Item::At(at), false),
                // One that opened behind an end goes over it only while the topic has not begun anew.
                Stands::End(topic)
                    if held & bit(*topic) != 0 && (is_live || self.ended[*topic] == Some(at)) =>
                {
                    held &= !bit(*topic);
                    let is_last = held == 0 && !reader.hears_all;
                    (if is_last { Item::Closing(*topic) } else { Item::Ended(*topic) }, false)
                }
                _ => continue,
            };
            all.push(Expected { item, is_optional });
            if matches!(item, Item::Closing(_)) {
                break;
            }
        }
        all
    }

    /// The snapshot of `topics`.
    pub(super) fn snapshot(&self, topics: Topics) -> Vec<Expected> {
        let mut places: Vec<usize> = self.newest.values().copied().collect();
        places.sort_unstable();
        places.retain(|&place| self.is_replayed(place, topics));
        let all = places.iter().map(|&place| Item::At(place)).chain([Item::Snapshot(places.len())]);
        all.map(|item| Expected { item, is_optional: false }).collect()
    }

    /// The places of a topic's history.
    pub(super) fn history(&self, topic: usize) -> Vec<usize> {
        (0..self.places.len()).filter(|&place| self.is_replayed(place, bit(topic))).collect()
    }

    /// The data of what stands at `place`, as `instance` gives it.
    pub(super) fn data(&self, place: usize, instance: usize) -> Value {
        match &self.places[place].stands {
            Stands::Notice { topic, of: Some(of), .. } => {
                json!({ "topic": NAMES[*topic], "id": self.places[*of].ids[instance] })
            }
            Stands::Notice { topic, of: None, .. } => json!({ "topic": NAMES[*topic] }),
            _ => json!(place),
        }
    }

    /// Whether `block` is what is expected on `instance`.
    pub(super) fn fits(&self, item: Item, block: &Block, instance: usize) -> bool {
        let name = block.event.as_deref();
        match item {
            Item::At(place) => {
                let wanted =
                    matches!(self.places[place].stands, Stands::Notice { .. }).then_some("retracted");
                let id = &self.places[place].ids[instance];
                let is_known = id.as_deref().is_none_or(|id| id == block.id());
                name == wanted && is_known && block.json() == self.data(place, instance)
            }
            Item::Snapshot(count) => name == Some("snapshot") && block.json() == json!({ "events": count }),
            Item::Ended(topic) => {
                name == Some("topic_ended") && block.json() == json!({ "topic": NAMES[topic] })
            }
            Item::Closing(topic) => {
                let data = json!({ "reason": "ended", "topic": NAMES[topic], "reconnect": false });
                name == Some("closing") && block.json() == data
            }
        }
    }

    /// Notes the id of what stands at `place`: of every instance, where they read one log.
    pub(super) fn note(&mut self, place: usize, instance: usize, id: &str) {
        let ids = &mut self.places[place].ids;
        let known = if self.is_shared { &mut ids[..] } else { &mut ids[instance..=instance] };
        known.iter_mut().for_each(|known| *known = Some(id.to_owned()));
    }

    pub(super) fn is_event(&self, place: usize) -> bool {
        matches!(self.places[place].stands, Stands::Event(_) | Stands::Notice { .. })
    }
}
