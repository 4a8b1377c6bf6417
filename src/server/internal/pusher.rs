//! `GET /apps/{app}/channels`, one of them, and its users: what Pusher's server libraries ask, answered as Pusher does.
//!
//! A channel is the topic of the same name. The signature is checked first, and no key is needed beside it.

use http::request;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::control::OnTopic;
use crate::event::Name;
use crate::server::hooks::HookDoor;
use crate::server::internal::listener::Internal;
use crate::server::internal::query::QueryParams;
use crate::server::internal::routes::{PusherRead, RouteMatch};
use crate::server::respond;
use crate::server::respond::{ApiProblem, FullResponse};

/// The parameters that sign a request.
const OF_SIGNATURE: [&str; 5] = ["auth_key", "auth_timestamp", "auth_version", "auth_signature", "body_md5"];
/// What the names of channels begin with whose users are known.
const PRESENCE: &str = "presence-";
/// Of how many channels the users are counted: each asks all instances.
const MAX_COUNTED: usize = 1000;
/// How many users of a channel are told.
const MAX_USERS: usize = 5000;

/// What is asked about each channel.
#[derive(Clone, Copy, Default)]
struct PusherInfo {
    users: bool,
    subscriptions: bool,
}

/// What is said of a channel.
#[derive(Serialize)]
struct PusherChannel {
    #[serde(skip_serializing_if = "Option::is_none")]
    user_count: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subscription_count: Option<u64>,
}

impl PusherInfo {
    /// The parameter `info`: words with commas between them.
    fn take(query: &mut QueryParams) -> Result<Self, ApiProblem> {
        let mut info = Self::default();
        let text = query.text("info").unwrap_or_default();
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            match word {
                "user_count" => info.users = true,
                "subscription_count" => info.subscriptions = true,
                _ => {
                    let say = "`info` can have user_count and subscription_count, with a comma between them";
                    return Err(ApiProblem::bad_query(say));
                }
            }
        }
        Ok(info)
    }
}

impl Internal {
    pub(super) async fn pusher_asks(
        &self,
        read: PusherRead,
        found: &RouteMatch<'_>,
        head: &request::Parts,
    ) -> Result<FullResponse, ApiProblem> {
        let door = self.hooks.as_ref().ok_or_else(ApiProblem::no_route)?;
        let mut names = found.names()?.into_iter();
        let app = names.next().ok_or_else(ApiProblem::no_route)?;
        let app = door.pusher_app(app.as_str()).ok_or_else(ApiProblem::no_app)?;
        HookDoor::admit_pusher(app, head)?;
        let mut query = QueryParams::parse(head.uri.query())?;
        for name in OF_SIGNATURE {
            query.text(name);
        }
        match (read, names.next()) {
            (PusherRead::Channels, _) => self.channels(query).await,
            (PusherRead::Channel, Some(channel)) => self.channel(&channel, query).await,
            (PusherRead::Users, Some(channel)) => self.channel_users(&channel, query).await,
            (PusherRead::Channel | PusherRead::Users, None) => Err(ApiProblem::no_route()),
        }
    }

    async fn channels(&self, mut query: QueryParams) -> Result<FullResponse, ApiProblem> {
        let prefix = query.text("filter_by_prefix").unwrap_or_default();
        let info = PusherInfo::take(&mut query)?;
        query.end()?;
        if info.users && !prefix.starts_with(PRESENCE) {
            let say = "user_count is known of presence channels only: add filter_by_prefix=presence-";
            return Err(ApiProblem::bad_query(say));
        }
        let occupied = self.topics.occupied(&prefix).await;
        if !occupied.from.complete {
            return Err(ApiProblem::not_all_answered());
        }
        let too_many = occupied.more || (info.users && occupied.topics.len() > MAX_COUNTED);
        if too_many {
            return Err(ApiProblem::bad_query(
                "these are too many channels: ask with a longer filter_by_prefix",
            ));
        }
        let mut channels = Map::new();
        for (channel, streams) in occupied.topics {
            let user_count = match info.users {
                true => Some(self.on_channel(&channel, None).await?.users_total),
                false => None,
            };
            let subscription_count = info.subscriptions.then_some(streams as u64);
            let state = PusherChannel { user_count, subscription_count };
            channels.insert(channel.to_string(), json!(state));
        }
        Ok(respond::ok(&json!({ "channels": channels })))
    }

    async fn channel(&self, channel: &Name, mut query: QueryParams) -> Result<FullResponse, ApiProblem> {
        let info = PusherInfo::take(&mut query)?;
        query.end()?;
        if info.users && !channel.as_str().starts_with(PRESENCE) {
            return Err(ApiProblem::bad_query("user_count is known of presence channels only"));
        }
        let there = self.on_channel(channel, None).await?;
        let state = PusherChannel {
            user_count: info.users.then_some(there.users_total),
            subscription_count: info.subscriptions.then_some(there.streams),
        };
        let mut answer = json!(state);
        answer["occupied"] = Value::from(there.streams > 0);
        Ok(respond::ok(&answer))
    }

    async fn channel_users(&self, channel: &Name, query: QueryParams) -> Result<FullResponse, ApiProblem> {
        query.end()?;
        if !channel.as_str().starts_with(PRESENCE) {
            return Err(ApiProblem::bad_query("users are known of presence channels only"));
        }
        let there = self.on_channel(channel, Some(MAX_USERS)).await?;
        if there.next.is_some() {
            let say =
                format!("more than {MAX_USERS} users are there: GET /presence/topics/{{topic}} has pages");
            return Err(ApiProblem::bad_query(say));
        }
        let users = there.users.unwrap_or_default().into_iter().map(|id| json!({ "id": id }));
        Ok(respond::ok(&json!({ "users": users.collect::<Vec<_>>() })))
    }

    /// Who is there, if every instance has said so.
    async fn on_channel(&self, channel: &Name, limit: Option<usize>) -> Result<OnTopic, ApiProblem> {
        let there = self.control.presence().on_topic(channel, None, limit).await;
        if there.silent.is_empty() { Ok(there) } else { Err(ApiProblem::not_all_answered()) }
    }
}
