//! What values may look like: a parser turns a value as it was found into its type, or says why not.
//!
//! The message of a rejection is the rest of a sentence that begins with the key. It repeats no secret.

mod addresses;
mod choice;
pub(in crate::config) mod content_templates;
pub(in crate::config) mod json_templates;
mod numbers;
mod parse;
mod rates;
mod redis_url;
mod secrets;
pub(in crate::config) mod templates;
mod words;

pub(in crate::config) use crate::config::parsers::addresses::{
    backend, certificate_name, host_and_port, host_name, http_proxy, listen_address, origin, peer_range,
};
pub(in crate::config) use crate::config::parsers::choice::{not_one_of, word};
pub(in crate::config) use crate::config::parsers::numbers::{
    memory_bound, size, socket_mode, time, time_or_zero, whole, yes_or_no,
};
pub(in crate::config) use crate::config::parsers::parse::Parse;
pub(in crate::config) use crate::config::parsers::rates::quota;
pub(in crate::config) use crate::config::parsers::redis_url::{redis_url, sentinel};
pub(in crate::config) use crate::config::parsers::secrets::{
    authorities, hook_secret, key_pin, pem, publish_key, redis_word, sha256, shared_secret,
};
pub(in crate::config) use crate::config::parsers::words::{
    claim_name, dependency, first_event_name, header_name, id_header, label, log_level, master, media_type,
    prefix, published_event_name, short_text, stream_key, topic_pattern,
};
