//! What is asked of the view, and the JSON of the answers.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::clock::rfc3339;
use crate::control::cluster::members::InstanceId;
use crate::control::presence::counts::InstanceSlot;
use crate::control::presence::users::Presence;
use crate::control::presence::view::Kind;
use crate::event::Name;

/// Where a user is.
#[derive(Debug, Serialize)]
pub struct UserPresence {
    pub user: String,
    pub online: bool,
    /// Open streams on all instances.
    pub streams: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    pub instances: Vec<OnInstance>,
    /// Whether every living instance could be heard.
    pub complete: bool,
}

/// How much is on an instance.
#[derive(Debug, Serialize)]
pub struct OnInstance {
    pub id: String,
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub users_total: Option<usize>,
    pub streams: u64,
}

/// Which of some users are online.
#[derive(Debug, Serialize)]
pub struct OnlineUsers {
    /// In the order of their names, each once.
    pub users: BTreeSet<String>,
    pub complete: bool,
}

/// Some of those who are here.
#[derive(Debug, Serialize)]
pub struct PresencePage {
    pub users: Vec<String>,
    /// The cursor of the next page, where there is more.
    pub next: Option<String>,
    pub complete: bool,
}

/// How much there is in all.
#[derive(Debug, Serialize)]
pub struct Totals {
    /// Users with a stream, and those who left within the grace.
    pub users_total: usize,
    pub streams: u64,
    /// The instance that answers.
    pub here: String,
    pub instances: Vec<OnInstance>,
    pub complete: bool,
}

/// Why a list of users is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadUserList {
    #[error("the body is not what it has to be: {0}")]
    Json(String),
    #[error("more than {max} users at once")]
    TooMany { max: usize },
}

/// How many users may be asked for at once.
const MAX_ASKED: usize = 10_000;

impl Presence {
    /// Where a user is.
    pub fn user(&self, user: &Name) -> UserPresence {
        let state = self.state();
        let complete = state.post.view.is_complete();
        let standing = state.post.view.standing(Kind::User, user);
        let on = standing.iter().flat_map(|standing| &standing.on);
        let on: Vec<(InstanceId, u64)> = on
            .filter_map(|(slot, count)| Some((state.post.view.at(*slot)?.clone(), u64::from(*count))))
            .collect();
        drop(state);
        let instances: Vec<OnInstance> =
            on.into_iter().map(|(id, streams)| self.on_instance(&id, None, streams)).collect();
        let since = standing.as_ref().map(|standing| rfc3339(standing.since));
        UserPresence {
            user: user.to_string(),
            online: standing.is_some(),
            streams: instances.iter().map(|one| one.streams).sum(),
            since,
            instances,
            complete,
        }
    }

    /// Which of the users that `body` names are online: a JSON array, or an object with it as `users`.
    pub fn users(&self, body: &[u8]) -> Result<OnlineUsers, BadUserList> {
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct UserListFields {
            users: Vec<String>,
        }
        let bad = |bad: serde_json::Error| BadUserList::Json(bad.to_string());
        let is_array = body.trim_ascii_start().starts_with(b"[");
        let users: Vec<String> = if is_array {
            serde_json::from_slice(body).map_err(bad)?
        } else {
            serde_json::from_slice::<UserListFields>(body).map_err(bad)?.users
        };
        if users.len() > MAX_ASKED {
            return Err(BadUserList::TooMany { max: MAX_ASKED });
        }
        let state = self.state();
        let here =
            |user: &String| Name::parse(user).is_ok_and(|user| state.post.view.is_here(Kind::User, &user));
        let complete = state.post.view.is_complete();
        Ok(OnlineUsers { users: users.into_iter().filter(here).collect(), complete })
    }

    /// Up to `limit` users who are here, after the one that `cursor` names.
    pub fn page(&self, cursor: Option<&Name>, limit: usize) -> PresencePage {
        let state = self.state();
        let complete = state.post.view.is_complete();
        let mut users = state.post.view.page(Kind::User, cursor, limit + 1);
        drop(state);
        let more = users.len() > limit;
        users.truncate(limit);
        let next = users.last().filter(|_| more).map(ToString::to_string);
        PresencePage { users: users.iter().map(ToString::to_string).collect(), next, complete }
    }

    /// How much there is in all, and where.
    pub fn totals(&self) -> Totals {
        let own = self.local.streams();
        let state = self.state();
        let complete = state.post.view.is_complete();
        let users_total = state.post.view.len(Kind::User);
        let by_slot = state.post.view.by_slot(Kind::User);
        let count = |slot: InstanceSlot| Some(by_slot.get(&slot).copied().unwrap_or(0));
        let me = self.instances.me().id.clone();
        let mut all = vec![(me.clone(), count(0), own)];
        all.extend(
            state.post.view.others().map(|(id, slot, summary)| (id.clone(), count(slot), summary.streams)),
        );
        drop(state);
        all.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let streams = all.iter().map(|(.., streams)| streams).sum();
        let instances =
            all.iter().map(|(id, users, streams)| self.on_instance(id, *users, *streams)).collect();
        Totals { users_total, streams, here: me.to_string(), instances, complete }
    }

    fn on_instance(&self, id: &InstanceId, users: Option<usize>, streams: u64) -> OnInstance {
        let living = self.instances.living();
        let name = living.iter().find(|one| one.id == *id).map_or_else(String::new, |one| one.name.clone());
        OnInstance { id: id.to_string(), name, users_total: users, streams }
    }
}
