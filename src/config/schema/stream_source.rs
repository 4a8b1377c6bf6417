//! Where a stream's events come from: the keys of `[[stream]]` for streams that the application answers itself.

use std::time::Duration;

use http::HeaderName;
use http::header::{AUTHORIZATION, COOKIE};

use crate::config::parsers::{
    Parse, header_name, not_one_of, size, time, time_or_zero, whole, word, yes_or_no,
};
use crate::config::raw::{RawValue, Rejection};
use crate::config::schema::table::key;
use crate::config::schema::units::{DAY, GIB, HOUR, KIB, MILLIS};
use crate::config::section_reader::SectionReader;
use crate::config::values::ByteSize;

/// Where the events of a route's streams come from, and what that needs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StreamSource {
    pub kind: SourceKind,
    /// Templates of topics were given: the streams hear these, too.
    pub with_topics: bool,
    /// What tells the application's streams apart, beside their paths and hosts.
    pub vary_by: Vec<VaryBy>,
    /// What does not keep requests from sharing a stream.
    pub shared_despite: Vec<Despite>,
    /// How long a stream of the application is kept when nobody hears it any more.
    pub linger: Duration,
    pub late_comers: LateComers,
    /// Whether streams begin with the event `connected`.
    pub connected: bool,
    /// The largest event.
    pub max_event: ByteSize,
    /// After so much silence the application's stream counts as broken; zero = never.
    pub silence: Duration,
    /// How many streams of the application there may be at a time.
    pub max_upstreams: usize,
    /// How often an answer is asked for.
    pub interval: Duration,
    pub send: SendAs,
    /// After how many failures in a row an answer counts as stale; 0 = never.
    pub stale_after: usize,
}

/// Where events come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SourceKind {
    /// What is published.
    Topics,
    /// The application's own event stream.
    Backend,
    /// An answer of the application that is asked for again and again.
    Poll,
}

/// How a changed answer is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SendAs {
    Whole,
    /// As what changed, where that can be said.
    Patch,
}

/// Something of a request that tells streams apart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum VaryBy {
    Query,
    Header(HeaderName),
    Cookie(Box<str>),
    /// The verified user.
    User,
}

/// What keeps a stream from being shared, unless the route says otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Despite {
    /// Requests have cookies that nothing in `vary_by` names.
    Cookie,
    /// The same of the header `Authorization`.
    Authorization,
    /// The application's answer has `Cache-Control: no-store`.
    NoStore,
}

/// What a client hears first that comes while a stream is held, and brings no id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LateComers {
    /// What comes from now on.
    Live,
    /// All that the application has sent since its stream began, as far as the log has it.
    All,
}

impl StreamSource {
    /// Whether the application's answers are where the events come from.
    pub fn is_upstream(&self) -> bool {
        self.kind != SourceKind::Topics
    }

    /// Whether `vary_by` says by what the streams of different values of this header differ.
    pub fn names(&self, header: &HeaderName) -> bool {
        self.vary_by.iter().any(|by| match by {
            VaryBy::Query => false,
            VaryBy::Header(name) => name == header,
            VaryBy::Cookie(_) => header == COOKIE,
            VaryBy::User => header == COOKIE || header == AUTHORIZATION,
        })
    }

    /// Whether callers who share a stream may differ in this header, of those that say who somebody is.
    pub fn despite(&self, header: &HeaderName) -> bool {
        let wanted = if header == COOKIE { Despite::Cookie } else { Despite::Authorization };
        self.shared_despite.contains(&wanted)
    }

    /// For people: one sentence on what a route with it does. `shared`: the instances have one log.
    pub fn sentence(&self, shared: bool) -> String {
        let by: Vec<String> = self.vary_by.iter().map(ToString::to_string).collect();
        let by = if by.is_empty() { String::new() } else { format!(" and {}", by.join(", ")) };
        match self.kind {
            SourceKind::Topics => "events that are published".to_owned(),
            SourceKind::Backend => format!(
                "one stream of the application for each path{by}, shared by all who ask for it, kept for {} after the last{}",
                humantime::format_duration(self.linger),
                if shared { "; one instance reads it for all" } else { "" }
            ),
            SourceKind::Poll => format!(
                "the application is asked every {} for each path{by} while somebody listens, and what changed is sent{}",
                humantime::format_duration(self.interval),
                if shared { "; one instance asks for all" } else { "" }
            ),
        }
    }
}

impl std::fmt::Display for VaryBy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Query => f.write_str("query"),
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Cookie(name) => write!(f, "cookie:{name}"),
            Self::User => f.write_str("user"),
        }
    }
}

/// Reads the keys. They stand behind the others of `[[stream]]`, since they look at whether these were given.
pub(super) fn read_source(s: &mut SectionReader<'_, '_>) -> StreamSource {
    let about = "Where the events come from: \"topics\" = what is published; \"backend\" = the application answers \
                 this path with an event stream itself, which is read once for all who ask for the same \
                 (docs/collapse.md); \"poll\" = the application's answer here is asked for again and again, and sent when \
                 it has changed (docs/poll.md).";
    let kinds =
        [("topics", SourceKind::Topics), ("backend", SourceKind::Backend), ("poll", SourceKind::Poll)];
    let kind = s.value(key!("source", "topics", about), word(kinds));
    let about = "With the other sources: what tells the application's streams apart, beside the path and the \
                 host: \"query\", `header:<name>`, `cookie:<name>`, \"user\" (the verified one). Nothing else of a \
                 request reaches the application where its answer is shared.";
    let vary_by = s.list(key!("vary_by", ["query"], about), vary_by);
    let about = "What does not keep a stream from being shared: \"cookie\", \"authorization\" = callers may differ in \
                 this header (without, a request that has one which `vary_by` does not name goes to the application by \
                 itself; where callers are verified, that of one of them goes there); \"no-store\" = the application's \
                 answer may have `Cache-Control: no-store`.";
    let despite = [
        ("cookie", Despite::Cookie),
        ("authorization", Despite::Authorization),
        ("no-store", Despite::NoStore),
    ];
    let shared_despite = s.list(key!("shared_despite", [], about), word(despite));
    let about = "How long a stream of the application is kept after its last reader has left.";
    let linger = s.value(key!("linger", "30s", about), time_or_zero(MILLIS(10)..=HOUR));
    let about = "What a client without an id hears that comes later than others: \"live\" = what comes from then on; \
                 \"all\" = what the application has sent since its stream began, as far as the log has it.";
    let late = [("live", LateComers::Live), ("all", LateComers::All)];
    let late_comers = s.value(key!("late_comers", "live", about), word(late));
    let about =
        "Whether these streams begin with the event `connected`, which the application's do not have.";
    let connected = s.value(key!("connected", false, about), yes_or_no);
    let about =
        "The largest event that is read of the application; a larger one is left out, which a `reset` says.";
    let max_event = s.value(key!("max_event", "1MiB", about), size(KIB..=GIB));
    let about = "After so long without a byte, the application's stream counts as broken and is opened anew; 0 = never.";
    let silence = s.value(key!("silence", "0s", about), time_or_zero(MILLIS(10)..=DAY));
    let about = "How many streams of the application may be shared at a time by this route; others go to it one by one.";
    let max_upstreams = s.value(key!("max_upstreams", 1000, about), whole(1..=1_000_000));
    let about = "How often the application is asked with source = \"poll\", give or take a tenth.";
    let interval = s.value(key!("interval", "2s", about), time(MILLIS(10)..=DAY));
    let about = "How a changed answer is sent: \"whole\", or \"patch\" = the event `patch` with a JSON merge patch (RFC \
                 7396) where that is shorter.";
    let sends = [("whole", SendAs::Whole), ("patch", SendAs::Patch)];
    let send = s.value(key!("send", "whole", about), word(sends));
    let about = "After how many failures in a row clients get the event `stale`; 0 = never.";
    let stale_after = s.value(key!("stale_after", 3, about), whole(0..=1_000_000));
    let with_topics = kind != SourceKind::Topics && s.given("topics");
    StreamSource {
        kind,
        with_topics,
        vary_by,
        shared_despite,
        linger,
        late_comers,
        connected,
        max_event,
        silence,
        max_upstreams,
        interval,
        send,
        stale_after,
    }
}

/// What does not fit together. `unknown`: nobody knows who the callers are.
pub(super) fn check_source(source: &StreamSource, unknown: bool, s: &mut SectionReader<'_, '_>) {
    let of_polls = [
        ("interval", source.interval == Duration::from_secs(2)),
        ("send", source.send == SendAs::Whole),
        ("stale_after", source.stale_after == 3),
    ];
    if let Some((key, _)) =
        of_polls.iter().find(|(_, is_default)| source.kind != SourceKind::Poll && !is_default)
    {
        s.report(
            &[key, "source"],
            format!("`{key}` is for answers that are asked for again and again"),
            Some("set source = \"poll\", or leave it out".to_owned()),
        );
    }
    if !source.is_upstream() {
        let plain = [
            ("vary_by", source.vary_by == [VaryBy::Query]),
            ("shared_despite", source.shared_despite.is_empty()),
            ("linger", source.linger == Duration::from_secs(30)),
            ("late_comers", source.late_comers == LateComers::Live),
            ("connected", !source.connected),
            ("max_event", source.max_event == ByteSize(1 << 20)),
            ("silence", source.silence.is_zero()),
            ("max_upstreams", source.max_upstreams == 1000),
        ];
        // A default that is written down says nothing.
        if let Some((key, _)) = plain.iter().find(|(_, is_default)| !is_default) {
            s.report(
                &[key, "source"],
                format!("`{key}` is for streams that the application answers"),
                Some("set source = \"backend\", or leave it out".to_owned()),
            );
        }
        return;
    }
    if source.vary_by.contains(&VaryBy::User) && unknown {
        s.report(
            &["vary_by", "auth"],
            "`vary_by` names the user, but with auth = \"none\" nobody is known",
            Some("set `auth`, or name the header or the cookie that tells streams apart".to_owned()),
        );
    }
}

/// `query`, `user`, `header:<name>`, `cookie:<name>`.
fn vary_by(raw: &RawValue<'_>) -> Result<VaryBy, Rejection> {
    const WANTED: &str = "`query`, `user`, `header:<name>` or `cookie:<name>`";
    let text = raw.text(WANTED)?;
    match text.split_once(':') {
        None if text == "query" => Ok(VaryBy::Query),
        None if text == "user" => Ok(VaryBy::User),
        Some(("header", name)) => header_name.parse(&RawValue::Text(name.to_owned())).map(VaryBy::Header),
        Some(("cookie", name)) if is_token(name) => Ok(VaryBy::Cookie(name.into())),
        Some(("cookie", _)) => Err("must be the name of a cookie behind `cookie:`".into()),
        _ => Err(not_one_of(WANTED, text, ["query", "user", "header:", "cookie:"])),
    }
}

/// RFC 6265, section 4.1.1.
fn is_token(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?={}".contains(&byte);
    !text.is_empty() && text.len() <= 256 && text.bytes().all(is_plain)
}
