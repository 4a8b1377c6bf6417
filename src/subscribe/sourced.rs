//! Streams of routes whose events are read of the application: judged as all others, and begun where that stream is.
//!
//! Knows of the application's stream only its key, and what is dropped with each of its readers.

use http::request::Parts;

use crate::auth::RequestOrigin;
use crate::event::{EventId, Key, Name};
use crate::log::{Located, Reset};
use crate::subscribe::admit::{Admission, Admitted, Judged, SourceOpening, Start};
use crate::subscribe::native;
use crate::subscribe::open::AHEAD;
use crate::subscribe::refusal::{Refusal, RetryReason};
use crate::subscribe::route::Route;
use crate::subscribe::streams::Streams;
use crate::telemetry;

/// Where a reader begins.
#[derive(Clone, Debug)]
pub enum SourceStart {
    /// With what comes from now on.
    Live,
    /// Behind this place, or with the first that is kept behind it.
    Since(EventId),
    /// Behind the event of this id, which is ours.
    After(String),
    /// Behind this place, after these events: their names and data.
    Current(EventId, Vec<(Option<&'static str>, String)>),
    /// Nobody knows where that is: it begins now, with a `reset`.
    Lost,
}

/// A reader's part in a stream of the application.
pub struct SourceHold {
    /// What its events are for.
    pub key: Key,
    /// Whether the reader's stream begins with `connected`.
    pub connected: bool,
    /// Dropped with the reader's stream.
    pub hold: Box<dyn Send>,
}

impl Judged {
    /// Who the caller is, where anybody knows.
    pub fn user(&self) -> Option<&Name> {
        self.caller.grant.user.as_ref()
    }
}

impl Streams {
    /// Judges a request for `route` as [`open`](Self::open) does, and gives back the id that its client has last seen.
    pub async fn judge_sourced(
        &self,
        route: &Route<'_>,
        head: &Parts,
        origin: RequestOrigin,
    ) -> Result<(Judged, Option<String>), Refusal> {
        let judged = async {
            // What the query says is the application's.
            let request = native::understand_cursor(route, head)?;
            let judged = self.judge(&request, origin).await?;
            self.check_taken_back(&judged)?;
            Ok((judged, request.last_event_id))
        };
        judged
            .await
            .map_err(|refusal: Refusal| refusal.said_as(route.refuse_with()))
            .inspect_err(count_refused)
    }

    /// Lets the caller in, as a reader of `hold`.
    pub async fn admit_sourced(
        &self,
        route: &Route<'_>,
        judged: Judged,
        (start, last_event_id): (SourceStart, Option<&str>),
        hold: SourceHold,
    ) -> Result<Admission, Refusal> {
        let SourceHold { key, connected, hold } = hold;
        let mut first = Vec::new();
        let start = match start {
            SourceStart::Live => Some(Start::Fresh { history: 0 }),
            SourceStart::Lost => Some(Start::Reset { why: Reset::SourceGap, last_seen: None }),
            SourceStart::Since(id) => self.kept_since(id).await,
            SourceStart::Current(id, events) => {
                first = events;
                self.kept_since(id).await
            }
            SourceStart::After(id) => match self.log.locate_soon(&id, AHEAD).await {
                Located::At(cursor) => Some(Start::At(cursor)),
                Located::Reset(why) => Some(Start::Reset { why, last_seen: id.parse().ok() }),
                Located::NotNow => None,
            },
        };
        let Some(start) = start else {
            let refusal = self.later(RetryReason::NotReady, last_event_id);
            return Err(refusal.said_as(route.refuse_with())).inspect_err(count_refused);
        };
        let judged = self.seated(judged, None);
        let judged =
            judged.map_err(|refusal| refusal.said_as(route.refuse_with())).inspect_err(count_refused)?;
        let source = Some(SourceOpening { key, connected, first, hold });
        Ok(self.admit(Admitted { judged, start, snapshots: false, source }))
    }

    /// Behind this place, or with the first that is kept: what has not changed for long may be older than all of that.
    /// None while the log does not have it yet.
    async fn kept_since(&self, id: EventId) -> Option<Start> {
        match self.log.locate_soon(&id.to_string(), AHEAD).await {
            Located::At(cursor) => Some(Start::Since(cursor)),
            Located::Reset(_) => Some(Start::Since(self.log.origin())),
            Located::NotNow => None,
        }
    }

    /// What a caller reads whose stream cannot be read of the application now: that it may come back in a while.
    pub fn source_away(&self, route: &Route<'_>, last_event_id: Option<&str>) -> Refusal {
        let refusal = self.later(RetryReason::SourceAway, last_event_id).said_as(route.refuse_with());
        count_refused(&refusal);
        refusal
    }
}

fn count_refused(refusal: &Refusal) {
    metrics::counter!(telemetry::STREAMS_REFUSED, "reason" => refusal.label()).increment(1);
}
