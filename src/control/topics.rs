//! The topics that a backend gives to users, sessions and clients, on this instance and on the others.
//!
//! Alone, a change is made at once. With others it is sent to all of them, this one too, and made where it is heard: so
//! it stands at the same place among the events everywhere. This file knows neither HTTP nor Redis.

use crate::future::BoxFuture;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};

use crate::control::pending::PendingCommands;
use crate::event::{Audience, BadName, BadPattern, Key, Name, TopicFilter, WrittenTopic, whole_characters};
use crate::fanout::Fanout;
use crate::log::{BadEdit, EditOutcome, EditRequest, Edited, Log, RecordKind, TopicEdit};
use crate::telemetry::TOPIC_CHANGES;

/// How a command gets to every instance, this one too.
pub trait TopicBus: Send + Sync {
    /// Sends it.
    fn tell(&self, command: Vec<u8>) -> BoxFuture<'_, Result<(), TopicBusError>>;
}

/// What is known of a command that did not go out as it should.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TopicBusError {
    /// Nobody has heard it.
    Nothing,
    /// Nobody has heard it, because what carries commands refused this one, in these words.
    Refused(Box<str>),
    /// Some may have been.
    Perhaps,
}

/// The topics of users, sessions and clients.
pub struct TopicAssignments {
    log: Arc<Log>,
    fanout: Arc<Fanout>,
    peers: OnceLock<Arc<dyn TopicBus>>,
    pending: PendingCommands<Result<Edited, BadEdit>>,
}

/// What a holder's topics are.
#[derive(Debug, Serialize)]
pub struct HolderTopics {
    pub topics: Vec<TopicFilter>,
    /// The id of the last event before the change, or of the change itself where it has one: it holds for every
    /// later event, and for none before.
    pub position: crate::event::EventId,
    /// The holder's open streams on this instance.
    pub streams: usize,
}

impl HolderTopics {
    /// The same for the page itself, which names patterns as it names topics.
    pub fn for_page(&self) -> impl Serialize + use<'_> {
        #[derive(Serialize)]
        struct Page<'a> {
            topics: Vec<&'a str>,
            position: crate::event::EventId,
            streams: usize,
        }
        let topics = self.topics.iter().map(TopicFilter::as_str).collect();
        Page { topics, position: self.position, streams: self.streams }
    }
}

/// Why a change is not made, or not known to be.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TopicEditError {
    #[error("{0}")]
    Edit(#[from] BadEdit),
    /// The stream is not here; where it is, the change is made.
    #[error("no such stream is open on this instance; the others were asked")]
    PassedOn,
    #[error("the other instances cannot be reached now, and nothing was changed here")]
    NotTold,
    #[error("{0}: the other instances were not reached, and nothing was changed here")]
    NotCarried(Box<str>),
    #[error(
        "the change was sent to all instances, and has not come back to this one: it may or may not be made"
    )]
    Unknown,
}

/// Why a text does not say what is to become of a set of topics.
#[derive(Debug, thiserror::Error)]
pub enum BadTopics {
    #[error("not the JSON that is expected here: {0}")]
    Json(#[from] serde_json::Error),
    #[error("`{field}[{at}]` {why}")]
    Name { field: &'static str, at: usize, why: BadPattern },
    #[error("a change may name at most {MAX_OF_PAGE} topics")]
    TooMany,
    #[error("pages of this route may not ask for patterns (`patterns` of its [[stream]])")]
    NoPatterns,
}

/// A command as it goes from instance to instance.
#[derive(Serialize, Deserialize)]
struct TopicCommand {
    /// For the instance that sent it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    number: Option<String>,
    topics: HolderFields,
    /// Set where a page asks for it: releases before 0.2 told everybody so.
    #[serde(default, skip_serializing)]
    owner: Option<IgnoredAny>,
}

/// A command, or only what it is about: all that a backend has to say.
#[derive(Deserialize)]
#[serde(untagged)]
enum TopicOperation {
    Whole(TopicCommand),
    Bare(HolderFields),
}

/// Names as texts, so that an error says which one it is about: the backend writes these, too.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HolderFields {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    session: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    set: Option<Vec<WrittenTopic>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    add: Vec<WrittenTopic>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    remove: Vec<WrittenTopic>,
}

impl TopicAssignments {
    /// A command that is sent to all is waited for as long as `patience`.
    pub fn new(log: Arc<Log>, fanout: Arc<Fanout>, patience: Duration) -> Self {
        Self { log, fanout, peers: OnceLock::new(), pending: PendingCommands::new(patience) }
    }

    /// From now on `peers` carries changes to all instances. Once.
    pub fn connect(&self, peers: Arc<dyn TopicBus>) {
        let _ = self.peers.set(peers);
    }

    /// The topics that `of` has been given, as this instance knows them.
    pub fn get(&self, of: &Key) -> HolderTopics {
        self.answer(of, self.log.topics(of))
    }

    /// Changes the topics of `of`, on every instance.
    pub async fn edit(&self, of: &Key, edit: TopicEdit) -> Result<HolderTopics, TopicEditError> {
        if matches!(of, Key::Client(client) if Name::parse_random(client.as_str()).is_none()) {
            return Err(BadEdit::NoSuchClient.into());
        }
        let Some(peers) = self.peers.get() else { return Ok(self.answer(of, self.make(of, edit)?)) };
        if !self.log.is_loaded() {
            // It would not come back to us.
            return Err(TopicEditError::NotTold);
        }
        let pending = self.pending.begin().ok_or(TopicEditError::NotTold)?;
        let number = Some(pending.number().to_owned());
        let command = TopicCommand { number, topics: HolderFields::new(of, edit), owner: None };
        let command = serde_json::to_vec(&command).expect("a struct of texts is JSON");
        peers.tell(command).await.map_err(|why| match why {
            TopicBusError::Nothing => TopicEditError::NotTold,
            TopicBusError::Refused(error) => TopicEditError::NotCarried(error),
            TopicBusError::Perhaps => TopicEditError::Unknown,
        })?;
        match pending.outcome().await {
            Some(Ok(edited)) => Ok(self.answer(of, edited)),
            Some(Err(BadEdit::NoSuchClient)) => Err(TopicEditError::PassedOn),
            Some(Err(bad)) => Err(bad.into()),
            None => Err(TopicEditError::Unknown),
        }
    }

    /// Makes a change that some instance has sent to all. `Err` when the text is no command of this kind.
    pub fn heard(&self, text: &[u8]) -> Result<(), BadTopics> {
        if let RecordKind::Change(EditRequest { number, of, edit }) = self.read(text)? {
            let result = self.log.edit(&of, edit);
            self.made(vec![EditOutcome { number, of, result }]);
        }
        Ok(())
    }

    /// What a text asks for that some instance, or the backend itself, has put among the events; nothing where a page
    /// asked for it, whose grant is not known here. `Err` when it is no command of this kind.
    pub fn read(&self, text: &[u8]) -> Result<RecordKind, BadTopics> {
        let TopicCommand { number, topics, owner } = match serde_json::from_slice(text)? {
            TopicOperation::Whole(command) => command,
            TopicOperation::Bare(topics) => TopicCommand { number: None, topics, owner: None },
        };
        let (of, edit) = topics.parse()?;
        if owner.is_some() {
            return Ok(RecordKind::Nothing);
        }
        Ok(RecordKind::Change(EditRequest { number: number.map(String::into_boxed_str), of, edit }))
    }

    /// Takes note of changes that the log has made, and tells those who asked here.
    pub fn made(&self, all: Vec<EditOutcome>) {
        for EditOutcome { number, of, result } in all {
            count(&of, &result);
            if let Some(number) = number {
                self.pending.made(&number, result);
            }
        }
    }

    fn make(&self, of: &Key, edit: TopicEdit) -> Result<Edited, BadEdit> {
        let made = self.log.edit(of, edit);
        count(of, &made);
        made
    }

    /// Changes the topics of a page's own stream.
    pub(super) fn edit_by_page(&self, client: &Key, edit: TopicEdit) -> Result<Edited, BadEdit> {
        let made = self.log.edit_by_page(client, edit);
        count(client, &made);
        made
    }

    pub(super) fn answer(&self, of: &Key, edited: Edited) -> HolderTopics {
        let holder = Audience::new([of.clone()], Vec::new()).expect("one key is an audience");
        HolderTopics { topics: edited.topics, position: edited.position, streams: self.fanout.reach(&holder) }
    }
}

fn count(of: &Key, made: &Result<Edited, BadEdit>) {
    if made.as_ref().is_ok_and(|edited| edited.changed) {
        let holder = match of {
            Key::User(_) => "user",
            Key::Session(_) => "session",
            _ => "client",
        };
        metrics::counter!(TOPIC_CHANGES, "of" => holder).increment(1);
    }
}

impl HolderFields {
    fn new(of: &Key, edit: TopicEdit) -> Self {
        let written = |topics: Vec<TopicFilter>| topics.iter().map(WrittenTopic::from).collect::<Vec<_>>();
        let [mut user, mut session, mut client] = [None, None, None];
        match of {
            Key::User(name) => user = Some(name.to_string()),
            Key::Session(name) => session = Some(name.to_string()),
            Key::Client(name) => client = Some(name.to_string()),
            Key::Topic(_) | Key::Pattern(_) | Key::Upstream(_) | Key::Broadcast => {}
        }
        match edit {
            TopicEdit::Replace(topics) => {
                Self { user, session, client, set: Some(written(topics)), add: vec![], remove: vec![] }
            }
            TopicEdit::Change { add, remove } => {
                Self { user, session, client, set: None, add: written(add), remove: written(remove) }
            }
        }
    }

    fn parse(self) -> Result<(Key, TopicEdit), BadTopics> {
        let holder = |text: &str| {
            Name::parse(text).map_err(|why| BadTopics::Name { field: "holder", at: 0, why: why.into() })
        };
        let of = match (&self.user, &self.session, &self.client) {
            (Some(name), None, None) => Key::User(holder(name)?),
            (None, Some(name), None) => Key::Session(holder(name)?),
            (None, None, Some(name)) => Key::Client(holder(name)?),
            _ => return Err(BadTopics::Name { field: "holder", at: 0, why: BadName::Empty.into() }),
        };
        let edit = match &self.set {
            Some(set) => TopicEdit::Replace(names("set", set)?),
            None => {
                TopicEdit::Change { add: names("add", &self.add)?, remove: names("remove", &self.remove)? }
            }
        };
        Ok((of, edit))
    }
}

/// The whole set: `{"topics": ["a", "b"]}`.
pub fn parse_set(text: &[u8]) -> Result<TopicEdit, BadTopics> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Set {
        topics: Vec<WrittenTopic>,
    }
    let Set { topics } = read_json(text)?;
    Ok(TopicEdit::Replace(names("topics", &topics)?))
}

/// What is put in and what is taken out: `{"add": ["a"], "remove": ["b"]}`.
pub fn parse_change(text: &[u8]) -> Result<TopicEdit, BadTopics> {
    read_change(text, WrittenTopic::read)
}

fn read_change(text: &[u8], read: ReadTopic) -> Result<TopicEdit, BadTopics> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Change {
        #[serde(default)]
        add: Vec<WrittenTopic>,
        #[serde(default)]
        remove: Vec<WrittenTopic>,
    }
    let Change { add, remove } = read_json(text)?;
    let read = |field, topics: &[WrittenTopic]| read_all(field, topics, read);
    Ok(TopicEdit::Change { add: read("add", &add)?, remove: read("remove", &remove)? })
}

/// The same from a page: what is put in, and what is taken out. With `patterns`, a text with a `*` is a pattern;
/// without, a pattern is refused.
pub fn parse_page_change(
    text: &[u8],
    patterns: bool,
) -> Result<(Vec<TopicFilter>, Vec<TopicFilter>), BadTopics> {
    let read = if patterns { WrittenTopic::read_pattern } else { WrittenTopic::read };
    match read_change(text, read)? {
        TopicEdit::Change { add, remove }
            if !patterns && add.iter().chain(&remove).any(TopicFilter::is_pattern) =>
        {
            Err(BadTopics::NoPatterns)
        }
        TopicEdit::Change { add, remove } if add.len() + remove.len() <= MAX_OF_PAGE => Ok((add, remove)),
        _ => Err(BadTopics::TooMany),
    }
}

/// How many topics a page's change may name.
const MAX_OF_PAGE: usize = 1000;

/// Of bodies in which half a character may stand, as in those of events.
fn read_json<T: DeserializeOwned>(text: &[u8]) -> Result<T, serde_json::Error> {
    match str::from_utf8(text) {
        Ok(text) => serde_json::from_str(&whole_characters(text)),
        Err(_) => serde_json::from_slice(text),
    }
}

/// How what is written is understood.
type ReadTopic = fn(&WrittenTopic) -> Result<TopicFilter, BadPattern>;

fn names(field: &'static str, topics: &[WrittenTopic]) -> Result<Vec<TopicFilter>, BadTopics> {
    read_all(field, topics, WrittenTopic::read)
}

fn read_all(
    field: &'static str,
    topics: &[WrittenTopic],
    read: ReadTopic,
) -> Result<Vec<TopicFilter>, BadTopics> {
    let read =
        |(at, topic): (usize, &WrittenTopic)| read(topic).map_err(|why| BadTopics::Name { field, at, why });
    topics.iter().enumerate().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    fn topic(text: &str) -> TopicFilter {
        TopicFilter::parse_pattern(text).unwrap()
    }

    #[test]
    fn a_command_comes_out_as_it_went_in() {
        let edits = [
            TopicEdit::Replace(vec![topic("a"), topic("☂*"), name("a*").into()]),
            TopicEdit::Replace(vec![]),
            TopicEdit::Change { add: vec![topic("a")], remove: vec![topic("b"), topic("c*")] },
            TopicEdit::Change { add: vec![], remove: vec![] },
        ];
        for of in [Key::User(name("u")), Key::Session(name("s")), Key::Client(name("c"))] {
            for edit in &edits {
                let command =
                    TopicCommand { number: None, topics: HolderFields::new(&of, edit.clone()), owner: None };
                let text = serde_json::to_vec(&command).unwrap();
                let back: TopicCommand = serde_json::from_slice(&text).unwrap();
                assert_eq!(back.topics.parse().unwrap(), (of.clone(), edit.clone()));
            }
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let said = |bad: Result<TopicEdit, BadTopics>| bad.unwrap_err().to_string();
        assert_eq!(said(parse_set(br#"{"topics":["a",""]}"#)), "`topics[1]` is empty");
        assert!(said(parse_set(b"{}")).contains("missing field `topics`"));
        assert!(said(parse_change(br#"{"ad":["a"]}"#)).contains("unknown field `ad`"));
        assert!(said(parse_change(b"[")).starts_with("not the JSON that is expected here"));
        assert_eq!(parse_change(b"{}").unwrap(), TopicEdit::Change { add: vec![], remove: vec![] });
        for text in [r#"{"topics":{"set":[]}}"#, r#"{"topics":{"user":"u","client":"c","set":[]}}"#] {
            let command: TopicCommand = serde_json::from_str(text).unwrap();
            assert!(command.topics.parse().is_err(), "{text}");
        }
    }
}
