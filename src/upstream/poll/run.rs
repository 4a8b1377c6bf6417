//! An answer that is asked for once an interval while somebody listens: what changed becomes an event.
//!
//! Invariant: who begins with the current answer and hears all that comes behind it knows the newest one.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{info, warn};

use crate::config::SendAs;
use crate::event::{Audience, Event, EventId, EventName};
use crate::retry::{Backoff, random_between};
use crate::telemetry;
use crate::upstream::held::{CurrentAnswer, HeldStream, Phase, SourceEnd};
use crate::upstream::poll::answer::{Answered, LastAnswer};
use crate::upstream::poll::patch::merge_patch;
use crate::upstream::registry::Upstreams;

/// The longest pause after failures.
const MAX_PAUSE: Duration = Duration::from_secs(60);
/// The shortest pause where the answer is called for.
const CALLED_PAUSE: Duration = Duration::from_millis(100);
/// The same after a failure.
const CALLED_AFTER_FAILURE: Duration = Duration::from_secs(1);

/// Asks for all readers until the application has another answer for each of them.
pub(in crate::upstream) async fn hold(upstreams: &Upstreams, held: &HeldStream) -> SourceEnd {
    let mut poll = Poll { upstreams, held, last: LastAnswer::default(), failures: 0 };
    let interval = held.state().asks.source.interval;
    let mut backoff = Backoff::new(interval, MAX_PAUSE);
    loop {
        let asks = held.state().asks.clone();
        let (outcome, pause, least) = match poll.last.ask(&asks).await {
            Answered::End(end) => {
                count("answered");
                return end;
            }
            Answered::Failed(outcome, _) if poll.last.text.is_none() => {
                count(outcome);
                return SourceEnd::Away;
            }
            Answered::Failed(outcome, asked) => {
                poll.failed(asks.source.stale_after, outcome);
                let asked = asked.map(|asked| asked.min(MAX_PAUSE));
                let pause = asked.unwrap_or(backoff.pause()).max(asks.source.interval);
                (outcome, pause, asked.unwrap_or(CALLED_AFTER_FAILURE))
            }
            answered => {
                backoff.reset();
                let outcome = poll.answered(answered, asks.source.send);
                // So that the questions of many streams do not come at the same moment.
                let tenth = asks.source.interval / 10;
                let pause = random_between(asks.source.interval - tenth, asks.source.interval + tenth);
                (outcome, pause, CALLED_PAUSE)
            }
        };
        count(outcome);
        next(held, pause, least).await;
    }
}

/// Completes after `pause`; after `least` when the answer is called for meanwhile.
async fn next(held: &HeldStream, pause: Duration, least: Duration) {
    let earliest = Instant::now() + least;
    let called = async {
        held.called_for.notified().await;
        sleep_until(earliest).await;
    };
    tokio::select! {
        () = sleep(pause) => {}
        () = called => {}
    }
}

struct Poll<'a> {
    upstreams: &'a Upstreams,
    held: &'a HeldStream,
    last: LastAnswer,
    /// Since the last answer.
    failures: usize,
}

impl Poll<'_> {
    /// Takes an answer; the word is for the metric.
    fn answered(&mut self, answered: Answered, send: SendAs) -> &'static str {
        let was_stale = self.held.state().stale.take().is_some();
        self.failures = 0;
        match answered {
            Answered::Changed(text) => {
                let before = self.last.text.replace(text);
                let text = self.last.text.as_deref().unwrap_or_default();
                match before {
                    None => self.begin(text),
                    Some(before) => {
                        let patch =
                            if send == SendAs::Patch && !was_stale { patch(&before, text) } else { None };
                        match patch {
                            Some(patch) => self.append(Some("patch"), &patch, text),
                            None => self.append(None, text, text),
                        }
                    }
                }
                "changed"
            }
            Answered::Same { not_modified } => {
                if was_stale {
                    // Nobody could know otherwise that it holds again.
                    let text = self.last.text.as_deref().unwrap_or_default();
                    self.append(None, text, text);
                }
                if not_modified { "not_modified" } else { "same" }
            }
            Answered::End(_) | Answered::Failed(..) => "answered",
        }
    }

    fn begin(&self, text: &str) {
        let head = self.upstreams.log.head().id;
        {
            let mut state = self.held.state();
            state.began = Some(head);
            state.current = Some(CurrentAnswer { text: text.into(), at: head });
        }
        let (route, upstream) = (&*self.held.route, self.held.name.as_str());
        info!(route, upstream, "polling an answer of the application");
        self.held.phase.send_replace(Phase::Live);
    }

    /// Says `data` to all readers, behind which the answer is `text`.
    fn append(&self, name: Option<&str>, data: &str, text: &str) {
        let at = self.say(name, data).unwrap_or_else(|| self.upstreams.log.head().id);
        self.held.state().current = Some(CurrentAnswer { text: text.into(), at });
    }

    /// The id that it has in the log.
    fn say(&self, name: Option<&str>, data: &str) -> Option<EventId> {
        let mut event = Event::new(Audience::of(self.held.key.clone()), data);
        event.is_text = true;
        event.name = name.and_then(|name| EventName::parse(name).ok());
        if name.is_none() {
            // Of whole answers only the newest matters.
            event.coalesce = Some("answer".into());
        }
        metrics::counter!(telemetry::EVENTS, "source" => "poll").increment(1);
        self.upstreams.log.append(event).id
    }

    /// Notes a question without an answer, and tells the readers when there were too many of them.
    fn failed(&mut self, stale_after: usize, reason: &'static str) {
        self.failures += 1;
        if self.failures != stale_after {
            return;
        }
        let (route, upstream, failures) = (&*self.held.route, self.held.name.as_str(), self.failures);
        warn!(route, upstream, reason, failures, "an answer of the application is stale");
        let data = format!("{{\"failures\":{failures}}}");
        let at = self.say(Some("stale"), &data);
        let mut state = self.held.state();
        state.stale = Some(data);
        // Who comes from now on gets both at first.
        if let (Some(current), Some(at)) = (&mut state.current, at) {
            current.at = at;
        }
    }
}

/// What makes `new` of `old`, if that can be said and is shorter.
fn patch(old: &str, new: &str) -> Option<String> {
    let old: Value = serde_json::from_str(old).ok()?;
    let patch = merge_patch(&old, &serde_json::from_str(new).ok()?)?.to_string();
    (patch.len() < new.len()).then_some(patch)
}

fn count(outcome: &'static str) {
    metrics::counter!(telemetry::POLLS, "outcome" => outcome).increment(1);
}
