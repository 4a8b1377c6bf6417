//! What values may look like: each form turns a value as found into its type, or says why not.
//!
//! A form is a function; its refusal is the rest of a sentence that begins with the key, and names no secret.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use ipnet::IpNet;
use toml::de::DeValue;

use crate::config::origin::{HostName, WebOrigin};
use crate::config::raw::{Raw, Refusal, kind};
use crate::config::sections::Heartbeat;
use crate::config::suggest::{any_of, nearest};
use crate::config::values::{Backend, ByteSize, Secret};
use crate::event::{EventName, Pattern};

/// A whole number within `bounds`.
pub(super) fn whole(bounds: RangeInclusive<usize>) -> impl Fn(&Raw<'_>) -> Result<usize, Refusal> {
    move |raw| {
        let (min, max) = (bounds.start(), bounds.end());
        let number = match (raw.number(), raw) {
            (Some(number), _) => usize::try_from(number).ok().filter(|number| bounds.contains(number)),
            (None, Raw::Toml(other)) => {
                return Err(format!("must be a whole number, not {}", kind(other)).into());
            }
            (None, Raw::Text(_)) => None,
        };
        number.ok_or_else(|| format!("must be a whole number from {min} to {max}").into())
    }
}

/// `true` or `false`.
pub(super) fn yes_or_no(raw: &Raw<'_>) -> Result<bool, Refusal> {
    match raw {
        Raw::Toml(DeValue::Boolean(value)) => Ok(*value),
        Raw::Text(text) if text == "true" => Ok(true),
        Raw::Text(text) if text == "false" => Ok(false),
        Raw::Text(_) => Err("must be true or false".into()),
        Raw::Toml(other) => Err(format!("must be true or false, not {}", kind(other)).into()),
    }
}

/// A time within `bounds`.
pub(super) fn time(bounds: RangeInclusive<Duration>) -> impl Fn(&Raw<'_>) -> Result<Duration, Refusal> {
    move |raw| {
        let time = any_time(raw)?;
        let (min, max) = (shown(*bounds.start()), shown(*bounds.end()));
        if bounds.contains(&time) { Ok(time) } else { Err(format!("must be from {min} to {max}").into()) }
    }
}

/// A time within `bounds`, or 0.
pub(super) fn time_or_zero(
    bounds: RangeInclusive<Duration>,
) -> impl Fn(&Raw<'_>) -> Result<Duration, Refusal> {
    move |raw| {
        let time = any_time(raw)?;
        let (min, max) = (shown(*bounds.start()), shown(*bounds.end()));
        if time.is_zero() || bounds.contains(&time) {
            Ok(time)
        } else {
            Err(format!("must be 0 or from {min} to {max}").into())
        }
    }
}

fn any_time(raw: &Raw<'_>) -> Result<Duration, Refusal> {
    const WANTED: &str = "a time such as \"10s\", \"250ms\" or \"1h30m\"";
    match raw.number() {
        Some(0) => return Ok(Duration::ZERO),
        Some(number) => {
            let units = format!("give it a unit: \"{number}s\" or \"{number}ms\"");
            return Err(Refusal::with(format!("must be {WANTED}"), units));
        }
        None => {}
    }
    let text = raw.text(WANTED)?;
    // Upper case is refused because `M` would be months.
    let plain = !text.contains(|c: char| c.is_uppercase() || c.is_whitespace());
    let time = if plain { humantime::parse_duration(text).ok() } else { None };
    time.ok_or_else(|| format!("must be {WANTED}").into())
}

/// A time as it is written in the file.
pub(super) fn shown(time: Duration) -> String {
    humantime::format_duration(time).to_string().replace(' ', "")
}

/// A size within `bounds`.
pub(super) fn size(bounds: RangeInclusive<ByteSize>) -> impl Fn(&Raw<'_>) -> Result<ByteSize, Refusal> {
    move |raw| {
        let size = match raw.number() {
            Some(number) => u64::try_from(number).ok().map(ByteSize),
            None => {
                let wanted = "a size such as \"64KiB\", \"1MB\" or a number of bytes";
                Some(raw.text(wanted)?.parse().map_err(|why| Refusal::from(format!("{why}")))?)
            }
        };
        let (min, max) = (bounds.start(), bounds.end());
        size.filter(|size| bounds.contains(size)).ok_or_else(|| format!("must be from {min} to {max}").into())
    }
}

/// An address and port to listen on.
pub(super) fn address(raw: &Raw<'_>) -> Result<SocketAddr, Refusal> {
    const WANTED: &str = "an address and a port such as \"127.0.0.1:8080\" or \"[::]:8080\"";
    let must = format!("must be {WANTED}");
    if let Some(port) = raw.number() {
        return Err(Refusal::with(must, format!("did you mean \"127.0.0.1:{port}\"?")));
    }
    let text = raw.text(WANTED)?;
    text.parse().map_err(|_| match text.rsplit_once(':') {
        Some(("localhost", port)) => Refusal::with(must, format!("did you mean \"127.0.0.1:{port}\"?")),
        Some(("" | "*", port)) => Refusal::with(must, format!("did you mean \"0.0.0.0:{port}\"?")),
        _ if text.parse::<IpAddr>().is_ok() => Refusal::with(must, "the port is missing"),
        _ => must.into(),
    })
}

/// The application behind us.
pub(super) fn backend(raw: &Raw<'_>) -> Result<Backend, Refusal> {
    let text = raw.text("http://host:port or unix:/path/to.sock")?;
    text.parse().map_err(|why| match text.rsplit_once(':') {
        Some((host, port)) if is_host(host) && port.parse::<u16>().is_ok() => {
            Refusal::with(format!("{why}"), format!("did you mean \"http://{text}\"?"))
        }
        _ if text.starts_with('/') => {
            Refusal::with(format!("{why}"), format!("did you mean \"unix:{text}\"?"))
        }
        _ => format!("{why}").into(),
    })
}

fn is_host(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
}

/// A network, or one address.
pub(super) fn network(raw: &Raw<'_>) -> Result<IpNet, Refusal> {
    const WANTED: &str = "an address or a network such as \"10.0.0.0/8\" or \"::1\"";
    let text = raw.text(WANTED)?;
    let one = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse::<IpNet>()
        .or_else(|_| one())
        .map(|network| network.trunc())
        .map_err(|_| format!("must be {WANTED}").into())
}

/// One of a few words.
pub(super) fn word<T: Clone, const N: usize>(
    words: [(&'static str, T); N],
) -> impl Fn(&Raw<'_>) -> Result<T, Refusal> {
    move |raw| {
        let names = words.each_ref().map(|(name, _)| *name);
        let wanted = any_of(&names);
        let text = raw.text(&wanted)?;
        let known = words.iter().find(|(name, _)| *name == text);
        known.map(|(_, value)| value.clone()).ok_or_else(|| {
            let meant = nearest(text, names).map(|meant| format!("did you mean \"{meant}\"?"));
            Refusal { message: format!("must be {wanted}"), suggestion: meant }
        })
    }
}

/// The name of an event.
pub(super) fn event_name(raw: &Raw<'_>) -> Result<EventName, Refusal> {
    EventName::parse(raw.text("an event's name")?).map_err(|why| format!("{why}").into())
}

/// The form of a heartbeat.
pub(super) fn heartbeat(raw: &Raw<'_>) -> Result<Heartbeat, Refusal> {
    const WANTED: &str = "`comment`, `line` or `event:<name>`";
    let text = raw.text(WANTED)?;
    if let Some(name) = text.strip_prefix("event:") {
        let name = EventName::parse(name).map_err(|why| format!("names an event whose name {why}"))?;
        return Ok(Heartbeat::Event(name));
    }
    let meant = match text {
        "comment" => return Ok(Heartbeat::Comment),
        "line" => return Ok(Heartbeat::Line),
        other => nearest(other, ["comment", "line", "event:ping"]),
    };
    let suggestion = meant.map(|meant| format!("did you mean \"{meant}\"?"));
    Err(Refusal { message: format!("must be {WANTED}"), suggestion })
}

/// A key of publishers: it has to fit in a header.
pub(super) fn publish_key(raw: &Raw<'_>) -> Result<Secret, Refusal> {
    const MAX: usize = 1024;
    let text = raw.text("a string")?;
    if text.is_empty() {
        return Err("is empty".into());
    }
    if text.len() > MAX {
        return Err(format!("is longer than {MAX} bytes").into());
    }
    if !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err("must be ASCII without spaces, because it travels in a header".into());
    }
    Ok(Secret::new(text))
}

/// The SHA-256 of a key, in hexadecimal digits.
pub(super) fn sha256(raw: &Raw<'_>) -> Result<[u8; 32], Refusal> {
    const WANTED: &str = "the SHA-256 of a key in 64 hexadecimal digits";
    let refuse = || {
        Refusal::with(
            format!("must be {WANTED}"),
            "`sidestream key hash` makes it of a key on its standard input",
        )
    };
    let text = raw.text(WANTED)?;
    let mut hash = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return Err(refuse());
    }
    for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks(2)) {
        let digits = str::from_utf8(digits).expect("ASCII");
        *byte = u8::from_str_radix(digits, 16).map_err(|_| refuse())?;
    }
    Ok(hash)
}

/// A word that stands in logs and metrics.
pub(super) fn label(raw: &Raw<'_>) -> Result<String, Refusal> {
    const MAX: usize = 64;
    let text = raw.text("a word")?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if text.is_empty() || text.len() > MAX || !text.bytes().all(plain) {
        return Err(format!("must be a word of 1 to {MAX} letters, digits, `-`, `_` and `.`").into());
    }
    Ok(text.to_owned())
}

/// Topics that may be published to, or heard.
pub(super) fn topic_pattern(raw: &Raw<'_>) -> Result<Pattern, Refusal> {
    let text = raw.text("a topic or a pattern such as \"conversation:*\"")?;
    Pattern::parse(text).map_err(|why| format!("{why}").into())
}

/// An origin of web pages.
pub(super) fn origin(raw: &Raw<'_>) -> Result<WebOrigin, Refusal> {
    let text = raw.text("an origin such as \"https://app.example\"")?;
    text.parse().map_err(|why| match text.trim_end_matches('/') {
        shorter if shorter.len() < text.len() && shorter.parse::<WebOrigin>().is_ok() => {
            Refusal::with(format!("{why}"), format!("did you mean \"{shorter}\"?"))
        }
        name if !text.contains("://") && format!("https://{name}").parse::<WebOrigin>().is_ok() => {
            Refusal::with(format!("{why}"), format!("did you mean \"https://{name}\"?"))
        }
        _ => format!("{why}").into(),
    })
}

/// The name of a host.
pub(super) fn host_name(raw: &Raw<'_>) -> Result<HostName, Refusal> {
    raw.text("the name of a host")?.parse().map_err(|why| format!("{why}").into())
}

/// Where Redis is.
pub(super) fn redis_url(raw: &Raw<'_>) -> Result<Secret, Refusal> {
    const WANTED: &str = "redis://[user:password@]host[:port][/database] or unix:/path/to.sock";
    let text = raw.text(WANTED)?;
    let no_url = || Refusal::from(format!("must be {WANTED}"));
    if text.contains("#insecure") {
        return Err(
            "cannot end with #insecure: the server's certificate is always verified (`ca_file` says by whom)"
                .into(),
        );
    }
    let url = redis::parse_redis_url(&without_tls(text)).ok_or_else(no_url)?;
    match redis::IntoConnectionInfo::into_connection_info(url) {
        Ok(_) => Ok(Secret::new(text)),
        // The text of the client's error holds nothing of the URL but may one day.
        Err(why) => Err(match why.to_string() {
            detail if detail.to_ascii_lowercase().contains("database") => {
                "must have a number for its database: redis://host:port/0".into()
            }
            _ => no_url(),
        }),
    }
}

/// The same address without TLS: the client that reads it knows none.
fn without_tls(url: &str) -> String {
    url.replacen("rediss:", "redis:", 1).replacen("valkeys:", "valkey:", 1)
}

/// Text that is not looked into here.
pub(super) fn pem(raw: &Raw<'_>) -> Result<Secret, Refusal> {
    Ok(Secret::new(raw.text("PEM")?))
}

/// A Sentinel: `host:port`, or a URL where it asks for a password.
pub(super) fn sentinel(raw: &Raw<'_>) -> Result<Secret, Refusal> {
    const WANTED: &str = "host:port or redis://[user:password@]host:port";
    let text = raw.text(WANTED)?;
    let no_sentinel = || Refusal::from(format!("must be {WANTED}"));
    let url = if text.contains("://") {
        text.to_owned()
    } else {
        host_and_port(raw).map_err(|_| no_sentinel())?;
        format!("redis://{text}")
    };
    redis::parse_redis_url(&without_tls(&url)).map(|_| Secret::new(&*url)).ok_or_else(no_sentinel)
}

/// Where a server listens: a name or an address, and a port.
pub(super) fn host_and_port(raw: &Raw<'_>) -> Result<String, Refusal> {
    const WANTED: &str = "host:port";
    let text = raw.text(WANTED)?;
    let known = text.rsplit_once(':').is_some_and(|(host, port)| {
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let host = bare.map_or_else(|| is_host(host), |bare| bare.parse::<std::net::Ipv6Addr>().is_ok());
        host && port.parse::<u16>().is_ok_and(|port| port != 0)
    });
    if known { Ok(text.to_owned()) } else { Err(format!("must be {WANTED}").into()) }
}

/// The name by which Sentinels know a master.
pub(super) fn master(raw: &Raw<'_>) -> Result<String, Refusal> {
    let text = raw.text("a name")?;
    if text.is_empty() || text.len() > 100 || text.contains(|c: char| c.is_control() || c.is_whitespace()) {
        return Err("must be a name of 1 to 100 bytes without spaces".into());
    }
    Ok(text.to_owned())
}

/// The key of the stream: in a Cluster its part in braces, or the whole, says which node holds it.
pub(super) fn stream_key(raw: &Raw<'_>) -> Result<String, Refusal> {
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
pub(super) fn prefix(raw: &Raw<'_>) -> Result<String, Refusal> {
    const MAX: usize = 100;
    let text = raw.text("a word")?;
    let plain = |c: char| !c.is_control() && !c.is_whitespace() && !matches!(c, '*' | '?' | '[' | ']' | '\\');
    if text.is_empty() || text.len() > MAX || !text.chars().all(plain) {
        return Err(format!("must be a word of 1 to {MAX} bytes without spaces, *, ?, [, ] and \\").into());
    }
    Ok(text.to_owned())
}

/// A level, or a filter of levels by target.
pub(super) fn log_level(raw: &Raw<'_>) -> Result<String, Refusal> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    const WANTED: &str = "a level such as `info`, or a filter such as `info,sidestream::proxy=debug`";
    let text = raw.text(WANTED)?;
    // A filter takes any bare word for a target, so that a misspelt level would log everything of nothing.
    for part in text.split(',').filter(|part| !part.contains(['=', '['])) {
        if !LEVELS.iter().any(|level| part.trim().eq_ignore_ascii_case(level)) {
            let meant = nearest(part.trim(), LEVELS).map(|meant| format!("did you mean \"{meant}\"?"));
            return Err(Refusal { message: format!("must be {WANTED}"), suggestion: meant });
        }
    }
    match tracing_subscriber::EnvFilter::builder().parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(why) => Err(format!("must be {WANTED}: {why}").into()),
    }
}
