//! Words and names: of events, topics, keys in Redis, levels of the log.

use http::HeaderName;

use crate::config::parsers::not_one_of;
use crate::config::raw::{RawValue, Rejection};
use crate::event::{EventName, Pattern};
use crate::telemetry;

/// The name of an event.
fn event_name(raw: &RawValue<'_>) -> Result<EventName, Rejection> {
    EventName::parse(raw.text("an event's name")?).map_err(|why| format!("{why}").into())
}

/// The name of an event that is published.
pub(in crate::config) fn published_event_name(raw: &RawValue<'_>) -> Result<EventName, Rejection> {
    EventName::parse_published(raw.text("an event's name")?).map_err(|why| format!("{why}").into())
}

/// The name of a stream's first event.
pub(in crate::config) fn first_event_name(raw: &RawValue<'_>) -> Result<EventName, Rejection> {
    if raw.text("an event's name")? == "connected" { event_name(raw) } else { published_event_name(raw) }
}

/// A word that stands in logs and metrics.
pub(in crate::config) fn label(raw: &RawValue<'_>) -> Result<String, Rejection> {
    const MAX: usize = 64;
    let text = raw.text("a word")?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if text.is_empty() || text.len() > MAX || !text.bytes().all(plain) {
        return Err(format!("must be a word of 1 to {MAX} letters, digits, `-`, `_` and `.`").into());
    }
    Ok(text.to_owned())
}

/// Something that the daemon depends on, by its name in `/readyz`.
pub(in crate::config) fn dependency(raw: &RawValue<'_>) -> Result<String, Rejection> {
    const WANTED: &str = "`backend`, `redis`, `redis_stream`, `redis_bridge`, `jwks` or `publisher_jwks`";
    const NAMES: [&str; 6] = ["backend", "redis", "redis_stream", "redis_bridge", "jwks", "publisher_jwks"];
    let text = raw.text(WANTED)?;
    if NAMES.contains(&text) { Ok(text.to_owned()) } else { Err(not_one_of(WANTED, text, NAMES)) }
}

/// Topics that may be published to, or heard.
pub(in crate::config) fn topic_pattern(raw: &RawValue<'_>) -> Result<Pattern, Rejection> {
    let text = raw.text("a topic or a pattern such as \"conversation:*\"")?;
    Pattern::parse(text).map_err(|why| format!("{why}").into())
}

/// The name by which Sentinels know a master.
pub(in crate::config) fn master(raw: &RawValue<'_>) -> Result<String, Rejection> {
    let text = raw.text("a name")?;
    if text.is_empty() || text.len() > 100 || text.contains(|c: char| c.is_control() || c.is_whitespace()) {
        return Err("must be a name of 1 to 100 bytes without spaces".into());
    }
    Ok(text.to_owned())
}

/// The key of the stream: in a Cluster its part in braces, or the whole, says which node holds it.
pub(in crate::config) fn stream_key(raw: &RawValue<'_>) -> Result<String, Rejection> {
    const MAX: usize = 200;
    let text = raw.text("a key")?;
    if text.is_empty() || text.len() > MAX || text.contains(|c: char| c.is_control() || c.is_whitespace()) {
        return Err(format!("must be a key of 1 to {MAX} bytes without spaces").into());
    }
    let braces: String = text.chars().filter(|c| matches!(c, '{' | '}')).collect();
    if !(braces.is_empty() || braces == "{}" && !text.contains("{}")) {
        return Err("may have one pair of braces around some text, and no other braces".into());
    }
    Ok(text.to_owned())
}

/// The first word of our own channels.
pub(in crate::config) fn prefix(raw: &RawValue<'_>) -> Result<String, Rejection> {
    const MAX: usize = 100;
    let text = raw.text("a word")?;
    let plain = |c: char| !c.is_control() && !c.is_whitespace() && !matches!(c, '*' | '?' | '[' | ']' | '\\');
    if text.is_empty() || text.len() > MAX || !text.chars().all(plain) {
        return Err(format!("must be a word of 1 to {MAX} bytes without spaces, *, ?, [, ] and \\").into());
    }
    Ok(text.to_owned())
}

/// A level, or a filter of levels by target.
pub(in crate::config) fn log_level(raw: &RawValue<'_>) -> Result<String, Rejection> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    const WANTED: &str = "a level such as `info`, or a filter such as `info,sidestream::proxy=debug`";
    let text = raw.text(WANTED)?;
    // A filter takes any other text for a target, so that a misspelt level would log everything of nothing; and it
    // takes an empty level for `error`.
    for part in text.split(',').map(str::trim) {
        let by_target = part.contains('=');
        if !by_target && !LEVELS.iter().any(|level| part.eq_ignore_ascii_case(level)) {
            return Err(not_one_of(WANTED, part, LEVELS));
        }
        if by_target && (part.contains('[') || part.ends_with('=')) {
            return Err(format!("must be {WANTED}").into());
        }
    }
    match telemetry::log_filter(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(why) => Err(format!("must be {WANTED}: {why}").into()),
    }
}

/// A text of moderate length.
pub(in crate::config) fn short_text(raw: &RawValue<'_>) -> Result<String, Rejection> {
    const MAX: usize = 1024;
    let text = raw.text("a string")?;
    if text.is_empty() || text.len() > MAX {
        return Err(format!("must be 1 to {MAX} bytes").into());
    }
    Ok(text.to_owned())
}

/// The name of a header.
pub(in crate::config) fn header_name(raw: &RawValue<'_>) -> Result<HeaderName, Rejection> {
    let text = raw.text("the name of a header")?;
    HeaderName::from_bytes(text.as_bytes()).map_err(|_| "must be the name of a header".into())
}

/// The name of a header that may hold a request's id: none that means something else.
pub(in crate::config) fn id_header(raw: &RawValue<'_>) -> Result<HeaderName, Rejection> {
    let name = header_name(raw)?;
    let is_of_ids =
        name.as_str().split('-').any(|part| matches!(part, "id" | "correlation" | "trace" | "request"));
    if is_of_ids && name.as_str() != "last-event-id" {
        return Ok(name);
    }
    Err("must be the name of a header for ids, such as X-Request-Id or X-Correlation-ID".into())
}

/// A claim's name; dots lead into objects.
pub(in crate::config) fn claim_name(raw: &RawValue<'_>) -> Result<String, Rejection> {
    const MAX: usize = 256;
    let text = raw.text("the name of a claim such as \"sub\" or \"org.id\"")?;
    if text.is_empty() || text.len() > MAX || text.chars().any(|c| c.is_control() || matches!(c, '{' | '}')) {
        return Err(format!("must be the name of a claim: 1 to {MAX} bytes without braces").into());
    }
    Ok(text.to_owned())
}

/// The type of a body, without parameters.
pub(in crate::config) fn media_type(raw: &RawValue<'_>) -> Result<String, Rejection> {
    let text = raw.text("a type such as \"text/event-stream\"")?;
    let token = |part: &str| {
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"!#$&-^_.+*".contains(&b);
        !part.is_empty() && part.bytes().all(fits)
    };
    match text.split_once('/') {
        Some((main, sub)) if token(main) && token(sub) => Ok(text.to_ascii_lowercase()),
        _ => Err("must be a type such as \"text/event-stream\", without parameters".into()),
    }
}
