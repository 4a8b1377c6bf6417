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
use crate::upstream::held::{HeldStream, Phase, SourceEnd};
use crate::upstream::poll::answer::{Answered, LastAnswer};
use crate::upstream::poll::patch::merge_patch;
use crate::upstream::shared::destination::{Destination, SourceEvent};
use crate::upstream::shared::holding::LeaseLost;
use crate::upstream::shared::state::SharedState;

/// The longest pause after failures.
const MAX_PAUSE: Duration = Duration::from_secs(60);
/// The shortest pause where the answer is called for.
const CALLED_PAUSE: Duration = Duration::from_millis(100);
/// The same after a failure.
const CALLED_AFTER_FAILURE: Duration = Duration::from_secs(1);

/// Asks for all readers until the application has another answer for each of them.
pub(in crate::upstream) async fn hold(
    to: Destination<'_>,
    held: &HeldStream,
) -> Result<SourceEnd, LeaseLost> {
    let kept = to.kept();
    let last = kept.and_then(|state| state.answer).map(LastAnswer::of).unwrap_or_default();
    let mut poll = Poll { to, held, last, failures: 0 };
    let interval = held.state().asks.source.interval;
    let mut backoff = Backoff::new(interval, MAX_PAUSE);
    loop {
        let asks = held.state().asks.clone();
        let (outcome, pause, least) = match poll.last.ask(&asks).await {
            Answered::End(end) => {
                count("answered");
                return Ok(end);
            }
            Answered::Failed(outcome, _) if poll.is_starting() => {
                count(outcome);
                return Ok(SourceEnd::Away);
            }
            Answered::Failed(outcome, asked) => {
                poll.failed(asks.source.stale_after, outcome).await?;
                let asked = asked.map(|asked| asked.min(MAX_PAUSE));
                let pause = asked.unwrap_or(backoff.pause()).max(asks.source.interval);
                (outcome, pause, asked.unwrap_or(CALLED_AFTER_FAILURE))
            }
            answered => {
                backoff.reset();
                let outcome = poll.answered(answered, asks.source.send).await?;
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
    to: Destination<'a>,
    held: &'a HeldStream,
    last: LastAnswer,
    /// Since the last answer.
    failures: usize,
}

impl Poll<'_> {
    /// Whether nobody hears it yet.
    fn is_starting(&self) -> bool {
        *self.held.phase.borrow() == Phase::Starting
    }

    /// Takes an answer; the word is for the metric.
    async fn answered(&mut self, answered: Answered, send: SendAs) -> Result<&'static str, LeaseLost> {
        let was_stale = self.held.state().stale.take().is_some();
        self.failures = 0;
        let outcome = match answered {
            Answered::Changed(text) => {
                if let Some(before) = self.last.text.replace(text) {
                    let text = self.last.text.as_deref().unwrap_or_default();
                    let patch = if send == SendAs::Patch && !was_stale { patch(&before, text) } else { None };
                    match patch {
                        Some(patch) => self.append(Some("patch"), patch).await?,
                        None => self.append(None, text.to_owned()).await?,
                    }
                }
                "changed"
            }
            Answered::Same { not_modified } => {
                if was_stale {
                    // Nobody could know otherwise that it holds again.
                    self.append(None, self.last.text.as_deref().unwrap_or_default().to_owned()).await?;
                }
                if not_modified { "not_modified" } else { "same" }
            }
            Answered::End(_) | Answered::Failed(..) => "answered",
        };
        if self.is_starting() {
            self.begin().await?;
        }
        Ok(outcome)
    }

    /// From now on there are readers. What they had before, where another instance has asked, goes on.
    async fn begin(&self) -> Result<(), LeaseLost> {
        let (began, answer) = (self.held.state().began, self.last.shared());
        let change = |state: &mut SharedState| {
            state.answer = answer;
            if began.is_none() {
                state.begin_anew();
            }
        };
        let at = self.to.go_live(change).await?;
        self.held.state().began = began.or(Some(at));
        self.held.set_current(self.last.text.as_deref().unwrap_or_default(), None, at);
        let (route, upstream) = (&*self.held.route, self.held.name.as_str());
        info!(route, upstream, "polling an answer of the application");
        self.held.live();
        Ok(())
    }

    /// Says `data` to all readers, behind which the last answer is the current one.
    async fn append(&self, name: Option<&str>, data: String) -> Result<(), LeaseLost> {
        let answer = self.last.shared();
        let at = self.say(name, data, |state| (state.answer, state.stale) = (answer, None)).await?;
        self.held.set_current(self.last.text.as_deref().unwrap_or_default(), None, at);
        Ok(())
    }

    /// The id that it has in the log.
    async fn say(
        &self,
        name: Option<&str>,
        data: String,
        change: impl FnOnce(&mut SharedState),
    ) -> Result<EventId, LeaseLost> {
        let mut event = Event::new(Audience::of(self.held.key.clone()), data);
        event.is_text = true;
        event.name = name.and_then(|name| EventName::parse(name).ok());
        if name.is_none() {
            // Of whole answers only the newest matters.
            event.coalesce = Some("answer".into());
        }
        metrics::counter!(telemetry::EVENTS, "source" => "poll").increment(1);
        let said = vec![SourceEvent { event, theirs: None }];
        self.to.put(self.held, said, change).await?.ok_or(LeaseLost)
    }

    /// Notes a question without an answer, and tells the readers when there were too many of them.
    async fn failed(&mut self, stale_after: usize, reason: &'static str) -> Result<(), LeaseLost> {
        self.failures += 1;
        if self.failures != stale_after || self.held.state().stale.is_some() {
            return Ok(());
        }
        let (route, upstream, failures) = (&*self.held.route, self.held.name.as_str(), self.failures);
        warn!(route, upstream, reason, failures, "an answer of the application is stale");
        let data = format!("{{\"failures\":{failures}}}");
        let stale = Some(data.clone());
        let at = self.say(Some("stale"), data.clone(), |state| state.stale = stale).await?;
        // Who comes from now on gets both at first.
        let text = self.held.state().current.as_ref().map(|current| current.text.clone());
        self.held.set_current(&text.unwrap_or_default(), Some(data), at);
        Ok(())
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
