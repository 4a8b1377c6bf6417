//! The operator's file as types: one struct a room, so that no room takes more than its own section.
//!
//! Every default stands in one `impl Default` beside its struct (`sections`), every key's name and bounds once in
//! `keys`; a section that is large has both in a file of its own (`jwt`). This room knows values and their bounds, never what is done with them.

mod auth_backend;
mod auth_ticket;
mod certificate;
mod environment;
mod forms;
mod http_url;
mod jwt;
mod keys;
mod load;
mod names;
mod origin;
mod problem;
mod raw;
mod reader;
mod secret_file;
mod section;
mod sections;
mod source;
mod suggest;
mod syntax;
mod values;
mod webhook;

pub use crate::config::auth_backend::{AuthBackend, AuthServer, AuthUrl, Grants};
pub use crate::config::auth_ticket::{AuthTicket, SameSite, SecureCookie};
pub use crate::config::http_url::HttpUrl;
pub use crate::config::jwt::{Jwks, Jwt, TokenSource};
pub use crate::config::origin::{HostName, WebOrigin};
pub use crate::config::problem::{BadConfig, Origin, Problem};
pub use crate::config::sections::{
    Auth, Channel, ChannelFormat, Config, Cors, Drain, Fanout, Heartbeat, Instance, Internal, Limits, Log,
    LogFormat, Presence, Proxy, Public, Publisher, PublisherKey, Redis, RedisStream, Refusals, RefuseWith,
    Sse, Stream, StreamAuth, Telemetry, Tls, Trim,
};
pub use crate::config::values::{Backend, BadValue, ByteSize, Secret};
pub use crate::config::webhook::{HookEvent, Webhook};
