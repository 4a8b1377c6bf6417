//! `[[redis.channel]]`: a channel of the application, mapped without a change to its publisher.

use crate::config::parsers::content_templates::ContentSource;
use crate::config::parsers::templates::pattern;
use crate::config::parsers::{word, yes_or_no};
use crate::config::schema::content::{NOT_IN_ENVELOPES, names_fields, names_nobody, read_content};
use crate::config::schema::table::section;
use crate::config::section_reader::SectionReader;
use crate::event::{ContentTemplates, DataTemplate, Template};

/// What a message on a mapped channel is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChannelFormat {
    /// The message is the data, or holds it.
    Raw,
    /// The message is the JSON that `POST /publish` takes.
    Envelope,
    /// What Laravel's `redis` broadcaster publishes.
    Laravel,
    /// What Rails's Action Cable publishes.
    ActionCable,
    /// What flask-sse publishes.
    FlaskSse,
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
        /// What a message is: "raw" (the event's data as it is, or any JSON of which the templates below make an event)
        /// or "envelope" (the JSON that `POST /publish` takes). "laravel", "action-cable" and "flask-sse" are what
        /// those publish, with templates of their own where none is given: see docs/content.md.
        format: ChannelFormat = value(
            "raw",
            word([
                ("raw", ChannelFormat::Raw),
                ("envelope", ChannelFormat::Envelope),
                ("laravel", ChannelFormat::Laravel),
                ("action-cable", ChannelFormat::ActionCable),
                ("flask-sse", ChannelFormat::FlaskSse),
            ])
        );
        content: ContentTemplates = by(|s: &mut SectionReader<'_, '_>| {
            let stars = pattern.matches('*').count();
            read_content(s, ContentSource::Channel { stars }, preset(format, stars))
        });
        /// Whether its messages go into `[redis.stream]`, by one of the instances, and so gain ids. Else they are
        /// delivered live only.
        bridge: bool = value(false, yes_or_no);
    }
}

/// What a framework's messages are made of, where the operator does not say it otherwise.
fn preset(format: ChannelFormat, stars: usize) -> ContentTemplates {
    let template = |text: &str| Some(Template::parse(text).expect("a template of our own"));
    let data = |text: &str| template(text).map(DataTemplate::Text);
    // The frameworks put a prefix before their channels' names.
    let topic = template(if stars == 0 { "{0}" } else { "{1}" });
    match format {
        ChannelFormat::Raw | ChannelFormat::Envelope => ContentTemplates::default(),
        ChannelFormat::Laravel => ContentTemplates {
            topic,
            event: template("{data.event}"),
            data: data("{data.data}"),
            except_client: template("{data.socket?}"),
            ..ContentTemplates::default()
        },
        ChannelFormat::ActionCable => {
            ContentTemplates { topic, data: data("{data}"), ..ContentTemplates::default() }
        }
        ChannelFormat::FlaskSse => ContentTemplates {
            topic,
            event: template("{data.type?}"),
            data: data("{data.data}"),
            retry: template("{data.retry?}"),
            ..ContentTemplates::default()
        },
    }
}

fn check(channel: &Channel, s: &mut SectionReader<'_, '_>) {
    let content = &channel.content;
    if channel.format != ChannelFormat::Envelope && names_nobody(content) {
        s.report(
            &["topic", "user", "session", "client", "broadcast", "format"],
            "a raw channel does not say who gets its messages",
            Some("give it a topic, a user or a session: topic = \"conversation:{1}\"".to_owned()),
        );
    }
    if channel.format == ChannelFormat::Envelope {
        let key = NOT_IN_ENVELOPES.into_iter().find(|key| s.given(key));
        let key = key.or_else(|| names_fields(content).then_some("topic"));
        if let Some(key) = key {
            s.report(
                &[key, "format"],
                "an envelope says itself what its event is made of",
                Some("where messages are any other JSON: format = \"raw\"".to_owned()),
            );
        }
    }
}
