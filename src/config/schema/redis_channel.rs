//! `[[redis.channel]]`: a channel of the application, mapped without a change to its publisher.

use crate::config::parsers::templates::{channel_template, pattern};
use crate::config::parsers::{word, yes_or_no};
use crate::config::schema::table::section;
use crate::config::section_reader::SectionReader;
use crate::event::Template;

/// What a message on a mapped channel is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChannelFormat {
    /// The message is the data.
    Raw,
    /// The message is the JSON that `POST /publish` takes.
    Envelope,
}

section! {
    /// A channel that an application publishes to already. There may be several; none by default.
    pub struct Channel without default checked by check {
        /// The channel; each * stands for any text, which templates know as {1}, {2} and so on, and the whole channel
        /// as {0}.
        pattern: String = required(
            "chat:*",
            "name a channel, or several by a `*`: pattern = \"chat:*\"",
            String::new(),
            pattern
        );
        /// Template of the topic. A "raw" channel needs a topic, a user or a session.
        topic: Option<Template> = optional("conversation:{1}", channel_template(&pattern, false));
        /// Template of the user.
        user: Option<Template> = optional("{1}", channel_template(&pattern, false));
        /// Template of the session.
        session: Option<Template> = optional("{1}", channel_template(&pattern, false));
        /// Template of the event's name. Without it the browser calls the event "message".
        event: Option<Template> = optional("message:new", channel_template(&pattern, true));
        /// What a message is: "raw" (the event's data as it is) or "envelope" (the JSON that `POST /publish` takes).
        format: ChannelFormat = value(
            "raw",
            word([("raw", ChannelFormat::Raw), ("envelope", ChannelFormat::Envelope)])
        );
        /// Whether its messages go into `[redis.stream]`, by one of the instances, and so gain ids. Else they are
        /// delivered live only.
        bridge: bool = value(false, yes_or_no);
    }
}

fn check(channel: &Channel, s: &mut SectionReader<'_, '_>) {
    let nobody = channel.topic.is_none() && channel.user.is_none() && channel.session.is_none();
    if channel.format == ChannelFormat::Raw && nobody {
        s.report(
            &["topic", "user", "session", "format"],
            "a raw channel does not say who gets its messages",
            Some("give it a topic, a user or a session: topic = \"conversation:{1}\"".to_owned()),
        );
    }
}
