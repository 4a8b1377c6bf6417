//! The task that asks the backend for an answer and reads it to its end, whoever reads it from here.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::header::CONTENT_ENCODING;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};
use tracing::{debug, info};

use crate::capture::identity;
use crate::capture::identity::KnownSoFar;
use crate::capture::recording::{RecordedHead, RecordingEnd, SEGMENT};
use crate::capture::recordings::ListedRecording;
use crate::capture::route::CaptureRoute;
use crate::event::sse::Parser;
use crate::proxy::{Forwarded, PeekedBody, Proxy, ProxyBody, ProxyError};
use crate::shutdown::Drain;
use crate::telemetry;

/// How much of an answer is looked at for a name.
const LOOK: usize = 64 << 10;

/// How long a backend is not read that is further ahead of a reader than an answer is kept: a burst of it must not cut
/// off who merely had no turn yet.
const TURN: Duration = Duration::from_millis(1);
const TURNS: u32 = 5;

/// How long it is waited for other instances to have the whole of a recording, when it is time to forget it.
const COPIED: Duration = Duration::from_secs(2);

/// What came of a request, for the reader who sent it.
pub(super) enum Begun {
    Recorded(Arc<RecordedHead>),
    /// It is no answer to record: it goes to that reader alone.
    Passed(Box<Response<ProxyBody>>),
}

/// What a task needs to record one answer.
pub(super) struct RecordingPump {
    /// The recording is forgotten when this task ends, also when it is dropped with its runtime.
    pub(super) listed: ListedRecording,
    pub(super) route: Arc<CaptureRoute>,
    pub(super) proxy: Proxy,
    pub(super) drain: Drain,
}

impl RecordingPump {
    /// Ends when the answer has been read and is not kept any more. `tell` hears of the answer's head.
    pub(super) async fn run(
        self,
        request: Request<PeekedBody>,
        caller: Forwarded,
        tell: oneshot::Sender<Result<Begun, ProxyError>>,
    ) {
        let asked = async {
            let asked = self.proxy.forward(request, &caller);
            tokio::select! {
                biased;
                answered = asked => Ok(answered),
                how = self.given_up() => Err(how),
            }
        };
        // Boxed, as what reads it: an answer that is kept takes no room for what it took to get it.
        let response = match Box::pin(asked).await {
            Err(how) => return self.listed.recording.end(how, None),
            Ok(Err(error)) => {
                self.listed.recording.end(RecordingEnd::Cut, None);
                let _ = tell.send(Err(error));
                return;
            }
            Ok(Ok(response)) => response,
        };
        let outcome = self.judge(&response);
        let path = &*self.route.text;
        metrics::counter!(telemetry::CAPTURES, "route" => path.to_owned(), "outcome" => outcome).increment(1);
        if outcome != "recorded" {
            debug!(path, outcome, "an answer is not recorded");
            self.listed.recording.end(RecordingEnd::Cut, None);
            let _ = tell.send(Ok(Begun::Passed(Box::new(response))));
            return;
        }
        let body = self.answered(response, tell);
        let how = Box::pin(self.read(body)).await;
        self.listed.recordings.ended(&self.listed.recording);
        let bytes = self.listed.recording.standing().bytes;
        metrics::counter!(telemetry::CAPTURES_ENDED, "reason" => how.as_str()).increment(1);
        info!(path, id = %self.listed.recording.id, bytes, reason = how.as_str(), "recorded answer ended");
        tokio::select! {
            biased;
            () = self.drain.started() => {}
            // Another one took its room: nobody finds it any more.
            () = self.listed.recording.let_go() => return,
            () = sleep(self.route.keep) => {}
        }
        // Who reads it has its time: what is forgotten is let go of.
        self.listed.recording.attendance.unread().await;
        // So has what is on its way to other instances.
        let _ = timeout(COPIED, self.listed.recording.copied.cancelled()).await;
    }

    /// Completes when the answer is not wanted any more, and says why.
    async fn given_up(&self) -> RecordingEnd {
        let stopping = async {
            self.drain.started().await;
            self.listed.recording.attendance.unread().await;
        };
        tokio::select! {
            how = self.listed.recording.given_up(self.route.on_disconnect, self.route.drain_for) => how,
            () = stopping => RecordingEnd::Abandoned,
        }
    }

    /// One word for what is done with an answer.
    fn judge(&self, response: &Response<ProxyBody>) -> &'static str {
        let headers = response.headers();
        let encoded = headers.get(CONTENT_ENCODING).is_some_and(|coding| coding != "identity");
        if !response.status().is_success() {
            "status"
        } else if !self.route.records(headers) {
            "type"
        } else if encoded {
            "encoded"
        } else {
            "recorded"
        }
    }

    /// Notes the head, and tells of it.
    fn answered(
        &self,
        response: Response<ProxyBody>,
        tell: oneshot::Sender<Result<Begun, ProxyError>>,
    ) -> ProxyBody {
        let (head, body) = response.into_parts();
        let known = KnownSoFar { answer: Some(&head.headers), ..KnownSoFar::default() };
        if let Some(name) = identity::name(&self.route.identities, known) {
            self.listed.recordings.name(&self.listed.recording, &name);
        }
        let head = Arc::new(RecordedHead { status: head.status, headers: head.headers });
        self.listed.recording.answered(Arc::clone(&head));
        let _ = tell.send(Ok(Begun::Recorded(head)));
        body
    }

    /// Reads the answer to its end, or until nobody wants it.
    async fn read(&self, mut body: ProxyBody) -> RecordingEnd {
        let mut given_up = pin!(self.given_up());
        let mut naming = NameSearch::of(&self.route);
        let mut trailers = None;
        let how = loop {
            let frame = tokio::select! {
                biased;
                how = &mut given_up => break how,
                frame = body.frame() => frame,
            };
            let frame = match frame {
                None => break RecordingEnd::Complete,
                // The body has logged why.
                Some(Err(_)) => break RecordingEnd::Cut,
                Some(Ok(frame)) => frame,
            };
            match frame.into_data() {
                Ok(bytes) => {
                    if let Some(name) = naming.as_mut().and_then(|naming| naming.take(&bytes, &self.route)) {
                        self.listed.recordings.name(&self.listed.recording, &name);
                        naming = None;
                    }
                    self.record(&bytes).await;
                }
                Err(frame) => trailers = frame.into_trailers().ok(),
            }
        };
        // What was sent of the answer may still be on its way: the backend is told first.
        drop(body);
        self.listed.recording.end(how, trailers);
        how
    }
}

impl RecordingPump {
    /// Adds bytes to the recording. A reader that is not blocked by its client needs no more than its turn not to be
    /// cut off, and gets that.
    async fn record(&self, bytes: &[u8]) {
        for piece in bytes.chunks(SEGMENT) {
            for _ in 0..TURNS {
                if !self.listed.recording.presses() {
                    break;
                }
                sleep(TURN).await;
            }
            let dropped = self.listed.recording.append(piece);
            self.listed.recordings.changed(&self.listed.recording, piece.len(), dropped);
        }
    }
}

/// Looks for a name in the first events of an answer.
struct NameSearch {
    parser: Parser,
    left: usize,
}

impl NameSearch {
    fn of(route: &CaptureRoute) -> Option<Self> {
        let needed = identity::needs(&route.identities, "data");
        needed.then(|| Self { parser: Parser::new("", LOOK), left: LOOK })
    }

    fn take(&mut self, bytes: &[u8], route: &CaptureRoute) -> Option<String> {
        let mut bytes = &bytes[..bytes.len().min(self.left)];
        self.left -= bytes.len();
        while let Ok(Some(message)) = self.parser.next(&mut bytes) {
            let known = KnownSoFar { data: message.data.as_bytes(), ..KnownSoFar::default() };
            if let Some(name) = identity::name(&route.identities, known) {
                return Some(name);
            }
        }
        None
    }
}
