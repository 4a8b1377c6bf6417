//! Where events come in.

mod admitted;
mod bad_publish;
mod cloud_events;
mod inbound;
mod pusher;
mod relay;
mod service;

pub use crate::publish::bad_publish::BadPublish;
pub use crate::publish::cloud_events::BadCloudEvent;
pub use crate::publish::inbound::{BadHook, HookOutcome, HookRequest, InboundHook, InboundHooks};
pub use crate::publish::pusher::{PusherAppDoor, PusherApps};
pub use crate::publish::relay::{Heading, Relay, RelayError, Relayed, RelayedEnvelope, Relaying};
pub use crate::publish::service::{PublishOptions, PublishService, Published, Receipt};
