//! A stream that several instances hear, on one of them: heard while another one reads it, read when nobody does.
//!
//! How the stream stands is asked of where the leases are, and nowhere else; what stands in the log only says that it
//! is time to ask.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use crate::config::SourceKind;
use crate::event::EventId;
use crate::log::Log;
use crate::retry::{Backoff, random_between};
use crate::shutdown::Drain;
use crate::telemetry;
use crate::upstream::collapse;
use crate::upstream::held::{HeldStream, Phase, SourceEnd};
use crate::upstream::open::OpenGuard;
use crate::upstream::poll;
use crate::upstream::shared::destination::Destination;
use crate::upstream::shared::heard::HeardIds;
use crate::upstream::shared::holding::Holding;
use crate::upstream::shared::leases::{LeaseLook, LeaseStanding, LeasesAway, StreamLeases};
use crate::upstream::shared::state::{SharedAnswer, SharedPhase, SharedState};

/// What instances share, as this one has it.
pub(in crate::upstream) struct SharedParts<'a> {
    pub(in crate::upstream) leases: &'a Arc<dyn StreamLeases>,
    pub(in crate::upstream) heard: &'a HeardIds,
    pub(in crate::upstream) log: &'a Log,
    pub(in crate::upstream) drain: &'a Drain,
}

/// How it ended here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::upstream) enum SharedEnd {
    Source(SourceEnd),
    /// Nobody here hears it.
    Deserted,
    /// The daemon stops.
    Drained,
}

/// A place as it was seen last.
#[derive(Default)]
struct SeenPlace {
    version: String,
    state: Option<SharedState>,
    /// Another instance read the stream while this one looked.
    followed: bool,
}

/// What comes of a look.
enum Looked {
    Lead(Instant),
    /// Another instance reads it, for so long at the least.
    Follow(Duration),
    /// It is free: the place has to be known before it is taken.
    Again,
    End(SharedEnd),
}

/// The shortest and the longest time between two looks at a lease that another instance has.
const LOOK: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(10));
/// The pauses before Redis is asked again that did not answer, or did not let this instance append.
const AWAY: Duration = Duration::from_millis(500);
const MAX_AWAY: Duration = Duration::from_secs(10);
/// How long giving a lease up may hold up a stop.
const GIVING_UP: Duration = Duration::from_secs(2);

/// Holds the stream for its readers here until it has none any more, or the application has ended it. It is counted by
/// who reads it.
pub(in crate::upstream) async fn hold(
    parts: &SharedParts<'_>,
    held: &HeldStream,
    counted: &mut OpenGuard,
) -> SharedEnd {
    let mut seen = SeenPlace::default();
    let mut backoff = Backoff::new(AWAY, MAX_AWAY);
    loop {
        let pause = match look(parts, held, &mut seen).await {
            Ok(Looked::End(end)) => return end,
            Ok(Looked::Again) => continue,
            Ok(Looked::Lead(since)) => {
                counted.count_as(telemetry::UPSTREAMS_OPEN);
                if let Some(end) = lead(parts, held, &mut seen, since).await {
                    return end;
                }
                counted.count_as(telemetry::UPSTREAMS_FOLLOWED);
                if since.elapsed() > MAX_AWAY {
                    backoff.reset();
                }
                // A Redis that lets the lease be taken and nothing be appended is no reason to storm the application.
                backoff.pause()
            }
            Ok(Looked::Follow(left)) => {
                counted.count_as(telemetry::UPSTREAMS_FOLLOWED);
                left
            }
            Err(LeasesAway) if *held.phase.borrow() == Phase::Starting => {
                return SharedEnd::Source(SourceEnd::Away);
            }
            Err(LeasesAway) => random_between(AWAY / 2, AWAY),
        };
        tokio::select! {
            biased;
            () = parts.drain.started() => return SharedEnd::Drained,
            () = held.marked.notified() => {}
            () = held.readers_changed.notified() => {}
            () = sleep(pause) => {}
        }
    }
}

/// Asks how the stream stands, and takes it if nobody has it and there is somebody here who hears it.
async fn look(
    parts: &SharedParts<'_>,
    held: &HeldStream,
    seen: &mut SeenPlace,
) -> Result<Looked, LeasesAway> {
    let is_heard = held.state().readers > 0;
    if !is_heard {
        // There is no connection to be kept for those who come back.
        return Ok(Looked::End(SharedEnd::Deserted));
    }
    let asked = Instant::now();
    let LeaseLook { standing, version, kept } = parts.leases.take(&held.name, Some(&seen.version)).await?;
    let is_news = version != seen.version;
    if is_news {
        seen.state = kept.as_ref().and_then(SharedState::read);
        seen.version = version;
    }
    let phase = seen.state.as_ref().map(|state| state.phase);
    match standing {
        LeaseStanding::Ours => Ok(Looked::Lead(asked)),
        LeaseStanding::Others(left) => {
            seen.followed = true;
            if let Some(state) = seen.state.as_ref().filter(|state| state.phase == SharedPhase::Live) {
                follow(held, state);
            }
            let soon = left + random_between(LOOK.0 / 10, LOOK.0);
            Ok(Looked::Follow(soon.clamp(LOOK.0, LOOK.1)))
        }
        LeaseStanding::Free => match phase {
            Some(SharedPhase::Ended(end)) if seen.followed => Ok(Looked::End(SharedEnd::Source(end))),
            _ => Ok(Looked::Again),
        },
    }
}

/// Lets the readers here hear a stream that another instance reads.
fn follow(held: &HeldStream, state: &SharedState) {
    held.state().began = state.began();
    if held.state().asks.source.kind == SourceKind::Poll {
        let (Some(answer), Some(at)) = (&state.answer, state.at) else { return };
        held.set_current(&answer.text, state.stale.clone(), at);
    }
    held.live();
}

/// Reads the stream for all instances; gives back how it ended, and nothing when another instance may go on.
async fn lead(
    parts: &SharedParts<'_>,
    held: &HeldStream,
    seen: &mut SeenPlace,
    since: Instant,
) -> Option<SharedEnd> {
    let mut state = continued(parts, held, seen);
    {
        let mut of_held = held.state();
        if let Some(current) = of_held.current.as_ref().filter(|_| state.answer.is_none()) {
            state.answer = Some(SharedAnswer { text: current.text.to_string(), ..SharedAnswer::default() });
        }
        of_held.stale.clone_from(&state.stale);
        of_held.began_behind.clone_from(&state.behind);
        of_held.last_event_id.clone_from(&state.last);
        of_held.began = state.began();
    }
    let (route, upstream) = (&*held.route, held.name.as_str());
    if seen.followed {
        metrics::counter!(telemetry::UPSTREAM_TAKEOVERS).increment(1);
        info!(route, upstream, "this instance reads a stream of the application that another one has read");
    }
    let holding = Holding::new(parts.leases, &held.name, (std::mem::take(&mut seen.version), state), since);
    let kind = held.state().asks.source.kind;
    let read = async {
        if *held.phase.borrow() == Phase::Live {
            holding.live().await?;
        }
        match kind {
            SourceKind::Topics | SourceKind::Backend => {
                collapse::hold(Destination::Shared(&holding), held).await
            }
            SourceKind::Poll => poll::hold(Destination::Shared(&holding), held).await,
        }
    };
    let end = tokio::select! {
        biased;
        () = parts.drain.started() => Some(SharedEnd::Drained),
        () = held.lingered() => Some(SharedEnd::Deserted),
        () = holding.keep() => None,
        end = read => end.ok().map(SharedEnd::Source),
    };
    match end {
        Some(SharedEnd::Drained) => {
            let _ = timeout(GIVING_UP, holding.give_up(None)).await;
        }
        Some(SharedEnd::Deserted) => holding.give_up(Some(SharedPhase::Left)).await,
        Some(SharedEnd::Source(end)) => holding.give_up(Some(SharedPhase::Ended(end))).await,
        None => {
            warn!(
                route,
                upstream,
                "this instance no longer reads a stream of the application for all; another one may"
            );
        }
    }
    // Whoever reads it now is followed.
    *seen = SeenPlace { followed: true, ..SeenPlace::default() };
    end
}

/// From where the stream is read: where the one before has left off, if anybody may have heard that.
fn continued(parts: &SharedParts<'_>, held: &HeldStream, seen: &SeenPlace) -> SharedState {
    let is_live = *held.phase.borrow() == Phase::Live;
    let kept = seen.state.clone();
    match kept {
        Some(state) if matches!(state.phase, SharedPhase::Live | SharedPhase::Starting) => return state,
        // What it was is lost with the rest of Redis, but for what this instance has heard.
        None if is_live => return SharedState::behind(&parts.heard.newest(&held.name)),
        Some(state) if is_live => return state,
        _ => {}
    }
    let fresh = SharedState::default();
    if held.state().asks.source.kind == SourceKind::Poll {
        // The answer may be the same still.
        return SharedState { phase: SharedPhase::Starting, ..kept.unwrap_or_default() };
    }
    let Some(id) = held.asked_behind.as_deref() else { return fresh };
    let is_ours = parts.log.locate(id).is_ok();
    match kept {
        Some(mut state) if is_ours || parts.heard.find(&held.name, id).is_some() => {
            state.phase = SharedPhase::Starting;
            state
        }
        // One of ours is nothing that the application knows.
        _ if is_ours || id.parse::<EventId>().is_ok_and(|id| id.tag.is_some()) => fresh,
        _ => SharedState::behind(id),
    }
}
