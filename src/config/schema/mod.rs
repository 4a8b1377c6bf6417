//! The sections of the configuration, one file each, and every key once.
//!
//! To add a key, add a row to the table in its section's file:
//!
//! ```text
//! /// How long connecting to the backend may take.
//! connect_timeout: Duration = value("5s", time(MILLIS(10)..=HOUR));
//! ```
//!
//! That is the field of `config::Proxy`, the key `connect_timeout` of `[proxy]`, the variable
//! `SIDESTREAM_PROXY_CONNECT_TIMEOUT`, the default, the bounds, and a line in `config.example.toml` and in
//! `docs/configuration.md`. The kinds of row are listed in `table`, the parsers are in `config::parsers`. What has to
//! fit together between keys is checked in a function behind `checked by`. Then `cargo test --lib config::` says what
//! to put into the two pages, and `tests/config/` wants a file for each new message.
//!
//! To add a section, add its file here, its line in `Config::read` (`config`), and its type to `config`'s exports.

mod auth;
mod auth_backend;
mod auth_ticket;
mod capture;
mod config;
mod content;
mod cors;
mod dashboard;
mod drain;
mod expiry;
mod fanout;
mod grant_end;
mod inbound_hook;
mod instance;
mod internal;
mod jwt;
mod limits;
mod listeners;
mod log;
mod outbound;
mod presence;
mod proxy;
mod public;
mod publisher;
mod pusher_app;
mod redis;
mod redis_channel;
mod redis_stream;
mod sse;
mod stream;
mod stream_choice;
mod stream_layout;
mod stream_meta;
mod stream_page;
mod stream_patterns;
mod stream_refresh;
mod stream_rights;
mod stream_signed;
mod stream_source;
pub(in crate::config) mod table;
mod telemetry;
mod tls;
mod token_rules;
mod units;
mod weak_key;
mod webhook;

pub use crate::config::schema::auth::{Auth, Refusals};
pub use crate::config::schema::auth_backend::{AuthBackend, AuthServer, AuthUrl, Grants};
pub use crate::config::schema::auth_ticket::{AuthTicket, SameSite, SecureCookie};
pub use crate::config::schema::capture::{Capture, CaptureAuth, CapturePreset, OnDisconnect};
pub use crate::config::schema::config::Config;
pub use crate::config::schema::cors::Cors;
pub use crate::config::schema::dashboard::Dashboard;
pub use crate::config::schema::drain::Drain;
pub use crate::config::schema::expiry::{certificate_end, certificate_times};
pub use crate::config::schema::fanout::Fanout;
pub use crate::config::schema::grant_end::GrantEnd;
pub use crate::config::schema::inbound_hook::{
    HookFormat, InboundHook, SignatureEncoding, SignatureHash, SignatureScheme,
};
pub use crate::config::schema::instance::Instance;
pub use crate::config::schema::internal::Internal;
pub use crate::config::schema::jwt::{Jwt, TokenSource};
pub use crate::config::schema::limits::{Limits, WhenFull};
pub use crate::config::schema::log::Log;
pub use crate::config::schema::outbound::Outbound;
pub use crate::config::schema::presence::Presence;
pub use crate::config::schema::proxy::{ClientTls, Proxy, TraceFrom};
pub use crate::config::schema::public::Public;
pub use crate::config::schema::publisher::{Publisher, PublisherKey};
pub use crate::config::schema::pusher_app::PusherApp;
pub use crate::config::schema::redis::Redis;
pub use crate::config::schema::redis_channel::{Channel, ChannelFormat};
pub use crate::config::schema::redis_stream::{RedisStream, Trim};
pub use crate::config::schema::sse::{Heartbeat, RefuseWith, RetractedAs, Sse};
pub use crate::config::schema::stream::{Stream, StreamAuth};
pub use crate::config::schema::stream_meta::MetaTemplates;
pub use crate::config::schema::stream_source::{
    Despite, LateComers, SendAs, SourceKind, StreamSource, VaryBy,
};
pub use crate::config::schema::telemetry::{LogFormat, Telemetry};
pub use crate::config::schema::tls::{Tls, TlsTexts};
pub use crate::config::schema::token_rules::Jwks;
pub use crate::config::schema::webhook::{HookEvent, Webhook};
