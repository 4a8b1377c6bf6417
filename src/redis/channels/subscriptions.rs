//! Which channels are listened to, and what a message on each stands for.
//!
//! Every mapping belongs to exactly one subscription, and Redis says with a message for which subscription it is. So
//! one that Redis delivers twice, because a channel and a pattern match, is published once for each subscription, never
//! twice for one. This file knows no connection and no log.

use hashbrown::HashMap;

use crate::config;
use crate::event::{Template, WantedFields};
use crate::redis::channels::alternatives::Alternatives;
use crate::redis::channels::mapping::ChannelMapping;

/// The subscriptions, and what a message of each stands for.
pub(in crate::redis) struct Channels {
    /// Where instances tell each other who is given which topics: no event is published there. With a stream that
    /// stands in the stream.
    assignments: Option<Box<[u8]>>,
    /// Whether the operator mapped any whose messages are delivered live only.
    pub(in crate::redis) mapped: bool,
    /// Whether sidestream's own channels are bridged into the stream.
    own_bridged: bool,
    /// In a Cluster: the channel of the stream's own shard.
    sharded: Option<Box<[u8]>>,
    exact: HashMap<Box<[u8]>, Alternatives>,
    /// By the pattern as Redis knows it.
    patterns: HashMap<Box<[u8]>, Alternatives>,
}

impl Channels {
    /// Sidestream's own channels and the mapped ones.
    pub(in crate::redis) fn new(settings: &config::Redis) -> Self {
        let own_bridged = settings.stream.as_ref().is_some_and(|stream| stream.bridge);
        let prefix = &settings.prefix;
        let assignments = settings.stream.is_none().then(|| assignments_channel(prefix).into());
        let mut channels = Self {
            assignments,
            mapped: settings.channels.iter().any(|channel| !channel.bridge),
            own_bridged,
            sharded: None,
            exact: HashMap::new(),
            patterns: HashMap::new(),
        };
        channels.add(&[prefix], |_| ChannelMapping::envelope(&[prefix], None, own_bridged));
        let rest = Template::parse("{1}").expect("a template of our own");
        let by_topic = &[&*format!("{prefix}:topic:"), ""];
        channels.add(by_topic, |_| ChannelMapping::envelope(by_topic, Some(rest), own_bridged));
        for channel in &settings.channels {
            let literals: Vec<&str> = channel.pattern.split('*').collect();
            channels.add(&literals, |wanted| ChannelMapping::new(channel, wanted));
        }
        channels
    }

    /// Adds the channel of a Cluster's shard, which has envelopes as `<prefix>` has.
    pub(in crate::redis) fn add_sharded(&mut self, channel: &str) {
        let mapping = ChannelMapping::envelope(&[channel], None, self.own_bridged);
        self.sharded = Some(channel.as_bytes().into());
        Alternatives::add(&mut self.exact, channel.as_bytes().into(), |_| mapping);
    }

    /// Whether the messages of any subscription go into the stream.
    pub(in crate::redis) fn is_bridged(&self) -> bool {
        self.bridged().next().is_some()
    }

    /// The subscriptions whose messages go into the stream.
    pub(in crate::redis) fn bridged(&self) -> impl Iterator<Item = &[u8]> {
        let all = self.exact.iter().chain(&self.patterns);
        all.filter(|(_, mappings)| mappings.is_bridged()).map(|(name, _)| &**name)
    }

    /// What to `SSUBSCRIBE` to.
    pub(in crate::redis) fn sharded(&self) -> Option<&[u8]> {
        self.sharded.as_deref()
    }

    fn add(&mut self, literals: &[&str], mapping: impl FnOnce(&mut WantedFields) -> ChannelMapping) {
        let (subscriptions, name) = match literals {
            [channel] => (&mut self.exact, channel.as_bytes().into()),
            literals => (&mut self.patterns, glob(literals).into_bytes().into_boxed_slice()),
        };
        Alternatives::add(subscriptions, name, mapping);
    }

    /// What to `SUBSCRIBE` to.
    pub(in crate::redis) fn exact(&self) -> impl Iterator<Item = &[u8]> {
        let others = self.exact.keys().map(AsRef::as_ref).filter(|channel| Some(*channel) != self.sharded());
        others.chain(self.assignments.as_deref())
    }

    /// Whether a message on `channel` says what topics are given.
    pub(in crate::redis) fn is_given(&self, channel: &[u8]) -> bool {
        self.assignments.as_deref() == Some(channel)
    }

    /// What to `PSUBSCRIBE` to.
    pub(in crate::redis) fn patterns(&self) -> impl Iterator<Item = &[u8]> {
        self.patterns.keys().map(AsRef::as_ref)
    }

    /// What a message of the subscription to `channel` stands for.
    pub(in crate::redis) fn of_channel(&self, channel: &[u8]) -> Option<&Alternatives> {
        self.exact.get(channel)
    }

    /// What a message of the subscription to `pattern` stands for.
    pub(in crate::redis) fn of_pattern(&self, pattern: &[u8]) -> Option<&Alternatives> {
        self.patterns.get(pattern)
    }
}

/// The channel on which it is said what topics are given.
pub(in crate::redis) fn assignments_channel(prefix: &str) -> Vec<u8> {
    [prefix.as_bytes(), b":topics"].concat()
}

/// The pattern in Redis's spelling, to which more than `*` is special.
fn glob(literals: &[&str]) -> String {
    let mut pattern = String::new();
    for (n, literal) in literals.iter().enumerate() {
        if n > 0 {
            pattern.push('*');
        }
        for c in literal.chars() {
            if matches!(c, '*' | '?' | '[' | ']' | '\\') {
                pattern.push('\\');
            }
            pattern.push(c);
        }
    }
    pattern
}

#[cfg(test)]
#[path = "subscriptions_tests.rs"]
mod tests;
