//! Where what the application says goes: into the log of this instance, or into the one that all instances share.

use std::sync::LazyLock;

use tracing::warn;

use crate::event::{Audience, Event, EventId, EventName, write_event};
use crate::log::{Log, Reset};
use crate::telemetry;
use crate::telemetry::Throttle;
use crate::upstream::held::HeldStream;
use crate::upstream::shared::holding::{Holding, LeaseLost};
use crate::upstream::shared::leases::SharedEntry;
use crate::upstream::shared::state::{SharedPhase, SharedState};

/// The application chooses what it sends, and how often.
static LEFT_OUT: LazyLock<Throttle> = LazyLock::new(Throttle::default);

/// Where what the application says goes.
#[derive(Clone, Copy)]
pub(in crate::upstream) enum Destination<'a> {
    Own(&'a Log),
    /// While this instance reads the stream for all.
    Shared(&'a Holding),
}

/// An event of the application.
#[derive(Clone, Debug)]
pub(in crate::upstream) struct SourceEvent {
    pub(in crate::upstream) event: Event,
    /// The application's own id of it.
    pub(in crate::upstream) theirs: Option<String>,
}

impl Destination<'_> {
    /// Notes where a stream begins. Those who have heard it before hear that something is missing, unless it goes on
    /// where it was.
    pub(in crate::upstream) async fn begin(self, held: &HeldStream) -> Result<(), LeaseLost> {
        let is_new = held.state().last_event_id.is_empty();
        match self {
            Self::Own(_) if is_new => return self.gap(held).await,
            Self::Own(log) => held.state().began = Some(log.head().id),
            Self::Shared(holding) => {
                let gap = is_new.then(|| entry(gap_event(held)));
                let entries = gap.into_iter().chain([SharedEntry::Mark]).collect();
                let begin = |state: &mut SharedState| {
                    state.phase = SharedPhase::Live;
                    if is_new {
                        state.begin_anew();
                    }
                };
                holding.append(entries, begin).await?;
                held.state().began = holding.state().began();
            }
        }
        Ok(())
    }

    /// Notes that what is read is what is known already, or begins with it: it is live from now on. The place of that.
    pub(in crate::upstream) async fn go_live(
        self,
        change: impl FnOnce(&mut SharedState),
    ) -> Result<EventId, LeaseLost> {
        match self {
            Self::Own(log) => Ok(log.head().id),
            Self::Shared(holding) => {
                let live = |state: &mut SharedState| {
                    state.phase = SharedPhase::Live;
                    change(state);
                };
                holding.append(vec![SharedEntry::Mark], live).await?.ok_or(LeaseLost)
            }
        }
    }

    /// What the holder before has kept.
    pub(in crate::upstream) fn kept(self) -> Option<SharedState> {
        match self {
            Self::Own(_) => None,
            Self::Shared(holding) => Some(holding.state()),
        }
    }

    /// Says to all who hear the stream that something before this is missing.
    pub(in crate::upstream) async fn gap(self, held: &HeldStream) -> Result<(), LeaseLost> {
        let began = match self {
            Self::Own(log) => {
                log.append(gap_event(held).event);
                Some(log.head().id)
            }
            Self::Shared(holding) => {
                holding.append(vec![entry(gap_event(held))], SharedState::begin_anew).await?
            }
        };
        held.state().began = began;
        Ok(())
    }

    /// Puts `events` in their order behind all others; then the stream stands as `change` says. The id of the last.
    pub(in crate::upstream) async fn put(
        self,
        held: &HeldStream,
        events: Vec<SourceEvent>,
        change: impl FnOnce(&mut SharedState),
    ) -> Result<Option<EventId>, LeaseLost> {
        match self {
            Self::Own(log) => {
                let (events, theirs): (Vec<Event>, Vec<Option<String>>) =
                    events.into_iter().map(|source| (source.event, source.theirs)).unzip();
                let appended = if events.is_empty() { Vec::new() } else { log.append_all(events) };
                let mut state = held.state();
                for (appended, theirs) in appended.iter().zip(theirs) {
                    if let (Some(ours), Some(theirs)) = (appended.id, theirs) {
                        state.ids.insert(&theirs, ours);
                    }
                }
                Ok(appended.last().and_then(|appended| appended.id))
            }
            Self::Shared(holding) => {
                let max = holding.max_entry();
                let bounded = |source: SourceEvent| match entry(source) {
                    SharedEntry::Event { json, .. } if json.len() > max => {
                        left_out("too_large");
                        entry(gap_event(held))
                    }
                    entry => entry,
                };
                holding.append(events.into_iter().map(bounded).collect(), change).await
            }
        }
    }
}

/// As it stands in a log that is shared: whom it is for is said beside it.
fn entry(SourceEvent { event, theirs }: SourceEvent) -> SharedEntry {
    SharedEntry::Event { json: write_event(&event).json, theirs }
}

fn gap_event(held: &HeldStream) -> SourceEvent {
    let mut event = Event::new(Audience::of(held.key.clone()), Reset::SourceGap.data());
    event.name = EventName::parse(Reset::EVENT).ok();
    SourceEvent { event, theirs: None }
}

/// Counts an event that cannot be passed on.
pub(in crate::upstream) fn left_out(reason: &'static str) {
    metrics::counter!(telemetry::EVENTS_REFUSED, "source" => "backend", "reason" => reason).increment(1);
    if let Some(suppressed) = LEFT_OUT.pass() {
        warn!(reason, suppressed, "an event of the application is left out");
    }
}
