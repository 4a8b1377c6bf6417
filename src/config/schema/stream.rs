//! `[[stream]]`

use std::time::Duration;

use crate::config::parsers::json_templates::{connected_data, heartbeat_data, typed_data};
use crate::config::parsers::templates::{covers, path, stream_template};
use crate::config::parsers::{
    first_event_name, published_event_name, shared_secret, time, time_or_zero, word, yes_or_no,
};
use crate::config::problem::Severity;
use crate::config::schema::auth::Auth;
use crate::config::schema::grant_end::{GRANT_ENDS, GrantEnd, check_until};
use crate::config::schema::sse::{
    Heartbeat, REFUSALS, RefuseWith, RetractedAs, SHAPES, heartbeat_form, retracted_form, topic_form,
};
use crate::config::schema::stream_meta::{MetaTemplates, check_no_token, meta};
use crate::config::schema::stream_page::{check_page, check_page_events};
use crate::config::schema::stream_patterns::check_patterns;
use crate::config::schema::stream_refresh::{check_refresh, refresh_template};
use crate::config::schema::stream_signed::{SignedKeys, check_signed, signed_topics};
use crate::config::schema::stream_source::{StreamSource, check_source, read_source};
use crate::config::schema::table::section;
use crate::config::schema::units::{DAY, HOUR, MILLIS, SECOND};
use crate::config::section_reader::SectionReader;
use crate::config::values::Secret;
use crate::event::{Absent, EventFormat, EventName, JsonTemplate, Template, TopicAs};

/// Who may open a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StreamAuth {
    /// Anyone.
    None,
    /// Callers with a token that `[auth.jwt]` verifies.
    Jwt,
    /// Callers that the application lets in: `[auth.backend]`.
    Backend,
    /// Callers with a ticket: `[auth.ticket]`.
    Ticket,
    /// Whoever has a name that the application has signed.
    Signed,
}

/// The words of `auth`.
const AUTHS: [(&str, StreamAuth); 5] = [
    ("none", StreamAuth::None),
    ("jwt", StreamAuth::Jwt),
    ("backend", StreamAuth::Backend),
    ("ticket", StreamAuth::Ticket),
    ("signed", StreamAuth::Signed),
];

section! {
    /// A path that is answered as an event stream. There may be several `[[stream]]` tables; the first whose path
    /// matches answers, and without any there is one with these defaults.
    pub struct Stream checked by check {
        /// The path; "/rooms/{room}/events" makes its segment known to templates as {path.room}.
        path: String = value("/events", path);
        /// Who may open it: "none" = anyone; "jwt" = callers with a token that `[auth.jwt]` verifies; "backend" =
        /// callers that the application lets in (`[auth.backend]`); "ticket" = callers with a ticket that the
        /// application asked for (`[auth.ticket]`); "signed" = callers with names that the application has signed as
        /// Rails does (`signed_key`).
        auth: StreamAuth = value("none", word(AUTHS));
        /// Whether a page may change the topics of its own stream within its grant: `POST <path>?client=<id>`
        /// (docs/control.md). Needs callers who are verified.
        change_topics: bool = value(false, yes_or_no);
        /// Templates of the topics that a stream is for: text with {query.name} and {path.name}, and {claim.name} where
        /// callers are verified. A query parameter that is given several times makes a topic each time. A template with
        /// {query.name?} makes no topic where the value is missing; {query.name:-text} has a default. With auth =
        /// "signed" it is the signed name itself, {claim.stream}, where nothing is said.
        topics: Vec<Template> = list(["{query.topic}"], stream_template(&path, auth != StreamAuth::None));
        /// Template of the user whose events the stream gets, for apps that name people in the query; only with
        /// auth = "none".
        user: Option<Template> = optional("{query.userId}", stream_template(&path, auth != StreamAuth::None));
        /// Template of the session whose events the stream gets; only with auth = "none".
        session: Option<Template> = optional("{query.sessionId}", stream_template(&path, auth != StreamAuth::None));
        /// How long a caller's grant is looked at: "exp" = a stream ends with it (a token's exp, the ttl of the
        /// application's answer), "open" = at the opening only, as services do that verify a request and then write for
        /// as long as it is connected. Revoking ends a stream in both cases. Unset, it is as what verifies the callers
        /// says: `until` of `[auth.jwt]`, `[auth.backend]` or `[auth.ticket]`.
        until: Option<GrantEnd> = optional("exp", word(GRANT_ENDS));
        /// How a refusal that will pass is said here, where it is not as `sse.refuse_with` says.
        refuse_with: Option<RefuseWith> = optional("status", word(REFUSALS));
        /// How long a stream here may be sent nothing but heartbeats, where it is not as `sse.idle_timeout` says; 0 =
        /// for ever.
        idle_timeout: Option<Duration> = optional("30m", time_or_zero(SECOND..=30 * DAY));
        /// The events that pages may publish to topics of their grant, where it lets them (`auth.publish_claim`):
        /// typing indicators and the like. `POST <path>?client=<id>` (docs/control.md). Needs callers who are verified.
        page_publish: Vec<EventName> = list_or_empty(["typing"], published_event_name);
        /// Whether a page may see who is on the topics of its own stream: `GET <path>/presence`. Needs callers who are
        /// verified.
        page_presence: bool = value(false, yes_or_no);
        /// For auth = "signed": the key that the application signs names of streams with, as Rails has it in
        /// `config.turbo.signed_stream_verifier_key`.
        signed_key: Option<Secret> = secret("please-make-one-with-openssl-rand-hex-32", shared_secret);
        /// Instead of it Rails's own secret (`secret_key_base`), from which Rails derives the key where it has no
        /// other.
        signed_key_base: Option<Secret> = instead_secret(
            "the-secret-key-base-of-the-application-128-digits",
            shared_secret
        );
        /// What is noted of each connection, for /connections, webhooks and presence: templates by name, or a list of
        /// sources such as `["query.*", "claim.plan"]`, where "query.*" is every parameter that the stream itself has
        /// no use for, but for tokens. Bounded by `limits.meta_entries` and `limits.meta_bytes`.
        meta: Option<MetaTemplates> = optional(
            { device = "{query.device}" },
            meta(&path, auth != StreamAuth::None)
        );
        source: StreamSource = by(read_source);
        /// Whether a page may choose among its events by their names: `?event=message:new&event=typing`, or all but
        /// some: `?except=typing`.
        choose_events: bool = value(false, yes_or_no);
        /// Whether `?history=5` means the last 5 events of each topic, and nothing else from before the opening,
        /// instead of the last 5 of all topics.
        history_per_topic: bool = value(false, yes_or_no);
        /// How the events of these streams are laid out; this key and those below it are as in `[sse]`, which says what
        /// holds where they are not given.
        events: Option<EventFormat> = optional("typed", word(SHAPES));
        /// The object that a typed event is.
        typed_data: Option<JsonTemplate> =
            optional({ type = "{event}", data = "{data}", timestamp = "{now.iso}", userId = "{user}" }, typed_data());
        /// How an event's topic is told: "nothing", "comment" or "prefix:/".
        topic_as: Option<TopicAs> = optional("comment", topic_form);
        /// The name of the first event.
        connected_as: Option<EventName> = optional("connection_established", first_event_name);
        /// The data of the first event; {path.name}, too, is known here.
        connected_data: Option<JsonTemplate> = optional(
            { type = "connected", clientId = "{client}", userId = "{user}", timestamp = "{now.iso}" },
            connected_data(Some((&path, auth != StreamAuth::None)))
        );
        /// The form of heartbeats: "comment", "line" or "event:name".
        heartbeat_as: Option<Heartbeat> = optional("event:heartbeat", heartbeat_form);
        /// The data of heartbeats that are events.
        heartbeat_data: Option<JsonTemplate> =
            optional({ timestamp = "{now}" }, heartbeat_data(Some((&path, auth != StreamAuth::None))));
        /// The shortest time after which clients are told to come back.
        retry_min: Option<Duration> = optional("1s", time(MILLIS(10)..=HOUR));
        /// The longest.
        retry_max: Option<Duration> = optional("4s", time(MILLIS(10)..=HOUR));
        /// Whether a fresh stream may begin with the newest event of each `coalesce` key of its topics: ?snapshot=true
        /// (docs/streams.md).
        snapshot: bool = value(false, yes_or_no);
        /// Whether a `*` in a topic stands for any text: ?topic=room:* hears every topic that begins with room:, also
        /// one that does not exist yet. The grant has to cover all of it. A topic whose own name has a `*` cannot be
        /// asked for here.
        patterns: bool = value(false, yes_or_no);
        /// The name of the event that tells of another one that was taken back, here; "off" = these streams are not
        /// told. Where `sse.retracted_as` is "off", there is none.
        retracted_as: Option<RetractedAs> = optional("message:retracted", retracted_form);
        /// With source = "poll": topics that make the application be asked at once when something is published to them,
        /// as templates with {path.name} and {query.name} (docs/poll.md).
        refresh_on: Vec<Template> = list_or_empty(["status"], refresh_template(&path));
    }
}

impl Stream {
    /// Templates of the topics that a stream is for.
    pub fn heard(&self) -> &[Template] {
        // Those of the default are for streams of what is published.
        if self.source.is_upstream() && !self.source.with_topics { &[] } else { &self.topics }
    }

    /// The query's parameters without which a request here can never succeed, each once.
    pub fn required_parameters(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        let templates = self.heard().iter().chain(&self.user).chain(&self.session);
        for placeholder in templates.flat_map(Template::placeholders) {
            let required = &*placeholder.source == "query" && placeholder.absent == Absent::Refused;
            if required && !names.contains(&&*placeholder.name) {
                names.push(&placeholder.name);
            }
        }
        names
    }

    /// What streams on one path have to say alike: a `POST` there does not say which of them it is about.
    fn of_path(&self) -> impl PartialEq {
        let keys = (self.signed_key.clone(), self.signed_key_base.clone());
        let pages = (self.change_topics, self.page_publish.clone(), self.page_presence);
        (self.auth, self.until, self.patterns, keys, pages)
    }
}

fn check(stream: &Stream, s: &mut SectionReader<'_, '_>) {
    check_source(&stream.source, stream.auth == StreamAuth::None, s);
    check_refresh(s, &stream.source, &stream.refresh_on);
    if stream.change_topics && stream.auth == StreamAuth::None {
        s.report(
            &["change_topics", "auth"],
            "`change_topics` needs callers who are verified: nobody else has a grant",
            Some("auth = \"jwt\"".to_owned()),
        );
    }
    check_until(s, stream.until, stream.auth != StreamAuth::None);
    check_page(s, stream.auth != StreamAuth::None, &stream.page_publish, stream.page_presence);
    check_signed(
        s,
        &SignedKeys {
            signed: stream.auth == StreamAuth::Signed,
            key: stream.signed_key.is_some(),
            base: stream.signed_key_base.is_some(),
            topics: &stream.topics,
        },
    );
    if stream.patterns && stream.auth == StreamAuth::None {
        check_patterns(s, &stream.topics);
    }
    warn_of_lacking_braces(s, stream);
    if stream.auth != StreamAuth::None && (stream.user.is_some() || stream.session.is_some()) {
        let (key, message) = match stream.user {
            Some(_) => ("user", "`user` is for auth = \"none\" alone: here the grant says who the caller is"),
            None => ("session", "`session` is for auth = \"none\" alone: here the grant says whose it is"),
        };
        s.report(&[key, "auth"], message, Some("leave it out".to_owned()));
    }
}

/// Warns of templates that are the same for everybody, and were hardly meant so.
fn warn_of_lacking_braces(s: &mut SectionReader<'_, '_>, stream: &Stream) {
    let is_plain = |template: &Template| template.placeholders().next().is_none();
    let looks = |text: &str| ["query.", "path.", "claim."].iter().any(|source| text.starts_with(source));
    let topics = stream.topics.iter().map(|topic| ("topics", topic, looks(topic.as_str())));
    let people = [("user", stream.user.as_ref()), ("session", stream.session.as_ref())];
    let people = people.into_iter().filter_map(|(key, template)| Some((key, template?, true)));
    for (key, template, doubtful) in topics.chain(people) {
        if doubtful && is_plain(template) {
            let text = template.as_str();
            let name = if looks(text) { text.to_owned() } else { format!("query.{text}") };
            s.warn(
                Severity::Warning,
                &[key],
                format!("`{key}` is `{text}` for every stream: without braces it is no placeholder"),
                &format!("did you mean \"{{{name}}}\"?"),
            );
        }
    }
}

/// Every table, or one with the defaults.
pub(super) fn read_streams(s: &mut SectionReader<'_, '_>) -> Vec<Stream> {
    let mut streams = s.tables_or_default("stream", "stream", Stream::read);
    for (at, stream) in streams.iter_mut().enumerate() {
        if stream.auth == StreamAuth::Signed && !s.is_written(&format!("stream[{}].topics", at + 1)) {
            stream.topics = signed_topics();
        }
    }
    for (later, stream) in streams.iter().enumerate() {
        let (at, earlier) =
            (later + 1, streams[..later].iter().position(|earlier| earlier.path == stream.path));
        if let Some(earlier) = earlier
            && streams[earlier].of_path() != stream.of_path()
        {
            s.report(
                &[
                    &format!("stream[{at}].auth"),
                    &format!("stream[{at}].change_topics"),
                    &format!("stream[{at}].until"),
                    &format!("stream[{at}].patterns"),
                    &format!("stream[{at}]"),
                ],
                format!(
                    "the path {} has another `auth`, `until`, `patterns`, or rights of pages in stream {}",
                    stream.path,
                    earlier + 1
                ),
                Some(
                    "streams on one path are told apart by their parameters alone: give both the same"
                        .to_owned(),
                ),
            );
            continue;
        }
        // What the later one needs, and the earlier one does not, tells them apart.
        let answers_all = |earlier: &Stream| {
            let needs = stream.required_parameters();
            covers(&earlier.path, &stream.path)
                && earlier.required_parameters().iter().all(|name| needs.contains(name))
        };
        let Some(earlier) = streams[..later].iter().position(answers_all) else {
            continue;
        };
        let name = |at: usize| (format!("stream[{}].path", at + 1), format!("stream[{}]", at + 1));
        let ((key, section), (other, _)) = (name(later), name(earlier));
        s.report(
            &[&key, &section, &other],
            format!("the path {} is taken by an earlier stream", stream.path),
            Some(format!(
                "stream {} has the path {}, and the first that matches and has its parameters answers",
                earlier + 1,
                streams[earlier].path
            )),
        );
    }
    streams
}

/// Complains of streams whose `auth` has no section that says how.
pub(super) fn check_auth(s: &mut SectionReader<'_, '_>, streams: &[Stream], auth: &Auth) {
    for (at, stream) in streams.iter().enumerate() {
        let (word, suggestion) = match stream.auth {
            StreamAuth::Jwt if auth.jwt.is_none() => (
                "jwt",
                "say there how tokens are verified: secret, public_key, jwks_file, jwks_url or discover",
            ),
            StreamAuth::Backend if auth.backend.is_none() => {
                ("backend", "say there where the application is asked: url = \"/internal/sse-auth\"")
            }
            StreamAuth::Ticket if auth.ticket.is_none() => {
                ("ticket", "add it; all of its keys have defaults")
            }
            _ => continue,
        };
        s.report(
            &[&format!("stream[{}].auth", at + 1), &format!("auth.{word}")],
            format!("`auth` is \"{word}\", but there is no [auth.{word}]"),
            Some(suggestion.to_owned()),
        );
    }
}

/// Complains of events that pages may publish, and that are the daemon's `own`, by the keys that name them.
pub(super) fn check_events(s: &mut SectionReader<'_, '_>, streams: &[Stream], own: &[(&str, &EventName)]) {
    for (at, stream) in streams.iter().enumerate() {
        check_page_events(s, at + 1, &stream.page_publish, own);
    }
}

/// Complains of streams that would note tokens.
pub(super) fn check_meta(s: &mut SectionReader<'_, '_>, streams: &[Stream], auth: &Auth) {
    let Some(jwt) = &auth.jwt else { return };
    for (at, stream) in streams.iter().enumerate() {
        if let Some(meta) = &stream.meta {
            check_no_token(s, at + 1, meta, jwt);
        }
    }
}

/// Complains of ways to verify callers that are not among those that are `used`: streams would be open to anyone
/// without a word.
pub(super) fn check_unused_verifiers(s: &mut SectionReader<'_, '_>, used: &[StreamAuth], auth: &Auth) {
    let sections = [
        (auth.jwt.is_some(), StreamAuth::Jwt, "jwt"),
        (auth.backend.is_some(), StreamAuth::Backend, "backend"),
        (auth.ticket.is_some(), StreamAuth::Ticket, "ticket"),
    ];
    for (there, verifier, word) in sections {
        if !there || used.contains(&verifier) {
            continue;
        }
        // Where the section itself is wrong, that comes first.
        let section = format!("auth.{word}");
        if s.reported(&section) {
            continue;
        }
        let keys = ["", ".secret", ".public_key", ".jwks_url", ".discover", ".jwks_file", ".url", ".keys"];
        let keys: Vec<String> = keys.iter().map(|key| format!("{section}{key}")).collect();
        s.report(
            &keys.iter().map(String::as_str).collect::<Vec<_>>(),
            format!("no stream has auth = \"{word}\", so that [{section}] keeps nobody out"),
            Some(format!("give a [[stream]] auth = \"{word}\", or leave [{section}] out")),
        );
    }
}
