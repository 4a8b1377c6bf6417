//! The operator's file as types: one struct a room, so that no room takes more than its own section.
//!
//! Every key stands once, in the table of its section (`schema`). This room knows values and their bounds, never what
//! is done with them.

mod asked_key;
mod environment;
mod http_url;
mod in_force;
mod issuer;
mod key_spec;
mod listen_address;
mod load;
mod location;
mod origin;
mod parsers;
mod problem;
mod raw;
mod reader;
mod reading;
mod reference;
mod reload;
mod schema;
mod secret_file;
mod section_reader;
mod source;
mod subsections;
mod syntax;
mod values;

pub use crate::config::environment::CommandLine;
pub use crate::config::http_url::HttpUrl;
pub use crate::config::in_force::SettingInForce;
pub use crate::config::issuer::{IssuerUrl, JwksSource, is_safe};
pub use crate::config::listen_address::{ListenAddress, PeerRange, listed};
pub use crate::config::load::CheckedConfig;
pub use crate::config::origin::{HostName, OriginPattern, WebOrigin};
pub use crate::config::problem::{BadConfig, Origin, Problem, Severity};
pub use crate::config::reference::{example, reference};
pub use crate::config::reload::ConfigChanges;
pub use crate::config::schema::*;
pub use crate::config::values::{Backend, BadValue, ByteSize, MemoryBound, Secret};
