//! `[presence]`

use std::time::Duration;

use crate::config::parsers::json_templates::presence_data;
use crate::config::parsers::templates::presence_template;
use crate::config::parsers::{published_event_name, time_or_zero};
use crate::config::schema::table::section;
use crate::config::schema::units::{HOUR, MILLIS};
use crate::event::{EventName, JsonTemplate, Template};

section! {
    /// Which users are there, on all instances that share a Redis.
    pub struct Presence {
        /// A user who comes back within this time, on any instance, was never gone. 0 = none.
        grace: Duration = value("10s", time_or_zero(MILLIS(10)..=HOUR));
        /// The topics on which it is published that a user comes online or goes offline; {user} stands for the user:
        /// ["presence", "friends-of:{user}"]. Nowhere unless they are named.
        topics: Vec<Template> = list([], presence_template);
        /// The name of the event for a user who comes online.
        online: EventName = value("user:online", published_event_name);
        /// The name of the event for a user who goes offline.
        offline: EventName = value("user:offline", published_event_name);
        /// The data of these events, which are {"user", "at"} otherwise: a table of JSON's values and of texts with
        /// {user}, {event}, {online} (true or false), {now} (milliseconds) and {now.iso}, the time of the change.
        data: Option<JsonTemplate> = optional({ userId = "{user}", online = "{online}", timestamp = "{now}" }, presence_data());
    }
}
