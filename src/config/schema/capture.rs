//! `[[capture]]`: answers that are recorded while they stream, so that a reader who comes back gets the rest.

use std::time::Duration;

use http::{HeaderName, Method};

use crate::config::parsers::templates::{capture_path, identity_template, path};
use crate::config::parsers::{header_name, media_type, size, time, time_or_zero, whole, word, yes_or_no};
use crate::config::problem::Severity;
use crate::config::schema::auth::Auth;
use crate::config::schema::stream::StreamAuth;
use crate::config::schema::table::section;
use crate::config::schema::units::{DAY, GIB, KIB, MIB, SECOND};
use crate::config::section_reader::SectionReader;
use crate::config::values::ByteSize;
use crate::event::Template;

/// How clients come back to an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CapturePreset {
    /// With `?stream=<id>` alone.
    Sidestream,
    /// As `useChat({ resume: true })` of the AI SDK.
    AiSdk,
    /// As `WorkflowChatTransport`.
    Workflow,
    /// As `fetchServerSentEvents` of TanStack AI.
    TanStack,
    /// As clients of OpenAI's Responses.
    OpenAi,
}

/// Whose a recorded answer is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CaptureAuth {
    /// Of requests with the same credentials, whatever they are.
    Credentials,
    /// Of the user that `[auth.jwt]` verifies.
    Jwt,
    /// Of the user that the application names: `[auth.backend]`.
    Backend,
}

impl CaptureAuth {
    /// The way of streams to verify callers that is used; None where nobody is verified.
    pub fn verifier(self) -> Option<StreamAuth> {
        match self {
            Self::Credentials => None,
            Self::Jwt => Some(StreamAuth::Jwt),
            Self::Backend => Some(StreamAuth::Backend),
        }
    }
}

/// What the end of the last reader means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnDisconnect {
    /// The answer is read on for a while.
    Drain,
    /// The request is cancelled at the backend.
    Cancel,
    /// The answer is read to its end.
    Shield,
}

const PRESETS: [(&str, CapturePreset); 5] = [
    ("sidestream", CapturePreset::Sidestream),
    ("ai-sdk", CapturePreset::AiSdk),
    ("workflow", CapturePreset::Workflow),
    ("tanstack", CapturePreset::TanStack),
    ("openai", CapturePreset::OpenAi),
];

const AUTHS: [(&str, CaptureAuth); 3] =
    [("credentials", CaptureAuth::Credentials), ("jwt", CaptureAuth::Jwt), ("backend", CaptureAuth::Backend)];

const DISCONNECTS: [(&str, OnDisconnect); 3] =
    [("drain", OnDisconnect::Drain), ("cancel", OnDisconnect::Cancel), ("shield", OnDisconnect::Shield)];

const METHODS: [(&str, Method); 4] =
    [("GET", Method::GET), ("POST", Method::POST), ("PUT", Method::PUT), ("PATCH", Method::PATCH)];

section! {
    /// A path of the backend whose streaming answers are recorded while they are passed on, so that readers who were
    /// cut off get the rest: see docs/capture.md. With `[redis.stream]` through any instance. There may be several, and
    /// the first whose path matches holds; none by default.
    pub struct Capture without default checked by check {
        /// The path of the requests; "/rooms/{room}/chat" makes its segment known to `identity` as {path.room}.
        path: String = required(
            "/api/chat",
            "say which requests' answers are recorded: path = \"/api/chat\"",
            "/".to_owned(),
            path
        );
        /// The methods of these requests.
        methods: Vec<Method> = list(["GET", "POST"], word(METHODS));
        /// How clients come back: "sidestream" = with `?stream=<id>&lastEventId=<id>`; "ai-sdk" = as `useChat` of the
        /// AI SDK does with `resume: true`; "workflow" = as its `WorkflowChatTransport`; "tanstack" = as TanStack AI;
        /// "openai" = as clients of OpenAI's Responses. `?stream=<id>` is understood with all of them.
        preset: CapturePreset = value("sidestream", word(PRESETS));
        /// How the name is found by which clients know an answer, tried in order; the preset has its own. Templates
        /// with {body.id} (a field of the JSON body; dots lead into objects), {query.id}, {path.id}, {header.x-id},
        /// {answer.x-id} (a header of the answer) and {data.response.id} (a field of the answer's first event).
        identity: Vec<Template> = list_or_empty(["{body.id}"], identity_template(&path));
        /// Where clients ask for the answer of that name by GET, in place of the preset's path.
        resume_path: Option<String> = optional("/api/chat/{id}/stream", capture_path);
        /// Where clients stop an answer by POST, in place of the preset's path.
        stop_path: Option<String> = optional("/api/chat/{id}/stop", capture_path);
        /// Whether an `id:` is put in front of each block of the answer, so that clients that count no bytes can say
        /// what they have. Always so with "tanstack".
        ids: bool = value(false, yes_or_no);
        /// Whose an answer is, who alone may come back to it: "credentials" = requests that show the same ones as the
        /// request that began it; "jwt" = the user whose token `[auth.jwt]` verifies; "backend" = the user that the
        /// application names (`[auth.backend]`).
        auth: CaptureAuth = value("credentials", word(AUTHS));
        /// The headers that are the credentials. Requests without any of them are all of one owner.
        owner_headers: Vec<HeaderName> = list(["authorization", "cookie"], header_name);
        /// The cookies that count of `Cookie`, where others change; empty = all.
        owner_cookies: Vec<String> = list_or_empty(["session"], cookie_name);
        /// What it means that the last reader has left: "drain" = the backend's answer is read on for `drain_for`;
        /// "cancel" = the request is cancelled at once, as on all paths that are not captured; "shield" = it is read to
        /// its end.
        on_disconnect: OnDisconnect = value("drain", word(DISCONNECTS));
        /// How long an answer that nobody reads is read on.
        drain_for: Duration = value("5m", time(SECOND..=DAY));
        /// How long an answer that has ended can be asked for.
        keep: Duration = value("5m", time_or_zero(SECOND..=DAY));
        /// The `Content-Type`s of answers that are recorded; others pass by.
        types: Vec<String> = list(["text/event-stream"], media_type);
        /// How much of an answer is kept. Of a longer one the newest part is: it cannot be read from its start any
        /// more, and a reader who is further behind is cut off.
        max_bytes: ByteSize = value("4MiB", size(64 * KIB..=GIB));
        /// How many may read one answer at a time.
        max_readers: usize = value(16, whole(1..=10_000));
        /// How much of a request's body is looked at for `identity`; it goes on as it is.
        max_look: ByteSize = value("64KiB", size(KIB..=16 * MIB));
    }
}

impl Capture {
    /// The defaults for `path`.
    pub fn at(path: String) -> Self {
        Self { path, ..Self::defaults() }
    }

    /// How answers are named: the preset's way, unless said otherwise.
    pub fn identities(&self) -> Vec<Template> {
        let preset = match self.preset {
            CapturePreset::Sidestream => None,
            CapturePreset::AiSdk => Some("{body.id}"),
            CapturePreset::Workflow => Some("{answer.x-workflow-run-id}"),
            CapturePreset::TanStack => Some("{body.runId}"),
            CapturePreset::OpenAi => Some("{data.response.id}"),
        };
        let preset = preset.map(|text| Template::parse(text).expect("a template"));
        if self.identity.is_empty() { preset.into_iter().collect() } else { self.identity.clone() }
    }

    /// Where clients come back, if the path alone says so.
    pub fn resumed_at(&self) -> Option<String> {
        let preset = match self.preset {
            CapturePreset::AiSdk | CapturePreset::Workflow => Some(self.below("/{id}/stream")),
            CapturePreset::OpenAi => Some(self.below("/{id}")),
            CapturePreset::Sidestream | CapturePreset::TanStack => None,
        };
        self.resume_path.clone().or(preset)
    }

    /// Where clients stop an answer.
    pub fn stopped_at(&self) -> String {
        self.stop_path.clone().unwrap_or_else(|| match self.preset {
            CapturePreset::OpenAi => self.below("/{id}/cancel"),
            CapturePreset::AiSdk | CapturePreset::Workflow => self.below("/{id}/stop"),
            CapturePreset::Sidestream | CapturePreset::TanStack => self.below("/stop"),
        })
    }

    fn below(&self, path: &str) -> String {
        format!("{}{path}", self.path.trim_end_matches('/'))
    }

    /// Whether the readers' bytes have ids that the backend's have not.
    pub fn adds_ids(&self) -> bool {
        self.ids || self.preset == CapturePreset::TanStack
    }
}

fn check(capture: &Capture, s: &mut SectionReader<'_, '_>) {
    if capture.methods.is_empty() || capture.types.is_empty() {
        let key = if capture.methods.is_empty() { "methods" } else { "types" };
        s.report(&[key], format!("`{key}` is empty: nothing would be recorded"), None);
    }
    if capture.adds_ids() && capture.types.iter().any(|of| of != "text/event-stream") {
        s.report(
            &["types", "ids", "preset"],
            "ids can be added to `text/event-stream` alone",
            Some("types = [\"text/event-stream\"]".to_owned()),
        );
    }
    if capture.on_disconnect != OnDisconnect::Drain && s.given("drain_for") {
        s.warn(
            Severity::Warning,
            &["drain_for", "on_disconnect"],
            "`drain_for` is for on_disconnect = \"drain\" alone",
            "leave it out",
        );
    }
}

/// Every table.
pub(super) fn read_captures(s: &mut SectionReader<'_, '_>) -> Vec<Capture> {
    let captures = s.tables("capture", "capture", Capture::read);
    for (at, capture) in captures.iter().enumerate() {
        if let Some(earlier) = captures[..at].iter().position(|earlier| earlier.path == capture.path) {
            s.report(
                &[&format!("capture[{}].path", at + 1), &format!("capture[{}].path", earlier + 1)],
                format!("the path {} is taken by capture {}", capture.path, earlier + 1),
                Some("one [[capture]] may have several `methods`".to_owned()),
            );
        }
    }
    captures
}

/// Complains of answers whose `auth` has no section that says how.
pub(super) fn check_capture_auth(s: &mut SectionReader<'_, '_>, captures: &[Capture], auth: &Auth) {
    for (at, capture) in captures.iter().enumerate() {
        let word = match capture.auth {
            CaptureAuth::Jwt if auth.jwt.is_none() => "jwt",
            CaptureAuth::Backend if auth.backend.is_none() => "backend",
            _ => continue,
        };
        s.report(
            &[&format!("capture[{}].auth", at + 1), &format!("auth.{word}")],
            format!("`auth` is \"{word}\", but there is no [auth.{word}]"),
            Some("add it, or leave `auth` out: then the credentials themselves tell owners apart".to_owned()),
        );
    }
}

fn cookie_name(raw: &crate::config::raw::RawValue<'_>) -> Result<String, crate::config::raw::Rejection> {
    header_name(raw).map_err(|_| "must be the name of a cookie")?;
    Ok(raw.text("the name of a cookie")?.to_owned())
}
