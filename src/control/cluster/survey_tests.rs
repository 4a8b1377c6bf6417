//! Questions between instances over a bus in memory.

use std::time::Instant;

use bytes::Bytes;
use serde_json::json;

use super::*;
use crate::config;
use crate::control::bus::{BusError, Sending};
use crate::future::BoxFuture;

/// Brings what one tells to all at once.
#[derive(Default)]
struct Room {
    there: Mutex<Vec<Arc<Surveys>>>,
    /// Loses the parts with this number.
    loses: Option<usize>,
    isolated: bool,
}

impl Bus for Room {
    fn tell(&self, message: Bytes, _kept: Option<std::time::SystemTime>) -> Sending<'_> {
        Box::pin(async move {
            if self.isolated {
                return Err(BusError);
            }
            let there = self.there.lock().clone();
            for surveys in there {
                match BusCommand::parse(&message) {
                    Some(BusCommand::Ask(ask)) => surveys.asked(ask),
                    Some(BusCommand::Answer(answer)) if Some(answer.nth) == self.loses => {}
                    Some(BusCommand::Answer(answer)) => surveys.answered(answer),
                    _ => panic!("neither question nor answer"),
                }
            }
            Ok(())
        })
    }
}

/// Answers with its number, once for each of `parts`.
struct Number {
    number: usize,
    parts: usize,
}

impl SurveyResponder for Number {
    fn answer(&self, question: Value) -> BoxFuture<'_, Vec<Value>> {
        let part = json!([question, self.number]);
        Box::pin(async move { vec![part; self.parts] })
    }
}

/// As many instances that know of each other as there are `parts`, of which each answers with so many.
fn room(parts: &[usize], loses: Option<usize>, isolated: bool) -> Vec<Arc<Surveys>> {
    let room = Arc::new(Room { loses, isolated, ..Room::default() });
    let there: Vec<_> =
        (0..parts.len()).map(|_| Arc::new(Instances::new(&config::Instance::default()))).collect();
    let mut all = Vec::new();
    for (number, (one, &parts)) in there.iter().zip(parts).enumerate() {
        for other in &there {
            one.heard(&other.me().id, "other", Instant::now());
        }
        let surveys = Arc::new(Surveys::new(Arc::clone(one), Drain::new()));
        if parts < 100 {
            surveys.register("number", Arc::new(Number { number, parts }));
        }
        surveys.connect(Arc::clone(&room) as Arc<dyn Bus>);
        room.there.lock().push(Arc::clone(&surveys));
        all.push(surveys);
    }
    all
}

const SOON: Duration = Duration::from_millis(50);
const LONG: Duration = Duration::from_secs(60);

fn numbers(collected: &Collected) -> Vec<(usize, usize)> {
    let mut numbers: Vec<_> = collected
        .answers
        .iter()
        .map(|(_, parts)| (parts.first().map_or(99, |part| part[1].as_u64().unwrap() as usize), parts.len()))
        .collect();
    numbers.sort_unstable();
    numbers
}

#[tokio::test]
async fn all_are_asked_and_their_answers_gathered_whole() {
    let all = room(&[1, 3, 0], None, false);
    let collected = all[0].ask("number", json!("q"), Recipients::All, LONG).await;
    assert!(collected.is_complete(), "{collected:?}");
    assert_eq!(numbers(&collected), [(0, 1), (1, 3), (99, 0)]);
    let third = all[2].instances.me().id.clone();
    let collected =
        all[0].ask("number", json!("q"), Recipients::Only(std::slice::from_ref(&third)), LONG).await;
    assert_eq!((collected.answers.len(), &collected.answers[0].0.id), (1, &third));
    assert!(all[0].waiting().questions.is_empty());
}

#[tokio::test]
async fn who_does_not_answer_is_named() {
    // One does not know the question, as an older release would not.
    let all = room(&[1, 100, 1], None, false);
    let collected = all[0].ask("number", json!("q"), Recipients::All, SOON).await;
    assert_eq!(numbers(&collected), [(0, 1), (2, 1)]);
    assert_eq!(collected.silent.iter().map(|one| &one.id).collect::<Vec<_>>(), [&all[1].instances.me().id]);
    assert!(all[0].waiting().questions.is_empty());
}

#[tokio::test]
async fn an_answer_of_which_a_part_is_lost_is_none() {
    let all = room(&[1, 3], Some(1), false);
    let collected = all[0].ask("number", json!("q"), Recipients::All, SOON).await;
    assert_eq!(numbers(&collected), [(0, 1)]);
    assert_eq!(collected.silent.len(), 1);
}

#[tokio::test]
async fn without_a_way_to_the_others_the_answer_is_there_at_once() {
    let all = room(&[1, 1], None, true);
    let collected = all[0].ask("number", json!("q"), Recipients::All, LONG).await;
    assert_eq!((numbers(&collected), collected.silent.len()), (vec![(0, 1)], 1));
    let alone = Arc::new(Instances::new(&config::Instance::default()));
    let surveys = Surveys::new(alone, Drain::new());
    surveys.register("number", Arc::new(Number { number: 7, parts: 1 }));
    let collected = surveys.ask("number", json!("q"), Recipients::All, LONG).await;
    assert_eq!((numbers(&collected), collected.is_complete()), (vec![(7, 1)], true));
}
