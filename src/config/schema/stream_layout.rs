//! The layout of a stream: what `[[stream]]` says of it, and `[sse]` where that says nothing.

use crate::config::problem::Severity;
use crate::config::schema::sse::{Heartbeat, RetractedAs, Sse};
use crate::config::schema::stream::Stream;
use crate::config::section_reader::SectionReader;
use crate::event::{EventFormat, EventLayout};

impl Stream {
    /// What holds for these streams where `all` is what `[sse]` says.
    pub fn sse(&self, all: &Sse) -> Sse {
        Sse {
            events: self.events.unwrap_or(all.events),
            typed_data: match (&self.typed_data, self.events) {
                // An object of the operator's own is meant for the form beside which it stands.
                (None, Some(_)) => None,
                (own, _) => own.clone().or_else(|| all.typed_data.clone()),
            },
            topic_as: self.topic_as.clone().unwrap_or_else(|| all.topic_as.clone()),
            retracted_as: self.retracted_as.clone().unwrap_or_else(|| all.retracted_as.clone()),
            connected_as: self.connected_as.clone().unwrap_or_else(|| all.connected_as.clone()),
            connected_data: self.connected_data.clone().or_else(|| all.connected_data.clone()),
            heartbeat_as: self.heartbeat_as.clone().unwrap_or_else(|| all.heartbeat_as.clone()),
            heartbeat_data: self.heartbeat_data.clone().or_else(|| all.heartbeat_data.clone()),
            retry_min: self.retry_min.unwrap_or(all.retry_min),
            retry_max: self.retry_max.unwrap_or(all.retry_max),
            ..all.clone()
        }
    }
}

impl Sse {
    /// The layout of events.
    pub fn layout(&self) -> EventLayout {
        let typed_data = self.typed_data.clone().filter(|_| self.events != EventFormat::Named);
        EventLayout { format: self.events, typed_data, topic_as: self.topic_as.clone(), renamed: None }
    }
}

/// Complains of layouts that do not fit together, with what `[sse]` says besides.
pub(super) fn check_layouts(s: &mut SectionReader<'_, '_>, streams: &[Stream], sse: &Sse) {
    for (at, stream) in streams.iter().enumerate() {
        let key = |name: &str| format!("stream[{}].{name}", at + 1);
        let own = stream.sse(sse);
        if own.retry_min > own.retry_max && (stream.retry_min.is_some() || stream.retry_max.is_some()) {
            let keys = [key("retry_min"), key("retry_max")];
            s.report(
                &[&keys[0], &keys[1], "sse.retry_min", "sse.retry_max"],
                "`retry_min` is longer than `retry_max`, with what [sse] says where this stream says nothing",
                None,
            );
        }
        if stream.typed_data.is_some() && own.events == EventFormat::Named {
            s.report(
                &[&key("typed_data"), &key("events"), "sse.events"],
                "`typed_data` is for typed events, and those of this stream are named",
                Some("add events = \"typed\"".to_owned()),
            );
        }
        if matches!(&stream.retracted_as, Some(RetractedAs(Some(_)))) && sse.retracted_as.0.is_none() {
            s.report(
                &[&key("retracted_as"), "sse.retracted_as"],
                "`retracted_as` names an event that is not made: [sse] says `off`",
                Some(
                    "give it a name in [sse], and say retracted_as = \"off\" in the streams without it"
                        .to_owned(),
                ),
            );
        }
        if stream.heartbeat_data.is_some() && !matches!(own.heartbeat_as, Heartbeat::Event(_)) {
            s.report(
                &[&key("heartbeat_data"), &key("heartbeat_as"), "sse.heartbeat_as"],
                "`heartbeat_data` is for heartbeats that are events, and those of this stream are none",
                Some("add heartbeat_as = \"event:heartbeat\"".to_owned()),
            );
        }
    }
    let any = |is: &dyn Fn(Sse) -> bool| streams.iter().any(|stream| is(stream.sse(sse)));
    if sse.typed_data.is_some() && !any(&|own| own.events != EventFormat::Named) {
        s.warn(
            Severity::Warning,
            &["sse.typed_data", "sse.events"],
            "`typed_data` is for typed events, and no stream has any",
            "add events = \"typed\"",
        );
    }
    if sse.heartbeat_data.is_some() && !any(&|own| matches!(own.heartbeat_as, Heartbeat::Event(_))) {
        s.warn(
            Severity::Warning,
            &["sse.heartbeat_data", "sse.heartbeat_as"],
            "`heartbeat_data` is for heartbeats that are events, and no stream has any",
            "add heartbeat_as = \"event:heartbeat\"",
        );
    }
}
