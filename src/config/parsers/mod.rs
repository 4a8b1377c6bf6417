//! What values may look like: a parser turns a value as it was found into its type, or says why not.
//!
//! The message of a rejection is the rest of a sentence that begins with the key. It repeats no secret.

mod addresses;
mod numbers;
mod redis_url;
mod secrets;
pub(in crate::config) mod templates;
mod words;

use toml::de::{DeTable, DeValue};

pub(in crate::config) use crate::config::parsers::addresses::{
    address, backend, certificate_name, host_and_port, host_name, network, origin,
};
pub(in crate::config) use crate::config::parsers::numbers::{size, time, time_or_zero, whole, yes_or_no};
pub(in crate::config) use crate::config::parsers::redis_url::{redis_url, sentinel};
pub(in crate::config) use crate::config::parsers::secrets::{
    authorities, key_pin, pem, publish_key, redis_word, sha256, shared_secret,
};
pub(in crate::config) use crate::config::parsers::words::{
    claim_name, dependency, first_event_name, header_name, heartbeat_form, label, log_level, master, prefix,
    published_event_name, short_text, stream_key, topic_pattern,
};
use crate::config::raw::{RawValue, Rejection};
use crate::config::suggest::{any_of, nearest};

/// Makes a `T` of a value. Functions from `&RawValue` to a result are parsers.
pub(in crate::config) trait Parse<T> {
    fn parse(&self, raw: &RawValue<'_>) -> Result<T, Rejection>;

    /// What a value may be, for the reference: what the rejection of a value of the wrong type asks for.
    fn accepts(&self) -> String {
        let table = DeValue::Table(DeTable::new());
        let message = match self.parse(&RawValue::Toml(&table)) {
            Ok(_) => String::new(),
            Err(rejection) => rejection.message,
        };
        let wanted = message.strip_prefix("must be ").unwrap_or(&message);
        wanted.strip_suffix(", not a table").unwrap_or(wanted).to_owned()
    }
}

impl<T, F: Fn(&RawValue<'_>) -> Result<T, Rejection>> Parse<T> for F {
    fn parse(&self, raw: &RawValue<'_>) -> Result<T, Rejection> {
        self(raw)
    }
}

/// One of a few words.
pub(in crate::config) fn word<T: Clone, const N: usize>(
    words: [(&'static str, T); N],
) -> impl Fn(&RawValue<'_>) -> Result<T, Rejection> {
    move |raw| {
        let names = words.each_ref().map(|(name, _)| *name);
        let wanted = any_of(&names);
        let text = raw.text(&wanted)?;
        let known = words.iter().find(|(name, _)| *name == text);
        known.map(|(_, value)| value.clone()).ok_or_else(|| not_one_of(&wanted, text, names))
    }
}

/// The rejection of a word that is none of `names`, with the one that was probably meant.
pub(in crate::config) fn not_one_of<'n>(
    wanted: &str,
    text: &str,
    names: impl IntoIterator<Item = &'n str>,
) -> Rejection {
    let suggestion = nearest(text, names).map(|meant| format!("did you mean \"{meant}\"?"));
    Rejection { message: format!("must be {wanted}"), suggestion }
}
