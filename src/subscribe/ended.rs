//! Topics that have ended, for streams that open: they do not get them.

use crate::auth::Grant;
use crate::event::{Key, Name, TopicFilter};
use crate::log::Position;
use crate::subscribe::admit::Start;
use crate::subscribe::refusal::Refusal;
use crate::subscribe::streams::Streams;

impl Streams {
    /// Takes topics that have ended out of those that are asked for; but a client whose cursor is before the end gets
    /// what stands between. A request that asked for topics, all of which have ended, is refused for good.
    pub(super) fn leave_out_ended(
        &self,
        topics: &mut Vec<TopicFilter>,
        start: &Start,
        grant: &Grant,
    ) -> Result<(), Refusal> {
        let ended = self.log.ended(topics.iter().filter(|topic| !topic.is_pattern()).map(TopicFilter::name));
        if ended.is_empty() {
            return Ok(());
        }
        let after = if let Start::At(cursor) = start { Some(cursor.position) } else { None };
        let is_over = |topic: &Name| {
            let end = ended.iter().find(|(name, _)| name == topic);
            end.is_some_and(|(_, end)| after.is_none_or(|after| !self.stands_between(topic, after, *end)))
        };
        topics.retain(|topic| topic.is_pattern() || !is_over(topic.name()));
        let assigned = || self.log.enter(&grant.keys(&[]), self.log.head().position).0;
        if topics.is_empty() && assigned().is_empty() { Err(Refusal::Ended) } else { Ok(()) }
    }

    /// Whether there is anything for the readers of `topic` behind `after` and before its `end`.
    fn stands_between(&self, topic: &Name, mut after: Position, end: Position) -> bool {
        let key = [Key::Topic(topic.clone())];
        while after < end {
            // It goes as far as the next end, of which there may be several where the topic began anew.
            let Ok(replay) = self.log.replay(&key, after, 1, usize::MAX) else { return false };
            if !replay.entries.is_empty() {
                return true;
            }
            after = replay.change.map_or(end, |change| change.position);
        }
        false
    }
}
