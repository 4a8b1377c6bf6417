//! What a shard does with open streams when it is asked to: it ends those that are named, and binds one to a token.

use crate::event::{Key, Name};
use crate::fanout::end::CloseReason;
use crate::fanout::index::SubscriberSlot;
use crate::fanout::requests::{Binding, Filter, RenewRequest, Renewal, StreamView};
use crate::fanout::shard::state::Shard;

impl Shard {
    pub(super) fn end(&mut self, filter: &Filter, token: Option<&Name>, end: CloseReason) -> usize {
        let mut slots = self.chosen(filter);
        slots.extend(self.about_to_hold(filter));
        slots.sort_unstable();
        slots.dedup();
        if let Some(token) = token {
            slots.retain(|&slot| self.subscribers[slot as usize].about.tokens.contains(token));
        }
        for &slot in &slots {
            self.close(slot, end);
        }
        slots.len()
    }

    /// The streams that `filter` will let through when they have come to what their pages have added.
    fn about_to_hold(&self, filter: &Filter) -> Vec<SubscriberSlot> {
        let mut slots = Vec::new();
        for key in &filter.keys {
            let Key::Topic(topic) = key else { continue };
            let others: Vec<Key> = filter.keys.iter().filter(|other| *other != key).cloned().collect();
            for client in self.log.about_to_hold(topic) {
                let keys = others.iter().cloned().chain([client]).collect();
                slots.extend(self.chosen(&Filter { keys, ..filter.clone() }));
            }
        }
        slots
    }

    pub(super) fn renew(&mut self, ask: RenewRequest) {
        let RenewRequest { renewal: Renewal { client, times, token }, judge } = ask;
        let client = Key::Client(client);
        let found = self.index(|index| {
            let slot = *index.holders(&client).first()?;
            Some((slot, index.asked_by(slot)))
        });
        let Some((slot, asked)) = found else {
            judge(None);
            return;
        };
        let (warns, expires) = (self.deadline(times.warns), self.deadline(times.expires));
        let about = &mut self.subscribers[slot as usize].about;
        let view =
            StreamView { asked: &asked, route: &about.route, tokens: &about.tokens, pace: &mut about.pace };
        let Some(binding) = judge(Some(view)) else { return };
        if binding != Binding::Beside {
            about.tokens.clear();
        }
        about.tokens.extend(token.filter(|token| !about.tokens.contains(token)));
        if binding == Binding::Renewed || expires < about.deadlines.expires {
            (about.deadlines.warns, about.deadlines.expires) = (warns, expires);
        }
        let next = about.deadlines.next();
        self.schedule(slot, next);
    }
}
