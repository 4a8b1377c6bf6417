//! What operators and backends ask of the open streams, on every instance: to end, to go on for longer, to hear other
//! topics.
//!
//! Whatever is asked is done here and sent to the other instances over a bus, if there is one. This room knows no
//! HTTP status and no Redis.

mod bus;
mod callers;
mod cluster;
mod connections;
mod history;
mod page_change;
mod page_topics;
mod pending;
mod presence;
mod revoke;
mod service;
mod take_back;
mod topic_end;
mod topic_list;
mod topics;

pub use crate::control::bus::{Bus, BusError, OthersTold, Sending};
pub use crate::control::cluster::members::{Instance, InstanceId, Instances};
pub use crate::control::cluster::others::Cluster;
pub use crate::control::cluster::survey::{
    Collected, MAX_PART, MAX_PARTS, Recipients, SurveyResponder, Surveys,
};
pub use crate::control::connections::{
    CONNECTIONS, CloseMode, Completeness, ConnectionInfo, ConnectionPage, Connections, InstanceCount,
    MAX_CONNECTIONS, StreamCount, StreamFilter,
};
pub use crate::control::history::{EventPage, MAX_PAGE, NoPage, Since, history};
pub use crate::control::page_change::{NotPassedOn, PageChange, PageChangeError};
pub use crate::control::presence::{
    BadUserList, EventPublisher, Kind, OnInstance, OnTopic, OnlineUsers, Presence, PresenceChange,
    PresenceListener, PresencePage, PublishError, Publishing, Totals, UserPresence,
};
pub use crate::control::revoke::{BadRevoke, Revoked};
pub use crate::control::service::Control;
pub use crate::control::take_back::{TakeBackBus, TakeBackError, TakeBackRecord, TakeBacks};
pub use crate::control::topic_end::{TopicEndError, TopicEnds};
pub use crate::control::topic_list::{ListedTopic, MAX_TOPICS, OccupiedTopics, TopicList, TopicPage};
pub use crate::control::topics::{
    BadTopics, HolderTopics, TopicAssignments, TopicBus, TopicBusError, TopicEditError, parse_change,
    parse_page_change, parse_set,
};
