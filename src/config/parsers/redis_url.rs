//! Where Redis and its Sentinels are found.

use crate::config::parsers::addresses::host_and_port;
use crate::config::raw::{RawValue, Rejection};
use crate::config::values::Secret;

/// Where Redis is.
pub(in crate::config) fn redis_url(raw: &RawValue<'_>) -> Result<Secret, Rejection> {
    const WANTED: &str = "redis://[user:password@]host[:port][/database] or unix:/path/to.sock";
    let text = raw.text(WANTED)?;
    let no_url = || Rejection::from(format!("must be {WANTED}"));
    if text.contains("#insecure") {
        return Err(
            "cannot end with #insecure: the server's certificate is always verified (`ca_file` says by whom)"
                .into(),
        );
    }
    let url = redis::parse_redis_url(&without_tls(text)).ok_or_else(no_url)?;
    match redis::IntoConnectionInfo::into_connection_info(url) {
        Ok(_) => Ok(Secret::new(text)),
        // The text of the client's error holds nothing of the URL but may one day.
        Err(why) => Err(match why.to_string() {
            detail if detail.to_ascii_lowercase().contains("database") => {
                "must have a number for its database: redis://host:port/0".into()
            }
            _ => no_url(),
        }),
    }
}

/// The same address without TLS: the client that reads it knows none.
fn without_tls(url: &str) -> String {
    url.replacen("rediss:", "redis:", 1).replacen("valkeys:", "valkey:", 1)
}

/// A Sentinel: `host:port`, or a URL where it asks for a password.
pub(in crate::config) fn sentinel(raw: &RawValue<'_>) -> Result<Secret, Rejection> {
    const WANTED: &str = "host:port or redis://[user:password@]host:port";
    let text = raw.text(WANTED)?;
    let no_sentinel = || Rejection::from(format!("must be {WANTED}"));
    let url = if text.contains("://") {
        text.to_owned()
    } else {
        host_and_port(raw).map_err(|_| no_sentinel())?;
        format!("redis://{text}")
    };
    redis::parse_redis_url(&without_tls(&url)).map(|_| Secret::new(&*url)).ok_or_else(no_sentinel)
}
