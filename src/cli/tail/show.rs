//! How `tail` writes: events to standard output, what happens to the stream to standard error.
//!
//! What came over the wire never reaches a terminal as a control character, except within JSON, which escapes them.

use std::io::{self, Write as _};
use std::num::NonZeroU64;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::cli::output::{note, plain, plain_json};
use crate::event::sse::Message;

/// How events are written.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum Format {
    #[default]
    Text,
    Json,
}

/// Where events go.
pub(super) struct Output {
    format: Format,
    all: bool,
    left: Option<NonZeroU64>,
}

impl Output {
    /// With `all`, the stream's own events are events like any other. At most `count` events are written.
    pub(super) fn new(format: Format, all: bool, count: Option<NonZeroU64>) -> Self {
        Self { format, all, left: count }
    }

    /// Writes one message. Whether more are wanted.
    pub(super) fn take(&mut self, message: &Message) -> io::Result<bool> {
        if let Some(text) = own_event(message) {
            note(&text);
            if !self.all {
                return Ok(true);
            }
        }
        let text = match self.format {
            Format::Text => text(message),
            Format::Json => json(message),
        };
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()?;
        match self.left {
            None => Ok(true),
            Some(left) => {
                self.left = NonZeroU64::new(left.get() - 1);
                Ok(self.left.is_some())
            }
        }
    }
}

fn text(message: &Message) -> String {
    let id = message.id.as_deref().filter(|id| !id.is_empty()).unwrap_or("-");
    let mut text = format!("{}  {}  ", plain(id), plain(&message.event));
    let mut lines = message.data.split('\n');
    text.push_str(&plain(lines.next().unwrap_or_default()));
    for line in lines {
        text.push_str("\n    ");
        text.push_str(&plain(line));
    }
    text.push('\n');
    text
}

fn json(message: &Message) -> String {
    #[derive(Serialize)]
    struct Line<'a> {
        id: Option<&'a str>,
        event: &'a str,
        data: &'a str,
    }
    let line = Line { id: message.id.as_deref(), event: &message.event, data: &message.data };
    let line = serde_json::to_string(&line).expect("a struct of texts is JSON");
    plain_json(&line).into_owned() + "\n"
}

/// What an event of sidestream's own says; None of any other, whatever its name.
fn own_event(message: &Message) -> Option<String> {
    #[derive(Deserialize)]
    struct Connected {
        client: String,
        topics: Vec<String>,
        resumed: bool,
        missed: u64,
        #[serde(default)]
        more: bool,
    }
    #[derive(Deserialize)]
    struct Reason {
        reason: String,
    }
    let reason = || serde_json::from_str(&message.data).ok().map(|Reason { reason }| reason);
    match &*message.event {
        "connected" => {
            let Connected { client, topics, resumed, missed, more } =
                serde_json::from_str(&message.data).ok()?;
            let over = if more { "more than " } else { "" };
            let resumed = if resumed { format!("; resumed, missed {over}{missed}") } else { String::new() };
            Some(format!("connected as client {client}, topics: {}{resumed}", topics.join(", ")))
        }
        "reset" => Some(format!("reset ({}): events were missed; the stream goes on from here", reason()?)),
        "closing" => Some(format!("the server closes the stream ({})", reason()?)),
        "refused" => Some(format!("the server takes no stream for now ({})", reason()?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(event: &str, data: &str, id: Option<&str>) -> Message {
        Message { event: event.into(), data: data.into(), id: id.map(Into::into) }
    }

    #[test]
    fn an_event_is_a_line_and_further_lines_of_data_are_indented() {
        assert_eq!(text(&message("a:b", "{\"x\":1}", Some("5-0"))), "5-0  a:b  {\"x\":1}\n");
        assert_eq!(text(&message("message", "1\n\n2", None)), "-  message  1\n    \n    2\n");
        assert_eq!(
            json(&message("a", "1\n\"2\"\u{1b}", None)),
            "{\"id\":null,\"event\":\"a\",\"data\":\"1\\n\\\"2\\\"\\u001b\"}\n"
        );
    }

    #[test]
    fn no_control_character_reaches_a_terminal() {
        let text = text(&message("a\u{1b}[2J", "x\u{7}\ty\u{9b}z", Some("\u{8}")));
        assert_eq!(text, "\\u{8}  a\\u{1b}[2J  x\\u{7}\ty\\u{9b}z\n");
    }

    #[test]
    fn the_streams_own_events_are_told_from_others_of_their_name() {
        let connected =
            r#"{"client":"c1","user":null,"session":null,"topics":["a","b"],"resumed":true,"missed":3}"#;
        for (event, data, wanted) in [
            ("connected", connected, Some("connected as client c1, topics: a, b; resumed, missed 3")),
            ("connected", r#"{"client":"c1"}"#, None),
            (
                "reset",
                r#"{"reason":"too_old"}"#,
                Some("reset (too_old): events were missed; the stream goes on from here"),
            ),
            ("reset", "the game", None),
            ("closing", r#"{"reason":"draining"}"#, Some("the server closes the stream (draining)")),
            ("message", r#"{"reason":"draining"}"#, None),
        ] {
            assert_eq!(own_event(&message(event, data, None)).as_deref(), wanted, "{event} {data}");
        }
    }
}
