//! Which requests are about a recorded answer: those that begin one, those that come back to it, those that stop it.

use std::sync::Arc;
use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, Method, Uri};

use crate::capture::identity::query_value;
use crate::capture::path;
use crate::capture::path::{PathTemplate, PathValues};
use crate::config;
use crate::config::{CaptureAuth, CapturePreset, OnDisconnect};
use crate::event::Template;

/// A `[[capture]]`, as requests are held against it.
pub(super) struct CaptureRoute {
    /// The path as it is configured.
    pub(super) text: Arc<str>,
    path: PathTemplate,
    methods: Vec<Method>,
    pub(super) preset: CapturePreset,
    pub(super) identities: Vec<Template>,
    resume: Option<PathTemplate>,
    stop: PathTemplate,
    pub(super) adds_ids: bool,
    pub(super) auth: CaptureAuth,
    pub(super) owner_headers: Vec<HeaderName>,
    pub(super) owner_cookies: Vec<String>,
    pub(super) on_disconnect: OnDisconnect,
    pub(super) drain_for: Duration,
    pub(super) keep: Duration,
    types: Vec<String>,
    /// Bytes of one answer, and readers of it.
    pub(super) max: (usize, usize),
    pub(super) max_look: usize,
}

/// What a request asks for.
pub(super) enum CaptureWay {
    /// An answer of the backend's, which has these values in its path.
    Begin(PathValues),
    /// The answer of this name, which may be one that is under way only.
    Return { name: String, at_own_path: bool },
    /// The end of it.
    Stop(String),
}

/// A request that a route is for.
pub struct CaptureMatch {
    pub(super) route: Arc<CaptureRoute>,
    pub(super) way: CaptureWay,
}

impl CaptureMatch {
    /// Whether it is about an answer that has begun already.
    pub fn comes_back(&self) -> bool {
        !matches!(self.way, CaptureWay::Begin(_))
    }
}

impl CaptureRoute {
    pub(super) fn new(capture: &config::Capture) -> Self {
        let bytes = |size: config::ByteSize| usize::try_from(size.0).unwrap_or(usize::MAX);
        Self {
            text: capture.path.as_str().into(),
            path: PathTemplate::new(&capture.path),
            methods: capture.methods.clone(),
            preset: capture.preset,
            identities: capture.identities(),
            resume: capture.resumed_at().as_deref().map(PathTemplate::new),
            stop: PathTemplate::new(&capture.stopped_at()),
            adds_ids: capture.adds_ids(),
            auth: capture.auth,
            owner_headers: capture.owner_headers.clone(),
            owner_cookies: capture.owner_cookies.clone(),
            on_disconnect: capture.on_disconnect,
            drain_for: capture.drain_for,
            keep: capture.keep,
            types: capture.types.clone(),
            max: (bytes(capture.max_bytes), capture.max_readers),
            max_look: bytes(capture.max_look),
        }
    }

    /// What a request asks of this route, if anything.
    pub(super) fn way(&self, method: &Method, uri: &Uri) -> Option<CaptureWay> {
        let (path, query) = (uri.path(), uri.query().unwrap_or_default());
        let stream = || query_value(query, "stream");
        if *method == Method::POST
            && let Some(values) = self.stop.values_of(path)
        {
            let named = path::value(&values, "id").map(str::to_owned);
            return named.or_else(|| stream().map(Into::into)).map(CaptureWay::Stop);
        }
        if *method == Method::GET
            && let Some(values) = self.resume.as_ref().and_then(|resume| resume.values_of(path))
            && let Some(name) = path::value(&values, "id")
            // Without it, what is asked for is the answer as a document.
            && (self.preset != CapturePreset::OpenAi || stream().is_some_and(|stream| stream == "true"))
        {
            return Some(CaptureWay::Return { name: name.to_owned(), at_own_path: true });
        }
        let values = self.path.values_of(path)?;
        if *method == Method::GET
            && let Some(id) = stream().filter(|id| is_id(id))
        {
            return Some(CaptureWay::Return { name: id.into_owned(), at_own_path: false });
        }
        if self.preset == CapturePreset::TanStack
            && *method == Method::GET
            && let Some(run) = query_value(query, "runId")
        {
            return Some(CaptureWay::Return { name: run.into_owned(), at_own_path: false });
        }
        self.methods.contains(method).then_some(CaptureWay::Begin(values))
    }

    /// Whether a browser asks, before a page's request, for one about an answer that has begun.
    pub(super) fn is_asked_before(&self, wanted: &Method, uri: &Uri) -> bool {
        matches!(self.way(wanted, uri), Some(CaptureWay::Return { .. } | CaptureWay::Stop(_)))
    }

    /// Whether an answer with this head is one to record.
    pub(super) fn records(&self, headers: &HeaderMap) -> bool {
        let given = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let given = given.split(';').next().unwrap_or_default().trim();
        self.types.iter().any(|of| of.eq_ignore_ascii_case(given))
    }
}

/// Whether it has the shape of an answer's id.
pub(super) fn is_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}
