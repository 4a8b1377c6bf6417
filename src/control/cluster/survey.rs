//! Questions to all living instances, and their answers: scattered on the control channel, gathered until a deadline.
//!
//! Invariant: a question gets an answer in time, and it names every living instance that is not in it. This file must
//! not know what is asked.

use crate::future::BoxFuture;
use crate::lock::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{Semaphore, oneshot};
use tracing::debug;

use crate::control::bus::Bus;
use crate::control::cluster::members::{Instance, InstanceId, Instances};
use crate::control::cluster::message::BusCommand;
use crate::control::cluster::wire::{SurveyAnswer, SurveyQuestion};
use crate::shutdown::Drain;

/// How large a part of an answer may be, as JSON: what goes over the channel in one message.
pub const MAX_PART: usize = 256 << 10;
/// How many parts the answer of one instance may have.
pub const MAX_PARTS: usize = 64;
/// How many of other instances' questions are answered at once; more are not answered.
const ANSWERING: usize = 16;
/// How many questions may wait for answers at once.
const MAX_WAITING: usize = 256;

/// Answers the questions of one kind on this instance.
pub trait SurveyResponder: Send + Sync {
    /// The parts of this instance's answer, in order: at most [`MAX_PARTS`], none larger than [`MAX_PART`]. An
    /// answer that is longer says in a part that something is left out.
    fn answer(&self, question: Value) -> BoxFuture<'_, Vec<Value>>;
}

/// Who is asked.
#[derive(Clone, Copy, Debug)]
pub enum Recipients<'a> {
    /// Every living instance, this one too.
    All,
    /// Of the living ones, these.
    Only(&'a [InstanceId]),
}

/// What the instances answered.
#[derive(Debug)]
pub struct Collected {
    /// Whole answers, in the order of the instances' ids.
    pub answers: Vec<(Instance, Vec<Value>)>,
    /// Who was asked and did not answer, or not in time.
    pub silent: Vec<Instance>,
}

impl Collected {
    pub fn is_complete(&self) -> bool {
        self.silent.is_empty()
    }
}

/// Asks and answers.
pub struct Surveys {
    instances: Arc<Instances>,
    bus: OnceLock<Arc<dyn Bus>>,
    kinds: Mutex<HashMap<&'static str, Arc<dyn SurveyResponder>>>,
    waiting: Mutex<PendingSurveys>,
    answering: Arc<Semaphore>,
    drain: Drain,
}

#[derive(Default)]
struct PendingSurveys {
    next: u64,
    questions: HashMap<u64, OpenSurvey>,
}

/// A question that waits for answers.
struct OpenSurvey {
    /// Who has not answered yet.
    missing: BTreeMap<InstanceId, Vec<Value>>,
    answered: BTreeMap<InstanceId, Vec<Value>>,
    all: Option<oneshot::Sender<()>>,
}

impl Surveys {
    /// Answers to others are given by tasks of `drain`.
    pub fn new(instances: Arc<Instances>, drain: Drain) -> Self {
        Self {
            instances,
            bus: OnceLock::new(),
            kinds: Mutex::default(),
            waiting: Mutex::default(),
            answering: Arc::new(Semaphore::new(ANSWERING)),
            drain,
        }
    }

    /// From now on the others are asked by `bus`. Once.
    pub(in crate::control) fn connect(&self, bus: Arc<dyn Bus>) {
        let _ = self.bus.set(bus);
    }

    /// From now on questions of `kind` are answered here by `answers`. A word of ours, the same on every instance.
    pub fn register(&self, kind: &'static str, answers: Arc<dyn SurveyResponder>) {
        self.kinds().insert(kind, answers);
    }

    /// Asks these instances, and waits for the answers for at most `patience`. Dropped half-way, the answers are passed
    /// over.
    pub async fn ask(
        &self,
        kind: &'static str,
        question: Value,
        recipients: Recipients<'_>,
        patience: Duration,
    ) -> Collected {
        let me = self.instances.me();
        let asked = |id: &InstanceId| match recipients {
            Recipients::All => true,
            Recipients::Only(ids) => ids.contains(id),
        };
        let living = self.instances.living();
        let mut silent: Vec<Instance> =
            living.iter().filter(|one| one.id != me.id && asked(&one.id)).cloned().collect();
        let own = async {
            let answers = self.kinds().get(kind).cloned().filter(|_| asked(&me.id));
            match answers {
                Some(answers) => Some(answers.answer(question.clone()).await),
                None => None,
            }
        };
        let (mut answers, own) =
            tokio::join!(self.ask_others(kind, &question, recipients, &silent, patience), own);
        silent.retain(|one| !answers.contains_key(&one.id));
        answers.extend(own.map(|own| (me.id.clone(), own)));
        let named = |(id, parts): (InstanceId, Vec<Value>)| {
            let one = living.iter().find(|one| one.id == id).cloned();
            (one.unwrap_or_else(|| Instance { name: id.to_string(), id }), parts)
        };
        Collected { answers: answers.into_iter().map(named).collect(), silent }
    }

    async fn ask_others(
        &self,
        kind: &str,
        question: &Value,
        recipients: Recipients<'_>,
        others: &[Instance],
        patience: Duration,
    ) -> BTreeMap<InstanceId, Vec<Value>> {
        let Some(bus) = self.bus.get().filter(|_| !others.is_empty()) else { return BTreeMap::new() };
        let (all, answered) = oneshot::channel();
        let missing = others.iter().map(|one| (one.id.clone(), Vec::new())).collect();
        let Some(open) = self.open(OpenSurvey { missing, answered: BTreeMap::new(), all: Some(all) }) else {
            return BTreeMap::new();
        };
        let ask = SurveyQuestion {
            from: self.instances.me().id.clone(),
            number: open.number,
            kind: kind.to_owned(),
            recipients: match recipients {
                Recipients::All => None,
                Recipients::Only(ids) => Some(ids.to_vec()),
            },
            question: question.clone(),
        };
        let asking = async {
            // An instance that does not hear it cannot answer.
            if bus.tell(BusCommand::Ask(ask).into_bytes(), None).await.is_ok() {
                let _ = answered.await;
            }
        };
        let _ = tokio::time::timeout(patience, asking).await;
        open.close()
    }

    fn open(&self, open: OpenSurvey) -> Option<SurveyGuard<'_>> {
        let mut waiting = self.waiting();
        if waiting.questions.len() >= MAX_WAITING {
            return None;
        }
        waiting.next += 1;
        let number = waiting.next;
        waiting.questions.insert(number, open);
        Some(SurveyGuard { surveys: self, number })
    }

    /// Answers another instance's question, in a task of its own.
    pub(in crate::control) fn asked(&self, ask: SurveyQuestion) {
        let me = self.instances.me().id.clone();
        let for_me = ask.from != me && ask.recipients.is_none_or(|recipients| recipients.contains(&me));
        let answers = self.kinds().get(&*ask.kind).cloned();
        let (true, Some(answers), Some(bus)) = (for_me, answers, self.bus.get().cloned()) else { return };
        let Ok(permit) = Arc::clone(&self.answering).try_acquire_owned() else {
            debug!("too many questions of other instances at once; one is not answered");
            return;
        };
        let (to, number) = (ask.from, ask.number);
        self.drain.spawn(async move {
            let parts = answers.answer(ask.question).await;
            let count = parts.len().clamp(1, MAX_PARTS);
            // No part is an answer as well.
            let parts = parts.into_iter().map(Some).chain([None]).take(count);
            for (nth, part) in parts.enumerate() {
                let part = part.unwrap_or(Value::Null);
                let (from, to) = (me.clone(), to.clone());
                let answer = SurveyAnswer { from, to, number, nth, last: nth + 1 == count, part };
                if bus.tell(BusCommand::Answer(answer).into_bytes(), None).await.is_err() {
                    break;
                }
            }
            drop(permit);
        });
    }

    /// Takes a part of another instance's answer.
    pub(in crate::control) fn answered(&self, answer: SurveyAnswer) {
        if answer.to != self.instances.me().id {
            return;
        }
        let mut waiting = self.waiting();
        let Some(open) = waiting.questions.get_mut(&answer.number) else { return };
        let Some(parts) = open.missing.get_mut(&answer.from) else { return };
        // A part that came twice, or after one that was lost: then the answer stays unfinished.
        if parts.len() != answer.nth || parts.len() >= MAX_PARTS {
            return;
        }
        parts.push(answer.part);
        if !answer.last {
            return;
        }
        if let Some(mut parts) = open.missing.remove(&answer.from) {
            if parts.as_slice() == [Value::Null] {
                parts.clear();
            }
            open.answered.insert(answer.from, parts);
        }
        if open.missing.is_empty()
            && let Some(all) = open.all.take()
        {
            // The caller may have gone.
            let _ = all.send(());
        }
    }

    fn kinds(&self) -> std::sync::MutexGuard<'_, HashMap<&'static str, Arc<dyn SurveyResponder>>> {
        self.kinds.lock()
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, PendingSurveys> {
        self.waiting.lock()
    }
}

/// An entry among the questions that wait: taken out on drop.
struct SurveyGuard<'a> {
    surveys: &'a Surveys,
    number: u64,
}

impl SurveyGuard<'_> {
    /// What was answered.
    fn close(self) -> BTreeMap<InstanceId, Vec<Value>> {
        self.surveys.waiting().questions.remove(&self.number).map(|open| open.answered).unwrap_or_default()
    }
}

impl Drop for SurveyGuard<'_> {
    fn drop(&mut self) {
        self.surveys.waiting().questions.remove(&self.number);
    }
}

#[cfg(test)]
#[path = "survey_tests.rs"]
mod tests;
